use super::*;
use bytes::Bytes;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use waystation_core::disk::{Listing, ReadId, WriteId};

const SEGMENT: FileId = FileId::Segment(0xab);

struct Fixture {
    dir: tempfile::TempDir,
    disks: Disks,
    events: Receiver<Event>,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let opened = Folder::open(dir.path()).unwrap();
    let (sender, events) = channel();
    let report: Report = Arc::new(move |event| sender.send(event).unwrap());
    let disks = Disks::start(opened.folder, &report).unwrap();
    Fixture { dir, disks, events }
}

impl Fixture {
    fn next(&self) -> Event {
        self.events.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn nothing_more(&self) {
        assert!(self.events.recv_timeout(Duration::from_millis(50)).is_err());
    }

    fn prepare(&self, file: FileId, bytes: u64, recycle: Option<u64>) {
        self.disks.submit(Command::Prepare { file, bytes, recycle });
        assert_eq!(self.next(), Event::Prepared { file });
    }

    fn write(&self, id: u64, offset: u64, chunks: &[&[u8]], sync: bool) {
        self.disks.submit(Command::Write {
            id: WriteId(id),
            file: SEGMENT,
            offset,
            chunks: chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect(),
            sync,
        });
    }

    fn durable(&self, upto: u64) {
        loop {
            match self.next() {
                Event::Durable { upto: WriteId(id) } if id < upto => {}
                event => return assert_eq!(event, Event::Durable { upto: WriteId(upto) }),
            }
        }
    }

    fn read(&self, offset: u64, bytes: u32) -> Bytes {
        self.disks.submit(Command::Read {
            id: ReadId(9),
            file: SEGMENT,
            offset,
            bytes,
        });
        match self.next() {
            Event::Loaded { id: ReadId(9), bytes } => bytes,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_prepared_file_is_zeroed_whole_and_bears_its_name() {
    let f = fixture();
    f.prepare(SEGMENT, (1 << 20) + 17, None);
    f.prepare(FileId::Superblock, 4096, None);
    let bytes = std::fs::read(f.dir.path().join("00000000000000ab.seg")).unwrap();
    assert!(bytes.len() == (1 << 20) + 17 && bytes.iter().all(|byte| *byte == 0));
    assert_eq!(
        std::fs::metadata(f.dir.path().join("waystation.super")).unwrap().len(),
        4096
    );
}

#[test]
fn writes_land_in_order_and_are_reported_after_their_sync() {
    let f = fixture();
    f.prepare(SEGMENT, 8192, None);
    f.write(1, 0, &[b"hello ", b"", b"world"], false);
    f.nothing_more();
    f.write(2, 11, &[b"!"], true);
    f.durable(2);
    assert_eq!(f.read(0, 12), "hello world!");
    f.write(3, 6, &[b"there"], true);
    f.durable(3);
    assert_eq!(f.read(0, 12), "hello there!");
}

#[test]
fn many_small_and_large_chunks_arrive_byte_for_byte() {
    let f = fixture();
    f.prepare(SEGMENT, 32 << 20, None);
    let mut expected = Vec::new();
    for id in 1..=3_000_u64 {
        let large = id % 100 == 0;
        let chunk = vec![id as u8; if large { 100_000 } else { 40 }];
        // Many chunks in one write exceed what one vectored write takes.
        let pieces: Vec<&[u8]> = chunk.chunks(if large { 40 } else { 7 }).collect();
        f.write(id, expected.len() as u64, &pieces, id % 7 == 0 || id == 3_000);
        expected.extend_from_slice(&chunk);
    }
    let chunks = vec![vec![7_u8; 2_000]; 3_000];
    let pieces: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    f.write(3_001, expected.len() as u64, &pieces, true);
    expected.extend(chunks.concat());
    f.durable(3_001);
    assert!(f.read(0, expected.len() as u32) == expected);
}

#[test]
fn a_read_beyond_the_end_is_short() {
    let f = fixture();
    f.prepare(SEGMENT, 100, None);
    assert_eq!(f.read(90, 50).len(), 10);
    assert!(f.read(200, 50).is_empty());
}

#[test]
fn recycling_renames_and_brings_to_length() {
    let f = fixture();
    f.prepare(SEGMENT, 4096, None);
    f.write(1, 0, &[b"stale"], true);
    f.durable(1);
    f.prepare(FileId::Segment(0xac), 8192, Some(0xab));
    assert!(!f.dir.path().join("00000000000000ab.seg").exists());
    let bytes = std::fs::read(f.dir.path().join("00000000000000ac.seg")).unwrap();
    assert!(bytes.len() == 8192 && bytes.starts_with(b"stale"));
    f.prepare(SEGMENT, 1024, Some(0xac));
    assert_eq!(f.read(0, 4096).len(), 1024);
}

#[test]
fn deleted_files_are_gone() {
    let f = fixture();
    f.prepare(SEGMENT, 4096, None);
    f.disks.submit(Command::Delete { file: SEGMENT });
    // The same thread answers this one after the deletion.
    f.prepare(FileId::Segment(1), 1, None);
    assert!(!f.dir.path().join(SEGMENT.to_string()).exists());
}

#[test]
fn a_full_disk_fails_the_write_and_nothing_follows() {
    let f = fixture();
    std::os::unix::fs::symlink("/dev/full", f.dir.path().join(SEGMENT.to_string())).unwrap();
    f.write(1, 0, &[b"x"], true);
    match f.next() {
        Event::Failed { file, doing, error } => {
            assert_eq!((file, doing), (SEGMENT, "write to"));
            assert!(error.contains("space"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    std::fs::remove_file(f.dir.path().join(SEGMENT.to_string())).unwrap();
    f.prepare(SEGMENT, 4096, None);
    f.write(2, 0, &[b"x"], true);
    f.nothing_more();
}

#[test]
fn a_large_write_to_a_full_disk_fails_too() {
    let f = fixture();
    std::os::unix::fs::symlink("/dev/full", f.dir.path().join(SEGMENT.to_string())).unwrap();
    f.write(1, 0, &[&[1; 100_000]], true);
    assert!(matches!(f.next(), Event::Failed { doing: "write to", .. }));
}

#[test]
fn a_missing_file_fails_by_name() {
    let f = fixture();
    f.disks.submit(Command::Read {
        id: ReadId(1),
        file: SEGMENT,
        offset: 0,
        bytes: 1,
    });
    assert!(matches!(
        f.next(),
        Event::Failed {
            file: SEGMENT,
            doing: "read",
            ..
        }
    ));
    f.disks.submit(Command::Prepare {
        file: FileId::Segment(2),
        bytes: 10,
        recycle: Some(1),
    });
    assert!(matches!(
        f.next(),
        Event::Failed {
            file: FileId::Segment(2),
            doing: "recycle",
            ..
        }
    ));
}

#[test]
fn a_folder_that_vanished_fails_the_preparation() {
    let f = fixture();
    std::fs::remove_dir_all(f.dir.path()).unwrap();
    f.disks.submit(Command::Prepare {
        file: SEGMENT,
        bytes: 10,
        recycle: None,
    });
    assert!(matches!(
        f.next(),
        Event::Failed {
            file: SEGMENT,
            doing: "create",
            ..
        }
    ));
}

#[test]
fn the_listing_knows_its_files_and_removes_leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: usize| std::fs::write(dir.path().join(name), vec![0; bytes]).unwrap();
    put("waystation.super", 10);
    put("000000000000000a.seg", 20);
    put("0000000000000002.seg", 30);
    put("0000000000000003.seg.preparing", 40);
    put("000000000000000A.seg", 1);
    put("notes.txt", 1);
    put("notes.preparing", 1);
    let opened = Folder::open(dir.path()).unwrap();
    let expected = Listing {
        superblock: Some(10),
        segments: vec![(2, 30), (10, 20)],
    };
    assert_eq!(opened.listing, expected);
    let mut unknown: Vec<_> = opened
        .unknown
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    unknown.sort();
    assert_eq!(unknown, ["000000000000000A.seg", "notes.preparing", "notes.txt"]);
    assert!(!dir.path().join("0000000000000003.seg.preparing").exists());
}

#[test]
fn a_folder_in_use_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let held = Folder::open(dir.path()).unwrap();
    let error = Folder::open(dir.path()).unwrap_err().to_string();
    let expected = format!(
        "data folder {} is in use by process {}",
        dir.path().display(),
        std::process::id()
    );
    assert!(error.starts_with(&expected), "{error}");
    drop(held);
    Folder::open(dir.path()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Folder::open(&file).unwrap_err().to_string();
    assert!(
        error.contains("cannot create the data folder") && error.contains("file"),
        "{error}"
    );
}
