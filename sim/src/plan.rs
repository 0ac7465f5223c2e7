//! What a seed draws. One stream of randomness for each consumer of it, so that a draw in one moves no other.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;

/// The streams of one seed.
#[derive(Debug)]
pub struct Seeds {
    /// Latencies of the network.
    pub net: ChaCha8Rng,
    /// Latencies and losses of the disk.
    pub disk: ChaCha8Rng,
    /// When the node crashes.
    pub crash: ChaCha8Rng,
    /// What clients do.
    pub clients: ChaCha8Rng,
}

impl Seeds {
    /// The streams of a seed. New ones are appended, never inserted.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let stream = |number: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(number);
            rng
        };
        Self {
            net: stream(1),
            disk: stream(2),
            crash: stream(3),
            clients: stream(4),
        }
    }
}

/// How a queue of the run is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Durable, without limits.
    Plain,
    /// Messages expire, and are dead-lettered.
    Expiring {
        /// `x-message-ttl`.
        ttl_ms: u64,
    },
    /// The oldest messages give way, and are dead-lettered.
    Bounded {
        /// `x-max-length`.
        length: u64,
    },
    /// New messages are refused.
    Refusing {
        /// `x-max-length`.
        length: u64,
    },
    /// Not durable: its messages are in memory.
    Transient,
    /// Where dead letters go.
    Dead,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Virtual nanoseconds of work and faults, before the healing.
    pub length: u64,
    /// Queues `q0`, `q1`, ...; the last is `dlq`.
    pub queues: Vec<Kind>,
    /// Publishers.
    pub publishers: usize,
    /// Consumers.
    pub consumers: usize,
    /// Meddlers: get, purge, recover, declare and delete.
    pub meddlers: usize,
    /// Mean virtual nanoseconds between a client's acts.
    pub pace: u64,
    /// Bodies are up to so many bytes.
    pub body_max: usize,
    /// Unconfirmed publishes of one publisher.
    pub window: usize,
    /// Mean virtual nanoseconds between crashes; none for a run without.
    pub crash_every: Option<u64>,
    /// The share, in 256, of unsynced sectors that survive a crash.
    pub survival: u32,
    /// Mean latency of a sync, in nanoseconds.
    pub sync_latency: u64,
    /// The share of clients that die without notice, in 1,000 of their acts.
    pub deaths: u32,
    /// A share of messages forgotten by consumers, which hold them without settling, in 1,000.
    pub forgetful: u32,
    /// A share of crashes that are followed by another during recovery, in 256.
    pub crash_again: u32,
    /// Core limits.
    pub segment_bytes: u64,
    /// Core limits.
    pub cache_bytes: u64,
    /// Core limits.
    pub checkpoint_bytes: u64,
    /// Core limits.
    pub pending_bytes_max: u64,
    /// Core limits.
    pub window_bytes: u64,
}

impl Plan {
    /// The plan of a seed: each fault and feature is on or off, and how hard, by its own draw (swarm testing).
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut queues: Vec<Kind> = (0..rng.random_range(1..5)).map(|_| kind(&mut rng)).collect();
        queues.push(Kind::Dead);
        let deep = rng.random_bool(0.2);
        Self {
            seed,
            length: rng.random_range(500..3000) * MS,
            queues,
            publishers: rng.random_range(1..4),
            consumers: rng.random_range(0..5),
            meddlers: rng.random_range(0..3),
            pace: rng.random_range(1..8) * MS,
            body_max: if deep { 20_000 } else { rng.random_range(1..400) },
            window: rng.random_range(1..40),
            crash_every: rng.random_bool(0.7).then(|| rng.random_range(50..1500) * MS),
            survival: [0, 64, 128, 192, 256][rng.random_range(0..5)],
            sync_latency: rng.random_range(50_000..8 * MS),
            deaths: if rng.random_bool(0.5) {
                rng.random_range(1..40)
            } else {
                0
            },
            forgetful: if rng.random_bool(0.3) {
                rng.random_range(1..200)
            } else {
                0
            },
            crash_again: if rng.random_bool(0.3) { 128 } else { 0 },
            segment_bytes: [8192, 16384, 65536, 1 << 20][rng.random_range(0..4)],
            cache_bytes: [4096, 30_000, 1 << 20, 1 << 26][rng.random_range(0..4)],
            checkpoint_bytes: [4096, 20_000, 100_000, 1 << 20][rng.random_range(0..4)],
            pending_bytes_max: [20_000, 1 << 20, 64 << 20][rng.random_range(0..3)],
            window_bytes: [600, 10_000, 1 << 20][rng.random_range(0..3)],
        }
    }
}

fn kind(rng: &mut ChaCha8Rng) -> Kind {
    match rng.random_range(0..10) {
        0..4 => Kind::Plain,
        4..6 => Kind::Expiring {
            ttl_ms: rng.random_range(1..200),
        },
        6 => Kind::Bounded {
            length: rng.random_range(1..30),
        },
        7 => Kind::Refusing {
            length: rng.random_range(1..30),
        },
        _ => Kind::Transient,
    }
}
