//! The AMQP session as a [`Session`].

use super::{Effect, Session};
use crate::config::Config;
use bytes::{Buf, BytesMut};
use waystation_core::api::{Name, Reply};
use waystation_core::{Machine, Now, Time};
use waystation_protocols::amqp::{self, SessionConfig, SessionInput, SessionOutput};

/// One AMQP connection's session and the output that the socket has not taken yet.
#[derive(Debug)]
pub struct Amqp {
    session: amqp::Session,
    output: BytesMut,
}

impl Amqp {
    /// A session for a socket accepted at `now`.
    #[must_use]
    pub fn new(config: SessionConfig, now: Time) -> Self {
        Self {
            session: amqp::Session::new(config, now),
            output: BytesMut::new(),
        }
    }
}

/// What a session is told, from the configuration.
#[must_use]
pub fn session_config(config: &Config) -> SessionConfig {
    SessionConfig {
        version: Name::from(env!("CARGO_PKG_VERSION")),
        channel_max: config.channels_max,
        frame_bytes_max: config.frame_max,
        heartbeat_seconds: u16::try_from(config.heartbeat.as_secs()).unwrap_or(u16::MAX),
        message_bytes_max: config.message_bytes_max,
    }
}

impl Session for Amqp {
    fn bytes(&mut self, now: Now, bytes: &[u8]) {
        self.session.handle(now, SessionInput::Bytes(bytes));
    }

    fn replies(&mut self, now: Now, replies: Vec<Reply>) {
        self.session.handle(now, SessionInput::Replies(replies));
    }

    fn authenticated(&mut self, now: Now, result: Result<(), String>) {
        self.session.handle(now, SessionInput::Authenticated(result));
    }

    fn tick(&mut self, now: Now) {
        self.session.handle(now, SessionInput::Tick);
    }

    fn shutdown(&mut self, now: Now) {
        self.session.handle(now, SessionInput::Shutdown);
        // The end is ours, not the peer's fault.
        drop(self.session.take_fault());
    }

    fn poll(&mut self) -> Option<Effect> {
        self.session.poll().map(|output| match output {
            SessionOutput::Request(request) => Effect::Request(request),
            SessionOutput::Authenticate {
                mechanism: _,
                user,
                password,
            } => Effect::Authenticate {
                user: user.to_string(),
                password: password.0,
            },
            SessionOutput::Close => Effect::Close,
        })
    }

    fn deadline(&self) -> Option<Time> {
        self.session.deadline().map(|deadline| deadline.at)
    }

    fn output(&mut self) -> &[u8] {
        if self.output.is_empty() {
            self.output = self.session.take_output();
        }
        &self.output
    }

    fn sent(&mut self, now: Now, bytes: usize) {
        self.output.advance(bytes);
        self.session.sent(now, bytes);
    }

    fn paused(&self) -> bool {
        self.session.paused()
    }

    fn take_fault(&mut self) -> Option<String> {
        self.session.take_fault()
    }
}
