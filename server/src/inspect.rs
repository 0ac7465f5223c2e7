//! Reads the log of a stopped broker: what is in it, and whether all of it is whole.

use crate::disk::Folder;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use waystation_core::disk::FileId;
use waystation_core::log::record::{HEADER_BYTES, Header, Kind, Parsed, Position, parse};
use waystation_core::log::recovery::{Reader, Step, check_segment};
use waystation_core::log::superblock::{FILE_BYTES, Superblock};
use waystation_core::node::HaltCause;

/// What a segment holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its number.
    pub segment: u64,
    /// Length of its file in bytes.
    pub bytes: u64,
    /// Records by kind.
    pub records: BTreeMap<&'static str, u64>,
    /// Sequence of its first and last record, if it has any.
    pub sequences: Option<(u64, u64)>,
    /// Bytes up to the end of its last record.
    pub used_bytes: u64,
    /// Whether the log went on in another.
    pub sealed: bool,
}

/// What a data folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// The segments, by number.
    pub segments: Vec<Segment>,
    /// Where a restart begins to read: segment and offset.
    pub replay_from: Option<(u64, u64)>,
    /// An unfinished write at the end, never confirmed to anyone: segment and offset. The next start cuts it off.
    pub torn: Option<(u64, u64)>,
    /// What is not whole, in words that name file and offset.
    pub damage: Vec<String>,
}

/// One record, for whoever wants to see each.
pub type Each<'a> = &'a mut dyn FnMut(&Header, Position) -> Result<()>;

/// Reads the whole log of the data folder `path`, which must not be in use.
///
/// # Errors
/// What keeps it from being read. Damage is no error: it is in [`Contents::damage`].
pub fn read(path: &Path, each: Each<'_>) -> Result<Contents> {
    if !path.is_dir() {
        bail!(
            "{} is no folder: name the broker's data folder with --data-dir",
            path.display()
        );
    }
    let opened = Folder::open(path)?;
    let listing = opened.listing;
    let mut scan = Scan {
        folder: opened.folder,
        lengths: listing.segments.iter().copied().collect(),
        contents: Contents::default(),
        each,
    };
    for (segment, bytes) in &listing.segments {
        scan.contents.segments.push(Segment {
            segment: *segment,
            bytes: *bytes,
            ..Segment::default()
        });
    }
    if let Some(bytes) = listing.superblock {
        scan.superblock(bytes)?;
    } else if !listing.segments.is_empty() {
        scan.contents.damage.push(format!("{} is missing", FileId::Superblock));
    }
    Ok(scan.contents)
}

struct Scan<'a> {
    folder: Folder,
    /// Length in bytes of each segment.
    lengths: BTreeMap<u64, u64>,
    contents: Contents,
    each: Each<'a>,
}

impl Scan<'_> {
    fn superblock(&mut self, bytes: u64) -> Result<()> {
        let file = self.load(FileId::Superblock, 0, bytes.min(FILE_BYTES) as usize)?;
        let (start, sequence) = match Superblock::choose(&file) {
            Ok(Some(superblock)) => superblock.manifest.unwrap_or((
                Position {
                    segment: 1,
                    offset: HEADER_BYTES as u32,
                },
                1,
            )),
            Ok(None) if self.lengths.is_empty() => return Ok(()),
            Ok(None) => {
                let text = format!("{}: neither of its two slots is whole", FileId::Superblock);
                self.contents.damage.push(text);
                return Ok(());
            }
            Err(cause) => bail!("{cause}"),
        };
        // The superblock names the manifest's body; its record begins a header earlier.
        let start = Position {
            offset: start.offset.saturating_sub(HEADER_BYTES as u32),
            ..start
        };
        self.contents.replay_from = Some((start.segment, u64::from(start.offset)));
        for segment in self
            .lengths
            .range(..=start.segment)
            .map(|(segment, _)| *segment)
            .collect::<Vec<_>>()
        {
            self.before_replay(segment, start)?;
        }
        self.replay(start, sequence)
    }

    /// Reads a segment up to where replay begins. All of it was durable long ago: whatever is not whole is damage.
    fn before_replay(&mut self, segment: u64, replay: Position) -> Result<()> {
        let end = if segment == replay.segment {
            replay.offset
        } else {
            u32::MAX
        };
        if end == 0 {
            return Ok(());
        }
        let file = FileId::Segment(segment);
        let head = self.load(file, 0, HEADER_BYTES + 64)?;
        let Parsed::Record(first, _) = parse(segment, &head) else {
            self.contents
                .damage
                .push(format!("{file}: its first record is not whole"));
            return Ok(());
        };
        let lengths = BTreeMap::from([(segment, self.lengths[&segment])]);
        let mut reader = Reader::new(lengths, Position { segment, offset: 0 }, first.sequence);
        loop {
            match reader.step() {
                Step::Read { segment, offset, bytes } => {
                    let loaded = self.load(FileId::Segment(segment), offset, bytes as usize)?;
                    reader.loaded(&loaded);
                }
                Step::Record { header, body_at, body } => {
                    if body_at.offset >= end {
                        return Ok(());
                    }
                    self.record(&header, body_at, &body)?;
                }
                // Behind the seal the log goes on in the next segment, which this reader was not given.
                Step::Damaged(HaltCause::Damaged { file, .. }) if file != FileId::Segment(segment) => return Ok(()),
                Step::End { end: place, .. } if place.segment > segment => return Ok(()),
                Step::End { end: place, .. } => {
                    let text = format!("{file}: the record at byte {} is not whole", place.offset);
                    self.contents.damage.push(text);
                    return Ok(());
                }
                Step::Damaged(cause) => return self.damaged(&cause),
            }
        }
    }

    /// Reads what a restart reads, with the eyes of a restart.
    fn replay(&mut self, start: Position, sequence: u64) -> Result<()> {
        let mut reader = Reader::new(self.lengths.clone(), start, sequence);
        let mut first = true;
        loop {
            match reader.step() {
                Step::Read { segment, offset, bytes } => {
                    let loaded = self.load(FileId::Segment(segment), offset, bytes as usize)?;
                    reader.loaded(&loaded);
                }
                Step::Record { header, body_at, body } => {
                    first = false;
                    self.record(&header, body_at, &body)?;
                }
                Step::End { end, .. } if first && sequence > 1 => {
                    let file = FileId::Segment(end.segment);
                    let text = format!("{file}: the checkpoint at byte {} is not whole", end.offset);
                    self.contents.damage.push(text);
                    return Ok(());
                }
                Step::End { end, torn, .. } => {
                    self.contents.torn = torn.then_some((end.segment, u64::from(end.offset)));
                    return Ok(());
                }
                Step::Damaged(cause) => return self.damaged(&cause),
            }
        }
    }

    fn damaged(&mut self, cause: &HaltCause) -> Result<()> {
        match cause {
            HaltCause::Damaged { file, offset, what } => {
                self.contents.damage.push(format!("{file}: byte {offset}: {what}"));
                Ok(())
            }
            other @ (HaltCause::UnknownFormat { .. } | HaltCause::DiskFailed { .. }) => bail!("{other}"),
        }
    }

    fn record(&mut self, header: &Header, body_at: Position, body: &[u8]) -> Result<()> {
        if header.kind == Kind::Segment
            && let Err(cause) = check_segment(body_at.segment, body, self.lengths[&body_at.segment])
        {
            self.damaged(&cause)?;
        }
        let found = self
            .contents
            .segments
            .iter_mut()
            .find(|found| found.segment == body_at.segment);
        let found = found.expect("records lie in listed segments");
        *found.records.entry(kind(header.kind)).or_default() += 1;
        let first = found.sequences.map_or(header.sequence, |(first, _)| first);
        found.sequences = Some((first, header.sequence));
        found.used_bytes = u64::from(body_at.offset) + header.body_bytes as u64;
        found.sealed |= header.kind == Kind::Seal;
        let at = Position {
            offset: body_at.offset - HEADER_BYTES as u32,
            ..body_at
        };
        (self.each)(header, at)
    }

    /// Up to `length` bytes; fewer at the end of the file.
    fn load(&self, file: FileId, offset: u64, length: usize) -> Result<Vec<u8>> {
        let path = self.folder.path_of(file);
        let reading = || format!("cannot read {}", path.display());
        let handle = File::open(&path).with_context(reading)?;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match handle
                .read_at(&mut bytes[filled..], offset + filled as u64)
                .with_context(reading)?
            {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// A kind's name for people.
#[must_use]
pub const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Segment => "segment",
        Kind::Seal => "seal",
        Kind::Mark => "mark",
        Kind::Entry => "entry",
        Kind::Page => "page",
        Kind::Manifest => "manifest",
        Kind::Copied => "copied",
    }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
