//! G11, operations on one state: counts are within what the model allows, and a correct request does not fail.
//!
//! Counts are those of one moment between question and answer. What was ready before the question and is still, is in
//! them; so is each consumer that began before it and was not ended since.

use super::history::History;
use super::{Event, Verdicts};

/// Consumers that a count under way may find.
#[derive(Debug)]
struct Count {
    token: u64,
    queue: usize,
    least: u64,
    most: u64,
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    counts: Vec<Count>,
}

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        match event {
            Event::CountAsked { queue, token } => {
                let (least, most) = history.credits.count(*queue);
                self.counts.push(Count {
                    token: *token,
                    queue: *queue,
                    least,
                    most,
                });
            }
            Event::CountLost { token, .. } => self.counts.retain(|count| count.token != *token),
            Event::Counted { token, consumers, .. } => self.counted(*token, *consumers, verdicts),
            Event::ConsumeAsked { queue, .. } => {
                let of_queue = self.counts.iter_mut().filter(|count| Some(count.queue) == *queue);
                of_queue.for_each(|count| count.most += 1);
            }
            Event::CancelAsked { .. } => self
                .counts
                .iter_mut()
                .for_each(|count| count.least = count.least.saturating_sub(1)),
            // All consumers of a channel end with it.
            Event::ChannelClosing { .. } => self.counts.iter_mut().for_each(|count| count.least = 0),
            Event::Crashed => self.counts.clear(),
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

impl Checker {
    fn counted(&mut self, token: u64, consumers: u64, verdicts: &mut Verdicts) {
        let Some(at) = self.counts.iter().position(|count| count.token == token) else {
            return;
        };
        let Count { queue, least, most, .. } = self.counts.swap_remove(at);
        if consumers < least || consumers > most {
            let what = format!("queue {queue}: {consumers} consumers were counted, but there are {least} to {most}");
            verdicts.fail("G11", what);
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
                consumers: 0,
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
                consumers: 0,
            });
            story.tell(Event::StepOver);
            assert_eq!(story.found(), expected, "{messages}");
        }
    }

    #[test]
    fn consumers_are_counted() {
        for (consumers, expected) in [(0, Some("G11")), (1, None), (2, None), (3, Some("G11"))] {
            let mut story = Story::begin();
            story.consumer("a", Some(0));
            story.begin_step();
            story.tell(Event::CountAsked { queue: 0, token: 1 });
            story.consumer("b", Some(0));
            let messages = 0;
            story.tell(Event::Counted {
                queue: 0,
                token: 1,
                messages,
                consumers,
            });
            assert_eq!(story.found(), expected, "{consumers}");
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
