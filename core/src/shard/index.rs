//! The replicated part of a queue: which messages it holds and where they lie. A function of the entries applied.
//!
//! A queue has lanes, each with sequences of its own: one for each priority, the highest first,
//! and one for messages whose time has not come. Most queues use one.

use super::page::{Page, Sequence, Slot, Stored};
use crate::knob::page_slots;
use crate::log::record::Position;
use crate::message::Message;
use std::collections::BTreeMap;

/// Pages by number, sparse: a page whose messages are all settled is gone.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pages: BTreeMap<u64, Page>,
    /// Those that were ever used, and those before them.
    lanes: Vec<Lane>,
    live: u64,
    body_bytes: u64,
    /// Stored copies of pages that are gone, to be released when no checkpoint refers to them.
    pub(crate) obsolete: Vec<Stored>,
}

/// Sequences of one priority, or of the delayed messages.
#[derive(Clone, Copy, Debug)]
struct Lane {
    /// The sequence of its next message.
    next: Sequence,
    /// Messages not settled, and bytes of their bodies.
    live: u64,
    body_bytes: u64,
}

/// What a lookup found.
pub(crate) enum Found<'a> {
    Slot(Sequence, &'a Slot),
    /// The page must be loaded first.
    Page(u64),
    None,
}

/// A sequence's bits from here on are its lane; below them, no lane comes to so many messages.
const LANE_SHIFT: u32 = 52;
/// Likewise of a page's number.
const PAGE_LANE_SHIFT: u32 = 42;
/// Lanes of a queue, at most: a priority has a byte, and delayed messages have a lane of their own.
pub(crate) const LANES_MAX: usize = 257;

/// The lane of a message.
pub(crate) const fn lane_of(sequence: Sequence) -> usize {
    (sequence >> LANE_SHIFT) as usize
}

/// The first sequence of a lane.
pub(crate) const fn start_of(lane: usize) -> Sequence {
    (lane as Sequence) << LANE_SHIFT
}

/// A page's number: its lane, then its place in the lane.
pub(crate) fn page_of(sequence: Sequence) -> u64 {
    let lane = lane_of(sequence);
    first_page(lane) + (sequence - start_of(lane)) / page_slots() as u64
}

/// The number of a lane's first page.
pub(crate) const fn first_page(lane: usize) -> u64 {
    (lane as u64) << PAGE_LANE_SHIFT
}

/// The lane of a page.
const fn lane_of_page(page: u64) -> usize {
    (page >> PAGE_LANE_SHIFT) as usize
}

fn slot_of(sequence: Sequence) -> usize {
    ((sequence - start_of(lane_of(sequence))) % page_slots() as u64) as usize
}

/// The sequence of a page's first slot.
pub(crate) fn first_of(page: u64) -> Sequence {
    let lane = lane_of_page(page);
    start_of(lane) + (page - first_page(lane)) * page_slots() as u64
}

impl Lane {
    const fn new(next: Sequence) -> Self {
        Self {
            next,
            live: 0,
            body_bytes: 0,
        }
    }
}

impl Index {
    /// From a checkpoint. `None` if the pages are not those of one queue with these next sequences.
    pub(crate) fn restore(next: Vec<Sequence>, pages: BTreeMap<u64, Page>) -> Option<Self> {
        let fits = |(number, page): (&u64, &Page)| {
            let Some(next) = next.get(lane_of_page(*number)).copied() else {
                return false;
            };
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
        let in_lane = |(lane, next): (usize, &Sequence)| lane_of(*next) == lane;
        if next.len() > LANES_MAX || !next.iter().enumerate().all(in_lane) || !pages.iter().all(fits) {
            return None;
        }
        let (live, body_bytes) = (sum(|page| u64::from(page.live))?, sum(|page| page.body_bytes)?);
        let mut lanes: Vec<Lane> = next.into_iter().map(Lane::new).collect();
        for (number, page) in &pages {
            let lane = &mut lanes[lane_of_page(*number)];
            lane.live += u64::from(page.live);
            lane.body_bytes += page.body_bytes;
        }
        Some(Self {
            pages,
            lanes,
            live,
            body_bytes,
            obsolete: Vec::new(),
        })
    }

    /// The sequence of a lane's next message.
    pub(crate) fn next(&self, lane: usize) -> Sequence {
        self.lanes.get(lane).map_or(start_of(lane), |lane| lane.next)
    }

    /// The next sequences of the lanes that were ever used, and of those before them.
    pub(crate) fn nexts(&self) -> impl ExactSizeIterator<Item = Sequence> {
        self.lanes.iter().map(|lane| lane.next)
    }

    /// Messages of a lane that are not settled, and bytes of their bodies.
    pub(crate) fn live_in(&self, lane: usize) -> (u64, u64) {
        self.lanes.get(lane).map_or((0, 0), |lane| (lane.live, lane.body_bytes))
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

    /// A lane's tail page, if it must be loaded before a push.
    pub(crate) fn missing_tail(&self, lane: usize) -> Option<u64> {
        let page = page_of(self.next(lane));
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

    /// Appends a message to a lane.
    pub(crate) fn push(&mut self, lane: usize, slot: Slot) -> Sequence {
        while self.lanes.len() <= lane {
            self.lanes.push(Lane::new(start_of(self.lanes.len())));
        }
        let lane = &mut self.lanes[lane];
        let sequence = lane.next;
        lane.next += 1;
        lane.live += 1;
        lane.body_bytes += u64::from(slot.body_bytes);
        self.live += 1;
        self.body_bytes += u64::from(slot.body_bytes);
        let page = self.pages.entry(page_of(sequence)).or_insert_with(Page::in_memory);
        assert_eq!(usize::from(page.filled), slot_of(sequence), "pages are filled in order");
        page.push(slot);
        sequence
    }

    /// Settles one message; its slot as it was, unless it was settled already.
    pub(crate) fn settle(&mut self, sequence: Sequence) -> Option<Slot> {
        let number = page_of(sequence);
        let page = self.pages.get_mut(&number)?;
        let was = page.settle(slot_of(sequence))?;
        let empty = page.live == 0;
        self.left(number, 1, u64::from(was.body_bytes));
        if empty {
            self.remove_page(number);
        }
        Some(was)
    }

    /// Removes a page that is wholly within a settled range, without loading it. How many messages went, with the page.
    pub(crate) fn settle_page(&mut self, number: u64) -> Option<Page> {
        let page = self.pages.get(&number)?;
        self.left(number, u64::from(page.live), page.body_bytes);
        self.remove_page(number)
    }

    /// Messages left a page.
    fn left(&mut self, page: u64, messages: u64, body_bytes: u64) {
        self.live -= messages;
        self.body_bytes -= body_bytes;
        let lane = &mut self.lanes[lane_of_page(page)];
        lane.live -= messages;
        lane.body_bytes -= body_bytes;
    }

    /// The pages that a range touches; each with whether the range covers it wholly.
    pub(crate) fn pages_in(&self, first: Sequence, last: Sequence) -> Vec<(u64, bool)> {
        let covers = |number: u64| {
            let next = self.next(lane_of_page(number));
            first_of(number) >= first && (first_of(number + 1) - 1 <= last || next <= last.saturating_add(1))
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

    /// The first live message of the lane from `from` on.
    pub(crate) fn first_live(&self, from: Sequence) -> Found<'_> {
        for (number, page) in self.pages.range(page_of(from)..first_page(lane_of(from) + 1)) {
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

    /// A message was given back once more: how often by now, if it is there.
    pub(crate) fn count_return(&mut self, sequence: Sequence) -> Option<u16> {
        self.slot(sequence).filter(|slot| slot.live)?;
        let page = self.pages.get_mut(&page_of(sequence)).expect("the slot is live");
        page.count_return(slot_of(sequence));
        self.slot(sequence).map(|slot| slot.returns)
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
        for (number, lane) in self.lanes.iter().enumerate() {
            let pages = self
                .pages
                .range(page_of(start_of(number))..page_of(start_of(number + 1)));
            let sum = pages.fold((0, 0), |(live, bytes), (_, page)| {
                (live + u64::from(page.live), bytes + page.body_bytes)
            });
            assert_eq!(sum, (lane.live, lane.body_bytes), "a lane counts its pages");
        }
        for (number, page) in &self.pages {
            assert!(page.live > 0, "empty pages are gone");
            let next = self.next(lane_of_page(*number));
            assert!(first_of(*number) < next, "pages lie before the next sequence");
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
        let lane = &mut self.lanes[lane_of_page(number)];
        if page_of(lane.next) == number {
            lane.next = first_of(number + 1);
        }
        Some(page)
    }
}
