//! The client's side of a connection, without a socket: for tools, load generators and tests.
//!
//! A driver writes [`Client::take_output`] to the socket, gives what it reads to [`Client::receive`] and drains
//! [`Client::poll`]. The first event is [`Event::Connected`]; channels are opened after it. Requests are methods of
//! [`super::methods`], sent by [`Client::send`]; the hot ones have functions of their own.
//!
//! There is no clock in it: a driver that wants heartbeats calls [`Client::heartbeat`] every half of the interval that
//! [`Event::Connected`] names.

mod incoming;
#[cfg(test)]
mod tests;

use super::frame;
use super::limits;
use super::methods::{Encode, basic, channel, connection};
use bytes::BytesMut;
use incoming::Pending;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use waystation_core::api::Name;
use waystation_core::message::{Message, Table, Value};

/// Who connects, to what, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The user.
    pub user: String,
    /// Its password, sent by mechanism PLAIN.
    pub password: super::Secret,
    /// The vhost.
    pub vhost: String,
    /// What client-properties call this program.
    pub product: String,
    /// Largest frame that is accepted, in bytes; the smaller of this and the server's offer is used.
    pub frame_bytes_max: u32,
    /// Heartbeat interval that is asked for, in seconds; 0 is none.
    pub heartbeat_seconds: u16,
}

/// What the server said.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The handshake is over.
    Connected {
        /// Negotiated, in bytes.
        frame_bytes_max: u32,
        /// Negotiated.
        channel_max: u16,
        /// Negotiated, in seconds; 0 is none.
        heartbeat_seconds: u16,
    },
    /// The server does not speak AMQP 0-9-1, or not as the specification says. The connection is of no more use.
    Broken(&'static str),
    /// The connection is closed: by the server, for a reason, or as asked, with code 200. Last of all events.
    Closed {
        /// Reply code.
        code: u16,
        /// Reply text.
        text: String,
    },
    /// Publishers have to wait.
    Blocked {
        /// What is short.
        reason: String,
    },
    /// Publishers may go on.
    Unblocked,
    /// Something on a channel.
    Channel {
        /// The channel.
        channel: u16,
        /// What.
        event: ChannelEvent,
    },
}

/// What the server said on a channel.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelEvent {
    /// The channel is open.
    Opened,
    /// The channel is closed: by the server, for a reason, or as asked, with code 200.
    Closed {
        /// Reply code.
        code: u16,
        /// Reply text.
        text: String,
    },
    /// A queue is there.
    QueueDeclared {
        /// Its name.
        name: Name,
        /// Ready messages.
        messages: u32,
        /// Consumers.
        consumers: u32,
    },
    /// queue.purge-ok or queue.delete-ok.
    QueueEmptied {
        /// How many messages went.
        messages: u32,
    },
    /// A consumer is active.
    Consuming {
        /// Its tag.
        consumer: Name,
    },
    /// A consumer is no more: as asked, or because its queue is gone.
    Cancelled {
        /// Its tag.
        consumer: Name,
        /// Whether it was the server's doing.
        by_server: bool,
    },
    /// A message for a consumer.
    Delivered {
        /// The consumer's tag.
        consumer: Name,
        /// What to settle.
        tag: u64,
        /// It may have been delivered before.
        redelivered: bool,
        /// The message.
        message: Message,
    },
    /// The answer to basic.get.
    Got {
        /// What to settle.
        tag: u64,
        /// It may have been delivered before.
        redelivered: bool,
        /// Ready messages left.
        messages: u32,
        /// The message.
        message: Message,
    },
    /// The answer to basic.get of an empty queue.
    Empty,
    /// A mandatory message that no queue took.
    Returned {
        /// Reply code.
        code: u16,
        /// Reply text.
        text: String,
        /// The message.
        message: Message,
    },
    /// Publishes are safe, or refused.
    Confirmed {
        /// A publish number, from 1 on within the channel.
        tag: u64,
        /// It and all before it.
        multiple: bool,
        /// Safe, or refused.
        ok: bool,
    },
    /// Another answer of success, by its name: `queue.bind-ok` and the like.
    Done(&'static str),
}

/// One connection, seen from the client.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    phase: Phase,
    frame_bytes_max: u32,
    /// The start of a frame that is not all there.
    partial: Vec<u8>,
    /// Content on its way in, by channel.
    pending: BTreeMap<u16, Pending>,
    /// The tag of the last consumer that got something: the next one is mostly the same.
    consumer: Name,
    out: BytesMut,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Tuning { heartbeat_seconds: u16, channel_max: u16 },
    Open,
    Closing,
    Closed,
}

impl Client {
    /// Begins the handshake.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self {
            phase: Phase::Starting,
            frame_bytes_max: config.frame_bytes_max,
            config,
            partial: Vec::new(),
            pending: BTreeMap::new(),
            consumer: Name::from(""),
            out: BytesMut::from(&frame::PROTOCOL_HEADER[..]),
            events: VecDeque::new(),
        }
    }

    /// Pops one event; `None` means that more bytes are needed.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes the bytes to send.
    pub fn take_output(&mut self) -> BytesMut {
        self.out.split()
    }

    /// How many bytes there are to send.
    #[must_use]
    pub fn output_bytes(&self) -> usize {
        self.out.len()
    }

    /// Sends a method that has no content.
    ///
    /// # Panics
    /// If a short string of it is longer than 255 bytes, here and below.
    pub fn send(&mut self, channel: u16, method: &impl Encode) {
        frame::method(&mut self.out, channel, method);
    }

    /// Opens a channel, from 1 to the negotiated channel_max.
    pub fn open_channel(&mut self, channel: u16) {
        self.send(channel, &channel::Open {});
    }

    /// Closes a channel.
    pub fn close_channel(&mut self, channel: u16) {
        let close = channel::Close {
            reply_code: 200,
            ..channel::Close::default()
        };
        self.send(channel, &close);
    }

    /// Publishes. `properties` are flags and list, as [`waystation_core::message::OwnedProperties::to_vec`] makes them.
    #[inline]
    pub fn publish(&mut self, channel: u16, publish: &basic::Publish<'_>, properties: &[u8], body: &[u8]) {
        frame::method(&mut self.out, channel, publish);
        frame::content(&mut self.out, channel, properties, body, self.frame_bytes_max);
    }

    /// Acknowledges a delivery, or with `multiple` all up to it.
    #[inline]
    pub fn ack(&mut self, channel: u16, delivery_tag: u64, multiple: bool) {
        self.send(channel, &basic::Ack { delivery_tag, multiple });
    }

    /// Sends a heartbeat.
    pub fn heartbeat(&mut self) {
        frame::heartbeat(&mut self.out);
    }

    /// Closes the connection; [`Event::Closed`] follows.
    pub fn close(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closing;
            let close = connection::Close {
                reply_code: 200,
                reply_text: "goodbye",
                ..connection::Close::default()
            };
            self.send(0, &close);
        }
    }

    fn client_properties(&self) -> Vec<u8> {
        let known = [
            "publisher_confirms",
            "basic.nack",
            "consumer_cancel_notify",
            "connection.blocked",
            "authentication_failure_close",
        ];
        let capabilities = known.map(|name| (Name::from(name), Value::Bool(true)));
        let mut out = Vec::new();
        Table(vec![
            ("product".into(), Value::from(&*self.config.product)),
            ("version".into(), Value::from(env!("CARGO_PKG_VERSION"))),
            ("capabilities".into(), Value::Table(Table(capabilities.into()))),
        ])
        .encode(&mut out);
        out
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            user: "guest".to_owned(),
            password: super::Secret("guest".to_owned()),
            vhost: "/".to_owned(),
            product: "Waystation client".to_owned(),
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            heartbeat_seconds: 0,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { .. } => f.write_str("connected"),
            Self::Broken(what) => write!(f, "the server broke the protocol: {what}"),
            Self::Closed { code, text } => write!(f, "the connection is closed: {code} {text}"),
            Self::Blocked { reason } => write!(f, "the server takes no publishes: {reason}"),
            Self::Unblocked => f.write_str("the server takes publishes again"),
            Self::Channel {
                channel,
                event: ChannelEvent::Closed { code, text },
            } => write!(f, "channel {channel} is closed: {code} {text}"),
            Self::Channel { channel, event } => write!(f, "channel {channel}: {event:?}"),
        }
    }
}
