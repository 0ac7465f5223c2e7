//! Exchanges and bindings of the model, as lists: slow, and as the specification says it.

use std::collections::BTreeSet;
use waystation_core::api::{Destination, Name};
use waystation_core::message::{Message, Table, Value};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exchange {
    pub(super) name: Name,
    pub(super) kind: Name,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    pub(super) alternate: Option<Name>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Binding {
    pub(super) source: Name,
    pub(super) destination: Destination,
    pub(super) key: Name,
    pub(super) arguments: Table,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Topology {
    exchanges: Vec<Exchange>,
    bindings: Vec<Binding>,
}

impl Topology {
    pub(super) fn new() -> Self {
        let built_in = [
            ("amq.direct", "direct"),
            ("amq.fanout", "fanout"),
            ("amq.topic", "topic"),
            ("amq.headers", "headers"),
        ];
        let exchange = |(name, kind): (&str, &str)| Exchange {
            name: name.into(),
            kind: kind.into(),
            durable: true,
            auto_delete: false,
            internal: false,
            alternate: None,
        };
        Self {
            exchanges: built_in.into_iter().map(exchange).collect(),
            bindings: Vec::new(),
        }
    }

    pub(super) fn exchange(&self, name: &str) -> Option<&Exchange> {
        self.exchanges.iter().find(|exchange| &*exchange.name == name)
    }

    pub(super) fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    pub(super) fn declare(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }

    pub(super) fn is_source(&self, name: &str) -> bool {
        self.bindings.iter().any(|binding| &*binding.source == name)
    }

    pub(super) fn bind(&mut self, binding: Binding) {
        if !self.bindings.contains(&binding) {
            self.bindings.push(binding);
        }
    }

    pub(super) fn unbind(&mut self, binding: &Binding) {
        let before = self.bindings.len();
        self.bindings.retain(|other| other != binding);
        if self.bindings.len() < before {
            self.leave(&binding.source.clone());
        }
    }

    /// An exchange lost a binding: it goes, if it is to go with the last.
    fn leave(&mut self, source: &Name) {
        if !self.is_source(source) && self.exchange(source).is_some_and(|exchange| exchange.auto_delete) {
            self.delete(source);
        }
    }

    pub(super) fn delete(&mut self, name: &Name) {
        self.exchanges.retain(|exchange| exchange.name != *name);
        self.bindings.retain(|binding| binding.source != *name);
        self.forget(&Destination::Exchange(name.clone()));
    }

    /// Something that bindings led to is gone.
    pub(super) fn forget(&mut self, destination: &Destination) {
        let led = |binding: &&Binding| binding.destination == *destination;
        let sources: BTreeSet<Name> = self.bindings.iter().filter(led).map(|one| one.source.clone()).collect();
        self.bindings.retain(|binding| binding.destination != *destination);
        sources.iter().for_each(|source| self.leave(source));
    }

    /// The node restarted.
    pub(super) fn restart(&mut self) {
        let transient = self.exchanges.iter().filter(|exchange| !exchange.durable);
        let names: Vec<Name> = transient.map(|exchange| exchange.name.clone()).collect();
        names.iter().for_each(|name| self.delete(name));
    }

    /// The names that a message leads to; some may be of queues that are none. `None` if the exchange is none.
    pub(super) fn route(&self, exchange: &str, key: &[u8], message: &Message) -> Option<BTreeSet<Name>> {
        if exchange.is_empty() {
            return Some(std::str::from_utf8(key).map(Name::from).into_iter().collect());
        }
        let mut queues = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut todo = vec![self.exchange(exchange)?.name.clone()];
        while let Some(name) = todo.pop() {
            let Some(exchange) = self.exchange(&name).filter(|_| seen.insert(name.clone())) else {
                continue;
            };
            let bound = self.bindings.iter().filter(|binding| binding.source == name);
            let taking: Vec<&Binding> = bound
                .filter(|binding| takes(&exchange.kind, binding, key, message))
                .collect();
            for binding in &taking {
                match &binding.destination {
                    Destination::Queue(name) => drop(queues.insert(name.clone())),
                    Destination::Exchange(name) => todo.push(name.clone()),
                }
            }
            if taking.is_empty() {
                todo.extend(exchange.alternate.clone());
            }
        }
        Some(queues)
    }
}

fn takes(kind: &str, binding: &Binding, key: &[u8], message: &Message) -> bool {
    match kind {
        "direct" => binding.key.as_bytes() == key,
        "topic" => matches_topic(&words(binding.key.as_bytes()), &words(key)),
        "headers" => matches_headers(&binding.arguments, &message.headers()),
        _ => true,
    }
}

fn words(key: &[u8]) -> Vec<&[u8]> {
    if key.is_empty() {
        return Vec::new();
    }
    key.split(|byte| *byte == b'.').collect()
}

fn matches_topic(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((&b"#", rest)), _) => matches_topic(rest, key) || (!key.is_empty() && matches_topic(pattern, &key[1..])),
        (Some(_), None) => false,
        (Some((word, rest)), Some((first, others))) => (*word == b"*" || word == first) && matches_topic(rest, others),
    }
}

fn matches_headers(wanted: &Table, headers: &Table) -> bool {
    let mode = match wanted.value("x-match").and_then(Value::as_str) {
        None => "all",
        Some(mode) => mode,
    };
    let mut met = Vec::new();
    for (name, value) in &wanted.0 {
        if &**name == "x-match" || (name.starts_with("x-") && !mode.ends_with("-with-x")) {
            continue;
        }
        let present = headers.value(name);
        let equal =
            |present: &Value| present == value || (present.as_i64().is_some() && present.as_i64() == value.as_i64());
        met.push(present.is_some_and(|present| *value == Value::Void || equal(present)));
    }
    if mode.starts_with("any") {
        met.contains(&true)
    } else {
        !met.contains(&false)
    }
}
