//! Damage at rest: bytes of a file are not what was written, and nobody said so (G17).
//!
//! Only what can be told from a torn tail is damaged: records that a later record proves to have been durable, one slot
//! of the superblock, whole files, and bytes that mean nothing. The last synced records, with nothing behind them, look
//! the same whether a crash or the disk took them; no format can tell.

use crate::disk::{Disk, File};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::collections::BTreeSet;
use waystation_core::disk::FileId;
use waystation_core::log::record::{ALIGN, HEADER_BYTES, Parsed, parse, record_bytes};
use waystation_core::log::superblock::SLOT_BYTES;

/// Bytes damaged at once.
const RANGE_MAX: usize = 2048;

/// A record's place in a file.
struct Span {
    start: usize,
    end: usize,
    sequence: u64,
    synced: u64,
}

impl Disk {
    /// Damages something, if there is something to damage. What was done, for people.
    pub(crate) fn damage(&mut self, rng: &mut ChaCha8Rng) -> Option<String> {
        let last = self.files.keys().next_back().copied()?;
        let FileId::Segment(_) = last else { return None };
        let at = rng.random_range(0..self.files.len());
        let file = *self.files.keys().nth(at).expect("counted");
        if file == FileId::Superblock {
            return self.damage_superblock(rng);
        }
        let shape = rng.random_range(0..12);
        let length = self.files[&file].durable.len();
        if shape == 0 {
            return self.is_proven_elsewhere(file).then(|| self.remove(file));
        }
        if shape == 1 && length > 4096 {
            let length = rng.random_range(4096..length);
            return (file != last || self.is_unwritten(file, length)).then(|| self.cut(file, length));
        }
        let (start, end) = self.place(file, rng)?;
        let before = self.files[&file].durable[start..end].to_vec();
        let after = harmed(&before, rng);
        (before != after).then(|| self.patch(file, start, &after))
    }

    /// One slot only: both at once are a lost disk.
    fn damage_superblock(&mut self, rng: &mut ChaCha8Rng) -> Option<String> {
        if rng.random_range(0..4) == 0 {
            return Some(self.remove(FileId::Superblock));
        }
        let slot = rng.random_range(0..2) * SLOT_BYTES as usize;
        let start = slot + rng.random_range(0..64);
        let before = self.files[&FileId::Superblock].durable.get(start..start + 1)?.to_vec();
        let after = vec![before[0] ^ 1 << rng.random_range(0..8)];
        Some(self.patch(FileId::Superblock, start, &after))
    }

    /// Whether records of other files prove that all of this file's were durable.
    fn is_proven_elsewhere(&self, file: FileId) -> bool {
        let others = self.files.iter().filter(|(other, _)| **other != file);
        let proven = others
            .flat_map(|(other, held)| spans(*other, &held.durable))
            .map(|span| span.synced)
            .max();
        let spans = spans(file, &self.files[&file].durable);
        !spans.is_empty() && spans.iter().all(|span| span.sequence <= proven.unwrap_or(0))
    }

    /// Whether the file holds no record beyond this place.
    fn is_unwritten(&self, file: FileId, from: usize) -> bool {
        spans(file, &self.files[&file].durable)
            .iter()
            .all(|span| span.end <= from)
    }

    /// A range of a segment in which every record is proven to have been durable.
    fn place(&self, file: FileId, rng: &mut ChaCha8Rng) -> Option<(usize, usize)> {
        let bytes = &self.files[&file].durable;
        let mut proven = 0;
        for (other, held) in &self.files {
            proven = spans(*other, &held.durable)
                .iter()
                .map(|span| span.synced)
                .fold(proven, u64::max);
        }
        let spans = spans(file, bytes);
        let start = match spans.len() {
            // Mostly where something stands.
            count if count > 0 && rng.random_bool(0.8) => {
                let span = &spans[rng.random_range(0..count)];
                rng.random_range(span.start..span.end)
            }
            _ => rng.random_range(0..bytes.len().max(1)),
        };
        let range = [1, 16, 512, RANGE_MAX][rng.random_range(0..4)];
        let end = (start + range).min(bytes.len());
        let hit = spans.iter().filter(|span| span.start < end && start < span.end);
        let allowed = hit.map(|span| span.sequence).all(|sequence| sequence <= proven);
        // The record that proves most must stay to prove it.
        let proof = |span: &&Span| span.synced == proven && span.start < end && start < span.end;
        (allowed && start < end && !spans.iter().any(|span| proof(&span))).then_some((start, end))
    }

    /// Something is about to be done to a file.
    fn harm(&mut self, file: FileId) -> &mut File {
        self.pristine.get_or_insert_with(|| self.files.clone());
        self.damaged.insert(file);
        self.files.get_mut(&file).expect("it was chosen")
    }

    fn patch(&mut self, file: FileId, offset: usize, after: &[u8]) -> String {
        let held = self.harm(file);
        for bytes in [&mut held.durable, &mut held.seen] {
            bytes[offset..offset + after.len()].copy_from_slice(after);
        }
        format!("{} bytes of {file} at {offset}", after.len())
    }

    fn cut(&mut self, file: FileId, length: usize) -> String {
        let held = self.harm(file);
        held.durable.truncate(length);
        held.seen.truncate(length);
        format!("{file} was cut to {length} bytes")
    }

    fn remove(&mut self, file: FileId) -> String {
        self.harm(file);
        self.files.remove(&file);
        format!("{file} was removed")
    }

    /// Undoes all damage, as a backup would. The files concerned.
    pub(crate) fn repair(&mut self) -> BTreeSet<FileId> {
        self.files = self.pristine.take().unwrap_or_else(|| std::mem::take(&mut self.files));
        std::mem::take(&mut self.damaged)
    }
}

/// One bit, zeros, noise, or two halves exchanged.
fn harmed(before: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut after = before.to_vec();
    match rng.random_range(0..4) {
        0 => after[rng.random_range(0..before.len())] ^= 1 << rng.random_range(0..8),
        1 => after.fill(0),
        2 => after.iter_mut().for_each(|byte| *byte = rng.random_range(0..=255)),
        _ => after.rotate_left(before.len() / 2),
    }
    after
}

/// Every whole record of a file, wherever it stands.
fn spans(file: FileId, bytes: &[u8]) -> Vec<Span> {
    let FileId::Segment(segment) = file else {
        return Vec::new();
    };
    let mut spans = Vec::new();
    let mut start = 0;
    while start + HEADER_BYTES <= bytes.len() {
        match parse(segment, &bytes[start..]) {
            Parsed::Record(header, _) => {
                let end = start + record_bytes(header.body_bytes);
                spans.push(Span {
                    start,
                    end,
                    sequence: header.sequence,
                    synced: header.synced,
                });
                start = end;
            }
            Parsed::Short(_) | Parsed::Invalid => start += ALIGN,
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn damage_is_undone() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut disk = Disk::default();
        for (file, byte) in [
            (FileId::Superblock, 1),
            (FileId::Segment(1), 2),
            (FileId::Segment(2), 3),
        ] {
            let bytes = vec![byte; 16384];
            disk.files.insert(
                file,
                File {
                    seen: bytes.clone(),
                    durable: bytes,
                    ..File::default()
                },
            );
        }
        let before = disk.files.clone();
        let mut done = 0;
        for _ in 0..50 {
            if disk.damage(&mut rng).is_some() {
                done += 1;
                assert_ne!(disk.files, before);
            }
            if disk.files.len() < 3 || rng.random_bool(0.2) {
                disk.repair();
                assert_eq!(disk.files, before);
            }
        }
        assert!(done > 20, "{done}");
    }
}
