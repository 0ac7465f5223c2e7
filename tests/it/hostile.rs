//! Peers that break the rules, by mistake or on purpose. Each is told so in AMQP's terms and costs nobody else anything
//! (G14, G16): while it does its worst, a well-behaved connection publishes and reads.

use crate::amqp::*;
use crate::server::Broker;
use anyhow::Result;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// A server has to notice silence within this time: its own limits are 10 s for a handshake and two heartbeats.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// A name that no other test, and no other run against the same broker, has.
fn unique(hint: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{hint}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Runs `attack` while a well-behaved connection works; it has to come through, before, during and after.
fn beside_a_good_citizen<T>(attack: impl FnOnce(SocketAddr) -> Result<T>) -> T {
    let broker = Broker::shared();
    let address = broker.address;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let citizen = scope.spawn(|| citizen(address, &over));
        let result = attack(address);
        over.store(true, Ordering::SeqCst);
        let rounds = citizen
            .join()
            .expect("the good citizen does not panic")
            .expect("the good citizen was harmed");
        assert!(rounds > 0);
        Connection::open(address).expect("new connections are accepted afterwards");
        result.expect("the attack ends as it should")
    })
}

/// Publishes with confirms and reads back until it is over; answers how often.
fn citizen(address: SocketAddr, over: &AtomicBool) -> Result<u32> {
    let queue = unique("citizen");
    let mut connection = Connection::open(address)?;
    connection.declare(&queue, false)?;
    connection.confirm_select()?;
    let mut rounds: u32 = 0;
    loop {
        let last = over.load(Ordering::SeqCst);
        connection.queue_publish(&queue, "citizen", &rounds.to_be_bytes());
        connection.flush()?;
        connection.expect(1, BASIC_ACK)?;
        let message = connection.get(&queue)?;
        anyhow::ensure!(
            message.is_some_and(|m| m.body == rounds.to_be_bytes()),
            "the citizen's message is not there"
        );
        rounds += 1;
        if last {
            connection.delete(&queue)?;
            return Ok(rounds);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the broker says when an open connection does this.
fn answer_to(misdeed: impl FnOnce(&mut Connection) -> Result<()>) -> Closed {
    let closed = beside_a_good_citizen(|address| {
        let mut connection = Connection::open(address)?;
        misdeed(&mut connection)?;
        connection.flush()?;
        connection.closed_by_broker()
    });
    println!("the broker said {closed:?}");
    assert!(!closed.text.is_empty(), "a refusal says why");
    closed
}

#[test]
fn a_frame_larger_than_agreed() {
    let closed = answer_to(|connection| {
        let mut bytes = vec![METHOD, 0, 1];
        bytes.extend((FRAME_MAX * 4).to_be_bytes());
        connection.send_bytes(&bytes)?;
        // The rest of such a frame: the broker may have closed before it is sent.
        drop(connection.send_bytes(&[0; 4096]));
        Ok(())
    });
    assert_eq!(closed.code, 501);
}

#[test]
fn a_frame_that_does_not_end() {
    let closed = answer_to(|connection| {
        let mut bytes = vec![METHOD, 0, 1, 0, 0, 0, 5];
        bytes.extend([0, 20, 0, 10, 0, b'!']);
        connection.send_bytes(&bytes)
    });
    assert_eq!(closed.code, 501);
}

#[test]
fn a_channel_that_is_not_open() {
    let closed = answer_to(|connection| {
        let args = Args::default().short(0).short_text("q").octet(0).no_table();
        connection.queue_method(7, QUEUE_DECLARE, args);
        Ok(())
    });
    assert_eq!(closed.code, 504);
}

#[test]
fn a_channel_opened_twice() {
    let closed = answer_to(|connection| {
        connection.queue_method(1, CHANNEL_OPEN, Args::default().short_text(""));
        Ok(())
    });
    assert_eq!(closed.code, 504);
}

#[test]
fn a_method_where_content_was_due() {
    let closed = answer_to(|connection| {
        connection.queue_method(
            1,
            BASIC_PUBLISH,
            Args::default().short(0).short_text("").short_text("q").octet(0),
        );
        connection.queue_method(1, BASIC_QOS, Args::default().long(0).short(1).octet(0));
        Ok(())
    });
    assert_eq!(closed.code, 505);
}

#[test]
fn a_body_without_its_header() {
    let closed = answer_to(|connection| {
        connection.queue_method(
            1,
            BASIC_PUBLISH,
            Args::default().short(0).short_text("").short_text("q").octet(0),
        );
        connection.queue_frame(BODY, 1, b"body");
        Ok(())
    });
    assert_eq!(closed.code, 505);
}

#[test]
fn a_header_without_its_method() {
    let closed = answer_to(|connection| {
        connection.queue_frame(HEADER, 1, &Args::default().short(60).short(0).longlong(5).short(0).0);
        Ok(())
    });
    assert_eq!(closed.code, 505);
}

/// The same for misdeeds at which RabbitMQ drops the connection without a word, or takes no offence: if the broker closes
/// with a code, it is one of these.
fn tolerant_answer_to(misdeed: impl FnOnce(&mut Connection) -> Result<()>, codes: &[u16]) {
    beside_a_good_citizen(|address| {
        let mut connection = Connection::open(address)?;
        misdeed(&mut connection)?;
        connection.flush()?;
        let Ok(Some(event)) = connection.next(Duration::from_secs(3)) else {
            return Ok(());
        };
        let Event::Method {
            id: CONNECTION_CLOSE | CHANNEL_CLOSE,
            args,
            ..
        } = event
        else {
            anyhow::bail!("a misdeed was answered by {event:?}");
        };
        let closed = closed(&args)?;
        println!("the broker said {closed:?}");
        anyhow::ensure!(codes.contains(&closed.code), "{closed:?}");
        Ok(())
    });
}

#[test]
fn more_body_than_the_header_said() {
    let misdeed = |connection: &mut Connection| {
        connection.queue_method(
            1,
            BASIC_PUBLISH,
            Args::default().short(0).short_text("").short_text("q").octet(0),
        );
        connection.queue_frame(HEADER, 1, &Args::default().short(60).short(0).longlong(3).short(0).0);
        connection.queue_frame(BODY, 1, b"more than three");
        Ok(())
    };
    tolerant_answer_to(misdeed, &[501, 502, 505]);
}

#[test]
fn a_method_that_does_not_exist() {
    let misdeed = |connection: &mut Connection| {
        connection.queue_method(1, (50, 999), Args::default());
        Ok(())
    };
    tolerant_answer_to(misdeed, &[501, 502, 503, 540]);
}

#[test]
fn a_method_of_the_broker_s_own() {
    let misdeed = |connection: &mut Connection| {
        connection.queue_method(1, BASIC_CONSUME_OK, Args::default().short_text("tag"));
        Ok(())
    };
    tolerant_answer_to(misdeed, &[503, 505, 540]);
}

#[test]
fn arguments_that_are_cut_off() {
    let misdeed = |connection: &mut Connection| {
        connection.queue_method(1, QUEUE_DECLARE, Args::default().short(0).octet(200));
        Ok(())
    };
    tolerant_answer_to(misdeed, &[501, 502]);
}

#[test]
fn a_body_of_sixteen_exabytes() {
    beside_a_good_citizen(|address| {
        let mut connection = Connection::open(address)?;
        connection.queue_method(
            1,
            BASIC_PUBLISH,
            Args::default().short(0).short_text("").short_text("q").octet(0),
        );
        connection.queue_frame(
            HEADER,
            1,
            &Args::default().short(60).short(0).longlong(u64::MAX).short(0).0,
        );
        for _ in 0..100 {
            connection.queue_frame(BODY, 1, &[0; 100_000]);
        }
        // The broker may refuse at the header, or wait for the rest: it must not believe the length and allocate it. If it
        // has closed, sending may fail.
        drop(connection.flush());
        Ok(())
    });
}

/// Tables in tables, as deep as a frame allows. A recursive reader without a limit overflows its stack.
#[test]
fn a_bomb_of_nested_tables() {
    beside_a_good_citizen(|address| {
        let mut connection = Connection::open(address)?;
        let args = Args::default().short(0).short_text(&unique("bomb")).octet(0b1100);
        connection.queue_method(1, QUEUE_DECLARE, Args([args.0, nested_tables(16_000)].concat()));
        connection.flush()?;
        // Refusing it and accepting it are both correct; an end without a word is not.
        match connection.next(PATIENCE)? {
            Some(Event::Method { id, args, .. }) if id == CONNECTION_CLOSE || id == CHANNEL_CLOSE => {
                let closed = closed(&args)?;
                anyhow::ensure!([406, 501, 502, 540].contains(&closed.code), "{closed:?}");
            }
            Some(Event::Method { id, .. }) if id == QUEUE_DECLARE_OK => {}
            other => anyhow::bail!("a bomb was answered by {other:?}"),
        }
        Ok(())
    });
}

/// The bytes of `depth` tables in each other, the length of the outermost included.
fn nested_tables(depth: usize) -> Vec<u8> {
    // Level n holds its own length, then (unless innermost) a name of one byte, `F` and level n + 1.
    let mut bytes = Vec::new();
    for level in 0..depth {
        let inner = (depth - 1 - level) * 7;
        bytes.extend(u32::try_from(inner).expect("a bomb fits in a frame").to_be_bytes());
        if inner > 0 {
            bytes.extend([1, b'k', b'F']);
        }
    }
    bytes
}

#[test]
fn garbage_instead_of_a_greeting() {
    beside_a_good_citizen(|address| {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20 {
            let mut connection = Connection::silent(address)?;
            let mut bytes = [0; 64];
            random.fill_bytes(&mut bytes);
            connection.send_bytes(&bytes)?;
            let said = connection.wait_for_end(SILENCE_LIMIT)?;
            // The greeting that would have been right, or nothing if the end overtook it.
            anyhow::ensure!(
                said.is_empty() || said.starts_with(b"AMQP\x00\x00\x09\x01"),
                "garbage got {said:?}"
            );
        }
        Ok(())
    });
}

#[test]
fn another_version_of_the_protocol_is_told_ours() {
    beside_a_good_citizen(|address| {
        for greeting in [b"AMQP\x00\x00\x0A\x00", b"AMQP\x01\x01\x00\x0A"] {
            let mut connection = Connection::silent(address)?;
            connection.send_bytes(greeting)?;
            let said = connection.wait_for_end(SILENCE_LIMIT)?;
            anyhow::ensure!(said == b"AMQP\x00\x00\x09\x01", "{greeting:?} got {said:?}");
        }
        Ok(())
    });
}

#[test]
fn garbage_after_the_handshake() {
    beside_a_good_citizen(|address| {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..5 {
            let mut connection = Connection::open(address)?;
            let mut bytes = [0; 2048];
            random.fill_bytes(&mut bytes);
            // Not the first octet of a frame, so that the broker need not wait for a rest that never comes.
            bytes[0] = 0xFF;
            connection.send_bytes(&bytes)?;
            connection.wait_for_end(SILENCE_LIMIT)?;
        }
        Ok(())
    });
}

#[test]
fn a_handshake_in_the_wrong_order() {
    beside_a_good_citizen(|address| {
        let mut connection = Connection::silent(address)?;
        connection.send_bytes(b"AMQP\x00\x00\x09\x01")?;
        connection.expect(0, CONNECTION_START)?;
        connection.queue_method(
            0,
            CONNECTION_OPEN,
            Args::default().short_text("/").short_text("").octet(0),
        );
        connection.flush()?;
        connection.wait_for_end(SILENCE_LIMIT).map(drop)
    });
}

#[test]
fn a_peer_that_says_nothing() {
    beside_a_good_citizen(|address| {
        let mut connection = Connection::silent(address)?;
        connection.wait_for_end(SILENCE_LIMIT).map(drop)
    });
}

#[test]
fn a_peer_that_stops_in_the_handshake() {
    beside_a_good_citizen(|address| {
        let mut connection = Connection::silent(address)?;
        connection.send_bytes(b"AMQP\x00\x00\x09\x01")?;
        connection.expect(0, CONNECTION_START)?;
        connection.send_start_ok()?;
        connection.expect(0, CONNECTION_TUNE)?;
        connection.wait_for_end(SILENCE_LIMIT).map(drop)
    });
}

#[test]
fn missing_heartbeats() {
    beside_a_good_citizen(|address| {
        let mut connection = Connection::open_with_heartbeat(address, 1)?;
        let mut heartbeats = 0;
        let end = std::time::Instant::now() + SILENCE_LIMIT;
        while let Ok(event) = connection.next(SILENCE_LIMIT) {
            heartbeats += u32::from(event == Some(Event::Heartbeat));
            anyhow::ensure!(std::time::Instant::now() < end, "a silent peer is kept");
        }
        anyhow::ensure!(heartbeats > 0, "the broker sent no heartbeat of its own");
        Ok(())
    });
}

#[test]
fn heartbeats_keep_an_idle_connection() {
    beside_a_good_citizen(|address| {
        let mut connection = Connection::open_with_heartbeat(address, 1)?;
        for _ in 0..10 {
            connection.queue_frame(HEARTBEAT, 0, b"");
            connection.flush()?;
            std::thread::sleep(Duration::from_millis(500));
        }
        connection.declare(&unique("idle"), false).map(drop)
    });
}

/// Returns and confirms pile up for this publisher, who reads none of them.
#[test]
fn a_publisher_that_never_reads() {
    beside_a_good_citizen(|address| {
        let mut connection = Connection::open(address)?;
        connection.confirm_select()?;
        connection.set_write_limit(Duration::from_secs(3))?;
        let body = vec![0; 50_000];
        let nobody = unique("nobody");
        for _ in 0..4_000 {
            connection.queue_publish_with_bits(&nobody, "unread", &body, 1);
            // A broker that stops reading from such a peer is right.
            if connection.flush().is_err() {
                break;
            }
        }
        Ok(())
    });
}

#[test]
fn a_consumer_that_never_reads() {
    beside_a_good_citizen(|address| {
        let queue = unique("unread");
        let mut publisher = Connection::open(address)?;
        publisher.declare(&queue, false)?;
        publisher.confirm_select()?;
        let mut consumer = Connection::open(address)?;
        consumer.consume(&queue, false)?;
        let body = vec![7; 100_000];
        for number in 0..300_u32 {
            publisher.queue_publish(&queue, &number.to_string(), &body);
            publisher.flush()?;
            publisher.expect(1, BASIC_ACK)?;
        }
        // Once the sleeper is gone, another reads everything.
        drop(consumer);
        let mut reader = Connection::open(address)?;
        reader.consume(&queue, true)?;
        for number in 0..300_u32 {
            let Some(Event::Message(message)) = reader.next(PATIENCE)? else {
                anyhow::bail!("message {number} is not there");
            };
            anyhow::ensure!(
                message.message_id == number.to_string(),
                "{} came for {number}",
                message.message_id
            );
        }
        reader.delete(&queue)
    });
}

#[test]
fn a_thousand_connections_that_vanish() {
    beside_a_good_citizen(|address| {
        for number in 0..1_000 {
            let mut connection = Connection::silent(address)?;
            if number % 3 == 0 {
                connection.send_bytes(b"AMQP\x00\x00\x09\x01")?;
            }
            if number % 10 == 0 {
                drop(Connection::open(address)?);
            }
        }
        Ok(())
    });
}
