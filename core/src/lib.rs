//! The broker without a world around it: no IO, no clock, no threads, no randomness but a seed.
//!
//! # The contract
//!
//! Every machine of this crate (and every session in `waystation-protocols`) obeys [`Machine`]:
//!
//! 1. `handle(now, input)` applies one input. Any number may be handled before draining: that is what makes group
//!    commit. Handling never fails: a bad peer is an output, a failed disk is an output ([`node::Output::Halt`]), a bug
//!    is a panic. No peer and no file can cause a panic.
//! 2. `poll()` yields effects until `None`. Only then is it right to wait.
//! 3. `deadline()` says when to tick if nothing else happens, and why. Early and late ticks are no-ops.
//!
//! **Nothing leaves before it is durable, and the core sees to it.** A confirm is not an output until the disk's
//! [`disk::Event::Durable`] covers it; a driver has no order of its own to keep (G1, G2).
//!
//! Time is passed in with each input, as are wall time (only to stamp entries, G13) and, once, a seed. A run is
//! therefore a list of inputs: it can be recorded, replayed, shrunk and hashed (G18).
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | time and the contract |
//! | [`api`] | what protocol sessions and the frontend say to each other |
//! | [`disk`] | what the log and the disk say to each other |
//! | [`message`] | a message as bytes: address, properties, body |
//! | [`catalog`] | exchanges, bindings, queue definitions; routing |
//! | [`frontend`] | connections, channels, credit, confirms |
//! | [`shard`] | queues: enqueue, dispatch, settle, expiry, dead letters |
//! | [`log`] | records, segments, recovery |
//! | [`node`] | the machines above, joined |
//! | [`knob`], [`mark`], [`plant`] | for the simulator: sizes, rare paths, planted bugs; nothing in a default build |

#![forbid(unsafe_code)]

pub mod api;
pub mod catalog;
pub mod disk;
mod encoding;
pub(crate) mod frontend;
pub mod knob;
pub mod log;
pub mod machine;
pub mod mark;
pub mod message;
pub mod node;
pub mod plant;
pub(crate) mod shard;

pub use machine::{Deadline, Machine, Now, Time, Wall};
