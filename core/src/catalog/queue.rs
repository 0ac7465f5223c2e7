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
    /// `x-max-priority`: messages of higher priority are delivered first, and this is the highest. 0 without.
    pub priority_max: u8,
    /// `x-delivery-limit`: a message that was given back more often is dead-lettered or dropped.
    pub delivery_limit: Option<u16>,
    /// `x-retry-delay`, milliseconds: a message that was given back comes again after so long, doubled each time.
    pub retry_delay_ms: Option<u64>,
    /// `x-retry-delay-max`, milliseconds: what the doubling ends at.
    pub retry_delay_max_ms: Option<u64>,
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
const REFUSED: [&str; 1] = ["x-single-active-consumer"];

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
            priority_max: number(arguments, "x-max-priority", 0, 255)?.unwrap_or(0) as u8,
            delivery_limit: number(arguments, "x-delivery-limit", 0, 65_535)?.map(|limit| limit as u16),
            retry_delay_ms: number(arguments, "x-retry-delay", 1, DURATION_MS_MAX)?,
            retry_delay_max_ms: number(arguments, "x-retry-delay-max", 1, DURATION_MS_MAX)?,
        };
        if policy.retry_delay_max_ms.is_some() && policy.retry_delay_ms.is_none() {
            let why = "needs 'x-retry-delay' beside it";
            return Err(Cause::InvalidArgument {
                argument: Name::from("x-retry-delay-max"),
                why,
            });
        }
        if policy.dead_letter_key.is_some() && policy.dead_letter_exchange.is_none() {
            let why = "needs 'x-dead-letter-exchange' beside it";
            return Err(Cause::InvalidArgument {
                argument: Name::from("x-dead-letter-routing-key"),
                why,
            });
        }
        Ok(policy)
    }

    /// Whether it matters how often a message was given back.
    #[must_use]
    pub const fn counts_returns(&self) -> bool {
        self.delivery_limit.is_some() || self.retry_delay_ms.is_some()
    }

    /// Whether a message that was given back so often has to leave.
    #[must_use]
    pub fn is_spent(&self, returns: u16) -> bool {
        let early = u16::from(plant::is(Plant::DeliveryLimitOffByOne));
        self.delivery_limit.is_some_and(|limit| returns + early > limit)
    }

    /// Milliseconds before a message that was given back so often may be delivered again.
    #[must_use]
    pub fn retry_delay(&self, returns: u16) -> u64 {
        let max = self.retry_delay_max_ms.unwrap_or(DURATION_MS_MAX);
        let doublings = u32::from(returns.saturating_sub(1)).min(if plant::is(Plant::RetryDelayFlat) { 0 } else { 62 });
        let delay = self.retry_delay_ms.unwrap_or(0).saturating_mul(1 << doublings);
        delay.min(max)
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
            let why = match (min, max) {
                (0, 255) => "must be an integer from 0 to 255",
                (0, 65_535) => "must be an integer from 0 to 65535",
                (0, _) => "must be an integer from 0 on",
                _ => "must be an integer from 1 on",
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
