//! Every buffer has a limit, and overload stops publishers (G14).

use super::*;

#[test]
fn a_full_queue_drops_its_head() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue_with("q", &[("x-max-length", Value::I32(2))]));
    broker.publish(A, "q", &["a", "b", "c"]);
    broker.ask(A, get("q"));
    broker.publish(A, "q", &["d"]);
    assert_eq!(
        broker.ask(A, passive("q")),
        ["declared q 2 0"],
        "unsettled ones do not count"
    );
    broker.ask(A, requeue(1));
    assert_eq!(broker.drain(A, "q"), ["c", "d"], "the returned one was the oldest");
    broker.ask(A, queue_with("bytes", &[("x-max-length-bytes", Value::I32(10))]));
    broker.publish(A, "bytes", &["12345", "67890", "x"]);
    assert_eq!(broker.drain(A, "bytes"), ["67890", "x"]);
    assert_eq!(broker.stats().dropped_total, 3);
}

#[test]
fn a_queue_that_rejects_by_bytes_counts_what_is_on_its_way() {
    let mut broker = Broker::with(&[A]);
    let limit = [
        ("x-max-length-bytes", Value::I32(10)),
        ("x-overflow", Value::from("reject-publish")),
    ];
    broker.ask(A, queue_with("q", &limit));
    broker.ask(A, CONFIRM);
    broker.hold();
    broker.publish(A, "q", &["12345", "678901"]);
    assert_eq!(broker.said(A), ["nack 2"]);
    assert!(broker.ask(A, publish("", "q", "67890")).is_empty());
    broker.release();
    assert_eq!(broker.said(A), ["ack 1", "ack 3"]);
    assert_eq!(broker.drain(A, "q"), ["12345", "67890"]);
}

#[test]
fn one_queues_refusal_refuses_the_publish_and_others_keep_it() {
    let mut broker = Broker::with(&[A]);
    let full = [
        ("x-max-length", Value::I32(0)),
        ("x-overflow", Value::from("reject-publish")),
    ];
    broker.ask(A, queue_with("full", &full));
    broker.ask(A, queue("q"));
    for name in ["q", "full"] {
        broker.ask(A, bind("amq.fanout", name, ""));
    }
    broker.ask(A, CONFIRM);
    assert_eq!(broker.ask(A, publish("amq.fanout", "", "a")), ["nack 1"]);
    assert_eq!(broker.drain(A, "q"), ["a"]);
}

#[test]
fn publishers_are_stopped_while_too_much_waits_for_the_disk() {
    let config = Config {
        pending_bytes_max: 10_000,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.open(B);
    broker.ask(A, queue("q"));
    broker.hold();
    let body = "x".repeat(3000);
    broker.publish(A, "q", &[&body, &body, &body]);
    assert!(broker.told(A.0).is_empty());
    broker.publish(A, "q", &[&body]);
    assert_eq!(broker.told(A.0), ["blocked: low on disk bandwidth"]);
    assert_eq!(broker.told(B.0), ["blocked: low on disk bandwidth"]);
    assert_eq!(broker.stats().publishers_blocked, 1);
    // A connection that comes now hears it too.
    let (vhost, user) = ("/".into(), "guest".into());
    broker.request(
        3,
        Request::Connect {
            vhost,
            user,
            channels_max: 1,
        },
    );
    assert_eq!(broker.told(3), ["connected", "blocked: low on disk bandwidth"]);
    broker.release();
    for conn in 1..=3 {
        assert_eq!(broker.told(conn), ["unblocked"]);
    }
}

#[test]
fn publishers_are_stopped_while_transient_messages_fill_the_memory() {
    let config = Config {
        cache_bytes: 10_000,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.ask(A, transient("t"));
    let body = "x".repeat(1000);
    for _ in 0..9 {
        broker.publish(A, "t", &[&body]);
    }
    assert_eq!(broker.told(A.0), ["blocked: low on memory"]);
    assert_eq!(broker.ask(A, get_no_ack("t")).len(), 1);
    assert!(broker.told(A.0).is_empty(), "an eighth of it must be free");
    broker.ask(A, get_no_ack("t"));
    assert_eq!(broker.told(A.0), ["unblocked"]);
}

/// Requests behind one whose answer waits for the disk.
#[test]
fn a_peer_that_does_not_wait_for_answers_is_held() {
    let mut broker = Broker::with(&[A]);
    broker.hold();
    assert!(broker.ask(A, queue("q")).is_empty());
    let requests = (0..4096).map(|_| qos(1)).collect();
    broker.ask_all(A, requests);
    assert!(broker.told(A.0).is_empty(), "a mebibyte may wait");
    broker.ask(A, qos(1));
    assert_eq!(broker.told(A.0), ["hold"]);
    broker.release();
    assert_eq!(broker.told(A.0), ["go on"]);
    assert_eq!(broker.said(A).len(), 1 + 4097);
}

#[test]
fn a_connection_may_open_so_many_channels() {
    let mut broker = Broker::new();
    for number in 1..=10 {
        broker.open(Chan(1, number));
    }
    broker.request(1, Request::OpenChannel { channel: 11 });
    assert_eq!(broker.told(1), ["failed: too many channels on this connection"]);
}

#[test]
fn an_unlimited_consumer_is_limited_all_the_same() {
    let config = Config {
        unsettled_max: 3,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a", "b", "c", "d"]);
    assert_eq!(broker.ask(A, consume("q", "c")).len(), 1 + 3);
    assert_eq!(broker.ask(A, ack(2)), ["c 4 'd'"]);
}

/// The last word to a connection may come together with another to all: it is the last all the same.
#[test]
fn a_connection_that_ends_as_publishers_go_on_is_forgotten() {
    let config = Config {
        pending_bytes_max: 1000,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.open(B);
    broker.ask(A, queue("q"));
    broker.hold();
    broker.publish(A, "q", &[&"x".repeat(2000)]);
    broker.request(B.0, Request::Disconnect);
    broker.told(A.0);
    broker.told(B.0);
    broker.release();
    assert_eq!(broker.told(A.0), ["unblocked"]);
    assert_eq!(broker.told(B.0), ["disconnected"]);
    assert_eq!(broker.stats().connections, 1);
}
