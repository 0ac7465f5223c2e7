//! A queue against sets of sequences.

use crate::catalog::{Definition, Overflow, Policy, QueueId};
use crate::log::record::Position;
use crate::machine::Time;
use crate::message::Table;
use crate::shard::index::{Index, lane_of};
use crate::shard::page::Slot;
use crate::shard::queue::{Head, Holder, Queue};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn queue(policy: Policy) -> Queue {
    let definition = Definition {
        vhost: "/".into(),
        name: "q".into(),
        durable: true,
        exclusive: None,
        auto_delete: false,
        arguments: Table::default(),
        policy,
    };
    Queue::new(QueueId(1), definition, Index::default(), Time(0))
}

fn slot(priority: u8, body_bytes: u32) -> Slot {
    Slot {
        at: Position { segment: 1, offset: 0 },
        bytes: body_bytes + 10,
        body_bytes,
        live: true,
        delivered: false,
        expires_ms: 0,
        due_ms: 0,
        returns: 0,
        priority,
        message: None,
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// So many messages of a priority.
    Push(usize, u8),
    Take(usize),
    PutBack(prop::sample::Index),
    Settle(prop::sample::Index),
    TakeAll,
    /// A new leader.
    Lead,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..500_usize, 0..5_u8).prop_map(|(count, priority)| Op::Push(count, priority)),
        4 => (1..400_usize).prop_map(Op::Take),
        3 => any::<prop::sample::Index>().prop_map(Op::PutBack),
        3 => any::<prop::sample::Index>().prop_map(Op::Settle),
        1 => Just(Op::TakeAll),
        1 => Just(Op::Lead),
    ]
}

fn head(queue: &mut Queue) -> Option<u64> {
    match queue.head() {
        Head::Ready(sequence) => Some(sequence),
        Head::Empty => None,
        Head::Page(page) => panic!("page {page} is in memory"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// G5: the head is always the oldest ready message of the highest priority, for lanes are in that order; G3: what was
    /// taken before is marked.
    #[test]
    fn the_oldest_ready_message_is_the_head(priority_max in 0..4_u8, ops in prop::collection::vec(op(), 1..40)) {
        let mut queue = queue(Policy { priority_max, ..Policy::default() });
        let (mut ready, mut held, mut seen) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for op in ops {
            match op {
                Op::Push(count, priority) => for _ in 0..count {
                    let sequence = queue.push(slot(priority, 3));
                    prop_assert_eq!(lane_of(sequence), usize::from(priority_max - priority.min(priority_max)));
                    ready.insert(sequence);
                },
                Op::Take(count) => for _ in 0..count {
                    let first = ready.pop_first();
                    prop_assert_eq!(head(&mut queue), first);
                    let Some(first) = first else { break };
                    queue.take(first);
                    prop_assert_eq!(queue.is_redelivered(first), seen.contains(&first));
                    queue.unsettled.insert(first, Holder::Get);
                    held.insert(first);
                },
                Op::PutBack(which) | Op::Settle(which) if !held.is_empty() => {
                    let sequence = *held.iter().nth(which.index(held.len())).expect("within");
                    held.remove(&sequence);
                    queue.unsettled.remove(&sequence);
                    if matches!(op, Op::PutBack(_)) {
                        queue.put_back(sequence);
                        ready.insert(sequence);
                        seen.insert(sequence);
                    } else {
                        prop_assert!(queue.index.settle(sequence).is_some());
                    }
                }
                Op::PutBack(_) | Op::Settle(_) => {}
                Op::TakeAll => {
                    let (ranges, count) = queue.take_all();
                    prop_assert_eq!(count, ready.len() as u64);
                    prop_assert!(ranges.is_empty() == ready.is_empty());
                    let covered = |sequence: &u64| ranges.iter().any(|(first, last)| (*first..=*last).contains(sequence));
                    prop_assert!(ready.iter().all(covered), "every ready message leaves");
                    prop_assert!(!held.iter().any(covered), "and no unsettled one");
                    for sequence in std::mem::take(&mut ready) {
                        prop_assert!(queue.index.settle(sequence).is_some());
                    }
                }
                Op::Lead => {
                    queue.unsettled.clear();
                    queue.lead();
                    ready.append(&mut held);
                    seen.extend(ready.iter().copied());
                }
            }
            queue.check(&[]);
            prop_assert_eq!(head(&mut queue), ready.first().copied());
            prop_assert_eq!((queue.ready, queue.ready_bytes), (ready.len() as u64, ready.len() as u64 * 3));
            prop_assert_eq!(queue.index.live(), (ready.len() + held.len()) as u64);
        }
    }
}

#[test]
fn limits_count_ready_and_pending_messages() {
    let mut limited = queue(Policy {
        length_max: Some(2),
        bytes_max: Some(10),
        overflow: Overflow::RejectPublish,
        ..Policy::default()
    });
    assert!(!limited.is_full_for(10) && limited.is_full_for(11));
    limited.push(slot(0, 4));
    assert!(!limited.is_full_for(6) && limited.is_full_for(7));
    (limited.pending, limited.pending_bytes) = (1, 1);
    assert!(limited.is_full_for(0), "two are there or on their way");
    limited.push(slot(0, 40));
    assert!(!limited.is_over_limit(), "a queue that refuses drops nothing");
    limited.definition.policy.overflow = Overflow::DropHead;
    assert!(limited.is_over_limit());
}

#[test]
fn pages_that_are_worked_on_are_pinned() {
    let mut queue = queue(Policy::default());
    for _ in 0..6 * 1024 {
        queue.push(slot(0, 1));
    }
    let pinned = |queue: &Queue| (0..8).filter(|page| queue.pins(*page)).collect::<Vec<u64>>();
    assert_eq!(pinned(&queue), [0, 1, 6], "head, the one behind it, tail");
    for sequence in 0..3 * 1024 {
        assert_eq!(head(&mut queue), Some(sequence));
        queue.take(sequence);
    }
    queue.unsettled.insert(100, Holder::Get);
    assert_eq!(pinned(&queue), [0, 3, 4, 6]);
    queue.unsettled.clear();
    queue.put_back(2000);
    assert_eq!(pinned(&queue), [1, 3, 4, 6]);
    assert_eq!(head(&mut queue), Some(2000));
}
