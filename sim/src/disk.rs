//! A disk of sectors. What was not synced when the power fails survives sector by sector, or does not.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waystation_core::disk::{Command, Event, FileId, Listing, WriteId};
use waystation_core::plant::{self, Plant};

/// Bytes that are written or lost together.
pub const SECTOR: usize = 512;

/// A file: what the program sees, and what would be left of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) seen: Vec<u8>,
    pub(crate) durable: Vec<u8>,
    /// Sectors in which the two differ, or may.
    pub(crate) unsynced: BTreeSet<usize>,
}

/// Files by name.
pub(crate) type Files = BTreeMap<FileId, File>;

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    pub(crate) files: Files,
    /// Files with unsynced sectors, or that were.
    touched: BTreeSet<FileId>,
    /// Prepared when the preparation ends; a crash before leaves the file as it was.
    preparing: VecDeque<Command>,
    writing: VecDeque<Command>,
    /// Files with damage that is not undone.
    pub(crate) damaged: BTreeSet<FileId>,
    /// While there is damage: what the files would be without. Every command is done to both.
    pub(crate) pristine: Option<Files>,
    /// What the disk did.
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
    /// Crashes that took some sectors and left others.
    pub torn: u64,
}

/// Which of the disk's queues has something to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// The oldest write.
    Write,
    /// The oldest preparation.
    Prepare,
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
    ///
    /// # Panics
    /// On a read: whoever calls holds it until it is due, then calls [`Disk::read`].
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
                self.images().for_each(|files| drop(files.remove(&file)));
                self.forget_damage(file);
                None
            }
            Command::Read { .. } => unreachable!("reads are held until they are due"),
        }
    }

    /// The file that the oldest preparation or write is about.
    #[must_use]
    pub fn about(&self, job: Job) -> Option<FileId> {
        let queue = if job == Job::Write {
            &self.writing
        } else {
            &self.preparing
        };
        queue.front().and_then(|command| match command {
            Command::Prepare { file, .. } | Command::Write { file, .. } => Some(*file),
            Command::Read { .. } | Command::Delete { .. } => None,
        })
    }

    /// The oldest preparation or write is done.
    ///
    /// # Panics
    /// If there is none.
    pub fn finish(&mut self, job: Job) -> Option<Event> {
        let command = if job == Job::Write {
            self.writing.pop_front()
        } else {
            self.preparing.pop_front()
        };
        match command.expect("one for each job") {
            Command::Prepare { file, bytes, recycle } => {
                self.prepare(file, bytes as usize, recycle);
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
                self.counters.bytes += bytes.len() as u64;
                self.write(file, offset, &bytes);
                sync.then(|| self.sync(id))
            }
            other => unreachable!("{other:?} is not queued"),
        }
    }

    /// The files as they are, and as they would be.
    fn images(&mut self) -> impl Iterator<Item = &mut Files> {
        std::iter::once(&mut self.files).chain(self.pristine.as_mut())
    }

    /// The file is gone, or begins anew: what it was does not matter.
    fn forget_damage(&mut self, file: FileId) {
        if self.damaged.remove(&file) && self.damaged.is_empty() {
            self.pristine = None;
        }
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        self.images()
            .for_each(|files| files.entry(file).or_default().write(offset as usize, bytes));
        self.touched.insert(file);
    }

    fn prepare(&mut self, file: FileId, bytes: usize, recycle: Option<u64>) {
        for files in self.images() {
            let mut made = File {
                seen: vec![0; bytes],
                durable: vec![0; bytes],
                ..File::default()
            };
            if let Some(old) = recycle.and_then(|number| files.remove(&FileId::Segment(number))) {
                made = old;
                made.seen.resize(bytes, 0);
                made.durable.resize(bytes, 0);
            }
            files.insert(file, made);
        }
        self.touched.insert(file);
        recycle
            .into_iter()
            .for_each(|number| self.forget_damage(FileId::Segment(number)));
        self.forget_damage(file);
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
                self.write(file, offset, &chunks.concat());
            }
        }
        self.preparing.clear();
        let before = self.counters;
        for id in std::mem::take(&mut self.touched) {
            let mut sectors = BTreeSet::new();
            self.images()
                .filter_map(|files| files.get_mut(&id))
                .for_each(|file| sectors.append(&mut file.unsynced));
            for sector in sectors {
                let drawn = rng.random_range(0..256) < survival;
                let kept = plant::is(Plant::DiskLosesNothing) || (drawn && !plant::is(Plant::DiskTearsNothing));
                self.counters.kept += u64::from(kept);
                self.counters.lost += u64::from(!kept);
                for file in self.images().filter_map(|files| files.get_mut(&id)) {
                    if kept { file.settle(sector) } else { file.revert(sector) }
                }
            }
            for file in self.images().filter_map(|files| files.get_mut(&id)) {
                let bytes = file.durable.len();
                file.seen.truncate(bytes);
            }
        }
        let (lost, kept) = (self.counters.lost - before.lost, self.counters.kept - before.kept);
        self.counters.torn += u64::from(lost > 0 && kept > 0);
    }

    fn sync(&mut self, upto: WriteId) -> Event {
        self.counters.syncs += 1;
        for id in std::mem::take(&mut self.touched) {
            for file in self.images().filter_map(|files| files.get_mut(&id)) {
                std::mem::take(&mut file.unsynced)
                    .into_iter()
                    .for_each(|sector| file.settle(sector));
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

    /// A sector becomes durable.
    fn settle(&mut self, sector: usize) {
        let start = (sector * SECTOR).min(self.seen.len());
        let end = (start + SECTOR).min(self.seen.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.seen[start..end]);
    }

    /// A sector is as it was before it was written.
    fn revert(&mut self, sector: usize) {
        let start = (sector * SECTOR).min(self.durable.len());
        let end = (start + SECTOR).min(self.durable.len());
        self.seen[start..end].copy_from_slice(&self.durable[start..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const FILE: FileId = FileId::Segment(1);

    fn written(id: u64, offset: u64, byte: u8, sync: bool) -> Command {
        let chunks = vec![Bytes::from(vec![byte; 2 * SECTOR])];
        Command::Write {
            id: WriteId(id),
            file: FILE,
            offset,
            chunks,
            sync,
        }
    }

    fn prepared() -> Disk {
        let mut disk = Disk::default();
        disk.take(Command::Prepare {
            file: FILE,
            bytes: 4096,
            recycle: None,
        });
        assert_eq!(disk.finish(Job::Prepare), Some(Event::Prepared { file: FILE }));
        disk
    }

    #[test]
    fn a_crash_takes_what_was_not_synced_and_nothing_else() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut disk = prepared();
        disk.take(written(1, 0, 7, true));
        assert_eq!(disk.finish(Job::Write), Some(Event::Durable { upto: WriteId(1) }));
        disk.take(written(2, 512, 8, false));
        assert_eq!(disk.finish(Job::Write), None);
        assert_eq!(disk.read(FILE, 512, 1)[0], 8);
        disk.crash(&mut rng, 0);
        assert_eq!(
            disk.read(FILE, 0, 4096)[..],
            [[7; 1024].as_slice(), &[0; 3072]].concat()
        );
    }

    #[test]
    fn sectors_survive_one_by_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut torn = 0;
        for _ in 0..100 {
            let mut disk = prepared();
            disk.take(written(1, 0, 9, true));
            disk.crash(&mut rng, 128);
            let (first, second) = (disk.read(FILE, 0, 1)[0], disk.read(FILE, 512, 1)[0]);
            torn += u32::from(first == 0 && second == 9);
        }
        assert!(
            (10..50).contains(&torn),
            "the later of two sectors alone, a quarter of the time: {torn}"
        );
    }

    #[test]
    fn a_recycled_file_keeps_its_stale_bytes_under_its_new_name() {
        let mut disk = prepared();
        disk.take(written(1, 0, 7, true));
        disk.finish(Job::Write);
        disk.take(Command::Prepare {
            file: FileId::Segment(2),
            bytes: 4096,
            recycle: Some(1),
        });
        disk.finish(Job::Prepare);
        assert_eq!(
            (disk.read(FILE, 0, 1).len(), disk.read(FileId::Segment(2), 0, 1)[0]),
            (0, 7)
        );
        assert_eq!(disk.listing().segments, [(2, 4096)]);
    }
}
