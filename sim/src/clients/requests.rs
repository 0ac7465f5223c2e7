//! What clients ask, in short.

use crate::plan::{Kind, Plan};
use waystation_core::api::{ChannelRequest, Destination, Name, Outcome, Request};
use waystation_core::message::{Message, OwnedProperties, Table, Value};

pub(crate) fn on(channel: u16, request: ChannelRequest) -> Request {
    Request::Channel { channel, request }
}

pub(crate) fn settle(channel: u16, tag: u64, multiple: bool, outcome: Outcome) -> Request {
    on(channel, ChannelRequest::Settle { tag, multiple, outcome })
}

pub(crate) fn consume(queue: &str, consumer: String, no_ack: bool) -> ChannelRequest {
    let (queue, consumer) = (queue.into(), Name::from(consumer));
    ChannelRequest::Consume {
        queue,
        consumer,
        no_ack,
        exclusive: false,
        arguments: Table::default(),
        reply: true,
    }
}

/// What a message says of itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Says {
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) priority: Option<u8>,
    /// For the exchange that delays.
    pub(crate) delay_ms: Option<u64>,
}

pub(crate) fn publish(exchange: &str, key: &str, says: Says, body: &[u8], mandatory: bool) -> ChannelRequest {
    let delay = |delay_ms: u64| Table(vec![(Name::from("x-delay"), Value::I64(delay_ms as i64))]);
    let properties = OwnedProperties {
        expiration: says.ttl_ms.map(|ttl| ttl.to_string().into()),
        priority: says.priority,
        headers: says.delay_ms.map(delay),
        ..OwnedProperties::default()
    };
    let message = Message::new(exchange, key.as_bytes(), &properties.to_vec(), body);
    ChannelRequest::Publish { message, mandatory }
}

/// The flags of a queue's declaration.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) passive: bool,
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) auto_delete: bool,
}

pub(crate) fn queue(name: &str, flags: Flags, arguments: Vec<(Name, Value)>) -> ChannelRequest {
    let Flags {
        passive,
        durable,
        exclusive,
        auto_delete,
    } = flags;
    let (name, arguments) = (name.into(), Table(arguments));
    ChannelRequest::DeclareQueue {
        name,
        passive,
        durable,
        exclusive,
        auto_delete,
        arguments,
        reply: true,
    }
}

pub(crate) fn passive(name: &str) -> ChannelRequest {
    queue(
        name,
        Flags {
            passive: true,
            ..Flags::default()
        },
        Vec::new(),
    )
}

pub(crate) fn exchange(name: &str, kind: &str) -> ChannelRequest {
    exchange_with(name, kind, Table::default())
}

fn exchange_with(name: &str, kind: &str, arguments: Table) -> ChannelRequest {
    ChannelRequest::DeclareExchange {
        name: name.into(),
        kind: kind.into(),
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments,
        reply: true,
    }
}

/// Whether it is durable, goes with its last binding, is internal.
pub(crate) fn exchange_flagged(name: &str, kind: &str, flags: [bool; 3], alternate: Option<Name>) -> ChannelRequest {
    let alternate = alternate.map(|name| (Name::from("alternate-exchange"), Value::from(&*name)));
    let mut request = exchange_with(name, kind, Table(alternate.into_iter().collect()));
    if let ChannelRequest::DeclareExchange {
        durable,
        auto_delete,
        internal,
        ..
    } = &mut request
    {
        [*durable, *auto_delete, *internal] = flags;
    }
    request
}

pub(crate) fn bind(queue: &str, source: &str, key: &str) -> ChannelRequest {
    bind_with(Destination::Queue(queue.into()), source, key, Table::default(), true)
}

/// Binds, or unbinds.
pub(crate) fn bind_with(
    destination: Destination,
    source: &str,
    key: &str,
    arguments: Table,
    binds: bool,
) -> ChannelRequest {
    let (source, routing_key, reply) = (source.into(), key.into(), true);
    if binds {
        ChannelRequest::Bind {
            destination,
            source,
            routing_key,
            arguments,
            reply,
        }
    } else {
        ChannelRequest::Unbind {
            destination,
            source,
            routing_key,
            arguments,
            reply,
        }
    }
}

/// The exchanges and queues of the run.
pub(crate) fn declarations(plan: &Plan) -> Vec<ChannelRequest> {
    let mut requests = vec![
        exchange("dlx", "fanout"),
        exchange("fan", "fanout"),
        exchange("topic", "topic"),
    ];
    let routes_as = (Name::from("x-delayed-type"), Value::from("direct"));
    requests.push(exchange_with("later", "x-delayed-message", Table(vec![routes_as])));
    for (number, kind) in plan.queues.iter().enumerate() {
        let name = plan.name(number);
        requests.push(declare(plan, number));
        if *kind == Kind::Dead {
            requests.push(bind(&name, "dlx", ""));
        } else if !kind.is_grave() {
            requests.push(bind(&name, "fan", ""));
            requests.push(bind(&name, "later", &name));
            requests.push(bind(&name, "topic", &format!("#.{name}.*")));
        }
    }
    requests
}

fn declare(plan: &Plan, number: usize) -> ChannelRequest {
    let kind = plan.queues[number];
    let mut arguments = Vec::new();
    let mut put = |name: &str, value: Value| arguments.push((Name::from(name), value));
    match kind {
        Kind::Expiring { ttl_ms } | Kind::Middle { ttl_ms } => put("x-message-ttl", Value::I64(ttl_ms as i64)),
        Kind::Bounded { length } => put("x-max-length", Value::I64(length as i64)),
        Kind::Refusing { length, letters } => {
            put("x-max-length", Value::I64(length as i64));
            put(
                "x-overflow",
                Value::from(if letters {
                    "reject-publish-dlx"
                } else {
                    "reject-publish"
                }),
            );
        }
        Kind::Priority { max } => put("x-max-priority", Value::I64(i64::from(max))),
        Kind::Limited { returns } => put("x-delivery-limit", Value::I64(i64::from(returns))),
        Kind::Retrying { delay_ms, max_ms } => {
            put("x-retry-delay", Value::I64(delay_ms as i64));
            put("x-retry-delay-max", Value::I64(max_ms as i64));
        }
        Kind::Plain | Kind::Transient | Kind::Dead => {}
    }
    if let Some(grave) = plan.graves[number] {
        // To the last by an exchange, to the others by name.
        if plan.queues[grave] == Kind::Dead {
            put("x-dead-letter-exchange", Value::from("dlx"));
        } else {
            put("x-dead-letter-exchange", Value::from(""));
            put("x-dead-letter-routing-key", Value::from(plan.name(grave).as_str()));
        }
    }
    let durable = kind != Kind::Transient;
    queue(
        &plan.name(number),
        Flags {
            durable,
            ..Flags::default()
        },
        arguments,
    )
}
