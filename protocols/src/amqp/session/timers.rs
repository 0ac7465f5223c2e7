//! The handshake's and the closing's deadlines, and heartbeats both ways (section 4.2.7).

use super::super::{frame, limits};
use super::{Phase, Session};
use waystation_core::plant::{self, Plant};
use waystation_core::{Deadline, Now, Time};

/// What a session remembers of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    /// When the handshake must be over, or, once the session closes, when it gives up.
    until: Time,
    /// Negotiated interval in milliseconds; 0 is none.
    heartbeat_ms: u64,
    received: Time,
    produced: Time,
    /// The driver was told not to read: silence says nothing about the peer.
    paused: bool,
}

impl Timers {
    pub(super) fn new(now: Time) -> Self {
        Self {
            until: now.after_ms(limits::HANDSHAKE_MS),
            heartbeat_ms: 0,
            received: now,
            produced: now,
            paused: false,
        }
    }

    pub(super) fn set_heartbeat(&mut self, seconds: u16) {
        self.heartbeat_ms = u64::from(seconds) * 1000;
    }

    pub(super) fn closing(&mut self, now: Time) {
        self.until = now.after_ms(limits::CLOSE_MS);
    }

    pub(super) fn received(&mut self, now: Time) {
        self.received = now;
    }

    pub(super) fn produced(&mut self, now: Time) {
        self.produced = now;
    }

    /// Whether the driver may read. When it may again, the peer's silence is counted anew.
    pub(super) fn set_paused(&mut self, now: Time, paused: bool) {
        if self.paused && !paused && !plant::is(Plant::HeartbeatWhilePaused) {
            self.received = now;
        }
        self.paused = paused;
    }

    /// The peer takes output: that shows that it lives while it is not read from.
    pub(super) fn taken(&mut self, now: Time) {
        if self.paused {
            self.received = now;
        }
    }

    fn send_at(&self) -> Time {
        self.produced.after_ms(self.heartbeat_ms / 2)
    }

    fn lost_at(&self) -> Time {
        if plant::is(Plant::HeartbeatUnexpected) {
            return self.send_at().after_ms(1);
        }
        self.received.after_ms(self.heartbeat_ms * 2)
    }
}

impl Session {
    pub(super) fn tick(&mut self, now: Now) {
        match self.phase {
            Phase::Closed | Phase::Leaving => {}
            Phase::Open => self.heartbeat(now.mono),
            Phase::Closing if plant::is(Plant::CloseForEver) => {}
            Phase::Closing if now.mono >= self.timers.until => self.finish(),
            _ if plant::is(Plant::HandshakeForEver) => {}
            _ if now.mono >= self.timers.until => self.give_up("the handshake took too long: closed"),
            _ => {}
        }
    }

    fn heartbeat(&mut self, now: Time) {
        if self.timers.heartbeat_ms == 0 {
            return;
        }
        if now >= self.timers.lost_at() && !plant::is(Plant::HeartbeatUnexpected) {
            return self.give_up("no heartbeat or anything else came for two heartbeat intervals: closed");
        }
        if now >= self.timers.send_at() {
            // Output that waits to be sent is sign of life enough, and grows no further by itself.
            if self.out.pending_bytes() == 0 && !plant::is(Plant::HeartbeatUnsent) {
                frame::heartbeat(&mut self.out.bytes);
            }
            self.timers.produced = now;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let timers = &self.timers;
        match self.phase {
            Phase::Closing if plant::is(Plant::CloseForEver) => None,
            Phase::Closed | Phase::Leaving => None,
            Phase::Open if timers.heartbeat_ms == 0 => None,
            Phase::Open if timers.send_at() < timers.lost_at() => Some(Deadline {
                at: timers.send_at(),
                reason: "amqp heartbeat to send",
            }),
            Phase::Open => Some(Deadline {
                at: timers.lost_at(),
                reason: "amqp heartbeats missed",
            }),
            Phase::Closing => Some(Deadline {
                at: timers.until,
                reason: "amqp close-ok",
            }),
            _ if plant::is(Plant::HandshakeForEver) => None,
            _ => Some(Deadline {
                at: timers.until,
                reason: "amqp handshake",
            }),
        }
    }
}
