//! Exchanges and bindings as clients see them; requests in line.

use super::*;

#[test]
fn requests_wait_in_line_behind_a_declaration() {
    // G5, G11
    let mut broker = Broker::with(&[A]);
    broker.ask(A, CONFIRM);
    broker.hold();
    broker.ask_all(
        A,
        vec![
            queue("q"),
            bind("amq.topic", "q", "a.*"),
            publish("amq.topic", "a.b", "1"),
            publish("", "q", "2"),
            consume("q", "c"),
            cancel("c"),
            get("q"),
        ],
    );
    broker.release();
    // The consumer is cancelled before the messages are durable, the get waits for them.
    let said = broker.said(A);
    let (confirms, others): (Vec<String>, Vec<String>) = said.into_iter().partition(|text| text.starts_with("ack"));
    assert_eq!(
        others,
        [
            "declared q 0 0",
            "bound",
            "consuming c",
            "cancelled c",
            "got 1 '1' left 1"
        ]
    );
    assert_eq!(confirms, ["ack ..2"]);
}

#[test]
fn a_connection_that_ends_has_its_requests_in_line_done() {
    let mut broker = Broker::with(&[A, B]);
    broker.ask(B, queue("q"));
    broker.hold();
    broker.ask_all(A, vec![queue("new"), publish("", "new", "1"), publish("", "q", "2")]);
    broker.request(A.0, Request::Disconnect);
    assert!(broker.told(A.0).is_empty());
    broker.release();
    assert_eq!(broker.told(A.0), ["disconnected"]);
    assert_eq!(broker.drain(B, "new"), ["1"]);
    assert_eq!(broker.drain(B, "q"), ["2"]);
    assert_eq!(broker.stats().connections, 1);
    // Nothing of it is heard any more.
    broker.request(A.0, Request::OpenChannel { channel: 1 });
    assert!(broker.said(A).iter().all(|text| text != "opened"));
}

#[test]
fn a_channel_that_closes_has_its_requests_in_line_done() {
    let mut broker = Broker::with(&[A]);
    broker.hold();
    broker.ask_all(A, vec![queue("q"), publish("", "q", "1")]);
    broker.request(A.0, Request::CloseChannel { channel: A.1 });
    broker.release();
    assert_eq!(broker.said(A), ["declared q 0 0", "closed"]);
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), ["1"]);
}

#[test]
fn a_failure_in_line_forgets_what_is_behind_it() {
    let mut broker = Broker::with(&[A]);
    broker.hold();
    broker.ask_all(
        A,
        vec![queue("q"), get("none"), publish("", "q", "never"), queue("never")],
    );
    broker.release();
    assert_eq!(broker.said(A), ["declared q 0 0", "failed: no queue 'none'"]);
    broker.request(A.0, Request::CloseChannel { channel: A.1 });
    broker.said(A);
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), Vec::<String>::new());
    assert_eq!(broker.ask(A, passive("never")), ["failed: no queue 'never'"]);
}

#[test]
fn what_no_binding_takes_goes_to_the_alternate_exchange() {
    let mut broker = Broker::with(&[A]);
    let alternate = [("alternate-exchange", Value::from("amq.fanout"))];
    broker.ask(A, exchange_with("x", "direct", &alternate));
    broker.ask(A, queue("bound"));
    broker.ask(A, queue("rest"));
    broker.ask(A, bind("x", "bound", "key"));
    broker.ask(A, bind("amq.fanout", "rest", ""));
    assert!(broker.ask(A, mandatory("x", "key", "1")).is_empty());
    assert!(
        broker.ask(A, mandatory("x", "other", "2")).is_empty(),
        "taken, so not returned"
    );
    assert_eq!(broker.drain(A, "bound"), ["1"]);
    assert_eq!(broker.drain(A, "rest"), ["2"]);
}

#[test]
fn a_cached_route_ends_with_the_next_change() {
    // G4
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.ask(A, queue("r"));
    broker.ask(B, bind("amq.direct", "q", "k"));
    broker.ask(A, publish("amq.direct", "k", "1"));
    broker.ask(B, bind("amq.direct", "r", "k"));
    broker.ask(A, publish("amq.direct", "k", "2"));
    broker.ask(B, delete("q"));
    broker.ask(A, publish("amq.direct", "k", "3"));
    assert_eq!(broker.drain(A, "r"), ["2", "3"]);
}

#[test]
fn a_queue_deleted_under_a_publish_takes_nothing_and_the_confirm_comes() {
    // G1
    let mut broker = Broker::with(&[A, B]);
    broker.ask(A, queue("q"));
    broker.ask(A, CONFIRM);
    broker.hold();
    broker.publish(B, "q", &["first"]);
    broker.ask(B, delete("q"));
    broker.publish(A, "q", &["late"]);
    broker.release();
    assert_eq!(broker.said(A), ["ack 1"]);
    assert_eq!(broker.said(B), ["deleted 1"]);
    assert_eq!(broker.stats().messages_ready, 0);
}

#[test]
fn what_must_not_be_done_is_refused_with_a_reason() {
    let cases = [
        (publish("none", "", "x"), "no exchange 'none'"),
        (
            exchange("", "direct"),
            "exchange '': is the default exchange, which nobody declares",
        ),
        (
            exchange("x", "nonsense"),
            "unknown exchange type 'nonsense': direct, fanout, topic and headers exist",
        ),
        (
            exchange("amq.new", "direct"),
            "exchange 'amq.new': has a name that begins with 'amq.', which is reserved",
        ),
        (
            exchange("amq.direct", "fanout"),
            "exchange 'amq.direct' exists with type = direct, not fanout: declare it alike, or delete it first",
        ),
        (
            bind("", "q", "k"),
            "exchange '': is the default exchange: every queue is bound to it by its name",
        ),
        (bind("none", "q", "k"), "no exchange 'none'"),
        (bind("amq.direct", "none", "k"), "no queue 'none'"),
        (
            R::DeleteExchange {
                name: "amq.topic".into(),
                if_unused: false,
                reply: true,
            },
            "exchange 'amq.topic': is built in and cannot be deleted",
        ),
        (
            R::DeleteExchange {
                name: "used".into(),
                if_unused: true,
                reply: true,
            },
            "exchange 'used' has bindings: unbind them, or delete it without if-unused",
        ),
        (
            publish("inner", "", "x"),
            "exchange 'inner': is internal: clients cannot publish to it",
        ),
        (
            queue_with("p", &[("x-single-active-consumer", Value::Bool(true))]),
            "queue argument 'x-single-active-consumer' is not supported",
        ),
    ];
    let why = "the channel is not in transaction mode: tx.select comes first";
    let modes = [R::TxCommit, R::TxRollback].map(|request| (request, why));
    for (request, why) in cases.into_iter().chain(modes) {
        let mut broker = Broker::with(&[A]);
        broker.ask(A, queue("q"));
        broker.ask(A, exchange("used", "fanout"));
        broker.ask(A, bind("used", "q", ""));
        let mut inner = exchange("inner", "fanout");
        if let R::DeclareExchange { internal, .. } = &mut inner {
            *internal = true;
        }
        broker.ask(A, inner);
        assert_eq!(broker.ask(A, request), [format!("failed: {why}")]);
        assert_eq!(broker.stats().exchanges, 7, "nothing was done");
    }
}

#[test]
fn what_is_not_bound_is_unbound_already() {
    let unbind = |source: &str, queue: &str| R::Unbind {
        destination: Destination::Queue(queue.into()),
        source: source.into(),
        routing_key: "k".into(),
        arguments: Table::default(),
        reply: true,
    };
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    for (source, queue) in [("none", "q"), ("amq.direct", "none"), ("amq.direct", "q")] {
        assert_eq!(broker.ask(A, unbind(source, queue)), ["unbound"]);
    }
    broker.ask(A, bind("amq.direct", "q", "k"));
    assert_eq!(broker.ask(A, unbind("amq.direct", "q")), ["unbound"]);
    assert_eq!(broker.ask(A, mandatory("amq.direct", "k", "x")), ["return 'x'"]);
}

#[test]
fn an_unknown_vhost_is_refused_and_a_users_name_is_his_own() {
    let mut broker = Broker::with(&[A]);
    let (vhost, user) = ("none".into(), "guest".into());
    broker.request(
        7,
        Request::Connect {
            vhost,
            user,
            channels_max: 1,
        },
    );
    assert_eq!(broker.told(7), ["refused: no vhost 'none'"]);
    assert_eq!(broker.stats().connections, 1);
    let claimed = |user: &'static str| OwnedProperties {
        user_id: Some(user.into()),
        ..OwnedProperties::default()
    };
    broker.ask(A, queue("q"));
    assert!(broker.ask(A, publish_with("", "q", "x", &claimed("guest"))).is_empty());
    assert_eq!(
        broker.ask(A, publish_with("", "q", "x", &claimed("root"))),
        ["failed: property 'user-id' is not the connection's user"]
    );
}
