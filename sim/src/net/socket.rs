//! A connection: two streams, a client at one end and the server's session at the other, and what happens to it.

use super::Counters;
use super::pipe::{Pipe, Read};
use super::plan::{Faults, Reader, Wires};
use super::server::{Server, Turn};
use crate::plan::MS;
use crate::wire::Check;
use bytes::BytesMut;
use rand::rngs::ChaCha8Rng;
use std::fmt;
use waystation_core::Now;
use waystation_core::api::{Reply, Request};
use waystation_protocols::amqp::{Client, Event, SessionConfig};

/// The kernels give up a connection whose one end has not been heard of for so long.
const KEEPALIVE: u64 = 15_000 * MS;

/// How long a client waits for the answer to its leave.
const FAREWELL: u64 = 10_000 * MS;

/// How a client leaves its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Close,
    Reset,
}

/// The client's end of a connection.
pub(super) trait Peer: fmt::Debug {
    /// Its protocol.
    fn client(&mut self) -> &mut Client;
    /// It is to ask these.
    fn ask(&mut self, requests: Vec<Request>, check: &mut Check, rng: &mut ChaCha8Rng);
    /// Its protocol had something to send by itself.
    fn flown(&mut self, check: &mut Check, rng: &mut ChaCha8Rng, counters: &mut Counters);
    /// Its protocol understood something.
    fn hear(&mut self, event: Event, check: &mut Check, rng: &mut ChaCha8Rng, counters: &mut Counters);
    /// Bytes that it sends past its protocol.
    fn raw(&mut self) -> BytesMut {
        BytesMut::new()
    }
    /// What the client of the run is to hear.
    fn take_told(&mut self) -> Vec<Reply>;
    /// It has something to say, later.
    fn has_more(&self) -> bool;
    /// It closes its socket behind what it said.
    fn leave(&self) -> Option<Leave>;
    /// Nobody cares any more how the connection ends.
    fn is_leaving(&self) -> bool;
    /// The connection is gone.
    fn lost(&mut self, _check: &mut Check, _counters: &mut Counters) {}
    /// When it has something to do by itself.
    fn next(&self) -> Option<u64> {
        None
    }
    /// It may have something to do.
    fn tick(&mut self, _now: u64, _check: &mut Check) {}
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    up: Pipe,
    down: Pipe,
    peer: Box<dyn Peer>,
    /// Until its socket is closed.
    server: Option<Server>,
    /// The client's socket is open.
    here: bool,
    out: BytesMut,
    faults: Faults,
    begun_at: u64,
    silent_since: Option<u64>,
    /// Negotiated interval in nanoseconds; 0 is none.
    heartbeat: u64,
    heard_at: u64,
    beaten_at: u64,
    heard_bytes: u64,
    /// When the client began to take its leave.
    left_at: Option<u64>,
    reads_at: u64,
    pub(super) check: Check,
    /// The client of the run is to be told that the connection is lost.
    pub(super) lost: bool,
    /// When the world wakes it next.
    pub(super) wakes_at: Option<u64>,
}

impl Connection {
    pub(super) fn new(
        wires: &Wires,
        faults: Faults,
        (peer, check): (Box<dyn Peer>, Check),
        config: SessionConfig,
        now: Now,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut up = Pipe::new(wires.capacity, wires.chunk, wires.latency);
        let mut down = Pipe::new(wires.capacity, wires.chunk, wires.latency);
        for pipe in [&mut up, &mut down] {
            pipe.slow_down(faults.rate);
        }
        match faults.reset {
            Some((true, bytes)) => up.reset_behind(Some(bytes)),
            Some((false, bytes)) => down.reset_behind(Some(bytes)),
            None => {}
        }
        let mut check = check;
        if faults.rate.is_some() || faults.reset.is_some() || matches!(faults.reader, Reader::Deaf { .. }) {
            check.excuse();
        }
        let server = (!faults.refused).then(|| Server::new(config, now, rng));
        if faults.refused {
            check.excuse();
            up.silence();
            down.close(now.mono.0, true, rng);
        }
        Self {
            up,
            down,
            peer,
            server,
            here: true,
            out: BytesMut::new(),
            faults,
            begun_at: now.mono.0,
            silent_since: None,
            heartbeat: 0,
            heard_at: now.mono.0,
            beaten_at: now.mono.0,
            heard_bytes: 0,
            left_at: None,
            reads_at: 0,
            check,
            lost: false,
            wakes_at: None,
        }
    }

    /// Both sockets are closed.
    pub(super) const fn is_over(&self) -> bool {
        self.server.is_none() && !self.here
    }

    /// How far it is from its end, for a stuck run.
    pub(super) fn waiting(&self) -> String {
        let server = match &self.server {
            None => "closed",
            Some(server) if server.is_open() => "open",
            Some(_) => "not open",
        };
        let client = match (self.here, self.peer.is_leaving()) {
            (false, _) => "closed",
            (true, true) => "leaving",
            (true, false) => "open",
        };
        format!("server {server}, client {client}, next {:?}", self.next())
    }

    /// Faults that have not yet happened will not, and those that can end do.
    pub(super) fn heal(&mut self) {
        (self.faults.silence, self.faults.stall) = (None, None);
        self.faults.reader = Reader::Prompt;
        for pipe in [&mut self.up, &mut self.down] {
            pipe.slow_down(None);
            pipe.reset_behind(None);
        }
    }

    /// The client of the run asks.
    pub(super) fn ask(&mut self, requests: Vec<Request>, rng: &mut ChaCha8Rng) {
        self.peer.ask(requests, &mut self.check, rng);
    }

    /// The node replies.
    pub(super) fn reply(&mut self, now: Now, replies: Vec<Reply>, rng: &mut ChaCha8Rng) {
        if let Some(server) = &mut self.server {
            server.reply(now, replies, rng, &mut self.check);
        }
    }

    /// What the node is asked.
    pub(super) fn take_requests(&mut self) -> Vec<Request> {
        self.server.as_mut().map_or_else(Vec::new, Server::take_requests)
    }

    /// What the client of the run hears.
    pub(super) fn take_told(&mut self) -> Vec<Reply> {
        self.peer.take_told()
    }

    /// Everything that can happen now does. What the node is asked by a session that ends comes back.
    pub(super) fn turn(&mut self, now: Now, rng: &mut ChaCha8Rng, counters: &mut Counters) -> Vec<Request> {
        let mut requests = Vec::new();
        self.suffer(now, rng, counters, &mut requests);
        loop {
            let served = self.serve(now, rng, counters, &mut requests);
            let acted = self.act(now, rng, counters);
            if !served && !acted {
                break;
            }
        }
        self.check_settled();
        requests
    }

    /// The faults whose time has come.
    fn suffer(&mut self, now: Now, rng: &mut ChaCha8Rng, counters: &mut Counters, requests: &mut Vec<Request>) {
        let at = now.mono.0;
        if let Some((_, length)) = self.faults.stall.take_if(|(after, _)| self.begun_at + *after <= at) {
            counters.stalls += 1;
            self.up.stall(at + length);
            self.down.stall(at + length);
        }
        if let Some((_, up, down)) = self.faults.silence.take_if(|(after, ..)| self.begun_at + *after <= at) {
            counters.silences += 1;
            self.check.excuse();
            self.silent_since = Some(at);
            if up {
                self.up.silence();
                self.down.unhear();
            }
            if down {
                self.down.silence();
                self.up.unhear();
            }
        }
        if self.silent_since.is_some_and(|since| since + KEEPALIVE <= at) {
            self.end_server(now, rng, requests);
            self.end_client("the kernel gives it up", counters);
        }
    }

    fn serve(&mut self, now: Now, rng: &mut ChaCha8Rng, counters: &mut Counters, requests: &mut Vec<Request>) -> bool {
        let Some(server) = &mut self.server else { return false };
        let pipes = (&mut self.up, &mut self.down);
        let turn = server.turn(now, pipes, rng, &mut self.check, counters);
        match turn {
            Turn::Moved => true,
            Turn::Idle => {
                server.check_time(now.mono.0, self.heartbeat, &mut self.check);
                false
            }
            Turn::Closed | Turn::Reset => {
                self.down.close(now.mono.0, turn == Turn::Reset, rng);
                self.end_server(now, rng, requests);
                true
            }
        }
    }

    fn end_server(&mut self, now: Now, rng: &mut ChaCha8Rng, requests: &mut Vec<Request>) {
        if let Some(mut server) = self.server.take() {
            server.lose(now, rng, &mut self.check);
            requests.append(&mut server.take_requests());
        }
    }

    fn end_client(&mut self, how: &str, counters: &mut Counters) {
        if self.here {
            self.here = false;
            self.out.clear();
            self.peer.lost(&mut self.check, counters);
            if !self.peer.is_leaving() {
                self.lost = true;
                self.check.lost(how);
            }
        }
    }

    /// The client's turn.
    fn act(&mut self, now: Now, rng: &mut ChaCha8Rng, counters: &mut Counters) -> bool {
        if !self.here {
            return false;
        }
        let at = now.mono.0;
        self.peer.tick(at, &mut self.check);
        let mut moved = self.read(at, rng, counters);
        if !self.here {
            return true;
        }
        self.beat(at, rng, counters);
        let bytes = self.peer.client().take_output();
        self.out.extend_from_slice(&bytes);
        let raw = self.peer.raw();
        self.out.extend_from_slice(&raw);
        if !self.out.is_empty() && self.up.write(at, &mut self.out, rng) > 0 {
            self.beaten_at = at;
            moved = true;
        }
        self.depart(at, rng, counters);
        moved
    }

    /// The client closes its socket: behind all that it said, or because it has waited for long enough.
    fn depart(&mut self, at: u64, rng: &mut ChaCha8Rng, counters: &mut Counters) {
        if self.peer.is_leaving() {
            self.left_at.get_or_insert(at);
            // It sends no heartbeats any more, and the server may say so before its goodbye is read.
            self.check.excuse();
        }
        let impatient = self.left_at.is_some_and(|since| since + FAREWELL <= at);
        let leave = self.peer.leave().or(impatient.then_some(Leave::Reset));
        if let Some(leave) = leave
            && (self.out.is_empty() || leave == Leave::Reset || impatient)
        {
            self.up.close(at, leave == Leave::Reset, rng);
            self.end_client("it closed its socket", counters);
        }
    }

    fn read(&mut self, at: u64, rng: &mut ChaCha8Rng, counters: &mut Counters) -> bool {
        let most = match self.faults.reader {
            Reader::Prompt => usize::MAX,
            Reader::Deaf { after } if self.heard_bytes >= after => return false,
            Reader::Sluggish { .. } if self.reads_at > at => return false,
            Reader::Sluggish { bytes, gap } => {
                self.reads_at = at + gap;
                bytes
            }
            Reader::Deaf { .. } => 1000,
        };
        let mut bytes = Vec::new();
        match self.down.read(at, most, &mut bytes) {
            Read::Some(count) => {
                counters.reads += 1;
                counters.bytes += count as u64;
                self.heard_bytes += count as u64;
                self.heard_at = at;
                let waiting = self.peer.client().output_bytes();
                self.peer.client().receive(&bytes);
                if self.peer.client().output_bytes() > waiting {
                    self.peer.flown(&mut self.check, rng, counters);
                }
                while let Some(event) = self.peer.client().poll() {
                    if let Event::Connected { heartbeat_seconds, .. } = event {
                        counters.opened += 1;
                        self.heartbeat = u64::from(heartbeat_seconds) * 1000 * MS;
                    }
                    self.peer.hear(event, &mut self.check, rng, counters);
                }
                true
            }
            Read::Nothing => {
                self.reads_at = 0;
                false
            }
            Read::End => {
                self.end_client("the server closed its socket", counters);
                true
            }
            Read::Reset => {
                counters.resets += 1;
                self.up.close(at, true, rng);
                self.end_client("it was reset", counters);
                true
            }
        }
    }

    /// Heartbeats, and whether the server's come.
    fn beat(&mut self, at: u64, rng: &mut ChaCha8Rng, counters: &mut Counters) {
        if self.heartbeat == 0 || self.peer.is_leaving() {
            return;
        }
        if at >= self.beaten_at + self.heartbeat / 2 {
            self.beaten_at = at;
            if self.out.is_empty() {
                counters.heartbeats += 1;
                self.peer.client().heartbeat();
            }
        }
        if at > self.heard_at + 2 * self.heartbeat && self.faults.reader == Reader::Prompt {
            self.up.close(at, true, rng);
            self.end_client("the server is silent for two heartbeats", counters);
        }
    }

    /// When nothing is on its way, everything that was said was heard.
    fn check_settled(&mut self) {
        let Some(server) = &self.server else { return };
        // Who takes leave does not listen any more.
        if !self.here || !server.is_open() || self.peer.is_leaving() {
            return;
        }
        if self.up.is_drained() && self.out.is_empty() && !self.peer.has_more() {
            self.check.all_asked();
            let kept = server.kept_bytes();
            self.check.nothing_kept(kept);
        }
        if self.down.is_drained() && server.is_silent() {
            self.check.all_heard();
        }
    }

    /// When it has something to do.
    pub(super) fn next(&self) -> Option<u64> {
        let after = |fault: Option<u64>| fault.map(|after| self.begun_at + after);
        let stall = after(self.faults.stall.map(|(after, _)| after));
        let silence = after(self.faults.silence.map(|(after, ..)| after));
        let given_up = self.silent_since.map(|since| since + KEEPALIVE);
        let served = self
            .server
            .as_ref()
            .and_then(|server| server.next(&self.up, self.heartbeat));
        let mut times = [stall, silence, given_up, served, None, None, None, None];
        if self.here {
            let deaf = matches!(self.faults.reader, Reader::Deaf { after } if self.heard_bytes >= after);
            let reads = self.down.next().filter(|_| !deaf).map(|at| at.max(self.reads_at));
            let beats = (self.heartbeat > 0 && !self.peer.is_leaving()).then(|| {
                let missing = self.heard_at + 2 * self.heartbeat + 1;
                let beat = self.beaten_at + self.heartbeat / 2;
                if self.faults.reader == Reader::Prompt {
                    beat.min(missing)
                } else {
                    beat
                }
            });
            let departs = self.left_at.map(|since| since + FAREWELL);
            times[4..].copy_from_slice(&[reads, beats, departs, self.peer.next()]);
        }
        times.into_iter().flatten().min()
    }
}
