//! The parts of a shard by themselves; whole shards are tested through the node.

mod accounts;
mod golden;
mod index;
mod queue;
