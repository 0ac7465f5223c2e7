//! What hostile clients send, and what AMQP 0-9-1 (sections 1.2, 1.5.2 and 4.2) or RabbitMQ's practice answers.

use bytes::BytesMut;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use waystation_core::message::OwnedProperties;
use waystation_protocols::amqp::frame::{self, PROTOCOL_HEADER};
use waystation_protocols::amqp::limits;
use waystation_protocols::amqp::methods::{Encode, basic, channel, connection, queue};

/// The channel that it is done on: on it anything may fail.
pub(super) const CHANNEL: u16 = crate::checkers::ROUGH;
/// The highest channel number that the server offers.
pub(super) const CHANNEL_MAX: u16 = 300;

/// When the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Instead of a handshake.
    Stranger,
    /// After connection.open-ok.
    Connected,
    /// After channel.open-ok.
    Opened,
}

/// What has to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// connection.close with this code.
    Connection(u16),
    /// channel.close with this code.
    Channel(u16),
    /// The socket is closed without another word.
    End,
    /// The client leaves by itself, and nobody can tell.
    Nothing,
}

/// One.
#[derive(Clone, Debug)]
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) stage: Stage,
    pub(super) bytes: Vec<u8>,
    pub(super) expect: Expect,
    pub(super) vhost: &'static str,
    pub(super) password: &'static str,
    /// It does not answer connection.close.
    pub(super) is_stubborn: bool,
    /// It consumes what it publishes, and opens its channel anew at once when that is closed.
    pub(super) is_busy: bool,
}

impl Attack {
    /// Draws one, for a server with these limits.
    pub(super) fn draw(frame_bytes_max: u32, message_bytes_max: u64, rng: &mut ChaCha8Rng) -> Self {
        let mut attack = match rng.random_range(0..12) {
            10.. => busy(rng),
            0..2 => strange(frame_bytes_max, rng),
            2..5 => unframed(frame_bytes_max, rng),
            5..7 => disordered(rng),
            7 => unsupported(rng),
            8 => content(message_bytes_max, rng),
            _ => unanswered(rng),
        };
        attack.is_stubborn = matches!(attack.expect, Expect::Connection(_)) && rng.random_bool(0.1);
        attack
    }
}

fn attack(name: &'static str, stage: Stage, bytes: Vec<u8>, expect: Expect) -> Attack {
    Attack {
        name,
        stage,
        bytes,
        expect,
        vhost: "/",
        password: "guest",
        is_stubborn: false,
        is_busy: false,
    }
}

/// A frame of anything.
fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&channel.to_be_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.push(frame::END);
    bytes
}

fn method(channel: u16, method: &impl Encode) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::method(&mut out, channel, method);
    out.to_vec()
}

fn publish() -> Vec<u8> {
    let publish = basic::Publish {
        exchange: "",
        routing_key: crate::checkers::NOWHERE.as_bytes(),
        ..basic::Publish::default()
    };
    method(CHANNEL, &publish)
}

fn header(class: u16, body_bytes: u64, properties: &[u8]) -> Vec<u8> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend_from_slice(&[0, 0]);
    payload.extend_from_slice(&body_bytes.to_be_bytes());
    payload.extend_from_slice(properties);
    frame(frame::HEADER, CHANNEL, &payload)
}

/// Handshakes that are none.
fn strange(frame_bytes_max: u32, rng: &mut ChaCha8Rng) -> Attack {
    let tune = |frame_max, channel_max| {
        let start_ok = connection::StartOk {
            client_properties: &[],
            mechanism: "PLAIN",
            response: b"\0guest\0guest",
            locale: "en_US",
        };
        let tune_ok = connection::TuneOk {
            channel_max,
            frame_max,
            heartbeat: 0,
        };
        [PROTOCOL_HEADER.to_vec(), method(0, &start_ok), method(0, &tune_ok)].concat()
    };
    let stranger = |name, bytes, expect| attack(name, Stage::Stranger, bytes, expect);
    match rng.random_range(0..8) {
        0 => stranger("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Expect::End),
        1 => stranger("silence", Vec::new(), Expect::End),
        2 => stranger("half a header", PROTOCOL_HEADER[..5].to_vec(), Expect::End),
        3 => {
            let small = tune(limits::FRAME_BYTES_MIN - 1, 10);
            stranger("a frame-max below the minimum", small, Expect::Connection(530))
        }
        4 => {
            let large = tune(frame_bytes_max + 1, 10);
            stranger("a frame-max above the offer", large, Expect::Connection(530))
        }
        5 => {
            let high = tune(frame_bytes_max, CHANNEL_MAX + 1);
            stranger("a channel-max above the offer", high, Expect::Connection(530))
        }
        6 => Attack {
            vhost: "no such vhost",
            ..attack(
                "an unknown vhost",
                Stage::Connected,
                Vec::new(),
                Expect::Connection(530),
            )
        },
        _ => Attack {
            password: "wrong",
            ..attack(
                "a wrong password",
                Stage::Connected,
                Vec::new(),
                Expect::Connection(403),
            )
        },
    }
}

/// Frames that are none, or of the wrong channel.
fn unframed(frame_bytes_max: u32, rng: &mut ChaCha8Rng) -> Attack {
    let opened = |name, bytes, code| attack(name, Stage::Opened, bytes, Expect::Connection(code));
    let get = basic::Get {
        queue: "hostile",
        no_ack: true,
    };
    match rng.random_range(0..8) {
        0 => {
            let mut large = vec![frame::METHOD, 0, CHANNEL as u8];
            large.extend_from_slice(&frame_bytes_max.to_be_bytes());
            opened("a frame above frame-max", large, 501)
        }
        1 => {
            let mut bytes = method(CHANNEL, &get);
            *bytes.last_mut().expect("a frame has an end") = rng.random_range(0..frame::END);
            opened("a frame without its end", bytes, 501)
        }
        2 => opened(
            "an unknown frame type",
            frame(rng.random_range(9..255), CHANNEL, b""),
            501,
        ),
        3 => opened("a heartbeat on a channel", frame(frame::HEARTBEAT, CHANNEL, b""), 501),
        4 => opened("a channel that is not open", method(CHANNEL + 1, &get), 504),
        5 => opened("a channel opened twice", method(CHANNEL, &channel::Open {}), 504),
        6 => opened(
            "a channel above channel-max",
            method(CHANNEL_MAX + 1, &channel::Open {}),
            504,
        ),
        _ => opened("a method of a channel on channel 0", method(0, &get), 503),
    }
}

/// Methods that make no sense where they come.
fn disordered(rng: &mut ChaCha8Rng) -> Attack {
    let opened = |name, bytes, code| attack(name, Stage::Opened, bytes, Expect::Connection(code));
    match rng.random_range(0..9) {
        0 => opened("content without a method", header(60, 5, &[0, 0]), 505),
        1 => opened("a body without a header", frame(frame::BODY, CHANNEL, b"body"), 505),
        2 => {
            let bytes = [publish(), publish()].concat();
            opened("a method where a header should come", bytes, 505)
        }
        3 => {
            let bytes = [publish(), header(60, 5, &[0, 0]), publish()].concat();
            opened("a method where a body should come", bytes, 505)
        }
        4 => {
            let body = frame(frame::BODY, CHANNEL, b"longer");
            let bytes = [publish(), header(60, 3, &[0, 0]), body].concat();
            opened("a body longer than announced", bytes, 505)
        }
        5 => opened(
            "a header of another class",
            [publish(), header(50, 5, &[0, 0])].concat(),
            505,
        ),
        6 => opened(
            "an answer that only servers give",
            method(CHANNEL, &basic::QosOk {}),
            503,
        ),
        7 => opened(
            "a handshake after the handshake",
            method(0, &connection::OpenOk {}),
            503,
        ),
        _ => opened(
            "connection.close on a channel",
            method(CHANNEL, &connection::Close::default()),
            503,
        ),
    }
}

/// What does not exist here, or not in this form.
fn unsupported(rng: &mut ChaCha8Rng) -> Attack {
    let opened = |name, bytes, code| attack(name, Stage::Opened, bytes, Expect::Connection(code));
    match rng.random_range(0..6) {
        0 => opened("an unknown method", frame(frame::METHOD, CHANNEL, &[0, 60, 0, 99]), 540),
        1 => opened("an unknown class", frame(frame::METHOD, CHANNEL, &[1, 0, 0, 1]), 540),
        2 => opened(
            "fields cut short",
            frame(frame::METHOD, CHANNEL, &[0, 60, 0, 80, 0, 0]),
            502,
        ),
        3 => opened("half a method's number", frame(frame::METHOD, CHANNEL, &[0, 60]), 502),
        4 => {
            let immediate = basic::Publish {
                immediate: true,
                ..basic::Publish::default()
            };
            opened("immediate", method(CHANNEL, &immediate), 540)
        }
        _ => {
            let recover = basic::Recover { requeue: false };
            opened("recover without requeue", method(CHANNEL, &recover), 540)
        }
    }
}

/// What costs a channel alone.
fn content(message_bytes_max: u64, rng: &mut ChaCha8Rng) -> Attack {
    let opened = |name, bytes, code| attack(name, Stage::Opened, bytes, Expect::Channel(code));
    match rng.random_range(0..4) {
        0 => {
            let bytes = [publish(), header(60, message_bytes_max + 1, &[0, 0])].concat();
            opened("a message above the limit", bytes, 406)
        }
        1 => {
            let properties = OwnedProperties {
                user_id: Some("somebody".into()),
                ..OwnedProperties::default()
            };
            let bytes = [publish(), header(60, 5, &properties.to_vec())].concat();
            opened("a message in another's name", bytes, 406)
        }
        2 => {
            let ack = basic::Ack {
                delivery_tag: rng.random_range(1..100),
                multiple: rng.random_bool(0.5),
            };
            opened("a settlement of nothing", method(CHANNEL, &ack), 406)
        }
        _ => {
            let declare = queue::Declare {
                queue: "hostile",
                passive: true,
                ..queue::Declare::default()
            };
            opened("a queue that does not exist", method(CHANNEL, &declare), 404)
        }
    }
}

/// Messages to itself, and one in another's name: deliveries are on their way when the session closes the channel.
fn busy(rng: &mut ChaCha8Rng) -> Attack {
    let name = format!("hostile-{}", rng.random_range(0..u64::MAX));
    let declare = queue::Declare {
        queue: &name,
        exclusive: true,
        ..queue::Declare::default()
    };
    let consume = basic::Consume {
        queue: &name,
        consumer_tag: "c",
        // What it held would fill the memory that its last message waits for.
        no_ack: true,
        ..basic::Consume::default()
    };
    let publish_to = |routing_key: &str| {
        let routing_key = routing_key.as_bytes();
        let publish = basic::Publish {
            routing_key,
            ..basic::Publish::default()
        };
        method(CHANNEL, &publish)
    };
    let mut bytes = [method(CHANNEL, &declare), method(CHANNEL, &consume)].concat();
    for _ in 0..rng.random_range(1..40) {
        let body = vec![1; rng.random_range(1..300)];
        bytes.extend(publish_to(&name));
        bytes.extend(header(60, body.len() as u64, &[0, 0]));
        bytes.extend(frame(frame::BODY, CHANNEL, &body));
    }
    let properties = OwnedProperties {
        user_id: Some("somebody".into()),
        ..OwnedProperties::default()
    };
    bytes.extend(publish_to(&name));
    bytes.extend(header(60, 5, &properties.to_vec()));
    Attack {
        is_busy: true,
        ..attack(
            "a message in another's name among others",
            Stage::Opened,
            bytes,
            Expect::Channel(406),
        )
    }
}

/// What nobody has to answer: the client leaves.
fn unanswered(rng: &mut ChaCha8Rng) -> Attack {
    let bytes = match rng.random_range(0..3) {
        0 => {
            let half = frame(frame::BODY, CHANNEL, &[7; 40]);
            [publish(), header(60, 100, &[0, 0]), half].concat()
        }
        1 => (0..rng.random_range(1..200))
            .map(|_| rng.random_range(0..=255))
            .collect(),
        _ => {
            let declare = queue::Declare {
                queue: "hostile-flipped",
                passive: true,
                ..queue::Declare::default()
            };
            let mut bytes = method(CHANNEL, &declare);
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random_range(0..=255);
            bytes
        }
    };
    attack("a message cut short, or noise", Stage::Opened, bytes, Expect::Nothing)
}
