//! Content: basic.publish, its header, its body, into one [`Message`] (section 4.2.6).

use super::super::error::{Code, Error};
use super::super::frame::{self, ContentHeader, Frame, Head};
use super::super::limits;
use super::super::methods::basic;
use super::super::wire::Reader;
use super::channel::{Channel, State};
use super::{Phase, Session};
use bytes::BytesMut;
use waystation_core::Now;
use waystation_core::api::ChannelRequest;
use waystation_core::message::{Message, Properties};
use waystation_core::plant::{self, Plant};

/// The method that contents belong to.
const PUBLISH: (u16, u16) = (60, 40);

/// A channel's message on its way in.
#[derive(Debug, Default)]
pub(super) struct Content {
    stage: Stage,
    mandatory: bool,
    /// Exchange and routing key, one after the other, until the message is begun; kept for its capacity.
    address: Vec<u8>,
    exchange_bytes: usize,
}

/// What is to come.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// A method.
    #[default]
    Method,
    /// A content header.
    Header,
    /// So many bytes of body, of so many announced.
    Body {
        message: BytesMut,
        missing: u64,
        announced: u64,
    },
}

/// A body frame of an expected body, on its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyFrame {
    channel: u16,
    missing: usize,
}

impl Content {
    /// A channel that expects content takes no method.
    #[inline]
    pub(super) fn expect_method(&self) -> Result<(), Error> {
        let text = match self.stage {
            Stage::Method => return Ok(()),
            Stage::Header => "expected content header for class 60, got non content header frame instead",
            Stage::Body { .. } => "expected content body, got non content body frame instead",
        };
        Err(Error::new(Code::UnexpectedFrame, text).of(PUBLISH))
    }

    fn address(&self) -> (&str, &[u8]) {
        let (exchange, routing_key) = self.address.split_at(self.exchange_bytes);
        let exchange = std::str::from_utf8(exchange).expect("decoded as a short string");
        (exchange, routing_key)
    }
}

impl Session {
    /// basic.publish: the header is to come.
    #[inline]
    pub(super) fn publish(&mut self, number: u16, publish: &basic::Publish<'_>) -> Result<(), Error> {
        if publish.immediate {
            return Err(Error::new(Code::NotImplemented, "immediate=true").of(PUBLISH));
        }
        let content = &mut open(self.channels.get(number))?.content;
        content.mandatory = publish.mandatory;
        content.address.clear();
        content.address.extend_from_slice(publish.exchange.as_bytes());
        content.address.extend_from_slice(publish.routing_key);
        content.exchange_bytes = publish.exchange.len();
        content.stage = Stage::Header;
        Ok(())
    }

    /// Takes a whole message at once, if `frame` is basic.publish and its content lies after it in `rest`, in order and
    /// in one body frame: most messages do. Says how much of `rest` that was. `None` changes nothing: the frames are then
    /// taken one by one, which also finds what is wrong with them.
    #[inline]
    pub(super) fn whole_publish(&mut self, frame: Frame<'_>, rest: &[u8]) -> Option<usize> {
        let number = frame.channel;
        if frame.kind != frame::METHOD || rest.is_empty() || self.phase != Phase::Open {
            return None;
        }
        let publish = decode_publish(frame.payload).filter(|publish| !publish.immediate)?;
        let channel = self.channels.get(number)?;
        if channel.state != State::Open || !matches!(channel.content.stage, Stage::Method) {
            return None;
        }
        let next = |at: usize, kind| {
            let (frame, used) = Frame::parse(&rest[at..], self.peer.frame_bytes_max).ok()??;
            (frame.kind == kind && frame.channel == number).then_some((frame.payload, at + used))
        };
        let (payload, mut used) = next(0, frame::HEADER)?;
        let header = ContentHeader::parse(payload).filter(|header| header.class == frame::BASIC)?;
        let room = limits::UNFINISHED_BYTES_MAX - self.unfinished_bytes;
        if header.body_bytes > self.config.message_bytes_max.min(room) {
            return None;
        }
        let mut body: &[u8] = &[];
        if header.body_bytes > 0 {
            (body, used) = next(used, frame::BODY)?;
        }
        if body.len() as u64 != header.body_bytes {
            return None;
        }
        let properties = Properties::parse(header.properties).ok()?;
        self.peer.check_user_id(properties.user_id()).ok()?;
        let mut message = Message::start(publish.exchange, publish.routing_key, header.properties, body.len());
        message.extend_from_slice(body);
        let mandatory = publish.mandatory && !plant::is(Plant::MandatoryDropped);
        self.complete(number, message, mandatory);
        Some(used)
    }

    /// A content header on an open channel.
    #[inline]
    pub(super) fn content_header(&mut self, number: u16, payload: &[u8]) -> Result<(), Error> {
        let limit = self.config.message_bytes_max;
        let content = &mut open(self.channels.get(number))?.content;
        match content.stage {
            Stage::Header => {}
            Stage::Method => {
                let text = "expected method frame, got non method frame instead";
                return Err(Error::new(Code::UnexpectedFrame, text));
            }
            Stage::Body { .. } => {
                let text = "expected content body, got non content body frame instead";
                return Err(Error::new(Code::UnexpectedFrame, text).of(PUBLISH));
            }
        }
        let header = ContentHeader::parse(payload)
            .ok_or_else(|| Error::new(Code::SyntaxError, "content header is cut short").of(PUBLISH))?;
        if header.class != frame::BASIC {
            let text = format!(
                "expected content header for class 60, got one for class {} instead",
                header.class
            );
            return Err(Error::new(Code::UnexpectedFrame, text).of(PUBLISH));
        }
        let properties = Properties::parse(header.properties)
            .map_err(|error| Error::new(Code::SyntaxError, error.to_string()).of(PUBLISH))?;
        self.peer.check_user_id(properties.user_id())?;
        if header.body_bytes > limit && !plant::is(Plant::MessageMaxIgnored) {
            let text = format!(
                "message size {} is larger than configured max size {limit}",
                header.body_bytes
            );
            return Err(Error::new(Code::PreconditionFailed, text).of(PUBLISH));
        }
        if self.unfinished_bytes + header.body_bytes > limits::UNFINISHED_BYTES_MAX {
            let text = "too many large messages are unfinished on this connection";
            return Err(Error::new(Code::ResourceError, text).of(PUBLISH));
        }
        let (exchange, routing_key) = content.address();
        // Both casts hold: the first is limited just above, the second follows from the first.
        let reserve = header.body_bytes.min(limits::BODY_RESERVE_BYTES) as usize;
        let message = Message::start(exchange, routing_key, header.properties, reserve);
        if header.body_bytes == 0 {
            content.stage = Stage::Method;
            let mandatory = content.mandatory;
            self.complete(number, message, mandatory);
        } else {
            self.unfinished_bytes += header.body_bytes;
            content.stage = Stage::Body {
                message,
                missing: header.body_bytes,
                announced: header.body_bytes,
            };
        }
        Ok(())
    }

    /// Whether a body frame with this head is the next piece of an open channel's message: then it may come in pieces.
    #[inline]
    pub(super) fn begin_body(&mut self, head: Head) -> bool {
        let Some(channel) = self.channels.get(head.channel) else {
            return false;
        };
        let expected = match &channel.content.stage {
            Stage::Body { missing, .. } => head.size as u64 <= *missing,
            _ => false,
        };
        // A connection that is closing drops whole frames; a channel that is has dropped its message.
        let taken = expected && self.phase == Phase::Open;
        if taken {
            self.body = Some(BodyFrame {
                channel: head.channel,
                missing: head.size,
            });
        }
        taken
    }

    /// Takes a body frame's bytes and its end from the start of `input`; returns the rest.
    #[inline]
    pub(super) fn feed_body<'a>(&mut self, now: Now, input: &'a [u8]) -> &'a [u8] {
        let Some(mut body) = self.body.take() else {
            return input;
        };
        let (piece, rest) = input.split_at(body.missing.min(input.len()));
        // The channel may have failed since: then the rest of the frame is nobody's.
        if let Some(channel) = self.channels.get(body.channel)
            && let Stage::Body { message, missing, .. } = &mut channel.content.stage
        {
            message.extend_from_slice(piece);
            if rest.is_empty() && plant::is(Plant::BodyPieceTwice) {
                message.extend_from_slice(piece);
            }
            *missing -= piece.len() as u64;
        }
        body.missing -= piece.len();
        match rest.split_first() {
            None => {
                self.body = Some(body);
                rest
            }
            Some((&frame::END, rest)) => {
                self.end_body_frame(body.channel);
                rest
            }
            Some((&other, rest)) => {
                self.lose(now, frame::FrameError::End(other), 0);
                rest
            }
        }
    }

    /// A body frame that is not expected.
    pub(super) fn unexpected_body(&mut self, number: u16) -> Error {
        let stage = self.channels.get(number).map(|channel| &channel.content.stage);
        let text = match stage {
            None | Some(Stage::Method) => "expected method frame, got non method frame instead",
            Some(Stage::Header) => "expected content header for class 60, got non content header frame instead",
            Some(Stage::Body { .. }) => "content body is larger than its header said",
        };
        Error::new(Code::UnexpectedFrame, text).of(PUBLISH)
    }

    /// Forgets an unfinished message.
    pub(super) fn drop_content(&mut self, number: u16) {
        if let Some(channel) = self.channels.get(number)
            && let Stage::Body { announced, .. } = std::mem::take(&mut channel.content.stage)
        {
            self.unfinished_bytes -= announced;
        }
    }

    #[inline]
    fn end_body_frame(&mut self, number: u16) {
        let Some(channel) = self.channels.get(number) else {
            return;
        };
        if !matches!(channel.content.stage, Stage::Body { missing: 0, .. }) {
            return;
        }
        let mandatory = channel.content.mandatory;
        if let Stage::Body { message, announced, .. } = std::mem::take(&mut channel.content.stage) {
            self.unfinished_bytes -= announced;
            self.complete(number, message, mandatory);
        }
    }

    #[inline]
    fn complete(&mut self, number: u16, message: BytesMut, mandatory: bool) {
        let message = Message::finish(message);
        self.ask(number, ChannelRequest::Publish { message, mandatory });
        if self.flow.blocked.is_some() {
            self.flow.published = true;
            self.tell_blocked();
        }
    }
}

/// The method of most frames, without a look at all others; `None` too if it is malformed, which the general way says.
#[inline]
pub(super) fn decode_publish(payload: &[u8]) -> Option<basic::Publish<'_>> {
    let mut reader = Reader::new(payload.strip_prefix(&[0, 60, 0, 40])?);
    let publish = basic::Publish::read(&mut reader).ok()?;
    reader.end().ok()?;
    Some(publish)
}

fn open(channel: Option<&mut Channel>) -> Result<&mut Channel, Error> {
    channel.ok_or_else(|| Error::new(Code::ChannelError, "expected 'channel.open'"))
}
