//! Virtual time: one node, its disk, its clients; a queue of events in order of time and of making.

mod tell;
mod turns;
mod wires;

use crate::checkers::{self, Ledger, Violation, g15_progress, g17_corruption};
use crate::clients::{Act, Clients};
use crate::disk::{Disk, Job};
use crate::kept::Fault;
use crate::net::{self, Net};
use crate::plan::{MS, Plan, Seeds, Stream};
use crate::timeline::{Mark, Recorder};
use crate::trace::Trace;
use rand::RngExt;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::hash::Hasher;
use tell::DISK;
use waystation_core::api::{ConnId, Reply, Request};
use waystation_core::disk::{Command, Event, FileId};
use waystation_core::node::{AdminReply, AdminRequest, Config, HaltCause, Input, Node, Output, QueueInfo, Stats};
use waystation_core::plant::{self, Plant};
use waystation_core::{Machine, Now, Time, Wall};

/// Wall time at the start of each run.
const WALL_START_MS: u64 = 1_700_000_000_000;
/// Events between two looks at the node's invariants.
const CHECK_EVERY: u64 = 32;
/// A stalled write.
const STALL: u64 = 3_000 * MS;
/// Virtual time that the node has for itself when all is done.
const LINGER: u64 = 300 * MS;
/// Segments on disk beyond which dead ones are not freed (G14).
const SEGMENTS_MAX: usize = 20_000;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Hash over every output of the node, every request, and the state at the end (G18).
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
    /// Steps compared with the model.
    pub model_steps: u64,
    /// Of clients and messages.
    pub ledger: checkers::Counters,
    /// Of the disk.
    pub disk: crate::disk::Counters,
    /// Of connections that speak bytes.
    pub net: net::Counters,
}

impl Report {
    /// Its counts by name, for sums.
    #[must_use]
    pub const fn counts(&self) -> [(&'static str, u64); 42] {
        let Self { ledger, disk, net, .. } = self;
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
            ("lost", ledger.lost),
            ("duplicated", ledger.duplicated),
            ("unexpected", ledger.unexpected),
            ("recovered", ledger.recovered),
            ("model steps", self.model_steps),
            ("ends compared", ledger.ends),
            ("crashes that tore", disk.torn),
            ("syncs", disk.syncs),
            ("sectors lost", disk.lost),
            ("byte connections", net.connections),
            ("bytes read", net.bytes),
            ("reads", net.reads),
            ("resets", net.resets),
            ("silences", net.silences),
            ("network stalls", net.stalls),
            ("slow connections", net.slow + net.sluggish),
            ("blocked heard", net.blocked),
            ("attacks", net.foes),
            ("attacks answered", net.foes_answered),
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
    /// A connection that speaks bytes has something to do.
    Net {
        conn: ConnId,
        life: u32,
    },
    Crash {
        number: u64,
    },
    DiskFails {
        number: u64,
    },
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
    /// The next command of the disk fails: the error's number.
    failing: Option<u64>,
    clients: Clients,
    net: Net,
    ledger: Ledger,
    /// When the newest bytes on each way of a connection arrive: bytes do not overtake.
    arrivals: BTreeMap<(ConnId, bool), u64>,
    healing: bool,
    report: Report,
    trace: Trace,
    ticking: Option<u64>,
    /// The event after which the node was checked.
    checked: u64,
    /// Turns that each client had.
    turns: Vec<u64>,
    /// Faults of each kind that were due.
    due: BTreeMap<Fault, u64>,
    /// Crashes and disk errors that were scheduled.
    crashes_planned: u64,
    errors_planned: u64,
    recorder: Recorder,
}

/// What makes a node crash, and what the crash draws from.
enum Because {
    /// The plan: the crash of this number.
    Due(u64),
    /// A disk failed, by its number.
    DiskError(u64),
    /// The node halted, or was to crash after this output.
    Output,
}

/// Runs a plan to its end.
///
/// # Errors
/// The first violation.
pub fn run(plan: &Plan) -> Result<Report, Violation> {
    run_told(plan, &Recorder::default())
}

/// Runs a plan to its end, and tells what happens.
///
/// # Errors
/// The first violation.
pub fn run_told(plan: &Plan, recorder: &Recorder) -> Result<Report, Violation> {
    if plan.lockstep > 0 {
        return crate::lockstep::run(plan, recorder);
    }
    waystation_core::knob::set(crate::knobs::draw(plan.seed));
    let mut world = World::new(plan.clone(), recorder.clone());
    world.tell_lanes();
    world.open();
    world.schedule_crash();
    world.schedule_error();
    while world.ledger.violation().is_none() && !world.clients.is_done() {
        if !world.step() {
            let what = format!(
                "nothing is left to happen, and clients still wait: {}",
                world.waits_for()
            );
            world.ledger.fail("G15", what);
        }
        if g15_progress::is_stuck(world.now, plan.length, world.report.steps) {
            let what = g15_progress::stuck(&world.waits_for());
            world.ledger.fail("G15", what);
        }
    }
    // Dead letters that nobody takes leave unseen, as slowly as their bodies are read; then dead segments do.
    let end = world.now + LINGER;
    while world.ledger.violation().is_none()
        && (world.now < end || world.queues().iter().any(|queue| queue.message_bytes > 0))
        && !g15_progress::is_stuck(world.now, plan.length, world.report.steps)
        && world.step()
    {}
    if world.ledger.violation().is_none() {
        world.empty();
        world.ledger.drained();
    }
    world.trace_end();
    let report = Report {
        trace: world.trace.finish(),
        virtual_ns: world.now,
        ledger: world.ledger.counters(),
        disk: world.disk.counters,
        net: world.net.counters,
        ..world.report
    };
    world.ledger.violation().cloned().map_or(Ok(report), Err)
}

impl World {
    fn new(plan: Plan, recorder: Recorder) -> Self {
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
            failing: None,
            clients: Clients::new(&plan),
            net: Net::new(&plan),
            ledger: Ledger::new(&plan),
            arrivals: BTreeMap::new(),
            healing: false,
            report: Report::default(),
            trace: Trace::default(),
            ticking: None,
            checked: 0,
            turns: Vec::new(),
            due: BTreeMap::new(),
            crashes_planned: 0,
            errors_planned: 0,
            recorder,
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
        self.tell(Mark::Start, || format!("start, life {}", self.life));
        self.node = Some(Node::open(config, self.disk.listing(), self.clock()));
        self.ready = false;
        self.outputs = 0;
        self.drain();
    }

    /// What the run waits for, in words.
    fn waits_for(&self) -> String {
        let of_disk = |one: &&Happening| matches!(one, Happening::Finish { .. } | Happening::Loaded { .. });
        let disk = self.waiting.values().filter(of_disk).count();
        let node = g15_progress::waits_for(self.node.as_ref(), self.ready, disk);
        format!("{node}; {}; {}", self.clients.waiting(), self.net.waiting())
    }

    fn clock(&self) -> Now {
        Now {
            mono: Time(self.now),
            wall: Wall(WALL_START_MS + self.now / MS),
        }
    }

    /// Something happens later. The number under which it waits.
    fn at(&mut self, delay: u64, what: Happening) -> u64 {
        let time = self.now + delay;
        self.made += 1;
        self.events.push(Reverse((time, self.made)));
        self.waiting.insert(self.made, what);
        self.made
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
            self.net.heal();
            self.tell(Mark::Heal, || {
                "faults stop; everybody leaves, and the queues are emptied".into()
            });
        }
        let what = self.waiting.remove(&number).expect("scheduled once");
        self.happen(number, what);
        self.carry();
        true
    }

    fn happen(&mut self, number: u64, what: Happening) {
        match what {
            Happening::ToNode { conn, requests, life } if life == self.life && self.ready => {
                self.tell_end(number);
                self.trace.note(self.now, &(conn, &requests));
                for request in &requests {
                    self.ledger.request(conn, request);
                }
                self.input(Input::Client { conn, requests });
            }
            Happening::Finish { job, life } if life == self.life => {
                if !self.fails_at(self.disk.about(job), "write") {
                    self.tell_end(number);
                    if let Some(event) = self.disk.finish(job) {
                        self.input(Input::Disk(event));
                    }
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
                    let loaded = Event::Loaded { id, bytes };
                    self.tell_loaded(number, &loaded);
                    self.input(Input::Disk(loaded));
                }
            }
            Happening::Tick { life } if life == self.life => {
                self.ticking = None;
                self.input(Input::Tick);
            }
            Happening::ToClient { conn, replies, life } if life == self.life => {
                self.tell_end(number);
                self.reply_to(conn, replies);
            }
            Happening::Net { conn, life } if life == self.life => self.net.wake(self.clock(), conn),
            Happening::Client { client, generation } => self.turn(client, generation),
            Happening::Crash { number } => {
                if self.plan.keeps_fault(Fault::Crash, number) {
                    self.crash(&Because::Due(number));
                } else {
                    self.schedule_crash();
                }
            }
            Happening::DiskFails { number } => {
                let strikes = !self.healing && self.plan.keeps_fault(Fault::DiskError, number);
                self.failing = strikes.then_some(number);
                self.schedule_error();
            }
            Happening::Restart { life } if life == self.life => self.open(),
            // Of an earlier life of the process.
            Happening::Restart { .. }
            | Happening::ToNode { .. }
            | Happening::ToClient { .. }
            | Happening::Finish { .. }
            | Happening::Loaded { .. }
            | Happening::Net { .. }
            | Happening::Tick { .. } => {}
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.clock();
        if let Some(node) = &mut self.node {
            waystation_core::knob::be_patient();
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
            self.trace.note(self.now, &output);
            let halted = self.take(output);
            let lives = self.life as usize;
            if halted
                || self
                    .plan
                    .crash_after
                    .get(lives)
                    .is_some_and(|after| self.outputs >= *after)
            {
                return self.crash(&Because::Output);
            }
        }
        self.ledger.step_over();
        let Some(node) = &mut self.node else { return };
        // It looks at every message: the more there are, the rarer.
        if self.report.steps >= self.checked + CHECK_EVERY.max(self.ledger.unsettled() as u64 / 32) {
            self.checked = self.report.steps;
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
                    self.ledger.reply(conn, reply);
                }
                let delay = self.way_back(conn);
                self.tell_reply(conn, &replies);
                let life = self.life;
                self.at(delay, Happening::ToClient { conn, replies, life });
            }
            Output::Ready(found) => {
                self.tell(Mark::Ready, || {
                    let (entries, messages, queues) = (found.entries, found.messages, found.queues);
                    let torn = found.torn.map_or(String::new(), |(file, at)| {
                        format!("; cut off a torn tail in {file} at {at}")
                    });
                    format!("ready: {entries} entries replayed, {messages} messages in {queues} queues{torn}")
                });
                self.ready = true;
                self.net.ready(self.clock());
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
        self.tell(Mark::Halt, || format!("halt: {cause}"));
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
        let (Some(file), Some(number)) = (file, self.failing) else {
            return false;
        };
        self.failing = None;
        self.tell_fault(Fault::DiskError, number);
        self.tell_at(DISK, Mark::DiskError, || format!("{doing} {file} fails"));
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
        self.crash(&Because::DiskError(number));
        true
    }

    fn disk_command(&mut self, command: Command) {
        let rng = &mut self.seeds.disk;
        let life = self.life;
        if let Command::Read { .. } = command {
            let delay = rng.random_range(10_000..2 * MS);
            self.tell_command(true, &command);
            self.at(delay, Happening::Loaded { command, life });
            return;
        }
        let syncs = matches!(command, Command::Write { sync: true, .. });
        let mut latency = if syncs {
            rng.random_range(1..2 * self.plan.sync_latency)
        } else {
            rng.random_range(1..100_000)
        };
        let stalls = rng.random_range(0..10_000) < self.plan.stalls && !self.healing;
        if stalls && self.strikes(Fault::Stall) {
            latency += STALL;
            self.tell_at(DISK, Mark::Stall, || "the next write takes 3 s longer".into());
        }
        self.tell_command(!matches!(command, Command::Delete { .. }), &command);
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
        self.ask(AdminRequest::Queues { vhost: None }).0
    }

    fn ask(&mut self, request: AdminRequest) -> (Vec<QueueInfo>, Option<Box<Stats>>) {
        let now = self.clock();
        let (mut queues, mut stats, mut others) = (Vec::new(), None, Vec::new());
        let Some(node) = &mut self.node else {
            return (queues, stats);
        };
        node.handle(now, Input::Admin { id: 0, request });
        while let Some(output) = node.poll() {
            match output {
                Output::Admin {
                    reply: AdminReply::Queues(all),
                    ..
                } => queues = all,
                Output::Admin {
                    reply: AdminReply::Stats(all),
                    ..
                } => stats = Some(all),
                other => others.push(other),
            }
        }
        for output in others {
            self.take(output);
        }
        (queues, stats)
    }

    /// Nothing is left in any queue of the run, neither ready nor in anybody's hands.
    fn empty(&mut self) {
        self.node.as_ref().expect("the node runs at the end").check();
        self.tidy();
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

    /// What the disk holds is in proportion: nothing is in the queues any more (G14).
    fn tidy(&mut self) {
        let live = self.ask(AdminRequest::Stats).1.map_or(0, |stats| stats.log_live_bytes);
        let plan = &self.plan;
        // What a checkpoint waits for, a manifest of every queue, and the segments at hand.
        let crowd = plan.crowd as u64 * 2_000;
        let batch = (plan.window * plan.body_max) as u64;
        // A segment of which a quarter lives is left as it is.
        let most = 4 * (live + plan.checkpoint_bytes + batch) + 12 * plan.segment_bytes + crowd + 100_000;
        let most = 20 * most;
        let held: u64 = self.disk.listing().segments.iter().map(|(_, bytes)| bytes).sum();
        if held > most {
            let what = format!("{held} bytes of segments are kept, where {most} are plenty: dead ones are not freed");
            self.ledger.fail("G14", what);
        }
    }

    fn perform(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Send { conn, requests } => {
                    let Some(requests) = self.over_a_wire(conn, requests) else {
                        continue;
                    };
                    let delay = self.latency(conn, true);
                    self.tell_request(conn, &requests);
                    let life = self.life;
                    self.at(delay, Happening::ToNode { conn, requests, life });
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
        self.in_order(conn, to_node, delay)
    }

    /// What is said later arrives later.
    fn in_order(&mut self, conn: ConnId, to_node: bool, delay: u64) -> u64 {
        let arrival = self.arrivals.entry((conn, to_node)).or_default();
        *arrival = (*arrival).max(self.now + delay);
        *arrival - self.now
    }

    fn schedule_crash(&mut self) {
        let rare = plant::is(Plant::CrashesRare);
        let Some(mean) = self.plan.crash_every.filter(|_| !rare) else {
            return;
        };
        let number = self.crashes_planned;
        let delay = self.seeds.nth(Stream::CrashDue, number).random_range(1..2 * mean);
        if self.now + delay < self.plan.length {
            self.crashes_planned += 1;
            self.at(delay, Happening::Crash { number });
        }
    }

    fn schedule_error(&mut self) {
        let Some(mean) = self.plan.error_every else { return };
        let number = self.errors_planned;
        let delay = self.seeds.nth(Stream::DiskErrorDue, number).random_range(1..2 * mean);
        if self.now + delay < self.plan.length {
            self.errors_planned += 1;
            self.at(delay, Happening::DiskFails { number });
        }
    }

    /// The process dies, with the power, and is started again.
    fn crash(&mut self, because: &Because) {
        let draws = match because {
            Because::Due(number) => {
                self.tell_fault(Fault::Crash, *number);
                *number
            }
            Because::DiskError(number) => 1 << 32 | number,
            Because::Output => 2 << 32 | u64::from(self.life),
        };
        self.seeds.crash = self.seeds.nth(Stream::Crash, draws);
        self.seeds.damage = self.seeds.nth(Stream::Damage, draws);
        self.report.crashes += 1;
        self.report.crashes_in_recovery += u64::from(!self.ready);
        self.tell(Mark::Crash, || {
            let when = if self.ready { "" } else { " during recovery" };
            format!("crash{when}: what was not synced may be lost")
        });
        self.node = None;
        self.life += 1;
        self.ticking = None;
        self.disk_free_at = 0;
        self.disk.crash(&mut self.seeds.crash, self.plan.survival);
        self.ledger.crashed();
        self.ready = false;
        self.clients.crashed();
        self.net.crashed();
        self.arrivals.clear();
        let damages = !self.healing && self.seeds.damage.random_range(0..256) < self.plan.damage;
        if damages && self.strikes(Fault::Damage) {
            let what = self.disk.damage(&mut self.seeds.damage);
            if plant::is(Plant::DamageHarmless) {
                self.disk.repair();
            }
            self.report.damaged += u64::from(what.is_some());
            if let Some(what) = what {
                self.tell_at(DISK, Mark::Damage, || format!("damage: {what}"));
            }
        }
        self.restart();
    }

    /// It is started again, and may die again soon.
    fn restart(&mut self) {
        let delay = self.seeds.crash.random_range(1..50 * MS);
        self.at(delay, Happening::Restart { life: self.life });
        if self.seeds.crash.random_range(0..256) < self.plan.crash_again && !self.healing {
            let soon = delay + self.seeds.crash.random_range(1..10 * MS);
            let number = self.crashes_planned;
            self.crashes_planned += 1;
            self.at(soon, Happening::Crash { number });
        } else {
            self.schedule_crash();
        }
    }
}
