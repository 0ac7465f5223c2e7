//! What a connection's task needs of a protocol's session, whatever the protocol.

use waystation_core::api::{Reply, Request};
use waystation_core::{Now, Time};

/// What a session wants done.
#[derive(Debug)]
pub enum Effect {
    /// Something for the core.
    Request(Request),
    /// The peer gave its name and password: to be answered by [`Session::authenticated`].
    Authenticate {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// Write what is left, then close the socket.
    Close,
}

/// One side of a connection, without the connection.
pub trait Session: Send + 'static {
    /// The peer sent bytes.
    fn bytes(&mut self, now: Now, bytes: &[u8]);
    /// The core replied.
    fn replies(&mut self, now: Now, replies: Vec<Reply>);
    /// The answer to [`Effect::Authenticate`]; an error's text is for the peer.
    fn authenticated(&mut self, now: Now, result: Result<(), String>);
    /// A deadline may have passed.
    fn tick(&mut self, now: Now);
    /// The server stops.
    fn shutdown(&mut self, now: Now);
    /// The next effect, until `None`.
    fn poll(&mut self) -> Option<Effect>;
    /// When to tick.
    fn deadline(&self) -> Option<Time>;
    /// Bytes for the peer.
    fn output(&mut self) -> &[u8];
    /// The socket took so many bytes of [`Session::output`].
    fn sent(&mut self, now: Now, bytes: usize);
    /// The peer is not to be read from for now: an answer is awaited, publishers have to wait, or too much output is unsent.
    fn paused(&self) -> bool;
    /// Why the session ends, if its peer is to blame; for the log, told once.
    fn take_fault(&mut self) -> Option<String>;
}
