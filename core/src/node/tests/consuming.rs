//! Who gets what, in which order, and how much of it.

use super::*;

#[test]
fn a_get_and_a_purge_see_what_their_channel_published() {
    // G11
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.hold();
    broker.publish(A, "q", &["a", "b"]);
    assert!(broker.ask(A, get("q")).is_empty(), "waits for its own publishes");
    assert_eq!(broker.ask(B, get("q")), ["empty"], "another channel does not");
    broker.release();
    assert_eq!(broker.said(A), ["got 1 'a' left 1"]);
    broker.hold();
    broker.publish(A, "q", &["c"]);
    assert!(broker.ask(A, purge("q")).is_empty());
    broker.release();
    assert_eq!(broker.said(A), ["purged 2"], "unsettled messages stay");
    broker.ask(A, requeue(1));
    assert_eq!(broker.ask(A, get("q")), ["got 2 'a' again left 0"]);
}

#[test]
fn a_returned_message_is_the_next_one() {
    // G3, G5
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a", "b", "c", "d", "e"]);
    for tag in 1..=4 {
        assert!(broker.ask(A, get("q"))[0].starts_with(&format!("got {tag}")));
    }
    broker.ask(A, requeue(4));
    broker.ask(A, requeue(2));
    let said: Vec<String> = (0..3).flat_map(|_| broker.ask(B, get("q"))).collect();
    assert_eq!(
        said,
        ["got 1 'b' again left 2", "got 2 'd' again left 1", "got 3 'e' left 0"]
    );
}

#[test]
fn messages_return_when_their_channel_or_connection_ends() {
    // G3
    let mut broker = Broker::with(&[A, Chan(1, 2), B]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a", "b", "c"]);
    broker.ask(Chan(1, 2), get("q"));
    broker.ask(B, get("q"));
    broker.request(1, Request::CloseChannel { channel: 2 });
    assert_eq!(broker.said(Chan(1, 2)), ["closed"]);
    broker.request(B.0, Request::Disconnect);
    let said: Vec<String> = (0..4).flat_map(|_| broker.ask(A, get("q"))).collect();
    assert_eq!(
        said,
        [
            "got 1 'a' again left 2",
            "got 2 'b' again left 1",
            "got 3 'c' left 0",
            "empty"
        ]
    );
}

#[test]
fn prefetch_limits_each_consumer() {
    // G14
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a", "b", "c", "d", "e"]);
    assert_eq!(broker.ask(A, qos(2)), ["qosset"]);
    assert_eq!(broker.ask(A, consume("q", "c")), ["consuming c", "c 1 'a'", "c 2 'b'"]);
    assert_eq!(broker.ask(A, consume("q", "d")), ["consuming d", "d 3 'c'", "d 4 'd'"]);
    assert_eq!(broker.ask(A, ack(3)), ["d 5 'e'"]);
    broker.publish(A, "q", &["f", "g"]);
    assert!(broker.said(A).is_empty());
    assert_eq!(broker.ask(A, ack_upto(2)), ["c 6 'f'", "c 7 'g'"]);
}

#[test]
fn a_shared_prefetch_limits_the_channels_consumers_together() {
    // G14
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.ask(A, queue("r"));
    assert_eq!(broker.ask(A, R::Qos { count: 3, global: true }), ["qosset"]);
    broker.ask(A, consume("q", "c"));
    broker.ask(A, consume("r", "d"));
    broker.publish(A, "q", &["a", "b"]);
    broker.publish(A, "r", &["x", "y"]);
    assert_eq!(broker.said(A), ["c 1 'a'", "c 2 'b'", "d 3 'x'"]);
    assert_eq!(
        broker.ask(A, ack(1)),
        ["d 4 'y'"],
        "room for one more, of another queue"
    );
    broker.publish(A, "q", &["e"]);
    assert!(broker.said(A).is_empty());
    assert_eq!(broker.ask(A, R::Qos { count: 0, global: true }), ["qosset", "c 5 'e'"]);
}

#[test]
fn consumers_take_turns() {
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.ask(A, consume("q", "c"));
    broker.ask(B, consume("q", "d"));
    broker.publish(A, "q", &["1", "2", "3", "4"]);
    assert_eq!(broker.said(A), ["c 1 '1'", "c 2 '3'"]);
    assert_eq!(broker.said(B), ["d 1 '2'", "d 2 '4'"]);
}

#[test]
fn a_connection_that_does_not_read_gets_a_window_full() {
    // G14
    let config = Config {
        connection_window_bytes: 1000,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.open(B);
    broker.ask(A, queue("q"));
    let body = "x".repeat(100 << 10);
    for _ in 0..6 {
        broker.publish(A, "q", &[&body]);
    }
    let delivered = broker.ask(B, consume("q", "c")).len() - 1;
    assert_eq!(delivered, 3, "the window, overrun by a turn of 256 KiB");
    let bytes: u64 = broker
        .messages(B)
        .iter()
        .map(|message| message.bytes().len() as u64)
        .sum();
    broker.request(B.0, Request::Drained { bytes: bytes - 501 });
    assert!(broker.said(B).is_empty(), "half the window must be free");
    broker.request(B.0, Request::Drained { bytes: 1 });
    assert_eq!(broker.said(B).len(), 3);
    // Another connection is not held up.
    broker.publish(A, "q", &["small"]);
    assert_eq!(broker.ask(A, consume("q", "d")), ["consuming d", "d 1 'small'"]);
}

#[test]
fn a_delivery_without_acknowledgement_is_settled_by_being_sent() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a"]);
    assert_eq!(broker.ask(A, get_no_ack("q")), ["got 1 'a' left 0"]);
    assert_eq!(broker.ask(A, ack(1)), ["failed: unknown delivery tag 1"]);
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.ask(A, get("q")), ["empty"]);
}

#[test]
fn a_cancelled_consumers_deliveries_stay_with_the_channel() {
    // G3
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a", "b"]);
    broker.ask(A, consume("q", "c"));
    assert_eq!(broker.ask(A, cancel("c")), ["cancelled c"]);
    broker.publish(A, "q", &["late"]);
    assert!(broker.said(A).is_empty());
    assert_eq!(broker.ask(B, get("q")), ["got 1 'late' left 0"], "a and b are held");
    assert!(broker.ask(A, ack(1)).is_empty());
    assert!(broker.ask(A, requeue(2)).is_empty());
    assert_eq!(broker.ask(B, get("q")), ["got 2 'b' again left 0"]);
}

#[test]
fn recover_answers_and_then_delivers_again() {
    // G3
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.ask(A, consume("q", "c"));
    broker.publish(A, "q", &["a", "b"]);
    broker.said(A);
    assert_eq!(
        broker.ask(A, R::Recover { reply: true }),
        ["recovered", "c 3 'a' again", "c 4 'b' again"]
    );
    assert_eq!(broker.ask(A, ack(1)), ["failed: unknown delivery tag 1"]);
}

#[test]
fn a_failed_channel_says_nothing_more_until_it_is_closed() {
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.ask(A, consume("q", "c"));
    broker.publish(B, "q", &["a"]);
    broker.said(A);
    assert_eq!(broker.ask(A, ack(9)), ["failed: unknown delivery tag 9"]);
    assert!(broker.ask(A, get("q")).is_empty());
    broker.publish(B, "q", &["b"]);
    assert!(broker.said(A).is_empty());
    broker.request(A.0, Request::CloseChannel { channel: A.1 });
    assert_eq!(broker.said(A), ["closed"]);
    // G3: what it held is ready.
    assert_eq!(broker.drain(B, "q"), ["a", "b"]);
    broker.open(A);
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    let alone = |consumer: &str| R::Consume {
        queue: "q".into(),
        consumer: consumer.into(),
        no_ack: false,
        exclusive: true,
        arguments: Table::default(),
        reply: true,
    };
    assert_eq!(broker.ask(A, alone("c")), ["consuming c"]);
    assert_eq!(
        broker.ask(B, consume("q", "d")),
        ["failed: queue 'q': a consumer has exclusive use of it"]
    );
    broker.request(B.0, Request::CloseChannel { channel: B.1 });
    broker.said(B);
    broker.open(B);
    broker.ask(A, cancel("c"));
    assert_eq!(broker.ask(B, consume("q", "d")), ["consuming d"]);
    assert_eq!(
        broker.ask(A, alone("c")),
        ["failed: queue 'q': it has consumers: exclusive use is not to be had"]
    );
}

#[test]
fn consumer_tags_are_made_or_refused() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    let said = broker.ask(A, consume("q", ""));
    assert!(said[0].starts_with("consuming amq.ctag-"), "{said:?}");
    broker.ask(A, consume("q", "c"));
    assert_eq!(
        broker.ask(A, consume("q", "c")),
        ["failed: the consumer tag is in use on this channel"]
    );
}

#[test]
fn a_channel_opened_again_answers_after_the_end_of_the_one_before() {
    // G2: the end of a channel says that what it settled is durable, so it may take a while.
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a"]);
    broker.ask(A, get("q"));
    broker.hold();
    broker.ask(A, ack(1));
    broker.request(A.0, Request::CloseChannel { channel: A.1 });
    broker.request(A.0, Request::OpenChannel { channel: A.1 });
    assert!(broker.ask(A, get("q")).is_empty(), "its requests wait in line");
    broker.release();
    assert_eq!(broker.said(A), ["closed", "opened", "empty"]);
}
