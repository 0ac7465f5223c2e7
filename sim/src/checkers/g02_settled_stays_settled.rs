//! G2, durable settlement: what was settled is not delivered again in the same life of the node, and, once the settlement
//! was answered, never.

use super::history::{History, Past};
use super::{Event, Verdicts};

#[derive(Debug, Default)]
pub(super) struct Checker;

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        let Event::Delivered(delivery) = event else { return };
        let (queue, id) = (delivery.queue, delivery.id);
        if let Past::Done { .. } = history.past(id) {
            let what = format!("message {id} came out of queue {queue} after all its copies were settled durably");
            return verdicts.fail("G2", what);
        }
        let place = history.message(id).and_then(|record| record.place(queue));
        let Some(place) = place.filter(|_| !history.may_come_again(queue)) else {
            return;
        };
        verdicts.counters.duplicated += u64::from(place.settled && place.life != history.life);
        // What left in one step to several connections has no order between them.
        let earlier = place.delivered > 0 && place.step != history.now.step;
        let what = if place.durable {
            "was delivered after its settlement was durable"
        } else if earlier && place.life == history.life && place.settled {
            "was delivered after it was settled"
        } else {
            return;
        };
        verdicts.fail("G2", format!("message {id} of queue {queue} {what}"));
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::testing::Story;

    #[test]
    fn what_was_settled_stays_settled() {
        let mut same_life = Story::begin();
        same_life.publish(1, &[0], true);
        same_life.deliver(0, 1, false);
        same_life.settle(0, 1, false);
        same_life.deliver(0, 1, true);
        assert_eq!(same_life.found(), Some("G2"));
        for (durable, expected) in [(true, Some("G2")), (false, None)] {
            let mut story = Story::begin();
            story.publish(1, &[0], true);
            story.deliver(0, 1, false);
            story.settle(0, 1, false);
            if durable {
                story.settled_durably(0, 1);
            }
            story.crash();
            story.deliver(0, 1, true);
            assert_eq!(story.found(), expected);
        }
    }

    #[test]
    fn one_copy_of_two_may_still_come() {
        let mut story = Story::begin();
        story.publish(1, &[0, 3], true);
        story.deliver(0, 1, false);
        story.settle(0, 1, false);
        story.settled_durably(0, 1);
        story.deliver(3, 1, false);
        assert_eq!(story.found(), None);
        story.deliver(0, 1, true);
        assert_eq!(story.found(), Some("G2"));
    }
}
