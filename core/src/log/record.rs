//! The unit of the log: one checksummed record.
//!
//! ```text
//!  0 u32 magic          "WREC"
//!  4 u32 checksum       CRC32C over the segment's number (u64) and the bytes from 8 to the end of the body
//!  8 u32 body length    bytes
//! 12 u8  kind           and three zero bytes
//! 16 u64 sequence       dense over all records of the log
//! 24 u64 term           never falls along the log
//! 32 u64 synced         the newest sequence that was durable when this record was written
//! 40     body           then zero bytes up to a multiple of 16
//! ```
//!
//! The segment's number is in the checksum, so a record that a recycled segment still holds from its earlier life is
//! not valid, and neither is one that was written to the wrong place in another segment. `synced` tells a torn tail
//! from damage: a valid record behind an invalid one whose `synced` covers the invalid one proves that the disk once
//! held it (G17).

use crate::knob;
use crate::plant::{self, Plant};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

/// Length of a record's header.
pub const HEADER_BYTES: usize = 40;
/// Records begin at multiples of this.
pub const ALIGN: usize = 16;
/// A body longer than this is a bug or damage: the largest message and its entry fit.
pub const BODY_BYTES_MAX: usize = 1 << 30;

const MAGIC: u32 = u32::from_le_bytes(*b"WREC");

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First of a segment: its format version.
    Segment,
    /// Last of a segment: the log goes on in the next.
    Seal,
    /// Says only that everything before it is durable.
    Mark,
    /// Commands of the shard, to be replayed.
    Entry,
    /// A page of a queue's index, referred to by a manifest.
    Page,
    /// The root of a checkpoint.
    Manifest,
    /// Messages moved out of a mostly dead segment.
    Copied,
}

/// Where something lies in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// Byte offset in the segment.
    pub offset: u32,
}

/// A record's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Its place in the order of all records.
    pub sequence: u64,
    /// Of the leader that wrote it.
    pub term: u64,
    /// See the module's text.
    pub synced: u64,
    /// Bytes.
    pub body_bytes: usize,
}

/// What stands at a place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A whole record.
    Record(Header, &'a [u8]),
    /// Perhaps a record: so many bytes from its start are needed to tell.
    Short(usize),
    /// No record.
    Invalid,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Segment,
        Self::Seal,
        Self::Mark,
        Self::Entry,
        Self::Page,
        Self::Manifest,
        Self::Copied,
    ];

    fn parse(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }

    const fn byte(self) -> u8 {
        self as u8 + 1
    }
}

/// The body of a record to be written: bytes, and large messages by reference.
#[derive(Clone, Debug, Default)]
pub struct Body {
    chunks: Vec<Bytes>,
    tail: Vec<u8>,
    chunk_bytes: usize,
}

impl Body {
    /// The bytes so far, to append small things to.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends a message.
    pub fn put(&mut self, bytes: &Bytes) {
        if bytes.len() < knob::chunk_bytes() {
            self.tail.extend_from_slice(bytes);
            return;
        }
        let before = std::mem::take(&mut self.tail);
        self.chunk_bytes += before.len() + bytes.len();
        self.chunks.push(Bytes::from(before));
        self.chunks.push(bytes.clone());
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.chunk_bytes + self.tail.len()
    }

    /// Whether nothing was put.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that a record with such a body takes in its segment.
#[must_use]
pub const fn record_bytes(body_bytes: usize) -> usize {
    (HEADER_BYTES + body_bytes).next_multiple_of(ALIGN)
}

/// Appends one record to `chunks`, the last of which takes small pieces. `segment` is where it will lie.
///
/// # Panics
/// If the body is longer than [`BODY_BYTES_MAX`].
pub fn encode(segment: u64, header: &Header, body: Body, to: &mut Vec<u8>, chunks: &mut Vec<Bytes>) {
    assert_eq!(header.body_bytes, body.len(), "the header speaks of this body");
    assert!(body.len() <= BODY_BYTES_MAX, "entries are limited");
    let mut fields = [0_u8; HEADER_BYTES];
    fields[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    fields[8..12].copy_from_slice(&(header.body_bytes as u32).to_le_bytes());
    fields[12] = header.kind.byte();
    fields[16..24].copy_from_slice(&header.sequence.to_le_bytes());
    fields[24..32].copy_from_slice(&header.term.to_le_bytes());
    fields[32..40].copy_from_slice(&header.synced.to_le_bytes());
    let mut checksum = start_checksum(segment, &fields);
    body.chunks.iter().for_each(|chunk| checksum.update(chunk));
    checksum.update(&body.tail);
    fields[4..8].copy_from_slice(&(checksum.finalize() as u32).to_le_bytes());
    let padding = record_bytes(body.len()) - HEADER_BYTES - body.len();
    to.extend_from_slice(&fields);
    for chunk in body.chunks {
        if chunk.len() < knob::chunk_bytes() {
            to.extend_from_slice(&chunk);
        } else {
            chunks.push(Bytes::from(std::mem::take(to)));
            chunks.push(chunk);
        }
    }
    to.extend_from_slice(&body.tail);
    to.extend_from_slice(&[0; ALIGN][..padding]);
}

/// Reads what stands at the start of `bytes`, which begin at a multiple of [`ALIGN`] in `segment`.
#[must_use]
pub fn parse(segment: u64, bytes: &[u8]) -> Parsed<'_> {
    let Some(fields) = bytes.get(..HEADER_BYTES) else {
        return Parsed::Short(HEADER_BYTES);
    };
    let u32_at = |at: usize| u32::from_le_bytes(fields[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(fields[at..at + 8].try_into().expect("eight bytes"));
    let body_bytes = u32_at(8) as usize;
    if u32_at(0) != MAGIC || body_bytes > BODY_BYTES_MAX || fields[13..16] != [0; 3] {
        return Parsed::Invalid;
    }
    let Some(kind) = Kind::parse(fields[12]) else {
        return Parsed::Invalid;
    };
    let Some(body) = bytes.get(HEADER_BYTES..HEADER_BYTES + body_bytes) else {
        return Parsed::Short(HEADER_BYTES + body_bytes);
    };
    let mut checksum = start_checksum(segment, fields);
    checksum.update(body);
    if checksum.finalize() as u32 != u32_at(4) && !plant::is(Plant::TornRecordTaken) {
        return Parsed::Invalid;
    }
    let header = Header {
        kind,
        sequence: u64_at(16),
        term: u64_at(24),
        synced: u64_at(32),
        body_bytes,
    };
    Parsed::Record(header, body)
}

/// CRC32C of a message or a page, stored beside it so that it can be read alone.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn start_checksum(segment: u64, fields: &[u8]) -> Digest {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&segment.to_le_bytes());
    digest.update(&fields[8..]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(segment: u64, header: &Header, body: &[&[u8]]) -> Vec<u8> {
        let mut pieces = Body::default();
        body.iter().for_each(|piece| pieces.put(&Bytes::copy_from_slice(piece)));
        let (mut tail, mut chunks) = (Vec::new(), Vec::new());
        encode(segment, header, pieces, &mut tail, &mut chunks);
        chunks.push(Bytes::from(tail));
        chunks.concat()
    }

    #[test]
    fn golden_bytes() {
        let header = Header {
            kind: Kind::Entry,
            sequence: 7,
            term: 3,
            synced: 5,
            body_bytes: 5,
        };
        let bytes = written(9, &header, &[b"hello"]);
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text,
            "57524543970fc6cc05000000040000000700000000000000030000000000000005000000000000006865\
             6c6c6f000000"
        );
    }

    proptest! {
        #[test]
        fn records_come_back_and_any_flip_is_found(
            segment: u64, sequence: u64, term: u64, synced: u64, small in prop::collection::vec(any::<u8>(), 0..300),
            large in prop::sample::select(vec![0_usize, 16 << 10, 40_000]), flip: prop::sample::Index,
        ) {
            let large = vec![0x5a; large];
            let header = Header { kind: Kind::Entry, sequence, term, synced, body_bytes: small.len() * 2 + large.len() };
            let mut bytes = written(segment, &header, &[&small, &large, &small]);
            prop_assert_eq!(bytes.len(), record_bytes(header.body_bytes));
            let body = [small.clone(), large, small].concat();
            prop_assert_eq!(parse(segment, &bytes), Parsed::Record(header, &body));
            prop_assert_eq!(parse(segment ^ 1, &bytes), Parsed::Invalid);
            prop_assert!(matches!(parse(segment, &bytes[..bytes.len() - ALIGN]), Parsed::Short(_)));
            let covered = HEADER_BYTES + body.len();
            let at = flip.index(covered * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert!(!matches!(parse(segment, &bytes), Parsed::Record(..)));
        }
    }
}
