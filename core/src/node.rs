//! The whole broker core as one machine: frontend, shard and log, joined.

use crate::api::{ConnId, Name, Reply, Request};
use crate::catalog::Change;
use crate::disk::{Command, Event, FileId, Listing};
use crate::frontend::Frontend;
use crate::machine::{Deadline, Machine, Now};
use crate::mark::{self, Mark};
use crate::plant::{self, Plant};
use crate::shard::Shard;
use crate::shard::recover::{Progress, Recover};
use std::collections::VecDeque;
use std::fmt;

/// What a node is told once. Every limit of the core is here, with its reason (G14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// For server-made names; two runs with one seed and the same inputs are equal (G18).
    pub seed: u64,
    /// Length of a log segment. 64 MiB: deleting one frees space soon, and its header costs nothing.
    pub segment_bytes: u64,
    /// Bodies of queued messages kept in memory. Bodies beyond it are read back from the log; messages of transient
    /// queues, which are not in the log, stop publishers when they exceed it.
    pub cache_bytes: u64,
    /// Bytes of entries that wait for the disk before publishers are stopped.
    pub pending_bytes_max: u64,
    /// Bytes of messages on their way to one connection; more wait in their queue.
    pub connection_window_bytes: u64,
    /// Unsettled deliveries of a consumer without prefetch; more wait in their queue.
    pub unsettled_max: u32,
    /// Bytes of log between two checkpoints: what a restart has to replay.
    pub checkpoint_bytes: u64,
    /// The vhosts that exist.
    pub vhosts: Vec<Name>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            segment_bytes: 64 << 20,
            cache_bytes: 256 << 20,
            pending_bytes_max: 64 << 20,
            connection_window_bytes: 1 << 20,
            unsettled_max: 1 << 20,
            checkpoint_bytes: 64 << 20,
            vhosts: vec![Name::from("/")],
        }
    }
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// Nothing but time.
    Tick,
    /// Requests of one connection, in order.
    Client {
        /// The connection.
        conn: ConnId,
        /// What it asks.
        requests: Vec<Request>,
    },
    /// The disk reports.
    Disk(Event),
    /// An operator asks.
    Admin {
        /// Chosen by the driver; comes back with the reply.
        id: u64,
        /// What.
        request: AdminRequest,
    },
    /// Write a checkpoint, make everything durable, then say [`Output::Stopped`]. The driver has closed the sessions.
    Stop,
}

/// What a node does.
#[derive(Clone, Debug, Hash)]
pub enum Output {
    /// Replies to one connection, in order.
    Client {
        /// The connection.
        conn: ConnId,
        /// What it is told.
        replies: Vec<Reply>,
    },
    /// Something for the disk.
    Disk(Command),
    /// An operator is answered.
    Admin {
        /// As asked.
        id: u64,
        /// The answer.
        reply: AdminReply,
    },
    /// Recovery is over: connections may be accepted. Once.
    Ready(Recovery),
    /// The node cannot go on. Nothing more comes out of it.
    Halt(HaltCause),
    /// Everything is durable after [`Input::Stop`].
    Stopped,
}

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Counters and gauges.
    Stats,
    /// Every queue, of one vhost or of all, by name.
    Queues {
        /// Only this vhost.
        vhost: Option<Name>,
    },
    /// Drop a queue's ready messages.
    Purge {
        /// Its vhost.
        vhost: Name,
        /// Its name.
        queue: Name,
    },
    /// Delete a queue, whatever it holds.
    Delete {
        /// Its vhost.
        vhost: Name,
        /// Its name.
        queue: Name,
    },
}

/// What an operator is told.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum AdminReply {
    /// Counters and gauges.
    Stats(Box<Stats>),
    /// The queues.
    Queues(Vec<QueueInfo>),
    /// How many messages went.
    Done {
        /// Messages.
        messages: u64,
    },
    /// No such queue.
    NotFound,
}

/// Counters since start (`*_total`) and gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the metrics' names")]
pub struct Stats {
    pub connections: u64,
    pub channels: u64,
    pub consumers: u64,
    pub queues: u64,
    pub exchanges: u64,
    pub bindings: u64,
    pub messages_ready: u64,
    pub messages_unsettled: u64,
    pub published_total: u64,
    pub published_bytes_total: u64,
    pub unroutable_total: u64,
    pub confirmed_total: u64,
    pub refused_total: u64,
    pub delivered_total: u64,
    pub redelivered_total: u64,
    pub acknowledged_total: u64,
    pub rejected_total: u64,
    pub requeued_total: u64,
    pub expired_total: u64,
    pub dead_lettered_total: u64,
    pub dropped_total: u64,
    pub cache_bytes: u64,
    pub pending_bytes: u64,
    pub log_entries_total: u64,
    pub log_written_bytes_total: u64,
    pub log_writes_total: u64,
    pub log_read_bytes_total: u64,
    pub log_segments: u64,
    pub log_live_bytes: u64,
    pub log_copied_bytes_total: u64,
    pub checkpoints_total: u64,
    pub publishers_blocked: u64,
}

/// One queue, for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "self-explanatory")]
pub struct QueueInfo {
    pub vhost: Name,
    pub name: Name,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    /// Name and value, as text.
    pub arguments: Vec<(String, String)>,
    pub messages_ready: u64,
    pub messages_unsettled: u64,
    pub message_bytes: u64,
    pub consumers: u64,
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Recovery {
    /// Entries replayed from the log's tail.
    pub entries: u64,
    /// Messages in all queues.
    pub messages: u64,
    /// Queues.
    pub queues: u64,
    /// Where a torn tail was cut off, if there was one.
    pub torn: Option<(FileId, u64)>,
}

/// Why a node stopped for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HaltCause {
    /// A write, sync or read failed.
    DiskFailed {
        /// The file.
        file: FileId,
        /// What was attempted.
        doing: &'static str,
        /// The operating system's words.
        error: String,
    },
    /// Bytes that were durable are not what was written (G17).
    Damaged {
        /// The file.
        file: FileId,
        /// Byte offset in the file.
        offset: u64,
        /// What was expected there.
        what: &'static str,
    },
    /// The data folder was written by a newer version.
    UnknownFormat {
        /// The file.
        file: FileId,
        /// Its format version.
        version: u32,
    },
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => f.write_str("waystation.super"),
            Self::Segment(number) => write!(f, "{number:016x}.seg"),
        }
    }
}

impl fmt::Display for HaltCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskFailed { file, doing, error } => write!(
                f,
                "{doing} {file} failed: {error}. Nothing more was confirmed. Repair the disk or free space, then start again"
            ),
            Self::Damaged { file, offset, what } => write!(
                f,
                "{file} is damaged at byte {offset}: {what}. Restore the file from a backup; \
                 `waystation log verify` lists all damage"
            ),
            Self::UnknownFormat { file, version } => {
                write!(
                    f,
                    "{file} has format version {version}, which this build does not know: use a newer build"
                )
            }
        }
    }
}

/// The machines, joined.
#[derive(Debug)]
pub struct Node {
    now: Now,
    state: State,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    Recovering(Box<Recover>),
    Running(Box<Running>),
    Halted,
}

#[derive(Debug)]
struct Running {
    frontend: Frontend,
    shard: Shard,
    /// What recovery found, until the node is ready.
    report: Option<Recovery>,
}

impl Node {
    /// A node on a data folder that holds `listing`. It reads the folder, then says [`Output::Ready`].
    #[must_use]
    pub fn open(config: Config, listing: Listing, now: Now) -> Self {
        match Recover::new(config, listing, now) {
            Ok(recover) => {
                let state = State::Recovering(Box::new(recover));
                Self {
                    now,
                    state,
                    outputs: VecDeque::new(),
                }
            }
            Err(cause) => {
                let outputs = VecDeque::from([Output::Halt(cause)]);
                Self {
                    now,
                    state: State::Halted,
                    outputs,
                }
            }
        }
    }

    /// Panics on a broken invariant of any part. The simulator calls it after each step.
    pub fn check(&self) {
        if let State::Running(running) = &self.state {
            running.frontend.check();
            running.shard.check();
            running.check();
        }
    }

    fn recover(&mut self, event: Event) {
        let State::Recovering(recover) = &mut self.state else {
            return;
        };
        match recover.handle(event) {
            Progress::Waiting => {}
            Progress::Halt(cause) => self.halt(cause),
            Progress::Done(shard, report) => {
                while let Some(command) = recover.poll() {
                    self.outputs.push_back(Output::Disk(command));
                }
                let frontend = Frontend::new(shard.config().clone(), shard.catalog.clone());
                let running = Running {
                    frontend,
                    shard: *shard,
                    report: Some(report),
                };
                self.state = State::Running(Box::new(running));
            }
        }
    }

    fn halt(&mut self, cause: HaltCause) {
        if matches!(cause, HaltCause::Damaged { .. }) {
            mark::hit(Mark::DamageFound);
        }
        self.state = State::Halted;
        self.outputs.clear();
        self.outputs.push_back(Output::Halt(cause));
    }

    /// Lets the parts talk until they are silent, then gathers what leaves.
    fn pump(&mut self) {
        match &mut self.state {
            State::Halted => {}
            State::Recovering(recover) => {
                while let Some(command) = recover.poll() {
                    self.outputs.push_back(Output::Disk(command));
                }
            }
            State::Running(running) => {
                if let Some(cause) = running.pump(self.now, &mut self.outputs) {
                    self.halt(cause);
                }
            }
        }
    }
}

impl Machine for Node {
    type Input<'a> = Input;
    type Output = Output;

    fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        if let Input::Disk(Event::Failed { file, doing, error }) = input {
            if plant::is(Plant::FailedSyncIgnored) {
                return;
            }
            return self.halt(HaltCause::DiskFailed { file, doing, error });
        }
        let running = match (&mut self.state, input) {
            (State::Running(running), input) => {
                running.handle(now, input);
                return;
            }
            (State::Recovering(_), Input::Disk(event)) => return self.recover(event),
            (State::Recovering(_), Input::Stop) => {
                self.state = State::Halted;
                Some(Output::Stopped)
            }
            // The driver opens no connection before the node is ready.
            (State::Recovering(_) | State::Halted, _) => None,
        };
        self.outputs.extend(running);
    }

    fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.pump();
        }
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Deadline> {
        match &self.state {
            State::Running(running) => running.shard.deadline(),
            State::Recovering(_) | State::Halted => None,
        }
    }
}

impl Running {
    fn handle(&mut self, now: Now, input: Input) {
        self.shard.tick(now);
        match input {
            Input::Tick => {}
            Input::Client { conn, requests } => {
                requests
                    .into_iter()
                    .for_each(|request| self.frontend.handle(now, conn, request));
            }
            Input::Disk(Event::Prepared { file }) => {
                if let FileId::Segment(segment) = file {
                    self.shard.log.prepared(segment);
                }
            }
            Input::Disk(Event::Durable { upto }) => self.shard.durable(upto),
            Input::Disk(Event::Loaded { id, bytes }) => self.shard.loaded(id, &bytes),
            Input::Disk(Event::Failed { .. }) => unreachable!("the node halts"),
            Input::Admin { id, request } => self.administer(id, request),
            Input::Stop => self.shard.stop(),
        }
    }

    fn administer(&mut self, id: u64, request: AdminRequest) {
        let (vhost, queue, delete) = match request {
            AdminRequest::Stats => {
                let stats = Box::new(self.stats());
                return self.frontend.tell_admin(id, AdminReply::Stats(stats));
            }
            AdminRequest::Queues { vhost } => {
                let wanted = |info: &QueueInfo| vhost.as_ref().is_none_or(|vhost| info.vhost == *vhost);
                let mut infos: Vec<QueueInfo> = self.shard.queue_infos().filter(wanted).collect();
                infos.sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
                return self.frontend.tell_admin(id, AdminReply::Queues(infos));
            }
            AdminRequest::Purge { vhost, queue } => (vhost, queue, false),
            AdminRequest::Delete { vhost, queue } => (vhost, queue, true),
        };
        match self.shard.catalog.queue_id(&vhost, &queue) {
            Some(queue) => self.frontend.administer(id, queue, delete),
            None => self.frontend.tell_admin(id, AdminReply::NotFound),
        }
    }

    /// What the shard counts as held is held by the channels, and the other way round.
    fn check(&self) {
        let there = |(queue, _): &(crate::catalog::QueueId, u64)| self.shard.has_queue(*queue);
        let held: Vec<_> = self.frontend.held().filter(there).collect();
        let set: std::collections::BTreeSet<_> = held.iter().copied().collect();
        assert_eq!(set.len(), held.len(), "a message is held once");
        assert_eq!(set, self.shard.unsettled(), "channels hold what is unsettled");
        assert_eq!(
            self.frontend.catalog.counts(),
            self.shard.catalog.counts(),
            "copies of the catalog agree"
        );
    }

    /// Why the node halts, if it does.
    fn pump(&mut self, now: Now, outputs: &mut VecDeque<Output>) -> Option<HaltCause> {
        use crate::shard::Output as Said;
        loop {
            while let Some(input) = self.frontend.poll_shard() {
                self.shard.handle(now, input);
            }
            match self.shard.poll() {
                Some(Said::Halt(cause)) => return Some(cause),
                Some(Said::Stopped) => outputs.push_back(Output::Stopped),
                Some(said) => {
                    let restarted = matches!(&said, Said::Changed { change, .. } if **change == Change::Restarted);
                    self.frontend.handle_shard(now, said);
                    if let Some(report) = self.report.take_if(|_| restarted) {
                        outputs.push_back(Output::Ready(report));
                    }
                }
                None => break,
            }
        }
        while let Some(command) = self.shard.log.poll() {
            outputs.push_back(Output::Disk(command));
        }
        while let Some((conn, replies)) = self.frontend.poll_replies() {
            outputs.push_back(Output::Client { conn, replies });
        }
        while let Some((id, reply)) = self.frontend.poll_admin() {
            outputs.push_back(Output::Admin { id, reply });
        }
        None
    }

    fn stats(&self) -> Stats {
        let (connections, channels, consumers) = self.frontend.counts();
        let (exchanges, bindings) = self.shard.catalog.counts();
        let (messages_ready, messages_unsettled) = self.shard.message_counts();
        let (log_segments, log_live_bytes) = self.shard.space();
        let (front, shard, log) = (&self.frontend.counters, &self.shard.counters, &self.shard.log.counters);
        Stats {
            connections,
            channels,
            consumers,
            queues: self.shard.catalog.queues().count() as u64,
            exchanges,
            bindings,
            messages_ready,
            messages_unsettled,
            published_total: front.published,
            published_bytes_total: front.published_bytes,
            unroutable_total: front.unroutable,
            confirmed_total: front.confirmed,
            refused_total: front.refused,
            delivered_total: shard.delivered,
            redelivered_total: shard.redelivered,
            acknowledged_total: shard.acknowledged,
            rejected_total: shard.rejected,
            requeued_total: shard.requeued,
            expired_total: shard.expired,
            dead_lettered_total: shard.dead_lettered,
            dropped_total: shard.dropped,
            cache_bytes: self.shard.cached_bytes(),
            pending_bytes: self.shard.pending_bytes(),
            log_entries_total: shard.entries,
            log_written_bytes_total: log.written_bytes,
            log_writes_total: log.writes,
            log_read_bytes_total: log.read_bytes,
            log_segments,
            log_live_bytes,
            log_copied_bytes_total: shard.copied_bytes,
            checkpoints_total: shard.checkpoints,
            publishers_blocked: u64::from(self.shard.is_blocked()),
        }
    }
}

#[cfg(test)]
mod tests;
