//! Which messages are in memory: those of transient queues must be, recent ones of persistent queues may be.

use super::page::{Page, Sequence};
use crate::catalog::QueueId;
use std::collections::VecDeque;

/// Accounts for cached messages, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Where cached messages are, in order of their coming; some may be gone since.
    order: VecDeque<(QueueId, Sequence)>,
    cached: usize,
    bytes: u64,
    pinned_bytes: u64,
}

/// What a message in memory costs beside its bytes: allocation, slot, place in the order.
const OVERHEAD_BYTES: u64 = 128;

/// What a message costs the budget.
pub(super) const fn cost(bytes: u32) -> u64 {
    bytes as u64 + OVERHEAD_BYTES
}

impl Cache {
    /// A persistent queue's message is in memory.
    pub(super) fn keep(&mut self, queue: QueueId, sequence: Sequence, bytes: u32) {
        self.order.push_back((queue, sequence));
        self.cached += 1;
        self.bytes += cost(bytes);
    }

    /// It no longer is.
    pub(super) const fn forget(&mut self, bytes: u32) {
        self.cached -= 1;
        self.bytes -= cost(bytes);
    }

    /// A transient queue's message came.
    pub(super) const fn pin(&mut self, bytes: u32) {
        self.pinned_bytes += cost(bytes);
    }

    /// It left.
    pub(super) const fn unpin(&mut self, bytes: u32) {
        self.pinned_bytes -= cost(bytes);
    }

    /// A page is gone, with the messages in it.
    pub(super) fn forget_page(&mut self, page: &Page) {
        for slot in page.slots.iter().flatten().filter(|slot| slot.message.is_some()) {
            if slot.is_logged() {
                self.forget(slot.bytes);
            } else {
                self.unpin(slot.bytes);
            }
        }
    }

    /// The oldest place, if more is cached than the budget leaves beside the pinned messages.
    pub(super) fn excess(&mut self, budget: u64) -> Option<(QueueId, Sequence)> {
        if self.bytes + self.pinned_bytes <= budget {
            None
        } else {
            self.order.pop_front()
        }
    }

    /// Whether the order holds mostly places that are gone.
    pub(super) fn is_stale(&self) -> bool {
        self.order.len() > 2 * self.cached + 4096
    }

    /// Drops places that are gone.
    pub(super) fn compact(&mut self, cached: impl Fn(QueueId, Sequence) -> bool) {
        self.order.retain(|(queue, sequence)| cached(*queue, *sequence));
    }

    /// Panics unless it counts these messages, by their lengths: those that may go, and those that must stay.
    pub(super) fn check(&self, kept: &[u32], pinned: &[u32]) {
        let sum = |bytes: &[u32]| bytes.iter().map(|bytes| cost(*bytes)).sum::<u64>();
        assert_eq!(
            (self.cached, self.bytes),
            (kept.len(), sum(kept)),
            "cached messages are counted"
        );
        assert_eq!(self.pinned_bytes, sum(pinned), "pinned messages are counted");
    }

    /// Bytes of all messages in memory.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes + self.pinned_bytes
    }

    /// Bytes of those that must stay.
    pub(super) const fn transient_bytes(&self) -> u64 {
        self.pinned_bytes
    }
}
