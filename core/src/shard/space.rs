//! Which bytes of which segments are needed.
//!
//! Needed are: messages that are live in some queue (once for each queue), stored pages and the manifest of the durable
//! checkpoint, and everything from where replay begins. What a checkpoint makes obsolete is needed until that checkpoint
//! is durable, for until then a restart uses the one before.

use super::page::{MESSAGE_HEAD_BYTES, Page, Stored};
use crate::plant::{self, Plant};
use std::collections::BTreeMap;

/// Bytes that a message occupies in its segment.
pub(super) const fn message_bytes(bytes: u32) -> u64 {
    (bytes + MESSAGE_HEAD_BYTES) as u64
}

/// Live bytes by segment.
#[derive(Debug, Default)]
pub(crate) struct Space {
    segments: BTreeMap<u64, u64>,
    /// Segments that exist: those before the active one that were not released.
    known: BTreeMap<u64, u64>,
    /// To be subtracted when the checkpoint being written is durable; and for the one after.
    obsolete: Vec<(u64, u64)>,
    obsolete_next: Vec<(u64, u64)>,
    /// Bytes that stopped being live, ever.
    freed_bytes: u64,
}

impl Space {
    pub(super) fn add(&mut self, segment: u64, bytes: u64) {
        *self.segments.entry(segment).or_default() += bytes;
    }

    pub(super) fn remove(&mut self, segment: u64, bytes: u64) {
        let live = self.segments.get_mut(&segment).expect("added before");
        *live -= bytes;
        self.freed_bytes += bytes;
        if *live == 0 {
            self.segments.remove(&segment);
        }
    }

    /// A page's messages are gone.
    pub(super) fn remove_page(&mut self, page: &Page) {
        page.by_segment
            .iter()
            .for_each(|(segment, bytes)| self.remove(*segment, *bytes));
    }

    /// A page's messages are here.
    pub(super) fn add_page(&mut self, page: &Page) {
        page.by_segment
            .iter()
            .for_each(|(segment, bytes)| self.add(*segment, *bytes));
    }

    /// A stored page was replaced or is gone: the next checkpoint will not refer to it.
    pub(super) fn obsolete(&mut self, stored: Option<Stored>) {
        if plant::is(Plant::PageReleasedEarly) {
            stored
                .iter()
                .for_each(|stored| self.remove(stored.at.segment, u64::from(stored.bytes)));
            return;
        }
        self.obsolete_next
            .extend(stored.map(|stored| (stored.at.segment, u64::from(stored.bytes))));
    }

    /// Bytes that are live until the next checkpoint but one is durable.
    pub(super) fn obsolete_bytes(&mut self, segment: u64, bytes: u64) {
        self.obsolete_next.push((segment, bytes));
    }

    /// A checkpoint that refers to nothing obsolete is being written.
    pub(super) fn begin_checkpoint(&mut self) {
        assert!(self.obsolete.is_empty(), "one checkpoint at a time");
        self.obsolete = std::mem::take(&mut self.obsolete_next);
    }

    /// That checkpoint is durable.
    pub(super) fn end_checkpoint(&mut self) {
        let mut released = std::mem::take(&mut self.obsolete);
        if plant::is(Plant::ReleasedWithOlder) {
            released.append(&mut self.obsolete_next);
        }
        for (segment, bytes) in released {
            self.remove(segment, bytes);
        }
    }

    /// The log moved on from `segment`, of which `bytes` were written.
    pub(super) fn seal(&mut self, segment: u64, bytes: u64) {
        // A new log moves on from segment 0, which has no file.
        if segment > 0 {
            self.known.insert(segment, bytes);
        }
    }

    /// A node starts: segments that nothing lives in are worth as much as if they had died since.
    pub(super) fn count_dead(&mut self) {
        let dead = self
            .known
            .iter()
            .filter(|(segment, _)| !self.segments.contains_key(segment));
        self.freed_bytes += dead.map(|(_, bytes)| bytes).sum::<u64>();
    }

    /// Forgets and returns the segments before `first` that nothing needs.
    pub(super) fn take_dead(&mut self, first: u64) -> Vec<u64> {
        let dead = |segment: &u64| !self.segments.contains_key(segment) && !plant::is(Plant::DeadSegmentsKept);
        let dead: Vec<u64> = self
            .known
            .range(..first)
            .map(|(segment, _)| *segment)
            .filter(dead)
            .collect();
        self.known.retain(|segment, _| dead.binary_search(segment).is_err());
        dead
    }

    /// The segment before `first` with the smallest live share, if that is less than `share` in 256.
    pub(super) fn sparsest(&self, first: u64, share: u64) -> Option<u64> {
        let live = |segment: u64| self.segments.get(&segment).copied().unwrap_or(0);
        let sparse = self
            .known
            .range(..first)
            .map(|(segment, bytes)| (live(*segment) * 256 / bytes.max(&1), *segment));
        sparse
            .min()
            .filter(|(found, _)| *found < share)
            .map(|(_, segment)| segment)
    }

    /// Bytes that stopped being live since the start.
    pub(super) const fn freed_bytes(&self) -> u64 {
        self.freed_bytes
    }

    /// Segments, and live bytes in all of them.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.known.len() as u64 + 1, self.segments.values().sum())
    }

    /// The live bytes by segment, for checking.
    pub(super) const fn segments(&self) -> &BTreeMap<u64, u64> {
        &self.segments
    }

    /// What is to be subtracted later, for checking.
    pub(super) fn pending(&self) -> impl Iterator<Item = &(u64, u64)> {
        self.obsolete.iter().chain(&self.obsolete_next)
    }
}
