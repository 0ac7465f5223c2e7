//! Virtual time: one node, its disk, its clients; a queue of events in order of time and of making.

use crate::clients::{Act, Clients, queue_name};
use crate::disk::{Disk, Job};
use crate::ledger::{self, Ledger, Violation};
use crate::observer::{Observer, When};
use crate::plan::{MS, Plan, Seeds};
use rand::RngExt;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use waystation_core::api::{ConnId, Reply, Request};
use waystation_core::disk::{Command, Event};
use waystation_core::node::{AdminReply, AdminRequest, Config, Input, Node, Output};
use waystation_core::{Machine, Now, Time, Wall};

/// Virtual time within which, once faults have stopped, everything must come out (G15).
const HEAL: u64 = 120_000 * MS;
/// Wall time at the start of each run.
const WALL_START_MS: u64 = 1_700_000_000_000;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Hash over every output of the node (G18).
    pub trace: u64,
    /// Events handled.
    pub steps: u64,
    /// Virtual nanoseconds.
    pub virtual_ns: u64,
    /// Crashes.
    pub crashes: u64,
    /// Of clients and messages.
    pub ledger: ledger::Counters,
    /// Of the disk.
    pub disk: crate::disk::Counters,
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
    },
    Finish {
        job: Job,
        life: u32,
    },
    Loaded {
        event: Command,
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
    disk: Disk,
    disk_free_at: u64,
    clients: Clients,
    ledger: Ledger,
    observer: Observer,
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
    let mut world = World::new(plan.clone());
    world.start();
    while world.ledger.violation().is_none() && !world.clients.is_done() {
        if !world.step() {
            world.ledger.fail(
                "G15",
                world.now,
                "nothing is left to happen, and clients still wait".into(),
            );
        }
        if world.now > plan.length + HEAL {
            let what = format!(
                "not drained {} virtual s after the faults stopped: {}",
                HEAL / MS / 1000,
                world.clients.waiting()
            );
            world.ledger.fail("G15", world.now, what);
        }
    }
    if world.ledger.violation().is_none() {
        world.empty();
        world.ledger.drained(world.now);
    }
    let report = Report {
        virtual_ns: world.now,
        ledger: world.ledger.counters,
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
            disk: Disk::default(),
            disk_free_at: 0,
            clients: Clients::new(&plan),
            ledger: Ledger::new(plan.queues.clone()),
            observer: Observer::new((0..plan.queues.len()).map(|queue| queue_name(&plan, queue)).collect()),
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

    fn start(&mut self) {
        self.open();
        self.schedule_crash();
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
                if std::env::var("SIM_TRACE").is_ok() {
                    eprintln!("{} -> {conn:?} {requests:?}", self.now);
                }
                for request in &requests {
                    self.observer.request(conn, request, &mut self.ledger);
                }
                self.input(Input::Client { conn, requests });
            }
            Happening::Finish { job, life } if life == self.life => {
                if let Some(event) = self.disk.finish(job) {
                    self.input(Input::Disk(event));
                }
            }
            Happening::Loaded {
                event:
                    Command::Read {
                        id,
                        file,
                        offset,
                        bytes,
                    },
                life,
            } if life == self.life => {
                let bytes = self.disk.read(file, offset, bytes);
                self.input(Input::Disk(Event::Loaded { id, bytes }));
            }
            Happening::Tick { life } if life == self.life => {
                self.ticking = None;
                self.input(Input::Tick);
            }
            Happening::ToClient { conn, replies } => {
                let acts = self.clients.hear(conn, replies);
                self.perform(acts);
            }
            Happening::Client { client, generation } => {
                let rng = &mut self.seeds.clients;
                let acts = self.clients.act(client, generation, rng, &mut self.ledger);
                self.perform(acts);
            }
            Happening::Crash => self.crash(),
            Happening::Restart { life } if life == self.life => self.open(),
            // Of an earlier life of the process.
            Happening::Restart { .. }
            | Happening::ToNode { .. }
            | Happening::Finish { .. }
            | Happening::Loaded { .. }
            | Happening::Tick { .. } => {}
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
        let now = self.clock();
        loop {
            let Some(node) = &mut self.node else { return };
            let Some(output) = node.poll() else { break };
            self.trace(&output);
            match output {
                Output::Disk(command) => self.disk_command(command),
                Output::Client { conn, replies } => {
                    if std::env::var("SIM_TRACE").is_ok() {
                        eprintln!("{} <- {conn:?} {replies:?}", self.now);
                    }
                    for reply in &replies {
                        let when = When {
                            at: self.now,
                            step: self.report.steps,
                            wall_ms: now.wall.0,
                        };
                        self.observer.reply(when, conn, reply, &mut self.ledger);
                    }
                    let delay = self.latency(conn, false);
                    self.at(delay, Happening::ToClient { conn, replies });
                }
                Output::Ready(_) => {
                    self.ready = true;
                    for client in 0..self.clients.len() {
                        let generation = self.clients.generation(client);
                        let delay = self.seeds.net.random_range(0..5 * MS);
                        self.at(delay, Happening::Client { client, generation });
                    }
                }
                Output::Halt(cause) => {
                    let what = format!("the node halted on a disk that only loses what was not synced: {cause}");
                    self.ledger.fail("G17", self.now, what);
                    return;
                }
                Output::Admin { .. } | Output::Stopped => {}
            }
        }
        self.ledger.step_over(self.now);
        let Some(node) = &mut self.node else { return };
        if self.report.steps.is_multiple_of(16) {
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

    fn disk_command(&mut self, command: Command) {
        let rng = &mut self.seeds.disk;
        let life = self.life;
        if let Command::Read { .. } = command {
            let delay = rng.random_range(10_000..2 * MS);
            self.at(delay, Happening::Loaded { event: command, life });
            return;
        }
        let syncs = matches!(command, Command::Write { sync: true, .. });
        let latency = if syncs {
            rng.random_range(1..2 * self.plan.sync_latency)
        } else {
            rng.random_range(1..100_000)
        };
        let Some(job) = self.disk.take(command) else { return };
        // Writes finish in order; preparations run beside them, in order among themselves.
        let delay = if job == Job::Write {
            self.disk_free_at = self.disk_free_at.max(self.now) + latency;
            self.disk_free_at - self.now
        } else {
            5 * MS
        };
        self.at(delay, Happening::Finish { job, life });
    }

    /// Nothing is left in any queue, neither ready nor in anybody's hands.
    fn empty(&mut self) {
        let now = self.clock();
        let node = self.node.as_mut().expect("the node runs at the end");
        node.handle(
            now,
            Input::Admin {
                id: 0,
                request: AdminRequest::Queues { vhost: None },
            },
        );
        while let Some(output) = node.poll() {
            let Output::Admin {
                reply: AdminReply::Queues(queues),
                ..
            } = output
            else {
                continue;
            };
            for queue in queues
                .iter()
                .filter(|queue| queue.messages_ready + queue.messages_unsettled > 0)
            {
                let (name, ready, held) = (&queue.name, queue.messages_ready, queue.messages_unsettled);
                self.ledger.fail(
                    "G3",
                    now.mono.0,
                    format!("{name} was emptied and holds {ready} ready, {held} unsettled"),
                );
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

    /// The process dies, with the power.
    fn crash(&mut self) {
        self.report.crashes += 1;
        self.node = None;
        self.life += 1;
        self.ticking = None;
        self.disk_free_at = 0;
        self.disk.crash(&mut self.seeds.crash, self.plan.survival);
        self.ledger.crashed();
        self.observer.crashed(&mut self.ledger);
        self.ready = false;
        self.clients.crashed();
        self.arrivals.clear();
        let delay = self.seeds.crash.random_range(1..50 * MS);
        self.at(delay, Happening::Restart { life: self.life });
        if self.seeds.crash.random_range(0..256) < self.plan.crash_again {
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
                let bytes = chunks.concat();
                let sum = bytes
                    .iter()
                    .fold(0_u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(u64::from(*byte)));
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
