//! Channels, and what is asked on them.

use super::super::super::methods::{access, confirm, exchange, queue, tx};
use super::*;
use waystation_core::api::{Destination, Outcome};

#[test]
fn a_channel_opens_and_closes() {
    let mut world = World::with_channel();
    world.say(1, &channel::Close::default());
    assert_eq!(world.asked(), [Request::CloseChannel { channel: 1 }]);
    // A delivery that was on its way is dropped, and its credit given back.
    let message = Message::new("", b"q", &[0, 0], b"x");
    let bytes = message.bytes().len() as u64;
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
        (world.said(), world.asked()),
        (vec![], vec![Request::Drained { bytes }])
    );
    world.reply(1, ChannelReply::Closed);
    assert_eq!(world.said(), ["1 channel.close-ok"]);
    world.open_channel(1);
}

#[test]
fn a_channel_that_is_not_open_is_no_channel() {
    let expected = "504 60.80 CHANNEL_ERROR - expected 'channel.open'";
    let mut world = World::open();
    world.say(3, &basic::Ack::default());
    world.expect_close(expected);
    // Nor is one that the peer has closed.
    let mut world = World::with_channel();
    world.say(1, &channel::Close::default());
    world.say(1, &basic::Ack::default());
    world.expect_close(expected);

    let mut world = World::open();
    world.raw(frame::HEADER, 3, &header(60, 0, &[0, 0]));
    world.expect_close("504 0.0 CHANNEL_ERROR - expected 'channel.open'");
}

#[test]
fn a_channel_is_opened_once_and_within_the_limit() {
    let mut world = World::with_channel();
    world.say(1, &channel::Open {});
    world.expect_close("504 20.10 CHANNEL_ERROR - second 'channel.open' seen");
    let mut world = World::open();
    world.say(2048, &channel::Open {});
    world.expect_close("504 20.10 CHANNEL_ERROR - channel 2048 is above the negotiated channel_max 2047");
    let mut world = World::open();
    world.open_channel(2047);
}

#[test]
fn a_failed_channel_that_is_reopened_waits_until_the_core_has_closed_it() {
    let mut world = World::with_channel();
    world.say(1, &channel::Flow { active: false });
    // 540 ends the connection; a size beyond the limit ends the channel.
    world.expect_close("540 20.20 NOT_IMPLEMENTED - active=false");

    let mut world = World::with_channel();
    world.say(1, &publish_to_q());
    world.raw(frame::HEADER, 1, &header(60, (128 << 20) + 1, &[0, 0]));
    world.said();
    world.say(1, &channel::CloseOk {});
    world.say(1, &channel::Open {});
    world.say(1, &tx::Select {});
    // The core knows one channel of a number at a time: what comes behind waits (G16).
    assert_eq!(world.asked(), [Request::CloseChannel { channel: 1 }]);
    assert!(world.session.paused());
    // To the channel that was.
    world.reply(1, ChannelReply::Empty);
    world.reply(1, ChannelReply::Closed);
    let select = Request::Channel {
        channel: 1,
        request: ChannelRequest::TxSelect,
    };
    assert_eq!(world.asked(), [Request::OpenChannel { channel: 1 }, select]);
    assert!(!world.session.paused());
    // To the channel that is.
    world.reply(1, ChannelReply::Opened);
    assert_eq!(world.said(), ["1 channel.open-ok"]);
}

#[test]
fn channel_closes_that_cross_are_both_answered() {
    let mut world = World::with_channel();
    world.say(1, &publish_to_q());
    world.raw(frame::HEADER, 1, &header(60, (128 << 20) + 1, &[0, 0]));
    world.said();
    world.say(1, &channel::Close::default());
    assert_eq!(world.said(), ["1 channel.close-ok"]);
    world.say(1, &channel::CloseOk {});
    world.reply(1, ChannelReply::Closed);
    world.asked();
    world.open_channel(1);
}

#[test]
fn small_answers_are_the_sessions_own() {
    let mut world = World::with_channel();
    world.say(1, &channel::Flow { active: true });
    world.say(1, &access::Request::default());
    assert_eq!(world.said(), ["1 channel.flow-ok", "1 access.request-ok"]);
    assert_eq!(world.asked(), []);
}

#[test]
fn what_is_not_supported_is_said() {
    fn refused(method: &impl Encode, expected: &str) {
        let mut world = World::with_channel();
        world.say(1, method);
        world.expect_close(expected);
    }
    let qos = basic::Qos {
        prefetch_size: 9,
        ..basic::Qos::default()
    };
    refused(&qos, "540 60.10 NOT_IMPLEMENTED - prefetch_size!=0 (9)");
    refused(
        &basic::Recover { requeue: false },
        "540 60.110 NOT_IMPLEMENTED - requeue=false",
    );
    refused(
        &basic::RecoverAsync { requeue: false },
        "540 60.100 NOT_IMPLEMENTED - requeue=false",
    );
    let publish = basic::Publish {
        immediate: true,
        ..basic::Publish::default()
    };
    refused(&publish, "540 60.40 NOT_IMPLEMENTED - immediate=true");
    let deliver = basic::Deliver::default();
    refused(
        &deliver,
        "503 60.60 COMMAND_INVALID - basic.deliver is not a client's method on a channel",
    );
    let open = connection::Open::default();
    refused(
        &open,
        "503 10.40 COMMAND_INVALID - connection.open is not a client's method on a channel",
    );
}

#[test]
fn tables_are_looked_into() {
    let declare = queue::Declare {
        arguments: b"\x01aL",
        ..queue::Declare::default()
    };
    let mut world = World::with_channel();
    world.say(1, &declare);
    world.expect_close("502 50.10 SYNTAX_ERROR - arguments: unknown field type 'L'");
}

/// What a method asks of the core.
fn asks(method: &impl Encode, expected: ChannelRequest) {
    let mut world = World::with_channel();
    world.say(1, method);
    assert_eq!(world.asked(), [on(1, expected)]);
    assert_eq!(world.said(), [""; 0]);
}

fn arguments() -> Table {
    Table(vec![("a".into(), Value::Bool(true))])
}

const ARGUMENTS: &[u8] = b"\x01at\x01";

#[test]
fn queues() {
    let declare = queue::Declare {
        queue: "q",
        durable: true,
        auto_delete: true,
        arguments: ARGUMENTS,
        ..queue::Declare::default()
    };
    asks(
        &declare,
        ChannelRequest::DeclareQueue {
            name: "q".into(),
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: true,
            arguments: arguments(),
            reply: true,
        },
    );
    let declare = queue::Declare {
        passive: true,
        exclusive: true,
        nowait: true,
        ..queue::Declare::default()
    };
    asks(
        &declare,
        ChannelRequest::DeclareQueue {
            name: "".into(),
            passive: true,
            durable: false,
            exclusive: true,
            auto_delete: false,
            arguments: Table::default(),
            reply: false,
        },
    );
    asks(
        &queue::Purge {
            queue: "q",
            nowait: false,
        },
        ChannelRequest::PurgeQueue {
            name: "q".into(),
            reply: true,
        },
    );
    let delete = queue::Delete {
        queue: "q",
        if_unused: true,
        if_empty: false,
        nowait: true,
    };
    asks(
        &delete,
        ChannelRequest::DeleteQueue {
            name: "q".into(),
            if_unused: true,
            if_empty: false,
            reply: false,
        },
    );
}

#[test]
fn bindings() {
    let bind = queue::Bind {
        queue: "q",
        exchange: "e",
        routing_key: "k",
        nowait: false,
        arguments: ARGUMENTS,
    };
    asks(
        &bind,
        ChannelRequest::Bind {
            destination: Destination::Queue("q".into()),
            source: "e".into(),
            routing_key: "k".into(),
            arguments: arguments(),
            reply: true,
        },
    );
    let unbind = queue::Unbind {
        queue: "q",
        exchange: "e",
        routing_key: "k",
        arguments: ARGUMENTS,
    };
    asks(
        &unbind,
        ChannelRequest::Unbind {
            destination: Destination::Queue("q".into()),
            source: "e".into(),
            routing_key: "k".into(),
            arguments: arguments(),
            reply: true,
        },
    );
    let bind = exchange::Bind {
        destination: "d",
        source: "s",
        routing_key: "k",
        nowait: true,
        arguments: b"",
    };
    asks(
        &bind,
        ChannelRequest::Bind {
            destination: Destination::Exchange("d".into()),
            source: "s".into(),
            routing_key: "k".into(),
            arguments: Table::default(),
            reply: false,
        },
    );
    let unbind = exchange::Unbind {
        destination: "d",
        source: "s",
        routing_key: "k",
        nowait: true,
        arguments: b"",
    };
    asks(
        &unbind,
        ChannelRequest::Unbind {
            destination: Destination::Exchange("d".into()),
            source: "s".into(),
            routing_key: "k".into(),
            arguments: Table::default(),
            reply: false,
        },
    );
}

#[test]
fn exchanges() {
    let declare = exchange::Declare {
        exchange: "e",
        kind: "topic",
        durable: true,
        internal: true,
        ..exchange::Declare::default()
    };
    asks(
        &declare,
        ChannelRequest::DeclareExchange {
            name: "e".into(),
            kind: "topic".into(),
            passive: false,
            durable: true,
            auto_delete: false,
            internal: true,
            arguments: Table::default(),
            reply: true,
        },
    );
    let delete = exchange::Delete {
        exchange: "e",
        if_unused: true,
        nowait: false,
    };
    asks(
        &delete,
        ChannelRequest::DeleteExchange {
            name: "e".into(),
            if_unused: true,
            reply: true,
        },
    );
}

#[test]
fn consumers() {
    asks(
        &basic::Qos {
            prefetch_count: 5,
            global: true,
            ..basic::Qos::default()
        },
        ChannelRequest::Qos { count: 5, global: true },
    );
    let consume = basic::Consume {
        queue: "q",
        consumer_tag: "c",
        no_local: true,
        no_ack: true,
        arguments: ARGUMENTS,
        ..basic::Consume::default()
    };
    asks(
        &consume,
        ChannelRequest::Consume {
            queue: "q".into(),
            consumer: "c".into(),
            no_ack: true,
            exclusive: false,
            arguments: arguments(),
            reply: true,
        },
    );
    asks(
        &basic::Cancel {
            consumer_tag: "c",
            nowait: true,
        },
        ChannelRequest::Cancel {
            consumer: "c".into(),
            reply: false,
        },
    );
    asks(
        &basic::Get {
            queue: "q",
            no_ack: true,
        },
        ChannelRequest::Get {
            queue: "q".into(),
            no_ack: true,
        },
    );
    asks(
        &basic::Recover { requeue: true },
        ChannelRequest::Recover { reply: true },
    );
    asks(
        &basic::RecoverAsync { requeue: true },
        ChannelRequest::Recover { reply: false },
    );
}

#[test]
fn settlements() {
    let settle = |tag, multiple, outcome| ChannelRequest::Settle { tag, multiple, outcome };
    asks(
        &basic::Ack {
            delivery_tag: 3,
            multiple: true,
        },
        settle(3, true, Outcome::Ack),
    );
    asks(
        &basic::Nack {
            delivery_tag: 4,
            multiple: true,
            requeue: true,
        },
        settle(4, true, Outcome::Requeue),
    );
    asks(
        &basic::Nack {
            delivery_tag: 4,
            multiple: false,
            requeue: false,
        },
        settle(4, false, Outcome::Reject),
    );
    asks(
        &basic::Reject {
            delivery_tag: 5,
            requeue: true,
        },
        settle(5, false, Outcome::Requeue),
    );
    asks(
        &basic::Reject {
            delivery_tag: 5,
            requeue: false,
        },
        settle(5, false, Outcome::Reject),
    );
}

#[test]
fn modes() {
    asks(
        &confirm::Select { nowait: false },
        ChannelRequest::ConfirmSelect { reply: true },
    );
    asks(
        &confirm::Select { nowait: true },
        ChannelRequest::ConfirmSelect { reply: false },
    );
    asks(&tx::Select {}, ChannelRequest::TxSelect);
    asks(&tx::Commit {}, ChannelRequest::TxCommit);
    asks(&tx::Rollback {}, ChannelRequest::TxRollback);
}
