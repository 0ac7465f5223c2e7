//! G11, operations on one state: counts are within what the model allows, and a correct request does not fail.

use super::history::History;
use super::{Event, Verdicts};

#[derive(Debug, Default)]
pub(super) struct Checker;

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        match event {
            Event::Failed { what } => verdicts.fail("G11", (*what).to_owned()),
            Event::StepOver => {
                for queue in history.stirred() {
                    purge(history, *queue, verdicts);
                    if !history.blurred {
                        counts(history, *queue, verdicts);
                    }
                }
            }
            _ => {}
        }
    }
}

fn purge(history: &History, queue: usize, verdicts: &mut Verdicts) {
    if let Some((messages, least)) = history.line(queue).purge_took()
        && messages < least
    {
        let what = format!("queue {queue}: a purge took {messages}, but at least {least} were ready");
        verdicts.fail("G11", what);
    }
}

fn counts(history: &History, queue: usize, verdicts: &mut Verdicts) {
    for (messages, least, most) in history.line(queue).counted_now() {
        verdicts.counters.count_checks += 1;
        if messages < least || messages > most {
            let what = format!("queue {queue}: a count of {messages}, but {least} to {most} are ready");
            verdicts.fail("G11", what);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::Event;
    use crate::checkers::testing::Story;

    fn three() -> Story {
        let mut story = Story::begin();
        (1..=3).for_each(|id| story.publish(id, &[0], true));
        story
    }

    #[test]
    fn counts_are_compared() {
        for (messages, expected) in [(2, Some("G11")), (3, None), (4, Some("G11"))] {
            let mut story = three();
            story.begin_step();
            story.tell(Event::CountAsked { queue: 0, token: 1 });
            story.tell(Event::StepOver);
            story.begin_step();
            story.tell(Event::Counted {
                queue: 0,
                token: 1,
                messages,
            });
            story.tell(Event::StepOver);
            assert_eq!(story.found(), expected, "{messages}");
        }
    }

    #[test]
    fn what_left_since_a_count_was_asked_for_need_not_be_in_it() {
        for (messages, expected) in [(1, Some("G11")), (2, None)] {
            let mut story = three();
            story.begin_step();
            story.tell(Event::CountAsked { queue: 0, token: 1 });
            story.tell(Event::StepOver);
            story.deliver(0, 1, false);
            story.begin_step();
            story.tell(Event::Counted {
                queue: 0,
                token: 1,
                messages,
            });
            story.tell(Event::StepOver);
            assert_eq!(story.found(), expected, "{messages}");
        }
    }

    #[test]
    fn purges_are_compared() {
        for (messages, expected) in [(2, Some("G11")), (3, None)] {
            let mut story = three();
            story.purge(0, messages);
            assert_eq!(story.found(), expected);
        }
    }

    /// G2: what a purge took for certain does not come again.
    #[test]
    fn what_was_purged_stays_away() {
        let mut story = three();
        story.purge(0, 3);
        story.deliver(0, 2, true);
        assert_eq!(story.found(), Some("G2"));
    }
}
