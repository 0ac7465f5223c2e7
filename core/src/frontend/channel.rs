//! What a channel knows: deliveries that wait for settlement, publishes that wait for a confirm, and its mode.

use crate::api::{ChannelReply, ChannelRequest, ConnId, DeliveryTag, Name, Operation};
use crate::catalog::QueueId;
use crate::knob;
use crate::message::Message;
use crate::plant::{self, Plant};
use crate::shard::page::Sequence;
use crate::shard::{ConsumerId, Publish};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) conn: ConnId,
    pub(super) number: u16,
    /// It failed: requests are ignored until it is closed.
    pub(super) failed: bool,
    /// It ends once the requests before are done; whether the session asked for it by itself and is answered.
    pub(super) ending: Option<bool>,
    /// Settled something since the last answer that waited for it to be durable.
    pub(super) unsure: bool,
    /// Published something since: a get or a purge has to see it.
    pub(super) behind: bool,
    /// The request whose answer the shard owes; those behind it wait.
    pub(super) waiting: Option<Waiting>,
    pub(super) backlog: VecDeque<ChannelRequest>,
    pub(super) deliveries: Deliveries,
    pub(super) confirms: Option<Confirms>,
    pub(super) transaction: Option<Transaction>,
    pub(super) consumers: BTreeMap<Name, ConsumerId>,
    /// The queue declared last: what an empty name means.
    pub(super) last_queue: Option<Name>,
    /// Prefetch of consumers that start from now on; 0 is no limit.
    pub(super) prefetch: u16,
    pub(super) route: Option<CachedRoute>,
}

/// What is answered when the shard has answered.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) operation: Operation,
    /// Whether success is answered.
    pub(super) reply: bool,
    pub(super) then: Then,
}

/// How the answer follows from the shard's.
#[derive(Debug)]
pub(super) enum Then {
    /// This, if the change succeeds.
    Say(ChannelReply),
    /// The queue's counts.
    Declared {
        name: Name,
    },
    /// How many messages were deleted.
    Deleted,
    Purged,
    Consuming {
        consumer: Name,
        id: ConsumerId,
    },
    Got {
        no_ack: bool,
    },
    Committed,
}

/// A transaction of publishes and settlements.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) publishes: Vec<Publish>,
    pub(super) settles: Vec<(Delivered, crate::api::Outcome)>,
    pub(super) bytes: usize,
}

/// The last publish's address and the queues it went to.
#[derive(Debug)]
pub(super) struct CachedRoute {
    pub(super) version: u64,
    /// Exchange and routing key, as they begin the message.
    pub(super) address: Message,
    pub(super) queues: Arc<[QueueId]>,
}

/// One delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) tag: DeliveryTag,
    pub(super) queue: QueueId,
    pub(super) sequence: Sequence,
}

/// Unsettled deliveries by tag. Settled ones leave a gap until everything before them is settled too.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    next: DeliveryTag,
    held: VecDeque<(Delivered, bool)>,
    /// Settled ones among them.
    gaps: usize,
}

impl Channel {
    pub(super) fn new(conn: ConnId, number: u16) -> Self {
        Self {
            conn,
            number,
            failed: false,
            ending: None,
            unsure: false,
            behind: false,
            waiting: None,
            backlog: VecDeque::new(),
            deliveries: Deliveries::default(),
            confirms: None,
            transaction: None,
            consumers: BTreeMap::new(),
            last_queue: None,
            prefetch: 0,
            route: None,
        }
    }
}

impl Deliveries {
    /// The next tag, for a delivery that is settled by being sent.
    pub(super) const fn tag(&mut self) -> DeliveryTag {
        self.next += 1;
        self.next
    }

    /// Numbers a delivery and keeps it.
    pub(super) fn add(&mut self, queue: QueueId, sequence: Sequence) -> DeliveryTag {
        let tag = self.tag();
        self.held.push_back((Delivered { tag, queue, sequence }, true));
        tag
    }

    /// Takes one delivery.
    pub(super) fn take(&mut self, tag: DeliveryTag) -> Option<Delivered> {
        let at = self
            .held
            .binary_search_by_key(&tag, |(delivered, _)| delivered.tag)
            .ok()?;
        let (delivered, held) = &mut self.held[at];
        if !std::mem::replace(held, false) {
            return None;
        }
        let delivered = *delivered;
        self.gaps += 1;
        self.forget_settled();
        Some(delivered)
    }

    /// Takes every delivery up to a tag; 0 means all. `None` if the tag was never given or is settled.
    pub(super) fn take_upto(&mut self, tag: DeliveryTag) -> Option<Vec<Delivered>> {
        if tag != 0 {
            let at = self
                .held
                .binary_search_by_key(&tag, |(delivered, _)| delivered.tag)
                .ok()?;
            if !self.held[at].1 {
                return None;
            }
        }
        let last = if tag == 0 { self.next } else { tag } + u64::from(plant::is(Plant::MultipleTakesOneMore));
        let end = self.held.partition_point(|(delivered, _)| delivered.tag <= last);
        let taken: Vec<Delivered> = self
            .held
            .drain(..end)
            .filter(|(_, held)| *held)
            .map(|(one, _)| one)
            .collect();
        self.gaps -= end - taken.len();
        self.forget_settled();
        Some(taken)
    }

    /// Takes back deliveries that were taken: a transaction was rolled back.
    pub(super) fn restore(&mut self, taken: impl Iterator<Item = Delivered>) {
        self.held.retain(|(_, held)| *held);
        self.gaps = 0;
        self.held.extend(taken.map(|delivered| (delivered, true)));
        if !plant::is(Plant::RollbackMixesTags) {
            self.held
                .make_contiguous()
                .sort_unstable_by_key(|(delivered, _)| delivered.tag);
        }
    }

    /// What is held: queue and place in it.
    pub(super) fn held(&self) -> impl Iterator<Item = (QueueId, Sequence)> {
        let held = self.held.iter().filter(|(_, held)| *held);
        held.map(|(one, _)| (one.queue, one.sequence))
    }

    fn forget_settled(&mut self) {
        while self.held.front().is_some_and(|(_, held)| !held) {
            self.held.pop_front();
            self.gaps -= 1;
        }
        // One that is never settled keeps no memory of all that come after it (G14).
        if self.gaps > knob::gaps() && self.gaps > self.held.len() / 2 {
            self.held.retain(|(_, held)| *held);
            self.gaps = 0;
        }
    }
}

/// Publishes that wait for their confirm, from the oldest on.
#[derive(Debug)]
pub(super) struct Confirms {
    next: u64,
    first: u64,
    states: VecDeque<State>,
    /// Whether something changed since the last drain.
    pub(super) changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Safe,
    Refused,
    /// Told already, out of order.
    Told,
}

impl Confirms {
    pub(super) const fn new() -> Self {
        Self {
            next: 1,
            first: 1,
            states: VecDeque::new(),
            changed: false,
        }
    }

    /// The number of one more publish.
    pub(super) fn add(&mut self) -> u64 {
        self.states.push_back(State::Pending);
        self.next += 1;
        self.next - 1
    }

    /// A publish is safe, or refused.
    pub(super) fn set(&mut self, number: u64, ok: bool) {
        let at = usize::try_from(number - self.first).expect("numbered from the first on");
        assert_eq!(self.states[at], State::Pending, "a publish is answered once");
        self.states[at] = if ok { State::Safe } else { State::Refused };
        self.changed = true;
    }

    /// What to tell: one confirm for each run at the front, one for each that is ahead of others.
    pub(super) fn drain(&mut self, mut tell: impl FnMut(u64, bool, bool)) {
        self.changed = false;
        let mut run: Option<(u64, u64, bool)> = None;
        while let Some(state) = self.states.front().copied().filter(|state| *state != State::Pending) {
            let number = self.first;
            self.states.pop_front();
            self.first += 1;
            let ok = match state {
                State::Safe => true,
                State::Refused => false,
                State::Pending | State::Told => continue,
            };
            run = match run {
                Some((start, _, same)) if same == ok || plant::is(Plant::RefusalSwallowed) => {
                    Some((start, number, same))
                }
                Some((start, last, other)) => {
                    tell(last, last != start, other);
                    Some((number, number, ok))
                }
                None => Some((number, number, ok)),
            };
        }
        if plant::is(Plant::ConfirmMultipleTooFar) && run.is_some() && self.states.pop_front().is_some() {
            run = run.map(|(start, last, ok)| (start, last + 1, ok));
            self.first += 1;
        }
        if let Some((start, last, ok)) = run {
            tell(last, last != start, ok);
        }
        for (at, state) in self.states.iter_mut().enumerate() {
            if matches!(state, State::Safe | State::Refused) {
                tell(self.first + at as u64, false, *state == State::Safe);
                *state = State::Told;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn confirms_are_told_once_each_and_runs_together() {
        let mut confirms = Confirms::new();
        assert_eq!((0..6).map(|_| confirms.add()).last(), Some(6));
        let told = |confirms: &mut Confirms| {
            let mut told = Vec::new();
            confirms.drain(|number, multiple, ok| told.push((number, multiple, ok)));
            told
        };
        confirms.set(3, true);
        assert_eq!(told(&mut confirms), [(3, false, true)]);
        confirms.set(1, true);
        confirms.set(2, true);
        confirms.set(4, false);
        assert_eq!(told(&mut confirms), [(2, true, true), (4, false, false)]);
        confirms.set(5, true);
        confirms.set(6, true);
        assert_eq!(told(&mut confirms), [(6, true, true)]);
    }

    /// G14
    #[test]
    fn settled_deliveries_behind_an_unsettled_one_are_forgotten() {
        let mut held = Deliveries::default();
        let first = held.add(QueueId(1), 0);
        for sequence in 1..100_000 {
            let tag = held.add(QueueId(1), sequence);
            assert_eq!(held.take(tag).map(|one| one.sequence), Some(sequence));
            assert_eq!(held.take(tag), None, "settled once");
        }
        assert!(held.held.len() < 2 * knob::gaps(), "{} are remembered", held.held.len());
        assert_eq!(held.take_upto(0).map(|all| all.len()), Some(1));
        assert_eq!(held.take(first), None);
    }

    proptest! {
        #[test]
        fn deliveries_are_a_set_of_tags(ops in prop::collection::vec((0..5_u8, 0..40_u64), 0..80)) {
            let (mut held, mut model, mut rolled) = (Deliveries::default(), BTreeMap::new(), Vec::new());
            for (op, tag) in ops {
                match op {
                    0 | 1 => drop(model.insert(held.add(QueueId(tag % 3), tag), tag)),
                    2 => {
                        let one = held.take(tag);
                        prop_assert_eq!(one.map(|one| one.sequence), model.remove(&tag));
                        rolled.extend(one);
                    }
                    3 => {
                        let all = held.take_upto(tag).map(|all| all.iter().map(|one| one.tag).collect::<Vec<_>>());
                        let upto = if tag == 0 { u64::MAX } else { tag };
                        let expected: Vec<u64> = model.keys().copied().filter(|one| *one <= upto).collect();
                        if tag == 0 || model.contains_key(&tag) {
                            prop_assert_eq!(all, Some(expected));
                            model.retain(|one, _| *one > upto);
                        } else {
                            prop_assert_eq!(all, None);
                        }
                    }
                    _ => {
                        model.extend(rolled.iter().map(|one| (one.tag, one.sequence)));
                        held.restore(rolled.drain(..));
                    }
                }
                prop_assert_eq!(held.gaps, held.held.iter().filter(|(_, held)| !held).count());
            }
        }
    }

    #[test]
    fn deliveries_are_taken_once() {
        let mut held = Deliveries::default();
        assert_eq!((0..5).map(|sequence| held.add(QueueId(1), sequence)).last(), Some(5));
        assert_eq!(held.take(2).map(|one| one.sequence), Some(1));
        assert_eq!(held.take(2), None);
        assert_eq!(held.take_upto(2), None);
        assert_eq!(held.take_upto(3).map(|all| all.len()), Some(2));
        assert_eq!(held.take_upto(9), None);
        assert_eq!(held.take_upto(0).map(|all| all.len()), Some(2));
        assert_eq!(held.take_upto(0), Some(Vec::new()));
    }
}
