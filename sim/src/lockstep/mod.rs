//! One step at a time: a request, then silence, then a comparison of everything with a small and slow model of a broker.
//!
//! Where the [world](crate::world) runs much at once and checks what must hold whatever came first, nothing here is left
//! open: each answer, each delivery, each header of a dead letter, each count is the only right one. The disk takes no
//! time. The clock goes on between steps, and the node is woken when it asked to be, never otherwise. Crashes come
//! between steps, or in the middle of one that is atomic: then it happened, or it did not.

mod asks;
mod judge;
mod letters;
mod model;
mod script;
mod topology;

use crate::checkers::Violation;
use crate::disk::{Disk, Job};
use crate::plan::{MS, Plan};
use crate::timeline::{Mark, Recorder};
use crate::trace::Trace;
use crate::world::Report;
use judge::{Broken, Said};
use model::Model;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use script::{Op, Script};
use std::collections::VecDeque;
use std::hash::Hasher as _;
use waystation_core::api::{ChannelRequest, ConnId, Request};
use waystation_core::disk::Command;
use waystation_core::node::{AdminReply, AdminRequest, Config, Input, Node, Output};
use waystation_core::plant::{self, Plant};
use waystation_core::{Machine, Now, Time, Wall};

/// The stream of a seed that the script is drawn from, apart from all others.
const STREAM: u64 = 41;
/// Outputs of one step: beyond them the node goes round in circles (G15).
const OUTPUTS_MAX: u64 = 200_000;
/// Wall time at the start of each run.
const WALL_START_MS: u64 = 1_700_000_000_000;

struct Lockstep {
    config: Config,
    rng: ChaCha8Rng,
    node: Node,
    disk: Disk,
    jobs: VecDeque<Job>,
    reads: VecDeque<Command>,
    mono_ms: u64,
    wall_ms: u64,
    model: Model,
    ready: bool,
    stopped: bool,
    report: Report,
    trace: Trace,
    recorder: Recorder,
    /// The node's lane, and the number of the newest event that is told.
    told: (usize, u64),
}

/// How many steps a seed takes: none for the third of them that run a world, which cost most of the time.
#[must_use]
pub fn steps(seed: u64) -> u32 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM + 1);
    [0, rng.random_range(100..500)][usize::from(rng.random_bool(0.67))]
}

/// Runs the steps of a plan.
///
/// # Errors
/// The first violation.
pub fn run(plan: &Plan, recorder: &Recorder) -> Result<Report, Violation> {
    waystation_core::knob::set(crate::knobs::draw(plan.seed));
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    rng.set_stream(STREAM);
    let mut script = Script::draw(&mut rng);
    let mut lockstep = Lockstep::new(plan, rng, recorder);
    lockstep
        .run(&mut script, plan.lockstep)
        .map_err(|(guarantee, what)| Violation {
            guarantee,
            at: lockstep.mono_ms * MS,
            what: format!("step {}: {what}", lockstep.model.step),
        })?;
    let mut report = lockstep.report;
    report.trace = lockstep.trace.finish();
    report.virtual_ns = lockstep.mono_ms * MS;
    Ok(report)
}

impl Lockstep {
    fn new(plan: &Plan, mut rng: ChaCha8Rng, recorder: &Recorder) -> Self {
        let config = Config {
            seed: plan.seed,
            segment_bytes: [8192, 16384, 65536][rng.random_range(0..3)],
            cache_bytes: [4096, 30_000, 1 << 20][rng.random_range(0..3)],
            pending_bytes_max: [3_000, 1 << 20][rng.random_range(0..2)],
            connection_window_bytes: [600, 3_000, 1 << 20, 1 << 20][rng.random_range(0..4)],
            checkpoint_bytes: [4096, 20_000, 1 << 20][rng.random_range(0..3)],
            ..Config::default()
        };
        let now = Now {
            mono: Time(0),
            wall: Wall(WALL_START_MS),
        };
        let disk = Disk::default();
        Self {
            node: Node::open(config.clone(), disk.listing(), now),
            model: Model::new(config.connection_window_bytes, WALL_START_MS),
            config,
            rng,
            disk,
            jobs: VecDeque::new(),
            reads: VecDeque::new(),
            mono_ms: 0,
            wall_ms: WALL_START_MS,
            ready: false,
            stopped: false,
            report: Report::default(),
            trace: Trace::default(),
            told: (recorder.open().map_or(0, |mut timeline| timeline.lane("node")), 0),
            recorder: recorder.clone(),
        }
    }

    fn run(&mut self, script: &mut Script, steps: u32) -> Result<(), Broken> {
        self.quiet(None)?;
        for _ in 0..steps {
            let op = script.next(&self.model, &mut self.rng);
            self.report.steps += 1;
            self.model.begin();
            self.perform(op)?;
            self.node.check();
        }
        Ok(())
    }

    fn perform(&mut self, op: Op) -> Result<(), Broken> {
        match op {
            Op::Connect(conn) => {
                self.model.connect(conn);
                let connect = Request::Connect {
                    vhost: "/".into(),
                    user: "guest".into(),
                    channels_max: 10,
                };
                self.send(conn, vec![connect])
            }
            Op::Disconnect(conn) => {
                self.model.disconnect(conn);
                self.send(conn, vec![Request::Disconnect])
            }
            Op::Open(conn, channel) => {
                self.model.open((conn, channel));
                self.send(conn, vec![Request::OpenChannel { channel }])
            }
            Op::Close(conn, channel) => {
                self.model.close((conn, channel));
                self.send(conn, vec![Request::CloseChannel { channel }])
            }
            Op::Ask(conn, channel, requests) => {
                requests
                    .iter()
                    .for_each(|request| self.model.ask((conn, channel), request));
                let on = |request| Request::Channel { channel, request };
                self.send(conn, requests.into_iter().map(on).collect())
            }
            Op::AskAndClose(conn, channel, requests) => {
                requests
                    .iter()
                    .for_each(|request| self.model.ask((conn, channel), request));
                self.model.close((conn, channel));
                let on = |request| Request::Channel { channel, request };
                let mut requests: Vec<Request> = requests.into_iter().map(on).collect();
                requests.push(Request::CloseChannel { channel });
                self.send(conn, requests)
            }
            Op::Drain(conn, bytes) => {
                self.model.drained(conn, bytes);
                self.send(conn, vec![Request::Drained { bytes }])
            }
            Op::Pass(ms) => self.pass(ms),
            Op::ClockBack(ms) => self.clock_back(ms),
            Op::Crash => self.crash(),
            Op::CrashIn(conn, channel, request, outputs) => self.crash_in((conn, channel), request, outputs),
            Op::Stop => self.stop(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: Time(self.mono_ms * MS),
            wall: Wall(self.wall_ms),
        }
    }

    fn send(&mut self, conn: ConnId, requests: Vec<Request>) -> Result<(), Broken> {
        self.hand(conn, requests);
        let said = self.quiet(None)?.0;
        self.compare(said)
    }

    fn hand(&mut self, conn: ConnId, requests: Vec<Request>) {
        self.told.1 += 1;
        if let Some(mut timeline) = self.recorder.open() {
            let (at, (lane, number)) = (self.mono_ms * MS, self.told);
            timeline.sent(number, at, (conn, lane), &requests);
            timeline.ended(number, at);
        }
        let now = self.now();
        self.node.handle(now, Input::Client { conn, requests });
    }

    fn compare(&mut self, said: Said) -> Result<(), Broken> {
        if plant::is(Plant::ModelAgrees) {
            return Ok(());
        }
        self.model.judge(said)?;
        self.report.model_steps += 1;
        self.compare_infos()
    }

    fn compare_infos(&mut self) -> Result<(), Broken> {
        let now = self.now();
        for (id, request) in [(0, AdminRequest::Queues { vhost: None }), (1, AdminRequest::Stats)] {
            self.node.handle(now, Input::Admin { id, request });
        }
        let (mut infos, mut stats) = (Vec::new(), None);
        while let Some(output) = self.node.poll() {
            match output {
                Output::Admin {
                    reply: AdminReply::Queues(all),
                    ..
                } => infos = all,
                Output::Admin {
                    reply: AdminReply::Stats(all),
                    ..
                } => stats = Some(all),
                other => return Err(("G15", format!("the node was silent, and then said {other:?}"))),
            }
        }
        self.model.judge_infos(&infos, &stats.expect("an operator is answered"))
    }

    /// Lets the node and its disk work until both are silent, or the node has said so many things: then it is `false`.
    fn quiet(&mut self, limit: Option<u64>) -> Result<(Said, bool), Broken> {
        let mut said = Said::default();
        let mut outputs = 0;
        loop {
            while let Some(output) = self.node.poll() {
                outputs += 1;
                self.report.outputs += 1;
                self.take(output, &mut said)?;
                if limit.is_some_and(|limit| outputs > limit) {
                    return Ok((said, false));
                }
            }
            if outputs > OUTPUTS_MAX {
                return Err(("G15", "the node does not fall silent".into()));
            }
            let now = self.now();
            waystation_core::knob::be_patient();
            if let Some(event) = self.disk_event() {
                self.node.handle(now, Input::Disk(event));
            } else if self.jobs.is_empty() && self.reads.is_empty() {
                if self.node.deadline().is_none_or(|deadline| deadline.at > now.mono) {
                    return Ok((said, true));
                }
                outputs += 1;
                self.node.handle(now, Input::Tick);
            }
        }
    }

    fn disk_event(&mut self) -> Option<waystation_core::disk::Event> {
        if !self.reads.is_empty() && (self.jobs.is_empty() || self.rng.random_bool(0.5)) {
            let Some(Command::Read {
                id,
                file,
                offset,
                bytes,
            }) = self.reads.pop_front()
            else {
                return None;
            };
            let bytes = self.disk.read(file, offset, bytes);
            return Some(waystation_core::disk::Event::Loaded { id, bytes });
        }
        let job = self.jobs.pop_front()?;
        self.disk.finish(job)
    }

    fn take(&mut self, output: Output, said: &mut Said) -> Result<(), Broken> {
        waystation_core::knob::be_patient();
        self.trace.note(self.mono_ms, &output);
        match output {
            Output::Disk(command @ Command::Read { .. }) => self.reads.push_back(command),
            Output::Disk(command) => {
                let job = self.disk.take(command);
                self.jobs.extend(job);
            }
            Output::Client { conn, replies } => {
                self.told.1 += 1;
                if let Some(mut timeline) = self.recorder.open() {
                    let (at, (lane, number)) = (self.mono_ms * MS, self.told);
                    timeline.answered(number, at, (conn, lane), &replies);
                    timeline.ended(number, at);
                }
                said.add(conn, replies);
            }
            Output::Ready(_) => self.ready = true,
            Output::Stopped => self.stopped = true,
            Output::Halt(cause) => {
                return Err(("G17", format!("the node halted on a disk that loses nothing: {cause}")));
            }
            Output::Admin { .. } => {}
        }
        Ok(())
    }

    /// Time passes, and the node is woken when it asked for it.
    fn pass(&mut self, ms: u64) -> Result<(), Broken> {
        let target = self.mono_ms + ms;
        loop {
            // In time for the millisecond in which something is due.
            let wakes = self
                .node
                .deadline()
                .map(|deadline| deadline.at.0.div_ceil(MS).max(self.mono_ms));
            let due = self.model.next_event().filter(|at| *at <= target);
            if let Some(due) = due
                && wakes.is_none_or(|wakes| wakes > due)
            {
                return Err((
                    "G13",
                    format!("something is due at {due} ms, and the node sleeps until {wakes:?}"),
                ));
            }
            let until = wakes.into_iter().chain(due).min().unwrap_or(target).min(target);
            let asleep = wakes.is_none_or(|wakes| wakes > until);
            self.wall_ms += until - self.mono_ms;
            self.mono_ms = until;
            self.model.set_time(self.mono_ms, self.wall_ms);
            if asleep {
                return Ok(());
            }
            let now = self.now();
            self.node.handle(now, Input::Tick);
            let said = self.quiet(None)?.0;
            self.model.end_leases();
            self.compare(said)?;
            self.model.begin();
        }
    }

    /// The wall clock goes back; what the log says of time does not (G13).
    fn clock_back(&mut self, ms: u64) -> Result<(), Broken> {
        // An entry that says how late it was.
        let conn = *self.model.connections.keys().next().expect("scripts connect first");
        let channel = *self.model.connections[&conn]
            .channels
            .keys()
            .next()
            .expect("scripts open channels first");
        if self.model.channel((conn, channel)).failed {
            return Ok(());
        }
        let note = crate::clients::requests::exchange("note", "fanout");
        let forget = ChannelRequest::DeleteExchange {
            name: "note".into(),
            if_unused: false,
            reply: true,
        };
        for request in [note, forget] {
            self.model.begin();
            self.model.ask((conn, channel), &request);
            self.send(conn, vec![Request::Channel { channel, request }])?;
        }
        self.wall_ms -= ms;
        self.model.set_time(self.mono_ms, self.wall_ms);
        Ok(())
    }

    fn crash(&mut self) -> Result<(), Broken> {
        self.fail_power();
        self.model.restart();
        let said = self.reopen()?;
        self.compare(said)
    }

    /// The power fails while something is done that happens wholly or not at all.
    fn crash_in(&mut self, at: (ConnId, u16), request: ChannelRequest, outputs: u64) -> Result<(), Broken> {
        let mut before = self.model.clone();
        self.model.ask(at, &request);
        let channel = at.1;
        self.hand(at.0, vec![Request::Channel { channel, request }]);
        // A failure does several things, one after the other.
        let limit = (!self.model.fails()).then_some(outputs);
        let (said, finished) = self.quiet(limit)?;
        if finished {
            return self.compare(said);
        }
        let promised = said.promises();
        self.fail_power();
        before.restart();
        self.model.restart();
        let said = self.reopen()?;
        let after = self.model.clone();
        let happened = self.compare(said.clone());
        if happened.is_ok() || promised {
            self.model.recover_all();
            return happened;
        }
        self.model = before;
        let undone = self.compare(said);
        self.model.recover_all();
        if undone.is_err() {
            // Neither: what was expected if it happened is told.
            self.model = after;
            return happened;
        }
        Ok(())
    }

    fn fail_power(&mut self) {
        if let Some(mut timeline) = self.recorder.open() {
            timeline.mark(self.mono_ms * MS, self.told.0, Mark::Crash, "the power fails".into());
        }
        let survival = [0, 64, 128, 256][self.rng.random_range(0..4)];
        self.jobs.clear();
        self.reads.clear();
        self.disk.crash(&mut self.rng, survival);
    }

    fn reopen(&mut self) -> Result<Said, Broken> {
        self.ready = false;
        self.node = Node::open(self.config.clone(), self.disk.listing(), self.now());
        let said = self.quiet(None)?.0;
        if !self.ready {
            return Err(("G15", "the node does not become ready".into()));
        }
        Ok(said)
    }

    fn stop(&mut self) -> Result<(), Broken> {
        let conns: Vec<ConnId> = self.model.connections.keys().copied().collect();
        for conn in conns {
            self.model.begin();
            self.perform(Op::Disconnect(conn))?;
        }
        self.model.begin();
        self.stopped = false;
        let now = self.now();
        self.node.handle(now, Input::Stop);
        self.quiet(None)?;
        if !self.stopped {
            return Err(("G15", "the node does not stop".into()));
        }
        self.crash()
    }
}
