//! The writer and the reader of the log, against each other.

mod damage;
mod golden;

use super::recovery::{Reader, Step};
use super::*;
use crate::disk::Event;
use crate::disk::folder::Folder;
use crate::node::HaltCause;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SEGMENT: u64 = 4096;
const START: Position = Position { segment: 1, offset: 0 };

/// A log with a folder in memory.
struct Writer {
    log: Log,
    folder: Folder,
}

/// What a reader made of a folder.
#[derive(Debug, PartialEq)]
struct Found {
    records: Vec<(Header, Position, Bytes)>,
    end: End,
    torn: bool,
    term: u64,
}

impl Found {
    /// The bodies of the entries.
    fn entries(&self) -> Vec<Vec<u8>> {
        let entries = self.records.iter().filter(|(header, ..)| header.kind == Kind::Entry);
        entries.map(|(_, _, body)| body.to_vec()).collect()
    }
}

impl Writer {
    fn new() -> Self {
        let end = End {
            segment: 1,
            offset: 0,
            capacity: 0,
            sequence: 1,
        };
        Self {
            log: Log::new(SEGMENT, 1, end, 1, 1),
            folder: Folder::default(),
        }
    }

    /// Goes on where `found` ended, under a new term.
    fn resume(folder: Folder, found: &Found, term: u64) -> Self {
        let log = Log::new(SEGMENT, term, found.end, 100, 100);
        Self { log, folder }
    }

    /// Writes entries with one write, and leaves its command to the caller.
    fn submit(&mut self, bodies: &[Vec<u8>]) -> Vec<(Position, u64)> {
        let bytes = bodies.iter().map(|body| record_bytes(body.len())).sum();
        while !self.log.reserve(bytes) {
            self.perform();
        }
        let places = bodies
            .iter()
            .map(|body| self.log.append(Kind::Entry, made(body)))
            .collect();
        self.log.submit();
        places
    }

    fn write(&mut self, bodies: &[Vec<u8>]) -> Vec<(Position, u64)> {
        let places = self.submit(bodies);
        self.perform();
        assert!(self.log.is_idle(), "the write is durable");
        places
    }

    fn perform(&mut self) {
        while let Some(command) = self.log.poll() {
            match self.folder.perform(command) {
                Some(Event::Prepared {
                    file: FileId::Segment(segment),
                }) => self.log.prepared(segment),
                Some(Event::Durable { upto }) => assert!(self.log.durable(upto)),
                None => {}
                other => panic!("{other:?} was not asked for"),
            }
        }
    }
}

fn made(bytes: &[u8]) -> Body {
    let mut body = Body::default();
    body.put(&Bytes::copy_from_slice(bytes));
    body
}

/// Reads a folder's log from a place on.
fn read_from(folder: &Folder, start: Position, sequence: u64) -> Result<Found, HaltCause> {
    let mut reader = Reader::new(folder.segments(), start, sequence);
    let mut records = Vec::new();
    for _ in 0..1_000_000 {
        match reader.step() {
            Step::Read { segment, offset, bytes } => {
                reader.loaded(&folder.read(FileId::Segment(segment), offset, bytes));
            }
            Step::Record { header, body_at, body } => records.push((header, body_at, body)),
            Step::Damaged(cause) => return Err(cause),
            Step::End { end, torn, term } => {
                return Ok(Found {
                    records,
                    end,
                    torn,
                    term,
                });
            }
        }
    }
    panic!("the reader does not come to an end");
}

fn read(folder: &Folder) -> Result<Found, HaltCause> {
    read_from(folder, START, 1)
}

/// Distinct bodies.
fn body(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number * 31 + at * 7 + 1) as u8).collect()
}

#[test]
fn what_was_written_is_read_over_many_segments() {
    let mut writer = Writer::new();
    let mut written = Vec::new();
    let mut places = Vec::new();
    for number in 0..200 {
        let bodies = vec![body(number, number % 97), body(number + 1000, 300)];
        places.extend(writer.write(&bodies));
        written.extend(bodies);
    }
    let found = read(&writer.folder).expect("undamaged");
    assert_eq!(found.entries(), written);
    assert!(!found.torn);
    assert!(found.end.segment > 10, "the log rolled: {:?}", found.end);
    let entries = found.records.iter().filter(|(header, ..)| header.kind == Kind::Entry);
    let read_places: Vec<(Position, u64)> = entries.map(|(header, at, _)| (*at, header.sequence)).collect();
    assert_eq!(read_places, places, "positions lead to bodies");
    for (expected, (header, at, body)) in found.records.iter().enumerate() {
        assert_eq!(header.sequence, expected as u64 + 1, "sequences are dense");
        assert!(header.synced < header.sequence);
        assert_eq!(
            writer
                .folder
                .read(FileId::Segment(at.segment), u64::from(at.offset), body.len() as u32),
            body
        );
    }
    let firsts: BTreeSet<u64> = found
        .records
        .iter()
        .filter(|(header, ..)| header.kind == Kind::Segment)
        .map(|(_, at, _)| at.segment)
        .collect();
    assert_eq!(
        firsts,
        (1..=found.end.segment).collect(),
        "each segment says what it is"
    );
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let mut writer = Writer::new();
    let bodies = [body(1, 10), body(2, 40_000), body(3, 10)];
    for body in &bodies {
        writer.write(std::slice::from_ref(body));
    }
    let found = read(&writer.folder).expect("undamaged");
    assert_eq!(found.entries(), bodies);
    let lengths: Vec<u64> = writer.folder.segments().into_values().collect();
    assert!(lengths.iter().any(|length| *length > 40_000), "{lengths:?}");
    assert!(lengths.iter().all(|length| length % SEGMENT == 0), "{lengths:?}");
}

#[test]
fn reading_begins_at_any_record() {
    let mut writer = Writer::new();
    for number in 0..60 {
        writer.write(&[body(number, 200)]);
    }
    let all = read(&writer.folder).expect("undamaged").records;
    for (from, (header, at, _)) in all.iter().enumerate() {
        let start = Position {
            offset: at.offset - HEADER_BYTES as u32,
            ..*at
        };
        let found = read_from(&writer.folder, start, header.sequence).expect("undamaged");
        assert_eq!(found.records, all[from..], "from {start:?}");
    }
}

#[test]
fn a_log_goes_on_where_it_ended_under_a_higher_term() {
    let mut folder = Folder::default();
    let mut written = Vec::new();
    let mut found = None;
    for term in 1..8 {
        let mut writer = match &found {
            None => Writer::new(),
            Some(found) => Writer::resume(folder, found, term),
        };
        for number in 0..7 {
            let body = body(number + term as usize * 100, 333);
            writer.write(std::slice::from_ref(&body));
            written.push(body);
        }
        folder = writer.folder;
        let now = read(&folder).expect("undamaged");
        assert_eq!(now.entries(), written);
        assert_eq!(now.term, term);
        found = Some(now);
    }
}

#[test]
fn one_write_is_in_flight_and_the_next_says_what_was_synced() {
    let mut writer = Writer::new();
    writer.write(&[body(1, 5)]);
    let synced = writer.log.synced();
    assert_eq!(synced, 2, "the segment's first record and the entry");
    writer.submit(&[body(2, 5)]);
    assert!(!writer.log.is_idle());
    assert!(!writer.log.durable(WriteId(0)), "an older write is not this one");
    assert_eq!(writer.log.synced(), synced, "nothing is durable yet");
    writer.perform();
    assert_eq!(writer.log.synced(), 3);
    let found = read(&writer.folder).expect("undamaged");
    let synced: Vec<u64> = found.records.iter().map(|(header, ..)| header.synced).collect();
    assert_eq!(synced, [0, 0, 2]);
}

#[test]
fn a_mark_is_written_once_and_not_synced() {
    let mut writer = Writer::new();
    writer.log.mark();
    assert_eq!(writer.log.poll(), None, "nothing to mark");
    writer.write(&[body(1, 5)]);
    writer.log.mark();
    let command = writer.log.poll();
    assert!(
        matches!(command, Some(Command::Write { sync: false, .. })),
        "{command:?}"
    );
    writer.folder.perform(command.expect("a mark"));
    writer.log.mark();
    assert_eq!(writer.log.poll(), None, "marked already");
    let found = read(&writer.folder).expect("undamaged");
    let last = found.records.last().expect("records").0;
    assert_eq!((last.kind, last.synced), (Kind::Mark, 2));
    assert!(writer.log.is_idle());
}

#[test]
fn segments_are_prepared_ahead_recycled_and_deleted() {
    let mut writer = Writer::new();
    for number in 0..40 {
        writer.write(&[body(number, 400)]);
    }
    let active = writer.log.active_segment();
    assert!(writer.folder.files.contains_key(&FileId::Segment(active)));
    for dead in 1..5 {
        writer.log.release(dead);
    }
    writer.perform();
    assert_eq!(
        writer.folder.deleted,
        [FileId::Segment(3), FileId::Segment(4)],
        "two are kept for recycling"
    );
    for number in 40..80 {
        writer.write(&[body(number, 400)]);
    }
    assert_eq!(writer.folder.recycled, [2, 1]);
    let newest = writer.folder.segments().keys().max().copied();
    let ahead = writer.log.active_segment() + 1;
    assert!(newest <= Some(ahead), "one segment ahead at most");
}

#[test]
fn a_roll_waits_for_its_segment() {
    let mut writer = Writer::new();
    assert!(!writer.log.reserve(100), "nothing is prepared");
    assert!(!writer.log.reserve(100), "still");
    let command = writer.log.poll().expect("the first segment is asked for");
    assert_eq!(writer.log.poll(), None, "asked for once");
    writer.folder.perform(command);
    writer.log.prepared(1);
    assert!(writer.log.reserve(100));
    // A batch that the prepared segment is too small for asks for another one instead.
    let mut writer = Writer::new();
    assert!(!writer.log.reserve(100));
    assert!(!writer.log.reserve(100_000));
    writer.log.prepared(1);
    assert!(!writer.log.reserve(100_000), "the first of two preparations");
    writer.log.prepared(1);
    assert!(writer.log.reserve(100_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Any batches, with restarts and lost tails between: what was durable is read, in order, and nothing else.
    #[test]
    fn any_history_is_read_back(
        lives in prop::collection::vec((
            prop::collection::vec(prop::collection::vec(0..900_usize, 1..4), 0..12),
            prop::collection::vec(0..900_usize, 1..6), any::<u64>(),
        ), 1..5),
    ) {
        let mut folder = Folder::default();
        let mut durable: Vec<Vec<u8>> = Vec::new();
        let mut found: Option<Found> = None;
        let mut number = 0;
        let mut fresh = |lengths: &[usize]| -> Vec<Vec<u8>> {
            lengths.iter().map(|length| { number += 1; body(number, *length) }).collect()
        };
        for (life, (batches, lost, mask)) in lives.iter().enumerate() {
            let mut writer = match &found {
                None => Writer::new(),
                Some(found) => Writer::resume(folder, found, life as u64 + 1),
            };
            for lengths in batches {
                let bodies = fresh(lengths);
                writer.write(&bodies);
                durable.extend(bodies);
            }
            let lost = fresh(lost);
            writer.submit(&lost);
            while let Some(command) = writer.log.poll() {
                writer.folder.perform_unsynced(command);
            }
            folder = writer.folder.crashed(|sector| mask >> (sector % 64) & 1 == 1);
            let now = read(&folder).expect("a crash is no damage");
            let entries = now.entries();
            prop_assert!(entries.starts_with(&durable), "what was durable is there");
            prop_assert!(lost.starts_with(&entries[durable.len()..]), "and a part of what was not, in order");
            durable = entries;
            found = Some(now);
        }
    }
}
