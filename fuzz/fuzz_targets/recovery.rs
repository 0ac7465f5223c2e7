#![no_main]
//! A data folder from anywhere: the node serves it or halts, and never panics, hangs or reads without end.
//!
//! The input is a script: its first bytes say how long the files are, the rest is their content. So that more than the
//! checks of checksums is reached, some of the input is taken as the bodies of records that are whole.

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use waystation_core::disk::{Command, Event, FileId, Listing};
use waystation_core::log::record::{Body, Header, Kind, encode};
use waystation_core::log::superblock::{FILE_BYTES, Superblock};
use waystation_core::node::{Config, Input, Node, Output};
use waystation_core::{Machine, Now};

/// More events than any folder of these sizes can need.
const EVENTS_MAX: u32 = 100_000;
const KINDS: [Kind; 7] =
    [Kind::Segment, Kind::Seal, Kind::Mark, Kind::Entry, Kind::Page, Kind::Manifest, Kind::Copied];

fuzz_target!(|script: &[u8]| {
    let mut files = BTreeMap::from([(FileId::Superblock, superblock(script))]);
    for (number, content) in script.chunks(512).enumerate().take(4) {
        let number = number as u64 + 1;
        files.insert(FileId::Segment(number), segment(number, content));
    }
    let listing = Listing {
        superblock: Some(FILE_BYTES),
        segments: files.iter().filter_map(|(id, bytes)| numbered(*id, bytes)).collect(),
    };
    let mut node = Node::open(Config { segment_bytes: 8192, ..Config::default() }, listing, Now::default());
    let mut events = 0;
    while let Some(output) = node.poll() {
        let Output::Disk(command) = output else { continue };
        events += 1;
        assert!(events < EVENTS_MAX, "recovery ends");
        if let Some(event) = perform(&mut files, command) {
            node.handle(Now::default(), Input::Disk(event));
        }
    }
    node.check();
});

fn numbered(id: FileId, bytes: &[u8]) -> Option<(u64, u64)> {
    match id {
        FileId::Segment(number) => Some((number, bytes.len() as u64)),
        FileId::Superblock => None,
    }
}

fn superblock(script: &[u8]) -> Vec<u8> {
    let mut file = vec![0; FILE_BYTES as usize];
    let whole = Superblock { turn: 2, term: u64::from(script.first().copied().unwrap_or(1)), manifest: None }.encode();
    file[..whole.len()].copy_from_slice(&whole);
    file
}

/// Pieces of the input, each a record or bytes as they are.
fn segment(number: u64, content: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut chunks = Vec::new();
    for (sequence, piece) in content.chunks(64).enumerate() {
        let [shape, kind, body @ ..] = piece else { break };
        if shape % 8 == 0 {
            file.extend_from_slice(body);
            continue;
        }
        let mut written = Body::default();
        written.tail().extend_from_slice(body);
        let header = Header {
            kind: KINDS[usize::from(*kind) % KINDS.len()],
            sequence: (number - 1) * 8 + sequence as u64 + 1,
            term: 1,
            synced: sequence as u64,
            body_bytes: body.len(),
        };
        encode(number, &header, written, &mut file, &mut chunks);
    }
    assert!(chunks.is_empty(), "small bodies are copied");
    file.resize(file.len().next_multiple_of(4096), 0);
    file
}

fn perform(files: &mut BTreeMap<FileId, Vec<u8>>, command: Command) -> Option<Event> {
    match command {
        Command::Prepare { file, bytes, recycle } => {
            let old = recycle.and_then(|number| files.remove(&FileId::Segment(number)));
            let mut made = old.unwrap_or_default();
            made.resize(bytes as usize, 0);
            files.insert(file, made);
            Some(Event::Prepared { file })
        }
        Command::Write { id, file, offset, chunks, sync } => {
            let (bytes, start) = (chunks.concat(), offset as usize);
            let held = files.entry(file).or_default();
            held.resize(held.len().max(start + bytes.len()), 0);
            held[start..start + bytes.len()].copy_from_slice(&bytes);
            sync.then_some(Event::Durable { upto: id })
        }
        Command::Read { id, file, offset, bytes } => {
            let held = files.get(&file).map_or(&[][..], Vec::as_slice);
            let start = (offset as usize).min(held.len());
            let end = (start + bytes as usize).min(held.len());
            Some(Event::Loaded { id, bytes: Bytes::copy_from_slice(&held[start..end]) })
        }
        Command::Delete { file } => {
            files.remove(&file);
            None
        }
    }
}
