//! Answers come when what they speak of is durable, and not before.

use super::*;

#[test]
fn a_confirm_comes_when_the_message_is_durable() {
    // G1
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.ask(A, CONFIRM);
    broker.hold();
    assert!(
        broker.ask(A, publish("", "q", "a")).is_empty(),
        "the disk has not answered"
    );
    assert_eq!(broker.held.len(), 1);
    broker.release();
    assert_eq!(broker.said(A), ["ack 1"]);
    assert_eq!(broker.ask(A, get("q")), ["got 1 'a' left 0"]);
}

#[test]
fn confirms_of_one_write_are_told_as_one() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.ask(A, CONFIRM);
    broker.hold();
    broker.publish(A, "q", &["a", "b", "c", "d"]);
    let syncs = broker.folder.syncs;
    broker.release();
    // The first went alone; the rest came in while it was written.
    assert_eq!(broker.said(A), ["ack 1", "ack ..4"]);
    assert_eq!(broker.folder.syncs - syncs, 2, "two writes");
}

#[test]
fn a_transient_queues_message_is_confirmed_at_once() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, transient("t"));
    broker.ask(A, queue("q"));
    broker.ask(A, CONFIRM);
    broker.hold();
    assert!(broker.ask(A, publish("", "q", "durable")).is_empty());
    assert_eq!(
        broker.ask(A, publish("", "t", "memory")),
        ["ack 2"],
        "ahead of the first"
    );
    broker.release();
    assert_eq!(broker.said(A), ["ack 1"]);
}

#[test]
fn a_message_for_a_durable_and_a_transient_queue_waits_for_the_durable_one() {
    // G1
    let mut broker = Broker::with(&[A]);
    for (declare, name) in [(queue("q"), "q"), (transient("t"), "t")] {
        broker.ask(A, declare);
        assert_eq!(broker.ask(A, bind("amq.fanout", name, "")), ["bound"]);
    }
    broker.ask(A, CONFIRM);
    broker.hold();
    assert!(broker.ask(A, publish("amq.fanout", "", "x")).is_empty());
    broker.release();
    assert_eq!(broker.said(A), ["ack 1"]);
    assert_eq!(broker.drain(A, "q"), ["x"]);
    assert_eq!(broker.drain(A, "t"), ["x"]);
}

#[test]
fn an_unroutable_message_is_confirmed_and_returned_first_if_mandatory() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, CONFIRM);
    broker.hold();
    assert_eq!(broker.ask(A, publish("", "nowhere", "a")), ["ack 1"]);
    assert_eq!(
        broker.ask(A, mandatory("amq.direct", "nowhere", "b")),
        ["return 'b'", "ack 2"]
    );
    assert_eq!(broker.stats().unroutable_total, 2);
}

#[test]
fn answers_wait_until_what_was_settled_before_is_durable() {
    // G2
    type Round = (&'static str, fn() -> R, &'static str);
    let rounds: [Round; 8] = [
        ("qos", || qos(5), "qosset"),
        ("cancel", || cancel("nobody"), "cancelled nobody"),
        ("passive declare", || passive("q"), "declared q 1 0"),
        ("declare again", || queue("q"), "declared q 1 0"),
        ("confirm", || CONFIRM, "confirmselected"),
        ("transaction", || R::TxSelect, "txselected"),
        ("delete nothing", || delete("none"), "deleted 0"),
        ("exchange", || exchange("amq.direct", "direct"), "exchangedeclared"),
    ];
    for (what, request, answer) in rounds {
        let mut broker = Broker::with(&[A]);
        broker.ask(A, queue("q"));
        broker.publish(A, "q", &["a", "b"]);
        assert_eq!(broker.ask(A, get("q")), ["got 1 'a' left 1"], "{what}");
        broker.hold();
        assert!(broker.ask(A, ack(1)).is_empty(), "{what}");
        assert!(broker.ask(A, request()).is_empty(), "{what} is not answered yet");
        broker.release();
        assert_eq!(broker.said(A), [answer], "{what}");
        // Once more: nothing was settled since, so nothing is waited for.
        if what == "qos" {
            broker.hold();
            assert_eq!(broker.ask(A, request()), [answer]);
        }
        let mut broker = broker.crash();
        broker.open(A);
        assert_eq!(broker.drain(A, "q"), ["b"], "{what}");
    }
}

#[test]
fn closing_a_channel_or_a_connection_waits_for_settlements() {
    // G2
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a", "b"]);
    for at in [A, B] {
        broker.ask(at, get("q"));
    }
    broker.hold();
    for at in [A, B] {
        broker.ask(at, ack(1));
    }
    broker.request(A.0, Request::CloseChannel { channel: A.1 });
    broker.request(B.0, Request::Disconnect);
    assert!(broker.said(A).is_empty());
    assert!(broker.told(B.0).is_empty());
    broker.release();
    assert_eq!(broker.said(A), ["closed"]);
    assert_eq!(broker.told(B.0), ["disconnected"]);
}

#[test]
fn what_is_asked_without_a_reply_is_not_answered_unless_it_fails() {
    let mut broker = Broker::with(&[A]);
    let silent = |request| changed(request, |_, _, _, _, reply| *reply = false);
    assert!(broker.ask(A, silent(queue("q"))).is_empty());
    let requests = [
        R::Bind {
            destination: Destination::Queue("q".into()),
            source: "amq.topic".into(),
            routing_key: "#".into(),
            arguments: Table::default(),
            reply: false,
        },
        R::Consume {
            queue: "q".into(),
            consumer: "c".into(),
            no_ack: true,
            exclusive: false,
            arguments: Table::default(),
            reply: false,
        },
        R::Cancel {
            consumer: "c".into(),
            reply: false,
        },
        R::PurgeQueue {
            name: "q".into(),
            reply: false,
        },
        R::ConfirmSelect { reply: false },
        R::Recover { reply: false },
        R::DeleteQueue {
            name: "q".into(),
            if_unused: false,
            if_empty: false,
            reply: false,
        },
        R::DeleteExchange {
            name: "none".into(),
            if_unused: false,
            reply: false,
        },
    ];
    for request in requests {
        let text = format!("{request:?}");
        assert!(broker.ask(A, request).is_empty(), "{text}");
    }
    assert_eq!(
        broker.ask(A, passive("q")),
        ["failed: no queue 'q'"],
        "each of them was done"
    );
}

#[test]
fn a_transaction_takes_effect_at_its_commit_and_in_one_entry() {
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.ask(A, queue("r"));
    broker.publish(B, "q", &["old"]);
    assert_eq!(broker.ask(A, R::TxSelect), ["txselected"]);
    assert_eq!(broker.ask(A, get("q")), ["got 1 'old' left 0"]);
    broker.publish(A, "r", &["a", "b"]);
    broker.ask(A, ack(1));
    assert_eq!(broker.ask(B, get("r")), ["empty"], "nothing before the commit");
    let entries = broker.stats().log_entries_total;
    broker.hold();
    assert!(broker.ask(A, R::TxCommit).is_empty());
    broker.release();
    assert_eq!(broker.said(A), ["txcommitted"]);
    assert_eq!(broker.stats().log_entries_total, entries + 1);
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), Vec::<String>::new());
    assert_eq!(broker.drain(A, "r"), ["a", "b"]);
}

#[test]
fn a_rolled_back_transaction_leaves_deliveries_unsettled() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["one", "two"]);
    broker.ask(A, R::TxSelect);
    broker.ask(A, get("q"));
    broker.ask(A, get("q"));
    broker.publish(A, "q", &["never"]);
    broker.ask(A, ack(1));
    assert_eq!(broker.ask(A, R::TxRollback), ["txrolledback"]);
    broker.ask(A, ack_upto(2));
    assert_eq!(broker.ask(A, R::TxCommit), ["txcommitted"], "the tags are known still");
    assert_eq!(broker.ask(A, get("q")), ["empty"]);
    assert_eq!(
        broker.ask(A, CONFIRM),
        ["failed: the channel is in transaction mode: confirm mode needs another channel"]
    );
}

/// A transaction that a full queue refuses a part of, with a dead letter: still one entry.
#[test]
fn a_refused_publish_does_not_part_a_transaction() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("dead"));
    let full = [
        ("x-max-length", Value::I32(0)),
        ("x-overflow", Value::from("reject-publish-dlx")),
        ("x-dead-letter-exchange", Value::from("")),
        ("x-dead-letter-routing-key", Value::from("dead")),
    ];
    broker.ask(A, queue_with("full", &full));
    broker.ask(A, queue("q"));
    broker.ask(A, R::TxSelect);
    // Larger than an entry aims to be: only what is joined stays together.
    let large = "x".repeat(5 << 20);
    broker.publish(A, "q", &[&large]);
    broker.publish(A, "full", &["refused"]);
    broker.publish(A, "q", &[&large, "end"]);
    let entries = broker.stats().log_entries_total;
    assert_eq!(broker.ask(A, R::TxCommit), ["txcommitted"]);
    assert_eq!(broker.stats().log_entries_total, entries + 1);
    assert_eq!(broker.drain(A, "dead"), ["refused"]);
}

#[test]
fn a_full_queue_that_rejects_says_nack() {
    let mut broker = Broker::with(&[A]);
    let limit = [
        ("x-max-length", Value::I32(2)),
        ("x-overflow", Value::from("reject-publish")),
    ];
    broker.ask(A, queue_with("q", &limit));
    broker.ask(A, CONFIRM);
    broker.hold();
    broker.publish(A, "q", &["a", "b"]);
    // Those on their way count.
    assert_eq!(broker.ask(A, publish("", "q", "c")), ["nack 3"]);
    broker.release();
    assert_eq!(broker.said(A), ["ack 1", "ack 2"]);
    assert_eq!(broker.drain(A, "q"), ["a", "b"]);
    assert_eq!(broker.ask(A, publish("", "q", "d")), ["ack 4"]);
}
