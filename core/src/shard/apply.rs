//! Committed commands take effect.

use super::entry::{Command, Enqueue, Return, Settle};
use super::index::Index;
use super::page::{Sequence, Slot};
use super::propose::Proposal;
use super::queue::{Death, Queue};
use super::{Output, Shard, Token};
use crate::catalog::{Applied, Change, DURATION_MS_MAX, QueueId};
use crate::log::record::Position;
use crate::mark::{self, Mark};
use crate::message::{Message, Properties};
use crate::plant::{self, Plant};

/// A page that must be in memory first.
pub(super) struct Missing {
    pub(super) queue: QueueId,
    pub(super) page: u64,
}

impl Shard {
    /// Applies every durable entry, in order; stops where a page must be loaded first.
    pub(super) fn apply_durable(&mut self) {
        while let Some(flight) = self.batch.flying.front() {
            if flight.sequence > self.log.synced() {
                return;
            }
            let time_ms = flight.time_ms;
            while let Some((Proposal { command, .. }, _)) = self.batch.flying[0].commands.front() {
                if let Some(missing) = self.missing(command) {
                    mark::hit(Mark::ApplyAwaitsPage);
                    self.load_page(missing.queue, missing.page);
                    return;
                }
                let (proposal, at) = self.batch.flying[0].commands.pop_front().expect("looked at");
                self.applied_one(proposal.bytes > 0);
                self.unpend(&proposal.command);
                self.apply(time_ms, proposal.command, at, proposal.token);
            }
            let flight = self.batch.flying.pop_front().expect("looked at");
            self.landed(flight.bytes, flight.completes);
        }
    }

    /// The first page that a command needs and that is not in memory.
    pub(super) fn missing(&self, command: &Command) -> Option<Missing> {
        match command {
            Command::Change(_) => None,
            Command::Enqueue(enqueue) => self.missing_tail(enqueue),
            Command::Settle(settle) => {
                let queue = QueueId(settle.queue);
                let index = &self.queues.get(&queue)?.index;
                let missing = settle
                    .ranges
                    .iter()
                    .find_map(|(first, last)| index.missing_for(*first, *last));
                missing.map(|page| Missing { queue, page })
            }
            Command::Move {
                queue,
                sequence,
                enqueue,
            } => {
                let index = self.queues.get(queue).map(|queue| &queue.index);
                let missing = index.and_then(|index| index.missing_at(*sequence));
                missing
                    .map(|page| Missing { queue: *queue, page })
                    .or_else(|| self.missing_tail(enqueue))
            }
            Command::Return(Return { queue, returned }) => {
                let sequences = returned.iter().map(|(sequence, _)| *sequence);
                self.missing_for_moves(QueueId(*queue), sequences)
            }
            Command::Promote { queue, sequences } => self.missing_for_moves(*queue, sequences.iter().copied()),
        }
    }

    /// The first page that must be in memory so that messages can move within their queue: theirs, and every tail.
    fn missing_for_moves(&self, id: QueueId, mut sequences: impl Iterator<Item = Sequence>) -> Option<Missing> {
        let index = &self.queues.get(&id)?.index;
        let tails = 0..index.nexts().len();
        let page = sequences
            .find_map(|sequence| index.missing_at(sequence))
            .or_else(|| tails.clone().find_map(|lane| index.missing_tail(lane)))?;
        Some(Missing { queue: id, page })
    }

    fn missing_tail(&self, enqueue: &Enqueue) -> Option<Missing> {
        enqueue.queues.iter().find_map(|id| {
            let queue = self.queues.get(id)?;
            let lane = queue.lane(priority_in(queue, &enqueue.message), enqueue.delay_ms > 0);
            let page = queue.index.missing_tail(lane)?;
            Some(Missing { queue: *id, page })
        })
    }

    /// Applies one committed command. `at` is where its message lies.
    pub(super) fn apply(&mut self, time_ms: u64, command: Command, at: Option<Position>, token: Option<Token>) {
        match command {
            Command::Change(change) => self.apply_change(change, token),
            Command::Enqueue(enqueue) => {
                self.apply_enqueue(time_ms, &enqueue, at.expect("an enqueue has a message"));
                if let Some(token) = token {
                    self.output(Output::Published { token, ok: true });
                }
            }
            Command::Settle(settle) => self.apply_settle(&settle),
            Command::Move {
                queue,
                sequence,
                enqueue,
            } => {
                if (plant::is(Plant::DeadLetterTwice) || self.apply_settle_one(queue, sequence))
                    && !plant::is(Plant::DeadLetterLost)
                {
                    self.apply_enqueue(time_ms, &enqueue, at.expect("a move has a message"));
                }
            }
            Command::Return(returned) => self.apply_return(time_ms, &returned),
            Command::Promote { queue, sequences } => self.apply_promote(queue, &sequences),
        }
    }

    /// Messages of a queue in memory come at once.
    pub(super) fn enqueue_transient(&mut self, enqueue: &Enqueue) {
        for id in enqueue.transient.iter() {
            self.push(self.time_ms, *id, enqueue, Slot::IN_MEMORY);
        }
        self.update_blocked();
    }

    /// Counts messages that came back, and puts them where they belong now.
    pub(super) fn apply_return(&mut self, time_ms: u64, returned: &Return) {
        let id = QueueId(returned.queue);
        for (sequence, delay_ms) in &returned.returned {
            let Some(queue) = self.queues.get_mut(&id) else { return };
            let returns = queue.index.count_return(*sequence);
            // The leader alone knows that nobody holds it: elsewhere, and in a replay, it is ready as it was.
            let waited = queue.returning.remove(sequence);
            let Some(returns) = returns else { continue };
            if waited && queue.definition.policy.is_spent(returns) {
                self.die(id, *sequence, Death::DeliveryLimit);
            } else if *delay_ms > 0 {
                let slot = self.take_out(id, *sequence).expect("it is live");
                let due_ms = time_ms.saturating_add(*delay_ms);
                let expires_ms = match slot.expires_ms {
                    Slot::AT_ONCE => Slot::OVER,
                    later => later,
                };
                if !plant::is(Plant::RetryLost) {
                    self.put_in(
                        id,
                        Slot {
                            due_ms,
                            expires_ms,
                            ..slot
                        },
                    );
                }
            } else if waited {
                self.queues.get_mut(&id).expect("looked up").put_back(*sequence);
            }
        }
        self.touch(id);
    }

    /// Messages whose time has come are ready.
    pub(super) fn apply_promote(&mut self, id: QueueId, sequences: &[Sequence]) {
        for sequence in sequences {
            let Some(queue) = self.queues.get_mut(&id) else { return };
            queue.delays.promoting.remove(sequence);
            if let Some(slot) = self.take_out(id, *sequence) {
                self.put_in(id, Slot { due_ms: 0, ..slot });
            }
        }
    }

    fn apply_enqueue(&mut self, time_ms: u64, enqueue: &Enqueue, at: Position) {
        let few = enqueue.queues.len() < 3 || !plant::is(Plant::FanoutForgetsOne);
        let count = if few { enqueue.queues.len() } else { 2 };
        for id in enqueue.queues.iter().take(count) {
            self.push(time_ms, *id, enqueue, at);
        }
        for id in enqueue.transient.iter() {
            self.push(time_ms, *id, enqueue, Slot::IN_MEMORY);
        }
    }

    fn push(&mut self, time_ms: u64, id: QueueId, enqueue: &Enqueue, at: Position) {
        // A queue deleted between proposal and commit takes nothing.
        let Some(queue) = self.queues.get(&id) else {
            mark::hit(Mark::QueueGoneBeforeCommit);
            return;
        };
        let message = &enqueue.message;
        let time_ms = if plant::is(Plant::ExpiryByLocalClock) {
            self.now.wall.0
        } else {
            time_ms
        };
        let policy = &queue.definition.policy;
        let ttls = enqueue.ttl_ms.into_iter().chain(policy.message_ttl_ms);
        let ttl_ms = if plant::is(Plant::LongerTtlWins) {
            ttls.max()
        } else {
            ttls.min()
        };
        let starts_ms = time_ms.saturating_add(enqueue.delay_ms.min(DURATION_MS_MAX));
        let slot = Slot {
            at,
            bytes: message.bytes().len() as u32,
            body_bytes: message.body().len() as u32,
            live: true,
            delivered: false,
            expires_ms: match ttl_ms {
                None => 0,
                Some(0) => Slot::AT_ONCE,
                Some(ttl) if plant::is(Plant::LifeBeginsBeforeDelay) => time_ms.saturating_add(ttl),
                Some(ttl) => starts_ms.saturating_add(ttl.min(DURATION_MS_MAX)),
            },
            due_ms: if enqueue.delay_ms > 0 && !plant::is(Plant::DelayIgnored) {
                starts_ms
            } else {
                0
            },
            returns: 0,
            priority: priority_in(queue, message),
            message: Some(message.clone()),
        };
        self.put_in(id, slot);
    }

    /// A message comes to the tail of its lane.
    fn put_in(&mut self, id: QueueId, slot: Slot) {
        let slot = Slot { live: true, ..slot };
        let queue = self.queues.get_mut(&id).expect("looked up");
        let (bytes, at, logged, cached) = (slot.bytes, slot.at, slot.is_logged(), slot.message.is_some());
        let sequence = queue.push(slot);
        if logged {
            self.space.add(at.segment, super::space::message_bytes(bytes));
            if cached {
                self.cache.keep(id, sequence, bytes);
            }
        } else {
            self.cache.pin(bytes);
        }
        self.touch(id);
    }

    /// Removes ranges of messages. Ranges may cover messages that are gone already.
    pub(super) fn apply_settle(&mut self, settle: &Settle) {
        let id = QueueId(settle.queue);
        for (first, last) in &settle.ranges {
            if first == last {
                self.apply_settle_one(id, *first);
                continue;
            }
            let Some(queue) = self.queues.get(&id) else { return };
            let last = &(last - u64::from(plant::is(Plant::SettleOffByOne)));
            for (page, whole) in queue.index.pages_in(*first, *last) {
                if whole {
                    self.drop_page(id, page);
                } else {
                    let span = self.queues[&id].index.span(page, *first, *last);
                    span.for_each(|sequence| {
                        self.apply_settle_one(id, sequence);
                    });
                }
            }
        }
    }

    /// Removes one message; whether it was there.
    fn apply_settle_one(&mut self, id: QueueId, sequence: Sequence) -> bool {
        self.take_out(id, sequence).is_some()
    }

    /// Removes one message, with what is known of it.
    fn take_out(&mut self, id: QueueId, sequence: Sequence) -> Option<Slot> {
        let queue = self.queues.get_mut(&id)?;
        let slot = queue.index.settle(sequence)?;
        if slot.is_logged() {
            self.space
                .remove(slot.at.segment, super::space::message_bytes(slot.bytes));
            if slot.message.is_some() {
                self.cache.forget(slot.bytes);
            }
        } else if !plant::is(Plant::PinLeaks) {
            self.cache.unpin(slot.bytes);
        }
        Some(slot)
    }

    fn drop_page(&mut self, id: QueueId, number: u64) {
        let queue = self.queues.get_mut(&id).expect("its pages were listed");
        let Some(page) = queue.index.settle_page(number) else {
            return;
        };
        mark::hit(Mark::PageDropped);
        self.space.remove_page(&page);
        self.cache.forget_page(&page);
    }

    fn apply_change(&mut self, change: Change, token: Option<Token>) {
        let result = self.catalog.apply(&change);
        let mut ready = 0;
        match &result {
            Ok(Applied::Queue { id, created: true }) => self.add_queue(*id, Index::default()),
            Ok(Applied::Queue { id, created: false }) => ready = self.queues[id].ready,
            Ok(Applied::Gone(queues)) => {
                ready = queues.iter().map(|id| self.remove_queue(*id)).sum();
            }
            Ok(Applied::Done) | Err(_) => {}
        }
        let result = result.map(|applied| (applied, ready));
        let change = Box::new(change);
        self.output(Output::Changed { token, change, result });
    }

    pub(super) fn add_queue(&mut self, id: QueueId, index: Index) {
        let definition = self.catalog.queue(id).expect("its definition was applied").clone();
        self.queues.insert(id, Queue::new(id, definition, index, self.now.mono));
        self.use_queue(id);
        self.touch(id);
    }

    /// Removes a queue with all it holds; how many ready messages it had.
    fn remove_queue(&mut self, id: QueueId) -> u64 {
        let Some(mut queue) = self.queues.remove(&id) else {
            return 0;
        };
        self.active.remove(&id);
        for dying in std::mem::take(&mut queue.dying) {
            self.buried(dying.number);
        }
        if let Some(at_ms) = queue.timer {
            self.expiries.remove(&(at_ms, id));
        }
        if let Some(ttl_ms) = queue.definition.policy.expires_ms {
            self.idles.remove(&(queue.used_at.after_ms(ttl_ms), id));
        }
        for page in queue.index.pages().values() {
            self.space.remove_page(page);
            self.cache.forget_page(page);
            self.space.obsolete(page.stored);
        }
        queue
            .index
            .obsolete
            .drain(..)
            .for_each(|stored| self.space.obsolete(Some(stored)));
        for get in &queue.gets {
            self.output(Output::Got {
                token: get.token,
                got: None,
                ready: 0,
            });
        }
        for consumer in std::mem::take(&mut queue.consumers) {
            let gone = self.consumers.remove(&consumer).expect("a queue's consumers exist");
            if let Some(group) = self.groups.get_mut(&gone.spec.group) {
                group.consumers.remove(&consumer);
                group.unsettled = group.unsettled.saturating_sub(gone.unsettled);
            }
            self.wake(gone.spec.group);
            self.output(Output::Ended { consumer });
        }
        queue.ready
    }

    /// What was proposed is here: it no longer counts as pending.
    fn unpend(&mut self, command: &Command) {
        if let Command::Enqueue(enqueue) | Command::Move { enqueue, .. } = command {
            let body_bytes = enqueue.message.body().len() as u64;
            for id in enqueue.queues.iter().chain(enqueue.transient.iter()) {
                if let Some(queue) = self.queues.get_mut(id) {
                    queue.pending -= 1;
                    queue.pending_bytes -= body_bytes;
                }
            }
        }
    }
}

/// The priority of a message in a queue: 0 where the queue has none.
fn priority_in(queue: &Queue, message: &Message) -> u8 {
    if queue.definition.policy.priority_max == 0 {
        return 0;
    }
    Properties::parse(message.properties()).map_or(0, |properties| properties.priority().unwrap_or(0))
}
