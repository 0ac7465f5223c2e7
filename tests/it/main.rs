//! End-to-end tests: the real binary, real sockets, real clients.
//!
//! `WAYSTATION_E2E_URL` runs the tests of the protocol against a broker that is already there (any AMQP 0-9-1 broker);
//! the tests that need a process of their own start `WAYSTATION_BIN`, or the release build of this workspace.

mod amqp;
mod crash;
mod damage;
mod hostile;
mod lapin_client;
mod ledger;
mod lifecycle;
mod memory;
mod server;
mod tidy;
