//! One exchange: its definition, its bindings, and which of them a message takes.

use super::topic::TopicTree;
use crate::api::{Cause, Destination, Name, Object};
use crate::message::{Message, Table, Value};
use crate::plant::{self, Plant};
use std::collections::BTreeMap;

/// How an exchange chooses bindings (AMQP 0-9-1, section 3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The binding key equals the routing key.
    Direct,
    /// Every binding.
    Fanout,
    /// The binding key, a pattern of words, matches the routing key.
    Topic,
    /// The binding's arguments match the message's headers.
    Headers,
}

impl Kind {
    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "direct" => Some(Self::Direct),
            "fanout" => Some(Self::Fanout),
            "topic" => Some(Self::Topic),
            "headers" => Some(Self::Headers),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }
}

/// What an exchange's declaration said.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeDefinition {
    /// Its vhost.
    pub vhost: Name,
    /// Its name.
    pub name: Name,
    /// How it routes.
    pub kind: Kind,
    /// Of type `x-delayed-message`: a message's header `x-delay` says how many milliseconds it waits.
    pub delayed: bool,
    /// Survives a restart.
    pub durable: bool,
    /// Goes with its last binding.
    pub auto_delete: bool,
    /// Takes no publishes from clients.
    pub internal: bool,
    /// As declared.
    pub arguments: Table,
    /// `alternate-exchange`: where messages go that no binding takes.
    pub alternate: Option<Name>,
}

/// Two bindings are one if these are equal. Ordered by routing key first, so that a direct exchange finds its bindings
/// in one range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BindingKey {
    pub(crate) routing_key: Name,
    pub(crate) destination: Destination,
    /// The arguments, encoded.
    pub(crate) arguments: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) definition: ExchangeDefinition,
    pub(crate) bindings: BTreeMap<BindingKey, Table>,
    topics: TopicTree<Destination>,
}

/// The type of exchanges that delay, as RabbitMQ's plugin for that names it, and the argument that says how it routes.
const DELAYED: &str = "x-delayed-message";
const DELAYED_KIND: &str = "x-delayed-type";

/// What an exchange's type and arguments mean: how it routes, and whether it delays.
///
/// # Errors
/// [`Cause::UnknownExchangeType`], and [`Cause::InvalidArgument`] for a delaying exchange that does not say how it routes.
pub(crate) fn parse_type(name: &Name, arguments: &Table) -> Result<(Kind, bool), Cause> {
    if let Some(kind) = Kind::parse(name) {
        return Ok((kind, false));
    }
    if &**name != DELAYED {
        return Err(Cause::UnknownExchangeType { kind: name.clone() });
    }
    let kind = arguments
        .value(DELAYED_KIND)
        .and_then(Value::as_str)
        .and_then(Kind::parse);
    kind.map(|kind| (kind, true)).ok_or_else(|| Cause::InvalidArgument {
        argument: DELAYED_KIND.into(),
        why: "must be 'direct', 'fanout', 'topic' or 'headers'",
    })
}

impl ExchangeDefinition {
    /// The name of its type, as declared.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        if self.delayed { DELAYED } else { self.kind.name() }
    }

    /// Whether a second declaration says the same.
    ///
    /// # Errors
    /// [`Cause::Inequivalent`], naming the first difference.
    pub(crate) fn equivalent(&self, asked: &Self) -> Result<(), Cause> {
        let texts = [
            ("type", self.type_name().to_owned(), asked.type_name().to_owned()),
            (DELAYED_KIND, self.kind.name().to_owned(), asked.kind.name().to_owned()),
            ("durable", self.durable.to_string(), asked.durable.to_string()),
            (
                "auto_delete",
                self.auto_delete.to_string(),
                asked.auto_delete.to_string(),
            ),
            ("internal", self.internal.to_string(), asked.internal.to_string()),
            (
                "alternate-exchange",
                format!("{:?}", self.alternate),
                format!("{:?}", asked.alternate),
            ),
        ];
        match texts.into_iter().find(|(_, present, asked)| present != asked) {
            None => Ok(()),
            Some((argument, present, asked)) => Err(Cause::Inequivalent {
                object: Object::Exchange,
                name: self.name.clone(),
                argument: Name::from(argument),
                asked,
                present,
            }),
        }
    }
}

impl Exchange {
    pub(crate) fn new(definition: ExchangeDefinition) -> Self {
        Self {
            definition,
            bindings: BTreeMap::new(),
            topics: TopicTree::default(),
        }
    }

    /// Whether the binding is new.
    pub(crate) fn bind(&mut self, key: BindingKey, arguments: Table) -> bool {
        if self.definition.kind == Kind::Topic {
            self.topics.insert(key.routing_key.as_bytes(), key.destination.clone());
        }
        self.bindings.insert(key, arguments).is_none()
    }

    /// Whether the binding was there.
    pub(crate) fn unbind(&mut self, key: &BindingKey) -> bool {
        let gone = self.bindings.remove(key).is_some();
        // One destination may be bound with one key and several argument tables; the tree holds it once.
        let again = self
            .range(&key.routing_key)
            .any(|other| other.destination == key.destination);
        if gone && !again && self.definition.kind == Kind::Topic && !plant::is(Plant::UnbindLeavesTopic) {
            self.topics.remove(key.routing_key.as_bytes(), &key.destination);
        }
        gone
    }

    /// Calls `found` for each destination that takes the message, perhaps more than once.
    pub(crate) fn route(&self, routing_key: &[u8], headers: &mut Headers<'_>, found: &mut impl FnMut(&Destination)) {
        match self.definition.kind {
            Kind::Direct => {
                if let Ok(key) = std::str::from_utf8(routing_key) {
                    self.range(key).for_each(|binding| found(&binding.destination));
                }
            }
            Kind::Fanout => self.bindings.keys().for_each(|binding| found(&binding.destination)),
            Kind::Topic => self.topics.matches(routing_key, found),
            Kind::Headers => {
                let headers = headers.table();
                let taking = self
                    .bindings
                    .iter()
                    .filter(|(_, arguments)| headers_match(arguments, headers));
                taking.for_each(|(binding, _)| found(&binding.destination));
            }
        }
    }

    fn range<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a BindingKey> + use<'a> {
        let key = Name::from(key);
        let from = BindingKey {
            routing_key: key.clone(),
            destination: Destination::Queue(Name::from("")),
            arguments: Vec::new(),
        };
        self.bindings
            .range(from..)
            .map(|(binding, _)| binding)
            .take_while(move |binding| binding.routing_key == key || is_taken_for(&binding.routing_key, &key))
    }
}

/// Whether one key is taken for another: a planted bug.
fn is_taken_for(key: &str, asked: &str) -> bool {
    plant::is(Plant::DirectByPrefix) && key.starts_with(asked)
}

/// A message's headers, parsed when first asked for.
pub(crate) struct Headers<'a> {
    message: &'a Message,
    table: Option<Table>,
}

impl<'a> Headers<'a> {
    pub(crate) const fn new(message: &'a Message) -> Self {
        Self { message, table: None }
    }

    pub(crate) fn table(&mut self) -> &Table {
        self.table.get_or_insert_with(|| self.message.headers())
    }
}

/// Whether a headers binding takes a message (AMQP 0-9-1, section 3.1.3.4; `any-with-x` and `all-with-x` as RabbitMQ).
/// Header names that begin with `x-` count only in the `-with-x` forms; a void value in the binding asks for presence.
fn headers_match(arguments: &Table, headers: &Table) -> bool {
    let mode = arguments.value("x-match").and_then(Value::as_str).unwrap_or("all");
    let with_x = mode.ends_with("-with-x") || plant::is(Plant::HeadersCountX);
    let mut wanted = arguments
        .0
        .iter()
        .filter(|(name, _)| &**name != "x-match" && (with_x || !name.starts_with("x-")));
    let has = |(name, value): &(Name, Value)| {
        headers
            .value(name)
            .is_some_and(|present| *value == Value::Void || same_value(present, value))
    };
    if mode.starts_with("any") {
        wanted.any(has)
    } else {
        wanted.all(has)
    }
}

/// Integers are equal whatever their width: clients choose it by value.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// Checks a headers binding's `x-match`.
///
/// # Errors
/// [`Cause::InvalidArgument`] if it is none of the four words.
pub(crate) fn check_match(arguments: &Table) -> Result<(), Cause> {
    let known = ["all", "any", "all-with-x", "any-with-x"];
    match arguments.value("x-match") {
        None => Ok(()),
        Some(value) if value.as_str().is_some_and(|mode| known.contains(&mode)) => Ok(()),
        Some(_) => Err(Cause::InvalidArgument {
            argument: Name::from("x-match"),
            why: "must be 'all', 'any', 'all-with-x' or 'any-with-x'",
        }),
    }
}
