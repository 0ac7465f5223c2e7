//! A session with a scripted peer on one side and a scripted core on the other.

mod channels;
mod contents;
mod hostile;
mod opening;
mod replies;
mod timing;

use super::super::frame::{self, ContentHeader, Frame};
use super::super::methods::{Encode, Method, basic, channel, connection};
use super::*;
use bytes::BytesMut;
use waystation_core::api::{ChannelReply, ChannelRequest};
use waystation_core::message::{Message, Table, Value};

/// Both ends of a session, at a time that the test moves.
pub(super) struct World {
    pub(super) session: Session,
    pub(super) now: Now,
    /// What the session said and [`World::said`] has not returned.
    heard: BytesMut,
    /// What the session did, besides requests.
    pub(super) outputs: Vec<SessionOutput>,
    /// What the session asked and [`World::asked`] has not returned.
    requests: Vec<Request>,
}

impl World {
    /// Before the first byte.
    pub(super) fn new() -> Self {
        Self::with(SessionConfig::default())
    }

    pub(super) fn with(config: SessionConfig) -> Self {
        let now = Now::default();
        Self {
            session: Session::new(config, now.mono),
            now,
            heard: BytesMut::new(),
            outputs: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// After connection.open-ok.
    pub(super) fn open() -> Self {
        Self::new().handshake(60)
    }

    /// After channel.open-ok on channel 1.
    pub(super) fn with_channel() -> Self {
        let mut world = Self::open();
        world.open_channel(1);
        world
    }

    pub(super) fn handshake(mut self, heartbeat: u16) -> Self {
        self.bytes(frame::PROTOCOL_HEADER);
        self.start_ok(&[
            "authentication_failure_close",
            "consumer_cancel_notify",
            "connection.blocked",
        ]);
        self.input(SessionInput::Authenticated(Ok(())));
        self.tune_ok(2047, 131_072, heartbeat);
        self.say(0, &connection::Open { virtual_host: "/" });
        self.input(SessionInput::Replies(vec![Reply::Connected]));
        assert_eq!(
            self.said(),
            ["0 connection.start", "0 connection.tune", "0 connection.open-ok"]
        );
        assert!(matches!(&self.asked()[..], [Request::Connect { .. }]));
        self.outputs.clear();
        self
    }

    pub(super) fn start_ok(&mut self, capabilities: &[&str]) {
        let known = capabilities
            .iter()
            .map(|name| (Name::from(*name), Value::Bool(true)))
            .collect();
        let mut properties = Vec::new();
        Table(vec![("capabilities".into(), Value::Table(Table(known)))]).encode(&mut properties);
        let start_ok = connection::StartOk {
            client_properties: &properties,
            mechanism: "PLAIN",
            response: b"\0guest\0secret",
            locale: "en_US",
        };
        self.say(0, &start_ok);
    }

    pub(super) fn tune_ok(&mut self, channel_max: u16, frame_max: u32, heartbeat: u16) {
        self.say(
            0,
            &connection::TuneOk {
                channel_max,
                frame_max,
                heartbeat,
            },
        );
    }

    pub(super) fn open_channel(&mut self, number: u16) {
        self.say(number, &channel::Open {});
        self.reply(number, ChannelReply::Opened);
        assert_eq!(self.said(), [format!("{number} channel.open-ok")]);
        assert_eq!(self.asked(), [Request::OpenChannel { channel: number }]);
    }

    /// The peer says a method.
    pub(super) fn say(&mut self, number: u16, method: &impl Encode) {
        let mut bytes = BytesMut::new();
        frame::method(&mut bytes, number, method);
        self.bytes(&bytes);
    }

    /// The peer publishes to queue `q` through the default exchange, in one write.
    pub(super) fn publish(&mut self, number: u16, properties: &[u8], body: &[u8]) {
        let mut bytes = BytesMut::new();
        frame::method(&mut bytes, number, &publish_to_q());
        frame::content(&mut bytes, number, properties, body, 4096);
        self.bytes(&bytes);
    }

    pub(super) fn raw(&mut self, kind: u8, number: u16, payload: &[u8]) {
        let bytes = raw(kind, number, payload);
        self.bytes(&bytes);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.input(SessionInput::Bytes(bytes));
    }

    pub(super) fn reply(&mut self, channel: u16, reply: ChannelReply) {
        self.input(SessionInput::Replies(vec![Reply::Channel { channel, reply }]));
    }

    pub(super) fn input(&mut self, input: SessionInput<'_>) {
        self.session.handle(self.now, input);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                SessionOutput::Request(request) => self.requests.push(request),
                other => self.outputs.push(other),
            }
        }
    }

    /// Milliseconds pass, then the session is told.
    pub(super) fn wait(&mut self, ms: u64) {
        self.now.mono = self.now.mono.after_ms(ms);
        self.input(SessionInput::Tick);
    }

    /// What the session has said, a line for each frame; the socket has taken it.
    pub(super) fn said(&mut self) -> Vec<String> {
        let output = self.session.take_output();
        self.session.sent(self.now, output.len());
        self.drain();
        self.heard.extend_from_slice(&output);
        let heard = std::mem::take(&mut self.heard);
        let mut rest = &heard[..];
        let mut lines = Vec::new();
        while let Some((frame, used)) = Frame::parse(rest, u32::MAX).unwrap() {
            lines.push(line(frame));
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "whole frames are said");
        lines
    }

    pub(super) fn asked(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    pub(super) fn closed(&self) -> bool {
        self.outputs.last() == Some(&SessionOutput::Close)
    }

    /// The session closed the connection, for this reason, and the core was told; the peer agrees.
    pub(super) fn expect_close(&mut self, expected: &str) {
        assert_eq!(self.said(), [format!("0 connection.close {expected}")]);
        assert_eq!(self.asked().last(), Some(&Request::Disconnect));
        assert!(!self.closed());
        self.say(0, &connection::CloseOk {});
        assert!(self.closed());
        assert_eq!((self.said(), self.asked()), (vec![], vec![]));
    }

    /// The session closed channel 1, for this reason, and the core was told; the peer agrees and the channel is of use
    /// again. The connection goes on.
    pub(super) fn expect_channel_close(&mut self, expected: &str) {
        assert_eq!(self.said(), [format!("1 channel.close {expected}")]);
        assert_eq!(self.asked().last(), Some(&Request::CloseChannel { channel: 1 }));
        // Discarded, whatever it is.
        self.say(
            1,
            &basic::Ack {
                delivery_tag: 7,
                multiple: false,
            },
        );
        self.say(1, &channel::CloseOk {});
        self.reply(1, ChannelReply::Closed);
        assert_eq!((self.said(), self.asked()), (vec![], vec![]));
        self.open_channel(1);
    }
}

pub(super) fn publish_to_q() -> basic::Publish<'static> {
    basic::Publish {
        routing_key: b"q",
        ..basic::Publish::default()
    }
}

pub(super) fn raw(kind: u8, number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.push(frame::END);
    bytes
}

/// A content header's payload.
pub(super) fn header(class: u16, body_bytes: u64, properties: &[u8]) -> Vec<u8> {
    let mut bytes = class.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&body_bytes.to_be_bytes());
    bytes.extend_from_slice(properties);
    bytes
}

pub(super) fn on(channel: u16, request: ChannelRequest) -> Request {
    Request::Channel { channel, request }
}

pub(super) fn published(channel: u16, properties: &[u8], body: &[u8]) -> Request {
    let message = Message::new("", b"q", properties, body);
    on(
        channel,
        ChannelRequest::Publish {
            message,
            mandatory: false,
        },
    )
}

fn line(frame: Frame<'_>) -> String {
    let number = frame.channel;
    match frame.kind {
        frame::METHOD => format!("{number} {}", method_text(&parse_method(frame.payload))),
        frame::HEADER => format!(
            "{number} header {}",
            ContentHeader::parse(frame.payload).unwrap().body_bytes
        ),
        frame::BODY => format!("{number} body {}", frame.payload.len()),
        _ => format!("{number} heartbeat"),
    }
}

pub(super) fn parse_method(payload: &[u8]) -> Method<'_> {
    let ids = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    Method::decode(ids(0), ids(2), &payload[4..]).unwrap().unwrap()
}

fn method_text(method: &Method<'_>) -> String {
    let name = method.name();
    match method {
        Method::ConnectionClose(connection::Close {
            reply_code,
            reply_text,
            class_id,
            method_id,
        })
        | Method::ChannelClose(channel::Close {
            reply_code,
            reply_text,
            class_id,
            method_id,
        }) => {
            format!("{name} {reply_code} {class_id}.{method_id} {reply_text}")
        }
        _ => name.to_owned(),
    }
}
