//! What the server sends, as events.

use super::super::frame::{self, ContentHeader, Frame};
use super::super::limits;
use super::super::methods::{Method, basic, channel, connection};
use super::super::wire::Reader;
use super::{ChannelEvent, Client, Event, Phase};
use bytes::{BufMut, BytesMut};
use waystation_core::api::Name;
use waystation_core::message::{Message, Properties};

/// A method that announced content, and as much of that content as has come.
#[derive(Debug)]
pub(super) struct Pending {
    kind: Kind,
    exchange: String,
    routing_key: Vec<u8>,
    message: Option<BytesMut>,
    missing: u64,
}

#[derive(Debug)]
enum Kind {
    Delivery {
        consumer: Name,
        tag: u64,
        redelivered: bool,
    },
    Get {
        tag: u64,
        redelivered: bool,
        messages: u32,
    },
    Return {
        code: u16,
        text: String,
    },
}

type Broken = &'static str;

impl Client {
    /// Takes bytes from the server.
    pub fn receive(&mut self, mut input: &[u8]) {
        if !self.partial.is_empty() {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(input);
            let used = self.frames(&joined);
            joined.drain(..used);
            self.partial = joined;
            return;
        }
        let used = self.frames(input);
        input = &input[used..];
        self.partial.extend_from_slice(input);
    }

    /// Handles the whole frames at the start of `bytes`, and says how long they were.
    fn frames(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while self.phase != Phase::Closed {
            if self.phase == Phase::Starting && bytes.starts_with(b"AMQP") {
                self.broken("it speaks another version of AMQP");
                break;
            }
            match Frame::parse(&bytes[used..], self.frame_bytes_max) {
                Ok(None) => return used,
                Ok(Some((frame, length))) => {
                    used += length;
                    if let Some(content) = self.whole_delivery(frame, &bytes[used..]) {
                        used += content;
                        continue;
                    }
                    if let Err(what) = self.frame(frame) {
                        self.broken(what);
                    }
                }
                Err(_) => self.broken("it sent bytes that are not a frame"),
            }
        }
        bytes.len()
    }

    fn broken(&mut self, what: Broken) {
        self.phase = Phase::Closed;
        self.events.push_back(Event::Broken(what));
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), Broken> {
        match frame.kind {
            frame::METHOD => {
                let (ids, fields) = frame.payload.split_first_chunk().ok_or("a method frame is too short")?;
                let [c1, c0, m1, m0] = *ids;
                let method = Method::decode(u16::from_be_bytes([c1, c0]), u16::from_be_bytes([m1, m0]), fields)
                    .map_err(|_| "it sent a malformed method")?
                    .ok_or("it sent an unknown method")?;
                if frame.channel == 0 {
                    self.connection_method(&method)
                } else {
                    self.channel_method(frame.channel, &method)
                }
            }
            frame::HEADER => self.content_header(frame.channel, frame.payload),
            frame::BODY => self.content_body(frame.channel, frame.payload),
            _ => Ok(()),
        }
    }

    fn connection_method(&mut self, method: &Method<'_>) -> Result<(), Broken> {
        match (self.phase, method) {
            (_, Method::ConnectionClose(close)) => {
                self.send(0, &connection::CloseOk {});
                self.closed(close.reply_code, close.reply_text);
            }
            (Phase::Closing, Method::ConnectionCloseOk(_)) => self.closed(200, "goodbye"),
            (Phase::Closing, _) => {}
            (Phase::Starting, Method::ConnectionStart(_)) => {
                let properties = self.client_properties();
                let response = format!("\0{}\0{}", self.config.user, self.config.password.0);
                let start_ok = connection::StartOk {
                    client_properties: &properties,
                    mechanism: "PLAIN",
                    response: response.as_bytes(),
                    locale: "en_US",
                };
                self.send(0, &start_ok);
            }
            (Phase::Starting, Method::ConnectionTune(tune)) => self.tune(*tune),
            (
                Phase::Tuning {
                    heartbeat_seconds,
                    channel_max,
                },
                Method::ConnectionOpenOk(_),
            ) => {
                self.phase = Phase::Open;
                self.events.push_back(Event::Connected {
                    frame_bytes_max: self.frame_bytes_max,
                    channel_max,
                    heartbeat_seconds,
                });
            }
            (Phase::Open, Method::ConnectionBlocked(blocked)) => {
                let reason = blocked.reason.to_owned();
                self.events.push_back(Event::Blocked { reason });
            }
            (Phase::Open, Method::ConnectionUnblocked(_)) => self.events.push_back(Event::Unblocked),
            _ => return Err("it sent a method of the connection out of order"),
        }
        Ok(())
    }

    fn tune(&mut self, offer: connection::Tune) {
        let smaller = |ours: u32, theirs: u32| if theirs == 0 { ours } else { ours.min(theirs) };
        self.frame_bytes_max = smaller(self.config.frame_bytes_max, offer.frame_max).max(limits::FRAME_BYTES_MIN);
        let channel_max = if offer.channel_max == 0 {
            limits::CHANNEL_MAX
        } else {
            offer.channel_max
        };
        let heartbeat_seconds = self.config.heartbeat_seconds;
        self.phase = Phase::Tuning {
            heartbeat_seconds,
            channel_max,
        };
        let tune_ok = connection::TuneOk {
            channel_max,
            frame_max: self.frame_bytes_max,
            heartbeat: heartbeat_seconds,
        };
        self.send(0, &tune_ok);
        let vhost = std::mem::take(&mut self.config.vhost);
        self.send(0, &connection::Open { virtual_host: &vhost });
        self.config.vhost = vhost;
    }

    fn closed(&mut self, code: u16, text: &str) {
        self.phase = Phase::Closed;
        let text = text.to_owned();
        self.events.push_back(Event::Closed { code, text });
    }

    fn event(&mut self, channel: u16, event: ChannelEvent) {
        self.events.push_back(Event::Channel { channel, event });
    }

    fn channel_method(&mut self, channel: u16, method: &Method<'_>) -> Result<(), Broken> {
        if self.pending.contains_key(&channel) && !matches!(method, Method::ChannelClose(_)) {
            return Err("a method came where content should");
        }
        match method {
            Method::BasicDeliver(deliver) => self.deliver(channel, deliver),
            Method::BasicGetOk(got) => {
                let kind = Kind::Get {
                    tag: got.delivery_tag,
                    redelivered: got.redelivered,
                    messages: got.message_count,
                };
                self.expect(channel, kind, got.exchange, got.routing_key);
            }
            Method::BasicReturn(returned) => {
                let kind = Kind::Return {
                    code: returned.reply_code,
                    text: returned.reply_text.to_owned(),
                };
                self.expect(channel, kind, returned.exchange, returned.routing_key);
            }
            other => {
                if matches!(other, Method::ChannelClose(_)) {
                    self.pending.remove(&channel);
                    self.send(channel, &channel::CloseOk {});
                }
                self.event(channel, event(other));
            }
        }
        Ok(())
    }

    /// Takes a delivery at once, if `frame` is basic.deliver and its content lies after it in `rest`, in one body frame.
    /// Says how much of `rest` that was. `None` changes nothing: the frames are then taken one by one.
    #[inline]
    fn whole_delivery(&mut self, frame: Frame<'_>, rest: &[u8]) -> Option<usize> {
        let channel = frame.channel;
        if frame.kind != frame::METHOD || rest.is_empty() || self.phase != Phase::Open {
            return None;
        }
        let mut reader = Reader::new(frame.payload.strip_prefix(&[0, 60, 0, 60])?);
        let deliver = basic::Deliver::read(&mut reader).ok()?;
        reader.end().ok()?;
        if channel == 0 || self.pending.contains_key(&channel) {
            return None;
        }
        let next = |at: usize, kind| {
            let (frame, used) = Frame::parse(&rest[at..], self.frame_bytes_max).ok()??;
            (frame.kind == kind && frame.channel == channel).then_some((frame.payload, at + used))
        };
        let (payload, mut used) = next(0, frame::HEADER)?;
        let header = ContentHeader::parse(payload).filter(|header| header.class == frame::BASIC)?;
        let mut body: &[u8] = &[];
        if header.body_bytes > 0 {
            (body, used) = next(used, frame::BODY)?;
        }
        if body.len() as u64 != header.body_bytes || Properties::parse(header.properties).is_err() {
            return None;
        }
        let event = ChannelEvent::Delivered {
            consumer: self.consumer(deliver.consumer_tag),
            tag: deliver.delivery_tag,
            redelivered: deliver.redelivered,
            message: Message::new(deliver.exchange, deliver.routing_key, header.properties, body),
        };
        self.event(channel, event);
        Some(used)
    }

    fn consumer(&mut self, tag: &str) -> Name {
        if *self.consumer != *tag {
            self.consumer = tag.into();
        }
        self.consumer.clone()
    }

    fn deliver(&mut self, channel: u16, deliver: &basic::Deliver<'_>) {
        let kind = Kind::Delivery {
            consumer: self.consumer(deliver.consumer_tag),
            tag: deliver.delivery_tag,
            redelivered: deliver.redelivered,
        };
        self.expect(channel, kind, deliver.exchange, deliver.routing_key);
    }

    fn expect(&mut self, channel: u16, kind: Kind, exchange: &str, routing_key: &[u8]) {
        let pending = Pending {
            kind,
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
            message: None,
            missing: 0,
        };
        self.pending.insert(channel, pending);
    }

    fn content_header(&mut self, channel: u16, payload: &[u8]) -> Result<(), Broken> {
        let pending = self
            .pending
            .get_mut(&channel)
            .filter(|pending| pending.message.is_none());
        let pending = pending.ok_or("a content header came unannounced")?;
        let header = ContentHeader::parse(payload).ok_or("a content header is too short")?;
        if header.class != frame::BASIC || Properties::parse(header.properties).is_err() {
            return Err("a content header is malformed");
        }
        // At most the constant, which fits.
        let reserve = header.body_bytes.min(limits::BODY_RESERVE_BYTES) as usize;
        let message = Message::start(&pending.exchange, &pending.routing_key, header.properties, reserve);
        pending.message = Some(message);
        pending.missing = header.body_bytes;
        self.complete(channel);
        Ok(())
    }

    fn content_body(&mut self, channel: u16, payload: &[u8]) -> Result<(), Broken> {
        let unexpected = "a body came unannounced";
        let pending = self.pending.get_mut(&channel).ok_or(unexpected)?;
        let message = pending.message.as_mut().ok_or(unexpected)?;
        let left = pending.missing.checked_sub(payload.len() as u64);
        pending.missing = left.ok_or("a body is longer than announced")?;
        message.put_slice(payload);
        self.complete(channel);
        Ok(())
    }

    fn complete(&mut self, channel: u16) {
        if self.pending.get(&channel).is_none_or(|pending| pending.missing > 0) {
            return;
        }
        let Some(Pending {
            kind,
            message: Some(message),
            ..
        }) = self.pending.remove(&channel)
        else {
            return;
        };
        let message = Message::finish(message);
        let event = match kind {
            Kind::Delivery {
                consumer,
                tag,
                redelivered,
            } => ChannelEvent::Delivered {
                consumer,
                tag,
                redelivered,
                message,
            },
            Kind::Get {
                tag,
                redelivered,
                messages,
            } => ChannelEvent::Got {
                tag,
                redelivered,
                messages,
                message,
            },
            Kind::Return { code, text } => ChannelEvent::Returned { code, text, message },
        };
        self.event(channel, event);
    }
}

/// The event of a method without content.
fn event(method: &Method<'_>) -> ChannelEvent {
    match method {
        Method::BasicAck(ack) => ChannelEvent::Confirmed {
            tag: ack.delivery_tag,
            multiple: ack.multiple,
            ok: true,
        },
        Method::BasicNack(nack) => ChannelEvent::Confirmed {
            tag: nack.delivery_tag,
            multiple: nack.multiple,
            ok: false,
        },
        Method::BasicGetEmpty(_) => ChannelEvent::Empty,
        Method::BasicConsumeOk(ok) => ChannelEvent::Consuming {
            consumer: ok.consumer_tag.into(),
        },
        Method::BasicCancelOk(ok) => ChannelEvent::Cancelled {
            consumer: ok.consumer_tag.into(),
            by_server: false,
        },
        Method::BasicCancel(cancel) => ChannelEvent::Cancelled {
            consumer: cancel.consumer_tag.into(),
            by_server: true,
        },
        Method::QueueDeclareOk(ok) => ChannelEvent::QueueDeclared {
            name: ok.queue.into(),
            messages: ok.message_count,
            consumers: ok.consumer_count,
        },
        Method::QueuePurgeOk(ok) => ChannelEvent::QueueEmptied {
            messages: ok.message_count,
        },
        Method::QueueDeleteOk(ok) => ChannelEvent::QueueEmptied {
            messages: ok.message_count,
        },
        Method::ChannelOpenOk(_) => ChannelEvent::Opened,
        Method::ChannelCloseOk(_) => ChannelEvent::Closed {
            code: 200,
            text: String::new(),
        },
        Method::ChannelClose(close) => ChannelEvent::Closed {
            code: close.reply_code,
            text: close.reply_text.to_owned(),
        },
        other => ChannelEvent::Done(other.name()),
    }
}
