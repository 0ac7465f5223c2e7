//! The sizes that a seed draws for the core. Half of them, on average, are those of every other build.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use waystation_core::knob::Knobs;

/// The stream of a seed that sizes are drawn from, apart from all others.
const STREAM: u64 = 40;

/// The sizes of a seed. They last as long as its data folder.
#[must_use]
pub fn draw(seed: u64) -> Knobs {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let rng = &mut rng;
    let usual = Knobs::DEFAULT;
    Knobs {
        page_slots: pick(rng, usual.page_slots, [2, 4, 16, 64]),
        turn_messages: pick(rng, usual.turn_messages, [1, 2, 7, 30]),
        turn_bytes: pick(rng, usual.turn_bytes, [1, 300, 2_000, 20_000]),
        round_outputs: pick(rng, usual.round_outputs, [1, 3, 10, 50]),
        turn_deaths: pick(rng, usual.turn_deaths, [1, 2, 5, 20]),
        read_ahead_bytes: pick(rng, usual.read_ahead_bytes, [1, 300, 3_000, 30_000]),
        entry_bytes: pick(rng, usual.entry_bytes, [200, 600, 2_000, 10_000]),
        write_bytes: pick(rng, usual.write_bytes, [1, 300, 2_000, 10_000]),
        copy_bytes: pick(rng, usual.copy_bytes, [1, 500, 3_000, 20_000]),
        replay_bytes: pick(rng, usual.replay_bytes, [100, 700, 4_096, 20_000]),
        chunk_bytes: pick(rng, usual.chunk_bytes, [32, 100, 300, 2_000]),
        line_bytes: pick(rng, usual.line_bytes, [600, 3_000, 10_000, 100_000]),
        gaps: pick(rng, usual.gaps, [1, 3, 10, 50]),
    }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, usual: T, others: [T; 4]) -> T {
    let (is_usual, other) = (rng.random_bool(0.5), rng.random_range(0..4));
    if is_usual { usual } else { others[other] }
}
