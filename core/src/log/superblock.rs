//! The root of the data folder: two slots, written in turn.
//!
//! ```text
//!  0 u32 magic "WSUP"     4 u32 CRC32C of the bytes from 8 to 64
//!  8 u32 format version  12 u32 zero
//! 16 u64 turn: the larger of two valid slots is the newer
//! 24 u64 term of the node that wrote it
//! 32 u64 segment, 40 u64 offset of the newest manifest; both all ones before the first checkpoint
//! 48 u64 sequence of that manifest, 56 u64 zero
//! ```

use super::record::{Position, checksum};
use crate::mark::{self, Mark};
use crate::node::HaltCause;
use crate::plant::{self, Plant};

/// Distance of the two slots: no sector and no page holds both.
pub const SLOT_BYTES: u64 = 4096;
/// Length of the file.
pub const FILE_BYTES: u64 = 2 * SLOT_BYTES;
/// Version of every format in the data folder.
pub const FORMAT_VERSION: u32 = 2;

const MAGIC: u32 = u32::from_le_bytes(*b"WSUP");
const BYTES: usize = 64;

/// One slot's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Superblock {
    /// Of two valid slots the larger counts.
    pub turn: u64,
    /// The term of the node that wrote it: each start takes a new one.
    pub term: u64,
    /// The newest durable manifest and its sequence.
    pub manifest: Option<(Position, u64)>,
}

impl Superblock {
    /// Where this turn's slot lies in the file.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        (self.turn % 2) * SLOT_BYTES
    }

    /// The slot's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (segment, offset, sequence) = self.manifest.map_or((u64::MAX, u64::MAX, 0), |(at, sequence)| {
            (at.segment, u64::from(at.offset), sequence)
        });
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        [self.turn, self.term, segment, offset, sequence, 0]
            .iter()
            .for_each(|field| bytes.extend(field.to_le_bytes()));
        let sum = checksum(&bytes[8..]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(bytes.len(), BYTES);
        bytes
    }

    /// Reads one slot: nothing if it is torn, damaged or was never written.
    ///
    /// # Errors
    /// The version, if it is whole but of another format.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, u32> {
        let Some(bytes) = bytes.get(..BYTES) else {
            return Ok(None);
        };
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if u32_at(0) != MAGIC || u32_at(4) != checksum(&bytes[8..]) {
            return Ok(None);
        }
        if u32_at(8) != FORMAT_VERSION {
            return Err(u32_at(8));
        }
        let manifest = match (u64_at(32), u32::try_from(u64_at(40))) {
            (u64::MAX, _) | (_, Err(_)) => None,
            (segment, Ok(offset)) => Some((Position { segment, offset }, u64_at(48))),
        };
        Ok(Some(Self {
            turn: u64_at(16),
            term: u64_at(24),
            manifest,
        }))
    }

    /// The newer valid slot of the file; `None` if neither was ever written.
    ///
    /// # Errors
    /// [`HaltCause::UnknownFormat`]; [`HaltCause::Damaged`] if both slots hold something that is no superblock.
    pub fn choose(file: &[u8]) -> Result<Option<Self>, HaltCause> {
        let unknown = |version| HaltCause::UnknownFormat {
            file: crate::disk::FileId::Superblock,
            version,
        };
        let slot = |number: usize| file.get(number * SLOT_BYTES as usize..).unwrap_or_default();
        let first = Self::decode(slot(0)).map_err(unknown)?;
        let second = Self::decode(slot(1)).map_err(unknown)?;
        if first.is_some() != second.is_some() {
            mark::hit(Mark::SlotLost);
        }
        let whole = first.into_iter().chain(second);
        Ok(if plant::is(Plant::OlderSlotCounts) {
            whole.min_by_key(|slot| slot.turn)
        } else {
            whole.max_by_key(|slot| slot.turn)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_whole_slot_counts() {
        let old = Superblock {
            turn: 4,
            term: 2,
            manifest: None,
        };
        let position = Position {
            segment: 3,
            offset: 640,
        };
        let new = Superblock {
            turn: 5,
            term: 3,
            manifest: Some((position, 77)),
        };
        let mut file = vec![0; FILE_BYTES as usize];
        assert_eq!(Superblock::choose(&file), Ok(None));
        for slot in [old, new] {
            let at = slot.offset() as usize;
            file[at..at + BYTES].copy_from_slice(&slot.encode());
        }
        assert_eq!(Superblock::choose(&file), Ok(Some(new)));
        file[SLOT_BYTES as usize + 20] ^= 1;
        assert_eq!(Superblock::choose(&file), Ok(Some(old)));
        file[8] = 9;
        let sum = checksum(&file[8..BYTES]);
        file[4..8].copy_from_slice(&sum.to_le_bytes());
        assert!(matches!(
            Superblock::choose(&file),
            Err(HaltCause::UnknownFormat { version: 9, .. })
        ));
    }
}
