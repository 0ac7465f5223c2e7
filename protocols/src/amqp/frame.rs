//! Frames: AMQP 0-9-1 section 4.2.3, parsed where they lie, written at the end of a buffer.

use super::methods::{Encode, basic};
use bytes::BytesMut;
use std::fmt;
use waystation_core::message::Message;
use waystation_core::plant::{self, Plant};

/// Frame type of a method.
pub const METHOD: u8 = 1;
/// Frame type of a content header.
pub const HEADER: u8 = 2;
/// Frame type of a piece of a body.
pub const BODY: u8 = 3;
/// Frame type of a heartbeat.
pub const HEARTBEAT: u8 = 8;
/// The last byte of every frame.
pub const END: u8 = 0xCE;
/// Bytes before a frame's payload: type, channel, size.
pub const HEAD_BYTES: usize = 7;
/// Bytes of a frame that are not payload: what comes before it, and [`END`].
pub const OVERHEAD_BYTES: usize = 8;
/// What a client sends first.
pub const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// Class basic, the only one with content.
pub const BASIC: u16 = 60;

/// Type, channel and size of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// [`METHOD`], [`HEADER`], [`BODY`] or [`HEARTBEAT`].
    pub kind: u8,
    /// The channel; 0 is the connection.
    pub channel: u16,
    /// Bytes of payload.
    pub size: usize,
}

/// A whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type.
    pub kind: u8,
    /// The channel; 0 is the connection.
    pub channel: u16,
    /// What lies between head and [`END`].
    pub payload: &'a [u8],
}

/// Why bytes are not a frame. After it nothing is known about where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// An unknown type.
    Kind(u8),
    /// Larger than the negotiated frame-max.
    TooLarge {
        /// The frame, in bytes.
        bytes: u64,
        /// The frame-max.
        max: u32,
    },
    /// Another byte where [`END`] should be.
    End(u8),
}

/// A content header (section 4.2.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// The class of the method before it.
    pub class: u16,
    /// Bytes of body that follow.
    pub body_bytes: u64,
    /// Property flags and list, unchecked.
    pub properties: &'a [u8],
}

impl Head {
    /// Reads the head of a frame; `Ok(None)` if fewer than [`HEAD_BYTES`] bytes are there.
    ///
    /// # Errors
    /// If the type is unknown or the frame larger than `frame_max` bytes.
    #[inline]
    pub fn parse(bytes: &[u8], frame_max: u32) -> Result<Option<Self>, FrameError> {
        let Some(&[kind, c1, c0, s3, s2, s1, s0]) = bytes.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) {
            return Err(FrameError::Kind(kind));
        }
        let size = u32::from_be_bytes([s3, s2, s1, s0]);
        let frame_bytes = u64::from(size) + OVERHEAD_BYTES as u64;
        if frame_bytes > u64::from(frame_max) {
            return Err(FrameError::TooLarge {
                bytes: frame_bytes,
                max: frame_max,
            });
        }
        let channel = u16::from_be_bytes([c1, c0]);
        Ok(Some(Self {
            kind,
            channel,
            size: size as usize,
        }))
    }

    /// The frame's length in bytes, overhead included.
    #[must_use]
    pub const fn frame_bytes(self) -> usize {
        self.size + OVERHEAD_BYTES
    }
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`, with its length in bytes; `Ok(None)` if it is not all there.
    ///
    /// # Errors
    /// If the bytes are not a frame of at most `frame_max` bytes.
    #[inline]
    pub fn parse(bytes: &'a [u8], frame_max: u32) -> Result<Option<(Self, usize)>, FrameError> {
        match Head::parse(bytes, frame_max)? {
            Some(head) if bytes.len() >= head.frame_bytes() => Self::complete(head, bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// Takes the frame whose head was read from the start of `bytes`, which hold all of it.
    #[inline]
    pub(super) fn complete(head: Head, bytes: &'a [u8]) -> Result<(Self, usize), FrameError> {
        let Head { kind, channel, size } = head;
        match bytes[HEAD_BYTES + size] {
            END => Ok((
                Self {
                    kind,
                    channel,
                    payload: &bytes[HEAD_BYTES..HEAD_BYTES + size],
                },
                head.frame_bytes(),
            )),
            other => Err(FrameError::End(other)),
        }
    }
}

impl<'a> ContentHeader<'a> {
    /// Reads the payload of a header frame; `None` if it is too short.
    #[inline]
    #[must_use]
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (class, rest) = payload.split_first_chunk()?;
        let (_weight, rest) = rest.split_first_chunk::<2>()?;
        let (body_bytes, properties) = rest.split_first_chunk()?;
        Some(Self {
            class: u16::from_be_bytes(*class),
            body_bytes: u64::from_be_bytes(*body_bytes),
            properties,
        })
    }
}

/// Appends a method frame.
///
/// # Panics
/// If a short string of the method is longer than 255 bytes.
#[inline]
pub fn method(out: &mut BytesMut, channel: u16, method: &impl Encode) {
    let start = out.len();
    head(out, METHOD, channel, 0);
    method.encode(out);
    let size = out.len() - start - HEAD_BYTES;
    let size = u32::try_from(size).expect("a method is smaller than 4 GiB");
    out[start + 3..start + HEAD_BYTES].copy_from_slice(&size.to_be_bytes());
    out.extend_from_slice(&[END]);
}

/// Appends a heartbeat.
pub fn heartbeat(out: &mut BytesMut) {
    head(out, HEARTBEAT, 0, 0);
    out.extend_from_slice(&[END]);
}

/// Appends content header and body frames of class basic. `properties` are flags and list, `frame_max` is the negotiated
/// size. A content header cannot be split, and is written whole even if it is larger.
#[inline]
pub fn content(out: &mut BytesMut, channel: u16, properties: &[u8], body: &[u8], frame_max: u32) {
    let size = 12 + properties.len();
    let mut start = [0; HEAD_BYTES + 12];
    start[0] = HEADER;
    start[1..3].copy_from_slice(&channel.to_be_bytes());
    start[3..7].copy_from_slice(&(u32::try_from(size).expect("properties fit a frame")).to_be_bytes());
    start[7..9].copy_from_slice(&BASIC.to_be_bytes());
    start[11..19].copy_from_slice(&(body.len() as u64).to_be_bytes());
    out.extend_from_slice(&start);
    out.extend_from_slice(properties);
    out.extend_from_slice(&[END]);
    let overhead = if plant::is(Plant::BodySplitTooLong) {
        0
    } else {
        OVERHEAD_BYTES
    };
    for piece in body.chunks(frame_max as usize - overhead) {
        head(out, BODY, channel, piece.len());
        out.extend_from_slice(piece);
        out.extend_from_slice(&[END]);
    }
}

/// Appends basic.deliver and the message's content.
///
/// # Panics
/// If the consumer's tag is longer than 255 bytes.
#[inline]
pub fn deliver(out: &mut BytesMut, channel: u16, deliver: &basic::Deliver<'_>, message: &Message, frame_max: u32) {
    // Three frames and what is fixed in them; larger bodies grow the buffer by a few frames more.
    out.reserve(64 + deliver.consumer_tag.len() + message.bytes().len());
    method(out, channel, deliver);
    content(out, channel, message.properties(), message.body(), frame_max);
}

#[inline]
fn head(out: &mut BytesMut, kind: u8, channel: u16, size: usize) {
    let [c1, c0] = channel.to_be_bytes();
    let [s3, s2, s1, s0] = u32::try_from(size)
        .expect("a frame is smaller than 4 GiB")
        .to_be_bytes();
    out.extend_from_slice(&[kind, c1, c0, s3, s2, s1, s0]);
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "unknown frame type {kind}"),
            Self::TooLarge { bytes, max } => write!(f, "frame of {bytes} bytes is larger than the negotiated {max}"),
            Self::End(octet) => write!(f, "frame ends with octet {octet:#04x} instead of 0xce"),
        }
    }
}

impl std::error::Error for FrameError {}
