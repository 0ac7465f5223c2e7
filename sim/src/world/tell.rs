//! What the world tells of itself: to those who listen, and to the trace hash.

use super::World;
use crate::kept::Fault;
use crate::timeline::Mark;
use std::hash::Hash;
use waystation_core::api::{ConnId, Reply, Request};
use waystation_core::disk::{Command, Event};

/// The node's lane.
const NODE: &str = "node";
/// The disk's lane.
pub(super) const DISK: &str = "disk";

impl World {
    /// Names the lanes, in the order in which they are shown.
    pub(super) fn tell_lanes(&self) {
        let Some(mut timeline) = self.recorder.open() else {
            return;
        };
        for name in self.clients.lanes() {
            timeline.lane(&name);
        }
        timeline.lane(NODE);
        timeline.lane(DISK);
    }

    pub(super) fn tell(&self, mark: Mark, what: impl FnOnce() -> String) {
        self.tell_at(NODE, mark, what);
    }

    pub(super) fn tell_at(&self, lane: &str, mark: Mark, what: impl FnOnce() -> String) {
        if let Some(mut timeline) = self.recorder.open() {
            let lane = timeline.lane(lane);
            timeline.mark(self.now, lane, mark, what());
        }
    }

    pub(super) fn tell_fault(&self, fault: Fault, number: u64) {
        if let Some(mut timeline) = self.recorder.open() {
            timeline.struck(fault, number);
        }
    }

    /// A connection broke.
    pub(super) fn tell_lost(&self, conn: ConnId) {
        if let Some(mut timeline) = self.recorder.open() {
            timeline.lost(conn, self.now);
        }
    }

    /// Requests are about to be scheduled.
    pub(super) fn tell_request(&self, conn: ConnId, requests: &[Request]) {
        let Some(mut timeline) = self.recorder.open() else {
            return;
        };
        if let Some(lane) = self.clients.lane_of(conn) {
            timeline.connect(conn, lane);
        }
        let node = timeline.lane(NODE);
        timeline.sent(self.made + 1, self.now, (conn, node), requests);
    }

    /// Replies are about to be scheduled.
    pub(super) fn tell_reply(&self, conn: ConnId, replies: &[Reply]) {
        let Some(mut timeline) = self.recorder.open() else {
            return;
        };
        let node = timeline.lane(NODE);
        timeline.answered(self.made + 1, self.now, (conn, node), replies);
    }

    /// A command is about to be scheduled, or is done at once.
    pub(super) fn tell_command(&self, takes_time: bool, command: &Command) {
        let Some(mut timeline) = self.recorder.open() else {
            return;
        };
        let lane = timeline.lane(DISK);
        timeline.asked_disk(takes_time.then_some(self.made + 1), self.now, lane, command);
    }

    /// What was scheduled under this number happens.
    pub(super) fn tell_end(&self, number: u64) {
        if let Some(mut timeline) = self.recorder.open() {
            timeline.ended(number, self.now);
        }
    }

    /// A read is done.
    pub(super) fn tell_loaded(&self, number: u64, event: &Event) {
        if let Some(mut timeline) = self.recorder.open() {
            timeline.loaded(number, event);
            timeline.ended(number, self.now);
        }
    }

    /// The state at the end: files, accounts, and what every stream of randomness would draw next.
    pub(super) fn trace_end(&mut self) {
        use rand::RngExt;
        for (id, file) in &self.disk.files {
            (id, file.seen.len(), file.durable.len(), file.unsynced.len()).hash(&mut self.trace);
        }
        let ledger = self.ledger.counters();
        let accounts = super::Report {
            ledger,
            disk: self.disk.counters,
            net: self.net.counters,
            ..self.report
        }
        .counts();
        let seeds = &mut self.seeds;
        let next: [u64; 4] =
            [&mut seeds.net, &mut seeds.disk, &mut seeds.crash, &mut seeds.damage].map(|rng| rng.random());
        self.trace.note(self.now, &(accounts, next, &self.turns));
    }
}
