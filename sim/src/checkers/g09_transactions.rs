//! G9, transactions: nothing of one is seen before its commit or after its rollback, and after a crash all or nothing.

use super::history::{Fate, History, Past};
use super::{Delivery, Event, Verdicts};

#[derive(Debug, Default)]
pub(super) struct Checker;

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        match event {
            Event::CommittedNothing => verdicts.fail("G9", "a commit that nobody asked for was answered".into()),
            Event::Delivered(delivery) => delivered(history, delivery, verdicts),
            _ => {}
        }
    }
}

fn delivered(history: &History, delivery: &Delivery<'_>, verdicts: &mut Verdicts) {
    let (queue, id) = (delivery.queue, delivery.id);
    if let Past::Void { .. } = history.past(id) {
        return verdicts.fail(
            "G9",
            format!("message {id} came out, but its transaction was rolled back"),
        );
    }
    let Some(record) = history.message(id) else { return };
    let own = record.published.transaction;
    let own = own.and_then(|number| Some((number, history.transaction(number)?)));
    if let Some((number, one)) = own {
        if one.fate == Fate::Open {
            verdicts.fail(
                "G9",
                format!("message {id} came out, but its transaction {number} is open"),
            );
        }
        if one.fate == Fate::Unknown && one.undone {
            let what = format!("transaction {number} published, and what it settled came again");
            verdicts.fail("G9", what);
        }
    }
    let settled_by = history.settled_by(queue, id).filter(|_| !history.may_come_again(queue));
    if let Some((number, one)) = settled_by
        && one.fate == Fate::Unknown
        && one.happened
    {
        let what = format!("transaction {number} published, but message {id}, which it settled, came again");
        verdicts.fail("G9", what);
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::testing::{BYTES, Story};
    use crate::checkers::{Event, Published};

    /// Messages 1 and 2 are of transaction 5.
    fn begun() -> Story {
        let mut story = Story::begin();
        for id in [1, 2] {
            story.published(
                id,
                Published {
                    queues: vec![0],
                    bytes: BYTES,
                    transaction: Some(5),
                    order: id,
                    ..Published::default()
                },
            );
        }
        story
    }

    #[test]
    fn transactions_are_all_or_nothing() {
        let mut early = begun();
        early.deliver(0, 1, false);
        assert_eq!(early.found(), Some("G9"));
        let mut undone = begun();
        undone.tell(Event::RolledBack { transaction: 5 });
        undone.deliver(0, 1, false);
        assert_eq!(undone.found(), Some("G9"));
        for (all, expected) in [(true, None), (false, Some("G9"))] {
            let mut story = begun();
            story.tell(Event::CommitAsked {
                transaction: 5,
                in_turn: true,
            });
            story.crash();
            for id in if all { 1..=2 } else { 1..=1 } {
                story.deliver(0, id, true);
                story.settle(0, id, false);
            }
            story.drained();
            assert_eq!(story.found(), expected);
        }
    }

    #[test]
    fn a_transaction_publishes_and_settles_together() {
        for publish_first in [true, false] {
            let mut story = Story::begin();
            story.publish(1, &[0], true);
            story.deliver(0, 1, false);
            story.published(
                2,
                Published {
                    queues: vec![1],
                    bytes: BYTES,
                    transaction: Some(5),
                    order: 2,
                    ..Published::default()
                },
            );
            story.tell(Event::Pledged {
                transaction: 5,
                queue: 0,
                id: 1,
            });
            story.tell(Event::CommitAsked {
                transaction: 5,
                in_turn: true,
            });
            story.crash();
            let mut both = [(1, 2), (0, 1)];
            if !publish_first {
                both.reverse();
            }
            story.deliver(both[0].0, both[0].1, true);
            assert_eq!(story.found(), None);
            story.deliver(both[1].0, both[1].1, true);
            assert_eq!(story.found(), Some("G9"));
        }
    }
}
