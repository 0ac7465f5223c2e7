//! Requests become commands, commands a batch, and a batch, when the disk is idle, an entry.

use super::entry::{Command, Enqueue, Return, Settle};
use super::queue::{Death, Get, Holder};
use super::{Consumer, ConsumerId, ConsumerSpec, GroupId, Guard, Output, Publish, Shard, Token};
use crate::api::{Cause, ConnId, Object, Outcome};
use crate::catalog::{Change, Overflow, QueueId};
use crate::disk::WriteId;
use crate::encoding::put_varint;
use crate::knob;
use crate::log::record::{Body, Kind, Position};
use crate::mark::{self, Mark};
use crate::plant::{self, Plant};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::page::Sequence;

/// Bytes of an encoded command beside its message and its lists, at most.
const COMMAND_BYTES: usize = 64;
const VARINT_BYTES_MAX: usize = 10;
/// Header, padding and time of an entry, at most.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// What is proposed and not yet applied.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Not yet written.
    open: VecDeque<Proposal>,
    open_bytes: u64,
    /// Settlements beside them, gathered by queue: all of them go with the next write.
    settles: BTreeMap<QueueId, Settle>,
    /// Likewise, returns that are counted.
    returns: BTreeMap<QueueId, Return>,
    /// Written, waiting for the disk.
    pub(super) flying: VecDeque<Flight>,
    flying_bytes: u64,
    proposed: Progress,
    applied: Progress,
    barriers: VecDeque<(Until, Barrier)>,
    /// Rejections that are not proposed yet, for their message must be loaded to be dead-lettered.
    rejections: BTreeSet<u64>,
    rejection_next: u64,
}

/// How far the shard has come: commands of `open`, and writes (which carry the gathered settlements).
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    commands: u64,
    writes: u64,
}

/// What a barrier waits for.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// Rejections before this one are proposed; then all that is proposed.
    Rejections(u64),
    Applied(Progress),
}

/// A command and whom to tell.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) command: Command,
    pub(super) token: Option<Token>,
    /// The next command belongs to the same transaction: they share an entry.
    joined: bool,
    /// Bytes in the entry, at most; 0 for gathered settlements.
    pub(super) bytes: u64,
}

/// An entry on its way.
#[derive(Debug)]
pub(super) struct Flight {
    /// Sequence of its record.
    pub(super) sequence: u64,
    pub(super) time_ms: u64,
    /// With each, where its message lies.
    pub(super) commands: VecDeque<(Proposal, Option<Position>)>,
    /// The last entry of its write: the settlements gathered for it are in it.
    pub(super) completes: bool,
    /// As counted when it was proposed.
    pub(super) bytes: u64,
}

/// Who waits for everything before to be durable: what makes an operation linearizable (G11).
#[derive(Clone, Copy, Debug)]
pub(super) enum Barrier {
    Count { token: Token, queue: Option<QueueId> },
    Commit { token: Token },
    Purged { token: Token, messages: u64 },
    Purge { token: Token, queue: QueueId },
    Get { token: Token, queue: QueueId },
}

impl Batch {
    /// Bytes proposed and not yet applied.
    pub(super) const fn bytes(&self) -> u64 {
        self.open_bytes + self.flying_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.is_open_empty() && self.flying.is_empty()
    }

    /// A message is rejected: its number until it is proposed.
    pub(super) fn reject(&mut self) -> u64 {
        self.rejection_next += 1;
        self.rejections.insert(self.rejection_next);
        self.rejection_next
    }

    /// Commands that are proposed and not applied, in order; gathered settlements that are not written are beside them.
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        let flying = self.flying.iter().flat_map(|flight| &flight.commands);
        let flying = flying.map(|(proposal, _)| &proposal.command);
        flying.chain(self.open.iter().map(|proposal| &proposal.command))
    }

    pub(super) fn gathered(&self) -> impl Iterator<Item = &Settle> {
        self.settles.values()
    }

    /// Panics on a broken invariant.
    pub(super) fn check(&self) {
        let open: u64 = self.open.iter().map(|proposal| proposal.bytes).sum();
        assert_eq!(open, self.open_bytes, "open proposals are counted");
        // A flight is counted whole until its last command is applied.
        let flying: u64 = self.flying.iter().map(|flight| flight.bytes).sum();
        assert_eq!(flying, self.flying_bytes, "proposals on their way are counted");
        assert!(
            self.applied.commands <= self.proposed.commands && self.applied.writes <= self.proposed.writes,
            "what is applied was proposed"
        );
    }

    /// Whether settlements or returns wait for the next write.
    fn has_gathered(&self) -> bool {
        !self.settles.is_empty() || !self.returns.is_empty()
    }

    fn is_open_empty(&self) -> bool {
        self.open.is_empty() && !self.has_gathered()
    }
}

impl Publish {
    /// As a command for these queues.
    fn enqueue(self, queues: Arc<[QueueId]>, transient: Arc<[QueueId]>) -> Enqueue {
        Enqueue {
            queues,
            transient,
            ttl_ms: self.ttl_ms,
            delay_ms: self.delay_ms,
            message: self.message,
        }
    }
}

impl Shard {
    pub(super) fn publish(&mut self, token: Option<Token>, publish: Publish) {
        let (queues, ok) = self.admit(&publish);
        let mut token = token;
        if !ok {
            mark::hit(Mark::PublishRefused);
            if let Some(token) = token.take() {
                let ok = plant::is(Plant::RefusalConfirmed);
                self.output(Output::Published { token, ok });
            }
        }
        let publish = Publish { queues, ..publish };
        let (persistent, transient) = self.split(&publish.queues);
        let enqueue = publish.enqueue(persistent, transient);
        if !enqueue.transient.is_empty() {
            self.enqueue_transient(&enqueue);
        }
        if enqueue.queues.is_empty() {
            if let Some(token) = token.filter(|_| !plant::is(Plant::ConfirmForgotten)) {
                self.output(Output::Published { token, ok: true });
            }
            return;
        }
        let enqueue = Enqueue {
            transient: Arc::default(),
            ..enqueue
        };
        if plant::is(Plant::ConfirmEarly)
            && let Some(token) = token.take()
        {
            self.output(Output::Published { token, ok: true });
        }
        self.propose(Command::Enqueue(enqueue), token, false);
    }

    /// Which of the queues take the message: those that still exist and do not refuse it; and whether none refused. One
    /// queue's refusal refuses the publish; the others keep their copy, as with RabbitMQ.
    fn admit(&mut self, publish: &Publish) -> (Arc<[QueueId]>, bool) {
        let head_bytes = publish.message.bytes().len() - publish.message.body().len();
        let wrong_bytes = head_bytes * usize::from(plant::is(Plant::ByteLimitCountsHead));
        let body_bytes = (publish.message.body().len() + wrong_bytes) as u64;
        let mut refusing = Vec::new();
        let mut gone = false;
        for id in publish.queues.iter() {
            match self.queues.get(id) {
                None => gone = true,
                Some(queue) => {
                    if queue.definition.policy.overflow != Overflow::DropHead && queue.is_full_for(body_bytes) {
                        refusing.push(*id);
                    }
                }
            }
        }
        if refusing.is_empty() && !gone {
            return (publish.queues.clone(), true);
        }
        for id in &refusing {
            self.counters.dropped += 1;
            if self.queues[id].definition.policy.overflow == Overflow::RejectPublishDeadLetter {
                mark::hit(Mark::RefusedAndDeadLettered);
                self.dead_letter_refused(*id, &publish.message);
            }
        }
        let taking = publish.queues.iter().copied();
        let taking = taking
            .filter(|id| self.queues.contains_key(id) && !refusing.contains(id))
            .collect();
        (taking, refusing.is_empty())
    }

    pub(super) fn split(&self, queues: &Arc<[QueueId]>) -> (Arc<[QueueId]>, Arc<[QueueId]>) {
        let persistent = |id: &QueueId| self.queues.get(id).is_some_and(super::queue::Queue::is_persistent);
        if queues.iter().all(persistent) {
            return (queues.clone(), Arc::default());
        }
        let (some, others): (Vec<QueueId>, Vec<QueueId>) = queues.iter().partition(|id| persistent(id));
        (Arc::from(some), Arc::from(others))
    }

    pub(super) fn propose_change(&mut self, token: Token, change: Change, guard: Guard) {
        if let Change::DeleteQueue { id } = &change
            && let Some(queue) = self.queues.get(id)
        {
            let why = if guard.unused && !queue.consumers.is_empty() && !plant::is(Plant::IfUnusedIgnored) {
                Some("has consumers: cancel them, or delete it without if-unused")
            } else if guard.empty && queue.ready + queue.pending > 0 {
                Some("is not empty: purge it, or delete it without if-empty")
            } else {
                None
            };
            if let Some(why) = why {
                let name = queue.definition.name.clone();
                let result = Err(Cause::InUse {
                    object: Object::Queue,
                    name,
                    why,
                });
                self.output(Output::Changed {
                    token: Some(token),
                    change: Box::new(change),
                    result,
                });
                return;
            }
        }
        if let Change::DeclareQueue { definition, .. } = &change
            && let Some(id) = self.catalog.queue_id(&definition.vhost, &definition.name)
        {
            self.use_queue(id);
        }
        self.propose(Command::Change(change), Some(token), false);
    }

    pub(super) fn purge(&mut self, token: Token, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else {
            self.output(Output::Purged { token, messages: 0 });
            return;
        };
        let (mut ranges, messages) = queue.take_all();
        if plant::is(Plant::PurgeTakesUnsettled)
            && let Some((_, last)) = ranges.last().copied()
        {
            ranges = vec![(0, last)];
        }
        if queue.is_persistent() {
            self.batch
                .settles
                .entry(id)
                .or_insert_with(|| Settle {
                    queue: id.0,
                    ranges: Vec::new(),
                })
                .ranges
                .extend(ranges);
        } else {
            self.apply_settle(&Settle { queue: id.0, ranges });
        }
        self.touch(id);
        if plant::is(Plant::PurgeNotDurable) {
            return self.output(Output::Purged { token, messages });
        }
        self.wait(Barrier::Purged { token, messages });
    }

    pub(super) fn count(&mut self, token: Token, queue: Option<QueueId>) {
        if let Some(id) = queue {
            self.use_queue(id);
        }
        self.wait(Barrier::Count { token, queue });
    }

    pub(super) fn consume(&mut self, token: Token, id: ConsumerId, spec: ConsumerSpec) {
        let Some(queue) = self.queues.get_mut(&spec.queue) else {
            let cause = Cause::NotFound {
                object: Object::Queue,
                name: "deleted meanwhile".into(),
            };
            self.output(Output::Consuming {
                token,
                result: Err(cause),
            });
            return;
        };
        let why = match (queue.exclusive_consumer, spec.exclusive && !queue.consumers.is_empty()) {
            (Some(_), _) if !plant::is(Plant::ExclusiveConsumerShared) => Some("a consumer has exclusive use of it"),
            (_, true) => Some("it has consumers: exclusive use is not to be had"),
            (_, false) => None,
        };
        if let Some(why) = why {
            let queue = queue.definition.name.clone();
            let object = Object::Queue;
            self.output(Output::Consuming {
                token,
                result: Err(Cause::AccessRefused {
                    object,
                    name: queue,
                    why,
                }),
            });
            return;
        }
        queue.exclusive_consumer = spec.exclusive.then_some(id);
        queue.consumers.push_back(id);
        queue.consumed = true;
        let queue_id = queue.id;
        self.groups.entry(spec.group).or_default().consumers.insert(id);
        self.consumers.insert(id, Consumer { spec, unsettled: 0 });
        self.output(Output::Consuming { token, result: Ok(()) });
        self.use_queue(queue_id);
        self.touch(queue_id);
    }

    pub(super) fn cancel(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.remove(&id) else {
            return;
        };
        if let Some(group) = self.groups.get_mut(&consumer.spec.group) {
            group.consumers.remove(&id);
        }
        let queue = self
            .queues
            .get_mut(&consumer.spec.queue)
            .expect("a consumer's queue exists");
        queue.consumers.retain(|other| *other != id);
        if queue.exclusive_consumer == Some(id) {
            queue.exclusive_consumer = None;
        }
        // What it holds stays with its channel, which settles or returns it.
        let held = queue
            .unsettled
            .values_mut()
            .filter(|holder| **holder == Holder::Consumer(id));
        held.for_each(|holder| *holder = Holder::Get);
        if let Some(group) = self.groups.get_mut(&consumer.spec.group)
            && !plant::is(Plant::CreditLeakedOnCancel)
        {
            group.unsettled = group.unsettled.saturating_sub(consumer.unsettled);
        }
        self.wake(consumer.spec.group);
        let queue = &self.queues[&consumer.spec.queue];
        let ends = queue.definition.auto_delete && queue.consumers.is_empty();
        let id = queue.id;
        if ends && !plant::is(Plant::AutoDeleteForgotten) {
            mark::hit(Mark::QueueAutoDeleted);
            self.propose(Command::Change(Change::DeleteQueue { id }), None, false);
        }
        self.use_queue(id);
        self.touch(id);
    }

    pub(super) fn get(&mut self, token: Token, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else {
            self.output(Output::Got {
                token,
                got: None,
                ready: 0,
            });
            return;
        };
        queue.gets.push_back(Get { token });
        if !plant::is(Plant::LeaseNotRenewed) {
            self.use_queue(id);
        }
        self.touch(id);
    }

    pub(super) fn settle(&mut self, id: QueueId, sequence: Sequence, outcome: Outcome) {
        if !self.release_holder(id, sequence) {
            return;
        }
        match outcome {
            Outcome::Ack => {
                self.counters.acknowledged += 1;
                self.remove(id, sequence);
            }
            Outcome::Reject => {
                self.counters.rejected += 1;
                self.mistake_credit(id);
                self.die(id, sequence, Death::Rejected);
            }
            Outcome::Requeue => {
                self.counters.requeued += 1;
                self.give_back(id, sequence);
            }
        }
    }

    /// A message comes back: at once, or where returns are counted, when that is durable.
    fn give_back(&mut self, id: QueueId, sequence: Sequence) {
        let queue = self.queues.get_mut(&id).expect("it holds the message");
        let policy = &queue.definition.policy;
        if !policy.counts_returns() {
            return queue.put_back(sequence);
        }
        mark::hit(Mark::ReturnCounted);
        let returns = queue
            .index
            .slot(sequence)
            .map_or(0, |slot| slot.returns)
            .saturating_add(1);
        let returned = (sequence, policy.retry_delay(returns));
        queue.returning.insert(sequence);
        if queue.is_persistent() {
            let gathered = self.batch.returns.entry(id).or_default();
            gathered.queue = id.0;
            gathered.returned.push(returned);
        } else {
            let returned = Return {
                queue: id.0,
                returned: vec![returned],
            };
            self.apply_return(self.time_ms, &returned);
        }
    }

    /// Planted bugs: somebody's credit is not given back, or twice.
    fn mistake_credit(&mut self, id: QueueId) {
        let first = self.queues.get(&id).and_then(|queue| queue.consumers.front().copied());
        if let Some(consumer) = first.and_then(|id| self.consumers.get_mut(&id)) {
            let twice = u32::from(plant::is(Plant::CreditGrantedTwice));
            consumer.unsettled = consumer.unsettled.saturating_sub(twice);
            consumer.unsettled += u32::from(plant::is(Plant::CreditLeakedOnReject));
        }
    }

    /// A delivery that needs no settlement was handed to its session: the message is gone. Until then it is held, so that
    /// it goes back if its consumer is no more.
    pub(super) fn sent(&mut self, id: QueueId, sequence: Sequence) {
        if self.release_holder(id, sequence) {
            self.remove(id, sequence);
        }
    }

    /// A delivery came to nobody.
    pub(super) fn unsent(&mut self, id: QueueId, sequence: Sequence) {
        if self.release_holder(id, sequence) {
            let queue = self.queues.get_mut(&id).expect("it holds the message");
            queue.put_back(sequence);
        }
    }

    /// The message is held by nobody any more; whether it was.
    fn release_holder(&mut self, id: QueueId, sequence: Sequence) -> bool {
        let Some(queue) = self.queues.get_mut(&id) else {
            return false;
        };
        let Some(holder) = queue.unsettled.remove(&sequence) else {
            return false;
        };
        self.touch(id);
        if let Holder::Consumer(id) = holder
            && let Some(consumer) = self.consumers.get_mut(&id)
        {
            consumer.unsettled -= 1;
            let group = self
                .groups
                .get_mut(&consumer.spec.group)
                .expect("a consumer's group exists");
            group.unsettled -= 1;
            if group.max.is_some_and(|max| group.unsettled < max) && !plant::is(Plant::SharedCreditWakesNobody) {
                let id = consumer.spec.group;
                self.wake(id);
            }
        }
        true
    }

    /// Credit that a channel's consumers share is free: any of their queues may have something for it.
    pub(super) fn wake(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(&id) else { return };
        let queues = group
            .consumers
            .iter()
            .filter_map(|id| Some(self.consumers.get(id)?.spec.queue));
        self.active.extend(queues);
    }

    /// A message leaves its queue, without a trace.
    pub(super) fn remove(&mut self, id: QueueId, sequence: Sequence) {
        let queue = &self.queues[&id];
        if queue.is_persistent() {
            self.batch
                .settles
                .entry(id)
                .or_insert_with(|| Settle {
                    queue: id.0,
                    ranges: Vec::new(),
                })
                .add(sequence);
        } else {
            self.apply_settle(&Settle {
                queue: id.0,
                ranges: vec![(sequence, sequence)],
            });
        }
    }

    pub(super) fn commit(&mut self, token: Token, publishes: Vec<Publish>, settles: Vec<(QueueId, Sequence, Outcome)>) {
        // Its settlements are kept apart from those gathered for the batch: they share an entry with its publishes.
        let gathered = std::mem::take(&mut self.batch.settles);
        for (queue, sequence, outcome) in settles {
            self.settle(queue, sequence, outcome);
        }
        let mut settles = std::mem::replace(&mut self.batch.settles, gathered);
        if plant::is(Plant::TransactionTorn) {
            self.batch.settles.append(&mut settles);
            self.flush();
        }
        let first = self.batch.open.len();
        for settle in settles.into_values() {
            self.propose(Command::Settle(settle), None, true);
        }
        for publish in publishes {
            // A refusal is told to nobody: the commit's answer has no place for it, as with RabbitMQ.
            let (queues, _) = self.admit(&publish);
            if queues.is_empty() {
                continue;
            }
            let (queues, transient) = self.split(&queues);
            self.propose(Command::Enqueue(publish.enqueue(queues, transient)), None, true);
        }
        // With the dead letters of what was refused.
        self.batch
            .open
            .range_mut(first..)
            .for_each(|proposal| proposal.joined = true);
        if self.batch.open.len() > first
            && let Some(last) = self.batch.open.back_mut()
        {
            last.joined = false;
        }
        if plant::is(Plant::CommitEarly) {
            return self.output(Output::Committed { token });
        }
        self.wait(Barrier::Commit { token });
    }

    pub(super) fn limit(&mut self, id: GroupId, max: Option<u32>) {
        self.groups.entry(id).or_default().max = max;
        self.wake(id);
    }

    pub(super) fn pause(&mut self, conn: ConnId, paused: bool) {
        if paused {
            self.paused.insert(conn);
        } else if self.paused.remove(&conn) {
            let of_conn = self.consumers.values().filter(|consumer| consumer.spec.conn == conn);
            self.active.extend(of_conn.map(|consumer| consumer.spec.queue));
        }
    }

    /// Adds a command to the open batch.
    pub(super) fn propose(&mut self, command: Command, token: Option<Token>, joined: bool) {
        let bytes = bound(&command);
        if let Command::Enqueue(enqueue) | Command::Move { enqueue, .. } = &command {
            let body_bytes = enqueue.message.body().len() as u64;
            for id in enqueue.queues.iter().chain(enqueue.transient.iter()) {
                let queue = self.queues.get_mut(id).expect("admitted");
                queue.pending += 1;
                queue.pending_bytes += body_bytes;
            }
        }
        if let Command::Change(Change::DeleteQueue { id }) = &command
            && let Some(queue) = self.queues.get_mut(id)
        {
            queue.ending = true;
        }
        self.batch.open_bytes += bytes;
        self.batch.proposed.commands += 1;
        self.batch.open.push_back(Proposal {
            command,
            token,
            joined,
            bytes,
        });
        self.update_blocked();
    }

    /// Answers when everything proposed so far is applied.
    pub(super) fn wait(&mut self, barrier: Barrier) {
        let until = if self.batch.rejections.is_empty() || plant::is(Plant::RejectionNotAwaited) {
            Until::Applied(self.proposed())
        } else {
            Until::Rejections(self.batch.rejection_next)
        };
        self.batch.barriers.push_back((until, barrier));
        self.pass_barriers();
    }

    /// A rejection is proposed, or its queue is gone.
    pub(super) fn buried(&mut self, number: Option<u64>) {
        if number.is_some_and(|number| self.batch.rejections.remove(&number)) {
            self.pass_barriers();
        }
    }

    /// Everything proposed so far.
    fn proposed(&self) -> Progress {
        let mut until = self.batch.proposed;
        until.writes += u64::from(self.batch.has_gathered());
        until
    }

    fn pass_barriers(&mut self) {
        while let Some((until, barrier)) = self.batch.barriers.front().copied() {
            let until = match until {
                Until::Applied(until) => until,
                Until::Rejections(upto) if self.batch.rejections.first().is_some_and(|first| *first <= upto) => break,
                Until::Rejections(_) => self.proposed(),
            };
            self.batch.barriers[0].0 = Until::Applied(until);
            let applied = self.batch.applied;
            if until.commands > applied.commands || until.writes > applied.writes {
                break;
            }
            self.batch.barriers.pop_front();
            self.pass(barrier);
        }
    }

    fn pass(&mut self, barrier: Barrier) {
        match barrier {
            Barrier::Count { token, queue } => {
                let queue = queue.and_then(|id| self.queues.get(&id));
                let (ready, consumers) = queue.map_or((0, 0), |queue| (queue.ready, queue.consumers.len() as u64));
                self.output(Output::Counted {
                    token,
                    ready,
                    consumers,
                });
            }
            Barrier::Purge { token, queue } => self.purge(token, queue),
            Barrier::Get { token, queue } => self.get(token, queue),
            Barrier::Commit { token } => self.output(Output::Committed { token }),
            Barrier::Purged { token, messages } => self.output(Output::Purged { token, messages }),
        }
    }

    /// One command of the oldest flight is applied.
    pub(super) const fn applied_one(&mut self, counted: bool) {
        self.batch.applied.commands += counted as u64;
    }

    /// The oldest flight is applied.
    pub(super) fn landed(&mut self, bytes: u64, completes: bool) {
        self.batch.flying_bytes -= bytes;
        self.batch.applied.writes += u64::from(completes);
        self.pass_barriers();
        self.update_blocked();
    }

    /// Publishers wait while too much waits for the disk, or while transient queues fill the memory (G14).
    pub(super) fn update_blocked(&mut self) {
        let pending = self.batch.bytes();
        let limit = self.config.pending_bytes_max;
        let pinned = self.cache.transient_bytes();
        let memory = self.config.cache_bytes;
        if !self.blocked && (pending > limit || pinned > memory) {
            mark::hit(Mark::PublishersBlocked);
            self.blocked = true;
            let reason = if pending > limit {
                "low on disk bandwidth"
            } else {
                "low on memory"
            };
            self.output(Output::Blocked { reason });
        } else if self.blocked
            && !plant::is(Plant::BlockedForever)
            && pending <= limit / 2
            && pinned <= memory - memory / 8
        {
            self.blocked = false;
            self.output(Output::Unblocked);
        }
    }

    /// If the disk is idle, writes: a checkpoint if it is time, or what is open, or copies; otherwise a mark.
    pub(super) fn flush(&mut self) {
        if !self.log.is_idle() || self.start_checkpoint() {
            return;
        }
        if !self.batch.is_open_empty() {
            self.write_batch();
        } else if (!self.stopping && self.continue_compaction()) || !self.batch.is_empty() || !self.checkpoint.is_idle()
        {
            // Applying waits for a page, or something was written.
        } else if self.stopping && self.checkpoint.is_stopped() {
            self.stopping = false;
            self.output(Output::Stopped);
        } else {
            self.log.mark();
        }
    }

    /// The disk made writes durable.
    pub(crate) fn durable(&mut self, upto: WriteId) {
        if self.log.durable(upto) {
            self.advance_checkpoint();
            self.finish_copies();
            self.apply_durable();
        }
    }

    /// Writes the front of the open batch, and all gathered settlements, as one write of a few entries.
    fn write_batch(&mut self) {
        let mut bytes = 0;
        let mut count = 0;
        let mut joined = false;
        for proposal in &self.batch.open {
            if bytes > knob::write_bytes() && (!joined || plant::is(Plant::TransactionCut)) {
                break;
            }
            bytes += proposal.bytes;
            joined = proposal.joined;
            count += 1;
        }
        let settles: usize = self.batch.settles.values().map(settle_bound).sum();
        let returns: usize = self.batch.returns.values().map(return_bound).sum();
        // Room first: nothing may be half written when the next segment is missing.
        let bound = bytes as usize + settles + returns;
        let entries = bound / knob::entry_bytes() + 2;
        if !self.log.reserve(bound + entries * ENTRY_OVERHEAD_BYTES) {
            return;
        }
        let mut taken: VecDeque<Proposal> = self.batch.open.drain(..count).collect();
        let settles = std::mem::take(&mut self.batch.settles)
            .into_values()
            .map(Command::Settle);
        let returns = std::mem::take(&mut self.batch.returns)
            .into_values()
            .map(Command::Return);
        taken.extend(settles.chain(returns).map(|command| Proposal {
            command,
            token: None,
            joined: false,
            bytes: 0,
        }));
        self.batch.open_bytes -= bytes;
        self.batch.flying_bytes += bytes;
        self.batch.proposed.writes += 1;
        while !taken.is_empty() {
            let flight = self.write_entry(&mut taken);
            self.batch.flying.push_back(Flight {
                completes: taken.is_empty(),
                ..flight
            });
        }
        self.log.submit();
        if self.log.skips_sync() {
            self.durable(WriteId(u64::MAX));
        }
    }

    /// One entry from the front of `taken`.
    fn write_entry(&mut self, taken: &mut VecDeque<Proposal>) -> Flight {
        self.counters.entries += 1;
        let mut body = Body::default();
        put_varint(body.tail(), self.time_ms);
        let mut commands = VecDeque::with_capacity(taken.len());
        let mut joined = false;
        let mut bytes = 0;
        while (body.len() < knob::entry_bytes() || joined)
            && let Some(proposal) = taken.pop_front()
        {
            let at = proposal.command.encode(&mut body);
            joined = proposal.joined;
            bytes += proposal.bytes;
            commands.push_back((proposal, at));
        }
        self.counters.entry_bytes += body.len() as u64;
        let (body_at, sequence) = self.log.append(Kind::Entry, body);
        let place = |at: u32| Position {
            segment: body_at.segment,
            offset: body_at.offset + at,
        };
        let commands = commands
            .into_iter()
            .map(|(proposal, at)| (proposal, at.map(place)))
            .collect();
        Flight {
            sequence,
            time_ms: self.time_ms,
            commands,
            completes: false,
            bytes,
        }
    }
}

/// Bytes of a command in an entry, at most.
fn bound(command: &Command) -> u64 {
    let bytes = match command {
        Command::Change(_) => {
            let mut scratch = Body::default();
            command.encode(&mut scratch);
            scratch.len()
        }
        Command::Settle(settle) => settle_bound(settle),
        Command::Return(returned) => return_bound(returned),
        Command::Promote { sequences, .. } => COMMAND_BYTES + sequences.len() * VARINT_BYTES_MAX,
        Command::Enqueue(enqueue) | Command::Move { enqueue, .. } => {
            COMMAND_BYTES + enqueue.queues.len() * VARINT_BYTES_MAX + enqueue.message.bytes().len()
        }
    };
    bytes as u64
}

fn return_bound(returned: &Return) -> usize {
    COMMAND_BYTES + returned.returned.len() * 2 * VARINT_BYTES_MAX
}

fn settle_bound(settle: &Settle) -> usize {
    COMMAND_BYTES + settle.ranges.len() * 2 * VARINT_BYTES_MAX
}
