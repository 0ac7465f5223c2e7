//! Checkpoints: the index goes to the log, so that a restart reads the tail only.
//!
//! A checkpoint writes the pages that changed since the last one, then a manifest that refers to every page, then the
//! superblock, which refers to the manifest. What it costs grows with the log written since the last checkpoint and with
//! the number of queues and pages, not with the number of messages.
//!
//! Manifest: varint time, varint next queue number, changes that rebuild the catalog (count, then each), then queues
//! (count, then each: number, next sequence of each lane, pages), each page as in `put_page`.

use super::Shard;
use super::index::Index;
use super::page::{Page, Stored};
use crate::catalog::{Change, QueueId};
use crate::encoding::{Reader, put_varint};
use crate::knob;
use crate::log::record::{BODY_BYTES_MAX, Body, Kind, Position, checksum, record_bytes};
use crate::log::superblock::Superblock;
use crate::mark::{self, Mark};
use crate::plant::{self, Plant};
use std::collections::BTreeMap;

/// Bytes of a stored slot, at most.
const SLOT_BYTES_MAX: usize = 62;
/// Bytes of a page's entry in the manifest, at most, beside its segments.
const PAGE_ENTRY_BYTES_MAX: usize = 90;

/// The state of checkpointing.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) superblock: Superblock,
    /// Bytes that the log had written when the last checkpoint began.
    written_bytes: u64,
    /// Bytes that lay behind it when the node started: it may have been started many times since.
    replayed_bytes: u64,
    /// Bytes of messages that had left their segments by then.
    freed_bytes: u64,
    /// Length of the durable manifest.
    manifest_bytes: u64,
    state: State,
    /// The segment that was active when last looked at.
    active: u64,
    /// A last checkpoint was written because the node stops.
    stopped: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Pages and manifest are being written.
    Manifest {
        at: Position,
        sequence: u64,
        bytes: u64,
    },
    /// The superblock is being written: into one slot, then into the other, so that the loss of either is no loss. Until
    /// then the segments that only the checkpoint before needs are kept.
    Superblock {
        bytes: u64,
        other_slot: bool,
    },
}

impl Checkpoint {
    pub(super) const fn new(superblock: Superblock, manifest_bytes: u64, active: u64, replayed_bytes: u64) -> Self {
        Self {
            superblock,
            written_bytes: 0,
            replayed_bytes,
            freed_bytes: 0,
            manifest_bytes,
            state: State::Idle,
            active,
            stopped: false,
        }
    }

    /// The segments before this one are needed only where something live lies in them.
    pub(super) fn first_needed(&self) -> u64 {
        self.superblock.manifest.map_or(0, |(at, _)| at.segment)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether the last checkpoint before a stop was begun.
    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }
}

impl Shard {
    /// Starts a checkpoint if it is time and the state is that of a place in the log. Whether something was written.
    pub(super) fn start_checkpoint(&mut self) -> bool {
        self.note_segments();
        let last = self.stopping && !self.checkpoint.stopped;
        let applied = self.batch.flying.is_empty() || plant::is(Plant::CheckpointOverFlight);
        if !self.checkpoint.is_idle() || !(last || self.is_checkpoint_due()) || !applied {
            return false;
        }
        let bound = self.checkpoint_bound();
        if !self.log.reserve(bound) {
            return false;
        }
        self.note_segments();
        self.checkpoint.stopped = last;
        self.write_pages();
        let body = self.manifest();
        let bytes = body.len() as u64;
        let (at, sequence) = self.log.append(Kind::Manifest, body);
        self.space.add(at.segment, bytes);
        if let Some((before, _)) = self.checkpoint.superblock.manifest {
            self.space
                .obsolete_bytes(before.segment, self.checkpoint.manifest_bytes);
        }
        self.space.begin_checkpoint();
        self.checkpoint.state = State::Manifest { at, sequence, bytes };
        self.checkpoint.written_bytes = self.log.counters.written_bytes;
        self.checkpoint.replayed_bytes = 0;
        self.checkpoint.freed_bytes = self.space.freed_bytes();
        self.log.submit();
        if plant::is(Plant::SuperblockEarly) {
            let manifest = Some((at, sequence));
            let Superblock { turn, .. } = self.checkpoint.superblock;
            let early = Superblock {
                turn: turn + 1,
                term: self.log.term(),
                manifest,
            };
            self.log.write_superblock_early(&early);
        }
        true
    }

    /// Whether a restart would have much to replay, or the disk would get much back: segments are freed by checkpoints
    /// only. When there is nothing else to do, getting two segments back is enough.
    fn is_checkpoint_due(&self) -> bool {
        let written = self.checkpoint.replayed_bytes + self.log.counters.written_bytes - self.checkpoint.written_bytes;
        let freed = self.space.freed_bytes() - self.checkpoint.freed_bytes;
        let idle = self.batch.is_empty();
        // Where there are very many queues, the manifest is to be a small part of what is written.
        let interval = self.config.checkpoint_bytes.max(4 * self.checkpoint.manifest_bytes);
        written + freed / 4 >= interval || (idle && freed >= 2 * self.config.segment_bytes)
    }

    /// The checkpoint's next step once its last write is durable.
    pub(super) fn advance_checkpoint(&mut self) {
        match self.checkpoint.state {
            State::Manifest { at, sequence, bytes } if sequence <= self.log.synced() => {
                let before = self.checkpoint.superblock;
                let manifest = Some((at, sequence));
                self.checkpoint.superblock = Superblock {
                    turn: before.turn + 1,
                    term: self.log.term(),
                    manifest,
                };
                self.log.write_superblock(&self.checkpoint.superblock);
                self.checkpoint.state = State::Superblock {
                    bytes,
                    other_slot: false,
                };
            }
            State::Superblock {
                bytes,
                other_slot: false,
            } if !plant::is(Plant::OneSlotOnly) => {
                self.checkpoint.superblock.turn += 1;
                self.log.write_superblock(&self.checkpoint.superblock);
                self.checkpoint.state = State::Superblock {
                    bytes,
                    other_slot: true,
                };
            }
            State::Superblock { bytes, .. } => {
                self.checkpoint.manifest_bytes = bytes;
                self.checkpoint.state = State::Idle;
                self.counters.checkpoints += 1;
                mark::hit(Mark::Checkpoint);
                // What the checkpoint itself replaced is no reason for another.
                let before = self.space.freed_bytes();
                self.space.end_checkpoint();
                self.checkpoint.freed_bytes += self.space.freed_bytes() - before;
                let dead = self.space.take_dead(self.checkpoint.first_needed());
                dead.into_iter().for_each(|segment| self.log.release(segment));
                self.evict_pages();
                self.find_sparse_segment();
            }
            State::Idle | State::Manifest { .. } => {}
        }
    }

    /// Keeps count of the segments that exist.
    pub(super) fn note_segments(&mut self) {
        while self.checkpoint.active < self.log.active_segment() {
            self.space.seal(self.checkpoint.active, self.config.segment_bytes);
            self.checkpoint.active += 1;
        }
    }

    /// Bytes of the records of a checkpoint, at most.
    fn checkpoint_bound(&self) -> usize {
        let queues = self.queues.values().filter(|queue| queue.is_persistent());
        let pages = queues.flat_map(|queue| queue.index.pages().values());
        let mut scratch = Vec::new();
        self.catalog.changes().for_each(|change| change.encode(&mut scratch));
        let lanes: usize = self.queues.values().map(|queue| queue.index.nexts().len()).sum();
        let fixed = scratch.len() + self.queues.len() * 40 + lanes * 10 + 64;
        pages.fold(record_bytes(fixed), |bytes, page| {
            let entry = PAGE_ENTRY_BYTES_MAX + page.by_segment.len() * 20;
            let record = if page.dirty {
                record_bytes(usize::from(page.filled) * SLOT_BYTES_MAX + 10)
            } else {
                0
            };
            bytes + entry + record
        })
    }

    fn write_pages(&mut self) {
        for queue in self.queues.values_mut().filter(|queue| queue.is_persistent()) {
            for stored in queue.index.obsolete.drain(..) {
                self.space.obsolete(Some(stored));
            }
            for (_, page) in queue.index.pages_mut().filter(|(_, page)| page.dirty) {
                if page.stored.is_some() && plant::is(Plant::CheckpointForgetsDirtyPage) {
                    page.dirty = false;
                    continue;
                }
                let bytes = page.encode();
                let (length, checksum) = (bytes.len() as u32, checksum(&bytes));
                let mut body = Body::default();
                *body.tail() = bytes;
                let (at, _) = self.log.append(Kind::Page, body);
                self.space.add(at.segment, u64::from(length));
                self.space.obsolete(page.stored.replace(Stored {
                    at,
                    bytes: length,
                    checksum,
                }));
                page.dirty = false;
            }
        }
    }

    fn manifest(&self) -> Body {
        let mut body = Body::default();
        let to = body.tail();
        put_varint(to, self.time_ms);
        put_varint(to, self.catalog.queue_next());
        let mut changes: Vec<Change> = self.catalog.changes().collect();
        changes.pop_if(|change| matches!(change, Change::Bind { .. }) && plant::is(Plant::CheckpointForgetsBinding));
        put_varint(to, changes.len() as u64);
        changes.iter().for_each(|change| change.encode(to));
        let queues = self.queues.values().filter(|queue| queue.is_persistent());
        put_varint(to, queues.clone().count() as u64);
        for queue in queues {
            put_varint(to, queue.id.0);
            let nexts = queue.index.nexts();
            put_varint(to, nexts.len() as u64);
            nexts.for_each(|next| put_varint(to, next));
            put_varint(to, queue.index.pages().len() as u64);
            queue
                .index
                .pages()
                .iter()
                .for_each(|(number, page)| put_page(*number, page, to));
        }
        body
    }

    /// Drops pages from memory that are stored and that nothing works on.
    fn evict_pages(&mut self) {
        for queue in self.queues.values_mut().filter(|queue| queue.index.pages().len() > 2) {
            let idle = |(number, page): (&u64, &Page)| {
                (page.slots.is_some() && !page.dirty && page.cached == 0 && page.stored.is_some()).then_some(*number)
            };
            let numbers: Vec<u64> = queue.index.pages().iter().filter_map(idle).collect();
            for number in numbers {
                if !queue.pins(number) {
                    mark::hit(Mark::PageEvicted);
                    queue.index.page_mut(number).expect("listed").slots = None;
                }
            }
        }
    }

    /// Panics if live bytes are not those of what is live.
    pub(super) fn check_space(&self) {
        let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
        let mut add = |segment: u64, bytes: u64| *expected.entry(segment).or_default() += bytes;
        for queue in self.queues.values() {
            for page in queue.index.pages().values() {
                page.by_segment
                    .iter()
                    .for_each(|(segment, bytes)| add(*segment, *bytes));
                page.stored
                    .iter()
                    .for_each(|stored| add(stored.at.segment, u64::from(stored.bytes)));
            }
            queue
                .index
                .obsolete
                .iter()
                .for_each(|stored| add(stored.at.segment, u64::from(stored.bytes)));
        }
        self.space.pending().for_each(|(segment, bytes)| add(*segment, *bytes));
        let manifest = match self.checkpoint.state {
            State::Manifest { at, bytes, .. } => Some((at.segment, bytes)),
            State::Superblock { bytes, .. } => self.checkpoint.superblock.manifest.map(|(at, _)| (at.segment, bytes)),
            State::Idle => self
                .checkpoint
                .superblock
                .manifest
                .map(|(at, _)| (at.segment, self.checkpoint.manifest_bytes)),
        };
        manifest.iter().for_each(|(segment, bytes)| add(*segment, *bytes));
        expected.retain(|_, bytes| *bytes > 0);
        assert_eq!(&expected, self.space.segments(), "live bytes are those of what is live");
    }
}

/// What a manifest says.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) time_ms: u64,
    pub(super) queue_next: u64,
    pub(super) changes: Vec<Change>,
    pub(super) queues: Vec<(QueueId, Index)>,
}

impl Manifest {
    /// Reads a manifest; `None` if the bytes are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let (time_ms, queue_next) = (from.varint()?, from.varint()?);
        let count = from.count()?;
        let changes = (0..count)
            .map(|_| Change::decode(&mut from))
            .collect::<Option<Vec<Change>>>()?;
        let count = from.count()?;
        let queues = (0..count).map(|_| read_queue(&mut from)).collect::<Option<Vec<_>>>()?;
        from.is_empty().then_some(Self {
            time_ms,
            queue_next,
            changes,
            queues,
        })
    }
}

fn read_queue(from: &mut Reader<'_>) -> Option<(QueueId, Index)> {
    let id = QueueId(from.varint()?);
    let lanes = from.count()?;
    let next = (0..lanes).map(|_| from.varint()).collect::<Option<Vec<_>>>()?;
    let count = from.count()?;
    let pages = (0..count)
        .map(|_| read_page(from))
        .collect::<Option<BTreeMap<u64, Page>>>()?;
    Some((id, Index::restore(next, pages)?))
}

fn put_page(number: u64, page: &Page, to: &mut Vec<u8>) {
    let stored = page.stored.expect("every page was written");
    let fields = [
        number,
        u64::from(page.filled),
        u64::from(page.live),
        page.body_bytes,
        page.expires_ms,
        page.due_ms,
        stored.at.segment,
        u64::from(stored.at.offset),
        u64::from(stored.bytes),
        u64::from(stored.checksum),
        page.by_segment.len() as u64,
    ];
    fields.into_iter().for_each(|field| put_varint(to, field));
    for (segment, bytes) in &page.by_segment {
        put_varint(to, *segment);
        put_varint(to, *bytes);
    }
}

fn read_page(from: &mut Reader<'_>) -> Option<(u64, Page)> {
    let number = from.varint()?;
    let mut page = Page {
        filled: u16::try_from(from.varint()?).ok()?,
        live: u16::try_from(from.varint()?).ok()?,
        body_bytes: from.varint()?,
        expires_ms: from.varint()?,
        due_ms: from.varint()?,
        ..Page::default()
    };
    let at = Position {
        segment: from.varint()?,
        offset: u32::try_from(from.varint()?).ok()?,
    };
    let (bytes, checksum) = (u32::try_from(from.varint()?).ok()?, u32::try_from(from.varint()?).ok()?);
    page.stored = Some(Stored { at, bytes, checksum });
    let count = from.count()?;
    page.by_segment = (0..count)
        .map(|_| Some((from.varint()?, from.varint()?)))
        .collect::<Option<Vec<_>>>()?;
    let possible = 1..=(knob::page_slots() * BODY_BYTES_MAX) as u64;
    page.by_segment
        .iter()
        .all(|(_, bytes)| possible.contains(bytes))
        .then_some(())?;
    Some((number, page))
}
