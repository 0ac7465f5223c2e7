//! G5, publish order: a publisher's messages do not overtake each other, and whatever is certainly ready goes before what
//! came after it, returned messages included.

use super::history::{History, lane};
use super::{Delivery, Event, Verdicts};
use std::collections::BTreeMap;
use waystation_core::plant::{self, Plant};

/// The newest publish delivered. What leaves in one step to several connections has no order between them.
#[derive(Clone, Copy, Debug, Default)]
struct First {
    step: u64,
    before_step: u64,
    newest: u64,
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    /// First deliveries of each publisher in each queue, by what goes before.
    first: BTreeMap<(usize, u32, u64), First>,
    /// The newest order that a channel saw of a publisher in a queue.
    first_at: BTreeMap<(u64, usize, u32, u64), u64>,
}

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        match event {
            Event::Delivered(delivery) => self.delivered(history, delivery, verdicts),
            Event::ChannelGone { channel } => {
                let range = (*channel, 0, 0, 0)..=(*channel, usize::MAX, u32::MAX, u64::MAX);
                let gone: Vec<_> = self.first_at.range(range).map(|(key, _)| *key).collect();
                for key in gone {
                    self.first_at.remove(&key);
                }
            }
            Event::StepOver if !history.blurred => {
                for queue in history.stirred() {
                    overtaken(history, *queue, verdicts);
                }
            }
            Event::Crashed => self.first_at.clear(),
            _ => {}
        }
    }
}

impl Checker {
    fn delivered(&mut self, history: &History, delivery: &Delivery<'_>, verdicts: &mut Verdicts) {
        let (queue, id) = (delivery.queue, delivery.id);
        // What may have been delivered before, to somebody who is gone, has no order any more.
        let ordered = !delivery.redelivered && !history.may_come_again(queue);
        let Some(record) = history.message(id).filter(|_| ordered) else {
            return;
        };
        if record.published.delay_ms > 0 {
            return;
        }
        let lane = lane(history.kinds[queue], record.published.priority);
        let (publisher, order, step) = (record.published.publisher, record.published.order, history.now.step);
        let first = self.first.entry((queue, publisher, lane)).or_default();
        if first.step != step {
            *first = First {
                step,
                before_step: first.newest,
                newest: first.newest,
            };
        }
        first.newest = first.newest.max(order);
        let before = first.before_step;
        let here = self.first_at.insert((delivery.holder, queue, publisher, lane), order);
        let before = before.max(here.unwrap_or(0));
        if before > order {
            let what = format!("queue {queue}: publish {order} of publisher {publisher} came after {before}");
            verdicts.fail("G5", what);
        }
    }
}

fn overtaken(history: &History, queue: usize, verdicts: &mut Verdicts) {
    let Some((id, before)) = history.line(queue).overtaken(history.now.step) else {
        return;
    };
    if plant::is(Plant::OrderUnchecked) {
        return;
    }
    verdicts.counters.order_checks += 1;
    if let Some(before) = before {
        let what = format!("queue {queue}: message {id} was delivered, but message {before} was before it");
        verdicts.fail("G5", what);
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::Event;
    use crate::checkers::testing::Story;

    #[test]
    fn a_publisher_s_order_is_kept() {
        for (first, second, expected) in [(1, 2, None), (2, 1, Some("G5"))] {
            let mut story = Story::begin();
            story.publish(1, &[1], true);
            story.publish(2, &[1], true);
            story.deliver(1, first, false);
            story.deliver(1, second, false);
            assert_eq!(story.found(), expected);
        }
    }

    /// Messages 1, 2 and 3 came in this order and are ready.
    fn three() -> Story {
        let mut story = Story::begin();
        (1..=3).for_each(|id| story.publish(id, &[0], true));
        story
    }

    #[test]
    fn what_is_skipped_is_found() {
        let mut story = three();
        story.deliver(0, 2, true);
        assert_eq!(story.found(), Some("G5"));
        // Both left in one step: their order is not seen.
        let mut story = three();
        story.begin_step();
        story.hand_over(0, 2, true);
        story.hand_over(0, 1, true);
        story.tell(Event::StepOver);
        assert_eq!(story.found(), None);
    }

    #[test]
    fn a_returned_message_has_its_old_place() {
        let mut story = three();
        story.deliver(0, 1, false);
        story.give_back(0, 1);
        story.deliver(0, 2, true);
        assert_eq!(story.found(), Some("G5"));
        let mut blurred = three();
        blurred.begin_step();
        blurred.tell(Event::Blurred);
        blurred.hand_over(0, 3, false);
        blurred.tell(Event::StepOver);
        assert_eq!(blurred.found(), None);
    }

    #[test]
    fn a_restart_makes_what_was_confirmed_ready() {
        let mut story = three();
        story.deliver(0, 1, false);
        story.crash();
        story.deliver(0, 2, true);
        assert_eq!(story.found(), Some("G5"));
    }
}
