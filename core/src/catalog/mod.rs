//! Exchanges, bindings and queue definitions, and where a message goes.
//!
//! A state machine: [`Catalog::apply`] is a function of the state and the [`Change`] alone, so every copy that applies
//! the same changes routes alike (G10). The shard applies changes as their entries commit; the frontend holds a copy and
//! routes from it.

mod change;
mod exchange;
mod queue;
mod topic;

use crate::api::{Cause, Destination, Name, Object};
use crate::message::Message;
use crate::plant::{self, Plant};
pub use change::Change;
pub(crate) use exchange::parse_type;
use exchange::{BindingKey, Exchange, Headers};
pub use exchange::{ExchangeDefinition, Kind};
pub use queue::{DURATION_MS_MAX, Definition, Overflow, Policy, QueueId};
pub(crate) use queue::{describe, text};
use std::collections::{BTreeMap, BTreeSet};

/// Exchanges that exist in each vhost (AMQP 0-9-1, section 3.1.3; `amq.headers` as RabbitMQ).
const BUILT_IN: [(&str, Kind); 5] = [
    ("amq.direct", Kind::Direct),
    ("amq.fanout", Kind::Fanout),
    ("amq.topic", Kind::Topic),
    ("amq.headers", Kind::Headers),
    ("amq.match", Kind::Headers),
];

/// The definitions of one shard group's world.
#[derive(Clone, Debug)]
pub struct Catalog {
    vhosts: BTreeMap<Name, Vhost>,
    queues: BTreeMap<QueueId, Definition>,
    queue_next: u64,
    /// Grows with each change that succeeded: what a cached route was computed at.
    version: u64,
}

#[derive(Clone, Debug, Default)]
struct Vhost {
    exchanges: BTreeMap<Name, Exchange>,
    queues: BTreeMap<Name, QueueId>,
    /// For each destination, the bindings that lead to it: what goes when it goes.
    bound: BTreeMap<Destination, BTreeSet<(Name, BindingKey)>>,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Something, or it was so already.
    Done,
    /// The queue exists.
    Queue {
        /// Its number.
        id: QueueId,
        /// By this change.
        created: bool,
    },
    /// These queues are gone.
    Gone(Vec<QueueId>),
}

/// Where a message goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Queues, each once, in order of their numbers.
    pub queues: Vec<QueueId>,
    /// Every message with this exchange and routing key goes there, until the catalog changes: no headers were asked.
    pub cacheable: bool,
}

impl Catalog {
    /// An empty catalog: the vhosts with their built-in exchanges.
    #[must_use]
    pub fn new(vhosts: &[Name]) -> Self {
        let vhosts = vhosts.iter().map(|name| (name.clone(), Vhost::new(name))).collect();
        Self {
            vhosts,
            queues: BTreeMap::new(),
            queue_next: 1,
            version: 0,
        }
    }

    /// Applies one change; on an error nothing has changed.
    ///
    /// # Errors
    /// The cause, as the protocols report it.
    pub fn apply(&mut self, change: &Change) -> Result<Applied, Cause> {
        let applied = match change {
            Change::DeclareExchange(definition) => self.declare_exchange(definition),
            Change::DeleteExchange { vhost, name, if_unused } => self.delete_exchange(vhost, name, *if_unused),
            Change::Bind {
                vhost,
                source,
                destination,
                routing_key,
                arguments,
            } => {
                let key = BindingKey::new(routing_key, destination, arguments);
                self.bind(vhost, source, key, arguments)
            }
            Change::Unbind {
                vhost,
                source,
                destination,
                routing_key,
                arguments,
            } => {
                let key = BindingKey::new(routing_key, destination, arguments);
                self.unbind(vhost, source, &key)
            }
            Change::DeclareQueue { id, asker, definition } => self.declare_queue(*id, *asker, definition),
            Change::DeleteQueue { id } => Ok(self.delete_queue(*id)),
            Change::Restarted => Ok(self.forget_transient()),
        }?;
        self.version += 1;
        Ok(applied)
    }

    /// The changes that build this catalog from an empty one, for a checkpoint.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        let exchanges = self.vhosts.values().flat_map(|vhost| vhost.exchanges.values());
        let declared = exchanges.filter(|exchange| !is_built_in(&exchange.definition.name));
        let declared = declared.map(|exchange| Change::DeclareExchange(exchange.definition.clone()));
        let queues = self
            .queues
            .iter()
            .map(|(id, definition)| Change::declare_queue(*id, definition.clone()));
        let bindings = self.vhosts.iter().flat_map(|(vhost, held)| {
            held.exchanges.iter().flat_map(move |(source, exchange)| {
                exchange.bindings.iter().map(move |(key, arguments)| Change::Bind {
                    vhost: vhost.clone(),
                    source: source.clone(),
                    destination: key.destination.clone(),
                    routing_key: key.routing_key.clone(),
                    arguments: arguments.clone(),
                })
            })
        });
        declared.chain(queues).chain(bindings)
    }

    /// The number for the next queue: larger than any that a change has named.
    #[must_use]
    pub const fn queue_next(&self) -> u64 {
        self.queue_next
    }

    /// Numbers below `next` are taken.
    pub(crate) fn set_queue_next(&mut self, next: u64) {
        self.queue_next = self.queue_next.max(next);
    }

    /// What a cached route is to be compared with.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether there is such a vhost.
    #[must_use]
    pub fn has_vhost(&self, name: &str) -> bool {
        self.vhosts.contains_key(name)
    }

    /// Makes the vhosts of the configuration exist.
    pub(crate) fn add_vhosts(&mut self, names: &[Name]) {
        for name in names {
            self.vhosts.entry(name.clone()).or_insert_with(|| Vhost::new(name));
        }
    }

    /// The number of a queue.
    #[must_use]
    pub fn queue_id(&self, vhost: &str, name: &str) -> Option<QueueId> {
        self.vhosts.get(vhost)?.queues.get(name).copied()
    }

    /// A queue's definition.
    #[must_use]
    pub fn queue(&self, id: QueueId) -> Option<&Definition> {
        self.queues.get(&id)
    }

    /// Every queue, by number.
    pub fn queues(&self) -> impl Iterator<Item = (QueueId, &Definition)> {
        self.queues.iter().map(|(id, definition)| (*id, definition))
    }

    /// The queues that belong to a connection.
    pub(crate) fn exclusive_queues(&self, owner: crate::api::ConnId) -> Vec<QueueId> {
        self.queues()
            .filter(|(_, definition)| definition.exclusive == Some(owner))
            .map(|(id, _)| id)
            .collect()
    }

    /// An exchange's definition.
    #[must_use]
    pub fn exchange(&self, vhost: &str, name: &str) -> Option<&ExchangeDefinition> {
        Some(&self.vhosts.get(vhost)?.exchanges.get(name)?.definition)
    }

    /// How many exchanges and how many bindings there are.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let exchanges = self.vhosts.values().flat_map(|vhost| vhost.exchanges.values());
        exchanges.fold((0, 0), |(count, bindings), exchange| {
            (count + 1, bindings + exchange.bindings.len() as u64)
        })
    }

    /// The queues that take a message published to `exchange` with `routing_key` (G4).
    ///
    /// # Errors
    /// [`Cause::NotFound`] if there is no such exchange.
    pub fn route(&self, vhost: &str, exchange: &str, routing_key: &[u8], message: &Message) -> Result<Route, Cause> {
        let missing = || Cause::NotFound {
            object: Object::Exchange,
            name: Name::from(exchange),
        };
        let vhost = self.vhosts.get(vhost).ok_or_else(missing)?;
        let mut queues = Vec::new();
        if exchange.is_empty() {
            let named = std::str::from_utf8(routing_key)
                .ok()
                .and_then(|name| vhost.queues.get(name));
            queues.extend(named);
            return Ok(Route {
                queues,
                cacheable: true,
            });
        }
        let mut headers = Headers::new(message);
        let mut seen: BTreeSet<Name> = BTreeSet::new();
        let mut todo = vec![vhost.exchanges.get(exchange).ok_or_else(missing)?];
        let mut cacheable = true;
        while let Some(exchange) = todo.pop() {
            cacheable &= exchange.definition.kind != Kind::Headers;
            if !seen.insert(exchange.definition.name.clone()) {
                continue;
            }
            let mut taken = false;
            exchange.route(routing_key, &mut headers, &mut |destination| {
                taken = true;
                match destination {
                    Destination::Queue(name) => queues.extend(vhost.queues.get(name)),
                    Destination::Exchange(name) => todo.extend(vhost.exchanges.get(name)),
                }
            });
            if !taken
                && !plant::is(Plant::AlternateIgnored)
                && let Some(alternate) = &exchange.definition.alternate
            {
                todo.extend(vhost.exchanges.get(alternate));
            }
        }
        queues.sort_unstable();
        if !plant::is(Plant::RouteNotDeduplicated) {
            queues.dedup();
        }
        Ok(Route { queues, cacheable })
    }

    /// Panics on a broken invariant between the maps.
    pub fn check(&self) {
        for (id, definition) in &self.queues {
            assert!(id.0 < self.queue_next, "queue numbers are below the next");
            assert_eq!(
                self.queue_id(&definition.vhost, &definition.name),
                Some(*id),
                "each queue is found by name"
            );
        }
        let named: usize = self.vhosts.values().map(|vhost| vhost.queues.len()).sum();
        assert_eq!(named, self.queues.len(), "each name leads to a queue");
        for vhost in self.vhosts.values() {
            let bindings: usize = vhost.exchanges.values().map(|exchange| exchange.bindings.len()).sum();
            let bound: usize = vhost.bound.values().map(BTreeSet::len).sum();
            assert_eq!(bindings, bound, "each binding is found from both ends");
        }
    }

    fn vhost(&mut self, name: &Name) -> Result<&mut Vhost, Cause> {
        let missing = || Cause::NotFound {
            object: Object::Vhost,
            name: name.clone(),
        };
        self.vhosts.get_mut(name).ok_or_else(missing)
    }

    fn declare_exchange(&mut self, asked: &ExchangeDefinition) -> Result<Applied, Cause> {
        let vhost = self.vhost(&asked.vhost)?;
        if let Some(present) = vhost.exchanges.get(&asked.name) {
            present.definition.equivalent(asked)?;
        } else {
            vhost.exchanges.insert(asked.name.clone(), Exchange::new(asked.clone()));
        }
        Ok(Applied::Done)
    }

    fn delete_exchange(&mut self, vhost: &Name, name: &Name, if_unused: bool) -> Result<Applied, Cause> {
        let vhost = self.vhost(vhost)?;
        let Some(exchange) = vhost.exchanges.get(name) else {
            return Ok(Applied::Done);
        };
        if if_unused && !exchange.bindings.is_empty() {
            let why = "has bindings: unbind them, or delete it without if-unused";
            return Err(Cause::InUse {
                object: Object::Exchange,
                name: name.clone(),
                why,
            });
        }
        vhost.remove_exchange(name);
        Ok(Applied::Done)
    }

    fn bind(
        &mut self,
        vhost: &Name,
        source: &Name,
        key: BindingKey,
        arguments: &crate::message::Table,
    ) -> Result<Applied, Cause> {
        let vhost = self.vhost(vhost)?;
        let (object, name, present) = match &key.destination {
            Destination::Queue(name) => (Object::Queue, name, vhost.queues.contains_key(name)),
            Destination::Exchange(name) => (Object::Exchange, name, vhost.exchanges.contains_key(name)),
        };
        if !present {
            return Err(Cause::NotFound {
                object,
                name: name.clone(),
            });
        }
        let missing = || Cause::NotFound {
            object: Object::Exchange,
            name: source.clone(),
        };
        let exchange = vhost.exchanges.get_mut(source).ok_or_else(missing)?;
        if exchange.definition.kind == Kind::Headers {
            exchange::check_match(arguments)?;
        }
        let bound = vhost.bound.entry(key.destination.clone()).or_default();
        bound.insert((source.clone(), key.clone()));
        exchange.bind(key, arguments.clone());
        Ok(Applied::Done)
    }

    fn unbind(&mut self, vhost: &Name, source: &Name, key: &BindingKey) -> Result<Applied, Cause> {
        self.vhost(vhost)?.unbind(source, key);
        Ok(Applied::Done)
    }

    fn declare_queue(&mut self, id: QueueId, asker: crate::api::ConnId, asked: &Definition) -> Result<Applied, Cause> {
        self.queue_next = self.queue_next.max(id.0 + 1);
        if let Some(present) = self.queue_id(&asked.vhost, &asked.name) {
            let definition = &self.queues[&present];
            if definition.exclusive.is_some_and(|owner| owner != asker) {
                let why = "another connection declared it exclusive";
                return Err(Cause::ResourceLocked {
                    queue: asked.name.clone(),
                    why,
                });
            }
            definition.equivalent(asked)?;
            return Ok(Applied::Queue {
                id: present,
                created: false,
            });
        }
        self.vhost(&asked.vhost)?.queues.insert(asked.name.clone(), id);
        let before = self.queues.insert(id, asked.clone());
        assert!(before.is_none(), "queue numbers are given once");
        Ok(Applied::Queue { id, created: true })
    }

    fn delete_queue(&mut self, id: QueueId) -> Applied {
        let Some(definition) = self.queues.remove(&id) else {
            return Applied::Gone(Vec::new());
        };
        let vhost = self.vhosts.get_mut(&definition.vhost).expect("a queue's vhost exists");
        vhost.queues.remove(&definition.name);
        if !plant::is(Plant::DeletedQueueKeepsBindings) {
            vhost.remove_destination(&Destination::Queue(definition.name));
        }
        Applied::Gone(vec![id])
    }

    fn forget_transient(&mut self) -> Applied {
        let transient = |definition: &Definition| !definition.durable || definition.exclusive.is_some();
        let gone: Vec<QueueId> = self
            .queues()
            .filter(|(_, queue)| transient(queue))
            .map(|(id, _)| id)
            .collect();
        gone.iter().for_each(|id| drop(self.delete_queue(*id)));
        for vhost in self.vhosts.values_mut() {
            let exchanges = vhost.exchanges.values().filter(|exchange| !exchange.definition.durable);
            let names: Vec<Name> = exchanges.map(|exchange| exchange.definition.name.clone()).collect();
            let names = if plant::is(Plant::TransientExchangeSurvives) {
                Vec::new()
            } else {
                names
            };
            names.iter().for_each(|name| vhost.remove_exchange(name));
        }
        Applied::Gone(gone)
    }
}

impl Vhost {
    fn new(name: &Name) -> Self {
        let exchange = |(exchange, kind): (&str, Kind)| {
            let definition = ExchangeDefinition {
                vhost: name.clone(),
                name: Name::from(exchange),
                kind,
                delayed: false,
                durable: true,
                auto_delete: false,
                internal: false,
                arguments: crate::message::Table::default(),
                alternate: None,
            };
            (definition.name.clone(), Exchange::new(definition))
        };
        Self {
            exchanges: BUILT_IN.into_iter().map(exchange).collect(),
            ..Self::default()
        }
    }

    fn unbind(&mut self, source: &Name, key: &BindingKey) {
        if self.drop_binding(source, key) {
            self.remove_exchange(source);
        }
    }

    /// Removes a binding; whether its source goes with it: an auto-delete exchange whose last binding it was.
    fn drop_binding(&mut self, source: &Name, key: &BindingKey) -> bool {
        let Some(exchange) = self.exchanges.get_mut(source) else {
            return false;
        };
        if !exchange.unbind(key) {
            return false;
        }
        let emptied = exchange.definition.auto_delete
            && exchange.bindings.is_empty()
            && !plant::is(Plant::AutoDeleteExchangeStays);
        self.forget_bound(source, key);
        emptied
    }

    fn forget_bound(&mut self, source: &Name, key: &BindingKey) {
        if let Some(bound) = self.bound.get_mut(&key.destination) {
            bound.remove(&(source.clone(), key.clone()));
            if bound.is_empty() {
                self.bound.remove(&key.destination);
            }
        }
    }

    /// Removes an exchange, and those that go with it. A list, not a recursion: clients make chains of any length.
    fn remove_exchange(&mut self, name: &Name) {
        let mut going = vec![name.clone()];
        while let Some(name) = going.pop() {
            let Some(exchange) = self.exchanges.remove(&name) else {
                continue;
            };
            for key in exchange.bindings.keys() {
                self.forget_bound(&name, key);
            }
            going.extend(self.drop_bindings_to(&Destination::Exchange(name)));
        }
    }

    fn remove_destination(&mut self, destination: &Destination) {
        for source in self.drop_bindings_to(destination) {
            self.remove_exchange(&source);
        }
    }

    /// Removes every binding to a destination; the exchanges that go with them.
    fn drop_bindings_to(&mut self, destination: &Destination) -> Vec<Name> {
        let bound = self.bound.get(destination).cloned().unwrap_or_default();
        let emptied = bound.into_iter().filter(|(source, key)| self.drop_binding(source, key));
        emptied.map(|(source, _)| source).collect()
    }
}

impl BindingKey {
    fn new(routing_key: &Name, destination: &Destination, arguments: &crate::message::Table) -> Self {
        let mut encoded = Vec::new();
        arguments.encode(&mut encoded);
        Self {
            routing_key: routing_key.clone(),
            destination: destination.clone(),
            arguments: encoded,
        }
    }
}

/// Names that begin so belong to the broker.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("amq.")
}

fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(built_in, _)| *built_in == name)
}

#[cfg(test)]
mod tests;
