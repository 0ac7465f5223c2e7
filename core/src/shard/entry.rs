//! Commands of a shard, as they lie in the body of an entry.
//!
//! An entry is varint time (wall ms), then commands to the end. A command is a tag byte and its fields; messages are
//! preceded by their CRC32C and length (u32 each), so that each can be read and checked alone.

use crate::catalog::{Change, QueueId};
use crate::encoding::{Reader, put_varint};
use crate::log::record::{Body, checksum};
use crate::message::Message;
use crate::plant::{self, Plant};
use bytes::Bytes;
use std::sync::Arc;

use super::page::Sequence;

/// A deterministic command: what it does depends on the state and itself alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// Changes the catalog.
    Change(Change),
    /// Appends a message to queues.
    Enqueue(Enqueue),
    /// Removes messages from a queue: settled, expired, dropped or purged.
    Settle(Settle),
    /// Removes a message from a queue and appends its dead-lettered form to others, at once. Nothing happens if the
    /// message is not there any more (G13: dead-lettered exactly once).
    Move {
        queue: QueueId,
        sequence: Sequence,
        enqueue: Enqueue,
    },
    /// Messages were delivered and given back, and that is counted.
    Return(Return),
    /// Delayed messages whose time has come go to the tails of their lanes, in this order.
    Promote { queue: QueueId, sequences: Vec<Sequence> },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Enqueue {
    /// Persistent queues.
    pub(crate) queues: Arc<[QueueId]>,
    /// Queues in memory; not part of the entry, for they do not survive their leader.
    pub(crate) transient: Arc<[QueueId]>,
    /// The message's own time to live, in milliseconds.
    pub(crate) ttl_ms: Option<u64>,
    /// Milliseconds before it may be delivered; its time to live begins after them.
    pub(crate) delay_ms: u64,
    pub(crate) message: Message,
}

/// Messages of a queue that came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Return {
    pub(crate) queue: u64,
    /// Each with the milliseconds before it may be delivered again: without, it is back at its old place.
    pub(crate) returned: Vec<(Sequence, u64)>,
}

/// Inclusive ranges of a queue's sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settle {
    pub(crate) queue: u64,
    pub(crate) ranges: Vec<(Sequence, Sequence)>,
}

const CHANGE: u8 = 1;
const ENQUEUE: u8 = 2;
const SETTLE: u8 = 3;
const MOVE: u8 = 4;
const RETURN: u8 = 5;
const PROMOTE: u8 = 6;

impl Settle {
    /// Adds one sequence, to the last range if it follows it.
    pub(crate) fn add(&mut self, sequence: Sequence) {
        match self.ranges.last_mut() {
            Some((_, last)) if *last + 1 == sequence => *last = sequence,
            Some((_, last)) if *last + 2 == sequence && plant::is(Plant::RangesJoined) => *last = sequence,
            _ => self.ranges.push((sequence, sequence)),
        }
    }
}

impl Command {
    /// Appends the command; where its message's checksum begins in the body, if it has one.
    pub(crate) fn encode(&self, to: &mut Body) -> Option<u32> {
        match self {
            Self::Change(change) => {
                to.tail().push(CHANGE);
                change.encode(to.tail());
                None
            }
            Self::Enqueue(enqueue) => {
                to.tail().push(ENQUEUE);
                Some(enqueue.encode(to))
            }
            Self::Settle(settle) => {
                let tail = to.tail();
                tail.push(SETTLE);
                put_varint(tail, settle.queue);
                put_varint(tail, settle.ranges.len() as u64);
                for (first, last) in &settle.ranges {
                    put_varint(tail, *first);
                    put_varint(tail, last - first);
                }
                None
            }
            Self::Move {
                queue,
                sequence,
                enqueue,
            } => {
                let tail = to.tail();
                tail.push(MOVE);
                put_varint(tail, queue.0);
                put_varint(tail, *sequence);
                Some(enqueue.encode(to))
            }
            Self::Return(Return { queue, returned }) => {
                let tail = to.tail();
                tail.push(RETURN);
                put_varint(tail, *queue);
                put_varint(tail, returned.len() as u64);
                for (sequence, delay_ms) in returned {
                    put_varint(tail, *sequence);
                    put_varint(tail, *delay_ms);
                }
                None
            }
            Self::Promote { queue, sequences } => {
                let tail = to.tail();
                tail.push(PROMOTE);
                put_varint(tail, queue.0);
                put_varint(tail, sequences.len() as u64);
                sequences.iter().for_each(|sequence| put_varint(tail, *sequence));
                None
            }
        }
    }

    /// Reads one command; with it, where its message's checksum begins in `body`.
    fn decode(body: &Bytes, from: &mut Reader<'_>) -> Option<(Self, Option<u32>)> {
        match from.u8()? {
            CHANGE => Some((Self::Change(Change::decode(from)?), None)),
            ENQUEUE => {
                let (enqueue, at) = Enqueue::decode(body, from)?;
                Some((Self::Enqueue(enqueue), Some(at)))
            }
            SETTLE => {
                let queue = from.varint()?;
                let count = from.count()?;
                let mut ranges = Vec::with_capacity(count);
                for _ in 0..count {
                    let first = from.varint()?;
                    ranges.push((first, first.checked_add(from.varint()?)?));
                }
                Some((Self::Settle(Settle { queue, ranges }), None))
            }
            MOVE => {
                let (queue, sequence) = (QueueId(from.varint()?), from.varint()?);
                let (enqueue, at) = Enqueue::decode(body, from)?;
                Some((
                    Self::Move {
                        queue,
                        sequence,
                        enqueue,
                    },
                    Some(at),
                ))
            }
            RETURN => {
                let queue = from.varint()?;
                let count = from.count()?;
                let returned = (0..count).map(|_| Some((from.varint()?, from.varint()?)));
                let returned = returned.collect::<Option<Vec<_>>>()?;
                Some((Self::Return(Return { queue, returned }), None))
            }
            PROMOTE => {
                let queue = QueueId(from.varint()?);
                let count = from.count()?;
                let sequences = (0..count).map(|_| from.varint()).collect::<Option<Vec<_>>>()?;
                Some((Self::Promote { queue, sequences }, None))
            }
            _ => None,
        }
    }
}

impl Enqueue {
    fn encode(&self, to: &mut Body) -> u32 {
        let tail = to.tail();
        put_varint(tail, self.queues.len() as u64);
        self.queues.iter().for_each(|queue| put_varint(tail, queue.0));
        put_varint(tail, self.ttl_ms.map_or(0, |ttl| ttl + 1));
        put_varint(tail, self.delay_ms);
        let at = to.len() as u32;
        put_message(self.message.bytes(), to);
        at
    }

    fn decode(body: &Bytes, from: &mut Reader<'_>) -> Option<(Self, u32)> {
        let count = from.count()?;
        let queues = (0..count)
            .map(|_| Some(QueueId(from.varint()?)))
            .collect::<Option<Arc<[QueueId]>>>()?;
        let ttl_ms = from.varint()?.checked_sub(1);
        let delay_ms = from.varint()?;
        let at = from.position();
        let sum = from.u32()?;
        let bytes = from.u32()? as usize;
        let start = from.position();
        let taken = from.take(bytes)?;
        if checksum(taken) != sum {
            return None;
        }
        let message = Message::decode(body.slice(start..start + bytes))?;
        let enqueue = Self {
            queues,
            transient: Arc::default(),
            ttl_ms,
            delay_ms,
            message,
        };
        Some((enqueue, u32::try_from(at).ok()?))
    }
}

/// Appends a message as it is stored: checksum, length, bytes.
pub(crate) fn put_message(message: &Bytes, to: &mut Body) {
    to.tail().extend(checksum(message).to_le_bytes());
    to.tail().extend((message.len() as u32).to_le_bytes());
    to.put(message);
}

/// Reads a stored message at the start of `bytes`; `None` if it is not whole (G17).
pub(crate) fn parse_message(bytes: &[u8], expected_bytes: u32) -> Option<Message> {
    let mut from = Reader::new(bytes);
    let (sum, length) = (from.u32()?, from.u32()?);
    let message = from.take(length as usize)?;
    if length != expected_bytes || (!plant::is(Plant::MessageUnchecked) && checksum(message) != sum) {
        return None;
    }
    Message::decode(Bytes::copy_from_slice(message))
}

/// A decoded command and where its message's checksum begins in the body.
pub(crate) type Decoded = (Command, Option<u32>);

/// Reads an entry: its time and its commands.
pub(crate) fn decode_entry(body: &Bytes) -> Option<(u64, Vec<Decoded>)> {
    let mut from = Reader::new(body);
    let time_ms = from.varint()?;
    let mut commands = Vec::new();
    while !from.is_empty() {
        commands.push(Command::decode(body, &mut from)?);
    }
    Some((time_ms, commands))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn command() -> impl Strategy<Value = Command> {
        let message = (any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..50))
            .prop_map(|(key, body)| Message::new("exchange", &key, &[0, 0], &body));
        let queues = prop::collection::vec(any::<u64>().prop_map(QueueId), 0..4).prop_map(Arc::from);
        let enqueue = (queues, prop::option::of(0..u64::MAX), any::<u64>(), message);
        let enqueue = enqueue.prop_map(|(queues, ttl_ms, delay_ms, message)| Enqueue {
            queues,
            transient: Arc::default(),
            ttl_ms,
            delay_ms,
            message,
        });
        let returned = prop::collection::vec(any::<(u64, u64)>(), 0..4);
        let sequences = prop::collection::vec(any::<u64>(), 0..4);
        let ranges = prop::collection::vec((0..u64::MAX / 2, 0..1000_u64).prop_map(|(a, b)| (a, a + b)), 0..4);
        prop_oneof![
            enqueue.clone().prop_map(Command::Enqueue),
            (any::<u64>(), ranges).prop_map(|(queue, ranges)| Command::Settle(Settle { queue, ranges })),
            (any::<u64>(), any::<u64>(), enqueue).prop_map(|(queue, sequence, enqueue)| Command::Move {
                queue: QueueId(queue),
                sequence,
                enqueue
            }),
            (any::<u64>(), returned).prop_map(|(queue, returned)| Command::Return(Return { queue, returned })),
            (any::<u64>(), sequences).prop_map(|(queue, sequences)| Command::Promote {
                queue: QueueId(queue),
                sequences
            }),
            Just(Command::Change(Change::Restarted)),
        ]
    }

    proptest! {
        #[test]
        fn entries_come_back(time: u64, commands in prop::collection::vec(command(), 0..6), cut: prop::sample::Index) {
            let mut body = Body::default();
            put_varint(body.tail(), time);
            let places: Vec<Option<u32>> = commands.iter().map(|command| command.encode(&mut body)).collect();
            let bytes = Bytes::from(body.tail().clone());
            let (came_time, came) = decode_entry(&bytes).expect("whole");
            prop_assert_eq!(came_time, time);
            let expected: Vec<Decoded> = commands.into_iter().zip(places).collect();
            prop_assert_eq!(came, expected);
            // Whatever else the bytes are, reading them ends and does not panic.
            let _ = decode_entry(&bytes.slice(..cut.index(bytes.len())));
        }
    }
}
