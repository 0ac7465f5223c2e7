//! The `waystation` server: everything around the core that touches the world.
//!
//! | module | holds |
//! |---|---|
//! | [`driver`] | the loop that joins the core and the world |
//! | [`disk`] | the data folder and the threads that write, read and prepare its files |
//! | [`net`] | sockets: one task per connection |
//! | [`admin`] | health, metrics and the admin API, over HTTP |
//! | [`users`] | who may connect |
//! | [`config`] | every setting, from flags, environment and file |
//! | [`serve`] | all of these as one server, from start to end |
//! | [`process`] | the server as a process: logs, signals, supervisor |
//! | [`inspect`] | the log of a stopped broker, read |
//! | [`cli`] | the command line |
//! | [`bench`](mod@bench) | a load generator for any AMQP broker |

#![forbid(unsafe_code)]

pub mod admin;
pub mod amqp_url;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
pub mod driver;
pub mod inspect;
pub mod net;
pub mod process;
pub mod serve;
pub mod users;
