//! Protocol sessions: what a peer says in bytes, and what the core says in requests and replies.
//!
//! Every session is a [`waystation_core::Machine`]: no IO, no clock, no threads.
//!
//! | module | holds |
//! |---|---|
//! | [`amqp`] | AMQP 0-9-1 with RabbitMQ's extensions |

#![forbid(unsafe_code)]

pub mod amqp;
