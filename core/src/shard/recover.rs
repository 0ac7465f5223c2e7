//! A shard from what the data folder holds.
//!
//! Superblock, manifest, then the records after it: what a restart reads grows with the log since the last checkpoint,
//! not with the backlog. Then the node takes a new term, durably and before anything is written under it, so that no
//! record of an earlier life can be taken for one of this.

use super::Shard;
use super::checkpoint::{Checkpoint, Manifest};
use super::entry::{Command as Entry, Decoded, decode_entry};
use crate::catalog::{Catalog, Change};
use crate::disk::{Command, Event, FileId, Listing, ReadId, WriteId};
use crate::log::record::{HEADER_BYTES, Header, Kind, Position, record_bytes};
use crate::log::recovery::{Reader, Step};
use crate::log::superblock::{FILE_BYTES, Superblock};
use crate::log::{End, Log, SEAL_BYTES};
use crate::machine::Now;
use crate::mark::{self, Mark};
use crate::message::Message;
use crate::node::{Config, HaltCause, Recovery};
use crate::plant::{self, Plant};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Reads a data folder, or makes a new one.
#[derive(Debug)]
pub(crate) struct Recover {
    config: Config,
    listing: Listing,
    shard: Shard,
    stage: Stage,
    superblock: Superblock,
    /// Where the manifest's body lies and its length, once it was read.
    manifest: Option<(Position, u64)>,
    end: Option<End>,
    /// Commands read and not yet applied, with their time and the place of their entry's body.
    entries: VecDeque<(u64, Position, Decoded)>,
    commands: VecDeque<Command>,
    /// Bytes of records after the manifest.
    replayed_bytes: u64,
    report: Recovery,
}

#[derive(Debug)]
enum Stage {
    /// The superblock's file is being made.
    Prepare,
    /// The superblock is being read.
    Superblock(ReadId),
    /// The log is being read; the read awaited, if any.
    Replay(Box<Reader>, Option<ReadId>),
    /// Both slots are being written under the new term.
    Term(WriteId),
    Done,
}

/// What came of an event.
pub(crate) enum Progress {
    Waiting,
    Done(Box<Shard>, Recovery),
    Halt(HaltCause),
}

impl Recover {
    /// # Errors
    /// [`HaltCause::Damaged`] if there are segments but no superblock: it is made before them (G17).
    pub(crate) fn new(config: Config, listing: Listing, now: Now) -> Result<Self, HaltCause> {
        if listing.superblock.is_none() && !listing.segments.is_empty() {
            let what = "the file is missing, and there are segments that it should speak of";
            return Err(HaltCause::Damaged {
                file: FileId::Superblock,
                offset: 0,
                what,
            });
        }
        let empty = End {
            segment: 1,
            offset: 0,
            capacity: 0,
            sequence: 1,
        };
        let log = Log::new(config.segment_bytes, 0, empty, 1, 1);
        let mut shard = Shard::new(config.clone(), log, now);
        let stage = if listing.superblock.is_some() {
            Stage::Superblock(shard.log.read(FileId::Superblock, 0, FILE_BYTES as u32))
        } else {
            Stage::Prepare
        };
        let mut recover = Self {
            config,
            listing,
            shard,
            stage,
            superblock: Superblock::default(),
            manifest: None,
            end: None,
            entries: VecDeque::new(),
            commands: VecDeque::new(),
            replayed_bytes: 0,
            report: Recovery::default(),
        };
        if matches!(recover.stage, Stage::Prepare) {
            recover.prepare();
        }
        Ok(recover)
    }

    pub(crate) fn handle(&mut self, event: Event) -> Progress {
        let result = match event {
            Event::Prepared { .. } => self.begin_term(),
            Event::Durable { upto } => return self.term_begun(upto),
            Event::Loaded { id, bytes } => self.loaded(id, &bytes),
            Event::Failed { file, doing, error } => Err(HaltCause::DiskFailed { file, doing, error }),
        };
        match result {
            Ok(()) => Progress::Waiting,
            Err(cause) => Progress::Halt(cause),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Command> {
        self.shard.log.poll().or_else(|| self.commands.pop_front())
    }

    fn prepare(&mut self) {
        self.stage = Stage::Prepare;
        self.commands.push_back(Command::Prepare {
            file: FileId::Superblock,
            bytes: FILE_BYTES,
            recycle: None,
        });
        self.end = Some(End {
            segment: 1,
            offset: 0,
            capacity: 0,
            sequence: 1,
        });
    }

    fn loaded(&mut self, id: ReadId, bytes: &Bytes) -> Result<(), HaltCause> {
        match &mut self.stage {
            Stage::Superblock(read) if *read == id => return self.superblock_read(bytes),
            Stage::Replay(reader, read) if *read == Some(id) => {
                *read = None;
                reader.loaded(bytes);
            }
            _ => {
                self.shard.loaded(id, bytes);
                if let Some(cause) = self.shard.take_halt() {
                    return Err(cause);
                }
            }
        }
        self.replay()
    }

    fn superblock_read(&mut self, bytes: &[u8]) -> Result<(), HaltCause> {
        let start = match Superblock::choose(bytes)? {
            Some(superblock) => {
                self.superblock = superblock;
                superblock.manifest
            }
            // Nothing was written yet, or a crash came while the folder was being made.
            None if self.listing.segments.is_empty() => {
                mark::hit(Mark::FolderAbandoned);
                self.prepare();
                return Ok(());
            }
            None => {
                let what = "neither of the superblock's two slots is whole";
                return Err(HaltCause::Damaged {
                    file: FileId::Superblock,
                    offset: 0,
                    what,
                });
            }
        };
        let record = |at: Position| Position {
            offset: at.offset.saturating_sub(HEADER_BYTES as u32),
            ..at
        };
        let (start, sequence) = start.map_or((Position { segment: 1, offset: 0 }, 1), |(at, seq)| (record(at), seq));
        let segments: BTreeMap<u64, u64> = self.listing.segments.iter().copied().collect();
        self.stage = Stage::Replay(Box::new(Reader::new(segments, start, sequence)), None);
        self.replay()
    }

    /// Reads and applies until something must be waited for.
    fn replay(&mut self) -> Result<(), HaltCause> {
        loop {
            while let Some((_, _, (command, _))) = self.entries.front() {
                if let Some(missing) = self.shard.missing(command) {
                    mark::hit(Mark::ReplayAwaitsPage);
                    self.shard.load_page(missing.queue, missing.page);
                    return Ok(());
                }
                if let Entry::Change(change) = command
                    && !self.shard.is_new(change)
                {
                    let at = self.entries[0].1;
                    return Err(HaltCause::Damaged {
                        file: FileId::Segment(at.segment),
                        offset: u64::from(at.offset),
                        what: "a queue has the number of another",
                    });
                }
                let (time_ms, body_at, (command, at)) = self.entries.pop_front().expect("looked at");
                let place = |at: u32| Position {
                    offset: body_at.offset + at,
                    ..body_at
                };
                self.shard.replay(time_ms, own_message(command), at.map(place));
            }
            let Stage::Replay(reader, waiting) = &mut self.stage else {
                return Ok(());
            };
            if waiting.is_some() {
                return Ok(());
            }
            match reader.step() {
                Step::Read { segment, offset, bytes } => {
                    *waiting = Some(self.shard.log.read(FileId::Segment(segment), offset, bytes));
                }
                Step::Record { header, body_at, body } => self.record(&header, body_at, &body)?,
                Step::Damaged(cause) => return Err(cause),
                Step::End { end, torn, term } => return self.ended(end, torn, term),
            }
        }
    }

    fn record(&mut self, header: &Header, body_at: Position, body: &Bytes) -> Result<(), HaltCause> {
        let damaged = |what| {
            let file = FileId::Segment(body_at.segment);
            HaltCause::Damaged {
                file,
                offset: u64::from(body_at.offset),
                what,
            }
        };
        let first = self.superblock.manifest.is_some_and(|(at, _)| at == body_at);
        self.replayed_bytes += if first {
            0
        } else {
            record_bytes(header.body_bytes) as u64
        };
        match header.kind {
            Kind::Manifest if first => {
                let manifest = Manifest::decode(body).ok_or_else(|| damaged("a manifest was expected"))?;
                self.manifest = Some((body_at, body.len() as u64));
                let restored = self.shard.restore(manifest, body_at, body.len() as u64);
                restored.ok_or_else(|| damaged("a manifest's catalog was expected"))?;
            }
            _ if first => return Err(damaged("a manifest was expected")),
            Kind::Entry => {
                let (time_ms, commands) = decode_entry(body).ok_or_else(|| damaged("an entry was expected"))?;
                self.report.entries += 1;
                self.entries
                    .extend(commands.into_iter().map(|command| (time_ms, body_at, command)));
            }
            // A checkpoint that the superblock never came to, and copies that only it knew.
            Kind::Segment | Kind::Seal | Kind::Mark | Kind::Page | Kind::Manifest | Kind::Copied => {}
        }
        Ok(())
    }

    fn ended(&mut self, end: End, torn: bool, term: u64) -> Result<(), HaltCause> {
        if let Some((at, _)) = self.superblock.manifest.filter(|_| self.manifest.is_none()) {
            let (file, offset) = (FileId::Segment(at.segment), u64::from(at.offset));
            return Err(HaltCause::Damaged {
                file,
                offset,
                what: "the newest checkpoint's manifest was expected",
            });
        }
        if end.offset > 0 && u64::from(end.offset) + SEAL_BYTES as u64 > end.capacity {
            let (file, offset) = (FileId::Segment(end.segment), u64::from(end.offset));
            return Err(HaltCause::Damaged {
                file,
                offset,
                what: "the room for the segment's seal was expected",
            });
        }
        if torn {
            mark::hit(Mark::TornTail);
            self.report.torn = Some((FileId::Segment(end.segment), u64::from(end.offset)));
        }
        self.superblock.term = self.superblock.term.max(term);
        self.end = Some(end);
        self.begin_term()
    }

    /// Takes a new term, in both slots, so that no single slot's loss brings an old one back.
    fn begin_term(&mut self) -> Result<(), HaltCause> {
        mark::hit(Mark::TermBump);
        let Superblock { term, turn, .. } = self.superblock;
        if term.max(turn) >= u64::MAX - 2 {
            let what = "no term or turn is left";
            return Err(HaltCause::Damaged {
                file: FileId::Superblock,
                offset: 0,
                what,
            });
        }
        self.superblock.term += u64::from(!plant::is(Plant::RecoveryKeepsTerm));
        for id in [WriteId(1), WriteId(2)] {
            self.superblock.turn += 1;
            let chunks = vec![Bytes::from(self.superblock.encode())];
            let offset = self.superblock.offset();
            self.commands.push_back(Command::Write {
                id,
                file: FileId::Superblock,
                offset,
                chunks,
                sync: true,
            });
        }
        self.stage = Stage::Term(WriteId(2));
        Ok(())
    }

    fn term_begun(&mut self, upto: WriteId) -> Progress {
        if !matches!(self.stage, Stage::Term(last) if upto >= last) {
            return Progress::Waiting;
        }
        self.stage = Stage::Done;
        let end = self.end.expect("the log was read");
        for (segment, _) in self
            .listing
            .segments
            .iter()
            .filter(|(segment, _)| *segment > end.segment && !plant::is(Plant::StaleSegmentsKept))
        {
            self.commands.push_back(Command::Delete {
                file: FileId::Segment(*segment),
            });
        }
        let read_next = self.shard.log.read_next();
        let log = Log::new(self.config.segment_bytes, self.superblock.term, end, 3, read_next);
        let empty = Log::new(
            self.config.segment_bytes,
            0,
            End {
                segment: 1,
                offset: 0,
                capacity: 0,
                sequence: 1,
            },
            1,
            1,
        );
        let placeholder = Shard::new(self.config.clone(), empty, Now::default());
        let mut shard = std::mem::replace(&mut self.shard, placeholder);
        shard.log = log;
        let manifest_bytes = self.manifest.map_or(0, |(_, bytes)| bytes);
        shard.lead(
            self.superblock,
            manifest_bytes,
            &self.listing.segments,
            self.replayed_bytes,
        );
        let (messages, _) = shard.message_counts();
        let queues = shard.catalog.queues().count() as u64;
        let report = Recovery {
            messages,
            queues,
            ..self.report.clone()
        };
        Progress::Done(Box::new(shard), report)
    }
}

impl Shard {
    pub(super) fn new(config: Config, log: Log, now: Now) -> Self {
        let catalog = Catalog::new(&config.vhosts);
        let active = log.active_segment();
        Self {
            config,
            catalog,
            log,
            now,
            time_ms: now.wall.0,
            queues: BTreeMap::new(),
            batch: super::Batch::default(),
            consumers: BTreeMap::new(),
            groups: BTreeMap::new(),
            paused: std::collections::BTreeSet::new(),
            active: std::collections::BTreeSet::new(),
            expiries: std::collections::BTreeSet::new(),
            idles: std::collections::BTreeSet::new(),
            cache: super::Cache::default(),
            loads: BTreeMap::new(),
            space: super::Space::default(),
            checkpoint: Checkpoint::new(Superblock::default(), 0, active, 0),
            compaction: None,
            blocked: false,
            stopping: false,
            outputs: VecDeque::new(),
            counters: super::Counters::default(),
        }
    }

    /// Takes the state of a checkpoint. `None` if it contradicts itself.
    fn restore(&mut self, manifest: Manifest, at: Position, bytes: u64) -> Option<()> {
        if !plant::is(Plant::ClockNotRestored) {
            self.time_ms = self.time_ms.max(manifest.time_ms);
        }
        for change in &manifest.changes {
            self.keep_vhost(change);
            self.is_new(change).then_some(())?;
            self.catalog.apply(change).ok()?;
        }
        self.catalog.set_queue_next(manifest.queue_next);
        self.catalog.add_vhosts(&self.config.vhosts.clone());
        let mut indexes: BTreeMap<_, _> = manifest.queues.into_iter().collect();
        let ids: Vec<_> = self.catalog.queues().map(|(id, _)| id).collect();
        for id in ids {
            let index = indexes.remove(&id).unwrap_or_default();
            for page in index.pages().values() {
                self.space.add_page(page);
                let stored = page.stored.expect("a manifest's pages are stored");
                self.space.add(stored.at.segment, u64::from(stored.bytes));
            }
            self.add_queue(id, index);
        }
        self.space.add(at.segment, bytes);
        Some(())
    }

    /// Whether a queue that the change would make has a number of its own.
    fn is_new(&self, change: &Change) -> bool {
        match change {
            Change::DeclareQueue { id, definition, .. } => {
                let present = self.catalog.queue_id(&definition.vhost, &definition.name).is_some();
                id.0 < u64::MAX && (present || self.catalog.queue(*id).is_none())
            }
            _ => true,
        }
    }

    /// A vhost that the configuration no longer names exists as long as the log speaks of it: what it holds was
    /// confirmed (G1).
    fn keep_vhost(&mut self, change: &Change) {
        if let Some(vhost) = change.vhost() {
            self.catalog.add_vhosts(std::slice::from_ref(vhost));
        }
    }

    /// Applies an entry's command again.
    fn replay(&mut self, time_ms: u64, command: Entry, at: Option<Position>) {
        if !plant::is(Plant::ClockNotRestored) {
            self.time_ms = self.time_ms.max(time_ms);
        }
        if let Entry::Change(change) = &command {
            self.keep_vhost(change);
        }
        self.apply(time_ms, command, at, None);
        self.outputs.clear();
        self.trim_cache();
    }

    /// The node leads: everything that is not settled is ready, and what belonged to connections is gone.
    fn lead(&mut self, superblock: Superblock, manifest_bytes: u64, segments: &[(u64, u64)], replayed_bytes: u64) {
        self.outputs.clear();
        let active = self.log.active_segment();
        for (segment, bytes) in segments.iter().filter(|(segment, _)| *segment < active) {
            self.space.seal(*segment, *bytes);
        }
        self.space.count_dead();
        self.checkpoint = Checkpoint::new(superblock, manifest_bytes, active, replayed_bytes);
        self.queues.values_mut().for_each(super::Queue::lead);
        self.active.extend(self.queues.keys());
        self.propose(Entry::Change(Change::Restarted), None, false);
    }

    fn take_halt(&mut self) -> Option<HaltCause> {
        match self.outputs.pop_front() {
            Some(super::Output::Halt(cause)) => Some(cause),
            _ => None,
        }
    }
}

/// The command with a message of its own: what was read with it is let go.
fn own_message(mut command: Entry) -> Entry {
    if let Entry::Enqueue(enqueue) | Entry::Move { enqueue, .. } = &mut command {
        let bytes = Bytes::copy_from_slice(enqueue.message.bytes());
        enqueue.message = Message::decode(bytes).expect("it was a message before");
    }
    command
}
