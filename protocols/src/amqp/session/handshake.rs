//! From the protocol header to connection.open-ok (section 2.2.4), and the connection's end.

use super::super::error::{Code, Error};
use super::super::frame::{self, PROTOCOL_HEADER};
use super::super::limits;
use super::super::methods::connection;
use super::{Phase, Secret, Session, SessionConfig, SessionOutput};
use waystation_core::Now;
use waystation_core::api::{Name, Request};
use waystation_core::message::{Table, Value};
use waystation_core::plant::{self, Plant};

/// Extensions that this broker has; clients ask for them by these names.
const CAPABILITIES: [&str; 7] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "per_consumer_qos",
    "authentication_failure_close",
];

const START_OK: (u16, u16) = (10, 11);
const TUNE_OK: (u16, u16) = (10, 31);

/// What is known of the peer, and agreed with it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) channel_max: u16,
    pub(super) frame_bytes_max: u32,
    user: Name,
    mechanism: &'static str,
    pub(super) vhost: Name,
    /// [`Request::Connect`] is said, [`Request::Disconnect`] is not.
    pub(super) connected: bool,
    pub(super) knows_consumer_cancel: bool,
    pub(super) knows_blocked: bool,
    knows_authentication_failure: bool,
}

impl Peer {
    pub(super) fn new(config: &SessionConfig) -> Self {
        Self {
            channel_max: config.channel_max,
            frame_bytes_max: config.frame_bytes_max,
            user: Name::from(""),
            mechanism: "",
            vhost: Name::from(""),
            connected: false,
            knows_consumer_cancel: false,
            knows_blocked: false,
            knows_authentication_failure: false,
        }
    }

    /// A publisher that names a user has to name its own.
    pub(super) fn check_user_id(&self, user_id: Option<&[u8]>) -> Result<(), Error> {
        match user_id {
            Some(_) if plant::is(Plant::UserIdUnchecked) => Ok(()),
            Some(named) if named != self.user.as_bytes() => {
                let text = format!(
                    "user_id property set to '{}' but authenticated user was '{}'",
                    String::from_utf8_lossy(named),
                    self.user
                );
                Err(Error::new(Code::PreconditionFailed, text).of((60, 40)))
            }
            _ => Ok(()),
        }
    }
}

impl Session {
    pub(super) fn protocol_header(&mut self, bytes: &[u8]) -> Option<usize> {
        let header = bytes.first_chunk::<8>()?;
        if header == PROTOCOL_HEADER {
            self.phase = Phase::Starting;
            self.start();
        } else {
            self.out.bytes.extend_from_slice(PROTOCOL_HEADER);
            self.give_up("the peer does not speak AMQP 0-9-1 (TLS on a plain port, or another protocol?): closed");
        }
        Some(header.len())
    }

    fn start(&mut self) {
        let capabilities = CAPABILITIES.map(|name| (Name::from(name), Value::Bool(true)));
        let properties = Table(vec![
            ("capabilities".into(), Value::Table(Table(capabilities.into()))),
            ("product".into(), Value::from("Waystation")),
            ("version".into(), Value::from(&*self.config.version)),
            ("platform".into(), Value::from("Rust")),
        ]);
        let mut server_properties = Vec::new();
        properties.encode(&mut server_properties);
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: &server_properties,
            mechanisms: b"PLAIN AMQPLAIN",
            locales: b"en_US",
        };
        frame::method(&mut self.out.bytes, 0, &start);
    }

    pub(super) fn start_ok(&mut self, now: Now, start_ok: &connection::StartOk<'_>) -> Result<(), Error> {
        let properties = Table::decode(start_ok.client_properties)
            .map_err(|error| Error::new(Code::SyntaxError, format!("client-properties: {error}")).of(START_OK))?;
        if let Some(Value::Table(capabilities)) = properties.value("capabilities") {
            let knows = |name| capabilities.value(name) == Some(&Value::Bool(true));
            self.peer.knows_consumer_cancel = knows("consumer_cancel_notify");
            self.peer.knows_blocked = knows("connection.blocked");
            self.peer.knows_authentication_failure = knows("authentication_failure_close");
        }
        let (mechanism, credentials) = match start_ok.mechanism {
            "PLAIN" => ("PLAIN", plain(start_ok.response)),
            "AMQPLAIN" => ("AMQPLAIN", amqplain(start_ok.response)),
            other => {
                self.close(now, &unknown_mechanism(other));
                return Ok(());
            }
        };
        self.peer.mechanism = mechanism;
        self.phase = Phase::Authenticating;
        let Some((user, password)) = credentials else {
            self.authenticated(now, Err("the response is not of the mechanism's form".to_owned()));
            return Ok(());
        };
        self.peer.user = user;
        self.effects.push_back(SessionOutput::Authenticate {
            mechanism,
            user: self.peer.user.clone(),
            password,
        });
        Ok(())
    }

    pub(super) fn authenticated(&mut self, now: Now, result: Result<(), String>) {
        if self.phase != Phase::Authenticating {
            return;
        }
        if result.is_ok() {
            self.phase = Phase::Tuning;
            let tune = connection::Tune {
                channel_max: self.config.channel_max,
                frame_max: self.config.frame_bytes_max,
                heartbeat: self.config.heartbeat_seconds,
            };
            frame::method(&mut self.out.bytes, 0, &tune);
            self.resume(now);
        } else if self.peer.knows_authentication_failure {
            let text = format!(
                "Login was refused using authentication mechanism {}. For details see the broker logfile.",
                self.peer.mechanism
            );
            self.close(now, &Error::new(Code::AccessRefused, text));
        } else {
            self.finish();
        }
    }

    pub(super) fn tune_ok(&mut self, tune: &connection::TuneOk) -> Result<(), Error> {
        let refuse = |field, value, relation, bound| {
            let text = format!("negotiated {field} = {value} is {relation} allowed value ({bound})");
            Err(Error::new(Code::NotAllowed, text).of(TUNE_OK))
        };
        let (frame_max, offered) = (tune.frame_max, self.config.frame_bytes_max);
        if frame_max != 0 && frame_max < limits::FRAME_BYTES_MIN {
            return refuse(
                "frame_max",
                frame_max,
                "lower than the minimum",
                limits::FRAME_BYTES_MIN,
            );
        }
        if frame_max == 0 || frame_max > offered {
            return refuse("frame_max", frame_max, "higher than the maximum", offered);
        }
        let (channel_max, offered) = (u32::from(tune.channel_max), u32::from(self.config.channel_max));
        if channel_max == 0 || channel_max > offered {
            return refuse("channel_max", channel_max, "higher than the maximum", offered);
        }
        self.peer.frame_bytes_max = frame_max;
        self.peer.channel_max = tune.channel_max;
        self.timers.set_heartbeat(tune.heartbeat);
        self.phase = Phase::Tuned;
        Ok(())
    }

    pub(super) fn open(&mut self, open: &connection::Open<'_>) {
        self.peer.vhost = Name::from(open.virtual_host);
        self.peer.connected = true;
        self.phase = Phase::Connecting;
        self.request(Request::Connect {
            vhost: self.peer.vhost.clone(),
            user: self.peer.user.clone(),
            channels_max: self.peer.channel_max,
        });
    }

    /// The core has opened the vhost.
    pub(super) fn connected(&mut self, now: Now) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Open;
            self.timers.received(now.mono);
            frame::method(&mut self.out.bytes, 0, &connection::OpenOk {});
            self.resume(now);
        }
    }

    /// Tells the peer why its connection ends, and takes leave of the core.
    pub(super) fn close(&mut self, now: Now, error: &Error) {
        match self.phase {
            Phase::Closed | Phase::Closing | Phase::Leaving => return,
            // No peer to talk to yet.
            Phase::Header => return self.finish(),
            _ => {}
        }
        self.phase = Phase::Closing;
        self.timers.closing(now.mono);
        self.fault = Some(format!("connection closed: {}", error.reply_text()));
        let (class_id, method_id) = error.method;
        let close = connection::Close {
            reply_code: error.code.number(),
            reply_text: &error.reply_text(),
            class_id,
            method_id,
        };
        frame::method(&mut self.out.bytes, 0, &close);
        self.disconnect();
        self.resume(now);
    }

    /// The peer closes: it hears close-ok once everything of its connection is undone in the core, so that an exclusive
    /// queue's name is free when it connects anew.
    pub(super) fn leave(&mut self) {
        if self.peer.connected {
            self.phase = Phase::Leaving;
            self.disconnect();
        } else {
            self.left();
        }
    }

    /// Nothing of the connection is left.
    pub(super) fn left(&mut self) {
        frame::method(&mut self.out.bytes, 0, &connection::CloseOk {});
        self.finish();
    }
}

fn unknown_mechanism(name: &str) -> Error {
    let text = format!("unsupported authentication mechanism '{name}': use PLAIN or AMQPLAIN");
    Error::new(Code::AccessRefused, text).of(START_OK)
}

/// RFC 4616: authorisation identity (ignored, as RabbitMQ does), user, password, with zero bytes between.
fn plain(response: &[u8]) -> Option<(Name, Secret)> {
    let mut parts = std::str::from_utf8(response).ok()?.splitn(3, '\0');
    let (_identity, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    Some((Name::from(user), Secret(password.to_owned())))
}

/// The inside of a field table with LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Option<(Name, Secret)> {
    let table = Table::decode(response).ok()?;
    let user = table.value("LOGIN")?.as_str()?;
    let password = table.value("PASSWORD")?.as_str()?;
    Some((Name::from(user), Secret(password.to_owned())))
}
