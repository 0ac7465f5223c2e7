//! Invariants of a shard at rest, compared with what they are made of. For tests and the simulator.

use super::entry::{Command, Settle};
use super::page::{Sequence, Slot};
use super::queue::Holder;
use super::{GroupId, Shard};
use crate::catalog::QueueId;
use std::collections::{BTreeMap, BTreeSet};

/// Ranges of each queue's sequences that are on their way out.
type Leaving = BTreeMap<QueueId, Vec<(Sequence, Sequence)>>;

impl Shard {
    /// Panics on a broken invariant.
    pub(crate) fn check(&self) {
        self.catalog.check();
        assert_eq!(
            self.catalog.queues().count(),
            self.queues.len(),
            "each definition has a queue"
        );
        let leaving = self.leaving();
        for queue in self.queues.values() {
            queue.check(leaving.get(&queue.id).map_or(&[][..], Vec::as_slice));
            for consumer in &queue.consumers {
                let spec = &self.consumers[consumer].spec;
                assert_eq!(spec.queue, queue.id, "a queue's consumers are its own");
            }
        }
        self.check_consumers();
        self.check_timers();
        self.check_batch();
        self.check_cache();
        self.check_space();
    }

    /// Unsettled messages of all queues.
    pub(crate) fn unsettled(&self) -> BTreeSet<(QueueId, Sequence)> {
        let all = self.queues.values();
        all.flat_map(|queue| queue.unsettled.keys().map(|sequence| (queue.id, *sequence)))
            .collect()
    }

    pub(crate) fn has_queue(&self, id: QueueId) -> bool {
        self.queues.contains_key(&id)
    }

    fn leaving(&self) -> Leaving {
        let mut leaving = Leaving::new();
        let mut add = |settle: &Settle| {
            let ranges = leaving.entry(QueueId(settle.queue)).or_default();
            ranges.extend(&settle.ranges);
        };
        self.batch.gathered().for_each(&mut add);
        for command in self.batch.commands() {
            match command {
                Command::Settle(settle) => add(settle),
                Command::Move { queue, sequence, .. } => add(&Settle {
                    queue: queue.0,
                    ranges: vec![(*sequence, *sequence)],
                }),
                Command::Change(_) | Command::Enqueue(_) | Command::Return(_) | Command::Promote { .. } => {}
            }
        }
        leaving
    }

    fn check_consumers(&self) {
        let mut held: BTreeMap<_, u32> = BTreeMap::new();
        for holder in self.queues.values().flat_map(|queue| queue.unsettled.values()) {
            if let Holder::Consumer(consumer) = holder {
                *held.entry(*consumer).or_default() += 1;
            }
        }
        let mut shared: BTreeMap<GroupId, u32> = BTreeMap::new();
        for (id, consumer) in &self.consumers {
            let queue = &self.queues[&consumer.spec.queue];
            assert!(queue.consumers.contains(id), "a consumer's queue knows it");
            assert!(
                self.groups[&consumer.spec.group].consumers.contains(id),
                "a consumer's channel knows it"
            );
            let held = held.remove(id).unwrap_or(0);
            assert_eq!(held, consumer.unsettled, "a consumer counts what it holds");
            assert!(consumer.unsettled <= consumer.spec.max, "prefetch is kept");
            *shared.entry(consumer.spec.group).or_default() += held;
        }
        assert!(held.is_empty(), "consumers that are no more hold nothing: {held:?}");
        for (id, group) in &self.groups {
            let held = shared.get(id).copied().unwrap_or(0);
            assert_eq!(
                held, group.unsettled,
                "a channel counts what its consumers hold: {id:?}"
            );
        }
    }

    /// Timers and queues refer to each other.
    fn check_timers(&self) {
        let timers = self.queues.values().filter_map(|queue| Some((queue.timer?, queue.id)));
        let timers: BTreeSet<(u64, QueueId)> = timers.collect();
        assert_eq!(timers, self.expiries, "each timer is a queue's");
        for (at, id) in &self.idles {
            let queue = &self.queues[id];
            let lease = queue.definition.policy.expires_ms.expect("only a lease runs out");
            assert_eq!(*at, queue.used_at.after_ms(lease), "a lease runs from the last use");
            assert!(queue.consumers.is_empty(), "a queue with consumers is in use");
        }
    }

    /// What is proposed is counted, in bytes and in its queues.
    fn check_batch(&self) {
        self.batch.check();
        let mut pending: BTreeMap<QueueId, (u64, u64)> = BTreeMap::new();
        for command in self.batch.commands() {
            if let Command::Enqueue(enqueue) | Command::Move { enqueue, .. } = command {
                for id in enqueue.queues.iter().chain(enqueue.transient.iter()) {
                    let (count, bytes) = pending.entry(*id).or_default();
                    *count += 1;
                    *bytes += enqueue.message.body().len() as u64;
                }
            }
        }
        for queue in self.queues.values() {
            let expected = pending.remove(&queue.id).unwrap_or_default();
            let found = (queue.pending, queue.pending_bytes);
            assert_eq!(found, expected, "a queue counts what is on its way to it");
        }
    }

    /// Bytes in memory are those of the messages that are in memory.
    fn check_cache(&self) {
        let pages = self.queues.values().flat_map(|queue| queue.index.pages().values());
        let slots = pages.filter_map(|page| page.slots.as_ref()).flatten();
        let (logged, pinned): (Vec<&Slot>, Vec<&Slot>) = slots
            .filter(|slot| slot.message.is_some())
            .partition(|slot| slot.is_logged());
        let bytes = |slots: &[&Slot]| slots.iter().map(|slot| slot.bytes).collect::<Vec<_>>();
        self.cache.check(&bytes(&logged), &bytes(&pinned));
    }
}
