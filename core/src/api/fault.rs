//! What went wrong, to what: data for programs, a sentence for people. Each protocol maps [`Cause`] to its own codes.

use super::Name;
use std::fmt;

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What was asked.
    pub operation: Operation,
    /// Why not.
    pub cause: Cause,
}

/// The request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named as the requests of this module")]
pub enum Operation {
    Connect,
    OpenChannel,
    Publish,
    DeclareExchange,
    DeleteExchange,
    BindQueue,
    BindExchange,
    UnbindQueue,
    UnbindExchange,
    DeclareQueue,
    PurgeQueue,
    DeleteQueue,
    Qos,
    Consume,
    Cancel,
    Get,
    Settle,
    Recover,
    ConfirmSelect,
    TxSelect,
    TxCommit,
    TxRollback,
}

/// A kind of thing with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "self-explanatory")]
pub enum Object {
    Vhost,
    Exchange,
    Queue,
    Consumer,
}

/// Why a request was refused. The AMQP reply code of each is given (RabbitMQ's choice where the specification leaves it
/// open).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// 403: the name is reserved, or the exchange is internal or built in.
    AccessRefused {
        /// The kind of thing.
        object: Object,
        /// Its name.
        name: Name,
        /// What the rule is.
        why: &'static str,
    },
    /// 404
    NotFound {
        /// The kind of thing.
        object: Object,
        /// Its name.
        name: Name,
    },
    /// 405: another connection owns the exclusive queue, or another consumer has exclusive use.
    ResourceLocked {
        /// The queue.
        queue: Name,
        /// By what.
        why: &'static str,
    },
    /// 406: it exists with another value of this attribute or argument.
    Inequivalent {
        /// The kind of thing.
        object: Object,
        /// Its name.
        name: Name,
        /// The attribute or argument.
        argument: Name,
        /// The value that was asked for.
        asked: String,
        /// The value that is.
        present: String,
    },
    /// 406: an argument's value is not of the kind or range that it must be.
    InvalidArgument {
        /// The argument.
        argument: Name,
        /// What it must be.
        why: &'static str,
    },
    /// 406: if-unused and in use, or if-empty and not empty.
    InUse {
        /// The kind of thing.
        object: Object,
        /// Its name.
        name: Name,
        /// By what.
        why: &'static str,
    },
    /// 406: no such delivery on this channel, or it is settled.
    UnknownDelivery {
        /// The tag.
        tag: u64,
    },
    /// 406: the channel's mode excludes this.
    WrongMode {
        /// What excludes what.
        why: &'static str,
    },
    /// 406: a message property that must be a number is not (expiration, priority).
    InvalidProperty {
        /// The property.
        property: &'static str,
        /// What it must be.
        why: &'static str,
    },
    /// 530: a consumer tag is in use, or a limit of the connection is reached.
    NotAllowed {
        /// What is not allowed.
        why: &'static str,
    },
    /// 540: a feature that this broker does not have; never ignored in silence.
    NotImplemented {
        /// The feature.
        feature: Name,
    },
    /// 503: an exchange type that does not exist.
    UnknownExchangeType {
        /// The type.
        kind: Name,
    },
    /// 506: a limit of the broker is reached.
    Limit {
        /// Which.
        why: &'static str,
    },
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vhost => "vhost",
            Self::Exchange => "exchange",
            Self::Queue => "queue",
            Self::Consumer => "consumer",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessRefused { object, name, why } => write!(f, "{object} '{name}': {why}"),
            Self::NotFound { object, name } => write!(f, "no {object} '{name}'"),
            Self::ResourceLocked { queue, why } => write!(f, "queue '{queue}' is locked: {why}"),
            Self::Inequivalent {
                object,
                name,
                argument,
                asked,
                present,
            } => write!(
                f,
                "{object} '{name}' exists with {argument} = {present}, not {asked}: declare it alike, or delete it first"
            ),
            Self::InvalidArgument { argument, why } => write!(f, "argument '{argument}' {why}"),
            Self::InUse { object, name, why } => write!(f, "{object} '{name}' {why}"),
            Self::UnknownDelivery { tag } => write!(f, "unknown delivery tag {tag}"),
            Self::InvalidProperty { property, why } => write!(f, "property '{property}' {why}"),
            Self::WrongMode { why } | Self::NotAllowed { why } | Self::Limit { why } => f.write_str(why),
            Self::NotImplemented { feature } => write!(f, "{feature} is not supported"),
            Self::UnknownExchangeType { kind } => {
                write!(
                    f,
                    "unknown exchange type '{kind}': direct, fanout, topic and headers exist"
                )
            }
        }
    }
}
