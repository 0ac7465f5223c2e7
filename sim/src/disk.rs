//! A disk of sectors. What was not synced when the power fails survives sector by sector, or does not.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waystation_core::disk::{Command, Event, FileId, Listing, WriteId};

/// Bytes that are written or lost together.
pub const SECTOR: usize = 512;

/// A file: what the program sees, and what would be left of it.
#[derive(Clone, Debug, Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors in which the two differ, or may.
    unsynced: BTreeSet<usize>,
}

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<FileId, File>,
    /// Prepared when the preparation ends; a crash before leaves the file as it was.
    preparing: VecDeque<Command>,
    writing: VecDeque<Command>,
    /// Writes so far, and sectors lost in crashes.
    pub counters: Counters,
}

/// What the disk did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Syncs.
    pub syncs: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Unsynced sectors that crashes took.
    pub lost: u64,
    /// Unsynced sectors that survived crashes.
    pub kept: u64,
}

/// Which of the disk's queues has something to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// The oldest write.
    Write,
    /// The oldest preparation.
    Prepare,
    /// A read, answered at once when it is due.
    Read,
}

impl Disk {
    /// What the folder holds.
    #[must_use]
    pub fn listing(&self) -> Listing {
        let mut listing = Listing::default();
        for (id, file) in &self.files {
            match id {
                FileId::Superblock => listing.superblock = Some(file.seen.len() as u64),
                FileId::Segment(number) => listing.segments.push((*number, file.seen.len() as u64)),
            }
        }
        listing
    }

    /// Takes a command that takes time; deletions are done at once.
    pub fn take(&mut self, command: Command) -> Option<Job> {
        match command {
            Command::Prepare { .. } => {
                self.preparing.push_back(command);
                Some(Job::Prepare)
            }
            Command::Write { .. } => {
                self.writing.push_back(command);
                Some(Job::Write)
            }
            Command::Delete { file } => {
                self.files.remove(&file);
                None
            }
            Command::Read { .. } => unreachable!("the world holds reads"),
        }
    }

    /// The oldest preparation or write is done.
    pub fn finish(&mut self, job: Job) -> Option<Event> {
        let command = if job == Job::Write {
            self.writing.pop_front()
        } else {
            self.preparing.pop_front()
        };
        match command.expect("one for each job") {
            Command::Prepare { file, bytes, recycle } => {
                let mut made = File {
                    seen: vec![0; bytes as usize],
                    durable: vec![0; bytes as usize],
                    ..File::default()
                };
                if let Some(old) = recycle.and_then(|number| self.files.remove(&FileId::Segment(number))) {
                    made = old;
                    made.seen.resize(bytes as usize, 0);
                    made.durable.resize(bytes as usize, 0);
                }
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
                let target = self.files.entry(file).or_default();
                let bytes = chunks.concat();
                self.counters.bytes += bytes.len() as u64;
                target.write(offset as usize, &bytes);
                sync.then(|| self.sync(id))
            }
            other => unreachable!("{other:?} is not queued"),
        }
    }

    /// Reads, short at the end of the file.
    #[must_use]
    pub fn read(&self, file: FileId, offset: u64, bytes: u32) -> Bytes {
        let Some(file) = self.files.get(&file) else {
            return Bytes::new();
        };
        let start = (offset as usize).min(file.seen.len());
        let end = (start + bytes as usize).min(file.seen.len());
        Bytes::copy_from_slice(&file.seen[start..end])
    }

    /// The power fails. Of writes that were never finished, and of those not synced, each sector survives by itself
    /// with `survival` in 256.
    pub fn crash(&mut self, rng: &mut ChaCha8Rng, survival: u32) {
        for command in std::mem::take(&mut self.writing) {
            if let Command::Write {
                file, offset, chunks, ..
            } = command
            {
                self.files
                    .entry(file)
                    .or_default()
                    .write(offset as usize, &chunks.concat());
            }
        }
        self.preparing.clear();
        for file in self.files.values_mut() {
            for sector in std::mem::take(&mut file.unsynced) {
                let start = sector * SECTOR;
                let end = (start + SECTOR).min(file.seen.len());
                if rng.random_range(0..256) < survival {
                    self.counters.kept += 1;
                    if file.durable.len() < end {
                        file.durable.resize(end, 0);
                    }
                    file.durable[start..end].copy_from_slice(&file.seen[start..end]);
                } else {
                    self.counters.lost += 1;
                }
            }
            file.seen.clone_from(&file.durable);
        }
    }

    fn sync(&mut self, upto: WriteId) -> Event {
        self.counters.syncs += 1;
        for file in self.files.values_mut() {
            for sector in std::mem::take(&mut file.unsynced) {
                let start = sector * SECTOR;
                let end = (start + SECTOR).min(file.seen.len());
                if file.durable.len() < end {
                    file.durable.resize(end, 0);
                }
                file.durable[start..end].copy_from_slice(&file.seen[start..end]);
            }
        }
        Event::Durable { upto }
    }
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.unsynced.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }
}
