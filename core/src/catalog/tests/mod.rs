//! The catalog as a state machine, and where messages go.

mod changes;
mod routing;

use super::*;
use crate::api::ConnId;
use crate::message::{Table, Value};

const V: &str = "/";

fn catalog() -> Catalog {
    Catalog::new(&[V.into()])
}

fn table(fields: &[(&str, Value)]) -> Table {
    Table(
        fields
            .iter()
            .map(|(name, value)| (Name::from(*name), value.clone()))
            .collect(),
    )
}

fn exchange(name: &str, kind: Kind) -> ExchangeDefinition {
    ExchangeDefinition {
        vhost: V.into(),
        name: name.into(),
        kind,
        delayed: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: Table::default(),
        alternate: None,
    }
}

fn definition(name: &str) -> Definition {
    Definition {
        vhost: V.into(),
        name: name.into(),
        durable: true,
        exclusive: None,
        auto_delete: false,
        arguments: Table::default(),
        policy: Policy::default(),
    }
}

fn to_queue(name: &str) -> Destination {
    Destination::Queue(name.into())
}

fn to_exchange(name: &str) -> Destination {
    Destination::Exchange(name.into())
}

fn bind(source: &str, destination: Destination, key: &str, arguments: Table) -> Change {
    Change::Bind {
        vhost: V.into(),
        source: source.into(),
        destination,
        routing_key: key.into(),
        arguments,
    }
}

fn unbind(source: &str, destination: Destination, key: &str, arguments: Table) -> Change {
    Change::Unbind {
        vhost: V.into(),
        source: source.into(),
        destination,
        routing_key: key.into(),
        arguments,
    }
}

impl Catalog {
    fn done(&mut self, change: &Change) -> Applied {
        let applied = self.apply(change).unwrap_or_else(|cause| panic!("{change:?}: {cause}"));
        self.check();
        applied
    }

    fn declare(&mut self, definition: ExchangeDefinition) {
        self.done(&Change::DeclareExchange(definition));
    }

    fn queue_named(&mut self, name: &str) -> QueueId {
        let id = QueueId(self.queue_next());
        self.done(&Change::declare_queue(id, definition(name)));
        id
    }

    fn bound(&mut self, source: &str, destination: Destination, key: &str) {
        self.done(&bind(source, destination, key, Table::default()));
    }

    /// Names of the queues that a message goes to.
    fn routed(&self, exchange: &str, key: &str, headers: &[(&str, Value)]) -> Vec<String> {
        let properties = crate::message::OwnedProperties {
            headers: Some(table(headers)),
            ..Default::default()
        };
        let message = Message::new(exchange, key.as_bytes(), &properties.to_vec(), b"");
        let route = self
            .route(V, exchange, key.as_bytes(), &message)
            .expect("the exchange exists");
        let names = route.queues.iter().map(|id| self.queues[id].name.to_string());
        names.collect()
    }
}
