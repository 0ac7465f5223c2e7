//! What the core answers, as the peer hears it.

use super::*;
use waystation_core::api::{Cause, Fault, Object, Operation};

fn message() -> Message {
    Message::new("ex", b"key", b"\x10\0\x02", b"body")
}

fn hears(reply: ChannelReply, expected: &[&str]) {
    let mut world = World::with_channel();
    world.reply(1, reply);
    assert_eq!(world.said(), expected);
}

#[test]
fn every_answer_has_its_method() {
    let tag = || Name::from("c");
    hears(ChannelReply::ExchangeDeclared, &["1 exchange.declare-ok"]);
    hears(ChannelReply::ExchangeDeleted, &["1 exchange.delete-ok"]);
    hears(ChannelReply::Bound { exchange: true }, &["1 exchange.bind-ok"]);
    hears(ChannelReply::Bound { exchange: false }, &["1 queue.bind-ok"]);
    hears(ChannelReply::Unbound { exchange: true }, &["1 exchange.unbind-ok"]);
    hears(ChannelReply::Unbound { exchange: false }, &["1 queue.unbind-ok"]);
    hears(
        ChannelReply::QueueDeclared {
            name: "q".into(),
            messages: 1,
            consumers: 2,
        },
        &["1 queue.declare-ok"],
    );
    hears(ChannelReply::QueuePurged { messages: 1 }, &["1 queue.purge-ok"]);
    hears(ChannelReply::QueueDeleted { messages: 1 }, &["1 queue.delete-ok"]);
    hears(ChannelReply::QosSet, &["1 basic.qos-ok"]);
    hears(ChannelReply::Consuming { consumer: tag() }, &["1 basic.consume-ok"]);
    hears(ChannelReply::Cancelled { consumer: tag() }, &["1 basic.cancel-ok"]);
    hears(ChannelReply::CancelledByServer { consumer: tag() }, &["1 basic.cancel"]);
    hears(ChannelReply::Empty, &["1 basic.get-empty"]);
    hears(ChannelReply::Recovered, &["1 basic.recover-ok"]);
    hears(ChannelReply::ConfirmSelected, &["1 confirm.select-ok"]);
    hears(ChannelReply::TxSelected, &["1 tx.select-ok"]);
    hears(ChannelReply::TxCommitted, &["1 tx.commit-ok"]);
    hears(ChannelReply::TxRolledBack, &["1 tx.rollback-ok"]);
    hears(
        ChannelReply::Confirm {
            tag: 1,
            multiple: false,
            ok: true,
        },
        &["1 basic.ack"],
    );
    hears(
        ChannelReply::Confirm {
            tag: 1,
            multiple: false,
            ok: false,
        },
        &["1 basic.nack"],
    );
    hears(
        ChannelReply::Return { message: message() },
        &["1 basic.return", "1 header 4", "1 body 4"],
    );
    let got = ChannelReply::Got {
        tag: 1,
        redelivered: true,
        message: message(),
        messages: 3,
    };
    hears(got, &["1 basic.get-ok", "1 header 4", "1 body 4"]);
    let empty = Message::new("", b"", &[0, 0], b"");
    let deliver = ChannelReply::Deliver {
        consumer: tag(),
        tag: 1,
        redelivered: false,
        message: empty,
    };
    hears(deliver, &["1 basic.deliver", "1 header 0"]);
}

#[test]
fn a_delivery_carries_everything() {
    let mut world = World::with_channel();
    world.reply(
        1,
        ChannelReply::Deliver {
            consumer: "c".into(),
            tag: 9,
            redelivered: true,
            message: message(),
        },
    );
    let output = world.session.take_output();
    let (method, used) = Frame::parse(&output, 131_072).unwrap().unwrap();
    let expected = basic::Deliver {
        consumer_tag: "c",
        delivery_tag: 9,
        redelivered: true,
        exchange: "ex",
        routing_key: b"key",
    };
    assert_eq!(parse_method(method.payload), Method::BasicDeliver(expected));
    let (head, more) = Frame::parse(&output[used..], 131_072).unwrap().unwrap();
    let expected = ContentHeader {
        class: 60,
        body_bytes: 4,
        properties: b"\x10\0\x02",
    };
    assert_eq!(ContentHeader::parse(head.payload), Some(expected));
    let (body, last) = Frame::parse(&output[used + more..], 131_072).unwrap().unwrap();
    assert_eq!((body.kind, body.channel, body.payload), (frame::BODY, 1, &b"body"[..]));
    assert_eq!(used + more + last, output.len());
}

#[test]
fn bodies_are_split_by_the_negotiated_size() {
    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    world.start_ok(&[]);
    world.input(SessionInput::Authenticated(Ok(())));
    world.tune_ok(10, 4096, 0);
    world.say(0, &connection::Open { virtual_host: "/" });
    world.input(SessionInput::Replies(vec![Reply::Connected]));
    world.asked();
    world.said();
    world.open_channel(1);
    let message = Message::new("", b"q", &[0, 0], &vec![1; 4088 * 2 + 1]);
    world.reply(
        1,
        ChannelReply::Deliver {
            consumer: "c".into(),
            tag: 1,
            redelivered: false,
            message,
        },
    );
    assert_eq!(
        world.said(),
        [
            "1 basic.deliver",
            "1 header 8177",
            "1 body 4088",
            "1 body 4088",
            "1 body 1"
        ]
    );
    // A peer without the capability is not told of a consumer's end.
    world.reply(1, ChannelReply::CancelledByServer { consumer: "c".into() });
    assert_eq!(world.said(), [""; 0]);
}

#[test]
fn credit_comes_back_when_the_socket_has_taken_the_bytes() {
    let mut world = World::with_channel();
    let message = Message::new("", b"q", &[0, 0], &[1; 100]);
    let bytes = message.bytes().len() as u64;
    let deliver = |tag| ChannelReply::Deliver {
        consumer: "c".into(),
        tag,
        redelivered: false,
        message: message.clone(),
    };
    world.reply(1, deliver(1));
    world.reply(1, deliver(2));
    let output = world.session.take_output();
    world.session.sent(world.now, output.len() - 1);
    world.drain();
    assert_eq!(world.asked(), []);
    world.session.sent(world.now, 1);
    world.drain();
    assert_eq!(world.asked(), [Request::Drained { bytes: 2 * bytes }]);
    // Nothing comes of claiming more than was taken.
    world.session.sent(world.now, 1000);
    world.reply(1, deliver(3));
    let output = world.session.take_output();
    world.session.sent(world.now, output.len() - 1);
    world.drain();
    assert_eq!(world.asked(), []);
}

#[test]
fn every_message_on_its_way_is_credited() {
    let bytes = message().bytes().len() as u64;
    let replies = || {
        [
            ChannelReply::Deliver {
                consumer: "c".into(),
                tag: 1,
                redelivered: false,
                message: message(),
            },
            ChannelReply::Got {
                tag: 1,
                redelivered: false,
                message: message(),
                messages: 0,
            },
            ChannelReply::Return { message: message() },
        ]
    };
    for reply in replies() {
        let mut world = World::with_channel();
        world.reply(1, reply);
        assert_eq!(world.said().len(), 3);
        assert_eq!(world.asked(), [Request::Drained { bytes }]);
    }
    // On a channel that is gone too.
    for reply in replies() {
        let mut world = World::with_channel();
        world.say(1, &channel::Close::default());
        world.asked();
        world.reply(1, reply);
        assert_eq!(
            (world.said(), world.asked()),
            (vec![], vec![Request::Drained { bytes }])
        );
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    let mut world = World::with_channel();
    let message = Message::new("", b"q", &[0, 0], &vec![1; limits::OUTPUT_BYTES_MAX]);
    world.reply(
        1,
        ChannelReply::Deliver {
            consumer: "c".into(),
            tag: 1,
            redelivered: false,
            message,
        },
    );
    assert!(world.session.paused());
    let output = world.session.take_output();
    assert!(world.session.paused(), "taken by the driver is not taken by the socket");
    world.session.sent(world.now, output.len());
    assert!(!world.session.paused());
}

#[test]
fn publishers_are_blocked_and_told() {
    let mut world = World::with_channel();
    world.input(SessionInput::Replies(vec![Reply::Blocked { reason: "disk" }]));
    assert!(!world.session.paused(), "it has published nothing");
    assert_eq!(world.said(), [""; 0]);
    world.publish(1, &[0, 0], b"x");
    world.publish(1, &[0, 0], b"y");
    assert!(world.session.paused());
    assert_eq!(world.said(), ["0 connection.blocked"]);
    world.input(SessionInput::Replies(vec![Reply::Unblocked]));
    assert!(!world.session.paused());
    assert_eq!(world.said(), ["0 connection.unblocked"]);
    world.publish(1, &[0, 0], b"z");
    assert!(!world.session.paused());
    assert_eq!(world.asked().len(), 3);
}

fn fault(operation: Operation, cause: Cause) -> Fault {
    Fault { operation, cause }
}

fn ends_the_channel(operation: Operation, cause: Cause, expected: &str) {
    let mut world = World::with_channel();
    world.reply(1, ChannelReply::Failed(fault(operation, cause)));
    world.expect_channel_close(expected);
}

#[test]
fn refusals_that_name_something_end_the_channel() {
    let (object, name) = (Object::Queue, || Name::from("x"));
    let missing = Cause::NotFound { object, name: name() };
    ends_the_channel(
        Operation::Consume,
        missing,
        "404 60.20 NOT_FOUND - no queue 'x' in vhost '/'",
    );
    let denied = Cause::AccessRefused {
        object: Object::Exchange,
        name: "amq.x".into(),
        why: "is built in",
    };
    let expected = "403 40.20 ACCESS_REFUSED - exchange 'amq.x' in vhost '/' is built in";
    ends_the_channel(Operation::DeleteExchange, denied, expected);
    let locked = Cause::ResourceLocked {
        queue: name(),
        why: "exclusive",
    };
    let expected =
        "405 50.10 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'x' in vhost '/': exclusive";
    ends_the_channel(Operation::DeclareQueue, locked, expected);
    let differs = Cause::Inequivalent {
        object,
        name: name(),
        argument: "durable".into(),
        asked: "false".into(),
        present: "true".into(),
    };
    let expected = "406 50.10 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'x' in vhost '/': \
                    received 'false' but current is 'true'";
    ends_the_channel(Operation::DeclareQueue, differs, expected);
    let used = Cause::InUse {
        object,
        name: name(),
        why: "in use",
    };
    let expected = "406 50.40 PRECONDITION_FAILED - queue 'x' in vhost '/' in use";
    ends_the_channel(Operation::DeleteQueue, used, expected);
}

#[test]
fn refusals_of_a_value_end_the_channel() {
    let argument = Cause::InvalidArgument {
        argument: "x-message-ttl".into(),
        why: "must be a number",
    };
    let expected = "406 50.10 PRECONDITION_FAILED - invalid arg 'x-message-ttl': must be a number";
    ends_the_channel(Operation::DeclareQueue, argument, expected);
    let expected = "406 60.80 PRECONDITION_FAILED - unknown delivery tag 5";
    ends_the_channel(Operation::Settle, Cause::UnknownDelivery { tag: 5 }, expected);
    let why = "cannot switch from confirm to tx mode";
    let expected = "406 90.10 PRECONDITION_FAILED - cannot switch from confirm to tx mode";
    ends_the_channel(Operation::TxSelect, Cause::WrongMode { why }, expected);
    let property = Cause::InvalidProperty {
        property: "expiration",
        why: "must be a number",
    };
    let expected = "406 60.40 PRECONDITION_FAILED - property 'expiration' must be a number";
    ends_the_channel(Operation::Publish, property, expected);
}

#[test]
fn refusals_that_end_the_connection() {
    let cases = [
        (
            fault(
                Operation::Consume,
                Cause::NotAllowed {
                    why: "attempt to reuse consumer tag 'c'",
                },
            ),
            "530 60.20 NOT_ALLOWED - attempt to reuse consumer tag 'c'",
        ),
        (
            fault(
                Operation::DeclareQueue,
                Cause::NotImplemented {
                    feature: "x-single-active-consumer".into(),
                },
            ),
            "540 50.10 NOT_IMPLEMENTED - x-single-active-consumer is not supported",
        ),
        (
            fault(
                Operation::DeclareExchange,
                Cause::UnknownExchangeType { kind: "odd".into() },
            ),
            "503 40.10 COMMAND_INVALID - unknown exchange type 'odd'",
        ),
        (
            fault(Operation::DeclareQueue, Cause::Limit { why: "too many queues" }),
            "506 50.10 RESOURCE_ERROR - too many queues",
        ),
    ];
    for (fault, expected) in cases {
        let mut world = World::with_channel();
        world.reply(1, ChannelReply::Failed(fault.clone()));
        world.expect_close(expected);
        let mut world = World::with_channel();
        world.input(SessionInput::Replies(vec![Reply::Failed(fault)]));
        world.expect_close(expected);
    }
}

#[test]
fn a_reply_text_is_cut_at_a_character() {
    let name = "ä".repeat(127);
    let cause = Cause::NotFound {
        object: Object::Queue,
        name: Name::from(name),
    };
    let text = Error::from_fault(&fault(Operation::Get, cause), "/").reply_text();
    assert!(text.len() == 254 || text.len() == 255);
    assert!(text.starts_with("NOT_FOUND - no queue 'ä"));
}
