//! Writes and syncs of the log, in order, grouped.

use super::Queue;
use super::files::Files;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
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

pub(super) fn run(files: &Files, commands: &mut dyn Iterator<Item = Command>, queue: &mut Queue<'_>) {
    // Files written since their last sync.
    let mut dirty: Vec<FileId> = Vec::new();
    let mut scratch = Vec::new();
    let mut group = Vec::new();
    for first in commands {
        collect(first, queue, &mut group);
        for run in group.chunk_by(|a, b| a.file == b.file && a.offset + a.bytes as u64 == b.offset) {
            let file = run[0].file;
            if !dirty.contains(&file) {
                dirty.push(file);
            }
            if let Err(error) = files.get(file).and_then(|handle| write_run(&handle, run, &mut scratch)) {
                return queue.failed(file, "write to", &error);
            }
        }
        let upto = group.last().expect("holds at least the first").id;
        let sync = group.iter().any(|write| write.sync);
        group.clear();
        if !sync {
            continue;
        }
        for file in dirty.drain(..) {
            if let Err(error) = files.get(file).and_then(|handle| handle.sync_data()) {
                return queue.failed(file, "sync", &error);
            }
        }
        (queue.report)(Event::Durable { upto });
    }
}

/// Takes `first` and what is queued behind it, up to the limits of a group.
fn collect(first: Command, queue: &Queue<'_>, group: &mut Vec<Write>) {
    let mut next = Some(first);
    let mut bytes = 0;
    while let Some(command) = next {
        let Command::Write {
            id,
            file,
            offset,
            chunks,
            sync,
        } = command
        else {
            unreachable!("submit sends writes alone");
        };
        let length = chunks.iter().map(Bytes::len).sum();
        bytes += length;
        group.push(Write {
            id,
            file,
            offset,
            chunks,
            bytes: length,
            sync,
        });
        let full = bytes >= GROUP_BYTES_MAX || group.len() >= GROUP_WRITES_MAX;
        next = if full { None } else { (queue.try_next)() };
    }
}

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
