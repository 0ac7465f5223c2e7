//! The log: one append-only sequence of checksummed records in segments; the only place where messages are written.
//!
//! One write is in flight at a time. Whatever came in while it ran goes into the next (group commit without a timer).
//! Segments are prepared ahead: zero-filled or recycled, so that a sync moves data and no metadata.

pub mod record;
pub mod recovery;
pub mod superblock;

use crate::disk::{Command, FileId, ReadId, WriteId};
use crate::mark::{self, Mark};
use crate::plant::{self, Plant};
use bytes::Bytes;
use record::{ALIGN, Body, HEADER_BYTES, Header, Kind, Position, record_bytes};
use std::collections::VecDeque;
use superblock::{FORMAT_VERSION, Superblock};

/// Kept free at the end of each segment for its seal.
pub(crate) const SEAL_BYTES: usize = record_bytes(0);
/// The first record of a segment: format version (u32), shard (u64), length of the file (u64).
const SEGMENT_BODY_BYTES: usize = 20;
/// Dead segments kept for recycling; more are deleted.
const SPARES_MAX: usize = 2;
/// Offsets in a segment are 32 bits wide.
const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;

/// The writing side.
#[derive(Debug)]
pub struct Log {
    segment_bytes: u64,
    term: u64,
    sequence_next: u64,
    /// The newest durable sequence.
    synced: u64,
    active: Active,
    next: Next,
    /// Preparations under way: a second is asked for when the first turns out too small, and replaces it.
    preparing: u32,
    /// The write whose sync is awaited, and the sequence it makes durable.
    in_flight: Option<(WriteId, u64)>,
    /// Whether the newest durable record is not yet followed by a mark.
    unmarked: bool,
    building: Building,
    write_next: u64,
    read_next: u64,
    spares: Vec<u64>,
    commands: VecDeque<Command>,
    /// Bytes, writes and reads so far.
    pub(crate) counters: Counters,
}

/// What the log did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) written_bytes: u64,
    pub(crate) writes: u64,
    pub(crate) read_bytes: u64,
}

#[derive(Debug)]
struct Active {
    segment: u64,
    offset: usize,
    capacity: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    None,
    Requested { bytes: u64 },
    Ready { bytes: u64 },
}

/// Records encoded since the last write, all in the active segment from `offset` on.
#[derive(Debug, Default)]
struct Building {
    offset: usize,
    chunks: Vec<Bytes>,
    tail: Vec<u8>,
}

/// Where the log ends: where a recovered node goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The segment; it exists unless `capacity` is 0.
    pub segment: u64,
    /// Where the next record goes.
    pub offset: u32,
    /// Length of the segment file; 0 if the segment is yet to be prepared.
    pub capacity: u64,
    /// Sequence of the next record.
    pub sequence: u64,
}

impl Log {
    /// A log that goes on at `end` under a new term.
    pub(crate) fn new(segment_bytes: u64, term: u64, end: End, write_next: u64, read_next: u64) -> Self {
        assert!(segment_bytes <= SEGMENT_BYTES_MAX, "offsets are 32 bits wide");
        let active = Active {
            segment: end.segment,
            offset: end.offset as usize,
            capacity: end.capacity as usize,
        };
        let mut log = Self {
            segment_bytes,
            term,
            sequence_next: end.sequence,
            synced: end.sequence - 1,
            building: Building {
                offset: active.offset,
                ..Building::default()
            },
            active,
            next: Next::None,
            preparing: 0,
            in_flight: None,
            unmarked: false,
            write_next,
            read_next,
            spares: Vec::new(),
            commands: VecDeque::new(),
            counters: Counters::default(),
        };
        if end.offset == 0 {
            // The place before a segment without a first record: the next record rolls into it.
            log.active = Active {
                segment: end.segment - 1,
                offset: 0,
                capacity: 0,
            };
            log.next = if end.capacity == 0 {
                Next::None
            } else {
                Next::Ready { bytes: end.capacity }
            };
        }
        log
    }

    /// Whether records may be appended and submitted: nothing is in flight.
    pub(crate) const fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// The newest durable sequence.
    pub(crate) const fn synced(&self) -> u64 {
        self.synced
    }

    pub(crate) const fn term(&self) -> u64 {
        self.term
    }

    /// The segment being written.
    pub(crate) const fn active_segment(&self) -> u64 {
        self.active.segment
    }

    /// Makes room for `bytes` of records (the sum of [`record_bytes`]) in one segment, rolling into the next if need be.
    /// `false` means that the next segment is still being prepared: ask again after [`Log::prepared`].
    pub(crate) fn reserve(&mut self, bytes: usize) -> bool {
        assert!(self.is_idle(), "one write at a time");
        if self.active.offset + bytes + SEAL_BYTES <= self.active.capacity {
            self.prepare_ahead();
            return true;
        }
        let needed = (record_bytes(SEGMENT_BODY_BYTES) + bytes + SEAL_BYTES) as u64;
        match self.next {
            Next::Ready { bytes: ready } if ready >= needed => {
                self.roll(ready);
                true
            }
            Next::Requested { bytes: requested } if requested >= needed => {
                mark::hit(Mark::SegmentAwaited);
                false
            }
            Next::None | Next::Ready { .. } | Next::Requested { .. } => {
                assert!(
                    needed <= SEGMENT_BYTES_MAX,
                    "a batch is smaller than the largest segment"
                );
                self.request(needed.next_multiple_of(4096).max(self.segment_bytes));
                false
            }
        }
    }

    /// Appends a record; its body's place and its sequence come back. [`Log::reserve`] made room.
    pub(crate) fn append(&mut self, kind: Kind, body: Body) -> (Position, u64) {
        assert!(
            self.is_idle(),
            "one write at a time: `synced` is that of the moment of writing"
        );
        let sequence = self.sequence_next;
        let header = Header {
            kind,
            sequence,
            term: self.term,
            synced: if plant::is(Plant::MarkClaimsTooMuch) {
                sequence - 1
            } else {
                self.synced
            },
            body_bytes: body.len(),
        };
        let bytes = record_bytes(body.len());
        let limit = if kind == Kind::Seal { 0 } else { SEAL_BYTES };
        assert!(
            self.active.offset + bytes + limit <= self.active.capacity,
            "room was reserved"
        );
        record::encode(
            self.active.segment,
            &header,
            body,
            &mut self.building.tail,
            &mut self.building.chunks,
        );
        let position = Position {
            segment: self.active.segment,
            offset: (self.active.offset + HEADER_BYTES) as u32,
        };
        self.active.offset += bytes;
        self.sequence_next += 1;
        self.counters.written_bytes += bytes as u64;
        debug_assert!(self.active.offset.is_multiple_of(ALIGN));
        (position, sequence)
    }

    /// Writes and syncs what was appended; [`Log::durable`] will hear of it.
    pub(crate) fn submit(&mut self) {
        assert!(self.is_idle(), "one write at a time");
        let first = self.building.offset == 0;
        let id = self.write(!(first && plant::is(Plant::SyncSkippedAfterRoll)));
        self.in_flight = Some((id, self.sequence_next - 1));
        self.unmarked = true;
    }

    /// Whether the write in flight was never to be synced: a planted bug.
    pub(crate) fn skips_sync(&self) -> bool {
        plant::is(Plant::SyncSkippedAfterRoll)
            && matches!(self.commands.back(), Some(Command::Write { id, sync: false, .. })
                if self.in_flight.is_some_and(|(flying, _)| flying == *id))
    }

    /// Says in the log that everything before is durable, if that is not said yet. Costs no sync: it serves to tell
    /// damage from a torn tail when nothing else follows.
    pub(crate) fn mark(&mut self) {
        let room = self.active.offset + 2 * SEAL_BYTES <= self.active.capacity;
        if self.unmarked && room && self.is_idle() {
            self.append(Kind::Mark, Body::default());
            self.write(false);
            self.unmarked = false;
        }
    }

    /// Writes the superblock. One write at a time, as the log's own.
    pub(crate) fn write_superblock(&mut self, superblock: &Superblock) {
        assert!(self.is_idle(), "one write at a time");
        let id = self.write_id();
        let chunks = vec![Bytes::from(superblock.encode())];
        self.commands.push_back(Command::Write {
            id,
            file: FileId::Superblock,
            offset: superblock.offset(),
            chunks,
            sync: true,
        });
        self.in_flight = Some((id, self.synced));
    }

    /// Writes the superblock before what it refers to is durable: a planted bug.
    pub(crate) fn write_superblock_early(&mut self, superblock: &Superblock) {
        let id = self.write_id();
        let chunks = vec![Bytes::from(superblock.encode())];
        let (file, offset) = (FileId::Superblock, superblock.offset());
        self.commands.push_back(Command::Write {
            id,
            file,
            offset,
            chunks,
            sync: false,
        });
    }

    /// The disk made writes durable. Whether that was the write in flight.
    pub(crate) fn durable(&mut self, upto: WriteId) -> bool {
        let Some((id, sequence)) = self.in_flight else {
            return false;
        };
        if upto < id {
            return false;
        }
        self.in_flight = None;
        self.synced = sequence;
        true
    }

    /// A segment was prepared.
    pub(crate) fn prepared(&mut self, segment: u64) {
        self.preparing -= 1;
        if (self.preparing == 0 || plant::is(Plant::PreparedTooSoon))
            && let Next::Requested { bytes } = self.next
            && segment == self.active.segment + 1
        {
            self.next = Next::Ready { bytes };
        }
    }

    /// Reads; the answer carries the same number.
    pub(crate) fn read(&mut self, file: FileId, offset: u64, bytes: u32) -> ReadId {
        let id = ReadId(self.read_next);
        self.read_next += 1;
        self.counters.read_bytes += u64::from(bytes);
        self.commands.push_back(Command::Read {
            id,
            file,
            offset,
            bytes,
        });
        id
    }

    /// The number of the next read.
    pub(crate) const fn read_next(&self) -> u64 {
        self.read_next
    }

    /// A segment holds nothing that is needed: it is recycled or deleted.
    pub(crate) fn release(&mut self, segment: u64) {
        assert!(segment < self.active.segment, "the active segment is in use");
        if self.spares.len() < SPARES_MAX {
            self.spares.push(segment);
        } else {
            mark::hit(Mark::SegmentDeleted);
            self.commands.push_back(Command::Delete {
                file: FileId::Segment(segment),
            });
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Asks for the next segment when half of this one is written.
    fn prepare_ahead(&mut self) {
        if self.next == Next::None && self.active.offset * 2 > self.active.capacity {
            self.request(self.segment_bytes);
        }
    }

    fn request(&mut self, bytes: u64) {
        // A recycled file has the common length; a longer one is made anew.
        let recycle = if bytes == self.segment_bytes {
            self.spares.pop()
        } else {
            None
        };
        if bytes > self.segment_bytes {
            mark::hit(Mark::SegmentOversize);
        }
        if recycle.is_some() {
            mark::hit(Mark::SegmentRecycled);
        }
        let file = FileId::Segment(self.active.segment + 1);
        self.commands.push_back(Command::Prepare { file, bytes, recycle });
        self.next = Next::Requested { bytes };
        self.preparing += 1;
    }

    fn roll(&mut self, capacity: u64) {
        mark::hit(Mark::SegmentRoll);
        if self.active.capacity > 0 {
            self.append(Kind::Seal, Body::default());
            self.write(false);
        }
        self.active = Active {
            segment: self.active.segment + 1,
            offset: 0,
            capacity: capacity as usize,
        };
        self.building.offset = 0;
        self.next = Next::None;
        let mut body = Body::default();
        body.tail().extend(FORMAT_VERSION.to_le_bytes());
        body.tail().extend(0_u64.to_le_bytes());
        body.tail().extend(capacity.to_le_bytes());
        self.append(Kind::Segment, body);
    }

    fn write(&mut self, sync: bool) -> WriteId {
        let id = self.write_id();
        let mut chunks = std::mem::take(&mut self.building.chunks);
        chunks.push(Bytes::from(std::mem::take(&mut self.building.tail)));
        chunks.retain(|chunk| !chunk.is_empty());
        let file = FileId::Segment(self.active.segment);
        let offset = self.building.offset as u64;
        self.building.offset = self.active.offset;
        self.counters.writes += 1;
        self.commands.push_back(Command::Write {
            id,
            file,
            offset,
            chunks,
            sync,
        });
        id
    }

    const fn write_id(&mut self) -> WriteId {
        let id = WriteId(self.write_next);
        self.write_next += 1;
        id
    }
}

#[cfg(test)]
mod tests;
