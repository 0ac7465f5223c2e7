//! What queues are declared to be, and how long they and their messages live.

use super::*;

#[test]
fn a_queue_is_declared_once_and_counted() {
    let mut broker = Broker::with(&[A, B]);
    assert_eq!(broker.ask(A, queue("q")), ["declared q 0 0"]);
    broker.publish(A, "q", &["a", "b"]);
    broker.ask(B, consume("q", "c"));
    broker.publish(A, "q", &["c"]);
    assert_eq!(
        broker.ask(A, queue("q")),
        ["declared q 0 1"],
        "unsettled messages do not count"
    );
    broker.request(B.0, Request::Disconnect);
    assert_eq!(broker.ask(A, passive("q")), ["declared q 3 0"]);
    assert_eq!(broker.ask(A, delete("q")), ["deleted 3"]);
    assert_eq!(broker.ask(A, delete("q")), ["deleted 0"], "it is gone already");
    assert_eq!(broker.ask(A, passive("q")), ["failed: no queue 'q'"]);
}

#[test]
fn a_second_declaration_must_say_the_same() {
    let cases = [
        (transient("q"), "durable = true, not false"),
        (exclusive("q"), "durable = true, not false"),
        (auto_delete("q"), "auto_delete = false, not true"),
        (
            queue_with("q", &[("x-max-length", Value::I32(4))]),
            "x-max-length = 3, not 4",
        ),
        (queue("q"), "x-max-length = 3, not nothing"),
        (
            queue_with("q", &[("x-max-length", Value::I32(3)), ("x-expires", Value::I64(9))]),
            "x-expires = nothing, not 9",
        ),
    ];
    for (request, difference) in cases {
        let mut broker = Broker::with(&[A]);
        broker.ask(A, queue_with("q", &[("x-max-length", Value::I32(3))]));
        // The same number in another width is the same; so is what the broker does not look at.
        let alike = [("x-max-length", Value::I64(3)), ("x-unknown", Value::Void)];
        assert_eq!(broker.ask(A, queue_with("q", &alike)), ["declared q 0 0"]);
        let refused = format!("failed: queue 'q' exists with {difference}: declare it alike, or delete it first");
        assert_eq!(broker.ask(A, request), [refused]);
    }
}

#[test]
fn if_unused_and_if_empty_are_minded() {
    let guarded = |if_unused, if_empty| R::DeleteQueue {
        name: "q".into(),
        if_unused,
        if_empty,
        reply: true,
    };
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.ask(B, consume("q", "c"));
    broker.ask(B, qos(1));
    let failed = broker.ask(A, guarded(true, false));
    assert_eq!(
        failed,
        ["failed: queue 'q' has consumers: cancel them, or delete it without if-unused"]
    );
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.hold();
    broker.publish(A, "q", &["a"]);
    let failed = broker.ask(A, guarded(false, true));
    assert_eq!(
        failed,
        ["failed: queue 'q' is not empty: purge it, or delete it without if-empty"],
        "what is on its way counts"
    );
}

#[test]
fn an_exclusive_queue_is_its_connections_and_goes_with_it() {
    // G16
    let locked = "failed: queue 'e' is locked: another connection declared it exclusive";
    let attempts: [fn() -> R; 6] = [
        || exclusive("e"),
        || passive("e"),
        || get("e"),
        || consume("e", "c"),
        || purge("e"),
        || delete("e"),
    ];
    for attempt in attempts {
        let mut broker = Broker::with(&[A, B]);
        assert_eq!(broker.ask(A, exclusive("e")), ["declared e 0 0"]);
        assert_eq!(broker.ask(B, attempt()), [locked]);
        // To publish to it is nobody's privilege.
        broker.open(Chan(2, 2));
        broker.publish(Chan(2, 2), "e", &["a"]);
        assert_eq!(broker.ask(A, get("e")), ["got 1 'a' left 0"]);
        broker.hold();
        broker.request(A.0, Request::Disconnect);
        assert!(broker.told(A.0).is_empty(), "its end is not durable yet");
        broker.release();
        assert_eq!(broker.told(A.0), ["disconnected"]);
        assert_eq!(
            broker.ask(Chan(2, 2), exclusive("e")),
            ["declared e 0 0"],
            "the name is free"
        );
    }
}

#[test]
fn a_declaration_in_flight_when_its_connection_ends_leaves_no_queue() {
    let mut broker = Broker::with(&[A, B]);
    broker.hold();
    assert!(broker.ask(A, exclusive("e")).is_empty());
    broker.request(A.0, Request::Disconnect);
    broker.release();
    assert_eq!(broker.told(A.0), ["disconnected"]);
    assert_eq!(broker.ask(B, passive("e")), ["failed: no queue 'e'"]);
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, auto_delete("q"));
    broker.publish(A, "q", &["a"]);
    assert_eq!(
        broker.ask(A, passive("q")),
        ["declared q 1 0"],
        "it had no consumer yet"
    );
    broker.ask(A, consume("q", "c"));
    broker.ask(B, consume("q", "d"));
    broker.ask(A, cancel("c"));
    assert_eq!(broker.ask(A, passive("q")), ["declared q 0 1"]);
    broker.request(B.0, Request::CloseChannel { channel: B.1 });
    assert_eq!(broker.ask(A, passive("q")), ["failed: no queue 'q'"]);
}

#[test]
fn a_consumer_hears_that_its_queue_is_gone() {
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a"]);
    broker.ask(A, consume("q", "c"));
    assert_eq!(broker.ask(B, delete("q")), ["deleted 0"]);
    assert_eq!(broker.said(A), ["ended c"]);
    assert!(broker.ask(A, ack(1)).is_empty(), "its deliveries have tags still");
    assert_eq!(broker.ask(A, qos(1)), ["qosset"]);
    assert_eq!(broker.stats().consumers, 0);
}

#[test]
fn a_queue_without_a_name_gets_one() {
    let mut broker = Broker::with(&[A]);
    let said = broker.ask(A, exclusive(""));
    let name = said[0].split(' ').nth(1).expect("a name").to_owned();
    assert!(name.starts_with("amq.gen-"), "{name}");
    // An empty name means the last one, as does an empty key when binding.
    assert_eq!(broker.ask(A, bind("amq.direct", "", "")), ["bound"]);
    broker.ask(A, publish("amq.direct", &name, "a"));
    assert_eq!(broker.ask(A, get("")), ["got 1 'a' left 0"]);
    assert_eq!(broker.ask(A, passive("")), [format!("declared {name} 0 0")]);
    let said = broker.ask(A, exclusive(""));
    assert_ne!(said[0], format!("declared {name} 0 0"), "each is another");
    assert_eq!(
        broker.ask(A, queue("amq.mine")),
        ["failed: queue 'amq.mine': has a name that begins with 'amq.', which is reserved"]
    );
    let mut broker = Broker::with(&[A]);
    assert_eq!(broker.ask(A, get("")), ["failed: no queue ''"]);
}

#[test]
fn messages_expire_at_the_head() {
    // G13
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue_with("q", &[("x-message-ttl", Value::I32(1000))]));
    broker.ask(A, publish("", "q", "queue's"));
    broker.ask(A, expiring("q", "its own", "100"));
    broker.pass_ms(500);
    assert_eq!(
        broker.ask(A, passive("q")),
        ["declared q 2 0"],
        "the second is behind the first"
    );
    let deadline = broker.node.deadline().expect("a message expires");
    assert_eq!(deadline.at.ms_since(broker.now.mono), 500);
    broker.pass_ms(499);
    assert_eq!(broker.ask(A, passive("q")), ["declared q 2 0"]);
    broker.pass_ms(1);
    assert_eq!(
        broker.ask(A, passive("q")),
        ["declared q 0 0"],
        "both went, without anyone asking"
    );
    assert_eq!(broker.stats().expired_total, 2);
    assert_eq!(broker.node.deadline(), None);
}

#[test]
fn the_smaller_time_to_live_wins_and_a_consumer_is_not_given_what_expired() {
    // G13
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue_with("q", &[("x-message-ttl", Value::I32(100))]));
    broker.ask(A, expiring("q", "a", "5000"));
    broker.ask(A, expiring("q", "b", "50"));
    broker.ask(A, get("q"));
    broker.pass_ms(60);
    assert_eq!(broker.ask(A, get("q")), ["empty"]);
    broker.pass_ms(40);
    // Unsettled messages do not expire; returned ones do.
    broker.ask(A, requeue(1));
    assert_eq!(broker.ask(A, get("q")), ["empty"]);
}

#[test]
fn time_that_goes_back_does_not_lengthen_a_life() {
    // G13
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue_with("q", &[("x-message-ttl", Value::I32(100))]));
    broker.pass_ms(10_000);
    broker.now.wall = Wall(broker.now.wall.0 - 9_000);
    broker.publish(A, "q", &["a"]);
    broker.now.wall = Wall(broker.now.wall.0 + 9_099);
    broker.pass_ms(0);
    assert_eq!(broker.ask(A, passive("q")), ["declared q 1 0"]);
    broker.pass_ms(1);
    assert_eq!(broker.ask(A, passive("q")), ["declared q 0 0"]);
}

#[test]
fn a_message_that_lives_for_no_time_goes_to_who_waits_or_to_nobody() {
    // G13
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.ask(A, expiring("q", "a", "0"));
    assert_eq!(broker.ask(A, get("q")), ["empty"]);
    broker.ask(B, qos(1));
    broker.ask(B, consume("q", "c"));
    broker.ask(A, expiring("q", "b", "0"));
    assert_eq!(broker.said(B), ["c 1 'b'"]);
    broker.ask(A, expiring("q", "nobody has room", "0"));
    broker.ask(B, ack(1));
    assert!(broker.said(B).is_empty());
    assert_eq!(broker.stats().expired_total, 2);
}

#[test]
fn an_expiration_must_be_a_number() {
    for bad in ["", "-1", "1.5", "x", " 1", "99999999999999999999"] {
        let mut broker = Broker::with(&[A]);
        assert_eq!(
            broker.ask(A, expiring("q", "a", bad)),
            ["failed: property 'expiration' must be milliseconds in decimal digits"],
            "{bad:?}"
        );
    }
}

#[test]
fn an_unused_queue_expires() {
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue_with("q", &[("x-expires", Value::I32(1000))]));
    let uses: [fn() -> R; 2] = [|| get("q"), || passive("q")];
    for used in uses {
        broker.pass_ms(999);
        broker.ask(A, used());
    }
    broker.ask(B, consume("q", "c"));
    broker.pass_ms(5000);
    assert_eq!(broker.ask(A, passive("q")), ["declared q 0 1"], "it is consumed from");
    broker.ask(B, cancel("c"));
    broker.pass_ms(999);
    // Publishing is no use.
    broker.publish(A, "q", &["a"]);
    broker.pass_ms(1);
    assert_eq!(broker.ask(A, passive("q")), ["failed: no queue 'q'"]);
}

#[test]
fn an_operator_sees_purges_and_deletes_queues() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue_with("b", &[("x-max-length", Value::I32(7))]));
    broker.ask(A, exclusive("a"));
    broker.publish(A, "b", &["one", "three"]);
    broker.ask(A, get("b"));
    let AdminReply::Queues(infos) = broker.administer(AdminRequest::Queues { vhost: None }) else {
        panic!("queues were asked for")
    };
    let names: Vec<&str> = infos.iter().map(|info| &*info.name).collect();
    assert_eq!(names, ["a", "b"]);
    let info = &infos[1];
    assert_eq!(
        (info.messages_ready, info.messages_unsettled, info.message_bytes),
        (1, 1, 8)
    );
    assert_eq!(info.arguments, [("x-max-length".to_owned(), "7".to_owned())]);
    assert!(infos[0].exclusive && !infos[0].durable && info.durable);
    let none = AdminRequest::Queues {
        vhost: Some("other".into()),
    };
    assert_eq!(broker.administer(none), AdminReply::Queues(Vec::new()));
    let (vhost, queue) = (Name::from("/"), Name::from("b"));
    let purge = AdminRequest::Purge {
        vhost: vhost.clone(),
        queue: queue.clone(),
    };
    assert_eq!(broker.administer(purge), AdminReply::Done { messages: 1 });
    let delete = AdminRequest::Delete { vhost, queue };
    assert_eq!(broker.administer(delete.clone()), AdminReply::Done { messages: 0 });
    assert_eq!(broker.administer(delete), AdminReply::NotFound);
}
