//! The replicated part of a queue: which messages it holds and where they lie. A function of the entries applied.

use super::page::{Page, Sequence, Slot, Stored};
use crate::knob::page_slots;
use crate::log::record::Position;
use crate::message::Message;
use std::collections::BTreeMap;

/// Pages by number, sparse: a page whose messages are all settled is gone.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pages: BTreeMap<u64, Page>,
    next: Sequence,
    live: u64,
    body_bytes: u64,
    /// Stored copies of pages that are gone, to be released when no checkpoint refers to them.
    pub(crate) obsolete: Vec<Stored>,
}

/// What a lookup found.
pub(crate) enum Found<'a> {
    Slot(Sequence, &'a Slot),
    /// The page must be loaded first.
    Page(u64),
    None,
}

/// No queue comes to so many messages: what claims to is damage.
const SEQUENCE_MAX: Sequence = 1 << 62;

pub(crate) fn page_of(sequence: Sequence) -> u64 {
    sequence / page_slots() as u64
}

fn slot_of(sequence: Sequence) -> usize {
    (sequence % page_slots() as u64) as usize
}

fn first_of(page: u64) -> Sequence {
    page * page_slots() as u64
}

impl Index {
    /// From a checkpoint. `None` if the pages are not those of one queue with this next sequence.
    pub(crate) fn restore(next: Sequence, pages: BTreeMap<u64, Page>) -> Option<Self> {
        let fits = |(number, page): (&u64, &Page)| {
            let full = if *number == page_of(next) {
                slot_of(next)
            } else {
                page_slots()
            };
            let filled = usize::from(page.filled);
            *number <= page_of(next)
                && filled <= full
                && 0 < page.live
                && page.live <= page.filled
                && (*number != page_of(next) || filled == full)
        };
        let sum = |of: fn(&Page) -> u64| pages.values().map(of).try_fold(0_u64, u64::checked_add);
        if next > SEQUENCE_MAX || !pages.iter().all(fits) {
            return None;
        }
        let (live, body_bytes) = (sum(|page| u64::from(page.live))?, sum(|page| page.body_bytes)?);
        Some(Self {
            pages,
            next,
            live,
            body_bytes,
            obsolete: Vec::new(),
        })
    }

    /// The sequence of the next message.
    pub(crate) const fn next(&self) -> Sequence {
        self.next
    }

    /// Messages not settled.
    pub(crate) const fn live(&self) -> u64 {
        self.live
    }

    /// Bytes of their bodies.
    pub(crate) const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    pub(crate) const fn pages(&self) -> &BTreeMap<u64, Page> {
        &self.pages
    }

    pub(crate) fn page_mut(&mut self, page: u64) -> Option<&mut Page> {
        self.pages.get_mut(&page)
    }

    pub(crate) fn pages_mut(&mut self) -> impl Iterator<Item = (&u64, &mut Page)> {
        self.pages.iter_mut()
    }

    /// The tail page, if it must be loaded before a push.
    pub(crate) fn missing_tail(&self) -> Option<u64> {
        let page = page_of(self.next);
        self.pages
            .get(&page)
            .is_some_and(|page| page.slots.is_none())
            .then_some(page)
    }

    /// The page of a message, if it must be loaded before the message can be settled by itself.
    pub(crate) fn missing_at(&self, sequence: Sequence) -> Option<u64> {
        let page = page_of(sequence);
        self.pages
            .get(&page)
            .is_some_and(|page| page.slots.is_none())
            .then_some(page)
    }

    /// The first page that must be loaded before these messages can be settled: pages that the range covers wholly go
    /// without being loaded.
    pub(crate) fn missing_for(&self, first: Sequence, last: Sequence) -> Option<u64> {
        if first == last {
            return self.missing_at(first);
        }
        let missing = |(page, whole): &(u64, bool)| !whole && self.pages[page].slots.is_none();
        self.pages_in(first, last)
            .into_iter()
            .find(missing)
            .map(|(page, _)| page)
    }

    pub(crate) fn push(&mut self, slot: Slot) -> Sequence {
        let sequence = self.next;
        self.live += 1;
        self.body_bytes += u64::from(slot.body_bytes);
        let page = self.pages.entry(page_of(sequence)).or_insert_with(Page::in_memory);
        assert_eq!(usize::from(page.filled), slot_of(sequence), "pages are filled in order");
        page.push(slot);
        self.next += 1;
        sequence
    }

    /// Settles one message; its slot as it was, unless it was settled already.
    pub(crate) fn settle(&mut self, sequence: Sequence) -> Option<Slot> {
        let number = page_of(sequence);
        let page = self.pages.get_mut(&number)?;
        let was = page.settle(slot_of(sequence))?;
        self.live -= 1;
        self.body_bytes -= u64::from(was.body_bytes);
        if page.live == 0 {
            self.remove_page(number);
        }
        Some(was)
    }

    /// Removes a page that is wholly within a settled range, without loading it. How many messages went, with the page.
    pub(crate) fn settle_page(&mut self, number: u64) -> Option<Page> {
        let page = self.pages.get(&number)?;
        self.live -= u64::from(page.live);
        self.body_bytes -= page.body_bytes;
        self.remove_page(number)
    }

    /// The pages that a range touches; each with whether the range covers it wholly.
    pub(crate) fn pages_in(&self, first: Sequence, last: Sequence) -> Vec<(u64, bool)> {
        let covers = |number: u64| {
            first_of(number) >= first && (first_of(number + 1) - 1 <= last || self.next <= last.saturating_add(1))
        };
        self.pages
            .range(page_of(first)..=page_of(last))
            .map(|(number, _)| (*number, covers(*number)))
            .collect()
    }

    /// The sequences of a page that lie in a range.
    pub(crate) fn span(&self, page: u64, first: Sequence, last: Sequence) -> std::ops::RangeInclusive<Sequence> {
        first.max(first_of(page))..=last.min(first_of(page + 1) - 1)
    }

    /// The slot of a message whose page is in memory.
    pub(crate) fn slot(&self, sequence: Sequence) -> Option<&Slot> {
        self.pages
            .get(&page_of(sequence))?
            .slots
            .as_ref()?
            .get(slot_of(sequence))
    }

    pub(crate) fn slot_mut(&mut self, sequence: Sequence) -> Option<&mut Slot> {
        self.pages
            .get_mut(&page_of(sequence))?
            .slots
            .as_mut()?
            .get_mut(slot_of(sequence))
    }

    /// The first live message from `from` on.
    pub(crate) fn first_live(&self, from: Sequence) -> Found<'_> {
        for (number, page) in self.pages.range(page_of(from)..) {
            let Some(slots) = &page.slots else {
                return Found::Page(*number);
            };
            let start = slot_of(from.max(first_of(*number)));
            if let Some(at) = slots.iter().skip(start).position(|slot| slot.live) {
                let sequence = first_of(*number) + (start + at) as u64;
                return Found::Slot(sequence, &slots[start + at]);
            }
        }
        Found::None
    }

    /// The earliest expiry that a page ever held, without loading it; 0 means none.
    pub(crate) fn expiry_hint(&self, page: u64) -> u64 {
        self.pages.get(&page).map_or(0, |page| page.expires_ms)
    }

    pub(crate) fn relocate(&mut self, sequence: Sequence, to: Position) {
        let page = self.pages.get_mut(&page_of(sequence)).expect("the slot is live");
        page.relocate(slot_of(sequence), to);
    }

    pub(crate) fn uncache(&mut self, sequence: Sequence) -> Option<u32> {
        self.pages.get_mut(&page_of(sequence))?.uncache(slot_of(sequence))
    }

    pub(crate) fn cache(&mut self, sequence: Sequence, message: Message) {
        let page = self.pages.get_mut(&page_of(sequence)).expect("the slot is live");
        page.cache(slot_of(sequence), message);
    }

    /// Panics on a broken invariant.
    pub(crate) fn check(&self) {
        let live: u64 = self.pages.values().map(|page| u64::from(page.live)).sum();
        assert_eq!(live, self.live, "live messages are those of the pages");
        for (number, page) in &self.pages {
            assert!(page.live > 0, "empty pages are gone");
            assert!(first_of(*number) < self.next, "pages lie before the next sequence");
            assert!(
                page.slots.is_some() || (page.stored.is_some() && !page.dirty),
                "a page is in memory or stored"
            );
            if let Some(slots) = &page.slots {
                let live = slots.iter().filter(|slot| slot.live).count();
                let cached = slots.iter().filter(|slot| slot.message.is_some()).count();
                assert_eq!(
                    (live, cached),
                    (usize::from(page.live), usize::from(page.cached)),
                    "a page counts its slots"
                );
                assert_eq!(slots.len(), usize::from(page.filled));
            }
        }
    }

    /// Forgets a page without live messages. Sequences go on at the next page, so that an idle queue keeps nothing.
    fn remove_page(&mut self, number: u64) -> Option<Page> {
        let page = self.pages.remove(&number)?;
        self.obsolete.extend(page.stored);
        if page_of(self.next) == number {
            self.next = first_of(number + 1);
        }
        Some(page)
    }
}
