//! A page of a queue's index: where so many ([`knob::page_slots`]) consecutive messages lie, and which are settled.
//!
//! Pages are what lets a backlog be larger than memory: a page that a checkpoint stored and that nothing works on is
//! dropped and read back when the queue's head comes to it.
//!
//! Stored, a page is: varint slot count, then for each slot a byte (0: settled, and nothing follows; 1: live; 2: live, with
//! more), varint segment, varint offset, varint bytes, varint bytes of the body, varint expiry in ms (0: none); with more,
//! varint returns, priority byte, varint due time in ms (0: none).

use crate::encoding::{Reader, put_varint};
use crate::knob;
use crate::log::record::{BODY_BYTES_MAX, Position};
use crate::message::Message;
use crate::plant::{self, Plant};
use std::collections::BTreeMap;

/// A message's place in its queue: dense from 0 in order of arrival, never reused.
pub(crate) type Sequence = u64;

/// One message of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// Where its checksum and length lie in the log, before the message; [`Slot::IN_MEMORY`] if it is in memory only.
    pub at: Position,
    /// Length of the message.
    pub bytes: u32,
    /// Length of its body.
    pub body_bytes: u32,
    /// Not yet settled.
    pub live: bool,
    /// Was delivered, by this node since it started.
    pub delivered: bool,
    /// Wall time in milliseconds from which it must not be delivered; 0 means never, [`Slot::AT_ONCE`] at once or not
    /// at all.
    pub expires_ms: u64,
    /// Wall time in milliseconds before which it must not be delivered; 0 if that is over. Only in the lane of delayed
    /// messages.
    pub due_ms: u64,
    /// How often it was delivered and given back, where the queue counts that.
    pub returns: u16,
    /// As the publisher gave it; 0 where the queue has no priorities.
    pub priority: u8,
    /// The message itself, while it is cached.
    pub message: Option<Message>,
}

/// Some consecutive messages of a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// The slots, if the page is in memory.
    pub slots: Option<Vec<Slot>>,
    /// Slots ever filled.
    pub filled: u16,
    /// Slots not settled.
    pub live: u16,
    /// Bytes of bodies of live slots.
    pub body_bytes: u64,
    /// Live bytes (with their checksum and length) in each segment.
    pub by_segment: Vec<(u64, u64)>,
    /// The earliest expiry of any slot ever filled; 0 means none.
    pub expires_ms: u64,
    /// The earliest due time of any slot ever filled; 0 means none.
    pub due_ms: u64,
    /// The newest stored copy: where its body lies, its length, its checksum.
    pub stored: Option<Stored>,
    /// Whether it differs from the stored copy.
    pub dirty: bool,
    /// Slots with a cached message.
    pub cached: u16,
}

/// A page in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Where its bytes lie.
    pub at: Position,
    /// How many.
    pub bytes: u32,
    /// CRC32C of them.
    pub checksum: u32,
}

/// States of a stored slot.
const SETTLED: u8 = 0;
const LIVE: u8 = 1;
const LIVE_WITH_MORE: u8 = 2;

/// The earlier of two times, where 0 is none.
const fn earlier(a: u64, b: u64) -> u64 {
    if a == 0 || (b != 0 && b < a) { b } else { a }
}

/// Bytes beside each message in the log: its checksum and its length.
pub(crate) const MESSAGE_HEAD_BYTES: u32 = 8;

impl Slot {
    /// The expiry of a message whose time to live is 0: a consumer that waits may have it.
    pub(crate) const AT_ONCE: u64 = 1;
    /// The expiry of such a message that comes back after a delay: it had its chance.
    pub(crate) const OVER: u64 = 2;
    /// The place of a message that is not in the log.
    pub(crate) const IN_MEMORY: Position = Position {
        segment: u64::MAX,
        offset: 0,
    };

    /// Whether it is stored with more than where it lies.
    const fn has_more(&self) -> bool {
        self.returns > 0 || self.due_ms > 0 || self.priority > 0
    }

    /// Whether the message is in the log.
    #[must_use]
    pub(crate) fn is_logged(&self) -> bool {
        self.at != Self::IN_MEMORY
    }
}

impl Page {
    /// An empty page, in memory.
    pub(crate) fn in_memory() -> Self {
        Self {
            slots: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Whether no slot is free.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.filled as usize == knob::page_slots()
    }

    /// Appends a slot.
    ///
    /// # Panics
    /// If the page is full or not in memory.
    pub(crate) fn push(&mut self, slot: Slot) {
        assert!(!self.is_full(), "the page has a free slot");
        self.filled += 1;
        self.live += 1;
        self.body_bytes += u64::from(slot.body_bytes);
        self.cached += u16::from(slot.message.is_some());
        let expires_ms = if plant::is(Plant::ExpiryHintLate) {
            self.expires_ms.max(slot.expires_ms)
        } else {
            earlier(self.expires_ms, slot.expires_ms)
        };
        self.expires_ms = expires_ms;
        self.due_ms = earlier(self.due_ms, slot.due_ms);
        if slot.is_logged() {
            self.add_bytes(slot.at.segment, slot.bytes);
        }
        self.dirty = true;
        self.slots.as_mut().expect("the tail page is in memory").push(slot);
    }

    /// Settles a slot; the slot as it was, unless it was settled already.
    ///
    /// # Panics
    /// If the page is not in memory.
    pub(crate) fn settle(&mut self, index: usize) -> Option<Slot> {
        let slot = self
            .slots
            .as_mut()
            .expect("a page is loaded before it changes")
            .get_mut(index)?;
        if !slot.live {
            return None;
        }
        slot.live = false;
        let was = Slot {
            message: slot.message.take(),
            ..slot.clone()
        };
        self.live -= 1;
        self.body_bytes -= u64::from(was.body_bytes);
        self.cached -= u16::from(was.message.is_some());
        self.dirty = true;
        if was.is_logged() {
            self.remove_bytes(was.at.segment, was.bytes);
        }
        Some(was)
    }

    /// Moves a slot's message to another place of the log.
    pub(crate) fn relocate(&mut self, index: usize, to: Position) {
        let slot = &mut self.slots.as_mut().expect("a page is loaded before it changes")[index];
        let (from, bytes) = (slot.at.segment, slot.bytes);
        slot.at = to;
        self.remove_bytes(from, bytes);
        self.add_bytes(to.segment, bytes);
        self.dirty = true;
    }

    /// A message was given back once more.
    pub(crate) fn count_return(&mut self, index: usize) {
        let slot = &mut self.slots.as_mut().expect("a page is loaded before it changes")[index];
        slot.returns = slot
            .returns
            .saturating_add(u16::from(!plant::is(Plant::ReturnUncounted)));
        self.dirty = true;
    }

    /// Forgets the cached message of a slot; its length if there was one.
    pub(crate) fn uncache(&mut self, index: usize) -> Option<u32> {
        let slot = self.slots.as_mut()?.get_mut(index)?;
        slot.message.take()?;
        self.cached -= 1;
        Some(slot.bytes)
    }

    /// Keeps a loaded message of a live slot.
    pub(crate) fn cache(&mut self, index: usize, message: Message) {
        let slot = &mut self.slots.as_mut().expect("the page is in memory")[index];
        assert!(slot.live && slot.message.is_none(), "loaded once, while live");
        slot.message = Some(message);
        self.cached += 1;
    }

    /// The page's stored form.
    ///
    /// # Panics
    /// If the page is not in memory, or holds messages that are not in the log.
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let slots = self.slots.as_ref().expect("a page that changed is in memory");
        let mut to = Vec::with_capacity(slots.len() * 8 + 4);
        put_varint(&mut to, slots.len() as u64);
        for slot in slots {
            if !slot.live {
                to.push(SETTLED);
                continue;
            }
            assert!(slot.is_logged(), "queues in memory are not stored");
            to.push(if slot.has_more() { LIVE_WITH_MORE } else { LIVE });
            put_varint(&mut to, slot.at.segment);
            put_varint(&mut to, u64::from(slot.at.offset));
            put_varint(&mut to, u64::from(slot.bytes));
            put_varint(&mut to, u64::from(slot.body_bytes));
            put_varint(&mut to, slot.expires_ms);
            if slot.has_more() {
                put_varint(&mut to, u64::from(slot.returns));
                to.push(slot.priority);
                put_varint(&mut to, slot.due_ms);
            }
        }
        to
    }

    /// Takes the slots from the stored form. `None` if the bytes are not of the form, or not of this page.
    #[must_use]
    pub(crate) fn load(&mut self, bytes: &[u8]) -> Option<()> {
        let mut from = Reader::new(bytes);
        let count = from.count()?;
        if count != usize::from(self.filled) {
            return None;
        }
        let slots = (0..count)
            .map(|_| read_slot(&mut from))
            .collect::<Option<Vec<Slot>>>()?;
        (from.is_empty() && self.counts(&slots)).then(|| self.slots = Some(slots))
    }

    /// Whether what the page says of its slots is true of these.
    fn counts(&self, slots: &[Slot]) -> bool {
        let live = || slots.iter().filter(|slot| slot.live);
        let mut by_segment: BTreeMap<u64, u64> = BTreeMap::new();
        for slot in live() {
            *by_segment.entry(slot.at.segment).or_default() += u64::from(slot.bytes + MESSAGE_HEAD_BYTES);
        }
        let said: BTreeMap<u64, u64> = self.by_segment.iter().copied().collect();
        live().count() == usize::from(self.live)
            && live().map(|slot| u64::from(slot.body_bytes)).sum::<u64>() == self.body_bytes
            && said.len() == self.by_segment.len()
            && said == by_segment
    }

    fn add_bytes(&mut self, segment: u64, bytes: u32) {
        let bytes = u64::from(bytes + MESSAGE_HEAD_BYTES);
        match self.by_segment.iter_mut().rev().find(|(number, _)| *number == segment) {
            Some((_, live)) => *live += bytes,
            None => self.by_segment.push((segment, bytes)),
        }
    }

    fn remove_bytes(&mut self, segment: u64, bytes: u32) {
        let place = self
            .by_segment
            .iter()
            .position(|(number, _)| *number == segment)
            .expect("added when pushed");
        self.by_segment[place].1 -= u64::from(bytes + MESSAGE_HEAD_BYTES);
        if self.by_segment[place].1 == 0 {
            self.by_segment.remove(place);
        }
    }
}

fn read_slot(from: &mut Reader<'_>) -> Option<Slot> {
    let state = from.u8()?;
    let live = state != SETTLED;
    (state <= LIVE_WITH_MORE).then_some(())?;
    let mut slot = Slot {
        at: Slot::IN_MEMORY,
        bytes: 0,
        body_bytes: 0,
        live,
        delivered: false,
        expires_ms: 0,
        due_ms: 0,
        returns: 0,
        priority: 0,
        message: None,
    };
    if live {
        slot.at = Position {
            segment: from.varint()?,
            offset: u32::try_from(from.varint()?).ok()?,
        };
        slot.bytes = u32::try_from(from.varint()?).ok()?;
        slot.body_bytes = u32::try_from(from.varint()?).ok()?;
        slot.expires_ms = from.varint()? * u64::from(!plant::is(Plant::PageForgetsExpiry));
        if state == LIVE_WITH_MORE {
            slot.returns = u16::try_from(from.varint()?).ok()? * u16::from(!plant::is(Plant::ReturnCountLost));
            slot.priority = from.u8()?;
            slot.due_ms = from.varint()?;
        }
        let whole = slot.is_logged() && slot.body_bytes <= slot.bytes && slot.bytes as usize <= BODY_BYTES_MAX;
        whole.then_some(())?;
    }
    Some(slot)
}
