//! Virtual time: one node, its disk, its clients; a queue of events in order of time and of making.

use crate::checkers::{self, Ledger, Violation, g15_progress, g17_corruption};
use crate::clients::{Act, Clients};
use crate::disk::{Disk, Job};
use crate::plan::{MS, Plan, Seeds};
use rand::RngExt;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use waystation_core::api::{ChannelReply, ChannelRequest, ConnId, Reply, Request};
use waystation_core::disk::{Command, Event, FileId};
use waystation_core::node::{AdminReply, AdminRequest, Config, HaltCause, Input, Node, Output, QueueInfo};
use waystation_core::{Machine, Now, Time, Wall};

/// Wall time at the start of each run.
const WALL_START_MS: u64 = 1_700_000_000_000;
/// A stalled write.
const STALL: u64 = 3_000 * MS;
/// Segments on disk beyond which dead ones are not freed (G14).
const SEGMENTS_MAX: usize = 20_000;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Hash over every output of the node (G18).
    pub trace: u64,
    /// Events handled.
    pub steps: u64,
    /// Outputs of the node.
    pub outputs: u64,
    /// Virtual nanoseconds.
    pub virtual_ns: u64,
    /// Crashes, halts included.
    pub crashes: u64,
    /// Crashes before the node was ready.
    pub crashes_in_recovery: u64,
    /// Times that bytes of files were damaged, and that the node halted on it.
    pub damaged: u64,
    /// See above.
    pub damage_found: u64,
    /// Failed commands of the disk.
    pub disk_errors: u64,
    /// Of clients and messages.
    pub ledger: checkers::Counters,
    /// Of the disk.
    pub disk: crate::disk::Counters,
}

impl Report {
    /// Its counts by name, for sums.
    #[must_use]
    pub const fn counts(&self) -> [(&'static str, u64); 25] {
        let Self { ledger, disk, .. } = self;
        [
            ("steps", self.steps),
            ("virtual ms", self.virtual_ns / MS),
            ("crashes", self.crashes),
            ("crashes in recovery", self.crashes_in_recovery),
            ("damaged", self.damaged),
            ("damage found", self.damage_found),
            ("disk errors", self.disk_errors),
            ("published", ledger.published),
            ("confirmed", ledger.confirmed),
            ("refused", ledger.refused),
            ("delivered", ledger.delivered),
            ("redelivered", ledger.redelivered),
            ("settled", ledger.settled),
            ("settled durably", ledger.settled_durably),
            ("dead letters", ledger.dead),
            ("returned", ledger.returned),
            ("purges", ledger.purged),
            ("transactions", ledger.transactions),
            ("transactions rolled back", ledger.torn_transactions),
            ("returned unroutable", ledger.unroutable),
            ("order checks", ledger.order_checks),
            ("count checks", ledger.count_checks),
            ("queues seen gone", ledger.gone_queues),
            ("syncs", disk.syncs),
            ("sectors lost", disk.lost),
        ]
    }
}

enum Happening {
    ToNode {
        conn: ConnId,
        requests: Vec<Request>,
        life: u32,
    },
    ToClient {
        conn: ConnId,
        replies: Vec<Reply>,
        life: u32,
    },
    Finish {
        job: Job,
        life: u32,
    },
    Loaded {
        command: Command,
        life: u32,
    },
    Tick {
        life: u32,
    },
    Client {
        client: usize,
        generation: u64,
    },
    Crash,
    DiskFails,
    Restart {
        life: u32,
    },
}

/// The world.
pub(crate) struct World {
    plan: Plan,
    seeds: Seeds,
    now: u64,
    made: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    waiting: BTreeMap<u64, Happening>,
    node: Option<Node>,
    ready: bool,
    life: u32,
    /// Outputs of this life.
    outputs: u64,
    disk: Disk,
    disk_free_at: u64,
    /// The next command of the disk fails.
    failing: bool,
    clients: Clients,
    ledger: Ledger,
    /// When the newest bytes on each way of a connection arrive: bytes do not overtake.
    arrivals: BTreeMap<(ConnId, bool), u64>,
    healing: bool,
    report: Report,
    ticking: Option<u64>,
}

/// Runs a plan to its end.
///
/// # Errors
/// The first violation.
pub fn run(plan: &Plan) -> Result<Report, Violation> {
    waystation_core::knob::set(crate::knobs::draw(plan.seed));
    let mut world = World::new(plan.clone());
    world.open();
    world.schedule_crash();
    world.schedule_error();
    while world.ledger.violation().is_none() && !world.clients.is_done() {
        if !world.step() {
            let what = "nothing is left to happen, and clients still wait";
            world.ledger.fail("G15", what.into());
        }
        if g15_progress::is_stuck(world.now, plan.length, world.report.steps) {
            let what = g15_progress::stuck(&world.clients.waiting());
            world.ledger.fail("G15", what);
        }
    }
    // Dead letters that nobody takes leave unseen, as slowly as their bodies are read.
    while world.ledger.violation().is_none()
        && world.queues().iter().any(|queue| queue.message_bytes > 0)
        && !g15_progress::is_stuck(world.now, plan.length, world.report.steps)
        && world.step()
    {}
    if world.ledger.violation().is_none() {
        world.empty();
        world.ledger.drained();
    }
    let report = Report {
        virtual_ns: world.now,
        ledger: world.ledger.counters(),
        disk: world.disk.counters,
        ..world.report
    };
    world.ledger.violation().cloned().map_or(Ok(report), Err)
}

impl World {
    fn new(plan: Plan) -> Self {
        Self {
            seeds: Seeds::new(plan.seed),
            now: 0,
            made: 0,
            events: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            node: None,
            ready: false,
            life: 0,
            outputs: 0,
            disk: Disk::default(),
            disk_free_at: 0,
            failing: false,
            clients: Clients::new(&plan),
            ledger: Ledger::new(&plan),
            arrivals: BTreeMap::new(),
            healing: false,
            report: Report {
                trace: 0xcbf2_9ce4_8422_2325,
                ..Report::default()
            },
            ticking: None,
            plan,
        }
    }

    fn open(&mut self) {
        let plan = &self.plan;
        let config = Config {
            seed: plan.seed,
            segment_bytes: plan.segment_bytes,
            cache_bytes: plan.cache_bytes,
            pending_bytes_max: plan.pending_bytes_max,
            connection_window_bytes: plan.window_bytes,
            checkpoint_bytes: plan.checkpoint_bytes,
            ..Config::default()
        };
        self.node = Some(Node::open(config, self.disk.listing(), self.clock()));
        self.ready = false;
        self.outputs = 0;
        self.drain();
    }

    fn clock(&self) -> Now {
        Now {
            mono: Time(self.now),
            wall: Wall(WALL_START_MS + self.now / MS),
        }
    }

    fn at(&mut self, delay: u64, what: Happening) {
        let time = self.now + delay;
        self.made += 1;
        self.events.push(Reverse((time, self.made)));
        self.waiting.insert(self.made, what);
    }

    fn step(&mut self) -> bool {
        let Some(Reverse((time, number))) = self.events.pop() else {
            return false;
        };
        self.now = time;
        self.report.steps += 1;
        self.ledger.begin(self.report.steps, self.now, self.clock().wall.0);
        if !self.healing && self.now > self.plan.length {
            self.healing = true;
            self.clients.heal();
        }
        let what = self.waiting.remove(&number).expect("scheduled once");
        self.happen(what);
        true
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::ToNode { conn, requests, life } if life == self.life && self.ready => {
                for request in &requests {
                    self.tell("->", conn, &Asked(request));
                    self.ledger.request(conn, request);
                }
                self.input(Input::Client { conn, requests });
            }
            Happening::Finish { job, life } if life == self.life => {
                if !self.fails_at(self.disk.about(job), "write")
                    && let Some(event) = self.disk.finish(job)
                {
                    self.input(Input::Disk(event));
                }
            }
            Happening::Loaded {
                command:
                    Command::Read {
                        id,
                        file,
                        offset,
                        bytes,
                    },
                life,
            } if life == self.life => {
                if !self.fails_at(Some(file), "read") {
                    let bytes = self.disk.read(file, offset, bytes);
                    self.input(Input::Disk(Event::Loaded { id, bytes }));
                }
            }
            Happening::Tick { life } if life == self.life => {
                self.ticking = None;
                self.input(Input::Tick);
            }
            Happening::ToClient { conn, replies, life } if life == self.life => {
                let acts = self.clients.hear(conn, replies);
                self.perform(acts);
            }
            Happening::Client { client, generation } => {
                let rng = &mut self.seeds.clients;
                let acts = self.clients.act(client, generation, rng, &mut self.ledger);
                self.perform(acts);
            }
            Happening::Crash => {
                self.crash();
                self.restart();
            }
            Happening::DiskFails => {
                self.failing = !self.healing;
                self.schedule_error();
            }
            Happening::Restart { life } if life == self.life => self.open(),
            // Of an earlier life of the process.
            Happening::Restart { .. }
            | Happening::ToNode { .. }
            | Happening::ToClient { .. }
            | Happening::Finish { .. }
            | Happening::Loaded { .. }
            | Happening::Tick { .. } => {}
        }
    }

    fn tell(&self, way: &str, conn: ConnId, what: &impl std::fmt::Debug) {
        if self.plan.verbose {
            eprintln!("{:>12} {way} {} {what:?}", self.now, conn.0);
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.clock();
        if let Some(node) = &mut self.node {
            node.handle(now, input);
            self.drain();
        }
    }

    /// Takes what the node does.
    fn drain(&mut self) {
        loop {
            let Some(node) = &mut self.node else { return };
            let Some(output) = node.poll() else { break };
            self.report.outputs += 1;
            self.outputs += 1;
            self.trace(&output);
            let halted = self.take(output);
            let lives = self.life as usize;
            if halted
                || self
                    .plan
                    .crash_after
                    .get(lives)
                    .is_some_and(|after| self.outputs >= *after)
            {
                self.crash();
                return self.restart();
            }
        }
        self.ledger.step_over();
        let Some(node) = &mut self.node else { return };
        if self.report.steps.is_multiple_of(32) {
            node.check();
        }
        if let Some(deadline) = node.deadline()
            && self.ticking.is_none_or(|at| at > deadline.at.0)
        {
            self.ticking = Some(deadline.at.0);
            let delay = deadline.at.0.saturating_sub(self.now).max(1);
            self.at(delay, Happening::Tick { life: self.life });
        }
    }

    /// Takes one output. Whether the node halted, as it should.
    fn take(&mut self, output: Output) -> bool {
        match output {
            Output::Disk(command) => self.disk_command(command),
            Output::Client { conn, replies } => {
                for reply in &replies {
                    self.tell("<-", conn, &Shown(reply));
                    self.ledger.reply(conn, reply);
                }
                let delay = self.latency(conn, false);
                self.at(
                    delay,
                    Happening::ToClient {
                        conn,
                        replies,
                        life: self.life,
                    },
                );
            }
            Output::Ready(found) => {
                if self.plan.verbose {
                    eprintln!("{:>12} ready: {found:?}", self.now);
                }
                self.ready = true;
                for client in 0..self.clients.len() {
                    let generation = self.clients.generation(client);
                    let delay = self.seeds.net.random_range(0..5 * MS);
                    self.at(delay, Happening::Client { client, generation });
                }
            }
            Output::Halt(cause) => return self.halted(&cause),
            Output::Admin { .. } | Output::Stopped => {}
        }
        false
    }

    /// The node halted. It must have been right to, and must say nothing more.
    fn halted(&mut self, cause: &HaltCause) -> bool {
        if self.plan.verbose {
            eprintln!("{:>12} halt: {cause}", self.now);
        }
        let now = self.clock();
        let node = self.node.as_mut().expect("it just halted");
        node.handle(now, Input::Tick);
        if node.poll().is_some() {
            self.ledger.fail("G17", "a node that halted went on".into());
        }
        let damaged = if matches!(cause, HaltCause::Damaged { .. }) {
            self.disk.repair()
        } else {
            BTreeSet::new()
        };
        if let Some(what) = g17_corruption::halt(cause, &damaged) {
            self.ledger.fail("G17", what);
            return false;
        }
        self.report.damage_found += 1;
        true
    }

    /// If the disk is to fail, it does: the node halts, and confirms nothing more.
    fn fails_at(&mut self, file: Option<FileId>, doing: &'static str) -> bool {
        let Some(file) = file.filter(|_| self.failing) else {
            return false;
        };
        self.failing = false;
        self.report.disk_errors += 1;
        let now = self.clock();
        let Some(node) = &mut self.node else { return true };
        node.handle(
            now,
            Input::Disk(Event::Failed {
                file,
                doing,
                error: "input/output error".into(),
            }),
        );
        let halted =
            matches!(node.poll(), Some(Output::Halt(HaltCause::DiskFailed { file: named, .. })) if named == file);
        node.handle(now, Input::Tick);
        if !halted || node.poll().is_some() {
            self.ledger
                .fail("G17", format!("{doing} {file} failed, and the node did not halt"));
        }
        self.crash();
        self.restart();
        true
    }

    fn disk_command(&mut self, command: Command) {
        let rng = &mut self.seeds.disk;
        let life = self.life;
        if let Command::Read { .. } = command {
            let delay = rng.random_range(10_000..2 * MS);
            self.at(delay, Happening::Loaded { command, life });
            return;
        }
        let syncs = matches!(command, Command::Write { sync: true, .. });
        let mut latency = if syncs {
            rng.random_range(1..2 * self.plan.sync_latency)
        } else {
            rng.random_range(1..100_000)
        };
        if rng.random_range(0..10_000) < self.plan.stalls && !self.healing {
            latency += STALL;
        }
        let Some(job) = self.disk.take(command) else { return };
        // Writes finish in order; preparations run beside them, in order among themselves.
        let delay = if job == Job::Write {
            self.disk_free_at = self.disk_free_at.max(self.now) + latency;
            self.disk_free_at - self.now
        } else {
            5 * MS
        };
        self.at(delay, Happening::Finish { job, life });
        if self.disk.files.len() > SEGMENTS_MAX {
            self.ledger.fail("G14", "dead segments are not freed".into());
        }
    }

    /// What an operator is told of every queue; nothing while the node is down.
    fn queues(&mut self) -> Vec<QueueInfo> {
        let now = self.clock();
        let Some(node) = &mut self.node else { return Vec::new() };
        let request = AdminRequest::Queues { vhost: None };
        node.handle(now, Input::Admin { id: 0, request });
        let mut queues = Vec::new();
        let mut others = Vec::new();
        while let Some(output) = node.poll() {
            match output {
                Output::Admin {
                    reply: AdminReply::Queues(infos),
                    ..
                } => queues = infos,
                other => others.push(other),
            }
        }
        for output in others {
            self.take(output);
        }
        queues
    }

    /// Nothing is left in any queue of the run, neither ready nor in anybody's hands.
    fn empty(&mut self) {
        self.node.as_ref().expect("the node runs at the end").check();
        let queues = self.queues();
        let mut names = (0..self.plan.queues.len()).map(|queue| self.plan.name(queue));
        let missing = names.find(|name| !queues.iter().any(|queue| *queue.name == **name));
        if let Some(name) = missing {
            self.ledger
                .fail("G11", format!("queue {name} is gone, and nobody deleted it"));
        }
        let of_run = |name: &str| (0..self.plan.queues.len()).any(|queue| self.plan.name(queue) == name);
        for queue in queues.iter().filter(|queue| of_run(&queue.name)) {
            let (name, ready, held) = (&queue.name, queue.messages_ready, queue.messages_unsettled);
            if ready + held > 0 || queue.message_bytes > 0 {
                let bytes = queue.message_bytes;
                let what = format!("{name} was emptied and holds {ready} ready, {held} unsettled, {bytes} bytes");
                self.ledger.fail("G3", what);
            }
        }
    }

    fn perform(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Send { conn, requests } => {
                    let delay = self.latency(conn, true);
                    self.at(
                        delay,
                        Happening::ToNode {
                            conn,
                            requests,
                            life: self.life,
                        },
                    );
                }
                Act::Later {
                    client,
                    generation,
                    delay,
                } => {
                    self.at(delay, Happening::Client { client, generation });
                }
            }
        }
    }

    fn latency(&mut self, conn: ConnId, to_node: bool) -> u64 {
        let delay = self.seeds.net.random_range(20_000..3 * MS);
        let arrival = self.arrivals.entry((conn, to_node)).or_default();
        *arrival = (*arrival).max(self.now + delay);
        *arrival - self.now
    }

    fn schedule_crash(&mut self) {
        let Some(mean) = self.plan.crash_every else { return };
        let delay = self.seeds.crash.random_range(1..2 * mean);
        if self.now + delay < self.plan.length {
            self.at(delay, Happening::Crash);
        }
    }

    fn schedule_error(&mut self) {
        let Some(mean) = self.plan.error_every else { return };
        let delay = self.seeds.faults.random_range(1..2 * mean);
        if self.now + delay < self.plan.length {
            self.at(delay, Happening::DiskFails);
        }
    }

    /// The process dies, with the power.
    fn crash(&mut self) {
        self.report.crashes += 1;
        self.report.crashes_in_recovery += u64::from(!self.ready);
        if self.plan.verbose {
            eprintln!("{:>12} crash", self.now);
        }
        self.node = None;
        self.life += 1;
        self.ticking = None;
        self.disk_free_at = 0;
        self.disk.crash(&mut self.seeds.crash, self.plan.survival);
        self.ledger.crashed();
        self.ready = false;
        self.clients.crashed();
        self.arrivals.clear();
        if !self.healing && self.seeds.faults.random_range(0..256) < self.plan.damage {
            let what = self.disk.damage(&mut self.seeds.faults);
            self.report.damaged += u64::from(what.is_some());
            if let Some(what) = what.filter(|_| self.plan.verbose) {
                eprintln!("{:>12} damage: {what}", self.now);
            }
        }
    }

    /// It is started again, and may die again soon.
    fn restart(&mut self) {
        let delay = self.seeds.crash.random_range(1..50 * MS);
        self.at(delay, Happening::Restart { life: self.life });
        if self.seeds.crash.random_range(0..256) < self.plan.crash_again && !self.healing {
            let soon = delay + self.seeds.crash.random_range(1..10 * MS);
            self.at(soon, Happening::Crash);
        } else {
            self.schedule_crash();
        }
    }

    /// Mixes an output into the trace hash.
    fn trace(&mut self, output: &Output) {
        let kind = match output {
            Output::Client { conn, replies } => conn.0 << 20 ^ (replies.len() as u64) << 4 ^ 1,
            Output::Disk(Command::Write { id, offset, chunks, .. }) => {
                let sum = chunks.iter().fold(0_u64, |sum, chunk| mixed(sum, chunk));
                id.0 << 32 ^ offset << 3 ^ sum ^ 2
            }
            Output::Disk(Command::Read { id, offset, .. }) => id.0 << 40 ^ offset << 3 ^ 3,
            Output::Disk(Command::Prepare { bytes, .. }) => bytes << 3 ^ 4,
            Output::Disk(Command::Delete { .. }) => 5,
            Output::Admin { id, .. } => id << 3 ^ 6,
            Output::Ready(found) => found.entries << 3 ^ 7,
            Output::Halt(_) => 8,
            Output::Stopped => 9,
        };
        for word in [self.now, kind] {
            self.report.trace = (self.report.trace ^ word)
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(17);
        }
    }
}

fn mixed(sum: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(sum, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (sum.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

/// A request, with the numbers of messages.
struct Asked<'a>(&'a Request);

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Request::Channel {
            request: ChannelRequest::Publish { message, .. },
            ..
        } = self.0
            && let Some(id) = message.body().get(..8)
        {
            write!(f, "#{} ", u64::from_le_bytes(id.try_into().expect("eight bytes")))?;
        }
        write!(f, "{:?}", self.0)
    }
}

/// A reply, with the numbers of messages.
struct Shown<'a>(&'a Reply);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = match self.0 {
            Reply::Channel {
                reply: ChannelReply::Deliver { message, .. } | ChannelReply::Got { message, .. },
                ..
            } => message.body().get(..8),
            _ => None,
        };
        if let Some(id) = body {
            write!(f, "#{} ", u64::from_le_bytes(id.try_into().expect("eight bytes")))?;
        }
        write!(f, "{:?}", self.0)
    }
}
