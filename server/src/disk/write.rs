//! Writes and syncs of the log, in order, grouped.

use super::Queue;
use super::files::Files;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use waystation_core::disk::{Command, Event, FileId, WriteId};

/// Bytes after which a group is written and synced even if more is queued: bounds the wait of its first confirm.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// Writes of one group, for the same reason.
const GROUP_WRITES_MAX: usize = 4_096;
/// Buffers of one vectored write: `IOV_MAX` of Linux and macOS.
const SLICES_MAX: usize = 1_024;
/// Below this mean length of a chunk one copy is cheaper than a vectored write.
const COPY_BELOW: usize = 1_024;

struct Write {
    id: WriteId,
    file: FileId,
    offset: u64,
    chunks: Vec<Bytes>,
    bytes: usize,
    sync: bool,
}

/// Performs writes: on its own thread, or on the core's when that has nothing else to do.
pub(super) struct Writer {
    files: Arc<Files>,
    /// Files written since their last sync.
    dirty: Vec<FileId>,
    scratch: Vec<u8>,
    group: Vec<Write>,
    /// Something failed: nothing more is written.
    failed: bool,
}

/// Performs the writes that come, and counts them in `finished`.
pub(super) fn run(
    writer: &Mutex<Writer>,
    finished: &AtomicU64,
    commands: &mut dyn Iterator<Item = Command>,
    queue: &mut Queue<'_>,
) {
    for first in commands {
        let mut writer = lock(writer);
        let count = writer.collect(first, queue.try_next);
        let event = writer.perform();
        drop(writer);
        finished.fetch_add(count, Ordering::Release);
        if let Some(event) = event {
            (queue.report)(event);
        }
    }
}

/// The writer, whoever used it last: each of its states is whole.
pub(super) fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub(super) const fn new(files: Arc<Files>) -> Self {
        Self {
            files,
            dirty: Vec::new(),
            scratch: Vec::new(),
            group: Vec::new(),
            failed: false,
        }
    }

    /// Takes `first` and what follows, up to the limits of a group; how many that are.
    pub(super) fn collect(&mut self, first: Command, next: &dyn Fn() -> Option<Command>) -> u64 {
        let mut command = Some(first);
        let mut bytes = 0;
        while let Some(Command::Write {
            id,
            file,
            offset,
            chunks,
            sync,
        }) = command
        {
            let length = chunks.iter().map(Bytes::len).sum();
            bytes += length;
            self.group.push(Write {
                id,
                file,
                offset,
                chunks,
                bytes: length,
                sync,
            });
            let full = bytes >= GROUP_BYTES_MAX || self.group.len() >= GROUP_WRITES_MAX;
            command = if full { None } else { next() };
        }
        assert!(command.is_none(), "only writes are sent to the writer");
        self.group.len() as u64
    }

    /// Writes what was collected, and syncs if any of it asks for that. What to report, if anything.
    pub(super) fn perform(&mut self) -> Option<Event> {
        let group = std::mem::take(&mut self.group);
        let upto = group.last()?.id;
        let sync = group.iter().any(|write| write.sync);
        if self.failed {
            return None;
        }
        let written = self
            .write(&group)
            .and_then(|()| if sync { self.sync() } else { Ok(()) });
        self.group = group;
        self.group.clear();
        match written {
            Ok(()) => sync.then_some(Event::Durable { upto }),
            Err((file, doing, error)) => {
                self.failed = true;
                Some(Event::Failed {
                    file,
                    doing,
                    error: error.to_string(),
                })
            }
        }
    }

    fn write(&mut self, group: &[Write]) -> Result<(), Failure> {
        for run in group.chunk_by(|a, b| a.file == b.file && a.offset + a.bytes as u64 == b.offset) {
            let file = run[0].file;
            if !self.dirty.contains(&file) {
                self.dirty.push(file);
            }
            let handle = self.files.get(file);
            let written = handle.and_then(|handle| write_run(&handle, run, &mut self.scratch));
            written.map_err(|error| (file, "write to", error))?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        for file in self.dirty.drain(..) {
            let synced = self.files.get(file).and_then(|handle| handle.sync_data());
            synced.map_err(|error| (file, "sync", error))?;
        }
        Ok(())
    }
}

/// The file, what was attempted, and why it failed.
type Failure = (FileId, &'static str, io::Error);

/// Writes adjoining writes as one.
fn write_run(file: &File, run: &[Write], scratch: &mut Vec<u8>) -> io::Result<()> {
    let total: usize = run.iter().map(|write| write.bytes).sum();
    let chunks = || run.iter().flat_map(|write| &write.chunks);
    let count = chunks().count();
    if total < count * COPY_BELOW {
        scratch.clear();
        chunks().for_each(|chunk| scratch.extend_from_slice(chunk));
        let written = file.write_all_at(scratch, run[0].offset);
        // A group of the greatest size must not be held for ever.
        scratch.shrink_to(GROUP_BYTES_MAX / 8);
        return written;
    }
    let mut offset = run[0].offset;
    let mut slices: Vec<IoSlice<'_>> = chunks().map(|chunk| IoSlice::new(chunk)).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let some = &left[..left.len().min(SLICES_MAX)];
        match rustix::io::pwritev(file, some, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                offset += count as u64;
                IoSlice::advance_slices(&mut left, count);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
