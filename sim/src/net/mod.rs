//! The network: connections that speak AMQP bytes over simulated sockets.
//!
//! ```text
//! a client of the run ─requests─► protocol client ═bytes═► session of the server ─requests─► node
//!                     ◄─replies──                 ◄═bytes═                       ◄─replies──
//! ```
//!
//! Clients of the run make core requests and hear core replies, whether there are bytes in between or not: so do all
//! workloads and the observer at the node's border run unchanged over both. Which connections speak bytes is drawn, and
//! so is what their sockets suffer. [`crate::wire`] keeps the account of each.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | what a seed draws |
//! | `pipe` | one direction: late, in pieces, slow, stalled, reset, silent |
//! | `socket` | a connection of two pipes, and its faults |
//! | `server` | the session's side |
//! | `link`, `encode` | the client's side: requests to methods and back |
//! | `foe`, `attacks` | clients that send what no correct client sends |

mod attacks;
mod encode;
mod foe;
mod link;
mod pipe;
pub mod plan;
mod server;
mod socket;

use crate::checkers::FOES;
use crate::plan::{MS, Plan, Seeds, Stream};
use crate::wire::{Broken, Check};
use attacks::Attack;
use foe::Foe;
use link::Link;
use plan::Wires;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use socket::Connection;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waystation_core::Now;
use waystation_core::api::{ConnId, Reply, Request};
use waystation_protocols::amqp::SessionConfig;

/// Numbers of places for hostile clients, each of which comes again and again.
const FOE_SLOTS: u64 = FOES << 1;

/// What the network did.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "self-explanatory")]
pub struct Counters {
    pub connections: u64,
    pub opened: u64,
    pub reads: u64,
    pub bytes: u64,
    pub refused: u64,
    pub resets: u64,
    pub silences: u64,
    pub stalls: u64,
    pub slow: u64,
    pub sluggish: u64,
    pub hasty: u64,
    pub heartbeats: u64,
    pub blocked: u64,
    pub channels_failed: u64,
    pub foes: u64,
    pub foes_answered: u64,
}

/// What the network does to the world.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A session asks the node, after a while.
    Ask {
        conn: ConnId,
        requests: Vec<Request>,
        delay: u64,
    },
    /// A client of the run hears.
    Hear { conn: ConnId, replies: Vec<Reply> },
    /// The connection is gone.
    Lost { conn: ConnId },
    /// To be woken.
    Wake { conn: ConnId, at: u64 },
    /// A check failed.
    Broken { conn: ConnId, broken: Broken },
}

/// All connections that speak bytes.
#[derive(Debug)]
pub(crate) struct Net {
    wires: Wires,
    seeds: Seeds,
    message_bytes_max: u64,
    /// Each draws from a stream of its own.
    connections: BTreeMap<ConnId, (Connection, ChaCha8Rng)>,
    /// All that ever spoke bytes.
    known: BTreeSet<ConnId>,
    /// Those that the node knows, from the first request to the last reply.
    at_node: BTreeSet<ConnId>,
    effects: VecDeque<Effect>,
    healing: bool,
    foes_begun: u64,
    pub(crate) counters: Counters,
}

impl Net {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            wires: plan.wires.clone(),
            seeds: Seeds::new(plan.seed),
            message_bytes_max: (plan.body_max as u64).max(100_000),
            connections: BTreeMap::new(),
            known: BTreeSet::new(),
            at_node: BTreeSet::new(),
            effects: VecDeque::new(),
            healing: false,
            foes_begun: 0,
            counters: Counters::default(),
        }
    }

    /// What happens next because of what happened before.
    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether a connection speaks bytes, or did until it ended.
    pub(crate) fn carries(&self, conn: ConnId) -> bool {
        self.known.contains(&conn)
    }

    /// Whether no connection but one is left, here and at the node.
    pub(crate) fn is_over(&self, but: Option<ConnId>) -> bool {
        let mut left = self.connections.keys().chain(&self.at_node);
        left.all(|conn| Some(*conn) == but)
    }

    /// What is left, for a stuck run.
    pub(crate) fn waiting(&self) -> String {
        let left: Vec<String> = self
            .connections
            .iter()
            .map(|(conn, (connection, _))| format!("{}: {}", conn.0, connection.waiting()))
            .collect();
        format!("connections left: {left:?}, at the node: {:?}", self.at_node)
    }

    /// Nothing new goes wrong from now on.
    pub(crate) fn heal(&mut self) {
        self.healing = true;
        for (conn, (connection, _)) in &mut self.connections {
            connection.heal();
            self.effects.push_back(Effect::Wake { conn: *conn, at: 0 });
        }
    }

    /// The node's machine is gone, and every socket with it.
    pub(crate) fn crashed(&mut self) {
        self.connections.clear();
        self.at_node.clear();
        self.effects.clear();
    }

    /// A client of the run asks. What it asks past the network comes back.
    pub(crate) fn ask(&mut self, now: Now, conn: ConnId, requests: Vec<Request>) -> Option<Vec<Request>> {
        if self.wires.share > 0 && matches!(requests.first(), Some(Request::Connect { .. })) {
            let mut rng = self.seeds.nth(Stream::Wire, conn.0);
            if rng.random_range(0..1000) < self.wires.share {
                self.connect(now, conn, rng);
            }
        }
        if !self.carries(conn) {
            return Some(requests);
        }
        if let Some((connection, rng)) = self.connections.get_mut(&conn) {
            connection.ask(requests, rng);
            self.turn(now, conn);
        }
        None
    }

    fn connect(&mut self, now: Now, conn: ConnId, mut rng: ChaCha8Rng) {
        let mut faults = self.wires.faults(&mut rng);
        if self.healing {
            faults = plan::Faults::default();
        }
        let counters = &mut self.counters;
        counters.connections += 1;
        counters.refused += u64::from(faults.refused);
        counters.slow += u64::from(faults.rate.is_some());
        counters.sluggish += u64::from(faults.reader != plan::Reader::Prompt);
        let frame_bytes_max = [4096, 5000, self.wires.frame_bytes_max][rng.random_range(0..3)];
        let link = Link::new(frame_bytes_max, self.wires.heartbeat_seconds, faults.hasty);
        let end = (Box::new(link) as Box<dyn socket::Peer>, Check::new(false));
        let connection = Connection::new(&self.wires, faults, end, self.config(), now, &mut rng);
        self.connections.insert(conn, (connection, rng));
        self.known.insert(conn);
    }

    fn config(&self) -> SessionConfig {
        SessionConfig {
            channel_max: attacks::CHANNEL_MAX,
            frame_bytes_max: self.wires.frame_bytes_max,
            heartbeat_seconds: self.wires.heartbeat_seconds,
            message_bytes_max: self.message_bytes_max,
            ..SessionConfig::default()
        }
    }

    /// The node takes connections: hostile clients come, too.
    pub(crate) fn ready(&mut self, now: Now) {
        for slot in 0..self.wires.foes as u64 {
            self.foe_comes_later(now, slot);
        }
    }

    fn foe_comes_later(&mut self, now: Now, slot: u64) {
        let mut rng = self.seeds.nth(Stream::Foe, self.foes_begun);
        self.foes_begun += 1;
        let at = now.mono.0 + rng.random_range(MS..80 * MS);
        let conn = ConnId(FOE_SLOTS + slot);
        self.effects.push_back(Effect::Wake { conn, at });
    }

    fn foe_comes(&mut self, now: Now, slot: u64) {
        if self.healing {
            return;
        }
        let conn = ConnId(FOES + self.foes_begun);
        let mut rng = self.seeds.nth(Stream::Wire, conn.0);
        self.counters.foes += 1;
        let attack = Attack::draw(self.wires.frame_bytes_max, self.message_bytes_max, &mut rng);
        let is_busy = attack.is_busy;
        let foe = Foe::new(attack, self.wires.heartbeat_seconds, now.mono.0);
        let mut check = Check::new(true);
        check.may_publish = is_busy;
        let end = (Box::new(foe) as Box<dyn socket::Peer>, check);
        let faults = plan::Faults::default();
        let connection = Connection::new(&self.wires, faults, end, self.config(), now, &mut rng);
        self.connections.insert(conn, (connection, rng));
        self.known.insert(conn);
        self.turn(now, conn);
        self.foe_comes_later(now, slot);
    }

    /// The node replies.
    pub(crate) fn reply(&mut self, now: Now, conn: ConnId, replies: Vec<Reply>) {
        if replies
            .iter()
            .any(|reply| matches!(reply, Reply::Disconnected | Reply::Refused(_)))
        {
            self.at_node.remove(&conn);
        }
        if let Some((connection, rng)) = self.connections.get_mut(&conn) {
            connection.reply(now, replies, rng);
            self.turn(now, conn);
        }
    }

    /// A time has come that was asked for.
    pub(crate) fn wake(&mut self, now: Now, conn: ConnId) {
        if conn.0 >= FOE_SLOTS {
            return self.foe_comes(now, conn.0 - FOE_SLOTS);
        }
        if let Some((connection, _)) = self.connections.get_mut(&conn) {
            connection.wakes_at = connection.wakes_at.filter(|at| *at > now.mono.0);
            self.turn(now, conn);
        }
    }

    /// How long replies take from the node's thread to the socket's; none if the connection is gone.
    pub(crate) fn way_back(&mut self, conn: ConnId) -> u64 {
        let rng = self.connections.get_mut(&conn).map(|(_, rng)| rng);
        rng.map_or(0, |rng| rng.random_range(1_000..MS / 5))
    }

    /// Everything that can happen on a connection does, and its effects are told.
    fn turn(&mut self, now: Now, conn: ConnId) {
        let Some((connection, rng)) = self.connections.get_mut(&conn) else {
            return;
        };
        let mut last = connection.turn(now, rng, &mut self.counters);
        let mut requests = connection.take_requests();
        requests.append(&mut last);
        if matches!(requests.first(), Some(Request::Connect { .. })) {
            self.at_node.insert(conn);
        }
        if !requests.is_empty() {
            // The way from a socket's thread to the node's.
            let delay = rng.random_range(1_000..200_000);
            self.effects.push_back(Effect::Ask { conn, requests, delay });
        }
        let replies = connection.take_told();
        if !replies.is_empty() {
            self.effects.push_back(Effect::Hear { conn, replies });
        }
        if std::mem::take(&mut connection.lost) {
            self.effects.push_back(Effect::Lost { conn });
        }
        if let Some(broken) = connection.check.take_broken() {
            self.effects.push_back(Effect::Broken { conn, broken });
        }
        if connection.is_over() {
            self.connections.remove(&conn);
            return;
        }
        if let Some(at) = connection.next() {
            let at = at.max(now.mono.0 + 1);
            if connection.wakes_at.is_none_or(|wakes| wakes > at) {
                connection.wakes_at = Some(at);
                self.effects.push_back(Effect::Wake { conn, at });
            }
        }
    }
}
