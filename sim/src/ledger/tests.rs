//! Histories that must fail, each beside the one that must not: a checker that cannot fail is worth nothing.

use super::*;

const HOLDER: u64 = 7;

/// Queue 0 plain, 1 with dead letters after 50 ms, 2 where they go.
fn ledger() -> Ledger {
    let queues = vec![Kind::Plain, Kind::Expiring { ttl_ms: 50 }, Kind::Dead];
    Ledger::new(&Plan {
        queues,
        graves: vec![None, Some(2), None],
        ..Plan::draw(1)
    })
}

fn publish(ledger: &mut Ledger, id: u64, queues: &[usize], confirm: bool) {
    let queues = queues.to_vec();
    ledger.published(
        id,
        Published {
            publisher: 1,
            order: id,
            queues,
            bytes: 20,
            ..Published::default()
        },
    );
    ledger.arrived(id);
    if confirm {
        ledger.confirmed(0, 1000, 1, id, true);
    }
}

/// A delivery in a step of its own.
fn deliver(ledger: &mut Ledger, queue: usize, id: u64, step: u64, redelivered: bool) {
    deliver_at(ledger, queue, &body(id, 20), step, redelivered, 1000);
}

fn deliver_at(ledger: &mut Ledger, queue: usize, body: &[u8], step: u64, redelivered: bool, wall_ms: u64) {
    ledger.order.begin(step, false);
    ledger.delivered(&Seen {
        at: step,
        step,
        wall_ms,
        queue,
        body,
        redelivered,
        no_ack: false,
        holder: HOLDER,
    });
    ledger.step_over(step);
}

fn found(ledger: &Ledger) -> Option<&'static str> {
    ledger.violation().map(|violation| violation.guarantee)
}

#[test]
fn a_confirmed_message_that_never_comes_is_lost() {
    for (confirmed, expected) in [(true, Some("G1")), (false, None)] {
        let mut ledger = ledger();
        publish(&mut ledger, 1, &[0], confirmed);
        ledger.drained(9);
        assert_eq!(found(&ledger), expected);
    }
    let mut ledger = ledger();
    publish(&mut ledger, 1, &[0], true);
    deliver(&mut ledger, 0, 1, 2, false);
    ledger.settled(0, 1, false);
    ledger.drained(9);
    assert_eq!(found(&ledger), None);
}

#[test]
fn a_message_may_leave_by_way_of_the_graves() {
    for (buried, expected) in [(true, None), (false, Some("G1"))] {
        let mut ledger = ledger();
        publish(&mut ledger, 1, &[1], true);
        if buried {
            deliver(&mut ledger, 2, 1, 2, false);
            ledger.settled(2, 1, false);
        }
        ledger.drained(9);
        assert_eq!(found(&ledger), expected);
    }
}

#[test]
fn what_nobody_published_is_invented() {
    let mut phantom = ledger();
    deliver(&mut phantom, 0, 1, 2, false);
    assert_eq!(found(&phantom), Some("G4"));
    let mut changed = ledger();
    publish(&mut changed, 1, &[0], true);
    let mut bytes = body(1, 20);
    bytes[15] ^= 1;
    deliver_at(&mut changed, 0, &bytes, 2, false, 1000);
    assert_eq!(found(&changed), Some("G4"));
    let mut astray = ledger();
    publish(&mut astray, 1, &[0], true);
    deliver(&mut astray, 1, 1, 2, false);
    assert_eq!(found(&astray), Some("G4"));
}

#[test]
fn what_was_settled_stays_settled() {
    let mut same_life = ledger();
    publish(&mut same_life, 1, &[0], true);
    deliver(&mut same_life, 0, 1, 2, false);
    same_life.settled(0, 1, false);
    deliver(&mut same_life, 0, 1, 3, true);
    assert_eq!(found(&same_life), Some("G2"));
    for (durable, expected) in [(true, Some("G2")), (false, None)] {
        let mut ledger = ledger();
        publish(&mut ledger, 1, &[0], true);
        deliver(&mut ledger, 0, 1, 2, false);
        ledger.settled(0, 1, false);
        if durable {
            ledger.settled_durably(0, 1);
        }
        ledger.crashed();
        deliver(&mut ledger, 0, 1, 3, true);
        assert_eq!(found(&ledger), expected);
    }
}

#[test]
fn one_holder_at_a_time_and_the_flag() {
    let mut twice = ledger();
    publish(&mut twice, 1, &[0], true);
    deliver(&mut twice, 0, 1, 2, false);
    deliver(&mut twice, 0, 1, 3, true);
    assert_eq!(found(&twice), Some("G3"));
    for (flag, expected) in [(false, Some("G3")), (true, None)] {
        let mut ledger = ledger();
        publish(&mut ledger, 1, &[0], true);
        deliver(&mut ledger, 0, 1, 2, false);
        ledger.returned(0, 1, HOLDER, Some(2));
        deliver(&mut ledger, 0, 1, 3, flag);
        assert_eq!(found(&ledger), expected);
    }
}

#[test]
fn a_publisher_s_order_is_kept() {
    for (first, second, expected) in [(1, 2, None), (2, 1, Some("G5"))] {
        let mut ledger = ledger();
        publish(&mut ledger, 1, &[1], true);
        publish(&mut ledger, 2, &[1], true);
        deliver(&mut ledger, 1, first, 2, false);
        deliver(&mut ledger, 1, second, 3, false);
        assert_eq!(found(&ledger), expected);
    }
}

#[test]
fn nothing_comes_after_its_expiry_or_dies_twice() {
    for (wall_ms, expected) in [(1050, None), (1051, Some("G13"))] {
        let mut ledger = ledger();
        publish(&mut ledger, 1, &[1], true);
        deliver_at(&mut ledger, 1, &body(1, 20), 2, false, wall_ms);
        assert_eq!(found(&ledger), expected);
    }
    let mut twice = ledger();
    publish(&mut twice, 1, &[1], true);
    deliver(&mut twice, 2, 1, 2, false);
    deliver(&mut twice, 2, 1, 3, false);
    assert_eq!(found(&twice), Some("G13"));
}

#[test]
fn confirms_come_once() {
    let mut ledger = ledger();
    publish(&mut ledger, 1, &[0], true);
    ledger.confirmed(1, 1000, 2, 1, true);
    assert_eq!(found(&ledger), Some("G1"));
}

#[test]
fn transactions_are_all_or_nothing() {
    let begun = || {
        let mut ledger = ledger();
        for id in [1, 2] {
            let transaction = Some(5);
            ledger.published(
                id,
                Published {
                    queues: vec![0],
                    bytes: 20,
                    transaction,
                    order: id,
                    ..Published::default()
                },
            );
        }
        ledger
    };
    let mut early = begun();
    deliver(&mut early, 0, 1, 2, false);
    assert_eq!(found(&early), Some("G9"));
    let mut undone = begun();
    undone.rolled_back(5);
    deliver(&mut undone, 0, 1, 2, false);
    assert_eq!(found(&undone), Some("G9"));
    for (all, expected) in [(true, None), (false, Some("G9"))] {
        let mut ledger = begun();
        ledger.commit_asked(5);
        ledger.crashed();
        for id in if all { 1..=2 } else { 1..=1 } {
            deliver(&mut ledger, 0, id, 1 + id, true);
            ledger.settled(0, id, false);
        }
        ledger.drained(9);
        assert_eq!(found(&ledger), expected);
    }
}

#[test]
fn a_transaction_publishes_and_settles_together() {
    let mut ledger = ledger();
    publish(&mut ledger, 1, &[0], true);
    deliver(&mut ledger, 0, 1, 2, false);
    ledger.published(
        2,
        Published {
            queues: vec![1],
            bytes: 20,
            transaction: Some(5),
            order: 2,
            ..Published::default()
        },
    );
    ledger.settles_later(5, 0, 1);
    ledger.commit_asked(5);
    ledger.crashed();
    deliver(&mut ledger, 1, 2, 3, true);
    assert_eq!(found(&ledger), None);
    deliver(&mut ledger, 0, 1, 4, true);
    assert_eq!(found(&ledger), Some("G9"));
}
