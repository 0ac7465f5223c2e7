//! The client against the session: both sides of this crate, byte by byte.

use super::super::methods::queue;
use super::super::{Session, SessionConfig, SessionInput, SessionOutput};
use super::*;
use waystation_core::api::{ChannelReply, Reply, Request};
use waystation_core::{Machine, Now};

/// A client, a session, and a wire that carries `piece` bytes at a time.
struct Wire {
    client: Client,
    session: Session,
    piece: usize,
    requests: Vec<Request>,
    over: bool,
}

impl Wire {
    fn new(config: ClientConfig, piece: usize) -> Self {
        let now = Now::default();
        Self {
            client: Client::new(config),
            session: Session::new(SessionConfig::default(), now.mono),
            piece,
            requests: Vec::new(),
            over: false,
        }
    }

    /// Connected, with channel 1.
    fn open(piece: usize) -> Self {
        let mut wire = Self::new(ClientConfig::default(), piece);
        wire.run();
        wire.core(Reply::Connected);
        let connected = Event::Connected {
            frame_bytes_max: 131_072,
            channel_max: 2047,
            heartbeat_seconds: 0,
        };
        assert_eq!(wire.events(), [connected]);
        wire.client.open_channel(1);
        wire.run();
        wire.on_channel(ChannelReply::Opened);
        assert_eq!(wire.events(), [on_1(ChannelEvent::Opened)]);
        wire.requests.clear();
        wire
    }

    /// Carries bytes until there are none. Whoever asks is authenticated.
    fn run(&mut self) {
        let now = Now::default();
        loop {
            let up = self.client.take_output();
            for piece in up.chunks(self.piece) {
                self.session.handle(now, SessionInput::Bytes(piece));
            }
            let down = self.session.take_output();
            self.session.sent(now, down.len());
            for piece in down.chunks(self.piece) {
                self.client.receive(piece);
            }
            let mut busy = !(up.is_empty() && down.is_empty());
            while let Some(output) = self.session.poll() {
                busy = true;
                match output {
                    SessionOutput::Request(request) => self.requests.push(request),
                    SessionOutput::Authenticate { .. } => {
                        self.session.handle(now, SessionInput::Authenticated(Ok(())));
                    }
                    SessionOutput::Close => self.over = true,
                }
            }
            if !busy {
                return;
            }
        }
    }

    fn core(&mut self, reply: Reply) {
        self.session.handle(Now::default(), SessionInput::Replies(vec![reply]));
        self.run();
    }

    fn on_channel(&mut self, reply: ChannelReply) {
        self.core(Reply::Channel { channel: 1, reply });
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.client.poll()).collect()
    }

    fn hears(&mut self, reply: ChannelReply, expected: ChannelEvent) {
        self.on_channel(reply);
        assert_eq!(self.events(), [on_1(expected)]);
    }
}

fn on_1(event: ChannelEvent) -> Event {
    Event::Channel { channel: 1, event }
}

fn message(body: &[u8]) -> Message {
    Message::new("ex", b"key", b"\x10\0\x02", body)
}

#[test]
fn everything_passes_in_pieces_of_any_size() {
    for piece in [1, 7, 1000, 1 << 20] {
        let mut wire = Wire::open(piece);
        let body = vec![5; 300_000];
        for body in [&b""[..], b"x", &body] {
            let publish = basic::Publish {
                exchange: "ex",
                routing_key: b"key",
                ..basic::Publish::default()
            };
            wire.client.publish(1, &publish, b"\x10\0\x02", body);
            wire.run();
            let request = waystation_core::api::ChannelRequest::Publish {
                message: message(body),
                mandatory: false,
            };
            assert_eq!(wire.requests.pop(), Some(Request::Channel { channel: 1, request }));
            let deliver = ChannelReply::Deliver {
                consumer: "c".into(),
                tag: 3,
                redelivered: true,
                message: message(body),
            };
            let delivered = ChannelEvent::Delivered {
                consumer: "c".into(),
                tag: 3,
                redelivered: true,
                message: message(body),
            };
            wire.hears(deliver, delivered);
            let drained = Request::Drained {
                bytes: message(body).bytes().len() as u64,
            };
            assert_eq!(wire.requests.pop(), Some(drained));
        }
        wire.client.ack(1, 3, true);
        wire.client.heartbeat();
        wire.run();
        assert_eq!(wire.requests.len(), 1);
    }
}

#[test]
fn answers_are_events() {
    let mut wire = Wire::open(1 << 20);
    let tag = || Name::from("c");
    let declared = ChannelReply::QueueDeclared {
        name: "q".into(),
        messages: 4,
        consumers: 5,
    };
    wire.hears(
        declared,
        ChannelEvent::QueueDeclared {
            name: "q".into(),
            messages: 4,
            consumers: 5,
        },
    );
    wire.hears(
        ChannelReply::QueuePurged { messages: 4 },
        ChannelEvent::QueueEmptied { messages: 4 },
    );
    wire.hears(
        ChannelReply::QueueDeleted { messages: 4 },
        ChannelEvent::QueueEmptied { messages: 4 },
    );
    wire.hears(
        ChannelReply::Consuming { consumer: tag() },
        ChannelEvent::Consuming { consumer: tag() },
    );
    wire.hears(
        ChannelReply::Cancelled { consumer: tag() },
        ChannelEvent::Cancelled {
            consumer: tag(),
            by_server: false,
        },
    );
    wire.hears(
        ChannelReply::CancelledByServer { consumer: tag() },
        ChannelEvent::Cancelled {
            consumer: tag(),
            by_server: true,
        },
    );
}

#[test]
fn confirms_and_messages_are_events() {
    let mut wire = Wire::open(1 << 20);
    wire.hears(ChannelReply::Empty, ChannelEvent::Empty);
    wire.hears(
        ChannelReply::Bound { exchange: false },
        ChannelEvent::Done("queue.bind-ok"),
    );
    wire.hears(
        ChannelReply::Confirm {
            tag: 9,
            multiple: true,
            ok: true,
        },
        ChannelEvent::Confirmed {
            tag: 9,
            multiple: true,
            ok: true,
        },
    );
    wire.hears(
        ChannelReply::Confirm {
            tag: 9,
            multiple: false,
            ok: false,
        },
        ChannelEvent::Confirmed {
            tag: 9,
            multiple: false,
            ok: false,
        },
    );
    let returned = ChannelEvent::Returned {
        code: 312,
        text: "NO_ROUTE".into(),
        message: message(b"x"),
    };
    wire.hears(ChannelReply::Return { message: message(b"x") }, returned);
    let got = ChannelReply::Got {
        tag: 1,
        redelivered: false,
        message: message(b"x"),
        messages: 7,
    };
    wire.hears(
        got,
        ChannelEvent::Got {
            tag: 1,
            redelivered: false,
            messages: 7,
            message: message(b"x"),
        },
    );
}

#[test]
fn blocking_is_heard() {
    let mut wire = Wire::open(1 << 20);
    wire.core(Reply::Blocked { reason: "disk" });
    wire.client.publish(1, &basic::Publish::default(), &[0, 0], b"");
    wire.run();
    wire.core(Reply::Unblocked);
    assert_eq!(
        wire.events(),
        [Event::Blocked { reason: "disk".into() }, Event::Unblocked]
    );
}

#[test]
fn closes_from_either_side() {
    let mut wire = Wire::open(3);
    wire.client.close_channel(1);
    wire.run();
    wire.hears(
        ChannelReply::Closed,
        ChannelEvent::Closed {
            code: 200,
            text: String::new(),
        },
    );
    wire.client.close();
    wire.run();
    assert!(!wire.over);
    wire.core(Reply::Disconnected);
    assert!(wire.over);
    assert_eq!(
        wire.events(),
        [Event::Closed {
            code: 200,
            text: "goodbye".into()
        }]
    );

    let mut wire = Wire::open(3);
    wire.client.send(
        1,
        &queue::Declare {
            arguments: b"x",
            ..queue::Declare::default()
        },
    );
    wire.run();
    let text = "SYNTAX_ERROR - arguments: a field of the table is cut short".to_owned();
    assert_eq!(wire.events(), [Event::Closed { code: 502, text }]);
    assert!(wire.over);
}

#[test]
fn a_server_that_is_none_is_told_apart() {
    let broken = |bytes: &[u8]| {
        let mut client = Client::new(ClientConfig::default());
        client.receive(bytes);
        client.poll()
    };
    assert_eq!(
        broken(b"AMQP\0\x01\0\0"),
        Some(Event::Broken("it speaks another version of AMQP"))
    );
    assert_eq!(
        broken(b"HTTP/1.1 400 Bad Request"),
        Some(Event::Broken("it sent bytes that are not a frame"))
    );
    assert_eq!(
        broken(&[2, 0, 1, 0, 0, 0, 0, 0xCE]),
        Some(Event::Broken("a content header came unannounced"))
    );
    assert_eq!(
        broken(&[3, 0, 1, 0, 0, 0, 0, 0xCE]),
        Some(Event::Broken("a body came unannounced"))
    );
    assert_eq!(
        broken(&[1, 0, 1, 0, 0, 0, 0, 0xCE]),
        Some(Event::Broken("a method frame is too short"))
    );
    assert_eq!(broken(&[1, 0, 1]), None);
}
