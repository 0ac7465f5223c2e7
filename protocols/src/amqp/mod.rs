//! AMQP 0-9-1 with RabbitMQ's extensions.
//!
//! | module | holds |
//! |---|---|
//! | [`limits`] | every limit, with its reason |
//! | [`wire`] | primitive types |
//! | [`methods`] | every method, written from `spec/amqp-0-9-1.txt` |
//! | [`frame`] | frames, content headers, bodies |
//! | [`error`] | reply codes and texts |
//! | [`session`] | the server's side of a connection, as a machine |
//! | [`client`] | the client's side, for tools and tests |

pub mod client;
pub mod error;
pub mod frame;
pub mod limits;
pub mod methods;
pub mod session;
pub mod wire;

pub use client::{ChannelEvent, Client, ClientConfig, Event};
pub use error::{Code, Error};
pub use session::{Secret, Session, SessionConfig, SessionInput, SessionOutput};
