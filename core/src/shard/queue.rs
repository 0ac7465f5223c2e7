//! One queue at its leader: the index, and what dies with the leader: who holds what, who waits for what.

use super::index::{Found, Index};
use super::page::{Sequence, Slot};
use super::{ConsumerId, Token};
use crate::catalog::{Definition, Overflow, QueueId};
use crate::disk::ReadId;
use crate::knob;
use crate::machine::Time;
use crate::plant::{self, Plant};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) id: QueueId,
    pub(crate) definition: Definition,
    pub(crate) index: Index,
    /// Every message from here on is ready (or settled); before it, those in `returned`.
    cursor: Sequence,
    /// Messages before the cursor that came back.
    returned: BTreeSet<Sequence>,
    /// Delivered and not settled.
    pub(crate) unsettled: BTreeMap<Sequence, Holder>,
    /// Messages that may be delivered, and bytes of their bodies.
    pub(crate) ready: u64,
    pub(crate) ready_bytes: u64,
    /// Proposed and not yet here: counted for the length limit.
    pub(crate) pending: u64,
    pub(crate) pending_bytes: u64,
    /// Consumers in the order of their turns.
    pub(crate) consumers: VecDeque<ConsumerId>,
    /// The consumer with exclusive use.
    pub(crate) exclusive_consumer: Option<ConsumerId>,
    /// Asked for one message each.
    pub(crate) gets: VecDeque<Get>,
    /// The read that the head waits for.
    pub(crate) loading: Option<ReadId>,
    /// Dead letters on their way: first in, first out.
    pub(crate) dying: VecDeque<Dying>,
    /// Messages before this one may have been delivered before the node started.
    recovered: Sequence,
    /// Last declared, got from or consumed from.
    pub(crate) used_at: Time,
    /// When the head expires, as registered with the shard's timers.
    pub(crate) timer: Option<u64>,
    /// Messages before this one had their chance to go to somebody who waits.
    pub(crate) seen: Sequence,
    /// Had a consumer: auto-delete counts from then.
    pub(crate) consumed: bool,
}

/// Who holds an unsettled message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Consumer(ConsumerId),
    /// Fetched by get, settled by being sent, or its consumer is no more.
    Get,
}

/// A waiting get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Get {
    pub(crate) token: Token,
}

/// Why a message leaves other than by acknowledgement: the `reason` of its dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Death {
    Rejected,
    Expired,
    MaxLength,
}

impl Death {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::MaxLength if plant::is(Plant::OverflowSaysRejected) => "rejected",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
        }
    }
}

/// A message on its way to the dead-letter exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dying {
    pub(crate) sequence: Sequence,
    pub(crate) death: Death,
    /// Of a rejection, whose durability somebody may wait for.
    pub(crate) number: Option<u64>,
}

/// The next message to deliver.
pub(crate) enum Head {
    Ready(Sequence),
    /// This page of the index must be loaded first.
    Page(u64),
    Empty,
}

impl Queue {
    pub(crate) fn new(id: QueueId, definition: Definition, index: Index, used_at: Time) -> Self {
        let mut queue = Self {
            id,
            definition,
            index,
            cursor: 0,
            returned: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            ready: 0,
            ready_bytes: 0,
            pending: 0,
            pending_bytes: 0,
            consumers: VecDeque::new(),
            exclusive_consumer: None,
            gets: VecDeque::new(),
            loading: None,
            dying: VecDeque::new(),
            recovered: 0,
            used_at,
            timer: None,
            seen: 0,
            consumed: false,
        };
        queue.lead();
        queue
    }

    /// Everything in the index becomes ready: the leader is new.
    pub(crate) fn lead(&mut self) {
        self.cursor = 0;
        self.returned.clear();
        self.recovered = self.index.next() * u64::from(!plant::is(Plant::RecoveredNotFlagged));
        self.ready = self.index.live();
        self.ready_bytes = self.index.body_bytes();
    }

    /// Whether its messages are in the log.
    pub(crate) const fn is_persistent(&self) -> bool {
        is_persistent(&self.definition)
    }

    /// The next message to deliver, in order of arrival: a returned message is back at its old place (G5).
    pub(crate) fn head(&mut self) -> Head {
        if self.ready == 0 {
            return Head::Empty;
        }
        let mut returned = self.returned.first().copied();
        if plant::is(Plant::RequeueAtTail) && matches!(self.index.first_live(self.cursor), Found::Slot(..)) {
            returned = None;
        }
        let from = returned.unwrap_or(self.cursor);
        match self.index.first_live(from) {
            Found::Slot(sequence, _) => {
                assert!(
                    returned.is_none_or(|returned| returned == sequence),
                    "a returned message is live"
                );
                if returned.is_none() {
                    self.cursor = sequence;
                }
                Head::Ready(sequence)
            }
            Found::Page(page) => Head::Page(page),
            Found::None => panic!("{} messages are ready but none is live", self.ready),
        }
    }

    /// Takes the head: it is no longer ready.
    pub(crate) fn take(&mut self, sequence: Sequence) {
        if !self.returned.remove(&sequence) {
            assert!(
                sequence >= self.cursor,
                "a ready message is behind the cursor or was returned"
            );
            self.cursor = sequence + 1;
        }
        let slot = self.index.slot(sequence).expect("the head is in memory");
        assert!(slot.live, "a ready message is live");
        self.ready -= 1;
        self.ready_bytes -= u64::from(slot.body_bytes);
    }

    /// A delivered message is ready again, at its old place.
    pub(crate) fn put_back(&mut self, sequence: Sequence) {
        let Some(slot) = self.index.slot_mut(sequence).filter(|slot| slot.live) else {
            return;
        };
        slot.delivered = !plant::is(Plant::RequeueLosesFlag);
        self.ready += 1;
        self.ready_bytes += u64::from(slot.body_bytes) * u64::from(!plant::is(Plant::RequeueForgetsBytes));
        let fresh = self.returned.insert(sequence);
        assert!(fresh && sequence < self.cursor, "it was taken once");
    }

    /// Every ready message leaves: the ranges to settle, and how many messages are in them.
    pub(crate) fn take_all(&mut self) -> (Vec<(Sequence, Sequence)>, u64) {
        let count = self.ready;
        let mut ranges = Vec::new();
        for sequence in std::mem::take(&mut self.returned) {
            if plant::is(Plant::PurgeForgetsReturned) {
                continue;
            }
            ranges.push((sequence, sequence));
        }
        if self.cursor < self.index.next() {
            ranges.push((self.cursor, self.index.next() - 1));
        }
        self.cursor = self.index.next();
        self.ready = 0;
        self.ready_bytes = 0;
        (if count == 0 { Vec::new() } else { ranges }, count)
    }

    /// Adds a message at the tail.
    pub(crate) fn push(&mut self, slot: Slot) -> Sequence {
        self.ready += 1;
        self.ready_bytes += u64::from(slot.body_bytes);
        self.index.push(slot)
    }

    /// Whether a message may have been delivered before.
    pub(crate) fn is_redelivered(&self, sequence: Sequence) -> bool {
        sequence < self.recovered || self.index.slot(sequence).is_some_and(|slot| slot.delivered)
    }

    /// When the head expires (wall ms), 0 for never. Asks no page to be loaded, so it may be early.
    pub(crate) fn head_expiry(&self) -> u64 {
        if self.ready == 0 {
            return 0;
        }
        let from = self.returned.first().copied().unwrap_or(self.cursor);
        match self.index.first_live(from) {
            Found::Slot(_, slot) => slot.expires_ms,
            Found::Page(page) => self.index.expiry_hint(page),
            Found::None => 0,
        }
    }

    /// Whether a limit would be exceeded by one more message of so many bytes, counting what is proposed.
    pub(crate) fn is_full_for(&self, body_bytes: u64) -> bool {
        let policy = &self.definition.policy;
        let counted = u64::from(!plant::is(Plant::PendingUncounted));
        let spare = u64::from(plant::is(Plant::LengthOffByOne));
        policy
            .length_max
            .is_some_and(|max| self.ready + self.pending * counted + 1 > max + spare)
            || policy
                .bytes_max
                .is_some_and(|max| self.ready_bytes + self.pending_bytes + body_bytes > max)
    }

    /// Whether a limit is exceeded, so that the head has to go.
    pub(crate) fn is_over_limit(&self) -> bool {
        let policy = &self.definition.policy;
        let over = policy.length_max.is_some_and(|max| self.ready > max)
            || policy.bytes_max.is_some_and(|max| self.ready_bytes > max);
        // A queue that refuses may be longer than its limit: what returned to it stays.
        over && policy.overflow == Overflow::DropHead
    }

    /// Whether a page must stay in memory: the head, the tail, and where unsettled messages are.
    pub(crate) fn pins(&self, page: u64) -> bool {
        let near = super::index::page_of(self.cursor);
        let first = page * knob::page_slots() as u64;
        let span = first..first + knob::page_slots() as u64;
        page == super::index::page_of(self.index.next())
            || (near..=near + 1).contains(&page)
            || (self.unsettled.range(span.clone()).next().is_some() && !plant::is(Plant::UnsettledPageEvicted))
            || self.returned.range(span.clone()).next().is_some()
            || self.dying.iter().any(|dying| span.contains(&dying.sequence))
    }

    /// Panics on a broken invariant. `leaving` are ranges of messages that are on their way out.
    pub(crate) fn check(&self, leaving: &[(Sequence, Sequence)]) {
        self.index.check();
        self.check_ready();
        self.check_places(leaving);
        assert!(
            self.ready + self.unsettled.len() as u64 <= self.index.live(),
            "ready and unsettled messages are live"
        );
        assert!(
            self.returned.last().is_none_or(|last| *last < self.cursor),
            "returned messages lie before the cursor"
        );
        assert!(
            self.returned
                .iter()
                .all(|sequence| !self.unsettled.contains_key(sequence)),
            "returned or unsettled"
        );
        assert!(self.cursor <= self.index.next(), "the cursor is within the queue");
        for sequence in self.unsettled.keys() {
            assert!(
                self.index.slot(*sequence).is_some_and(|slot| slot.live),
                "unsettled messages are live"
            );
        }
    }

    /// Ready are what returned and whatever is live from the cursor on.
    fn check_ready(&self) {
        let (mut ready, mut bytes) = (0, 0);
        for sequence in &self.returned {
            let slot = self.index.slot(*sequence).filter(|slot| slot.live);
            let slot = slot.expect("a returned message is live, and its page in memory");
            (ready, bytes) = (ready + 1, bytes + u64::from(slot.body_bytes));
        }
        let near = super::index::page_of(self.cursor);
        for (number, page) in self.index.pages().range(near..) {
            let first = number * knob::page_slots() as u64;
            if first >= self.cursor {
                (ready, bytes) = (ready + u64::from(page.live), bytes + page.body_bytes);
                continue;
            }
            let Some(slots) = &page.slots else { return };
            let behind = slots.iter().skip((self.cursor - first) as usize);
            for slot in behind.filter(|slot| slot.live) {
                (ready, bytes) = (ready + 1, bytes + u64::from(slot.body_bytes));
            }
        }
        assert_eq!(
            (ready, bytes),
            (self.ready, self.ready_bytes),
            "ready messages and their bytes are counted"
        );
    }

    /// Each live message is ready, held, on its way to the dead-letter exchange, or on its way out.
    fn check_places(&self, leaving: &[(Sequence, Sequence)]) {
        let dying: BTreeSet<Sequence> = self.dying.iter().map(|dying| dying.sequence).collect();
        assert_eq!(dying.len(), self.dying.len(), "a message dies once");
        for (number, page) in self.index.pages() {
            let first = number * knob::page_slots() as u64;
            let slots = page.slots.iter().flatten().enumerate();
            for (at, _) in slots.filter(|(_, slot)| slot.live) {
                let sequence = first + at as u64;
                let ready = sequence >= self.cursor || self.returned.contains(&sequence);
                let held = self.unsettled.contains_key(&sequence);
                let dies = dying.contains(&sequence);
                let places = u8::from(ready) + u8::from(held) + u8::from(dies);
                let leaves = || leaving.iter().any(|(first, last)| (*first..=*last).contains(&sequence));
                assert!(
                    places == 1 || (places == 0 && leaves()),
                    "message {sequence} is in one place: ready {ready}, held {held}, dying {dies}"
                );
            }
        }
    }
}

/// Whether a queue's messages go into the log: those of transient queues and of queues that go with their connection
/// do not.
pub(crate) const fn is_persistent(definition: &Definition) -> bool {
    definition.durable && definition.exclusive.is_none()
}
