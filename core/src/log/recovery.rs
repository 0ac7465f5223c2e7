//! What a data folder holds after a crash: facts from bytes, and the machine that reads them.
//!
//! The newest checkpoint is found through the superblock, then every record after it is read in order. Where that stops,
//! two cases are told apart (G17): if any valid record further on was written when the record that should stand here was
//! already durable, the bytes here are **damaged**, and recovery names the place and halts; otherwise they are the
//! **torn tail** of the writes that the crash cut off, none of which was ever confirmed, and the log goes on from here.

use super::End;
use super::record::{ALIGN, Header, Kind, Parsed, Position, parse};
use super::superblock::FORMAT_VERSION;
use crate::disk::FileId;
use crate::knob;
use crate::node::HaltCause;
use crate::plant::{self, Plant};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::BTreeMap;

/// Reads records in order, from a place on. The caller performs the reads.
#[derive(Debug)]
pub struct Reader {
    /// Length in bytes of each segment file.
    segments: BTreeMap<u64, u64>,
    segment: u64,
    /// Where the next record is expected.
    offset: u64,
    /// Bytes from `offset` on.
    buffer: BytesMut,
    /// Bytes of the buffer that are needed before the next attempt.
    wanted: usize,
    sequence: u64,
    term: u64,
    /// Set once the order of records ended: bytes from here on are searched for proof of damage.
    broken: Option<Broken>,
    /// Where to go once the first record of the first segment was checked.
    start: Option<Position>,
}

#[derive(Debug)]
struct Broken {
    at: Position,
    sequence: u64,
    capacity: u64,
    /// Whether the header of the record expected here can be read: a write was cut off.
    torn: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read `bytes` bytes there, and give them to [`Reader::loaded`].
    Read {
        /// The segment.
        segment: u64,
        /// Byte offset in it.
        offset: u64,
        /// How many bytes.
        bytes: u32,
    },
    /// The next record.
    Record {
        /// Its header.
        header: Header,
        /// Where its body lies.
        body_at: Position,
        /// Its body.
        body: Bytes,
    },
    /// The log ends here. `torn` if there were bytes of unfinished writes.
    End {
        /// Where to go on.
        end: End,
        /// Whether something was cut off.
        torn: bool,
        /// The highest term that any record named.
        term: u64,
    },
    /// The log is damaged.
    Damaged(HaltCause),
}

impl Reader {
    /// Reads from `start` on, where the record with `sequence` is expected. `segments` are the files and their lengths.
    #[must_use]
    pub fn new(segments: BTreeMap<u64, u64>, start: Position, sequence: u64) -> Self {
        Self {
            segments,
            segment: start.segment,
            offset: 0,
            buffer: BytesMut::new(),
            wanted: 1,
            sequence,
            term: 0,
            broken: None,
            start: (start.offset > 0).then_some(start),
        }
    }

    /// Takes the bytes of the last [`Step::Read`]. Fewer than asked means that the file is shorter than its length was.
    pub fn loaded(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            let end = self.offset + self.buffer.len() as u64;
            self.segments.insert(self.segment, end);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// What comes next.
    pub fn step(&mut self) -> Step {
        if let Some(start) = self.start
            && let Some(step) = self.check_first(start)
        {
            return step;
        }
        loop {
            let found = if self.broken.is_some() {
                self.search()
            } else {
                self.follow()
            };
            if let Some(step) = found {
                return step;
            }
        }
    }

    /// Checks the first record of a segment that is read from the middle.
    fn check_first(&mut self, start: Position) -> Option<Step> {
        let needed = super::record_bytes(super::SEGMENT_BODY_BYTES);
        if self.buffer.len() < needed && self.remaining() > 0 {
            let bytes = (needed as u64).min(self.remaining()) as u32;
            return Some(Step::Read {
                segment: self.segment,
                offset: self.buffer.len() as u64,
                bytes,
            });
        }
        let damaged = |offset| {
            let what = "the first record of the segment is not whole";
            HaltCause::Damaged {
                file: FileId::Segment(start.segment),
                offset,
                what,
            }
        };
        let checked = match parse(self.segment, &self.buffer) {
            Parsed::Record(
                Header {
                    kind: Kind::Segment, ..
                },
                body,
            ) => check_segment(self.segment, body, self.length()),
            _ => Err(damaged(0)),
        };
        self.start = None;
        self.buffer.clear();
        self.offset = u64::from(start.offset);
        checked.err().map(Step::Damaged)
    }

    /// The next record in order, or `None` to look again.
    fn follow(&mut self) -> Option<Step> {
        if self.offset == 0
            && let Err(cause) = self.check_present()
        {
            return Some(Step::Damaged(cause));
        }
        if self.buffer.len() < self.wanted && self.remaining() > 0 {
            return Some(self.read());
        }
        let parsed = match parse(self.segment, &self.buffer) {
            Parsed::Short(wanted) if self.remaining() > 0 && self.fits(wanted) => {
                self.wanted = wanted;
                return None;
            }
            Parsed::Short(_) | Parsed::Invalid => None,
            Parsed::Record(header, _) => Some(header),
        };
        match parsed {
            Some(header) if header.sequence == self.sequence && self.takes(header.term) => Some(self.take(header)),
            _ => {
                self.give_up();
                None
            }
        }
    }

    /// No record of an earlier life follows one of a later.
    fn takes(&self, term: u64) -> bool {
        plant::is(Plant::RecoveryTrustsTerm) || term >= self.term
    }

    /// A segment's file is made, durably and at its full length, before the one before it is sealed. So where the log
    /// goes on in a file that is not there, or that has no room for its first record, the file was lost after that.
    fn check_present(&self) -> Result<(), HaltCause> {
        let length = self.length();
        let new = self.sequence == 1 && self.segments.is_empty();
        if new || length >= super::record_bytes(super::SEGMENT_BODY_BYTES) as u64 {
            return Ok(());
        }
        let what = if self.segments.contains_key(&self.segment) {
            "the file was cut short here"
        } else {
            "the segment is missing"
        };
        Err(HaltCause::Damaged {
            file: FileId::Segment(self.segment),
            offset: length,
            what,
        })
    }

    fn take(&mut self, header: Header) -> Step {
        if header.kind == Kind::Segment {
            let body = &self.buffer[super::HEADER_BYTES..super::HEADER_BYTES + header.body_bytes];
            if let Err(cause) = check_segment(self.segment, body, self.length()) {
                return Step::Damaged(cause);
            }
        }
        let body_at = Position {
            segment: self.segment,
            offset: self.offset as u32 + super::HEADER_BYTES as u32,
        };
        let mut record = self
            .buffer
            .split_to(super::record_bytes(header.body_bytes).min(self.buffer.len()))
            .freeze();
        record.advance(super::HEADER_BYTES);
        record.truncate(header.body_bytes);
        self.offset += super::record_bytes(header.body_bytes) as u64;
        self.wanted = 1;
        self.sequence += 1;
        self.term = header.term;
        if header.kind == Kind::Seal && !plant::is(Plant::RecoverySkipsSegment) {
            self.go_to(self.segment + 1);
        }
        Step::Record {
            header,
            body_at,
            body: record,
        }
    }

    /// The order ended: search everything behind for proof that it should not have.
    fn give_up(&mut self) {
        let capacity = self.length();
        let at = Position {
            segment: self.segment,
            offset: self.offset as u32,
        };
        let begun = self.buffer.get(16..24) == Some(self.sequence.to_le_bytes().as_slice());
        self.broken = Some(Broken {
            at,
            sequence: self.sequence,
            capacity,
            torn: begun,
        });
        self.skip(ALIGN);
    }

    /// One step of the search: a record at this place?
    fn search(&mut self) -> Option<Step> {
        if self.buffer.len() < self.wanted && self.remaining() > 0 {
            return Some(self.read());
        }
        if self.buffer.is_empty() && self.remaining() == 0 {
            let Some(next) = self.segments.keys().copied().find(|number| *number > self.segment) else {
                return Some(self.end());
            };
            self.go_to(next);
            return None;
        }
        match parse(self.segment, &self.buffer) {
            Parsed::Short(wanted) if self.remaining() > 0 && self.fits(wanted) => self.wanted = wanted,
            Parsed::Record(header, _) => return self.judge(header),
            Parsed::Short(_) | Parsed::Invalid => self.skip_blank(),
        }
        None
    }

    fn judge(&mut self, header: Header) -> Option<Step> {
        let broken = self.broken.as_ref().expect("searching");
        let proof = header.synced >= broken.sequence && header.sequence > broken.sequence;
        if proof && !plant::is(Plant::DamageIsTail) {
            let file = FileId::Segment(broken.at.segment);
            let what = "the record that stood here is not whole";
            let offset = u64::from(broken.at.offset);
            return Some(Step::Damaged(HaltCause::Damaged { file, offset, what }));
        }
        self.term = self.term.max(header.term);
        self.skip(super::record_bytes(header.body_bytes));
        None
    }

    fn end(&self) -> Step {
        let broken = self.broken.as_ref().expect("the order ended");
        let end = End {
            segment: broken.at.segment,
            offset: broken.at.offset,
            capacity: broken.capacity,
            sequence: broken.sequence,
        };
        Step::End {
            end,
            torn: broken.torn,
            term: self.term,
        }
    }

    fn length(&self) -> u64 {
        self.segments.get(&self.segment).copied().unwrap_or(0)
    }

    fn remaining(&self) -> u64 {
        self.length().saturating_sub(self.offset + self.buffer.len() as u64)
    }

    /// Whether a record of so many bytes can stand here at all.
    fn fits(&self, wanted: usize) -> bool {
        self.offset + wanted as u64 <= self.length()
    }

    fn read(&self) -> Step {
        let offset = self.offset + self.buffer.len() as u64;
        let missing = (self.wanted - self.buffer.len()) as u64;
        let bytes = missing.max(u64::from(knob::replay_bytes())).min(self.remaining());
        Step::Read {
            segment: self.segment,
            offset,
            bytes: bytes as u32,
        }
    }

    fn go_to(&mut self, segment: u64) {
        self.segment = segment;
        self.offset = 0;
        self.buffer.clear();
        self.wanted = 1;
    }

    fn skip(&mut self, bytes: usize) {
        self.buffer.advance(bytes.min(self.buffer.len()));
        self.offset += bytes as u64;
        self.wanted = 1;
    }

    /// Skips to the next place where a record may begin, quickly over zeros.
    fn skip_blank(&mut self) {
        let blank = self
            .buffer
            .chunks(ALIGN)
            .skip(1)
            .take_while(|chunk| chunk.iter().all(|byte| *byte == 0))
            .count();
        self.skip((blank + 1) * ALIGN);
    }
}

/// Checks the body of a segment's first record against the file's length: the file was prepared, durably, before its
/// first record was written, so a shorter one was cut.
///
/// # Errors
/// [`HaltCause::UnknownFormat`] if another version wrote it, [`HaltCause::Damaged`] if the file is too short.
pub fn check_segment(segment: u64, body: &[u8], file_bytes: u64) -> Result<(), HaltCause> {
    let file = FileId::Segment(segment);
    let version = body
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes);
    if version != Some(FORMAT_VERSION) {
        return Err(HaltCause::UnknownFormat {
            file,
            version: version.unwrap_or(0),
        });
    }
    let prepared = body
        .get(12..20)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes);
    match prepared {
        Some(prepared) if prepared <= file_bytes => Ok(()),
        _ => Err(HaltCause::Damaged {
            file,
            offset: file_bytes,
            what: "the file was cut short here",
        }),
    }
}
