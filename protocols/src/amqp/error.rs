//! Reply codes, and the words that go with them: AMQP 0-9-1 section 1.2, RabbitMQ's texts where clients look at them.

use std::fmt::Write as _;
use waystation_core::api::{Cause, Fault, Object, Operation};

/// A reply code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
#[expect(missing_docs, reason = "named as in the specification")]
pub enum Code {
    ContentTooLarge = 311,
    NoRoute = 312,
    ConnectionForced = 320,
    AccessRefused = 403,
    NotFound = 404,
    ResourceLocked = 405,
    PreconditionFailed = 406,
    FrameError = 501,
    SyntaxError = 502,
    CommandInvalid = 503,
    ChannelError = 504,
    UnexpectedFrame = 505,
    ResourceError = 506,
    NotAllowed = 530,
    NotImplemented = 540,
}

/// What is said in channel.close or connection.close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The code; it says too whether the channel or the connection ends.
    pub code: Code,
    /// What happened, without the code's name.
    pub text: String,
    /// Class and method that failed; zeros if none did.
    pub method: (u16, u16),
}

impl Code {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether the connection ends, not only the channel.
    #[must_use]
    pub const fn ends_connection(self) -> bool {
        matches!(self, Self::ConnectionForced) || self.number() >= 500
    }

    /// The name, as reply texts begin with it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::NoRoute => "NO_ROUTE",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
        }
    }
}

impl Error {
    /// An error that no method is to blame for.
    #[must_use]
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            method: (0, 0),
        }
    }

    /// The same error, blamed on a method.
    #[must_use]
    pub fn of(self, method: (u16, u16)) -> Self {
        Self { method, ..self }
    }

    /// What a refusal of the core is in AMQP's terms; `vhost` is the connection's.
    #[must_use]
    pub fn from_fault(fault: &Fault, vhost: &str) -> Self {
        Self {
            code: code(fault),
            text: text(&fault.cause, vhost),
            method: method(fault.operation),
        }
    }

    /// `NAME - text`, cut to the 255 bytes of a short string.
    #[must_use]
    pub fn reply_text(&self) -> String {
        let mut out = String::from(self.code.name());
        // Writing to a String cannot fail.
        let _ = write!(out, " - {}", self.text);
        if out.len() > 255 {
            out.truncate(out.floor_char_boundary(255));
        }
        out
    }
}

const fn code(fault: &Fault) -> Code {
    match &fault.cause {
        Cause::AccessRefused { .. } => Code::AccessRefused,
        Cause::NotFound {
            object: Object::Vhost, ..
        }
        | Cause::NotAllowed { .. } => Code::NotAllowed,
        Cause::NotFound { .. } => Code::NotFound,
        Cause::ResourceLocked { .. } => Code::ResourceLocked,
        Cause::Inequivalent { .. }
        | Cause::InvalidArgument { .. }
        | Cause::InUse { .. }
        | Cause::UnknownDelivery { .. }
        | Cause::WrongMode { .. }
        | Cause::InvalidProperty { .. } => Code::PreconditionFailed,
        Cause::NotImplemented { .. } => Code::NotImplemented,
        Cause::UnknownExchangeType { .. } => Code::CommandInvalid,
        Cause::Limit { .. } => Code::ResourceError,
    }
}

fn text(cause: &Cause, vhost: &str) -> String {
    match cause {
        Cause::NotFound {
            object: Object::Vhost,
            name,
        } => format!("vhost {name} not found"),
        Cause::NotFound { object, name } => format!("no {object} '{name}' in vhost '{vhost}'"),
        Cause::AccessRefused { object, name, why } | Cause::InUse { object, name, why } => {
            format!("{object} '{name}' in vhost '{vhost}' {why}")
        }
        Cause::ResourceLocked { queue, why } => {
            format!("cannot obtain exclusive access to locked queue '{queue}' in vhost '{vhost}': {why}")
        }
        Cause::Inequivalent {
            object,
            name,
            argument,
            asked,
            present,
        } => format!(
            "inequivalent arg '{argument}' for {object} '{name}' in vhost '{vhost}': \
             received '{asked}' but current is '{present}'"
        ),
        Cause::InvalidArgument { argument, why } => format!("invalid arg '{argument}': {why}"),
        Cause::UnknownExchangeType { kind } => format!("unknown exchange type '{kind}'"),
        other => other.to_string(),
    }
}

/// The method that a request came from. A settlement may have been ack, nack or reject: ack stands for them.
const fn method(operation: Operation) -> (u16, u16) {
    match operation {
        Operation::Connect => (10, 40),
        Operation::OpenChannel => (20, 10),
        Operation::DeclareExchange => (40, 10),
        Operation::DeleteExchange => (40, 20),
        Operation::BindExchange => (40, 30),
        Operation::UnbindExchange => (40, 40),
        Operation::DeclareQueue => (50, 10),
        Operation::BindQueue => (50, 20),
        Operation::PurgeQueue => (50, 30),
        Operation::DeleteQueue => (50, 40),
        Operation::UnbindQueue => (50, 50),
        Operation::Qos => (60, 10),
        Operation::Consume => (60, 20),
        Operation::Cancel => (60, 30),
        Operation::Publish => (60, 40),
        Operation::Get => (60, 70),
        Operation::Settle => (60, 80),
        Operation::Recover => (60, 110),
        Operation::ConfirmSelect => (85, 10),
        Operation::TxSelect => (90, 10),
        Operation::TxCommit => (90, 20),
        Operation::TxRollback => (90, 30),
    }
}
