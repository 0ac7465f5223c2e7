//! As much of AMQP 0-9-1 as a load generator needs, by hand.
//!
//! It shares no code with the broker: a mistake made twice in the same way would go unseen. It copies a prepared frame per
//! publish and looks at no more of a delivery than its tag and its first bytes, so that the machine is left to the broker.

use crate::amqp_url::AmqpUrl;
use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest frame asked for. The broker may want shorter ones.
const FRAME_MAX: u32 = 128 << 10;
/// Bytes around a frame's payload: type, channel, length and end.
const FRAME_OVERHEAD: usize = 8;
const FRAME_END: u8 = 0xce;
/// The channel that everything runs on.
const CHANNEL: u16 = 1;
/// Room made in the input for each read.
const READ_BYTES: usize = 256 << 10;

/// Kinds of frames.
pub(super) const METHOD: u8 = 1;
pub(super) const HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;

/// Class and method ids, as one number each.
pub(super) const CONNECTION_CLOSE: (u16, u16) = (10, 50);
pub(super) const CHANNEL_CLOSE: (u16, u16) = (20, 40);
pub(super) const BASIC_DELIVER: (u16, u16) = (60, 60);
pub(super) const BASIC_CANCEL: (u16, u16) = (60, 30);
pub(super) const BASIC_ACK: (u16, u16) = (60, 80);
pub(super) const BASIC_NACK: (u16, u16) = (60, 120);
const BASIC_PUBLISH: (u16, u16) = (60, 40);

/// Bytes that arrived, cut into frames.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
}

/// A frame, borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

impl Input {
    /// The buffer to read into; whole frames that were taken are dropped first.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }

    /// Takes the next whole frame.
    pub(super) fn frame(&mut self) -> Result<Option<Frame<'_>>> {
        let rest = &self.bytes[self.start..];
        let Some(head) = rest.get(..7) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        if length > FRAME_MAX as usize {
            bail!("the broker sent a frame of {length} bytes, which is longer than agreed");
        }
        if rest.len() < length + FRAME_OVERHEAD {
            return Ok(None);
        }
        if rest[7 + length] != FRAME_END {
            bail!("the broker sent a frame without its end");
        }
        let at = self.start;
        self.start += length + FRAME_OVERHEAD;
        Ok(Some(Frame {
            kind: self.bytes[at],
            payload: &self.bytes[at + 7..at + 7 + length],
        }))
    }
}

impl Frame<'_> {
    /// Class and method of a method frame.
    pub(super) fn method(&self) -> Option<(u16, u16)> {
        match self.payload {
            [a, b, c, d, ..] if self.kind == METHOD => {
                Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
            }
            _ => None,
        }
    }

    /// The number at `offset` of the payload.
    pub(super) fn u64_at(&self, offset: usize) -> Result<u64> {
        let bytes = self.payload.get(offset..offset + 8).context("a frame is too short")?;
        Ok(u64::from_be_bytes(bytes.try_into().expect("eight bytes")))
    }

    /// Fails if the broker closes the channel or the connection.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(CONNECTION_CLOSE | CHANNEL_CLOSE) = self.method() {
            let code = self.payload.get(4..6).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
            let length = usize::from(self.payload.get(6).copied().unwrap_or(0));
            let text = String::from_utf8_lossy(self.payload.get(7..7 + length).unwrap_or_default()).into_owned();
            bail!("the broker refused: {code} {text}");
        }
        if self.method() == Some(BASIC_CANCEL) {
            bail!("the broker ended the consumer: was the queue deleted?");
        }
        Ok(())
    }
}

/// Appends a method frame on the channel of everything.
pub(super) fn method(out: &mut Vec<u8>, id: (u16, u16), arguments: &[u8]) {
    on_channel(out, CHANNEL, id, arguments);
}

fn on_channel(out: &mut Vec<u8>, channel: u16, (class, method): (u16, u16), arguments: &[u8]) {
    out.push(METHOD);
    out.extend(channel.to_be_bytes());
    out.extend((arguments.len() as u32 + 4).to_be_bytes());
    out.extend(class.to_be_bytes());
    out.extend(method.to_be_bytes());
    out.extend(arguments);
    out.push(FRAME_END);
}

/// A short string; the callers' are short.
pub(super) fn short(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).expect("checked when the options were read")];
    bytes.extend(text.bytes());
    bytes
}

/// A publish, ready to be copied, and where its body begins.
pub(super) struct Template {
    pub(super) bytes: Vec<u8>,
    pub(super) body: usize,
    /// Length of the body.
    pub(super) size: usize,
}

impl Template {
    /// Publishes `size` bytes to `queue` through the default exchange.
    pub(super) fn new(queue: &str, size: usize, persistent: bool, frame_max: usize) -> Self {
        let mut bytes = Vec::with_capacity(size + 128);
        let arguments = [&[0, 0, 0][..], &short(queue), &[0]].concat();
        method(&mut bytes, BASIC_PUBLISH, &arguments);
        // delivery-mode is the fourth property: bit 12 of the flags.
        let mut header = vec![0, 60, 0, 0];
        header.extend((size as u64).to_be_bytes());
        header.extend([0x10, 0x00, if persistent { 2 } else { 1 }]);
        frame(&mut bytes, HEADER, &header);
        let body = bytes.len() + 7;
        for chunk in vec![b'x'; size].chunks(frame_max - FRAME_OVERHEAD) {
            frame(&mut bytes, BODY, chunk);
        }
        Self { bytes, body, size }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    out.push(kind);
    out.extend(CHANNEL.to_be_bytes());
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend(payload);
    out.push(FRAME_END);
}

/// An open connection with one open channel.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) input: Input,
    pub(super) frame_max: usize,
}

impl Connection {
    pub(super) async fn open(url: &AmqpUrl) -> Result<Self> {
        let connect = TcpStream::connect(url.address());
        let stream = connect.await.with_context(|| format!("cannot connect to {url}"))?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            input: Input::default(),
            frame_max: FRAME_MAX as usize,
        };
        let opened = connection.handshake(url).await;
        opened.with_context(|| {
            format!("cannot open a connection to {url}; if the login is wrong, brokers just hang up")
        })?;
        Ok(connection)
    }

    async fn handshake(&mut self, url: &AmqpUrl) -> Result<()> {
        self.stream.write_all(b"AMQP\0\0\x09\x01").await?;
        self.expect((10, 10)).await?;
        let login = format!("\0{}\0{}", url.user, url.password);
        let mut arguments = capabilities();
        arguments.extend(short("PLAIN"));
        arguments.extend((login.len() as u32).to_be_bytes());
        arguments.extend(login.bytes());
        arguments.extend(short("en_US"));
        self.send(0, (10, 11), &arguments).await?;
        let tune = self.expect((10, 30)).await?;
        let offered = tune.get(2..6).context("connection.tune is too short")?;
        let offered = u32::from_be_bytes(offered.try_into().expect("four bytes"));
        let frame_max = if offered == 0 {
            FRAME_MAX
        } else {
            offered.min(FRAME_MAX)
        };
        self.frame_max = (frame_max as usize).max(4096);
        let mut arguments = vec![0, 1];
        arguments.extend(frame_max.to_be_bytes());
        arguments.extend([0, 0]);
        self.send(0, (10, 31), &arguments).await?;
        let arguments = [&short(&url.vhost)[..], &[0, 0]].concat();
        self.send(0, (10, 40), &arguments).await?;
        self.expect((10, 41)).await?;
        self.call((20, 10), &[0], (20, 11)).await?;
        Ok(())
    }

    async fn send(&mut self, channel: u16, id: (u16, u16), arguments: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        on_channel(&mut bytes, channel, id, arguments);
        self.stream.write_all(&bytes).await?;
        Ok(())
    }

    /// Calls a method of the channel and returns the arguments of its answer.
    pub(super) async fn call(&mut self, id: (u16, u16), arguments: &[u8], answer: (u16, u16)) -> Result<Vec<u8>> {
        self.send(CHANNEL, id, arguments).await?;
        self.expect(answer).await
    }

    async fn expect(&mut self, wanted: (u16, u16)) -> Result<Vec<u8>> {
        loop {
            while let Some(frame) = self.input.frame()? {
                frame.check()?;
                if frame.method() == Some(wanted) {
                    return Ok(frame.payload[4..].to_vec());
                }
            }
            if self.stream.read_buf(self.input.room()).await? == 0 {
                bail!("the broker closed the socket");
            }
        }
    }

    /// Says goodbye and waits for the answer: all that was sent before has been handled then.
    pub(super) async fn close(mut self) -> Result<()> {
        self.send(0, CONNECTION_CLOSE, &[0, 200, 0, 0, 0, 0, 0]).await?;
        self.expect((10, 51)).await?;
        Ok(())
    }

    /// Declares a queue; how many messages it holds.
    pub(super) async fn declare(&mut self, queue: &str, passive: bool, durable: bool) -> Result<u64> {
        let bits = u8::from(passive) | u8::from(durable) << 1;
        let arguments = [&[0, 0][..], &short(queue), &[bits, 0, 0, 0, 0]].concat();
        let answer = self.call((50, 10), &arguments, (50, 11)).await?;
        let at = 1 + queue.len();
        let count = answer.get(at..at + 4).context("queue.declare-ok is too short")?;
        Ok(u64::from(u32::from_be_bytes(count.try_into().expect("four bytes"))))
    }

    /// Deletes a queue, whatever it holds.
    pub(super) async fn delete(&mut self, queue: &str) -> Result<()> {
        let arguments = [&[0, 0][..], &short(queue), &[0]].concat();
        self.call((50, 40), &arguments, (50, 41)).await?;
        Ok(())
    }
}

/// Client properties that ask for nacks and for a notice when a queue goes.
fn capabilities() -> Vec<u8> {
    let mut inner = Vec::new();
    for name in ["basic.nack", "publisher_confirms", "consumer_cancel_notify"] {
        inner.extend(short(name));
        inner.extend([b't', 1]);
    }
    let mut table = short("capabilities");
    table.push(b'F');
    table.extend((inner.len() as u32).to_be_bytes());
    table.extend(inner);
    let mut bytes = (table.len() as u32).to_be_bytes().to_vec();
    bytes.extend(table);
    bytes
}
