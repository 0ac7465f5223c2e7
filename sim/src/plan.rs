//! What a seed draws. One stream of randomness for each consumer of it, so that a draw in one moves no other.

use crate::kept::{Fault, Kept};
use crate::net::plan::Wires;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;

/// The streams of one seed.
#[derive(Debug)]
pub struct Seeds {
    seed: u64,
    /// Latencies of the network.
    pub net: ChaCha8Rng,
    /// Latencies of the disk.
    pub disk: ChaCha8Rng,
    /// What the newest crash loses, and when the node is started again.
    pub crash: ChaCha8Rng,
    /// What the newest crash damages.
    pub damage: ChaCha8Rng,
}

/// What a numbered stream is for. New ones are appended, never inserted.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Stream {
    /// Latencies of the network.
    Net = 1,
    /// Latencies of the disk.
    Disk,
    /// What a crash loses.
    Crash,
    /// What a client does in a turn.
    Turn,
    /// What a crash damages.
    Damage,
    /// When a crash comes.
    CrashDue,
    /// When a disk fails.
    DiskErrorDue,
    /// Which connections speak bytes.
    Wires,
    /// What happens on one of them.
    Wire,
    /// When a hostile client comes, and what it sends.
    Foe,
}

impl Seeds {
    /// The streams of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            net: nth(seed, Stream::Net, 0),
            disk: nth(seed, Stream::Disk, 0),
            crash: nth(seed, Stream::Crash, 0),
            damage: nth(seed, Stream::Damage, 0),
            seed,
        }
    }

    /// The stream of one thing of a kind: what others of its kind draw, and whether they happen, does not move it.
    #[must_use]
    pub fn nth(&self, stream: Stream, number: u64) -> ChaCha8Rng {
        nth(self.seed, stream, number)
    }

    /// The stream of a client's turn.
    #[must_use]
    pub fn turn(&self, client: usize, turn: u64) -> ChaCha8Rng {
        self.nth(Stream::Turn, (client as u64) << 32 | turn)
    }
}

fn nth(seed: u64, stream: Stream, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((stream as u64) << 56 | number);
    rng
}

/// How a queue of the run is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
        /// What is refused is dead-lettered.
        letters: bool,
    },
    /// Not durable: its messages are in memory.
    Transient,
    /// Messages of higher priority go first.
    Priority {
        /// `x-max-priority`.
        max: u8,
    },
    /// A message that was given back more often is dead-lettered.
    Limited {
        /// `x-delivery-limit`.
        returns: u16,
    },
    /// A message that was given back comes again after a delay that doubles.
    Retrying {
        /// `x-retry-delay`.
        delay_ms: u64,
        /// `x-retry-delay-max`.
        max_ms: u64,
    },
    /// Takes dead letters of others, which expire in their turn. Nobody publishes to it.
    Middle {
        /// `x-message-ttl`.
        ttl_ms: u64,
    },
    /// Where dead letters go at last.
    Dead,
}

impl Kind {
    /// Whether the queue's messages come from other queues: one message may come several times.
    #[must_use]
    pub const fn is_grave(self) -> bool {
        matches!(self, Self::Dead | Self::Middle { .. })
    }

    /// Whether the queue counts how often a message was given back.
    #[must_use]
    pub const fn counts_returns(self) -> bool {
        matches!(self, Self::Limited { .. } | Self::Retrying { .. })
    }
}

/// No message waits longer, in milliseconds.
pub const DELAY_MS_MAX: u64 = 300;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Virtual nanoseconds of work and faults, before the healing.
    pub length: u64,
    /// Queues `q0`, `q1`, ...; the last is `dlq`.
    pub queues: Vec<Kind>,
    /// For each queue, the queue that takes its dead letters.
    pub graves: Vec<Option<usize>>,
    /// Publishers with confirms.
    pub publishers: usize,
    /// Publishers with transactions, which consume, too.
    pub committers: usize,
    /// Consumers.
    pub consumers: usize,
    /// Meddlers: get, purge, recover.
    pub meddlers: usize,
    /// Visitors: exclusive, server-named and auto-delete queues, and whether they go.
    pub visitors: usize,
    /// Churners: declare, bind, publish and delete, all on the same few names.
    pub churners: usize,
    /// Clients on one connection, each with its channel.
    pub channels: usize,
    /// Queues that are declared, get a message each and are forgotten.
    pub crowd: usize,
    /// Clients, by number, that the shrinker took away.
    pub absent: Vec<usize>,
    /// Mean virtual nanoseconds between a client's acts.
    pub pace: u64,
    /// Bodies are up to so many bytes.
    pub body_max: usize,
    /// Unconfirmed publishes of one publisher.
    pub window: usize,
    /// A share of messages with an expiration of their own, in 1,000.
    pub expiring: u32,
    /// A share of messages that wait before they may be delivered, in 1,000.
    #[serde(default)]
    pub delayed: u32,
    /// A share of messages that are mandatory and go nowhere, in 1,000.
    pub unroutable: u32,
    /// A share of connections that never read what they are sent, in 1,000.
    pub mute: u32,
    /// The share of clients that die without notice, in 1,000 of their acts.
    pub deaths: u32,
    /// A share of messages forgotten by consumers, which hold them without settling, in 1,000.
    pub forgetful: u32,
    /// Mean virtual nanoseconds between crashes; none for a run without.
    pub crash_every: Option<u64>,
    /// Crashes after so many outputs of the node's lives: the first, the second, ...
    pub crash_after: Vec<u64>,
    /// The share, in 256, of unsynced sectors that survive a crash.
    pub survival: u32,
    /// A share of crashes that are followed by another during recovery, in 256.
    pub crash_again: u32,
    /// A share of crashes after which bytes of the files are not what they were, in 256.
    pub damage: u32,
    /// Mean virtual nanoseconds between failing commands of the disk.
    pub error_every: Option<u64>,
    /// A share of writes that take seconds, in 10,000.
    pub stalls: u32,
    /// Mean latency of a sync, in nanoseconds.
    pub sync_latency: u64,
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
    /// Connections that speak bytes, and their faults.
    #[serde(default)]
    pub wires: Wires,
    /// Steps beside the model, in place of all of the above; 0 for a world.
    #[serde(default)]
    pub lockstep: u32,
    /// What is left of it, if something is left out.
    pub kept: Option<Kept>,
}

impl Plan {
    /// The plan of a seed: each fault and feature is on or off, and how hard, by its own draw (swarm testing).
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rng = &mut rng;
        let (queues, graves) = queues(rng);
        let deep = rng.random_bool(0.15);
        // Bodies beyond a segment's size are cheap where segments are small.
        let huge = deep && rng.random_bool(0.3);
        let crowd = if rng.random_bool(0.02) {
            rng.random_range(500..2500)
        } else {
            0
        };
        Self {
            seed,
            length: rng.random_range(300..2000) * MS,
            queues,
            graves,
            publishers: rng.random_range(1..4),
            committers: some(rng, 0.4, 1..3) as usize,
            consumers: rng.random_range(0..5),
            meddlers: rng.random_range(0..3),
            visitors: some(rng, 0.3, 1..3) as usize,
            churners: some(rng, 0.4, 1..4) as usize,
            channels: [1, 1, 2, 3][rng.random_range(0..4)],
            crowd,
            absent: Vec::new(),
            pace: rng.random_range(1..8) * MS,
            body_max: if huge {
                60_000
            } else if deep {
                12_000
            } else {
                rng.random_range(1..400)
            },
            window: rng.random_range(1..40),
            expiring: some(rng, 0.4, 1..300),
            delayed: some(rng, 0.3, 1..300),
            unroutable: some(rng, 0.4, 1..200),
            mute: some(rng, 0.2, 100..600),
            deaths: some(rng, 0.5, 1..40),
            forgetful: some(rng, 0.3, 1..200),
            crash_every: rng.random_bool(0.7).then(|| rng.random_range(50..1000) * MS),
            crash_after: Vec::new(),
            survival: [0, 64, 128, 192, 256][rng.random_range(0..5)],
            crash_again: some(rng, 0.3, 64..160),
            damage: some(rng, 0.25, 40..200),
            error_every: rng.random_bool(0.15).then(|| rng.random_range(100..1500) * MS),
            stalls: some(rng, 0.1, 1..50),
            sync_latency: rng.random_range(50_000..8 * MS),
            segment_bytes: [8192, 16384, 65536, 1 << 20][rng.random_range(0..4)],
            cache_bytes: [4096, 30_000, 1 << 20, 1 << 26][rng.random_range(0..4)],
            checkpoint_bytes: [4096, 20_000, 100_000, 1 << 20][rng.random_range(0..4)],
            pending_bytes_max: [20_000, 1 << 20, 64 << 20][rng.random_range(0..3)],
            window_bytes: [600, 10_000, 1 << 20][rng.random_range(0..3)],
            wires: Wires::draw(seed),
            lockstep: crate::lockstep::steps(seed),
            kept: None,
        }
    }

    /// Clients of all roles, with the one that empties the queues at the end.
    #[must_use]
    pub const fn clients(&self) -> usize {
        self.publishers + self.committers + self.consumers + self.meddlers + self.visitors + self.churners + 1
    }

    /// Whether a client does something in a turn.
    #[must_use]
    pub fn keeps_turn(&self, client: usize, turn: u64) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.turn(client, turn))
    }

    /// Whether a fault that is due strikes.
    #[must_use]
    pub fn keeps_fault(&self, fault: Fault, number: u64) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.fault(fault, number))
    }

    /// The name of a queue of the run.
    #[must_use]
    pub fn name(&self, queue: usize) -> String {
        if self.queues[queue] == Kind::Dead {
            "dlq".into()
        } else {
            format!("q{queue}")
        }
    }
}

/// On with this probability, then uniform in the range; 0 otherwise.
fn some(rng: &mut ChaCha8Rng, on: f64, range: std::ops::Range<u32>) -> u32 {
    let (is_on, value) = (rng.random_bool(on), rng.random_range(range));
    if is_on { value } else { 0 }
}

/// Queues, and where their dead letters go: to the last, or by way of a middle one, which may send them round.
fn queues(rng: &mut ChaCha8Rng) -> (Vec<Kind>, Vec<Option<usize>>) {
    let mut queues: Vec<Kind> = (0..rng.random_range(1..5)).map(|_| kind(rng)).collect();
    let chained = rng.random_bool(0.3);
    if chained {
        queues.push(Kind::Middle {
            ttl_ms: rng.random_range(1..100),
        });
    }
    queues.push(Kind::Dead);
    let dead = queues.len() - 1;
    let letters = |kind: &Kind| {
        matches!(
            kind,
            Kind::Expiring { .. }
                | Kind::Bounded { .. }
                | Kind::Refusing { letters: true, .. }
                | Kind::Limited { .. }
                | Kind::Middle { .. }
        )
    };
    let mut graves: Vec<Option<usize>> = queues.iter().map(|kind| letters(kind).then_some(dead)).collect();
    if chained {
        let middle = dead - 1;
        for grave in &mut graves[..middle] {
            if grave.is_some() && rng.random_bool(0.7) {
                *grave = Some(middle);
            }
        }
        // A queue that its own dead letters come back to: a cycle.
        let origin = (0..middle).find(|queue| graves[*queue] == Some(middle));
        if rng.random_bool(0.4) && origin.is_some() {
            graves[middle] = origin;
        }
    }
    (queues, graves)
}

fn kind(rng: &mut ChaCha8Rng) -> Kind {
    match rng.random_range(0..16) {
        0..5 => Kind::Plain,
        5..7 => Kind::Expiring {
            ttl_ms: rng.random_range(1..200),
        },
        7 => Kind::Bounded {
            length: rng.random_range(1..30),
        },
        8..10 => Kind::Refusing {
            length: rng.random_range(1..30),
            letters: rng.random_bool(0.5),
        },
        10..12 => Kind::Transient,
        12..14 => Kind::Priority {
            max: [1, 2, 9, 255][rng.random_range(0..4)],
        },
        14 => Kind::Limited {
            returns: rng.random_range(0..4),
        },
        _ => Kind::Retrying {
            delay_ms: rng.random_range(1..60),
            max_ms: rng.random_range(60..DELAY_MS_MAX),
        },
    }
}
