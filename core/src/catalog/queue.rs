//! What a queue is declared to be.

use crate::api::{Cause, ConnId, Name, Object};
use crate::message::{Table, Value};
use crate::plant::{self, Plant};

/// Number of a queue, given once and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueId(pub u64);

/// A queue's definition: what its declaration said.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its vhost.
    pub vhost: Name,
    /// Its name.
    pub name: Name,
    /// Survives a restart, with its messages. Otherwise they are in memory only.
    pub durable: bool,
    /// The connection that it belongs to and goes with.
    pub exclusive: Option<ConnId>,
    /// Goes with its last consumer.
    pub auto_delete: bool,
    /// As declared.
    pub arguments: Table,
    /// What the arguments mean.
    pub policy: Policy,
}

/// The arguments that the broker acts on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `x-message-ttl`, milliseconds.
    pub message_ttl_ms: Option<u64>,
    /// `x-expires`, milliseconds without use until the queue goes.
    pub expires_ms: Option<u64>,
    /// `x-max-length`, ready messages.
    pub length_max: Option<u64>,
    /// `x-max-length-bytes`, bytes of ready bodies.
    pub bytes_max: Option<u64>,
    /// `x-overflow`.
    pub overflow: Overflow,
    /// `x-dead-letter-exchange`.
    pub dead_letter_exchange: Option<Name>,
    /// `x-dead-letter-routing-key`; otherwise the message's own.
    pub dead_letter_key: Option<Name>,
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Drops its oldest ready message.
    #[default]
    DropHead,
    /// Refuses the new one.
    RejectPublish,
    /// Refuses the new one, and dead-letters it.
    RejectPublishDeadLetter,
}

/// Features of RabbitMQ's queues that are refused, so that nobody relies on them in vain.
const REFUSED: [&str; 3] = ["x-max-priority", "x-single-active-consumer", "x-delivery-limit"];

/// The longest time that an argument or a property may state: ten years, as no sum of it with a wall clock overflows.
pub const DURATION_MS_MAX: u64 = 10 * 365 * 24 * 3600 * 1000;

impl Policy {
    /// Reads a declaration's arguments.
    ///
    /// # Errors
    /// [`Cause::InvalidArgument`] for a value out of kind or range, [`Cause::NotImplemented`] for a feature not here.
    pub fn parse(arguments: &Table) -> Result<Self, Cause> {
        if let Some(name) = REFUSED.iter().find(|name| arguments.value(name).is_some()) {
            return Err(Cause::NotImplemented {
                feature: Name::from(format!("queue argument '{name}'")),
            });
        }
        match text(arguments, "x-queue-type")?.as_deref() {
            None | Some("classic" | "quorum") => {}
            Some(other) => {
                return Err(Cause::NotImplemented {
                    feature: Name::from(format!("queue type '{other}'")),
                });
            }
        }
        let policy = Self {
            message_ttl_ms: number(arguments, "x-message-ttl", 0, DURATION_MS_MAX)?,
            expires_ms: number(arguments, "x-expires", 1, DURATION_MS_MAX)?,
            length_max: number(arguments, "x-max-length", 0, u64::MAX)?,
            bytes_max: number(arguments, "x-max-length-bytes", 0, u64::MAX)?,
            overflow: overflow(arguments)?,
            dead_letter_exchange: text(arguments, "x-dead-letter-exchange")?,
            dead_letter_key: text(arguments, "x-dead-letter-routing-key")?,
        };
        if policy.dead_letter_key.is_some() && policy.dead_letter_exchange.is_none() {
            let why = "needs 'x-dead-letter-exchange' beside it";
            return Err(Cause::InvalidArgument {
                argument: Name::from("x-dead-letter-routing-key"),
                why,
            });
        }
        Ok(policy)
    }
}

impl Definition {
    /// Whether a second declaration says the same.
    ///
    /// # Errors
    /// [`Cause::Inequivalent`], naming the first difference.
    pub(crate) fn equivalent(&self, asked: &Self) -> Result<(), Cause> {
        let flags = [
            ("durable", self.durable, asked.durable),
            ("exclusive", self.exclusive.is_some(), asked.exclusive.is_some()),
            ("auto_delete", self.auto_delete, asked.auto_delete),
        ];
        for (argument, present, asked) in flags {
            if present != asked {
                return Err(self.inequivalent(argument, asked.to_string(), present.to_string()));
            }
        }
        if self.policy == asked.policy || plant::is(Plant::InequivalentAccepted) {
            return Ok(());
        }
        let (argument, present, asked) = differing(&self.arguments, &asked.arguments);
        Err(self.inequivalent(&argument, asked, present))
    }

    fn inequivalent(&self, argument: &str, asked: String, present: String) -> Cause {
        let argument = Name::from(argument);
        Cause::Inequivalent {
            object: Object::Queue,
            name: self.name.clone(),
            argument,
            asked,
            present,
        }
    }
}

/// The first argument with two values, for the message.
fn differing(present: &Table, asked: &Table) -> (String, String, String) {
    let names = present.0.iter().chain(&asked.0).map(|(name, _)| name);
    for name in names {
        let (a, b) = (present.value(name), asked.value(name));
        if a != b {
            return (name.to_string(), describe(a), describe(b));
        }
    }
    ("arguments".into(), "other".into(), "these".into())
}

pub(crate) fn describe(value: Option<&Value>) -> String {
    match value {
        None => "nothing".into(),
        Some(Value::Bool(v)) => v.to_string(),
        Some(Value::Str(v)) => format!("'{}'", String::from_utf8_lossy(v)),
        Some(value) => value
            .as_i64()
            .map_or_else(|| format!("{value:?}"), |number| number.to_string()),
    }
}

fn number(arguments: &Table, name: &str, min: u64, max: u64) -> Result<Option<u64>, Cause> {
    let Some(value) = arguments.value(name) else {
        return Ok(None);
    };
    match value.as_i64().and_then(|number| u64::try_from(number).ok()) {
        Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
        _ => {
            let why = if min == 0 {
                "must be an integer from 0 on"
            } else {
                "must be an integer from 1 on"
            };
            Err(Cause::InvalidArgument {
                argument: Name::from(name),
                why,
            })
        }
    }
}

pub(crate) fn text(arguments: &Table, name: &str) -> Result<Option<Name>, Cause> {
    let Some(value) = arguments.value(name) else {
        return Ok(None);
    };
    match value.as_str() {
        Some(text) if text.len() <= 255 => Ok(Some(Name::from(text))),
        _ => Err(Cause::InvalidArgument {
            argument: Name::from(name),
            why: "must be text of at most 255 bytes",
        }),
    }
}

fn overflow(arguments: &Table) -> Result<Overflow, Cause> {
    match text(arguments, "x-overflow")?.as_deref() {
        None | Some("drop-head") => Ok(Overflow::DropHead),
        Some("reject-publish") => Ok(Overflow::RejectPublish),
        Some("reject-publish-dlx") => Ok(Overflow::RejectPublishDeadLetter),
        Some(_) => Err(Cause::InvalidArgument {
            argument: Name::from("x-overflow"),
            why: "must be 'drop-head', 'reject-publish' or 'reject-publish-dlx'",
        }),
    }
}
