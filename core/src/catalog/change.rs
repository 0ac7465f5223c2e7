//! Changes of the catalog, as they lie in the log.

use super::{Definition, ExchangeDefinition, Policy, QueueId, parse_type, text};
use crate::api::{ConnId, Destination, Name};
use crate::encoding::{Reader, put_bytes, put_varint};
use crate::message::Table;
use crate::plant::{self, Plant};

/// One change. Nothing in it depends on who applies it, or when.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Declares an exchange.
    DeclareExchange(ExchangeDefinition),
    /// Deletes an exchange.
    DeleteExchange {
        /// Its vhost.
        vhost: Name,
        /// Its name.
        name: Name,
        /// Only without bindings.
        if_unused: bool,
    },
    /// Binds.
    Bind {
        /// The vhost of both.
        vhost: Name,
        /// The exchange that routes.
        source: Name,
        /// What receives.
        destination: Destination,
        /// The binding key.
        routing_key: Name,
        /// For headers exchanges.
        arguments: Table,
    },
    /// Unbinds.
    Unbind {
        /// The vhost of both.
        vhost: Name,
        /// The exchange that routed.
        source: Name,
        /// What received.
        destination: Destination,
        /// The binding key.
        routing_key: Name,
        /// As bound.
        arguments: Table,
    },
    /// Declares a queue.
    DeclareQueue {
        /// Its number if it is new.
        id: QueueId,
        /// Who asks: an exclusive queue is its owner's only.
        asker: ConnId,
        /// What is asked.
        definition: Definition,
    },
    /// Deletes a queue.
    DeleteQueue {
        /// Its number.
        id: QueueId,
    },
    /// The node restarted: what is transient or belonged to a connection is gone.
    Restarted,
}

const DECLARE_EXCHANGE: u8 = 1;
const DELETE_EXCHANGE: u8 = 2;
const BIND: u8 = 3;
const UNBIND: u8 = 4;
const DECLARE_QUEUE: u8 = 5;
const DELETE_QUEUE: u8 = 6;
const RESTARTED: u8 = 7;

impl Change {
    pub(crate) fn declare_queue(id: QueueId, definition: Definition) -> Self {
        let asker = definition.exclusive.unwrap_or(ConnId(0));
        Self::DeclareQueue { id, asker, definition }
    }

    /// The vhost that the change is in, if it names one.
    pub(crate) const fn vhost(&self) -> Option<&Name> {
        match self {
            Self::DeclareExchange(definition) => Some(&definition.vhost),
            Self::DeclareQueue { definition, .. } => Some(&definition.vhost),
            Self::DeleteExchange { vhost, .. } | Self::Bind { vhost, .. } | Self::Unbind { vhost, .. } => Some(vhost),
            Self::DeleteQueue { .. } | Self::Restarted => None,
        }
    }

    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::DeclareExchange(definition) => encode_exchange(definition, to),
            Self::DeleteExchange { vhost, name, if_unused } => {
                to.push(DELETE_EXCHANGE);
                put_bytes(to, vhost.as_bytes());
                put_bytes(to, name.as_bytes());
                to.push(u8::from(*if_unused));
            }
            Self::Bind {
                vhost,
                source,
                destination,
                routing_key,
                arguments,
            } => {
                to.push(BIND);
                encode_binding(vhost, source, destination, routing_key, arguments, to);
            }
            Self::Unbind {
                vhost,
                source,
                destination,
                routing_key,
                arguments,
            } => {
                to.push(UNBIND);
                encode_binding(vhost, source, destination, routing_key, arguments, to);
            }
            Self::DeclareQueue { id, asker, definition } => encode_queue(*id, *asker, definition, to),
            Self::DeleteQueue { id } => {
                to.push(DELETE_QUEUE);
                put_varint(to, id.0);
            }
            Self::Restarted => to.push(RESTARTED),
        }
    }

    /// Reads one change; `None` if the bytes are none.
    pub(crate) fn decode(from: &mut Reader<'_>) -> Option<Self> {
        match from.u8()? {
            DECLARE_EXCHANGE => decode_exchange(from),
            DELETE_EXCHANGE => Some(Self::DeleteExchange {
                vhost: from.name()?,
                name: from.name()?,
                if_unused: from.flag()?,
            }),
            BIND => {
                let (vhost, source, destination, routing_key, arguments) = decode_binding(from)?;
                Some(Self::Bind {
                    vhost,
                    source,
                    destination,
                    routing_key,
                    arguments,
                })
            }
            UNBIND => {
                let (vhost, source, destination, routing_key, arguments) = decode_binding(from)?;
                Some(Self::Unbind {
                    vhost,
                    source,
                    destination,
                    routing_key,
                    arguments,
                })
            }
            DECLARE_QUEUE => decode_queue(from),
            DELETE_QUEUE => Some(Self::DeleteQueue {
                id: QueueId(from.varint()?),
            }),
            RESTARTED => Some(Self::Restarted),
            _ => None,
        }
    }
}

fn encode_table(table: &Table, to: &mut Vec<u8>) {
    let mut encoded = Vec::new();
    table.encode(&mut encoded);
    put_bytes(to, &encoded);
}

fn decode_table(from: &mut Reader<'_>) -> Option<Table> {
    Table::decode(from.bytes()?).ok()
}

fn encode_exchange(definition: &ExchangeDefinition, to: &mut Vec<u8>) {
    to.push(DECLARE_EXCHANGE);
    put_bytes(to, definition.vhost.as_bytes());
    put_bytes(to, definition.name.as_bytes());
    put_bytes(to, definition.type_name().as_bytes());
    to.extend([definition.durable, definition.auto_delete, definition.internal].map(u8::from));
    encode_table(&definition.arguments, to);
}

fn decode_exchange(from: &mut Reader<'_>) -> Option<Change> {
    let (vhost, name) = (from.name()?, from.name()?);
    let type_name = from.name()?;
    let (durable, auto_delete, internal) = (from.flag()?, from.flag()?, from.flag()?);
    let arguments = decode_table(from)?;
    let alternate = text(&arguments, "alternate-exchange").ok()?;
    let (kind, delayed) = parse_type(&type_name, &arguments).ok()?;
    let definition = ExchangeDefinition {
        vhost,
        name,
        kind,
        delayed,
        durable,
        auto_delete,
        internal,
        arguments,
        alternate,
    };
    Some(Change::DeclareExchange(definition))
}

fn encode_binding(
    vhost: &Name,
    source: &Name,
    destination: &Destination,
    routing_key: &Name,
    arguments: &Table,
    to: &mut Vec<u8>,
) {
    put_bytes(to, vhost.as_bytes());
    put_bytes(to, source.as_bytes());
    let (kind, name) = match destination {
        Destination::Queue(name) => (0, name),
        Destination::Exchange(name) => (1, name),
    };
    to.push(kind);
    put_bytes(to, name.as_bytes());
    put_bytes(to, routing_key.as_bytes());
    encode_table(arguments, to);
}

fn decode_binding(from: &mut Reader<'_>) -> Option<(Name, Name, Destination, Name, Table)> {
    let (vhost, source) = (from.name()?, from.name()?);
    let destination = match from.u8()? {
        0 => Destination::Queue(from.name()?),
        1 => Destination::Exchange(from.name()?),
        _ => return None,
    };
    Some((vhost, source, destination, from.name()?, decode_table(from)?))
}

fn encode_queue(id: QueueId, asker: ConnId, definition: &Definition, to: &mut Vec<u8>) {
    to.push(DECLARE_QUEUE);
    put_varint(to, id.0);
    put_varint(to, asker.0);
    put_bytes(to, definition.vhost.as_bytes());
    put_bytes(to, definition.name.as_bytes());
    to.extend(
        [
            definition.durable,
            definition.exclusive.is_some(),
            definition.auto_delete && !plant::is(Plant::LogForgetsAutoDelete),
        ]
        .map(u8::from),
    );
    encode_table(&definition.arguments, to);
}

fn decode_queue(from: &mut Reader<'_>) -> Option<Change> {
    let (id, asker) = (QueueId(from.varint()?), ConnId(from.varint()?));
    let (vhost, name) = (from.name()?, from.name()?);
    let (durable, exclusive, auto_delete) = (from.flag()?, from.flag()?, from.flag()?);
    let arguments = decode_table(from)?;
    let policy = Policy::parse(&arguments).ok()?;
    let exclusive = exclusive.then_some(asker);
    let definition = Definition {
        vhost,
        name,
        durable,
        exclusive,
        auto_delete,
        arguments,
        policy,
    };
    Some(Change::DeclareQueue { id, asker, definition })
}
