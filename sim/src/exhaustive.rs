//! Crashes at every step of a short script: after each output of the node, and again at each output of the recovery that
//! follows. What random crashes reach by luck is reached by all of these for certain.

use crate::campaign::attempt;
use crate::net::plan::Wires;
use crate::plan::{Kind, MS, Plan};
use crate::world::run;

/// What was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Plans run.
    pub runs: u64,
    /// Outputs of the run without crashes.
    pub outputs: u64,
}

/// A short script with everything in it, and small segments so that they roll.
#[must_use]
pub fn script(seed: u64) -> Plan {
    Plan {
        length: 60 * MS,
        queues: vec![Kind::Plain, Kind::Expiring { ttl_ms: 20 }, Kind::Dead],
        graves: vec![None, Some(2), None],
        publishers: 1,
        committers: 1,
        consumers: 1,
        meddlers: 0,
        visitors: 0,
        churners: 0,
        channels: 1,
        crowd: 0,
        pace: 4 * MS,
        body_max: 700,
        window: 4,
        crash_every: None,
        survival: [0, 128, 256][(seed % 3) as usize],
        crash_again: 0,
        damage: 0,
        error_every: None,
        stalls: 0,
        mute: 0,
        deaths: 0,
        forgetful: 0,
        segment_bytes: 8192,
        cache_bytes: 4096,
        checkpoint_bytes: 4096,
        pending_bytes_max: 1 << 20,
        window_bytes: 1 << 20,
        sync_latency: MS,
        wires: Wires::default(),
        lockstep: 0,
        ..Plan::draw(seed)
    }
}

/// Crashes a script after each output; for every `stride`-th of these crashes, also at each of the first `again` outputs
/// of the recovery.
///
/// # Errors
/// The plan that failed, and how.
pub fn explore(script: &Plan, stride: u64, again: u64) -> Result<Tried, Box<(Plan, String)>> {
    let outputs = run(script)
        .map_err(|violation| Box::new((script.clone(), violation.to_string())))?
        .outputs;
    let mut tried = Tried { runs: 1, outputs };
    let mut attempt_with = |crash_after: Vec<u64>| {
        tried.runs += 1;
        let plan = Plan {
            crash_after,
            ..script.clone()
        };
        attempt(&plan).map(drop).map_err(|what| Box::new((plan, what)))
    };
    for first in 1..=outputs {
        attempt_with(vec![first])?;
        if first.is_multiple_of(stride) {
            (1..=again).try_for_each(|second| attempt_with(vec![first, second]))?;
        }
    }
    Ok(tried)
}
