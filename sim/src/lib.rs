//! The broker core under virtual time, one seed and injected faults, compared with an obviously right model.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | what a seed draws: workload, faults, limits |
//! | [`disk`] | a disk of sectors that forgets what was not synced |
//! | [`world`] | virtual time, the node, its disk, its clients |
//! | `clients` | publishers, consumers and meddlers |
//! | [`ledger`] | what was promised and seen: the checks |

#![forbid(unsafe_code)]

mod clients;
pub mod disk;
pub mod ledger;
mod observer;
pub mod plan;
pub mod world;

pub use ledger::Violation;
pub use plan::Plan;
pub use world::{Report, run};
