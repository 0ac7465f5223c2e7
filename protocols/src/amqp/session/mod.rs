//! The server's side of one connection: bytes in, requests out; replies in, bytes out.
//!
//! # How a driver uses it
//!
//! 1. [`Session::new`] when the socket is accepted.
//! 2. While [`Session::paused`] is false, read the socket and hand the bytes in as [`SessionInput::Bytes`].
//! 3. After any number of inputs, drain [`Machine::poll`], then [`Session::take_output`] and write it to the socket.
//! 4. After every write, [`Session::sent`] with the bytes that the socket took; drain [`Machine::poll`] again: byte
//!    credit for the core ([`Request::Drained`]) comes out of it.
//! 5. Hand in [`SessionInput::Tick`] when [`Machine::deadline`] has come.
//! 6. After [`SessionOutput::Close`], write what output is left and close the socket. When the socket is gone by itself,
//!    hand in [`SessionInput::Lost`]: the session takes its leave of the core.

mod channel;
mod content;
mod handshake;
mod incoming;
mod output;
mod replies;
mod timers;

#[cfg(test)]
mod tests;

use super::error::{Code, Error};
use super::frame::{self, Frame, FrameError, Head};
use super::limits;
use channel::Channels;
use content::BodyFrame;
use handshake::Peer;
use output::Outgoing;
use std::collections::VecDeque;
use std::fmt;
use timers::Timers;
use waystation_core::api::{Name, Reply, Request};
use waystation_core::plant::{self, Plant};
use waystation_core::{Deadline, Machine, Now, Time};

/// What a session is told once. The defaults are [`limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// The version that server-properties name.
    pub version: Name,
    /// Highest channel number offered.
    pub channel_max: u16,
    /// Largest frame offered, in bytes.
    pub frame_bytes_max: u32,
    /// Heartbeat interval offered, in seconds; 0 turns heartbeats off unless the client wants them.
    pub heartbeat_seconds: u16,
    /// Largest body of a message, in bytes.
    pub message_bytes_max: u64,
}

/// What happens to a session.
#[derive(Debug)]
pub enum SessionInput<'a> {
    /// The socket gave these.
    Bytes(&'a [u8]),
    /// The core answers.
    Replies(Vec<Reply>),
    /// [`SessionOutput::Authenticate`] is answered. The reason of a refusal is for the server's log: the peer is not told.
    Authenticated(Result<(), String>),
    /// Nothing but time.
    Tick,
    /// The server stops: the peer is told, with 320 CONNECTION_FORCED.
    Shutdown,
    /// The socket is gone.
    Lost,
}

/// What a session does, besides writing.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionOutput {
    /// Something for the core.
    Request(Request),
    /// Check these, and answer [`SessionInput::Authenticated`].
    Authenticate {
        /// `PLAIN` or `AMQPLAIN`.
        mechanism: &'static str,
        /// As the peer calls itself.
        user: Name,
        /// What it proves it with.
        password: Secret,
    },
    /// Write what output is left, then close the socket. Last of all outputs.
    Close,
}

/// A password: not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

/// One connection's session.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    phase: Phase,
    peer: Peer,
    /// The start of a frame that is not all there, or what came while the session waits for an answer.
    partial: Vec<u8>,
    /// A body frame of which only a part has come: it goes into its message as it comes.
    body: Option<BodyFrame>,
    /// Framing is lost: nothing that comes can be understood.
    deaf: bool,
    channels: Channels,
    /// A channel that the peer opens anew, while the core has not yet said that it is closed.
    reopening: Option<u16>,
    /// Announced body sizes of unfinished messages, in bytes.
    unfinished_bytes: u64,
    flow: Flow,
    /// Too many of its requests wait in line.
    held: bool,
    timers: Timers,
    out: Outgoing,
    effects: VecDeque<SessionOutput>,
    fault: Option<String>,
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The protocol header is to come.
    Header,
    /// connection.start is sent.
    Starting,
    /// The driver checks user and password.
    Authenticating,
    /// connection.tune is sent.
    Tuning,
    /// connection.open is to come.
    Tuned,
    /// The core opens the vhost.
    Connecting,
    /// In use.
    Open,
    /// The peer closes; connection.close-ok follows the core's answer.
    Leaving,
    /// connection.close is sent, close-ok is to come.
    Closing,
    /// Over.
    Closed,
}

/// Whether publishers have to wait.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// What is short, while something is.
    blocked: Option<&'static str>,
    /// Something was published since.
    published: bool,
    /// connection.blocked was sent.
    told: bool,
}

impl Session {
    /// A session for a socket accepted at `now`.
    #[must_use]
    pub fn new(config: SessionConfig, now: Time) -> Self {
        Self {
            peer: Peer::new(&config),
            config,
            phase: Phase::Header,
            partial: Vec::new(),
            body: None,
            deaf: false,
            channels: Channels::default(),
            reopening: None,
            unfinished_bytes: 0,
            flow: Flow::default(),
            held: false,
            timers: Timers::new(now),
            out: Outgoing::default(),
            effects: VecDeque::new(),
            fault: None,
        }
    }

    /// Whether the driver must not read from this connection for now: it publishes while publishers have to wait, it does
    /// not take its output, or an answer is pending without which its bytes cannot be understood.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.blocking() && !plant::is(Plant::BlockedRead)
            || self.held
            || self.waits()
            || self.out.pending_bytes() > limits::OUTPUT_BYTES_MAX as u64
    }

    /// Whether the connection is in use: its handshake is over and it is not closing.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Bytes of input that the session keeps because something is not all there: the start of a frame, what came before
    /// an answer without which it cannot be understood, the announced bodies of unfinished messages.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.partial.len() as u64 + self.unfinished_bytes
    }

    /// Bytes of output that the socket has not taken, whether the driver has them or not.
    #[must_use]
    pub fn unsent_bytes(&self) -> u64 {
        self.out.pending_bytes()
    }

    /// Takes what the peer did wrong since this was last asked, for the server's log: the newest, if there were several.
    pub fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    /// Takes the bytes to send, in order after those taken before.
    pub fn take_output(&mut self) -> bytes::BytesMut {
        self.out.take()
    }

    /// The socket took `bytes` more of the output: byte credit goes back to the core.
    pub fn sent(&mut self, now: Now, bytes: usize) {
        self.out.sent(bytes);
        if bytes > 0 {
            self.timers.taken(now.mono);
        }
        self.timers.set_paused(now.mono, self.paused());
        let credit = self.out.take_credit();
        if credit > 0 {
            self.request(Request::Drained { bytes: credit });
        }
    }

    fn waits(&self) -> bool {
        match self.phase {
            Phase::Authenticating | Phase::Connecting => true,
            Phase::Open => self.reopening.is_some(),
            _ => false,
        }
    }

    fn blocking(&self) -> bool {
        self.phase == Phase::Open && self.flow.blocked.is_some() && self.flow.published
    }

    #[inline]
    fn request(&mut self, request: Request) {
        if self.peer.connected {
            self.effects.push_back(SessionOutput::Request(request));
        }
    }

    /// The last request, if there was a first one.
    fn disconnect(&mut self) {
        self.request(Request::Disconnect);
        self.peer.connected = false;
    }

    /// As [`Session::finish`], for a reason that goes to the log.
    fn give_up(&mut self, reason: &str) {
        self.fault = Some(reason.to_owned());
        self.finish();
    }

    /// Ends without another word to the peer.
    fn finish(&mut self) {
        if self.phase != Phase::Closed {
            if !plant::is(Plant::LeaveForgotten) {
                self.disconnect();
            }
            self.phase = Phase::Closed;
            self.effects.push_back(SessionOutput::Close);
        }
    }

    /// Takes in bytes: whole frames where they lie, a frame's start into `partial`, a body's piece into its message.
    fn feed(&mut self, now: Now, mut input: &[u8]) {
        while !input.is_empty() && self.phase != Phase::Closed && !self.deaf {
            if self.waits() {
                return self.hold(input);
            }
            if self.body.is_some() {
                input = self.feed_body(now, input);
            } else if self.partial.is_empty() {
                let Some(used) = self.step(now, input) else {
                    self.partial.extend_from_slice(input);
                    return;
                };
                input = &input[used..];
            } else {
                let wanted = self.wanted() - self.partial.len();
                let (more, rest) = input.split_at(wanted.min(input.len()));
                self.partial.extend_from_slice(more);
                input = rest;
                if more.len() == wanted {
                    let mut partial = std::mem::take(&mut self.partial);
                    if self.step(now, &partial).is_some() {
                        partial.clear();
                    }
                    self.partial = partial;
                }
            }
        }
    }

    /// Keeps bytes until an answer tells how to understand them.
    fn hold(&mut self, input: &[u8]) {
        if self.partial.len() + input.len() > limits::HELD_BYTES_MAX {
            self.give_up("the peer sent too much before its login was answered: closed");
        } else {
            self.partial.extend_from_slice(input);
        }
    }

    /// Goes on with what [`Session::hold`] kept.
    fn resume(&mut self, now: Now) {
        let held = std::mem::take(&mut self.partial);
        if plant::is(Plant::HeldBytesLost) {
            return;
        }
        self.feed(now, &held);
    }

    /// How long `partial` has to become before another [`Session::step`].
    fn wanted(&self) -> usize {
        if self.phase == Phase::Header {
            return frame::PROTOCOL_HEADER.len();
        }
        match Head::parse(&self.partial, u32::MAX) {
            Ok(Some(head)) => head.frame_bytes(),
            _ => frame::HEAD_BYTES,
        }
    }

    /// Handles what lies at the start of `bytes`, and says how much that was; `None` if it is not all there.
    fn step(&mut self, now: Now, bytes: &[u8]) -> Option<usize> {
        if self.phase == Phase::Header {
            return self.protocol_header(bytes);
        }
        let frame_max = if plant::is(Plant::FrameMaxIgnored) {
            u32::MAX
        } else {
            self.peer.frame_bytes_max
        };
        let head = match Head::parse(bytes, frame_max) {
            Ok(head) => head?,
            Err(error) => return Some(self.lose(now, error, bytes.len())),
        };
        if head.kind == frame::BODY && self.begin_body(head) {
            return Some(frame::HEAD_BYTES);
        }
        if bytes.len() < head.frame_bytes() {
            return None;
        }
        match Frame::complete(head, bytes) {
            Ok((frame, used)) => {
                if let Some(content) = self.whole_publish(frame, &bytes[used..]) {
                    return Some(used + content);
                }
                if let Err(error) = self.frame(now, frame) {
                    self.fail(now, head.channel, error);
                }
                Some(used)
            }
            Err(error) => Some(self.lose(now, error, bytes.len())),
        }
    }

    /// Framing is lost: tells the peer, and takes no more from it.
    fn lose(&mut self, now: Now, error: FrameError, bytes: usize) -> usize {
        self.deaf = true;
        if self.phase == Phase::Closing {
            self.finish();
        } else {
            self.close(now, &Error::new(Code::FrameError, error.to_string()));
        }
        bytes
    }

    /// Ends the channel or the connection, as the error's code says, and nobody else's (G16).
    fn fail(&mut self, now: Now, channel: u16, error: Error) {
        if channel == 0 || error.code.ends_connection() || self.phase != Phase::Open {
            self.close(now, &error);
        } else {
            self.fail_channel(channel, &error);
        }
    }
}

impl Machine for Session {
    type Input<'a> = SessionInput<'a>;
    type Output = SessionOutput;

    fn handle(&mut self, now: Now, input: SessionInput<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        let before = self.out.produced_bytes();
        match input {
            SessionInput::Bytes(bytes) => {
                self.timers.received(now.mono);
                self.feed(now, bytes);
            }
            SessionInput::Replies(replies) => self.replies(now, replies),
            SessionInput::Authenticated(result) => self.authenticated(now, result),
            SessionInput::Tick => self.tick(now),
            SessionInput::Shutdown => {
                let text = "broker forced connection closure with reason 'shutdown'";
                self.close(now, &Error::new(Code::ConnectionForced, text));
            }
            SessionInput::Lost => self.finish(),
        }
        if self.out.produced_bytes() > before {
            self.timers.produced(now.mono);
        }
        self.timers.set_paused(now.mono, self.paused());
    }

    fn poll(&mut self) -> Option<SessionOutput> {
        self.effects.pop_front()
    }

    fn deadline(&self) -> Option<Deadline> {
        self.next_deadline()
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            version: Name::from(env!("CARGO_PKG_VERSION")),
            channel_max: limits::CHANNEL_MAX,
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            heartbeat_seconds: limits::HEARTBEAT_SECONDS,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
