//! G13, time: nothing is delivered before its time or after its expiry, or dead-lettered more than once for one death.

use super::history::{Answer, History, Record};
use super::{Event, Verdicts, letters};
use crate::plan::Kind;

#[derive(Debug, Default)]
pub(super) struct Checker;

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        let Event::Delivered(delivery) = event else { return };
        let (queue, id) = (delivery.queue, delivery.id);
        let Some(record) = history.message(id) else { return };
        if let Some(early) = letters::early_ms(history, delivery) {
            verdicts.fail("G13", format!("message {id} expired {early} ms before its time"));
        }
        if !history.may_come_again(queue) {
            let queue_ttl = match history.kinds[queue] {
                Kind::Expiring { ttl_ms } => Some(ttl_ms),
                _ => None,
            };
            // What may go at once or not at all begins when it comes to the queue's tail, which takes a write after its delay.
            let sudden = |ttl: &u64| *ttl == 0 && record.published.delay_ms > 0;
            let ttl = queue_ttl.into_iter().chain(record.published.ttl_ms).min();
            let ttl = ttl.filter(|ttl| !sudden(ttl));
            if let (Some(ttl_ms), Answer::Confirmed { wall_ms }) = (ttl, record.answer)
                && history.now.wall_ms > wall_ms + record.published.delay_ms + ttl_ms
            {
                let late = history.now.wall_ms - wall_ms - record.published.delay_ms - ttl_ms;
                verdicts.fail("G13", format!("message {id} was delivered {late} ms after its expiry"));
            }
            let since = (record.arrived_ms + record.published.delay_ms).max(retry_ms(history, record, queue));
            if history.now.wall_ms < since {
                let early = since - history.now.wall_ms;
                verdicts.fail("G13", format!("message {id} was delivered {early} ms before its time"));
            }
        } else if !delivery.redelivered && !history.leads_to(queue, queue) {
            let letters = record.place(queue).map_or(0, |place| place.dead) + 1;
            let ways = record.published.queues.iter();
            let sources = ways.filter(|one| **one == queue || history.leads_to(**one, queue));
            if letters as usize > sources.count() {
                verdicts.fail(
                    "G13",
                    format!("message {id} of queue {queue} was dead-lettered more than once"),
                );
            }
        }
    }
}

/// When a message that was given back may come again (wall ms).
fn retry_ms(history: &History, record: &Record, queue: usize) -> u64 {
    let Some(place) = record.place(queue) else { return 0 };
    match (history.kinds[queue], place.returns(history.life)) {
        (Kind::Retrying { delay_ms, max_ms }, returns @ 1..) => {
            place.returned_ms + (delay_ms << (returns - 1).min(20)).min(max_ms)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::testing::Story;

    #[test]
    fn nothing_comes_after_its_expiry_or_dies_twice() {
        for (wait_ms, expected) in [(50, None), (51, Some("G13"))] {
            let mut story = Story::begin();
            story.publish(1, &[1], true);
            story.wait_ms(wait_ms);
            story.deliver(1, 1, false);
            assert_eq!(story.found(), expected);
        }
        let mut twice = Story::begin();
        twice.publish(1, &[1], true);
        twice.deliver(2, 1, false);
        assert_eq!(twice.found(), None);
        twice.deliver(2, 1, false);
        assert_eq!(twice.found(), Some("G13"));
    }
}
