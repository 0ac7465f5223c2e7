//! The `waystation` server: everything around the core that touches the world.
//!
//! | module | holds |
//! |---|---|
//! | [`driver`] | the loop that joins the core and the world |
//! | [`disk`] | the data folder and the threads that write, read and prepare its files |
//! | [`users`] | who may connect |

#![forbid(unsafe_code)]

pub mod admin;
pub mod amqp_url;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
pub mod driver;
pub mod net;
pub mod serve;
pub mod users;
