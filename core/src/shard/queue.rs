//! One queue at its leader: the index, and what dies with the leader: who holds what, who waits for what.

use super::delays::{Delays, Due};
use super::index::{Found, Index, first_of, first_page, lane_of, page_of, start_of};
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
    lanes: Vec<Lane>,
    /// Messages before their lane's cursor that came back.
    returned: BTreeSet<Sequence>,
    /// Delivered and not settled.
    pub(crate) unsettled: BTreeMap<Sequence, Holder>,
    /// Given back, which is counted: ready again when that is durable.
    pub(crate) returning: BTreeSet<Sequence>,
    /// Messages whose time has not come.
    pub(crate) delays: Delays,
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
    /// The last read was for a dead letter: the next is for who waits.
    pub(crate) read_for_dead: bool,
    /// Last declared, got from or consumed from.
    pub(crate) used_at: Time,
    /// When the head expires, as registered with the shard's timers.
    pub(crate) timer: Option<u64>,
    /// Its deletion is proposed: nothing leaves it any more but what died before.
    pub(crate) ending: bool,
    /// Had a consumer: auto-delete counts from then.
    pub(crate) consumed: bool,
}

/// What the leader knows of a lane.
#[derive(Clone, Copy, Debug)]
struct Lane {
    /// Every message from here on is ready (or settled); before it, those in `returned`.
    cursor: Sequence,
    /// Ready messages.
    ready: u64,
    /// Messages before this one may have been delivered before the node started.
    recovered: Sequence,
    /// Messages before this one had their chance to go to somebody who waits.
    seen: Sequence,
}

impl Lane {
    const fn new(lane: usize) -> Self {
        let start = start_of(lane);
        Self {
            cursor: start,
            ready: 0,
            recovered: start,
            seen: start,
        }
    }
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
    DeliveryLimit,
}

impl Death {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::MaxLength if plant::is(Plant::OverflowSaysRejected) => "rejected",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
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
            lanes: Vec::new(),
            returned: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            returning: BTreeSet::new(),
            delays: Delays::default(),
            ready: 0,
            ready_bytes: 0,
            pending: 0,
            pending_bytes: 0,
            consumers: VecDeque::new(),
            exclusive_consumer: None,
            gets: VecDeque::new(),
            loading: None,
            dying: VecDeque::new(),
            read_for_dead: false,
            used_at,
            timer: None,
            ending: false,
            consumed: false,
        };
        queue.lead();
        queue
    }

    /// Everything in the index becomes ready: the leader is new.
    pub(crate) fn lead(&mut self) {
        self.returned.clear();
        self.returning.clear();
        let delayed = self.delayed_lane();
        let nexts = self.index.nexts().take(delayed).enumerate();
        self.lanes = nexts
            .map(|(lane, next)| Lane {
                ready: self.index.live_in(lane).0,
                recovered: next * u64::from(!plant::is(Plant::RecoveredNotFlagged)),
                ..Lane::new(lane)
            })
            .collect();
        let (messages, bytes) = self.index.live_in(delayed);
        self.ready = self.index.live() - messages;
        self.ready_bytes = self.index.body_bytes() - bytes;
        if !plant::is(Plant::DelayedForgottenOnStart) {
            self.delays.lead(&self.index, delayed);
        }
    }

    /// Whether its messages are in the log.
    pub(crate) const fn is_persistent(&self) -> bool {
        is_persistent(&self.definition)
    }

    /// The next message to deliver, in order of arrival: a returned message is back at its old place (G5).
    pub(crate) fn head(&mut self) -> Head {
        let Some(lane) = self.lanes.iter().position(|lane| lane.ready > 0) else {
            return Head::Empty;
        };
        let cursor = self.lanes[lane].cursor;
        let mut returned = self.first_returned(lane);
        if plant::is(Plant::RequeueAtTail) && matches!(self.index.first_live(cursor), Found::Slot(..)) {
            returned = None;
        }
        let from = returned.unwrap_or(cursor);
        match self.index.first_live(from) {
            Found::Slot(sequence, _) => {
                assert!(
                    returned.is_none_or(|returned| returned == sequence),
                    "a returned message is live"
                );
                if returned.is_none() {
                    self.lanes[lane].cursor = sequence;
                }
                Head::Ready(sequence)
            }
            Found::Page(page) => Head::Page(page),
            Found::None => panic!("{} messages are ready but none is live", self.ready),
        }
    }

    /// The first of a lane's messages that came back.
    fn first_returned(&self, lane: usize) -> Option<Sequence> {
        self.returned.range(start_of(lane)..start_of(lane + 1)).next().copied()
    }

    /// Takes the head: it is no longer ready.
    pub(crate) fn take(&mut self, sequence: Sequence) {
        let lane = &mut self.lanes[lane_of(sequence)];
        lane.ready -= 1;
        if !self.returned.remove(&sequence) {
            assert!(
                sequence >= lane.cursor,
                "a ready message is behind the cursor or was returned"
            );
            lane.cursor = sequence + 1;
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
        let lane = &mut self.lanes[lane_of(sequence)];
        lane.ready += 1;
        let fresh = self.returned.insert(sequence);
        assert!(fresh && sequence < lane.cursor, "it was taken once");
    }

    /// Every message that nobody holds leaves, the delayed ones as well: the ranges to settle, and how many messages are
    /// in them.
    pub(crate) fn take_all(&mut self) -> (Vec<(Sequence, Sequence)>, u64) {
        let delayed = self.delayed_lane();
        let count = self.ready + self.delayed();
        let mut ranges = Vec::new();
        for sequence in std::mem::take(&mut self.returned) {
            if plant::is(Plant::PurgeForgetsReturned) {
                continue;
            }
            ranges.push((sequence, sequence));
        }
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let next = self.index.next(number);
            if lane.cursor < next {
                ranges.push((lane.cursor, next - 1));
            }
            lane.cursor = next;
            lane.ready = 0;
        }
        if self.delayed() > 0 {
            ranges.push((start_of(delayed), self.index.next(delayed) - 1));
        }
        self.ready = 0;
        self.ready_bytes = 0;
        (if count == 0 { Vec::new() } else { ranges }, count)
    }

    /// Adds a message at the tail of its lane.
    pub(crate) fn push(&mut self, slot: Slot) -> Sequence {
        let lane = self.lane(slot.priority, slot.due_ms > 0);
        if slot.due_ms > 0 {
            let due_ms = slot.due_ms;
            let sequence = self.index.push(lane, slot);
            self.delays.look(page_of(sequence), due_ms);
            return sequence;
        }
        while self.lanes.len() <= lane {
            self.lanes.push(Lane::new(self.lanes.len()));
        }
        self.lanes[lane].ready += 1;
        self.ready += 1;
        self.ready_bytes += u64::from(slot.body_bytes);
        self.index.push(lane, slot)
    }

    /// The lane of messages of this priority: the highest is the first, and one beyond the queue's highest counts as the
    /// highest, as with RabbitMQ. Delayed messages are in the last.
    pub(crate) fn lane(&self, priority: u8, delayed: bool) -> usize {
        if delayed {
            self.delayed_lane()
        } else {
            let max = self.definition.policy.priority_max;
            let beyond = plant::is(Plant::PriorityLowFirst) && priority > max;
            let priority = priority * u8::from(!beyond && !plant::is(Plant::PriorityIgnored));
            usize::from(max.saturating_sub(priority))
        }
    }

    fn delayed_lane(&self) -> usize {
        usize::from(self.definition.policy.priority_max) + 1
    }

    /// Messages whose time has not come.
    pub(crate) fn delayed(&self) -> u64 {
        self.index.live_in(self.delayed_lane()).0
    }

    fn delayed_bytes(&self) -> u64 {
        self.index.live_in(self.delayed_lane()).1
    }

    /// Messages whose time has come, in the order of their times.
    pub(crate) fn due(&mut self, now_ms: u64, max: usize) -> Option<Due> {
        self.delays.due(&self.index, now_ms, max)
    }

    /// Whether a message was given back more often than the queue allows.
    pub(crate) fn is_spent(&self, sequence: Sequence) -> bool {
        let returns = self.index.slot(sequence).map_or(0, |slot| slot.returns);
        self.definition.policy.is_spent(returns)
    }

    /// Everything that is here now had its chance to go to somebody who waits.
    pub(crate) fn see(&mut self) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.seen = self.index.next(number);
        }
    }

    /// Whether a message had its chance to go to somebody who waits.
    pub(crate) fn is_seen(&self, sequence: Sequence) -> bool {
        sequence < self.lanes[lane_of(sequence)].seen
    }

    /// Whether a message may have been delivered before.
    pub(crate) fn is_redelivered(&self, sequence: Sequence) -> bool {
        sequence < self.lanes[lane_of(sequence)].recovered
            || self
                .index
                .slot(sequence)
                .is_some_and(|slot| slot.delivered || slot.returns > 0)
    }

    /// When the head expires (wall ms), 0 for never. Asks no page to be loaded, so it may be early.
    pub(crate) fn head_expiry(&self) -> u64 {
        let Some(lane) = self.lanes.iter().position(|lane| lane.ready > 0) else {
            return 0;
        };
        let from = self.first_returned(lane).unwrap_or(self.lanes[lane].cursor);
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
            .is_some_and(|max| self.ready + self.delayed() + self.pending * counted + 1 > max + spare)
            || policy
                .bytes_max
                .is_some_and(|max| self.ready_bytes + self.delayed_bytes() + self.pending_bytes + body_bytes > max)
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
        let first = first_of(page);
        let span = first..first + knob::page_slots() as u64;
        let lane = lane_of(first);
        let cursor = self.lanes.get(lane).map_or(self.index.next(lane), |lane| lane.cursor);
        let near = page_of(cursor);
        page == page_of(self.index.next(lane))
            || (near..=near + 1).contains(&page)
            || (!plant::is(Plant::UnsettledPageEvicted) && self.unsettled.range(span.clone()).next().is_some())
            || (!plant::is(Plant::ReturnedPageEvicted) && self.returned.range(span.clone()).next().is_some())
            || self.dying.iter().any(|dying| span.contains(&dying.sequence))
    }

    /// Panics on a broken invariant. `leaving` are ranges of messages that are on their way out.
    pub(crate) fn check(&self, leaving: &[(Sequence, Sequence)]) {
        self.index.check();
        self.check_ready();
        self.check_places(leaving);
        assert!(
            self.ready + self.delayed() + (self.unsettled.len() + self.returning.len()) as u64 <= self.index.live(),
            "ready, delayed and unsettled messages are live"
        );
        assert!(
            self.returned
                .iter()
                .all(|sequence| *sequence < self.lanes[lane_of(*sequence)].cursor),
            "returned messages lie before the cursor"
        );
        assert!(
            self.returned
                .iter()
                .all(|sequence| !self.unsettled.contains_key(sequence)),
            "returned or unsettled"
        );
        for (number, lane) in self.lanes.iter().enumerate() {
            assert!(lane.cursor <= self.index.next(number), "the cursor is within the lane");
        }
        let ready: u64 = self.lanes.iter().map(|lane| lane.ready).sum();
        assert_eq!(ready, self.ready, "ready messages are those of the lanes");
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
        for (number, lane) in self.lanes.iter().enumerate() {
            let pages = page_of(lane.cursor)..first_page(number + 1);
            for (page_number, page) in self.index.pages().range(pages) {
                let first = first_of(*page_number);
                if first >= lane.cursor {
                    (ready, bytes) = (ready + u64::from(page.live), bytes + page.body_bytes);
                    continue;
                }
                let Some(slots) = &page.slots else { return };
                let behind = slots.iter().skip((lane.cursor - first) as usize);
                for slot in behind.filter(|slot| slot.live) {
                    (ready, bytes) = (ready + 1, bytes + u64::from(slot.body_bytes));
                }
            }
        }
        assert_eq!(
            (ready, bytes),
            (self.ready, self.ready_bytes),
            "ready messages and their bytes are counted"
        );
    }

    /// Each live message is ready, delayed, held, on its way to the dead-letter exchange, or on its way out.
    fn check_places(&self, leaving: &[(Sequence, Sequence)]) {
        let dying: BTreeSet<Sequence> = self.dying.iter().map(|dying| dying.sequence).collect();
        assert_eq!(dying.len(), self.dying.len(), "a message dies once");
        for (number, page) in self.index.pages() {
            let first = first_of(*number);
            let slots = page.slots.iter().flatten().enumerate();
            for (at, _) in slots.filter(|(_, slot)| slot.live) {
                let sequence = first + at as u64;
                let lane = self.lanes.get(lane_of(sequence));
                let waits = lane.is_none_or(|lane| sequence >= lane.cursor);
                let ready = waits || self.returned.contains(&sequence);
                let held = self.unsettled.contains_key(&sequence) || self.returning.contains(&sequence);
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
