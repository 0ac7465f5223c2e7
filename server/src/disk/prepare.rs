//! Files come and go: zeroed, recycled, deleted.

use super::Queue;
use super::files::Files;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use waystation_core::disk::{Command, Event, FileId};

/// Zeros written at once.
const BLOCK_BYTES: usize = 1 << 20;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

pub(super) fn run(files: &Files, commands: &mut dyn Iterator<Item = Command>, queue: &mut Queue<'_>) {
    for command in commands {
        match command {
            Command::Prepare { file, bytes, recycle } => {
                let (doing, done) = match recycle {
                    Some(number) => ("recycle", recycled(files, FileId::Segment(number), file, bytes)),
                    None => ("create", created(files, file, bytes)),
                };
                if let Err(error) = done {
                    return queue.failed(file, doing, &error);
                }
                (queue.report)(Event::Prepared { file });
            }
            Command::Delete { file } => {
                files.forget(file);
                if let Err(error) = std::fs::remove_file(files.folder.path_of(file)) {
                    return queue.failed(file, "delete", &error);
                }
            }
            Command::Write { .. } | Command::Read { .. } => unreachable!("submit sends neither"),
        }
    }
}

/// Writes zeros under another name, and only a whole, durable file gets the name of a segment.
fn created(files: &Files, file: FileId, bytes: u64) -> io::Result<()> {
    let path = files.folder.preparing_path_of(file);
    let zeroed = File::create(&path).and_then(|handle| {
        zero(&handle, 0, bytes)?;
        handle.sync_all()
    });
    if zeroed.is_err() {
        // On a full disk the half of a file would only keep others from writing. What matters is the first error.
        _ = std::fs::remove_file(&path);
    }
    zeroed?;
    files.forget(file);
    std::fs::rename(&path, files.folder.path_of(file))?;
    files.folder.sync()
}

/// Renames a segment, which keeps its stale bytes, after bringing it to length.
fn recycled(files: &Files, from: FileId, file: FileId, bytes: u64) -> io::Result<()> {
    files.forget(from);
    files.forget(file);
    let path = files.folder.path_of(from);
    let handle = OpenOptions::new().write(true).open(&path)?;
    let present = handle.metadata()?.len();
    if present > bytes {
        handle.set_len(bytes)?;
    } else {
        zero(&handle, present, bytes)?;
    }
    handle.sync_all()?;
    std::fs::rename(&path, files.folder.path_of(file))?;
    files.folder.sync()
}

fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut offset = from;
    while offset < to {
        let length = usize::try_from(to - offset).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        file.write_all_at(&ZEROS[..length], offset)?;
        offset += length as u64;
    }
    Ok(())
}
