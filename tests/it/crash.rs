//! SIGKILL at random moments, many times over, on one data folder: nothing confirmed is lost, nothing is invented, order
//! is kept, what was certainly settled stays settled (G1 to G5).

use crate::amqp::{BASIC_ACK, BASIC_NACK, Connection, Event, Fields};
use crate::ledger::{Key, Ledger, Order};
use crate::server::Server;
use anyhow::{Result, bail};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const QUEUES: u16 = 4;
const PUBLISHERS: u16 = 3;
const CONSUMERS: u16 = 2;
/// Publishes of one publisher that wait for their confirms.
const WINDOW: usize = 30;
/// Largest body.
const BODY_MAX: usize = 300_000;
const TRANSIENT: &str = "crash-transient";

/// A queue's name.
pub(crate) fn queue_name(queue: u16) -> String {
    format!("durable-{queue}")
}

/// Everything that the threads of a round share.
#[derive(Default)]
struct World {
    ledger: Mutex<Ledger>,
    /// Set just before SIGKILL: from then on a lost connection is expected.
    killed: AtomicBool,
}

impl World {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no holder of this lock panics")
    }
}

#[test]
fn no_crash_loses_what_was_confirmed() {
    let rounds = number_from("WAYSTATION_CRASH_ROUNDS").unwrap_or(50);
    let seed = number_from("WAYSTATION_CRASH_SEED").unwrap_or_else(some_seed);
    println!("seed {seed} (WAYSTATION_CRASH_SEED), {rounds} rounds (WAYSTATION_CRASH_ROUNDS)");
    let folder = tempfile::tempdir().expect("a data folder");
    let world = Arc::new(World::default());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for round in 0..u32::try_from(rounds).expect("rounds fit in 32 bits") {
        let server = Server::start(folder.path(), &[]).unwrap_or_else(|e| panic!("seed {seed}, round {round}: {e:#}"));
        crash_once(server, &world, round, &mut random);
        let violations = &world.ledger().violations;
        assert!(violations.is_empty(), "seed {seed}, round {round}: {violations:#?}");
    }
    let server = Server::start(folder.path(), &[]).expect("the server starts a last time");
    let left = drain(server.address(), &world).expect("what is left can be read");
    let mut ledger = world.ledger();
    ledger.report_lost(&left);
    assert!(ledger.violations.is_empty(), "seed {seed}: {:#?}", ledger.violations);
    let totals = ledger.totals();
    println!("{totals:?}, {} left", left.len());
    let least = [totals.sent, totals.confirmed, totals.delivered, totals.settled]
        .into_iter()
        .min();
    assert!(
        least.is_some_and(|least| least as u64 > rounds),
        "the run did too little: {totals:?}"
    );
    server.stop().expect("the server stops");
}

/// A seed that differs from run to run.
pub(crate) fn some_seed() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970");
    since.as_secs() << 20 ^ u64::from(since.subsec_nanos())
}

/// A number from the environment, if it is set.
pub(crate) fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number, not '{text}'")),
    )
}

/// Publishes and consumes until SIGKILL comes.
fn crash_once(server: Server, world: &Arc<World>, round: u32, random: &mut ChaCha8Rng) {
    let address = server.address();
    prepare(address, round).expect("queues can be declared");
    world.killed.store(false, Ordering::SeqCst);
    let mut threads = Vec::new();
    for index in 0..PUBLISHERS + CONSUMERS {
        let world = Arc::clone(world);
        let mut own = ChaCha8Rng::from_rng(random);
        threads.push(std::thread::spawn(move || {
            let result = if index < PUBLISHERS {
                publish_until_killed(address, index, &world, round, &mut own)
            } else {
                consume_until_killed(address, index - PUBLISHERS, &world, &mut own)
            };
            if let Err(error) = result
                && !world.killed.load(Ordering::SeqCst)
            {
                world
                    .ledger()
                    .violations
                    .push(format!("client {index} failed before the crash: {error:#}"));
            }
        }));
    }
    std::thread::sleep(Duration::from_millis(random.random_range(50..600)));
    world.killed.store(true, Ordering::SeqCst);
    server.kill();
    for thread in threads {
        thread.join().expect("clients do not panic");
    }
}

/// Declares the queues; the transient one of the round before must be gone.
fn prepare(address: SocketAddr, round: u32) -> Result<()> {
    let gone = Connection::open(address)?.count(TRANSIENT);
    match gone {
        Err(error) if error.to_string().contains("404") => {}
        other => bail!("round {round}: a transient queue was there after a restart: {other:?}"),
    }
    let mut connection = Connection::open(address)?;
    for queue in 0..QUEUES {
        connection.declare(&queue_name(queue), true)?;
    }
    connection.declare(TRANSIENT, false)?;
    connection.confirm_select()?;
    connection.queue_publish(TRANSIENT, "transient", b"gone with the process");
    connection.flush()?;
    connection.expect(1, BASIC_ACK).map(drop)
}

fn publish_until_killed(
    address: SocketAddr,
    publisher: u16,
    world: &World,
    round: u32,
    random: &mut ChaCha8Rng,
) -> Result<()> {
    let mut connection = Connection::open(address)?;
    connection.confirm_select()?;
    let mut waiting = VecDeque::new();
    let mut tag = 0;
    loop {
        while waiting.len() < WINDOW {
            let queue = random.random_range(0..QUEUES);
            let size = some_size(random);
            let key = world.ledger().sending(queue, publisher, size);
            connection.queue_publish(&queue_name(queue), &key.message_id(size), &key.body(size));
            tag += 1;
            waiting.push_back((tag, key));
        }
        connection.flush()?;
        if let Some(Event::Method { id, args, .. }) = connection.next(Duration::from_secs(30))? {
            let (tag, multiple) = match id {
                BASIC_ACK => confirm(&args)?,
                BASIC_NACK => bail!("a publish was refused"),
                other => bail!("a publisher was told {other:?}"),
            };
            let mut ledger = world.ledger();
            waiting.retain(|&(own, key)| {
                let confirmed = own == tag || multiple && own < tag;
                if confirmed {
                    ledger.confirmed(key, round);
                }
                !confirmed
            });
        }
    }
}

/// The tag of a confirm, and whether it covers all before it.
pub(crate) fn confirm(args: &[u8]) -> Result<(u64, bool)> {
    let mut fields = Fields(args);
    Ok((fields.longlong()?, fields.octet()? & 1 == 1))
}

/// Mostly small bodies, some empty, a few large.
fn some_size(random: &mut ChaCha8Rng) -> usize {
    match random.random_range(0..100) {
        0..20 => 0,
        20..85 => random.random_range(1..1_000),
        85..98 => random.random_range(1_000..20_000),
        _ => random.random_range(20_000..=BODY_MAX),
    }
}

fn consume_until_killed(address: SocketAddr, consumer: u16, world: &World, random: &mut ChaCha8Rng) -> Result<()> {
    let mut connection = Connection::open(address)?;
    connection.prefetch(40)?;
    let queues: Vec<_> = (0..QUEUES).filter(|queue| queue % CONSUMERS == consumer).collect();
    for &queue in &queues {
        connection.consume(&queue_name(queue), false)?;
    }
    let mut order = Order::default();
    let mut unsettled: VecDeque<(u64, Key)> = VecDeque::new();
    let mut acknowledged = Vec::new();
    loop {
        if let Some(Event::Message(message)) = connection.next(Duration::from_millis(20))? {
            let queue = message.consumer.trim_start_matches("durable-").parse()?;
            if let Some(key) = world.ledger().received(queue, &message, &mut order) {
                unsettled.push_back((message.tag, key));
            }
        }
        if !unsettled.is_empty() && random.random_ratio(1, 4) {
            let count = if random.random() {
                1
            } else {
                random.random_range(1..=unsettled.len())
            };
            let keys: Vec<_> = unsettled.drain(..count).collect();
            let (last, _) = keys[keys.len() - 1];
            for &(_, key) in &keys {
                world.ledger().settling(key);
                acknowledged.push(key);
            }
            connection.queue_ack(last, count > 1);
            connection.flush()?;
        }
        if !acknowledged.is_empty() && random.random_ratio(1, 20) {
            if random.random() {
                connection.prefetch(40)?;
            } else {
                connection.count(&queue_name(queues[0]))?;
            }
            acknowledged.drain(..).for_each(|key| world.ledger().settled(key));
        }
    }
}

/// Takes everything that is left.
fn drain(address: SocketAddr, world: &World) -> Result<Vec<Key>> {
    let mut connection = Connection::open(address)?;
    let mut left = Vec::new();
    let mut order = Order::default();
    for queue in 0..QUEUES {
        while let Some(message) = connection.get(&queue_name(queue))? {
            left.extend(world.ledger().received(queue, &message, &mut order));
        }
    }
    Ok(left)
}
