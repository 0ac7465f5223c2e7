//! Backlogs larger than memory, space that is freed, disks that fail.

use super::*;

#[test]
fn a_backlog_larger_than_the_cache_is_read_back() {
    // G14, G15
    let config = Config {
        cache_bytes: 20_000,
        checkpoint_bytes: 100_000,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.ask(A, queue("q"));
    let bodies: Vec<String> = (0..5000)
        .map(|number| format!("{number}-{}", "x".repeat(100)))
        .collect();
    for body in &bodies {
        broker.publish(A, "q", &[body]);
        assert!(broker.stats().cache_bytes <= 20_000);
    }
    let reads = broker.folder.reads;
    assert_eq!(broker.drain(A, "q"), bodies);
    assert!(broker.folder.reads > reads, "it was read from the folder");
    assert!(
        broker.folder.reads - reads < 300,
        "{} reads: many messages with each",
        broker.folder.reads - reads
    );
}

#[test]
fn a_cache_smaller_than_a_message_serves_all_the_same() {
    // G15
    let config = Config {
        cache_bytes: 0,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a", "b", "c"]);
    assert_eq!(broker.stats().cache_bytes, 0);
    assert_eq!(
        broker.ask(A, consume("q", "c")),
        ["consuming c", "c 1 'a'", "c 2 'b'", "c 3 'c'"]
    );
    assert_eq!(broker.ask(A, requeue(2)), ["c 4 'b' again"]);
    broker.ask(
        A,
        queue_with("dying", &[("x-dead-letter-exchange", Value::from("amq.fanout"))]),
    );
    broker.ask(A, bind("amq.fanout", "q", ""));
    broker.publish(A, "dying", &["d"]);
    broker.ask(A, get("dying"));
    assert_eq!(broker.ask(A, reject(5)), ["c 6 'd'"]);
}

/// The turn of a consumer is not lost while the message is read that it is to have.
#[test]
fn consumers_take_turns_when_each_message_is_read_back() {
    let config = Config {
        cache_bytes: 0,
        connection_window_bytes: 64 << 20,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.ask(A, queue("q"));
    // Too long to be read together.
    let body = "x".repeat(600 << 10);
    broker.publish(A, "q", &[body.as_str(); 6]);
    let said = broker.ask_all(A, vec![consume("q", "one"), consume("q", "two")]);
    let to = said.iter().filter_map(|said| said.split(' ').next());
    let expected = ["consuming", "consuming", "one", "two", "one", "two", "one", "two"];
    assert_eq!(to.collect::<Vec<_>>(), expected);
}

/// One message in a hundred is kept: the segments around them are freed.
fn sparse(cache_bytes: u64) -> (Broker, Vec<String>) {
    let config = Config {
        checkpoint_bytes: 40_000,
        cache_bytes,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    for name in ["q", "kept"] {
        broker.ask(A, queue(name));
    }
    let mut kept = Vec::new();
    for number in 0..1500 {
        let body = format!("{number}-{}", "x".repeat(200));
        let queue = if number % 100 == 0 { "kept" } else { "q" };
        broker.publish(A, queue, &[&body]);
        if queue == "kept" {
            kept.push(body);
        } else {
            broker.ask(A, get_no_ack("q"));
        }
        broker.said(A);
    }
    broker.messages(A);
    (broker, kept)
}

#[test]
fn a_mostly_dead_segment_is_copied_and_freed() {
    let (mut broker, kept) = sparse(1 << 20);
    let stats = broker.stats();
    assert!(stats.checkpoints_total > 5, "{stats:?}");
    assert!(stats.log_copied_bytes_total > 0, "{stats:?}");
    assert!(stats.log_segments < 12, "{stats:?}");
    let freed = broker.folder.deleted.len() + broker.folder.recycled.len();
    assert!(freed > 5, "{freed} segments were freed");
    assert!(!broker.folder.files.contains_key(&FileId::Segment(1)));
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.drain(A, "kept"), kept);
}

/// The copies come from the folder when memory is short; copying comes to an end.
#[test]
fn a_sparse_segment_is_freed_without_a_cache() {
    // G15
    let (mut broker, kept) = sparse(0);
    assert!(broker.stats().log_copied_bytes_total > 0);
    assert!(!broker.folder.files.contains_key(&FileId::Segment(1)));
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.drain(A, "kept"), kept);
}

#[test]
fn a_message_larger_than_a_segment_is_kept() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    let large = "x".repeat(100_000);
    broker.publish(A, "q", &["small", &large, "after"]);
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), ["small", &large, "after"]);
}

#[test]
fn a_failed_disk_halts_the_node_and_nothing_leaves_it() {
    // G1
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.ask(A, CONFIRM);
    broker.hold();
    broker.publish(A, "q", &["a"]);
    // A confirm that is not yet fetched goes with the rest.
    let (file, doing, error) = (FileId::Segment(1), "write", "No space left on device".to_owned());
    let failed = Event::Failed {
        file,
        doing,
        error: error.clone(),
    };
    broker.node.handle(broker.now, Input::Disk(failed));
    broker.run();
    let cause = HaltCause::DiskFailed { file, doing, error };
    assert_eq!(
        cause.to_string(),
        "write 0000000000000001.seg failed: No space left on device. Nothing more was confirmed. Repair the disk or \
         free space, then start again"
    );
    assert_eq!(broker.halted, Some(cause));
    // Whatever comes now, `run` sees to it that nothing leaves.
    broker.ask(A, publish("", "q", "b"));
    broker.release();
    broker.pass_ms(1000);
    broker.stop();
    assert!(!broker.stopped && broker.said(A).is_empty());
    assert_eq!(broker.node.deadline(), None);
}

/// Bytes that change behind the broker's back are found when they are read.
#[test]
fn a_flipped_message_or_page_halts_the_node_where_it_is() {
    // G17
    let config = Config {
        cache_bytes: 0,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["needle"]);
    let file = broker.folder.segment(1);
    let at = file
        .windows(6)
        .position(|bytes| bytes == b"needle")
        .expect("it is in the log");
    file[at] ^= 1;
    broker.ask(A, get("q"));
    let Some(HaltCause::Damaged { file, offset, what }) = broker.halted else {
        panic!("{:?}", broker.halted)
    };
    assert_eq!((file, what), (FileId::Segment(1), "a message was expected"));
    assert!(offset < at as u64 && at as u64 - offset < 40, "{offset}, {at}");
}

#[test]
fn damage_in_the_folder_halts_the_start() {
    // G17
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    for _ in 0..2000 {
        broker.publish(A, "q", &["x"]);
    }
    broker.stop();
    let folder = broker.folder.crashed(|_| true);
    type Damage = (&'static str, fn(&mut Folder), FileId, &'static str);
    let cases: [Damage; 4] = [
        (
            "no superblock",
            |folder| drop(folder.files.remove(&FileId::Superblock)),
            FileId::Superblock,
            "the file is missing, and there are segments that it should speak of",
        ),
        (
            "both slots",
            |folder| folder.files.get_mut(&FileId::Superblock).expect("it is there").fill(3),
            FileId::Superblock,
            "neither of the superblock's two slots is whole",
        ),
        (
            "all segments",
            |folder| folder.files.retain(|file, _| *file == FileId::Superblock),
            FileId::Segment(0),
            "the first record of the segment is not whole",
        ),
        (
            "the head of the newest segment",
            |folder| {
                let newest = folder.segments().into_keys().max().expect("segments");
                (1..=newest).for_each(|number| folder.segment(number)[50] ^= 4);
            },
            FileId::Segment(0),
            "the first record of the segment is not whole",
        ),
    ];
    for (name, damage, expected, why) in cases {
        let mut folder = folder.clone();
        damage(&mut folder);
        let broker = Broker::open_folder(small(), folder);
        let Some(HaltCause::Damaged { file, what, .. }) = broker.halted else {
            panic!("{name}: {:?}", broker.halted)
        };
        assert_eq!(what, why, "{name}");
        if expected == FileId::Superblock {
            assert_eq!(file, expected, "{name}");
        }
        assert!(broker.ready.is_none());
    }
}

/// Every bit of the folder of a killed broker, one in a few: halted at the start, or nothing of value was hit.
#[test]
fn a_flipped_byte_is_found_or_harmless() {
    // G17
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    let bodies: Vec<String> = (0..40).map(|number| format!("body {number}")).collect();
    for body in &bodies {
        broker.publish(A, "q", &[body]);
    }
    let folder = broker.folder.crashed(|_| true);
    let length = folder.files[&FileId::Segment(1)]
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("written");
    let mut halted = 0;
    for at in (0..=length).step_by(7) {
        let mut folder = folder.clone();
        folder.segment(1)[at] ^= 1 << (at % 8);
        let mut broker = Broker::open_folder(small(), folder);
        if broker.halted.is_some() {
            halted += 1;
            continue;
        }
        broker.open(A);
        assert_eq!(broker.drain(A, "q"), bodies, "byte {at}");
    }
    assert!(halted > length / 7 * 8 / 10, "{halted} of {}", length / 7);
}

#[test]
fn one_run_is_like_another() {
    // G18
    let run = || {
        let mut broker = Broker::with(&[A]);
        broker.ask(A, exclusive(""));
        broker.ask(A, queue("q"));
        broker.publish(A, "q", &["a", "b"]);
        broker.ask(A, consume("q", ""));
        broker.stop();
        (broker.folder.files, broker.said)
    };
    assert_eq!(run(), run());
}
