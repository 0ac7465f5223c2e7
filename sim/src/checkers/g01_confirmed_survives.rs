//! G1, durable confirm: what was confirmed comes out of every queue that it went to; each publish is confirmed once.

use super::history::{Answer, History, Place, Record};
use super::{Event, Verdicts};
use crate::plan::Kind;

#[derive(Debug, Default)]
pub(super) struct Checker;

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        match *event {
            Event::Confirmed { id, ok } => {
                if let Some(what) = confirm(history, id, ok) {
                    verdicts.fail("G1", what);
                }
            }
            Event::ConfirmedNothing { tag } => {
                verdicts.fail("G1", format!("publish {tag} was confirmed twice, or never made"));
            }
            Event::Drained => {
                let lost = missing(history);
                verdicts.counters.lost += lost.len() as u64;
                if let Some((guarantee, what)) = lost.into_iter().next() {
                    verdicts.fail(guarantee, what);
                }
                let unknown = |record: &Record| record.answer == Answer::None && record.was_delivered();
                let recovered = history.messages().filter(|(_, record)| unknown(record));
                verdicts.counters.recovered += recovered.count() as u64;
            }
            _ => {}
        }
    }
}

fn confirm(history: &History, id: u64, ok: bool) -> Option<String> {
    let Some(record) = history.message(id) else {
        let known = history.past(id) != super::history::Past::None;
        return (!known).then(|| format!("confirm of a publish that never was: {id}"));
    };
    if record.answer != Answer::None {
        return Some(format!("message {id} was confirmed twice"));
    }
    let refusing = |queue: &usize| matches!(history.kinds[*queue], Kind::Refusing { .. });
    let refusable = record.published.queues.iter().any(refusing);
    (!ok && !refusable).then(|| format!("message {id} was refused, but none of its queues refuses"))
}

/// Messages that were confirmed, whose transaction happened, or that came out once and were returned, and that are not
/// where they must be: queues that were emptied never gave them.
fn missing(history: &History) -> Vec<(&'static str, String)> {
    let mut lost = Vec::new();
    for (id, record) in history.messages() {
        let transaction = record.published.transaction.and_then(|id| history.transaction(id));
        let happened = transaction.is_some_and(|transaction| transaction.happened);
        let confirmed = matches!(record.answer, Answer::Confirmed { .. }) || happened;
        for queue in &record.published.queues {
            if !confirmed && !record.place(*queue).is_some_and(Place::was_delivered) {
                continue;
            }
            let kind = history.kinds[*queue];
            let quiet = record.quietly || transaction.is_some();
            let refusable = quiet && matches!(kind, Kind::Refusing { .. });
            if !refusable && kind != Kind::Transient && !came_out(history, *queue, record) {
                let (guarantee, why) = match (happened, confirmed) {
                    (true, _) => ("G9", "is of a transaction that happened"),
                    (false, true) => ("G1", "was confirmed"),
                    (false, false) => ("G3", "came back"),
                };
                let what = format!("message {id} {why} and never came out of queue {queue}: {kind:?}");
                lost.push((guarantee, what));
            }
        }
    }
    lost
}

/// Whether a message left the queue as it may: settled, purged, expired, or by way of the graves.
fn came_out(history: &History, queue: usize, record: &Record) -> bool {
    let left = |queue: usize| {
        let place = record.place(queue);
        place.is_some_and(|place| place.settled && !place.rejected) || history.is_expendable(queue, record)
    };
    if left(queue) {
        return true;
    }
    // It expires by itself, and nobody asks for its letter.
    if record.published.ttl_ms.is_some() && history.grave(queue).is_none() {
        return true;
    }
    let mut at = queue;
    for _ in 0..history.kinds.len() {
        let Some(grave) = history.grave(at) else { return false };
        // What comes round without a rejection is dropped.
        if left(grave) || grave == queue {
            return true;
        }
        at = grave;
    }
    true
}

#[cfg(test)]
mod tests {
    use crate::checkers::testing::Story;

    #[test]
    fn a_confirmed_message_that_never_comes_is_lost() {
        for (confirmed, expected) in [(true, Some("G1")), (false, None)] {
            let mut story = Story::begin();
            story.publish(1, &[0], confirmed);
            story.drained();
            assert_eq!(story.found(), expected);
        }
        let mut story = Story::begin();
        story.publish(1, &[0], true);
        story.deliver(0, 1, false);
        story.settle(0, 1, false);
        story.drained();
        assert_eq!(story.found(), None);
    }

    #[test]
    fn what_came_back_comes_again() {
        let mut story = Story::begin();
        story.publish(1, &[0], false);
        story.deliver(0, 1, false);
        story.give_back(0, 1);
        story.drained();
        assert_eq!(story.found(), Some("G3"));
    }

    #[test]
    fn a_message_may_leave_by_way_of_the_graves() {
        for (buried, expected) in [(true, None), (false, Some("G1"))] {
            let mut story = Story::begin();
            story.publish(1, &[1], true);
            if buried {
                story.deliver(2, 1, false);
                story.settle(2, 1, false);
            }
            story.drained();
            assert_eq!(story.found(), expected);
        }
    }

    #[test]
    fn a_purge_takes_what_nobody_holds() {
        for (held, expected) in [(false, None), (true, Some("G1"))] {
            let mut story = Story::begin();
            story.publish(1, &[0], true);
            if held {
                story.deliver(0, 1, false);
            }
            story.purge(0, u64::from(!held));
            if held {
                story.give_back(0, 1);
            }
            story.drained();
            assert_eq!(story.found(), expected);
        }
    }

    #[test]
    fn confirms_come_once() {
        let mut story = Story::begin();
        story.publish(1, &[0], true);
        story.confirm(1, true);
        assert_eq!(story.found(), Some("G1"));
    }

    #[test]
    fn a_queue_that_does_not_refuse_refuses_nothing() {
        let mut story = Story::begin();
        story.publish(1, &[0], false);
        story.confirm(1, false);
        assert_eq!(story.found(), Some("G1"));
    }
}
