//! A backlog costs memory per message, not per byte: it stays inside its budget (G14).

use crate::amqp::{BASIC_ACK, Connection, Event};
use crate::crash::confirm;
use crate::server::Server;
use std::collections::BTreeSet;
use std::time::Duration;

const MESSAGES: u64 = 1_000_000;
const BODY_BYTES: usize = 100;
/// What the server may keep of bodies, as configured for this test.
const CACHE_BYTES: u64 = 16 << 20;
/// What the process may occupy: the cache, the writes under way (64 MiB at most), and 100 bytes for each message in the
/// queue, index and allocator included.
const RESIDENT_BYTES_MAX: u64 = CACHE_BYTES + (64 << 20) + MESSAGES * 100;
/// What a delivery may occupy until it is settled: the index around it, which has to stay, and who holds it.
const UNSETTLED_BYTES_MAX: u64 = 250;
/// What the same twice more may add: the allocator's luck, which over eight rounds swung by 40 MiB and did not grow. A leak
/// of 34 bytes a message is more.
const AGAIN_BYTES_MAX: u64 = 64 << 20;
/// Publishes that wait for their confirms.
const WINDOW: usize = 10_000;

#[test]
fn a_million_messages_stay_within_the_budget_and_come_out_in_order() {
    let folder = tempfile::tempdir().expect("a data folder");
    let cache = format!("{}MiB", CACHE_BYTES >> 20);
    let server = Server::start(folder.path(), &[("WAYSTATION_LIMITS__CACHE", &cache)]).expect("the server starts");
    let mut connection = Connection::open(server.address()).expect("a connection");
    connection.declare("backlog", true).expect("a queue");
    connection.confirm_select().expect("confirm mode");
    let highest = fill(&mut connection, &server);
    println!(
        "resident at most {} MiB of {} MiB",
        highest >> 20,
        RESIDENT_BYTES_MAX >> 20
    );
    assert!(
        highest <= RESIDENT_BYTES_MAX,
        "{highest} bytes resident, {RESIDENT_BYTES_MAX} allowed"
    );
    assert_eq!(u64::from(connection.count("backlog").expect("a count")), MESSAGES);
    let first = hoard(&mut connection, &server);
    let later = (0..2).map(|_| hoard(&mut connection, &server)).max().expect("two");
    println!(
        "resident {} MiB after one hoard, {} MiB later",
        first >> 20,
        later >> 20
    );
    assert!(
        later <= first + AGAIN_BYTES_MAX,
        "{first} bytes resident after one hoard, {later} after more: it leaks"
    );
    drain(&mut connection);
    // The allocator keeps some of what the unsettled million took, once.
    let highest = server.resident_bytes();
    let allowed = RESIDENT_BYTES_MAX + MESSAGES * UNSETTLED_BYTES_MAX;
    assert!(
        highest <= allowed,
        "{highest} bytes resident after reading, {allowed} allowed"
    );
    server.stop().expect("the server stops");
}

fn body(number: u64) -> [u8; BODY_BYTES] {
    let mut body = [b'.'; BODY_BYTES];
    body[..8].copy_from_slice(&number.to_be_bytes());
    body
}

/// Publishes everything; answers the most memory that the server occupied.
fn fill(connection: &mut Connection, server: &Server) -> u64 {
    let mut unconfirmed = BTreeSet::new();
    let (mut sent, mut highest) = (0, 0);
    while sent < MESSAGES || !unconfirmed.is_empty() {
        while sent < MESSAGES && unconfirmed.len() < WINDOW {
            connection.queue_publish("backlog", "", &body(sent));
            sent += 1;
            unconfirmed.insert(sent);
            if connection.queued() > 1 << 16 {
                connection.flush().expect("publishes are sent");
            }
            if sent % 20_000 == 0 {
                highest = highest.max(server.resident_bytes());
            }
        }
        connection.flush().expect("publishes are sent");
        match connection.next(Duration::from_secs(30)).expect("the connection lives") {
            Some(Event::Method {
                id: BASIC_ACK, args, ..
            }) => match confirm(&args).expect("a confirm has a tag") {
                (tag, true) => unconfirmed = unconfirmed.split_off(&(tag + 1)),
                (tag, false) => drop(unconfirmed.remove(&tag)),
            },
            other => panic!("instead of a confirm: {other:?}"),
        }
    }
    highest.max(server.resident_bytes())
}

/// A consumer without prefetch takes everything, acknowledges nothing and leaves: everything is there again (G3).
/// Answers what the server occupies then.
fn hoard(connection: &mut Connection, server: &Server) -> u64 {
    let mut hoarder = Connection::open(server.address()).expect("a connection");
    hoarder.consume("backlog", false).expect("a consumer");
    for number in 0..MESSAGES {
        let event = hoarder.next(Duration::from_secs(30)).expect("the connection lives");
        assert!(
            matches!(event, Some(Event::Message(_))),
            "instead of message {number}: {event:?}"
        );
    }
    let allowed = RESIDENT_BYTES_MAX + MESSAGES * UNSETTLED_BYTES_MAX;
    let resident = server.resident_bytes();
    println!("resident {} MiB with a million unsettled", resident >> 20);
    assert!(resident <= allowed, "{resident} bytes resident, {allowed} allowed");
    assert_eq!(connection.count("backlog").expect("a count"), 0);
    drop(hoarder);
    let mut left = 0;
    for _ in 0..600 {
        left = u64::from(connection.count("backlog").expect("a count"));
        if left == MESSAGES {
            return server.resident_bytes();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{left} of {MESSAGES} messages came back");
}

/// Consumes everything, acknowledging as it goes.
fn drain(connection: &mut Connection) {
    connection.prefetch(2_000).expect("a prefetch");
    connection.consume("backlog", false).expect("a consumer");
    for number in 0..MESSAGES {
        let event = connection.next(Duration::from_secs(30)).expect("the connection lives");
        let Some(Event::Message(message)) = event else {
            panic!("instead of message {number}: {event:?}");
        };
        assert_eq!(message.body, body(number), "message {number}");
        if (number + 1) % 1_000 == 0 {
            connection.queue_ack(message.tag, true);
            connection.flush().expect("the acknowledgement is sent");
        }
    }
    assert_eq!(connection.count("backlog").expect("a count"), 0);
}
