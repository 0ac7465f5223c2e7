//! A data folder of any content: the node opens it and is ready, or halts and says why. It never panics and always
//! comes to an end, and what it serves it serves to the end.
//!
//! The first byte chooses: a folder of arbitrary bytes, or a valid one with damage, whose checksums are perhaps right
//! again afterwards.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;
use waystation_core::api::{ChannelRequest, ConnId, Name, Outcome, Request};
use waystation_core::disk::{Command, Event, FileId, Listing};
use waystation_core::log::record::{ALIGN, HEADER_BYTES, checksum};
use waystation_core::message::{Message, Table, Value};
use waystation_core::node::{Config, Input, Node, Output};
use waystation_core::{Machine, Now, Time, Wall};

type Files = BTreeMap<FileId, Vec<u8>>;

/// Effects of one input, at most: far more than any folder of this size has to do.
const STEPS_MAX: usize = 100_000;
const CONN: ConnId = ConnId(1);

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let files = match mode % 3 {
        0 => arbitrary(data),
        1 => damaged(data, false),
        _ => damaged(data, true),
    };
    let mut world = World::open(files);
    if world.ready {
        world.ask(vec![connect(), Request::OpenChannel { channel: 1 }]);
        for queue in ["q", "r"] {
            world.ask(vec![on_channel(consume(queue))]);
            world.ask(vec![on_channel(publish(queue, 10))]);
        }
        world.handle(Input::Stop);
    }
    assert!(world.ready || world.halted, "a start ends ready or halted");
});

/// A superblock and segments, each with its length before it.
fn arbitrary(mut data: &[u8]) -> Files {
    let mut files = Files::new();
    let mut number = 0;
    while let Some((head, rest)) = data.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*head)).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        data = rest;
        let (file, bytes) = if number == 0 {
            let mut slots = bytes.to_vec();
            slots.resize(8192, 0);
            (FileId::Superblock, slots)
        } else {
            (FileId::Segment(number), bytes.to_vec())
        };
        files.insert(file, bytes);
        number += 1;
    }
    files
}

/// The valid folder, changed in some places. Each change is four bytes: what and which file, where, and with what.
fn damaged(data: &[u8], mended: bool) -> Files {
    let mut files = valid().clone();
    let names: Vec<FileId> = files.keys().copied().collect();
    for change in data.chunks_exact(4).take(64) {
        let name = names[usize::from(change[0] >> 3) % names.len()];
        let Some(file) = files.get_mut(&name).filter(|file| !file.is_empty()) else { continue };
        let written = file.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let at = usize::from(u16::from_le_bytes([change[1], change[2]])) % written;
        match change[0] & 7 {
            0 => drop(files.remove(&name)),
            1 => file.truncate(at),
            2 => {
                let end = (at + 512).min(file.len());
                file[at..end].fill(0);
            }
            3 => file[at] = change[3],
            4 => file[at] = file[at].wrapping_add(change[3]),
            _ => file[at] ^= 1 << (change[3] & 7),
        }
        if mended && let Some(file) = files.get_mut(&name) {
            mend(name, file);
        }
    }
    files
}

/// Makes the checksums right again, as far as the records can be followed.
fn mend(name: FileId, file: &mut [u8]) {
    let FileId::Segment(segment) = name else {
        for slot in file.chunks_mut(4096) {
            if let Some(slot) = slot.get_mut(..64) {
                let sum = checksum(&slot[8..]);
                slot[4..8].copy_from_slice(&sum.to_le_bytes());
            }
        }
        return;
    };
    let mut at = 0;
    while let Some(fields) = file.get(at..at + HEADER_BYTES) {
        let body = u32::from_le_bytes(fields[8..12].try_into().expect("four bytes")) as usize;
        let end = at + HEADER_BYTES + body;
        if &fields[..4] != b"WREC" || end > file.len() {
            return;
        }
        let sum = checksum(&[&segment.to_le_bytes()[..], &file[at + 8..end]].concat());
        file[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
        at = end.next_multiple_of(ALIGN);
    }
}

/// A folder of a few segments, with two checkpoints and a tail behind them.
fn valid() -> &'static Files {
    static FOLDER: OnceLock<Files> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let mut world = World::open(Files::new());
        world.ask(vec![connect(), Request::OpenChannel { channel: 1 }]);
        for queue in ["q", "r"] {
            world.ask(vec![on_channel(declare(queue))]);
            world.ask(vec![on_channel(bind(queue))]);
        }
        for number in 0..60 {
            world.ask(vec![on_channel(publish(if number % 5 == 0 { "r" } else { "q" }, number))]);
        }
        world.ask(vec![on_channel(ChannelRequest::Get {
            queue: "q".into(),
            no_ack: false,
        })]);
        world.ask(vec![on_channel(ChannelRequest::Settle {
            tag: 1,
            multiple: false,
            outcome: Outcome::Reject,
        })]);
        for number in 0..20 {
            world.ask(vec![on_channel(publish("q", number))]);
        }
        assert!(world.ready && world.files.len() > 3, "it is a folder of some segments");
        world.files
    })
}

fn connect() -> Request {
    Request::Connect {
        vhost: "/".into(),
        user: "guest".into(),
        channels_max: 9,
    }
}

const fn on_channel(request: ChannelRequest) -> Request {
    Request::Channel { channel: 1, request }
}

fn declare(name: &str) -> ChannelRequest {
    let arguments = if name == "q" {
        vec![
            (Name::from("x-dead-letter-exchange"), Value::from("amq.topic")),
            (Name::from("x-message-ttl"), Value::I32(3_600_000)),
        ]
    } else {
        Vec::new()
    };
    ChannelRequest::DeclareQueue {
        name: name.into(),
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        arguments: Table(arguments),
        reply: true,
    }
}

fn bind(queue: &str) -> ChannelRequest {
    ChannelRequest::Bind {
        destination: waystation_core::api::Destination::Queue(queue.into()),
        source: "amq.topic".into(),
        routing_key: queue.into(),
        arguments: Table::default(),
        reply: true,
    }
}

fn publish(queue: &str, number: usize) -> ChannelRequest {
    ChannelRequest::Publish {
        message: Message::new("", queue.as_bytes(), &[0, 0], &vec![number as u8; number * 5]),
        mandatory: false,
    }
}

fn consume(queue: &str) -> ChannelRequest {
    ChannelRequest::Consume {
        queue: queue.into(),
        consumer: queue.into(),
        no_ack: true,
        exclusive: false,
        arguments: Table::default(),
        reply: true,
    }
}

struct World {
    node: Node,
    files: Files,
    ready: bool,
    halted: bool,
}

impl World {
    fn open(files: Files) -> Self {
        let config = Config {
            segment_bytes: 4096,
            checkpoint_bytes: 8192,
            cache_bytes: 2000,
            ..Config::default()
        };
        let mut listing = Listing::default();
        for (file, bytes) in &files {
            match file {
                FileId::Superblock => listing.superblock = Some(bytes.len() as u64),
                FileId::Segment(number) => listing.segments.push((*number, bytes.len() as u64)),
            }
        }
        let mut world = Self {
            node: Node::open(config, listing, now()),
            files,
            ready: false,
            halted: false,
        };
        world.run();
        world
    }

    fn ask(&mut self, requests: Vec<Request>) {
        self.handle(Input::Client { conn: CONN, requests });
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(now(), input);
        self.run();
    }

    fn run(&mut self) {
        let mut events: VecDeque<Event> = VecDeque::new();
        for _ in 0..STEPS_MAX {
            match self.node.poll() {
                Some(Output::Disk(command)) => events.extend(self.perform(command)),
                Some(Output::Ready(_)) => self.ready = true,
                Some(Output::Halt(_)) => self.halted = true,
                Some(_) => {}
                None => match events.pop_front() {
                    Some(event) => self.node.handle(now(), Input::Disk(event)),
                    None => return,
                },
            }
        }
        panic!("the node does not come to rest");
    }

    fn perform(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Prepare { file, bytes, recycle } => {
                let old = recycle.and_then(|number| self.files.remove(&FileId::Segment(number)));
                let mut made = old.unwrap_or_default();
                made.resize(bytes as usize, 0);
                self.files.insert(file, made);
                Some(Event::Prepared { file })
            }
            Command::Write {
                id,
                file,
                offset,
                chunks,
                sync,
            } => {
                let target = self.files.entry(file).or_default();
                let (bytes, start) = (chunks.concat(), offset as usize);
                if target.len() < start + bytes.len() {
                    target.resize(start + bytes.len(), 0);
                }
                target[start..start + bytes.len()].copy_from_slice(&bytes);
                sync.then_some(Event::Durable { upto: id })
            }
            Command::Read {
                id,
                file,
                offset,
                bytes,
            } => {
                let held = self.files.get(&file).map_or(&[][..], Vec::as_slice);
                let start = usize::try_from(offset).map_or(held.len(), |start| start.min(held.len()));
                let end = (start + bytes as usize).min(held.len());
                let bytes = Bytes::copy_from_slice(&held[start..end]);
                Some(Event::Loaded { id, bytes })
            }
            Command::Delete { file } => {
                self.files.remove(&file);
                None
            }
        }
    }
}

const fn now() -> Now {
    Now {
        mono: Time(1_000_000_000),
        wall: Wall(1_000_000),
    }
}
