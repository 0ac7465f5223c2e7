//! A data folder in memory, for tests: it performs [`Command`]s, and tells what a crash might leave of it.

use super::{Command, Event, FileId, Listing};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that a crash takes or leaves together.
pub(crate) const SECTOR: usize = 512;

/// Files as the program sees them, and as they are on stable storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) files: BTreeMap<FileId, Vec<u8>>,
    durable: BTreeMap<FileId, Vec<u8>>,
    /// Sectors written since the last sync.
    pub(crate) unsynced: BTreeSet<(FileId, usize)>,
    /// Segments that were removed, in order.
    pub(crate) deleted: Vec<FileId>,
    /// Segments that were renamed into new ones.
    pub(crate) recycled: Vec<u64>,
    pub(crate) syncs: u64,
    pub(crate) reads: u64,
}

impl Folder {
    /// Performs a command; what the disk would report.
    pub(crate) fn perform(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Prepare { file, bytes, recycle } => {
                let old = recycle.and_then(|number| self.files.remove(&FileId::Segment(number)));
                self.recycled.extend(recycle);
                let mut made = old.unwrap_or_default();
                made.resize(bytes as usize, 0);
                if let Some(number) = recycle {
                    self.durable.remove(&FileId::Segment(number));
                }
                self.durable.insert(file, made.clone());
                self.files.insert(file, made);
                Some(Event::Prepared { file })
            }
            Command::Write {
                id,
                file,
                offset,
                chunks,
                sync,
            } => {
                let bytes = chunks.concat();
                let (start, end) = (offset as usize, offset as usize + bytes.len());
                let target = self
                    .files
                    .get_mut(&file)
                    .expect("a file is prepared before it is written to");
                target[start..end].copy_from_slice(&bytes);
                let sectors = start / SECTOR..end.div_ceil(SECTOR);
                self.unsynced.extend(sectors.map(|sector| (file, sector)));
                sync.then(|| {
                    self.sync();
                    Event::Durable { upto: id }
                })
            }
            Command::Read {
                id,
                file,
                offset,
                bytes,
            } => {
                self.reads += 1;
                let bytes = self.read(file, offset, bytes);
                Some(Event::Loaded { id, bytes })
            }
            Command::Delete { file } => {
                self.files.remove(&file).expect("a file is deleted once");
                self.durable.remove(&file);
                self.unsynced.retain(|(of, _)| *of != file);
                self.deleted.push(file);
                None
            }
        }
    }

    /// Writes without a sync, whatever the command says: the power may fail next.
    pub(crate) fn perform_unsynced(&mut self, command: Command) {
        let command = match command {
            Command::Write {
                id,
                file,
                offset,
                chunks,
                ..
            } => Command::Write {
                id,
                file,
                offset,
                chunks,
                sync: false,
            },
            other => other,
        };
        self.perform(command);
    }

    pub(crate) fn read(&self, file: FileId, offset: u64, bytes: u32) -> Bytes {
        let held = self.files.get(&file).map_or(&[][..], Vec::as_slice);
        let start = (offset as usize).min(held.len());
        let end = (start + bytes as usize).min(held.len());
        Bytes::copy_from_slice(&held[start..end])
    }

    pub(crate) fn listing(&self) -> Listing {
        let mut listing = Listing::default();
        for (file, bytes) in &self.files {
            match file {
                FileId::Superblock => listing.superblock = Some(bytes.len() as u64),
                FileId::Segment(number) => listing.segments.push((*number, bytes.len() as u64)),
            }
        }
        listing
    }

    /// Lengths of the segments, by number.
    pub(crate) fn segments(&self) -> BTreeMap<u64, u64> {
        self.listing().segments.into_iter().collect()
    }

    /// What a crash leaves if, of the sectors that were not synced, those survive for which `survives` says so.
    pub(crate) fn crashed(&self, survives: impl Fn(usize) -> bool) -> Self {
        let mut files = self.durable.clone();
        for (number, (file, sector)) in self.unsynced.iter().enumerate() {
            if survives(number) {
                let seen = &self.files[file];
                let span = sector * SECTOR..((sector + 1) * SECTOR).min(seen.len());
                files.get_mut(file).expect("written to")[span.clone()].copy_from_slice(&seen[span]);
            }
        }
        Self {
            durable: files.clone(),
            files,
            ..Self::default()
        }
    }

    /// The bytes of a segment, to damage them.
    pub(crate) fn segment(&mut self, number: u64) -> &mut Vec<u8> {
        self.files
            .get_mut(&FileId::Segment(number))
            .expect("the segment exists")
    }

    fn sync(&mut self) {
        self.syncs += 1;
        for (file, sector) in std::mem::take(&mut self.unsynced) {
            let seen = &self.files[&file];
            let span = sector * SECTOR..((sector + 1) * SECTOR).min(seen.len());
            self.durable.get_mut(&file).expect("prepared")[span.clone()].copy_from_slice(&seen[span]);
        }
    }
}
