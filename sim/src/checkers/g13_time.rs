//! G13, time: nothing is delivered after its expiry, or dead-lettered more than once for one death.

use super::history::{Answer, History};
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
            let ttl = queue_ttl.into_iter().chain(record.published.ttl_ms).min();
            if let (Some(ttl_ms), Answer::Confirmed { wall_ms }) = (ttl, record.answer)
                && history.now.wall_ms > wall_ms + ttl_ms
            {
                let late = history.now.wall_ms - wall_ms - ttl_ms;
                verdicts.fail("G13", format!("message {id} was delivered {late} ms after its expiry"));
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
