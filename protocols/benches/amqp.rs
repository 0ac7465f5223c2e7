//! Nanoseconds per message of the AMQP hot paths, for messages of 100 bytes.
//!
//! `cargo bench -p waystation-protocols`. The least of many rounds: what the code costs when nothing disturbs it.

#![expect(clippy::disallowed_types, reason = "a benchmark looks at the clock")]

use bytes::BytesMut;
use std::hint::black_box;
use std::time::Instant;
use waystation_core::api::{ChannelReply, Name, Reply};
use waystation_core::message::{Message, OwnedProperties};
use waystation_core::{Machine, Now};
use waystation_protocols::amqp::methods::{Encode, basic, channel, connection};
use waystation_protocols::amqp::{Client, ClientConfig, Event, Session, SessionConfig, SessionInput, frame};

/// About what one read of 64 KiB holds.
const MESSAGES: u64 = 300;
const ROUNDS: usize = 1000;

fn main() {
    let properties = properties();
    let body = [7; 100];

    let mut publishes = BytesMut::new();
    let mut acks = BytesMut::new();
    for tag in 1..=MESSAGES {
        let publish = basic::Publish {
            exchange: "",
            routing_key: b"a-queue-name",
            mandatory: false,
            immediate: false,
        };
        frame::method(&mut publishes, 1, &publish);
        frame::content(&mut publishes, 1, &properties, &body, 131_072);
        let ack = basic::Ack {
            delivery_tag: tag,
            multiple: false,
        };
        frame::method(&mut acks, 1, &ack);
    }

    let mut session = session();
    measure("publish: bytes to Message and request", || {
        session.handle(Now::default(), SessionInput::Bytes(black_box(&publishes)));
        while let Some(output) = session.poll() {
            black_box(output);
        }
    });
    measure("ack: bytes to request", || {
        session.handle(Now::default(), SessionInput::Bytes(black_box(&acks)));
        while let Some(output) = session.poll() {
            black_box(output);
        }
    });

    deliveries(&mut session, &Message::new("", b"a-queue-name", &properties, &body));
    measure("confirm: reply to bytes", || {
        let replies = (1..=MESSAGES).map(confirm).collect();
        session.handle(Now::default(), SessionInput::Replies(replies));
        let output = black_box(session.take_output());
        session.sent(Now::default(), output.len());
    });
}

fn deliveries(session: &mut Session, message: &Message) {
    let consumer = Name::from("ctag-1.0123456789");
    measure("deliver: reply to bytes, credit included", || {
        let replies = (1..=MESSAGES).map(|tag| deliver(&consumer, tag, message)).collect();
        session.handle(Now::default(), SessionInput::Replies(replies));
        let output = black_box(session.take_output());
        session.sent(Now::default(), output.len());
        while let Some(output) = session.poll() {
            black_box(output);
        }
    });
    let mut delivered = BytesMut::new();
    let mut out = BytesMut::with_capacity(1 << 20);
    measure("deliver: encode alone", || {
        out.clear();
        for tag in 1..=MESSAGES {
            let deliver = basic::Deliver {
                consumer_tag: black_box(&consumer),
                delivery_tag: tag,
                redelivered: false,
                exchange: message.exchange(),
                routing_key: message.routing_key(),
            };
            frame::deliver(&mut out, 1, &deliver, black_box(message), 131_072);
        }
        black_box(&out);
    });
    delivered.extend_from_slice(&out);
    let mut client = client();
    measure("deliver: bytes to the client's event", || {
        client.receive(black_box(&delivered));
        while let Some(event) = client.poll() {
            black_box(event);
        }
    });
}

fn measure(name: &str, mut round: impl FnMut()) {
    let mut least = u128::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round();
        least = least.min(start.elapsed().as_nanos());
    }
    println!("{name:45} {:6} ns", least / u128::from(MESSAGES));
}

fn properties() -> Vec<u8> {
    OwnedProperties {
        content_type: Some("application/octet-stream".into()),
        delivery_mode: Some(2),
        ..OwnedProperties::default()
    }
    .to_vec()
}

fn deliver(consumer: &Name, tag: u64, message: &Message) -> Reply {
    let reply = ChannelReply::Deliver {
        consumer: consumer.clone(),
        tag,
        redelivered: false,
        message: message.clone(),
    };
    Reply::Channel { channel: 1, reply }
}

fn confirm(tag: u64) -> Reply {
    let reply = ChannelReply::Confirm {
        tag,
        multiple: false,
        ok: true,
    };
    Reply::Channel { channel: 1, reply }
}

/// A session with an open channel.
fn session() -> Session {
    let now = Now::default();
    let mut session = Session::new(SessionConfig::default(), now.mono);
    let say = |session: &mut Session, channel: u16, method: &dyn Fn(&mut BytesMut, u16)| {
        let mut bytes = BytesMut::new();
        method(&mut bytes, channel);
        session.handle(now, SessionInput::Bytes(&bytes));
    };
    session.handle(now, SessionInput::Bytes(frame::PROTOCOL_HEADER));
    let start_ok = connection::StartOk {
        mechanism: "PLAIN",
        response: b"\0guest\0guest",
        ..connection::StartOk::default()
    };
    say(&mut session, 0, &|out, channel| written(out, channel, &start_ok));
    session.handle(now, SessionInput::Authenticated(Ok(())));
    let tune_ok = connection::TuneOk {
        channel_max: 10,
        frame_max: 131_072,
        heartbeat: 0,
    };
    say(&mut session, 0, &|out, channel| written(out, channel, &tune_ok));
    let open = connection::Open { virtual_host: "/" };
    say(&mut session, 0, &|out, channel| written(out, channel, &open));
    session.handle(now, SessionInput::Replies(vec![Reply::Connected]));
    say(&mut session, 1, &|out, channel| {
        written(out, channel, &channel::Open {})
    });
    let reply = ChannelReply::Opened;
    session.handle(now, SessionInput::Replies(vec![Reply::Channel { channel: 1, reply }]));
    let output = session.take_output();
    session.sent(now, output.len());
    while session.poll().is_some() {}
    assert!(session.is_open(), "the benchmarks measure an open connection");
    session
}

/// A client whose handshake is over.
fn client() -> Client {
    let mut client = Client::new(ClientConfig::default());
    let mut bytes = BytesMut::new();
    frame::method(&mut bytes, 0, &connection::Start::default());
    frame::method(&mut bytes, 0, &connection::Tune::default());
    frame::method(&mut bytes, 0, &connection::OpenOk {});
    client.receive(&bytes);
    assert!(matches!(client.poll(), Some(Event::Connected { .. })));
    client
}

fn written(out: &mut BytesMut, channel: u16, method: &impl Encode) {
    frame::method(out, channel, method);
}
