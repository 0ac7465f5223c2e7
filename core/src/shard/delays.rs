//! When to look for messages whose time has come.
//!
//! Delayed messages lie in a lane of their own in order of arrival. Of each page the leader knows the earliest due time, so
//! that it holds one entry for each page, not for each message, and a delayed backlog may be larger than memory.

use super::index::{Index, first_of, first_page};
use super::page::Sequence;
use crate::plant::{self, Plant};
use std::collections::{BTreeMap, BTreeSet};

/// What the leader knows of a queue's delayed messages.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    /// Pages by the time (wall ms) to look at them: early it may be, never late.
    looks: BTreeSet<(u64, u64)>,
    /// The same, by page.
    pages: BTreeMap<u64, u64>,
    /// Messages whose promotion is proposed.
    pub(crate) promoting: BTreeSet<Sequence>,
}

/// What is due.
pub(crate) enum Due {
    /// These, in the order of their times, then of their arrival.
    Messages(Vec<Sequence>),
    /// This page of the index must be loaded to know.
    Page(u64),
}

impl Delays {
    /// The leader is new: all that it has is the pages' own word.
    pub(super) fn lead(&mut self, index: &Index, lane: usize) {
        *self = Self::default();
        let pages = index.pages().range(first_page(lane)..);
        pages.for_each(|(number, page)| self.look(*number, page.due_ms));
    }

    /// Something in a page is due at `due_ms`.
    pub(super) fn look(&mut self, page: u64, due_ms: u64) {
        match self.pages.get(&page) {
            Some(before) if *before <= due_ms => return,
            Some(before) => _ = self.looks.remove(&(*before, page)),
            None => {}
        }
        self.pages.insert(page, due_ms);
        self.looks.insert((due_ms, page));
    }

    /// When to look next (wall ms).
    pub(crate) fn next(&self) -> Option<u64> {
        self.looks.first().map(|(due_ms, _)| *due_ms)
    }

    /// Messages due by `now_ms`: about `max`, a page's more at most. They are being promoted from here on.
    pub(super) fn due(&mut self, index: &Index, now_ms: u64, max: usize) -> Option<Due> {
        let now_ms = now_ms + 20 * u64::from(plant::is(Plant::DelayShort));
        let mut found = Vec::new();
        while let Some((due_ms, number)) = self.looks.first().copied()
            && due_ms <= now_ms
            && found.len() < max
        {
            let page = index.pages().get(&number);
            if let Some(page) = page
                && page.slots.is_none()
            {
                if found.is_empty() {
                    return Some(Due::Page(number));
                }
                break;
            }
            self.looks.pop_first();
            self.pages.remove(&number);
            let slots = page.and_then(|page| page.slots.as_ref()).into_iter().flatten();
            for (sequence, slot) in (first_of(number)..).zip(slots) {
                if !slot.live || self.promoting.contains(&sequence) {
                    continue;
                }
                if slot.due_ms <= now_ms {
                    found.push((slot.due_ms, sequence));
                } else if !plant::is(Plant::LookLost) {
                    self.look(number, slot.due_ms);
                }
            }
        }
        found.sort_unstable();
        let found: Vec<Sequence> = found.into_iter().map(|(_, sequence)| sequence).collect();
        self.promoting.extend(&found);
        (!found.is_empty()).then_some(Due::Messages(found))
    }
}
