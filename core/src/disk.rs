//! The disk as messages: what the log asks for and what it hears.
//!
//! The driver may merge commands and run reads beside writes, but it performs writes of one file in the order given, and
//! reports [`Event::Durable`] only when the write and every write before it is on stable storage.

use bytes::Bytes;

/// A file of the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileId {
    /// `waystation.super`: the term and the place of the newest checkpoint.
    Superblock,
    /// `<16 hex digits>.seg`: one segment of the log.
    Segment(u64),
}

/// Dense, increasing number of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// Number of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What the disk is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Create `file` with `bytes` zero bytes written (not merely allocated), synced with its folder entry, and answer
    /// [`Event::Prepared`]. With `recycle`, the old segment is renamed and keeps its stale bytes: that is faster, and
    /// the record format tells stale from live. Runs beside writes. The superblock is prepared in the same way.
    Prepare {
        /// The new file.
        file: FileId,
        /// Its length in bytes.
        bytes: u64,
        /// A segment no longer needed, to be renamed into the new one.
        recycle: Option<u64>,
    },
    /// Write `chunks`, one after the other, at `offset`. With `sync`, then make it durable (fdatasync), with every
    /// write before it, and answer [`Event::Durable`].
    Write {
        /// Dense, increasing.
        id: WriteId,
        /// An existing, prepared file.
        file: FileId,
        /// Byte offset in the file.
        offset: u64,
        /// The bytes.
        chunks: Vec<Bytes>,
        /// Whether a sync follows.
        sync: bool,
    },
    /// Read `bytes` bytes at `offset`, fewer at the end of the file; answer [`Event::Loaded`].
    Read {
        /// Chosen by the core.
        id: ReadId,
        /// The file.
        file: FileId,
        /// Byte offset in the file.
        offset: u64,
        /// How many bytes.
        bytes: u32,
    },
    /// Remove the file. Not answered.
    Delete {
        /// A segment that nothing refers to.
        file: FileId,
    },
}

/// What the disk reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The file exists at its full length, durably.
    Prepared {
        /// The file.
        file: FileId,
    },
    /// Write `upto` and every write before it is on stable storage.
    Durable {
        /// The newest write covered.
        upto: WriteId,
    },
    /// A read is done; `bytes` is shorter than asked at the end of the file.
    Loaded {
        /// The read.
        id: ReadId,
        /// What was read.
        bytes: Bytes,
    },
    /// A command failed. The node halts: after a failed write or sync nothing is known about the file.
    Failed {
        /// The file.
        file: FileId,
        /// What was attempted, for the message.
        doing: &'static str,
        /// The operating system's words.
        error: String,
    },
}

/// What the data folder held when the node was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Length in bytes of the superblock file, if there is one.
    pub superblock: Option<u64>,
    /// Number and length in bytes of each segment file, in any order.
    pub segments: Vec<(u64, u64)>,
}

#[cfg(test)]
pub(crate) mod folder;
