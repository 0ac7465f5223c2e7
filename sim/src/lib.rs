//! The broker core under virtual time, one seed and injected faults, compared with an obviously right model.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | what a seed draws: workload, faults, limits |
//! | [`plan_file`] | a plan as a file |
//! | [`knobs`] | sizes of the core, drawn for each seed |
//! | [`disk`], `damage` | a disk of sectors that forgets what was not synced; bytes that are not what was written |
//! | [`world`] | virtual time, the node, its disk, its clients |
//! | [`net`], `wire` | connections that speak AMQP bytes, between client and node; what they must keep |
//! | [`lockstep`] | one request at a time, beside a model that knows every answer |
//! | `clients` | publishers, consumers, meddlers, and others |
//! | [`checkers`] | what crosses the node's border, what was promised, and a check for each guarantee |
//! | [`timeline`] | what a run did, event by event, as text and as a picture |
//! | [`kept`] | what the shrinker leaves of a plan |
//! | [`trace`] | the hash of a run |
//! | [`campaign`] | many seeds, and the proof that they showed something |
//! | [`bench`] | the run that speed is measured with |
//! | [`shrink`] | the smallest plan that still fails |
//! | [`exhaustive`] | a crash after every output of the node |
//! | [`plants`] | known bugs, and how soon each is found |

#![forbid(unsafe_code)]

pub mod bench;
pub mod campaign;
pub mod checkers;
mod clients;
mod damage;
pub mod disk;
pub mod exhaustive;
pub mod kept;
pub mod knobs;
pub mod lockstep;
pub mod net;
pub mod plan;
pub mod plan_file;
#[cfg(feature = "plants")]
pub mod plants;
pub mod shrink;
pub mod timeline;
pub mod trace;
mod wire;
pub mod world;

pub use campaign::{Failure, attempt, try_run};
pub use checkers::Violation;
pub use plan::Plan;
pub use world::{Report, run, run_told};
