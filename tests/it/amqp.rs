//! A small blocking AMQP 0-9-1 client, of the protocol's own terms: frames and methods by number, so that a test can also
//! say what no client library would.

use anyhow::{Context, Result, bail, ensure};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest wait for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const METHOD: u8 = 1;
pub(crate) const HEADER: u8 = 2;
pub(crate) const BODY: u8 = 3;
pub(crate) const HEARTBEAT: u8 = 8;
/// The octet that ends every frame.
pub(crate) const FRAME_END: u8 = 0xCE;
/// The largest frame this client agrees to.
pub(crate) const FRAME_MAX: u32 = 131_072;

/// Class and method numbers.
pub(crate) type Id = (u16, u16);
pub(crate) const CONNECTION_START: Id = (10, 10);
pub(crate) const CONNECTION_START_OK: Id = (10, 11);
pub(crate) const CONNECTION_TUNE: Id = (10, 30);
pub(crate) const CONNECTION_TUNE_OK: Id = (10, 31);
pub(crate) const CONNECTION_OPEN: Id = (10, 40);
pub(crate) const CONNECTION_OPEN_OK: Id = (10, 41);
pub(crate) const CONNECTION_CLOSE: Id = (10, 50);
pub(crate) const CHANNEL_OPEN: Id = (20, 10);
pub(crate) const CHANNEL_OPEN_OK: Id = (20, 11);
pub(crate) const CHANNEL_CLOSE: Id = (20, 40);
pub(crate) const QUEUE_DECLARE: Id = (50, 10);
pub(crate) const QUEUE_DECLARE_OK: Id = (50, 11);
pub(crate) const QUEUE_DELETE: Id = (50, 40);
pub(crate) const QUEUE_DELETE_OK: Id = (50, 41);
pub(crate) const BASIC_QOS: Id = (60, 10);
pub(crate) const BASIC_QOS_OK: Id = (60, 11);
pub(crate) const BASIC_CONSUME: Id = (60, 20);
pub(crate) const BASIC_CONSUME_OK: Id = (60, 21);
pub(crate) const BASIC_PUBLISH: Id = (60, 40);
pub(crate) const BASIC_DELIVER: Id = (60, 60);
pub(crate) const BASIC_GET: Id = (60, 70);
pub(crate) const BASIC_GET_OK: Id = (60, 71);
pub(crate) const BASIC_GET_EMPTY: Id = (60, 72);
pub(crate) const BASIC_ACK: Id = (60, 80);
pub(crate) const BASIC_RETURN: Id = (60, 50);
pub(crate) const BASIC_NACK: Id = (60, 120);
pub(crate) const CONFIRM_SELECT: Id = (85, 10);
pub(crate) const CONFIRM_SELECT_OK: Id = (85, 11);

/// Arguments of a method, as bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args(pub(crate) Vec<u8>);

impl Args {
    pub(crate) fn octet(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn short(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn long(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn longlong(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn short_text(mut self, value: &str) -> Self {
        self.0
            .push(u8::try_from(value.len()).expect("a short string has at most 255 bytes"));
        self.0.extend(value.as_bytes());
        self
    }

    pub(crate) fn long_bytes(self, value: &[u8]) -> Self {
        let mut args = self.long(u32::try_from(value.len()).expect("a long string has at most 4 GiB"));
        args.0.extend(value);
        args
    }

    /// An empty table.
    pub(crate) fn no_table(self) -> Self {
        self.long(0)
    }
}

/// Reads arguments back.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .context("a method's arguments are too short")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn octet(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn short(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    pub(crate) fn long(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    pub(crate) fn longlong(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into()?))
    }

    pub(crate) fn short_text(&mut self) -> Result<String> {
        let length = self.octet()?;
        Ok(String::from_utf8(self.take(usize::from(length))?.to_vec())?)
    }
}

/// Something the broker said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A method without content.
    Method { channel: u16, id: Id, args: Vec<u8> },
    /// A method with content: a delivery, the answer to a get, a return.
    Message(Box<Received>),
    /// A heartbeat.
    Heartbeat,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) channel: u16,
    pub(crate) id: Id,
    /// The delivery tag; 0 for a return.
    pub(crate) tag: u64,
    /// The consumer's tag, for a delivery.
    pub(crate) consumer: String,
    pub(crate) redelivered: bool,
    /// The property of that name.
    pub(crate) message_id: String,
    pub(crate) body: Vec<u8>,
}

/// A reply code with its text: what a close says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) code: u16,
    pub(crate) text: String,
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    incoming: Vec<u8>,
    /// Where the unread part of `incoming` begins.
    read: usize,
    partial: Option<(Received, u64)>,
    waiting: VecDeque<Event>,
}

impl Connection {
    /// A TCP connection on which nothing was said yet.
    pub(crate) fn silent(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            out: Vec::new(),
            incoming: Vec::new(),
            read: 0,
            partial: None,
            waiting: VecDeque::new(),
        })
    }

    /// A connection as `guest` to the vhost `/`, without heartbeats, with channel 1 open.
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        Self::open_with_heartbeat(address, 0)
    }

    /// The same, with a heartbeat of so many seconds agreed on.
    pub(crate) fn open_with_heartbeat(address: SocketAddr, heartbeat_s: u16) -> Result<Self> {
        let mut connection = Self::silent(address)?;
        connection.send_bytes(b"AMQP\x00\x00\x09\x01")?;
        connection.expect(0, CONNECTION_START)?;
        connection.send_start_ok()?;
        connection.expect(0, CONNECTION_TUNE)?;
        connection.queue_method(
            0,
            CONNECTION_TUNE_OK,
            Args::default().short(100).long(FRAME_MAX).short(heartbeat_s),
        );
        connection.queue_method(
            0,
            CONNECTION_OPEN,
            Args::default().short_text("/").short_text("").octet(0),
        );
        connection.flush()?;
        connection.expect(0, CONNECTION_OPEN_OK)?;
        connection.open_channel(1)?;
        Ok(connection)
    }

    /// Answers the greeting with the credentials of `guest`.
    pub(crate) fn send_start_ok(&mut self) -> Result<()> {
        let args = Args::default()
            .no_table()
            .short_text("PLAIN")
            .long_bytes(b"\0guest\0guest")
            .short_text("en_US");
        self.queue_method(0, CONNECTION_START_OK, args);
        self.flush()
    }

    pub(crate) fn open_channel(&mut self, channel: u16) -> Result<()> {
        self.call(channel, CHANNEL_OPEN, Args::default().short_text(""), CHANNEL_OPEN_OK)
            .map(drop)
    }

    /// Declares a queue; answers how many messages are ready in it.
    pub(crate) fn declare(&mut self, queue: &str, durable: bool) -> Result<u32> {
        self.declare_with_bits(queue, u8::from(durable) << 1)
    }

    /// How many messages are ready in a queue that must exist.
    pub(crate) fn count(&mut self, queue: &str) -> Result<u32> {
        self.declare_with_bits(queue, 1)
    }

    fn declare_with_bits(&mut self, queue: &str, bits: u8) -> Result<u32> {
        let args = Args::default().short(0).short_text(queue).octet(bits).no_table();
        let answer = self.call(1, QUEUE_DECLARE, args, QUEUE_DECLARE_OK)?;
        let mut fields = Fields(&answer);
        fields.short_text()?;
        fields.long()
    }

    pub(crate) fn delete(&mut self, queue: &str) -> Result<()> {
        let args = Args::default().short(0).short_text(queue).octet(0);
        self.call(1, QUEUE_DELETE, args, QUEUE_DELETE_OK).map(drop)
    }

    pub(crate) fn confirm_select(&mut self) -> Result<()> {
        self.call(1, CONFIRM_SELECT, Args::default().octet(0), CONFIRM_SELECT_OK)
            .map(drop)
    }

    pub(crate) fn prefetch(&mut self, count: u16) -> Result<()> {
        self.call(
            1,
            BASIC_QOS,
            Args::default().long(0).short(count).octet(0),
            BASIC_QOS_OK,
        )
        .map(drop)
    }

    /// Consumes a queue under its own name as consumer tag.
    pub(crate) fn consume(&mut self, queue: &str, no_ack: bool) -> Result<()> {
        let args = Args::default().short(0).short_text(queue).short_text(queue);
        let args = args.octet(u8::from(no_ack) << 1).no_table();
        self.call(1, BASIC_CONSUME, args, BASIC_CONSUME_OK).map(drop)
    }

    /// Takes one message, settled by being taken.
    pub(crate) fn get(&mut self, queue: &str) -> Result<Option<Received>> {
        self.queue_method(1, BASIC_GET, Args::default().short(0).short_text(queue).octet(1));
        self.flush()?;
        loop {
            match self.next_fresh(PATIENCE)?.context("no answer to a get")? {
                Event::Message(message) if message.id == BASIC_GET_OK => return Ok(Some(*message)),
                Event::Method {
                    id: BASIC_GET_EMPTY, ..
                } => return Ok(None),
                Event::Heartbeat => {}
                other => self.keep(other)?,
            }
        }
    }

    /// Queues a publish to the default exchange; `flush` sends it.
    pub(crate) fn queue_publish(&mut self, queue: &str, message_id: &str, body: &[u8]) {
        self.queue_publish_with_bits(queue, message_id, body, 0);
    }

    /// The same, with the bits of the method: 1 is mandatory.
    pub(crate) fn queue_publish_with_bits(&mut self, queue: &str, message_id: &str, body: &[u8], bits: u8) {
        let args = Args::default().short(0).short_text("").short_text(queue).octet(bits);
        self.queue_method(1, BASIC_PUBLISH, args);
        // Two properties: delivery-mode (bit 12) and message-id (bit 7), in that order.
        let header = Args::default()
            .short(60)
            .short(0)
            .longlong(body.len() as u64)
            .short(1 << 12 | 1 << 7);
        self.queue_frame(HEADER, 1, &header.octet(2).short_text(message_id).0);
        for chunk in body.chunks(FRAME_MAX as usize - 8) {
            self.queue_frame(BODY, 1, chunk);
        }
    }

    /// Queues an acknowledgement; `flush` sends it.
    pub(crate) fn queue_ack(&mut self, tag: u64, multiple: bool) {
        self.queue_method(1, BASIC_ACK, Args::default().longlong(tag).octet(u8::from(multiple)));
    }

    pub(crate) fn queue_method(&mut self, channel: u16, id: Id, args: Args) {
        let payload = Args::default().short(id.0).short(id.1);
        self.queue_frame(METHOD, channel, &[payload.0, args.0].concat());
    }

    pub(crate) fn queue_frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        self.out.push(kind);
        self.out.extend(channel.to_be_bytes());
        self.out.extend(
            u32::try_from(payload.len())
                .expect("a frame of a test is small")
                .to_be_bytes(),
        );
        self.out.extend(payload);
        self.out.push(FRAME_END);
    }

    /// Bytes that are queued and not sent.
    pub(crate) fn queued(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out).context("sending")?;
        self.out.clear();
        Ok(())
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending")
    }

    /// Gives up on a write after this time instead of after [`PATIENCE`].
    pub(crate) fn set_write_limit(&mut self, limit: Duration) -> Result<()> {
        Ok(self.stream.set_write_timeout(Some(limit))?)
    }

    /// Sends a method and waits for its answer; deliveries and confirms that come before it are kept for [`Self::next`].
    pub(crate) fn call(&mut self, channel: u16, id: Id, args: Args, answer: Id) -> Result<Vec<u8>> {
        self.queue_method(channel, id, args);
        self.flush()?;
        self.expect(channel, answer)
    }

    /// Waits for a method; deliveries and confirms that come before it are kept for [`Self::next`].
    pub(crate) fn expect(&mut self, channel: u16, expected: Id) -> Result<Vec<u8>> {
        loop {
            let event = self
                .next_fresh(PATIENCE)?
                .with_context(|| format!("no {expected:?} within {PATIENCE:?}"))?;
            match event {
                Event::Method { channel: on, id, args } if (on, id) == (channel, expected) => return Ok(args),
                other => self.keep(other)?,
            }
        }
    }

    fn keep(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Method { id, ref args, .. } if id == CONNECTION_CLOSE || id == CHANNEL_CLOSE => {
                bail!("the broker closed: {:?}", closed(args)?)
            }
            Event::Heartbeat => {}
            event => self.waiting.push_back(event),
        }
        Ok(())
    }

    /// The next thing the broker says, or `None` if it says nothing for so long. An error is the connection's end.
    pub(crate) fn next(&mut self, limit: Duration) -> Result<Option<Event>> {
        match self.waiting.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.next_fresh(limit),
        }
    }

    /// Waits until the broker closes channel or connection with a code, whatever it says before.
    pub(crate) fn closed_by_broker(&mut self) -> Result<Closed> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(Event::Method { id, args, .. }) = self.next(PATIENCE)?
                && (id == CONNECTION_CLOSE || id == CHANNEL_CLOSE)
            {
                return closed(&args);
            }
        }
        bail!("the broker closed nothing within {PATIENCE:?}")
    }

    /// Waits until the broker ends the TCP connection, whatever it says before; answers what it said.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> Result<Vec<u8>> {
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        self.stream.set_read_timeout(Some(limit))?;
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(said),
                Ok(count) => said.extend(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(said),
                Err(error) => return Err(error).context("waiting for the broker to end the connection"),
            }
        }
    }

    fn next_fresh(&mut self, limit: Duration) -> Result<Option<Event>> {
        let end = Instant::now() + limit;
        loop {
            while let Some((kind, channel, payload)) = self.frame()? {
                if let Some(event) = self.assemble(kind, channel, &payload)? {
                    return Ok(Some(event));
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.fill(left)?;
        }
    }

    /// Reads what is there, waiting at most `limit` for the first byte.
    fn fill(&mut self, limit: Duration) -> Result<()> {
        self.incoming.drain(..self.read);
        self.read = 0;
        let length = self.incoming.len();
        self.incoming.resize(length + (1 << 16), 0);
        self.stream
            .set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let result = self.stream.read(&mut self.incoming[length..]);
        self.incoming.truncate(length + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => bail!("the broker ended the connection"),
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            Err(error) => Err(error).context("receiving"),
        }
    }

    fn frame(&mut self) -> Result<Option<(u8, u16, Vec<u8>)>> {
        let bytes = &self.incoming[self.read..];
        let Some((head, rest)) = bytes.split_at_checked(7) else {
            return Ok(None);
        };
        let mut fields = Fields(&head[1..]);
        let (channel, length) = (fields.short()?, fields.long()? as usize);
        ensure!(
            length <= FRAME_MAX as usize - 8,
            "the broker sent a frame of {length} bytes: more than agreed"
        );
        if rest.len() <= length {
            return Ok(None);
        }
        ensure!(
            rest[length] == FRAME_END,
            "the broker's frame does not end with the end octet"
        );
        let frame = (head[0], channel, rest[..length].to_vec());
        self.read += 7 + length + 1;
        Ok(Some(frame))
    }

    fn assemble(&mut self, kind: u8, channel: u16, payload: &[u8]) -> Result<Option<Event>> {
        match (kind, &mut self.partial) {
            (HEARTBEAT, _) => return Ok(Some(Event::Heartbeat)),
            (METHOD, None) => {
                let mut fields = Fields(payload);
                let id = (fields.short()?, fields.short()?);
                if ![BASIC_DELIVER, BASIC_GET_OK, BASIC_RETURN].contains(&id) {
                    let args = fields.0.to_vec();
                    return Ok(Some(Event::Method { channel, id, args }));
                }
                self.partial = Some((content_method(channel, id, fields)?, u64::MAX));
            }
            (HEADER, Some((message, left))) => {
                *left = content_header(message, payload)?;
            }
            (BODY, Some((message, left))) => {
                message.body.extend(payload);
                *left = left
                    .checked_sub(payload.len() as u64)
                    .context("more body than its header said")?;
            }
            (kind, _) => bail!("frame of kind {kind} out of order"),
        }
        Ok(self
            .partial
            .take_if(|(_, left)| *left == 0)
            .map(|(message, _)| Event::Message(Box::new(message))))
    }
}

fn content_method(channel: u16, id: Id, mut fields: Fields<'_>) -> Result<Received> {
    let consumer = if id == BASIC_DELIVER {
        fields.short_text()?
    } else {
        String::new()
    };
    let (tag, redelivered) = if id == BASIC_RETURN {
        (0, false)
    } else {
        (fields.longlong()?, fields.octet()? & 1 == 1)
    };
    Ok(Received {
        channel,
        id,
        tag,
        consumer,
        redelivered,
        message_id: String::new(),
        body: Vec::new(),
    })
}

/// Reads the properties that this client sends, and answers the length of the body.
fn content_header(message: &mut Received, payload: &[u8]) -> Result<u64> {
    let mut fields = Fields(payload);
    fields.long()?;
    let length = fields.longlong()?;
    let flags = fields.short()?;
    ensure!(
        flags & !(1 << 12 | 1 << 7) == 0,
        "properties came that nobody sent: flags {flags:#x}"
    );
    if flags & 1 << 12 != 0 {
        fields.octet()?;
    }
    if flags & 1 << 7 != 0 {
        message.message_id = fields.short_text()?;
    }
    message.body.reserve(usize::try_from(length)?);
    Ok(length)
}

/// Reads the arguments of a close.
pub(crate) fn closed(args: &[u8]) -> Result<Closed> {
    let mut fields = Fields(args);
    Ok(Closed {
        code: fields.short()?,
        text: fields.short_text()?,
    })
}
