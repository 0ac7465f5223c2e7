//! Reads, beside the writes.

use super::Queue;
use super::files::Files;
use bytes::{Bytes, BytesMut};
use std::io;
use std::os::unix::fs::FileExt;
use waystation_core::disk::{Command, Event, FileId};

pub(super) fn run(files: &Files, commands: &mut dyn Iterator<Item = Command>, queue: &mut Queue<'_>) {
    for command in commands {
        let Command::Read {
            id,
            file,
            offset,
            bytes,
        } = command
        else {
            unreachable!("submit sends reads alone");
        };
        match read(files, file, offset, bytes as usize) {
            Ok(bytes) => (queue.report)(Event::Loaded { id, bytes }),
            Err(error) => return queue.failed(file, "read", &error),
        }
    }
}

/// Up to `length` bytes at `offset`; fewer at the end of the file.
fn read(files: &Files, file: FileId, offset: u64, length: usize) -> io::Result<Bytes> {
    let handle = files.get(file)?;
    let mut bytes = BytesMut::zeroed(length);
    let mut filled = 0;
    while filled < length {
        match handle.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.freeze())
}
