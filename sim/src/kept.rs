//! What a run keeps of its plan: the shrinker leaves out turns of clients, single requests and faults, one by one.
//!
//! Each turn of a client, each crash, each failing disk draws from a stream of its own, named by its number. So a turn
//! that is left out changes nothing in what the others draw.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A kind of fault whose single strikes are numbered, from 0 on, in the order in which they are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The power fails.
    Crash,
    /// Bytes of files change at a restart.
    Damage,
    /// A command of the disk fails.
    DiskError,
    /// A write takes seconds.
    Stall,
}

/// What is left of a plan. All else is left out until the faults stop; what heals and empties the queues always happens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// By client, the turns in which it does what it would do.
    pub turns: BTreeMap<usize, BTreeSet<u64>>,
    /// The faults that strike.
    pub faults: BTreeMap<Fault, BTreeSet<u64>>,
    /// Requests left out of turns that are kept: client, turn, and the place among those of the turn that can be left out.
    pub without: BTreeSet<(usize, u64, usize)>,
}

impl Kept {
    /// Whether a client's turn is kept.
    #[must_use]
    pub fn turn(&self, client: usize, turn: u64) -> bool {
        self.turns.get(&client).is_some_and(|turns| turns.contains(&turn))
    }

    /// Whether a fault is kept.
    #[must_use]
    pub fn fault(&self, fault: Fault, number: u64) -> bool {
        self.faults.get(&fault).is_some_and(|numbers| numbers.contains(&number))
    }
}
