//! Copy-forward: the live messages of a mostly dead segment are written again at the log's end, so that one forgotten
//! message does not pin a whole segment.
//!
//! Only places change: the message keeps its queue and its sequence. The old place is needed until a checkpoint that
//! knows the new one is durable.

use super::Shard;
use super::entry::put_message;
use super::index::first_of;
use super::page::{MESSAGE_HEAD_BYTES, Sequence};
use crate::catalog::QueueId;
use crate::knob;
use crate::log::record::{Body, HEADER_BYTES, Kind, Position, record_bytes};
use crate::mark::{self, Mark};
use crate::plant::{self, Plant};

/// A segment is copied when less than this share of it, in 256, is live.
const SPARSE_SHARE: u64 = 64;

/// The segment being emptied.
#[derive(Debug)]
pub(super) struct Compaction {
    victim: u64,
    /// Messages whose copies are being written: queue, sequence, old place, new place.
    moving: Vec<(QueueId, Sequence, Position, Position)>,
}

impl Shard {
    /// After a checkpoint: is there a segment worth emptying?
    ///
    /// No more is copied than was written: where segments are small, copies and checkpoints would fill sparse ones by
    /// themselves, which would be copied in their turn, for ever.
    pub(super) fn find_sparse_segment(&mut self) {
        if self.compaction.is_none() && self.counters.copied_bytes <= self.counters.entry_bytes {
            let victim = self.space.sparsest(self.checkpoint.first_needed(), SPARSE_SHARE);
            self.compaction = victim.map(|victim| Compaction {
                victim,
                moving: Vec::new(),
            });
        }
    }

    /// Copies some messages. Whether something was written.
    pub(super) fn continue_compaction(&mut self) -> bool {
        let Some(compaction) = &self.compaction else {
            return false;
        };
        if !compaction.moving.is_empty() || !self.checkpoint.is_idle() {
            return false;
        }
        let victim = compaction.victim;
        let Some((id, number)) = self.page_in(victim) else {
            // Nothing refers to it any more; the next checkpoint frees it.
            self.compaction = None;
            return false;
        };
        let index = &self.queues[&id].index;
        let Some(slots) = &index.pages()[&number].slots else {
            self.load_page(id, number);
            return false;
        };
        let mut found = Vec::new();
        let mut bytes = 0;
        for (place, slot) in slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.live && slot.at.segment == victim)
        {
            let sequence = first_of(number) + place as u64;
            let Some(message) = &slot.message else {
                if found.is_empty() {
                    self.load_messages(id, sequence);
                    return false;
                }
                break;
            };
            bytes += message.bytes().len() + MESSAGE_HEAD_BYTES as usize;
            found.push((sequence, slot.at, message.bytes().clone()));
            if bytes > knob::copy_bytes() {
                break;
            }
        }
        if !self.log.reserve(record_bytes(bytes)) {
            return false;
        }
        self.copy(id, &found);
        true
    }

    /// Copies that are durable take the place of the originals.
    pub(super) fn finish_copies(&mut self) {
        let Some(compaction) = &mut self.compaction else { return };
        for (id, sequence, from, to) in std::mem::take(&mut compaction.moving) {
            let Some(queue) = self.queues.get_mut(&id) else {
                continue;
            };
            let Some(slot) = queue.index.slot(sequence).filter(|slot| slot.live && slot.at == from) else {
                mark::hit(Mark::CopyOutlived);
                continue;
            };
            let bytes = super::space::message_bytes(slot.bytes);
            queue.index.relocate(sequence, to);
            self.space.add(to.segment, bytes);
            self.space.obsolete_bytes(from.segment, bytes);
        }
    }

    fn copy(&mut self, id: QueueId, found: &[(Sequence, Position, bytes::Bytes)]) {
        let mut body = Body::default();
        let mut offsets = Vec::with_capacity(found.len());
        for (_, _, message) in found {
            offsets.push(body.len() as u32);
            put_message(message, &mut body);
        }
        self.counters.copied_bytes += body.len() as u64;
        let (at, _) = self.log.append(Kind::Copied, body);
        debug_assert!(at.offset as usize >= HEADER_BYTES);
        let place = |offset: u32| Position {
            segment: at.segment,
            offset: at.offset + offset,
        };
        let moves = found
            .iter()
            .zip(offsets)
            .map(|((sequence, from, _), offset)| (id, *sequence, *from, place(offset)));
        self.compaction.as_mut().expect("a segment is being emptied").moving = moves.collect();
        self.log.submit();
        mark::hit(Mark::CopyForward);
        if plant::is(Plant::CopyRelocatesEarly) {
            self.finish_copies();
        }
    }

    /// A page with live messages in the segment.
    fn page_in(&self, segment: u64) -> Option<(QueueId, u64)> {
        self.queues.iter().find_map(|(id, queue)| {
            let mut pages = queue.index.pages().iter();
            let found = pages.find(|(_, page)| page.by_segment.iter().any(|(number, _)| *number == segment));
            found.map(|(number, _)| (*id, *number))
        })
    }
}
