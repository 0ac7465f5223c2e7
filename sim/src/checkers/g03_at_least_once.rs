//! G3, at least once: no two hold one message, and what may have been delivered before says so.

use super::history::History;
use super::{Event, Verdicts};
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Checker {
    /// Messages delivered while another held them: one of the two must have let go by the end of the step.
    suspects: BTreeSet<(usize, u64)>,
}

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        match event {
            Event::Delivered(delivery) => {
                let (queue, id) = (delivery.queue, delivery.id);
                if let Some(what) = super::returns::wrong(history, delivery) {
                    verdicts.fail("G3", format!("message {id} of queue {queue} {what}"));
                }
                let place = history.message(id).and_then(|record| record.place(queue));
                let Some(place) = place.filter(|_| !history.may_come_again(queue)) else {
                    return;
                };
                if place.delivered > 0 && place.step != history.now.step && !delivery.redelivered {
                    let what = "was delivered again without the redelivered flag";
                    verdicts.fail("G3", format!("message {id} of queue {queue} {what}"));
                }
                if !place.holders(history.life).is_empty() {
                    self.suspects.insert((queue, id));
                }
            }
            Event::StepOver => {
                for (queue, id) in std::mem::take(&mut self.suspects) {
                    let place = history.message(id).and_then(|record| record.place(queue));
                    if place.is_some_and(|place| place.holders(history.life).len() > 1) {
                        let what = "was delivered while another holds it";
                        verdicts.fail("G3", format!("message {id} of queue {queue} {what}"));
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::testing::Story;

    #[test]
    fn one_holder_at_a_time_and_the_flag() {
        let mut twice = Story::begin();
        twice.publish(1, &[0], true);
        twice.deliver(0, 1, false);
        twice.deliver(0, 1, true);
        assert_eq!(twice.found(), Some("G3"));
        for (flag, expected) in [(false, Some("G3")), (true, None)] {
            let mut story = Story::begin();
            story.publish(1, &[0], true);
            story.deliver(0, 1, false);
            story.give_back(0, 1);
            story.deliver(0, 1, flag);
            assert_eq!(story.found(), expected);
        }
    }
}
