//! What a seed draws of the network: who speaks bytes, and what their sockets suffer.

use crate::plan::{MS, Seeds, Stream};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The network's share of a plan. All zeros is a network that does nothing: every client makes core requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wires {
    /// The share of connections that speak AMQP bytes over a simulated socket, in 1,000.
    pub share: u32,
    /// Clients that send bytes which no correct client sends.
    pub foes: usize,
    /// The server's largest frame, in bytes.
    pub frame_bytes_max: u32,
    /// What clients ask for, in seconds; 0 is none.
    pub heartbeat_seconds: u16,
    /// Bytes between a writer and its reader, both sockets' buffers: beyond them the writer waits.
    pub capacity: usize,
    /// A piece that travels by itself has at most so many bytes; 0 is any number.
    pub chunk: usize,
    /// The longest way of a piece, in virtual nanoseconds.
    pub latency: u64,
    /// A share of connections, in 1,000, that are refused; here and below.
    pub refused: u32,
    /// Reset at a byte, which may be in the middle of a frame.
    pub resets: u32,
    /// One way or both ways silently swallow everything, from some moment on.
    pub silences: u32,
    /// Nothing moves for up to 900 ms.
    pub stalls: u32,
    /// A few thousand bytes in a virtual second.
    pub slow: u32,
    /// The client reads a little now and then, or not at all from some moment on.
    pub sluggish: u32,
    /// The client asks before it was told that the connection is open.
    pub hasty: u32,
}

/// What one connection suffers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) refused: bool,
    /// Bytes until the reset: from the client, or to it.
    pub(super) reset: Option<(bool, u64)>,
    /// When it goes silent, in nanoseconds from its beginning: from the client, to it.
    pub(super) silence: Option<(u64, bool, bool)>,
    /// When it stalls, and for how long.
    pub(super) stall: Option<(u64, u64)>,
    /// Bytes in a second.
    pub(super) rate: Option<u64>,
    pub(super) reader: Reader,
    pub(super) hasty: bool,
}

/// How a client reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reader {
    /// At once.
    #[default]
    Prompt,
    /// At most so many bytes, then nothing for so long.
    Sluggish { bytes: usize, gap: u64 },
    /// Nothing more after so many bytes.
    Deaf { after: u64 },
}

impl Wires {
    /// Draws from a stream of its own, so that nothing else of a seed's plan moves.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let rng = &mut Seeds::new(seed).nth(Stream::Wires, 0);
        let share = match rng.random_range(0..10) {
            0..5 => 0,
            5..8 => rng.random_range(200..800),
            _ => 1000,
        };
        let foes = if rng.random_bool(0.25) {
            rng.random_range(1..4)
        } else {
            0
        };
        if share == 0 && foes == 0 {
            return Self::default();
        }
        let mut some = |on: f64, most: u32| {
            let (is_on, value) = (rng.random_bool(on), rng.random_range(1..most));
            if is_on { value } else { 0 }
        };
        let (refused, resets, silences) = (some(0.3, 300), some(0.5, 700), some(0.25, 300));
        let (stalls, slow, sluggish, hasty) = (some(0.3, 500), some(0.2, 400), some(0.3, 500), some(0.5, 1000));
        Self {
            share,
            foes,
            frame_bytes_max: [4096, 4096, 8192, 131_072][rng.random_range(0..4)],
            heartbeat_seconds: [0, 1, 1, 2][rng.random_range(0..4)],
            capacity: [300, 4_000, 20_000, 200_000][rng.random_range(0..4)],
            chunk: [0, 0, 1460, 100, 7][rng.random_range(0..5)],
            latency: rng.random_range(30_000..3 * MS),
            refused,
            resets,
            silences,
            stalls,
            slow,
            sluggish,
            hasty,
        }
    }

    /// Draws the faults of one connection. Of two that exclude each other the first wins.
    pub(super) fn faults(&self, rng: &mut ChaCha8Rng) -> Faults {
        let mut hit = |share: u32| share > 0 && rng.random_range(0..1000) < share;
        let (refused, reset, silence) = (hit(self.refused), hit(self.resets), hit(self.silences));
        let (stall, slow, sluggish, hasty) = (hit(self.stalls), hit(self.slow), hit(self.sluggish), hit(self.hasty));
        // Handshakes and short histories are as likely to be cut as long ones.
        let position = 1 << rng.random_range(3..16);
        let reset = reset.then(|| (rng.random_bool(0.5), rng.random_range(position / 2..position)));
        let (up, down) = [(true, false), (false, true), (true, true)][rng.random_range(0..3)];
        let silence = silence.then(|| (rng.random_range(MS..600 * MS), up, down));
        let reader = match rng.random_range(0..4) {
            _ if !sluggish => Reader::Prompt,
            0 => Reader::Deaf {
                after: rng.random_range(500..8_000),
            },
            _ => Reader::Sluggish {
                bytes: rng.random_range(1..3_000),
                gap: rng.random_range(MS..80 * MS),
            },
        };
        Faults {
            refused,
            reset,
            silence,
            stall: stall.then(|| (rng.random_range(0..500 * MS), rng.random_range(MS..900 * MS))),
            rate: slow.then(|| rng.random_range(4_000..200_000)),
            reader,
            hasty,
        }
    }
}
