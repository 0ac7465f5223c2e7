//! What is there after the process or the machine died.

use super::*;
use crate::log::superblock::Superblock;

#[test]
fn durable_things_are_kept_and_others_are_gone() {
    // G1
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("kept"));
    broker.ask(A, transient("memory"));
    broker.ask(A, exclusive("mine"));
    broker.ask(A, exchange("x", "topic"));
    let mut fleeting = exchange("fleeting", "topic");
    if let R::DeclareExchange { durable, .. } = &mut fleeting {
        *durable = false;
    }
    broker.ask(A, fleeting);
    for source in ["x", "fleeting"] {
        for name in ["kept", "memory", "mine"] {
            broker.ask(A, bind(source, name, "#"));
        }
    }
    broker.ask(A, publish("x", "a.b", "body"));
    let mut broker = broker.crash();
    let report = broker.ready.clone().expect("ready");
    assert_eq!((report.messages, report.torn), (1, None));
    broker.open(A);
    let stats = broker.stats();
    assert_eq!((stats.queues, stats.exchanges, stats.bindings), (1, 6, 1));
    broker.ask(A, publish("x", "a.b", "again"));
    assert_eq!(
        [broker.ask(A, get("kept")), broker.ask(A, get("kept"))].concat(),
        ["got 1 'body' again left 1", "got 2 'again' left 0"]
    );
    assert_eq!(broker.ask(A, passive("memory")), ["failed: no queue 'memory'"]);
}

#[test]
fn order_is_kept_and_what_was_there_is_marked() {
    // G3, G5
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["a", "b", "c", "d"]);
    broker.ask(A, get("q"));
    broker.ask(A, get("q"));
    broker.ask(A, ack(2));
    broker.ask(A, qos(1));
    let mut broker = broker.crash();
    broker.open(A);
    broker.publish(A, "q", &["e"]);
    assert_eq!(
        broker.ask(A, consume("q", "c")),
        [
            "consuming c",
            "c 1 'a' again",
            "c 2 'c' again",
            "c 3 'd' again",
            "c 4 'e'"
        ]
    );
}

#[test]
fn a_confirmed_message_survives_and_one_that_was_not_may_not() {
    // G1
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.ask(A, CONFIRM);
    assert_eq!(broker.ask(A, publish("", "q", "safe")), ["ack 1"]);
    broker.hold();
    assert!(broker.ask(A, publish("", "q", "lost")).is_empty());
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), ["safe"]);
}

#[test]
fn a_torn_tail_is_cut_off_and_reported() {
    // G17
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.publish(A, "q", &["safe"]);
    broker.hold();
    broker.publish(A, "q", &[&"x".repeat(3000)]);
    while let Some(command) = broker.held.pop_front() {
        broker.folder.perform_unsynced(command);
    }
    let folder = broker.folder.crashed(|sector| sector == 0);
    let mut broker = Broker::start(small(), folder);
    let torn = broker.ready.as_ref().expect("ready").torn;
    assert!(
        matches!(torn, Some((FileId::Segment(1), offset)) if offset > 0),
        "{torn:?}"
    );
    broker.open(A);
    broker.publish(A, "q", &["more"]);
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), ["safe", "more"]);
}

#[test]
fn a_restart_after_a_stop_reads_the_checkpoint_alone() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    let bodies: Vec<String> = (0..3000).map(|number| format!("{number}")).collect();
    for body in &bodies {
        broker.publish(A, "q", &[body]);
    }
    broker.ask(A, get("q"));
    broker.ask(A, ack(1));
    broker.ask(A, qos(1));
    broker.stop();
    assert!(broker.stopped);
    assert_eq!(broker.stats().checkpoints_total, 1);
    let mut broker = broker.crash();
    let report = broker.ready.clone().expect("ready");
    assert_eq!((report.entries, report.messages, report.queues), (0, 2999, 1));
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), bodies[1..]);
}

#[test]
fn a_stop_waits_for_what_is_pending() {
    // G1
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    broker.ask(A, CONFIRM);
    broker.hold();
    broker.publish(A, "q", &["a", "b"]);
    broker.stop();
    assert!(!broker.stopped);
    broker.release();
    assert!(broker.stopped);
    assert_eq!(broker.said(A), ["ack 1", "ack 2"]);
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), ["a", "b"]);
}

/// Lives of publishing, settling and checkpointing, each ended by a crash: the queue is what it should be.
#[test]
fn many_lives_with_checkpoints_between() {
    // G1, G2, G5
    let config = Config {
        checkpoint_bytes: 20_000,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    let mut expected: VecDeque<String> = VecDeque::new();
    for life in 0..12 {
        broker.open(A);
        broker.ask(A, queue("q"));
        for number in 0..150 {
            let body = format!("{life}.{number}.{}", "x".repeat(number));
            broker.publish(A, "q", &[&body]);
            expected.push_back(body);
        }
        for tag in 1..=(40 + life * 17) {
            let said = broker.ask(A, get("q"));
            assert!(said[0].contains(&format!("'{}'", expected[0])), "{said:?}");
            broker.ask(A, ack(tag));
            expected.pop_front();
        }
        broker.messages(A);
        assert_eq!(broker.ask(A, qos(1)), ["qosset"]);
        broker = broker.crash();
    }
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), Vec::from(expected));
}

#[test]
fn a_purge_survives() {
    // G11
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("q"));
    for _ in 0..1500 {
        broker.publish(A, "q", &["old"]);
    }
    assert_eq!(broker.ask(A, purge("q")), ["purged 1500"]);
    broker.publish(A, "q", &["new"]);
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), ["new"]);
}

#[test]
fn expiries_go_on_after_a_restart() {
    // G13
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue_with("q", &[("x-message-ttl", Value::I32(1000))]));
    broker.publish(A, "q", &["a"]);
    broker.pass_ms(600);
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.ask(A, passive("q")), ["declared q 1 0"]);
    broker.pass_ms(399);
    assert_eq!(broker.ask(A, passive("q")), ["declared q 1 0"]);
    broker.pass_ms(1);
    assert_eq!(broker.ask(A, passive("q")), ["declared q 0 0"]);
}

#[test]
fn a_vhost_that_is_configured_no_more_keeps_what_it_holds() {
    // G1
    let both = Config {
        vhosts: vec!["/".into(), "other".into()],
        ..small()
    };
    for checkpoint in [false, true] {
        let mut broker = Broker::start(both.clone(), Folder::default());
        let connect = |broker: &mut Broker| {
            let (vhost, user) = ("other".into(), "guest".into());
            broker.request(
                2,
                Request::Connect {
                    vhost,
                    user,
                    channels_max: 1,
                },
            );
            broker.told(2)
        };
        assert_eq!(connect(&mut broker), ["connected"]);
        broker.open(B);
        broker.ask(B, queue("q"));
        broker.ask(B, bind("amq.direct", "q", "k"));
        broker.publish(B, "q", &["a"]);
        if checkpoint {
            broker.stop();
        }
        let folder = broker.folder.crashed(|_| false);
        let mut broker = Broker::start(small(), folder);
        broker.stop();
        let folder = broker.folder.crashed(|_| false);
        let mut broker = Broker::start(both.clone(), folder);
        assert_eq!(connect(&mut broker), ["connected"]);
        broker.open(B);
        assert_eq!(broker.drain(B, "q"), ["a"]);
    }
}

/// The bytes of a page and of a manifest, from a folder made in a fixed way.
#[test]
fn golden_page_and_manifest() {
    use crate::log::record::{Kind, Parsed, parse, record_bytes};
    let mut broker = Broker::with(&[A]);
    broker.ask(
        A,
        exchange_with("x", "headers", &[("alternate-exchange", Value::from("amq.fanout"))]),
    );
    broker.ask(A, queue_with("q", &[("x-message-ttl", Value::I32(60_000))]));
    broker.ask(A, bind("x", "q", "key"));
    broker.publish(A, "q", &["a", "b", "c"]);
    broker.ask(A, get("q"));
    broker.ask(A, ack(1));
    broker.stop();
    let file = broker.folder.segment(1).clone();
    let mut offset = 0;
    let mut found = Vec::new();
    while let Parsed::Record(header, body) = parse(1, &file[offset..]) {
        if matches!(header.kind, Kind::Page | Kind::Manifest) {
            let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
            found.push((header.kind, hex));
        }
        offset += record_bytes(header.body_bytes);
    }
    let expected = [
        (Kind::Page, "03000101d0050a01a0d9400101d0060a01a0d940"),
        (
            Kind::Manifest,
            "c0843d020301012f017807686561646572730100002212616c7465726e6174652d65786368616e6765530000000a616d\
         712e66616e6f7574050100012f0171010000130d782d6d6573736167652d74746c490000ea6003012f0178000171036b\
         657900010101030100030202a0d9400001a8081494d9f08008010124",
        ),
    ]
    .map(|(kind, hex)| (kind, hex.to_owned()));
    assert_eq!(found, expected);
}

/// No record of an earlier life can be taken for one of a later: each has a term of its own, which both slots name.
#[test]
fn every_life_has_a_term_of_its_own() {
    let mut broker = Broker::with(&[A]);
    let mut terms = Vec::new();
    for _ in 0..3 {
        let file = broker.folder.read(FileId::Superblock, 0, 8192);
        let slots = [0, 4096].map(|at| {
            let slot = Superblock::decode(&file[at..]).expect("of this format");
            slot.expect("whole").term
        });
        assert_eq!(slots[0], slots[1], "both slots name the term");
        terms.push(slots[0]);
        broker = broker.crash();
    }
    assert_eq!(terms, [1, 2, 3]);
}

/// What a restart has to replay is bounded, however many lives wrote it (G14).
#[test]
fn a_checkpoint_comes_after_many_short_lives() {
    let config = Config {
        checkpoint_bytes: 40_000,
        ..small()
    };
    let mut broker = Broker::start(config, Folder::default());
    let mut checkpoints = Vec::new();
    for life in 0..30 {
        broker.open(A);
        if life == 0 {
            broker.ask(A, queue("q"));
        }
        broker.publish(A, "q", &["some words that lie in the log until they are read"; 20]);
        broker.drain(A, "q");
        checkpoints.push(broker.stats().checkpoints_total);
        broker = broker.crash();
    }
    assert_eq!(checkpoints[0], 0, "one life is too short for a checkpoint");
    assert!(
        checkpoints.iter().any(|count| *count > 0),
        "many are not: {checkpoints:?}"
    );
}
