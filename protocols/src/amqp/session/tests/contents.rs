//! Publishing: methods, headers and bodies in order and out of it.

use super::*;

const PERSISTENT: &[u8] = b"\x10\0\x02";

#[test]
fn a_message_is_published_whatever_its_frames() {
    let mut world = World::with_channel();
    let body = vec![7; 10_000];
    world.publish(1, PERSISTENT, b"");
    world.publish(1, PERSISTENT, b"hello");
    world.publish(1, PERSISTENT, &body);
    assert_eq!(
        world.asked(),
        [
            published(1, PERSISTENT, b""),
            published(1, PERSISTENT, b"hello"),
            published(1, PERSISTENT, &body)
        ]
    );
}

#[test]
fn address_and_flag_are_kept() {
    let mut world = World::with_channel();
    let publish = basic::Publish {
        exchange: "ex",
        routing_key: b"\xff\0",
        mandatory: true,
        immediate: false,
    };
    world.say(1, &publish);
    world.raw(frame::HEADER, 1, &header(60, 2, PERSISTENT));
    world.raw(frame::BODY, 1, b"");
    world.raw(frame::BODY, 1, b"hi");
    let message = Message::new("ex", b"\xff\0", PERSISTENT, b"hi");
    assert_eq!(
        world.asked(),
        [on(
            1,
            ChannelRequest::Publish {
                message,
                mandatory: true
            }
        )]
    );
}

#[test]
fn channels_interleave() {
    let mut world = World::with_channel();
    world.open_channel(2);
    world.say(1, &publish_to_q());
    world.say(2, &publish_to_q());
    world.raw(frame::HEADER, 2, &header(60, 3, PERSISTENT));
    world.raw(frame::HEADER, 1, &header(60, 3, PERSISTENT));
    world.raw(frame::BODY, 1, b"on");
    world.raw(frame::BODY, 2, b"two");
    world.raw(frame::BODY, 1, b"e");
    assert_eq!(
        world.asked(),
        [published(2, PERSISTENT, b"two"), published(1, PERSISTENT, b"one")]
    );
}

#[test]
fn frames_out_of_order_end_the_connection() {
    let header_expected =
        "505 60.40 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead";
    let body_expected = "505 60.40 UNEXPECTED_FRAME - expected content body, got non content body frame instead";
    let method_expected = "UNEXPECTED_FRAME - expected method frame, got non method frame instead";
    let publish = |world: &mut World| world.say(1, &publish_to_q());
    let begin = |world: &mut World| {
        world.say(1, &publish_to_q());
        world.raw(frame::HEADER, 1, &header(60, 3, PERSISTENT));
    };
    let ack = |world: &mut World| world.say(1, &basic::Ack::default());
    let head = |world: &mut World| world.raw(frame::HEADER, 1, &header(60, 3, PERSISTENT));
    let body = |world: &mut World| world.raw(frame::BODY, 1, b"body");
    let nothing = |_: &mut World| {};
    type Step<'a> = &'a dyn Fn(&mut World);
    let cases: [(Step<'_>, Step<'_>, String); 7] = [
        (&publish, &ack, header_expected.into()),
        (&publish, &body, header_expected.into()),
        (&begin, &ack, body_expected.into()),
        (&begin, &head, body_expected.into()),
        (
            &begin,
            &body,
            "505 60.40 UNEXPECTED_FRAME - content body is larger than its header said".into(),
        ),
        (&nothing, &head, format!("505 0.0 {method_expected}")),
        (&nothing, &body, format!("505 60.40 {method_expected}")),
    ];
    for (before, wrong, expected) in cases {
        let mut world = World::with_channel();
        before(&mut world);
        wrong(&mut world);
        world.expect_close(&expected);
    }
}

#[test]
fn headers_are_checked() {
    let cases = [
        (
            header(50, 0, PERSISTENT),
            "505 60.40 UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
        ),
        (
            header(60, 0, b""),
            "502 60.40 SYNTAX_ERROR - the property list is cut short",
        ),
        (
            header(60, 0, b"\x80\0\x05abc"),
            "502 60.40 SYNTAX_ERROR - the property list is cut short",
        ),
        (
            header(60, 0, b"\0\x01"),
            "502 60.40 SYNTAX_ERROR - unknown property flags 0x0001",
        ),
        (
            header(60, 0, b"\0\0x"),
            "502 60.40 SYNTAX_ERROR - 1 bytes follow the property list",
        ),
        (vec![0, 60], "502 60.40 SYNTAX_ERROR - content header is cut short"),
        (
            header(60, 0, b"\x20\0\0\0\0\x01x"),
            "502 60.40 SYNTAX_ERROR - headers: a field of the table is cut short",
        ),
    ];
    for (payload, expected) in cases {
        let mut world = World::with_channel();
        world.say(1, &publish_to_q());
        world.raw(frame::HEADER, 1, &payload);
        world.expect_close(expected);
    }
}

#[test]
fn a_message_beyond_the_limit_ends_its_channel() {
    let config = SessionConfig {
        message_bytes_max: 10,
        ..SessionConfig::default()
    };
    let mut world = World::with(config).handshake(0);
    world.open_channel(1);
    world.publish(1, PERSISTENT, b"0123456789");
    assert_eq!(world.asked(), [published(1, PERSISTENT, b"0123456789")]);
    world.publish(1, PERSISTENT, b"0123456789a");
    world.expect_channel_close("406 60.40 PRECONDITION_FAILED - message size 11 is larger than configured max size 10");
}

#[test]
fn unfinished_messages_are_bounded() {
    let mut world = World::with_channel();
    world.open_channel(2);
    world.open_channel(3);
    for number in 1..=3 {
        world.say(number, &publish_to_q());
        world.raw(frame::HEADER, number, &header(60, 128 << 20, PERSISTENT));
    }
    world.expect_close("506 60.40 RESOURCE_ERROR - too many large messages are unfinished on this connection");

    // A message that is given up counts no more.
    let mut world = World::with_channel();
    for _ in 0..5 {
        world.say(1, &publish_to_q());
        world.raw(frame::HEADER, 1, &header(60, 128 << 20, PERSISTENT));
        let fault = waystation_core::api::Fault {
            operation: waystation_core::api::Operation::Settle,
            cause: waystation_core::api::Cause::UnknownDelivery { tag: 9 },
        };
        world.reply(1, ChannelReply::Failed(fault));
        world.expect_channel_close("406 60.80 PRECONDITION_FAILED - unknown delivery tag 9");
    }
}

#[test]
fn another_users_id_is_refused() {
    let mut world = World::with_channel();
    world.publish(1, b"\0\x10\x05guest", b"x");
    assert_eq!(world.asked(), [published(1, b"\0\x10\x05guest", b"x")]);
    world.publish(1, b"\0\x10\x04root", b"x");
    world.expect_channel_close(
        "406 60.40 PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was 'guest'",
    );
}

#[test]
fn a_channel_that_fails_within_a_body_frame_drops_the_rest() {
    let mut world = World::with_channel();
    world.say(1, &publish_to_q());
    world.raw(frame::HEADER, 1, &header(60, 6, PERSISTENT));
    let body = raw(frame::BODY, 1, b"abcdef");
    world.bytes(&body[..9]);
    let fault = waystation_core::api::Fault {
        operation: waystation_core::api::Operation::Settle,
        cause: waystation_core::api::Cause::UnknownDelivery { tag: 9 },
    };
    world.reply(1, ChannelReply::Failed(fault));
    world.bytes(&body[9..]);
    world.expect_channel_close("406 60.80 PRECONDITION_FAILED - unknown delivery tag 9");
}

#[test]
fn a_whole_message_within_another_is_refused() {
    let mut world = World::with_channel();
    world.say(1, &publish_to_q());
    world.publish(1, PERSISTENT, b"x");
    let expected = "expected content header for class 60, got non content header frame instead";
    world.expect_close(&format!("505 60.40 UNEXPECTED_FRAME - {expected}"));
}

#[test]
fn a_whole_message_on_no_channel_is_refused() {
    let mut world = World::open();
    world.publish(1, PERSISTENT, b"x");
    world.expect_close("504 60.40 CHANNEL_ERROR - expected 'channel.open'");
}

#[test]
fn a_body_that_goes_on_while_the_connection_closes_is_dropped() {
    let mut world = World::with_channel();
    world.input(SessionInput::Replies(vec![Reply::Blocked { reason: "disk" }]));
    world.say(1, &publish_to_q());
    world.raw(frame::HEADER, 1, &header(60, 6, PERSISTENT));
    world.input(SessionInput::Shutdown);
    world.raw(frame::BODY, 1, b"abcdef");
    world.expect_close("320 0.0 CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'");
}
