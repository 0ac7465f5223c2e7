//! The server's side of a connection: the session that the server has, between a socket and the node, driven as
//! `waystation-server` drives it.

use super::Counters;
use super::pipe::{Pipe, Read};
use crate::plan::MS;
use crate::wire::Check;
use bytes::BytesMut;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use waystation_core::api::{Reply, Request};
use waystation_core::{Machine, Now};
use waystation_protocols::amqp::{Session, SessionConfig, SessionInput, SessionOutput, limits};

/// How long a peer may take to read the last words to it.
const LAST_WORDS: u64 = 5_000 * MS;
/// When a peer is given up that is gone, is not read from and is sent nothing. Here the simulation is kinder than the
/// server, which then waits until it reads again: with heartbeats, each of which is a write that fails, it need not.
const KEEPALIVE: u64 = 15_000 * MS;
/// How late a timer may be noticed.
const GRACE: u64 = MS;

/// One.
#[derive(Debug)]
pub(super) struct Server {
    session: Session,
    out: BytesMut,
    /// The session is over: its last words are to be written until then.
    closing: Option<u64>,
    /// When a login is answered, and how.
    login: Option<(u64, Result<(), String>)>,
    /// Bytes taken by a read.
    read_max: usize,
    requests: Vec<Request>,
    /// Bytes that the socket took.
    taken: u64,
    accepted_at: u64,
    /// The newest sign of life of the peer.
    alive_at: u64,
    was_paused: bool,
    was_open: bool,
    /// When the session blamed its peer.
    blamed_at: Option<u64>,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something moved.
    Moved,
    /// Nothing can move now.
    Idle,
    /// The socket is closed, behind all that was written to it.
    Closed,
    /// The socket is reset, or was.
    Reset,
}

impl Server {
    pub(super) fn new(config: SessionConfig, now: Now, rng: &mut ChaCha8Rng) -> Self {
        Self {
            session: Session::new(config, now.mono),
            out: BytesMut::new(),
            closing: None,
            login: None,
            read_max: [64, 2 << 10, 128 << 10][rng.random_range(0..3)],
            requests: Vec::new(),
            taken: 0,
            accepted_at: now.mono.0,
            alive_at: now.mono.0,
            was_paused: false,
            was_open: false,
            blamed_at: None,
        }
    }

    /// What it asked the node for since this was last asked.
    pub(super) fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// The session is in use.
    pub(super) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// All its words were given to the socket.
    pub(super) fn is_silent(&self) -> bool {
        self.out.is_empty()
    }

    /// Bytes of input that belong to something which is not all there.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.session.kept_bytes()
    }

    /// The node replies.
    pub(super) fn reply(&mut self, now: Now, replies: Vec<Reply>, rng: &mut ChaCha8Rng, check: &mut Check) {
        // What a session was told to keep until it is connected comes before what else is said.
        let first = usize::from(matches!(replies.first(), Some(Reply::Connected))).min(replies.len());
        let mut replies = replies;
        let rest = replies.split_off(first);
        for batch in [replies, rest] {
            let place = self.taken + self.session.unsent_bytes();
            batch.iter().for_each(|reply| check.said(reply, place));
            if !batch.is_empty() {
                self.handle(now, SessionInput::Replies(batch), rng, check);
            }
        }
    }

    /// The socket is gone.
    pub(super) fn lose(&mut self, now: Now, rng: &mut ChaCha8Rng, check: &mut Check) {
        self.handle(now, SessionInput::Lost, rng, check);
    }

    fn handle(&mut self, now: Now, input: SessionInput<'_>, rng: &mut ChaCha8Rng, check: &mut Check) {
        self.session.handle(now, input);
        self.drain(now, rng, check);
    }

    fn drain(&mut self, now: Now, rng: &mut ChaCha8Rng, check: &mut Check) {
        while let Some(output) = self.session.poll() {
            match output {
                SessionOutput::Request(request) => {
                    check.asked(&request);
                    self.requests.push(request);
                }
                SessionOutput::Authenticate { user, password, .. } => {
                    let known = *user == *"guest" && password.0 == "guest";
                    let verdict = known.then_some(()).ok_or_else(|| "wrong password".to_owned());
                    self.login = Some((now.mono.0 + rng.random_range(1_000..3 * MS), verdict));
                }
                SessionOutput::Close => self.closing = Some(now.mono.0 + LAST_WORDS),
            }
        }
        if let Some(fault) = self.session.take_fault()
            && !self.session.is_open()
        {
            // It is not about a channel.
            self.blamed_at = Some(now.mono.0);
            check.blamed(&fault);
        }
        let (open, paused) = (self.session.is_open(), self.session.paused());
        if open != self.was_open || (self.was_paused && !paused) {
            self.alive_at = now.mono.0;
        }
        (self.was_open, self.was_paused) = (open, paused);
        if open {
            self.check_pause(paused, check);
        }
    }

    /// Who has to wait is not read from, and nobody else (G14, G15).
    fn check_pause(&self, paused: bool, check: &mut Check) {
        let full = self.session.unsent_bytes() > limits::OUTPUT_BYTES_MAX as u64;
        if check.must_pause() && !paused {
            check.fail("G14", "a connection is read from that has to wait".to_owned());
        }
        if paused && !check.must_pause() && !full && !check.awaits_close() {
            check.fail(
                "G15",
                "a connection is not read from, and nothing is in its way".to_owned(),
            );
        }
    }

    /// Does what can be done now: ticks, logins, reads, writes.
    pub(super) fn turn(
        &mut self,
        now: Now,
        (up, down): (&mut Pipe, &mut Pipe),
        rng: &mut ChaCha8Rng,
        check: &mut Check,
        counters: &mut Counters,
    ) -> Turn {
        let mut moved = self.tick(now, rng, check);
        if self.closing.is_none() && !self.session.paused() {
            let mut bytes = Vec::new();
            match up.read(now.mono.0, self.read_max, &mut bytes) {
                Read::Some(count) => {
                    counters.reads += 1;
                    counters.bytes += count as u64;
                    self.alive_at = now.mono.0;
                    self.handle(now, SessionInput::Bytes(&bytes), rng, check);
                    moved = true;
                }
                Read::Nothing => {}
                Read::End | Read::Reset => {
                    self.lose(now, rng, check);
                    return Turn::Reset;
                }
            }
        }
        if self.sees_the_end_at(up).is_some_and(|at| at <= now.mono.0) {
            self.lose(now, rng, check);
            return Turn::Reset;
        }
        let written = self.write(now, down, rng, check);
        if written && self.sees_the_end_at(up).is_some_and(|at| at <= now.mono.0 + KEEPALIVE) {
            // The peer's kernel answers what comes to a closed socket by a reset.
            self.lose(now, rng, check);
            return Turn::Reset;
        }
        moved |= written;
        if moved {
            return Turn::Moved;
        }
        match self.closing {
            Some(_) if self.out.is_empty() => Turn::Closed,
            Some(until) if until <= now.mono.0 => Turn::Reset,
            _ => Turn::Idle,
        }
    }

    /// When it notices that its peer is gone, if it does not read.
    fn sees_the_end_at(&self, up: &Pipe) -> Option<u64> {
        let reads = self.closing.is_some() || !self.session.paused();
        up.end_at().filter(|_| !reads).map(|at| at + KEEPALIVE)
    }

    fn tick(&mut self, now: Now, rng: &mut ChaCha8Rng, check: &mut Check) -> bool {
        if let Some((_, verdict)) = self.login.take_if(|(at, _)| *at <= now.mono.0) {
            self.handle(now, SessionInput::Authenticated(verdict), rng, check);
            return true;
        }
        if self.session.deadline().is_some_and(|deadline| deadline.at <= now.mono) {
            let before = self.session.deadline();
            self.handle(now, SessionInput::Tick, rng, check);
            return self.session.deadline() != before;
        }
        false
    }

    fn write(&mut self, now: Now, down: &mut Pipe, rng: &mut ChaCha8Rng, check: &mut Check) -> bool {
        let mut moved = false;
        loop {
            let more = self.session.take_output();
            self.out.extend_from_slice(&more);
            if self.out.is_empty() {
                return moved;
            }
            let taken = down.write(now.mono.0, &mut self.out, rng);
            if taken == 0 {
                return moved;
            }
            moved = true;
            if self.session.paused() {
                self.alive_at = now.mono.0;
            }
            self.taken += taken as u64;
            check.taken(self.taken);
            self.session.sent(now, taken);
            self.drain(now, rng, check);
        }
    }

    /// When it has something to do.
    pub(super) fn next(&self, up: &Pipe, heartbeat: u64) -> Option<u64> {
        let reads = self.closing.is_none() && !self.session.paused();
        let read = if reads { up.next() } else { None };
        let login = self.login.as_ref().map(|(at, _)| *at);
        let deadline = self.session.deadline().map(|deadline| deadline.at.0);
        let overdue = self.overdue(heartbeat).map(|(at, _)| at);
        let end = self.sees_the_end_at(up);
        let times = [read, login, deadline, overdue, end, self.closing];
        times.into_iter().flatten().min()
    }

    /// When it must have ended by itself, and why.
    fn overdue(&self, heartbeat: u64) -> Option<(u64, &'static str)> {
        let late = |since: u64, ms: u64| since + ms * MS + GRACE;
        if self.closing.is_some() {
            None
        } else if let Some(since) = self.blamed_at {
            Some((late(since, limits::CLOSE_MS), "a session waits for close-ok for ever"))
        } else if self.session.is_open() {
            let waits = heartbeat == 0 || self.session.paused();
            (!waits).then(|| {
                (
                    self.alive_at + 2 * heartbeat + GRACE,
                    "two heartbeats are missing, and the connection lives",
                )
            })
        } else if self.was_connected() {
            None
        } else {
            Some((
                late(self.accepted_at, limits::HANDSHAKE_MS),
                "a handshake takes for ever",
            ))
        }
    }

    /// It leaves, and waits for the node.
    fn was_connected(&self) -> bool {
        self.alive_at > self.accepted_at && self.session.deadline().is_none()
    }

    /// What silence has to end was ended in time (G15).
    pub(super) fn check_time(&self, now: u64, heartbeat: u64, check: &mut Check) {
        if let Some((at, what)) = self.overdue(heartbeat)
            && at < now
        {
            check.fail("G15", what.to_owned());
        }
    }
}
