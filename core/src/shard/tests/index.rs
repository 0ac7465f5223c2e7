//! The index against a list that keeps everything.

use crate::knob::page_slots;
use crate::log::record::{Position, checksum};
use crate::message::Message;
use crate::shard::index::{Found, Index, first_of, lane_of, page_of, start_of};
use crate::shard::page::{MESSAGE_HEAD_BYTES, Page, Slot, Stored};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What the index should know of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    at: Position,
    bytes: u32,
    body_bytes: u32,
    expires_ms: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Push {
        lane: usize,
        count: usize,
        segment: u64,
        bytes: u32,
        expires_ms: u64,
    },
    /// Of all sequences ever given, the one at this share.
    Settle(prop::sample::Index),
    SettleRange(prop::sample::Index, usize),
    /// A checkpoint stores every page and drops them from memory.
    Store,
    Relocate(prop::sample::Index, u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_usize, 1..700_usize, 0..4_u64, 0..100_u32, prop::sample::select(vec![0, 1, 5000, 70])).prop_map(
            |(lane, count, segment, bytes, expires_ms)| Op::Push { lane, count, segment, bytes, expires_ms }
        ),
        4 => any::<prop::sample::Index>().prop_map(Op::Settle),
        3 => (any::<prop::sample::Index>(), 0..3000_usize).prop_map(|(from, count)| Op::SettleRange(from, count)),
        2 => Just(Op::Store),
        2 => (any::<prop::sample::Index>(), 4..6_u64).prop_map(|(which, to)| Op::Relocate(which, to)),
    ]
}

fn slot(known: Known) -> Slot {
    Slot {
        at: known.at,
        bytes: known.bytes,
        body_bytes: known.body_bytes,
        live: true,
        delivered: false,
        expires_ms: known.expires_ms,
        due_ms: 0,
        returns: 0,
        priority: 0,
        message: None,
    }
}

/// The bytes of each stored page, by number.
type Shelf = BTreeMap<u64, Vec<u8>>;

fn store(index: &mut Index, shelf: &mut Shelf) {
    for (number, page) in index.pages_mut() {
        if page.dirty {
            let bytes = page.encode();
            page.stored = Some(Stored {
                at: Position {
                    segment: 9,
                    offset: *number as u32,
                },
                bytes: bytes.len() as u32,
                checksum: checksum(&bytes),
            });
            page.dirty = false;
            shelf.insert(*number, bytes);
        }
        page.slots = None;
    }
}

fn load(index: &mut Index, shelf: &Shelf, number: u64) {
    let page = index.page_mut(number).expect("it is asked for");
    assert!(page.slots.is_none(), "a page in memory is not missing");
    page.load(&shelf[&number]).expect("the page's own bytes");
}

/// As the shard does it.
fn settle_range(index: &mut Index, shelf: &Shelf, first: u64, last: u64) {
    while let Some(missing) = index.missing_for(first, last) {
        load(index, shelf, missing);
    }
    if first == last {
        index.settle(first);
        return;
    }
    for (page, whole) in index.pages_in(first, last) {
        if whole {
            index.settle_page(page);
        } else {
            for sequence in index.span(page, first, last) {
                index.settle(sequence);
            }
        }
    }
}

fn compare(index: &mut Index, shelf: &Shelf, model: &BTreeMap<u64, Known>) {
    index.check();
    assert_eq!(index.live(), model.len() as u64);
    assert_eq!(
        index.body_bytes(),
        model.values().map(|known| u64::from(known.body_bytes)).sum::<u64>()
    );
    let mut by_segment: BTreeMap<u64, u64> = BTreeMap::new();
    for known in model.values() {
        *by_segment.entry(known.at.segment).or_default() += u64::from(known.bytes + MESSAGE_HEAD_BYTES);
    }
    let mut counted: BTreeMap<u64, u64> = BTreeMap::new();
    for (segment, bytes) in index.pages().values().flat_map(|page| &page.by_segment) {
        *counted.entry(*segment).or_default() += bytes;
    }
    assert_eq!(counted, by_segment);
    // Every message, in order, with where it lies.
    let mut from = 0;
    for (sequence, known) in model {
        if lane_of(*sequence) != lane_of(from) {
            assert!(matches!(index.first_live(from), Found::None), "the lane ends");
            from = start_of(lane_of(*sequence));
        }
        loop {
            match index.first_live(from) {
                Found::Page(page) => {
                    let earliest = index.expiry_hint(page);
                    let in_page = model.range(first_of(page)..first_of(page) + page_slots() as u64);
                    let expiries = in_page.map(|(_, known)| known.expires_ms).filter(|expiry| *expiry > 0);
                    assert!(expiries.min().is_none_or(|expiry| 0 < earliest && earliest <= expiry));
                    load(index, shelf, page);
                }
                Found::Slot(found, slot) => {
                    let came = Known {
                        at: slot.at,
                        bytes: slot.bytes,
                        body_bytes: slot.body_bytes,
                        expires_ms: slot.expires_ms,
                    };
                    assert_eq!((found, came), (*sequence, *known));
                    break;
                }
                Found::None => panic!("{sequence} is live"),
            }
        }
        from = sequence + 1;
    }
    assert!(matches!(index.first_live(from), Found::None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn an_index_holds_what_a_list_holds(ops in prop::collection::vec(op(), 1..25)) {
        let (mut index, mut shelf) = (Index::default(), Shelf::new());
        let mut model: BTreeMap<u64, Known> = BTreeMap::new();
        let mut given: Vec<u64> = Vec::new();
        for op in ops {
            match op {
                Op::Push { lane, count, segment, bytes, expires_ms } => for number in 0..count {
                    if let Some(tail) = index.missing_tail(lane) {
                        load(&mut index, &shelf, tail);
                    }
                    let at = Position { segment, offset: number as u32 * 16 };
                    let known = Known { at, bytes: bytes + 20, body_bytes: bytes, expires_ms };
                    let sequence = index.push(lane, slot(known));
                    let last = given.iter().rev().find(|given| lane_of(**given) == lane);
                    prop_assert!(last.is_none_or(|last| sequence > *last), "sequences grow");
                    prop_assert_eq!(lane_of(sequence), lane);
                    given.push(sequence);
                    model.insert(sequence, known);
                },
                Op::Settle(_) | Op::SettleRange(..) | Op::Relocate(..) if given.is_empty() => {}
                Op::Settle(which) => {
                    let sequence = *which.get(&given);
                    if let Some(page) = index.missing_at(sequence) {
                        load(&mut index, &shelf, page);
                    }
                    let was = index.settle(sequence).map(|slot| slot.at);
                    prop_assert_eq!(was, model.remove(&sequence).map(|known| known.at));
                    prop_assert!(index.settle(sequence).is_none(), "settled once");
                }
                Op::SettleRange(from, count) => {
                    let first = *from.get(&given);
                    let end = first + count as u64;
                    settle_range(&mut index, &shelf, first, end);
                    model.retain(|sequence, _| !(first..=end).contains(sequence));
                }
                Op::Store => store(&mut index, &mut shelf),
                Op::Relocate(which, segment) => {
                    let sequence = *which.get(&given);
                    if let Some(known) = model.get_mut(&sequence) {
                        if let Some(page) = index.missing_at(sequence) {
                            load(&mut index, &shelf, page);
                        }
                        known.at = Position { segment, offset: 77 };
                        index.relocate(sequence, known.at);
                    }
                }
            }
            compare(&mut index, &shelf, &model);
        }
        // What a checkpoint says of the pages brings the same index back.
        store(&mut index, &mut shelf);
        let pages: BTreeMap<u64, Page> = index.pages().clone();
        let mut restored = Index::restore(index.nexts().collect(), pages).expect("its own pages");
        compare(&mut restored, &shelf, &model);
    }

    #[test]
    fn any_bytes_are_a_page_or_refused(bytes: Vec<u8>, filled in 0..5_u16, live in 0..5_u16) {
        let mut page = Page { filled, live, ..Page::default() };
        if page.load(&bytes).is_some() {
            prop_assert_eq!(page.slots.map(|slots| slots.len()), Some(usize::from(filled)));
        }
    }
}

#[test]
fn a_tail_page_that_is_wholly_settled_is_gone_and_sequences_go_on_behind_it() {
    let mut index = Index::default();
    let known = Known {
        at: Position { segment: 1, offset: 0 },
        bytes: 10,
        body_bytes: 5,
        expires_ms: 0,
    };
    for _ in 0..3 {
        index.push(0, slot(known));
    }
    for sequence in 0..3 {
        assert!(index.settle(sequence).is_some());
    }
    assert_eq!((index.pages().len(), index.next(0)), (0, page_slots() as u64));
    assert_eq!(page_of(index.push(0, slot(known))), 1);
}

#[test]
fn messages_are_cached_and_dropped() {
    let mut index = Index::default();
    let message = Message::new("x", b"key", &[0, 0], b"body");
    let mut one = slot(Known {
        at: Position { segment: 1, offset: 0 },
        bytes: message.bytes().len() as u32,
        body_bytes: 4,
        expires_ms: 0,
    });
    one.message = Some(message.clone());
    index.push(0, one);
    index.check();
    assert_eq!(index.uncache(0), Some(message.bytes().len() as u32));
    assert_eq!(index.uncache(0), None);
    index.check();
    index.cache(0, message.clone());
    index.check();
    assert_eq!(index.settle(0).and_then(|slot| slot.message), Some(message));
}
