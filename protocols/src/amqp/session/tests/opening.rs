//! The handshake and the connection's end.

use super::*;
use waystation_core::api::{Cause, Fault, Object, Operation};

#[test]
fn the_handshake_asks_the_driver_and_the_core() {
    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    assert_eq!(world.said(), ["0 connection.start"]);
    world.start_ok(&[]);
    assert_eq!(
        world.outputs,
        [SessionOutput::Authenticate {
            mechanism: "PLAIN",
            user: "guest".into(),
            password: Secret("secret".into())
        }]
    );
    assert!(world.session.paused());
    world.input(SessionInput::Authenticated(Ok(())));
    assert!(!world.session.paused());
    world.tune_ok(100, 4096, 0);
    world.say(0, &connection::Open { virtual_host: "/x" });
    assert!(world.session.paused());
    let connect = Request::Connect {
        vhost: "/x".into(),
        user: "guest".into(),
        channels_max: 100,
    };
    assert_eq!(world.asked(), [connect]);
    assert!(!world.session.is_open());
    world.input(SessionInput::Replies(vec![Reply::Connected]));
    assert!(world.session.is_open());
    assert_eq!(world.said(), ["0 connection.tune", "0 connection.open-ok"]);
}

#[test]
fn server_properties_say_what_is_true() {
    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    let output = world.session.take_output();
    let (frame, _) = Frame::parse(&output, u32::MAX).unwrap().unwrap();
    let Method::ConnectionStart(start) = parse_method(frame.payload) else {
        panic!("connection.start comes first");
    };
    assert_eq!((start.version_major, start.version_minor), (0, 9));
    assert_eq!(
        (start.mechanisms, start.locales),
        (&b"PLAIN AMQPLAIN"[..], &b"en_US"[..])
    );
    let properties = Table::decode(start.server_properties).unwrap();
    assert_eq!(properties.value("product"), Some(&Value::from("Waystation")));
    let Some(Value::Table(capabilities)) = properties.value("capabilities") else {
        panic!("capabilities are a table");
    };
    assert_eq!(capabilities.value("publisher_confirms"), Some(&Value::Bool(true)));
    assert_eq!(capabilities.value("direct_reply_to"), None);
    assert_eq!(capabilities.value("consumer_priorities"), None);
}

#[test]
fn another_protocol_is_told_ours() {
    for header in [b"AMQP\0\x01\0\0", b"GET / HT"] {
        let mut world = World::new();
        world.bytes(header);
        assert!(world.closed());
        assert_eq!(&world.session.take_output()[..], frame::PROTOCOL_HEADER);
        assert_eq!(world.asked(), []);
    }
}

#[test]
fn what_comes_while_an_answer_is_pending_is_kept() {
    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    world.start_ok(&[]);
    // A client that does not wait for connection.tune.
    world.tune_ok(2047, 131_072, 0);
    world.say(0, &connection::Open { virtual_host: "/" });
    world.say(1, &channel::Open {});
    assert_eq!(world.asked(), []);
    world.input(SessionInput::Authenticated(Ok(())));
    assert!(matches!(&world.asked()[..], [Request::Connect { .. }]));
    world.input(SessionInput::Replies(vec![Reply::Connected]));
    assert_eq!(world.asked(), [Request::OpenChannel { channel: 1 }]);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    world.start_ok(&[]);
    world.bytes(&vec![0; limits::HELD_BYTES_MAX]);
    assert!(!world.closed());
    world.bytes(&[0]);
    assert!(world.closed());
}

#[test]
fn a_refused_login_is_told_to_those_who_understand() {
    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    world.start_ok(&["authentication_failure_close"]);
    world.input(SessionInput::Authenticated(Err("wrong password".into())));
    let text = "403 0.0 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. \
                For details see the broker logfile.";
    assert_eq!(
        world.said(),
        ["0 connection.start".to_owned(), format!("0 connection.close {text}")]
    );
    world.say(0, &connection::CloseOk {});
    assert!(world.closed());
    assert_eq!(world.asked(), []);

    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    world.start_ok(&[]);
    world.input(SessionInput::Authenticated(Err("wrong password".into())));
    assert!(world.closed());
    assert_eq!(world.said(), ["0 connection.start"]);
}

#[test]
fn mechanisms() {
    const LOGIN: &[u8] = b"\x05LOGINS\0\0\0\x01u\x08PASSWORDS\0\0\0\x01p";
    type Case = (&'static str, &'static [u8], Option<(&'static str, &'static str)>);
    let cases: [Case; 6] = [
        ("PLAIN", b"\0u\0p", Some(("u", "p"))),
        ("PLAIN", b"other\0u\0p\0p", Some(("u", "p\0p"))),
        ("PLAIN", b"u", None),
        ("PLAIN", b"\0\xff\0p", None),
        ("AMQPLAIN", LOGIN, Some(("u", "p"))),
        ("AMQPLAIN", b"\x05LOGINV", None),
    ];
    for (mechanism, response, expected) in cases {
        let mut world = World::new();
        world.bytes(frame::PROTOCOL_HEADER);
        let start_ok = connection::StartOk {
            mechanism,
            response,
            ..connection::StartOk::default()
        };
        world.say(0, &start_ok);
        let found = match world.outputs.first() {
            Some(SessionOutput::Authenticate { user, password, .. }) => Some((&**user, &*password.0)),
            _ => None,
        };
        assert_eq!(found, expected);
        assert_eq!(world.closed(), expected.is_none());
    }
}

#[test]
fn an_unknown_mechanism_and_damaged_properties_are_refused() {
    let start_ok = connection::StartOk {
        mechanism: "EXTERNAL",
        ..connection::StartOk::default()
    };
    let damaged = connection::StartOk {
        client_properties: b"\x05a",
        mechanism: "PLAIN",
        ..connection::StartOk::default()
    };
    let expected = [
        "403 10.11 ACCESS_REFUSED - unsupported authentication mechanism 'EXTERNAL': use PLAIN or AMQPLAIN",
        "502 10.11 SYNTAX_ERROR - client-properties: a field of the table is cut short",
    ];
    for (start_ok, text) in [start_ok, damaged].iter().zip(expected) {
        let mut world = World::new();
        world.bytes(frame::PROTOCOL_HEADER);
        world.say(0, start_ok);
        assert_eq!(world.said()[1..], [format!("0 connection.close {text}")]);
    }
}

#[test]
fn tuning_has_bounds() {
    let cases = [
        (
            2047,
            4095,
            "frame_max = 4095 is lower than the minimum allowed value (4096)",
        ),
        (
            2047,
            131_073,
            "frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (
            2047,
            0,
            "frame_max = 0 is higher than the maximum allowed value (131072)",
        ),
        (
            2048,
            4096,
            "channel_max = 2048 is higher than the maximum allowed value (2047)",
        ),
        (
            0,
            4096,
            "channel_max = 0 is higher than the maximum allowed value (2047)",
        ),
    ];
    for (channel_max, frame_max, expected) in cases {
        let mut world = World::new();
        world.bytes(frame::PROTOCOL_HEADER);
        world.start_ok(&[]);
        world.input(SessionInput::Authenticated(Ok(())));
        world.said();
        world.tune_ok(channel_max, frame_max, 0);
        let close = format!("0 connection.close 530 10.31 NOT_ALLOWED - negotiated {expected}");
        assert_eq!(world.said(), [close]);
    }
}

#[test]
fn a_refused_vhost_closes_the_connection() {
    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    world.start_ok(&[]);
    world.input(SessionInput::Authenticated(Ok(())));
    world.tune_ok(10, 4096, 0);
    world.say(
        0,
        &connection::Open {
            virtual_host: "nowhere",
        },
    );
    world.said();
    let fault = Fault {
        operation: Operation::Connect,
        cause: Cause::NotFound {
            object: Object::Vhost,
            name: "nowhere".into(),
        },
    };
    world.input(SessionInput::Replies(vec![Reply::Refused(fault)]));
    world.expect_close("530 10.40 NOT_ALLOWED - vhost nowhere not found");
}

#[test]
fn methods_out_of_order_are_refused() {
    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    world.said();
    world.say(0, &connection::Open { virtual_host: "/" });
    let text = "503 10.40 COMMAND_INVALID - connection.open is not expected now on channel 0";
    assert_eq!(world.said(), [format!("0 connection.close {text}")]);

    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    world.said();
    world.say(1, &channel::Open {});
    let text = "504 20.10 CHANNEL_ERROR - channel.open on channel 1 before connection.open-ok";
    assert_eq!(world.said(), [format!("0 connection.close {text}")]);

    let mut world = World::open();
    world.say(0, &basic::Ack::default());
    world.expect_close("503 60.80 COMMAND_INVALID - basic.ack is not expected now on channel 0");

    let mut world = World::open();
    world.raw(frame::HEADER, 0, &header(60, 0, &[0, 0]));
    world.expect_close("505 0.0 UNEXPECTED_FRAME - expected method frame, got non method frame instead");
}

#[test]
fn a_peer_that_closes_hears_ok_when_all_is_undone() {
    let mut world = World::with_channel();
    world.say(0, &connection::Close::default());
    assert_eq!((world.said(), world.asked()), (vec![], vec![Request::Disconnect]));
    // Nothing that follows counts.
    world.say(2, &channel::Open {});
    world.reply(1, ChannelReply::Empty);
    world.input(SessionInput::Replies(vec![Reply::Disconnected]));
    assert!(world.closed());
    assert_eq!(
        (world.said(), world.asked()),
        (vec!["0 connection.close-ok".to_owned()], vec![])
    );
}

#[test]
fn a_peer_may_close_in_every_state_of_the_handshake() {
    for stage in 0..3 {
        let mut world = World::new();
        world.bytes(frame::PROTOCOL_HEADER);
        if stage > 0 {
            world.start_ok(&[]);
            world.input(SessionInput::Authenticated(Ok(())));
        }
        if stage > 1 {
            world.tune_ok(10, 4096, 0);
        }
        world.said();
        world.say(0, &connection::Close::default());
        assert!(world.closed());
        assert_eq!(
            (world.said(), world.asked()),
            (vec!["0 connection.close-ok".to_owned()], vec![])
        );
    }
}

#[test]
fn closes_that_cross_are_both_answered() {
    let mut world = World::open();
    world.input(SessionInput::Shutdown);
    let text = "320 0.0 CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";
    assert_eq!(world.said(), [format!("0 connection.close {text}")]);
    world.say(0, &connection::Close::default());
    assert!(world.closed());
    assert_eq!(world.said(), ["0 connection.close-ok"]);
}

#[test]
fn a_shutdown_tells_the_peer() {
    let mut world = World::with_channel();
    world.input(SessionInput::Shutdown);
    world.expect_close("320 0.0 CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'");
    let mut world = World::new();
    world.input(SessionInput::Shutdown);
    assert!(world.closed());
}

#[test]
fn a_lost_socket_is_told_to_the_core_once() {
    let mut world = World::with_channel();
    world.input(SessionInput::Lost);
    world.input(SessionInput::Lost);
    world.bytes(b"late");
    assert_eq!(world.asked(), [Request::Disconnect]);
    assert_eq!(world.outputs, [SessionOutput::Close]);
}

#[test]
fn a_secret_may_be_renewed() {
    let mut world = World::open();
    let update = connection::UpdateSecret {
        new_secret: b"token",
        reason: "expires",
    };
    world.say(0, &update);
    assert_eq!(world.said(), ["0 connection.update-secret-ok"]);
    assert_eq!(format!("{:?}", Secret("x".into())), "Secret");
}

#[test]
fn what_went_wrong_is_there_for_the_log() {
    let fault_after = |bytes: &[u8]| {
        let mut world = World::new();
        world.bytes(bytes);
        world.session.take_fault()
    };
    assert_eq!(fault_after(frame::PROTOCOL_HEADER), None);
    let expected = "the peer does not speak AMQP 0-9-1 (TLS on a plain port, or another protocol?): closed";
    assert_eq!(fault_after(b"\x16\x03\x01\0\0\0\0\0").as_deref(), Some(expected));
    let mut world = World::with_channel();
    world.say(3, &basic::Ack::default());
    let expected = "connection closed: CHANNEL_ERROR - expected 'channel.open'";
    assert_eq!(world.session.take_fault().as_deref(), Some(expected));
    assert_eq!(world.session.take_fault(), None);
}
