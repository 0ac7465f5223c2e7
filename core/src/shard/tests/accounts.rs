//! What is in memory, and which bytes of which segment are needed.

use crate::catalog::QueueId;
use crate::log::record::Position;
use crate::shard::cache::Cache;
use crate::shard::page::Stored;
use crate::shard::space::{Space, message_bytes};

const Q: QueueId = QueueId(1);

#[test]
fn the_oldest_cached_messages_leave_first() {
    let mut cache = Cache::default();
    for sequence in 0..4 {
        cache.keep(Q, sequence, 100);
    }
    let each = cache.bytes() / 4;
    assert!(each >= 100, "a message costs its bytes and more");
    assert_eq!(cache.excess(4 * each), None);
    assert_eq!(cache.excess(4 * each - 1), Some((Q, 0)));
    cache.forget(100);
    assert_eq!(cache.excess(3 * each), None);
    // One that is gone since is named, and changes nothing.
    cache.forget(100);
    assert_eq!(cache.excess(0), Some((Q, 1)));
    assert_eq!(cache.excess(0), Some((Q, 2)));
    cache.forget(100);
    assert_eq!(cache.excess(0), Some((Q, 3)));
    cache.forget(100);
    assert_eq!((cache.bytes(), cache.excess(0)), (0, None));
}

#[test]
fn messages_that_must_stay_leave_less_room_for_others() {
    let mut cache = Cache::default();
    cache.keep(Q, 7, 50);
    let each = cache.bytes();
    cache.pin(50);
    assert_eq!((cache.bytes(), cache.transient_bytes()), (2 * each, each));
    assert_eq!(cache.excess(each), Some((Q, 7)));
    cache.forget(50);
    assert_eq!(cache.excess(0), None, "the pinned one is not to be dropped");
    cache.unpin(50);
    assert_eq!((cache.bytes(), cache.transient_bytes()), (0, 0));
}

#[test]
fn the_order_does_not_grow_with_what_is_gone() {
    let mut cache = Cache::default();
    for sequence in 0..10_000 {
        cache.keep(Q, sequence, 1);
        if sequence > 0 {
            cache.forget(1);
        }
    }
    assert!(cache.is_stale());
    cache.compact(|_, sequence| sequence == 9_999);
    assert!(!cache.is_stale());
    assert_eq!(cache.excess(0), Some((Q, 9_999)));
}

#[test]
fn a_segment_is_dead_when_nothing_live_is_in_it() {
    let mut space = Space::default();
    for segment in 0..5 {
        space.seal(segment, 1000);
    }
    space.add(2, message_bytes(100));
    space.add(3, 5);
    assert_eq!(message_bytes(100), 108);
    assert_eq!(space.totals(), (5, 113), "segment 0 has no file; the active one counts");
    assert_eq!(space.take_dead(4), [1], "4 is needed by the checkpoint");
    assert_eq!(space.take_dead(5), [4]);
    space.remove(2, 108);
    assert_eq!(space.take_dead(5), [2]);
    assert_eq!(space.take_dead(5), [0_u64; 0], "each once");
    assert_eq!(space.totals(), (2, 5));
}

#[test]
fn the_sparsest_segment_is_found() {
    let mut space = Space::default();
    for segment in 1..5 {
        space.seal(segment, 1024);
    }
    for (segment, bytes) in [(1, 900), (2, 200), (3, 100), (4, 1)] {
        space.add(segment, bytes);
    }
    assert_eq!(space.sparsest(5, 64), Some(4));
    assert_eq!(space.sparsest(4, 64), Some(3));
    assert_eq!(space.sparsest(3, 64), Some(2));
    assert_eq!(space.sparsest(3, 50), None, "200 of 1024 are 50 of 256");
    assert_eq!(space.sparsest(2, 64), None);
}

/// What a checkpoint makes obsolete is needed until it is durable: a restart before uses the one before.
#[test]
fn obsolete_bytes_are_live_until_a_checkpoint_without_them_is_durable() {
    // G1
    let mut space = Space::default();
    space.seal(1, 1000);
    let at = Position { segment: 1, offset: 0 };
    let stored = |bytes| Some(Stored { at, bytes, checksum: 0 });
    space.add(1, 10);
    space.add(1, 7);
    space.obsolete(stored(10));
    assert_eq!(space.segments()[&1], 17);
    space.begin_checkpoint();
    // Made obsolete while that checkpoint, which refers to it, is written.
    space.obsolete_bytes(1, 7);
    assert_eq!(space.pending().count(), 2);
    space.end_checkpoint();
    assert_eq!(space.segments()[&1], 7);
    assert_eq!(space.take_dead(9), [0_u64; 0]);
    space.begin_checkpoint();
    space.obsolete(None);
    assert_eq!(space.segments()[&1], 7);
    space.end_checkpoint();
    assert_eq!(space.take_dead(9), [1]);
}
