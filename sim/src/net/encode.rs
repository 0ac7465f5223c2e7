//! Core requests as a client's methods, and what a client hears as core replies.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use waystation_core::api::{ChannelReply, ChannelRequest, Destination, Outcome};
use waystation_core::message::Table;
use waystation_protocols::amqp::methods::{basic, confirm, exchange, queue, tx};
use waystation_protocols::amqp::{ChannelEvent, Client};

/// What a request is once AMQP has said it: queue.unbind is always answered.
pub(super) fn as_sayable(request: &mut ChannelRequest) {
    if let ChannelRequest::Unbind {
        destination: Destination::Queue(_),
        reply,
        ..
    } = request
    {
        *reply = true;
    }
}

/// Says a request of a channel.
pub(super) fn say(client: &mut Client, channel: u16, request: &ChannelRequest, rng: &mut ChaCha8Rng) {
    match request {
        ChannelRequest::Publish { message, mandatory } => {
            let publish = basic::Publish {
                exchange: message.exchange(),
                routing_key: message.routing_key(),
                mandatory: *mandatory,
                immediate: false,
            };
            client.publish(channel, &publish, message.properties(), message.body());
        }
        ChannelRequest::Settle { tag, multiple, outcome } => settle(client, channel, (*tag, *multiple), *outcome, rng),
        ChannelRequest::Qos { count, global } => client.send(
            channel,
            &basic::Qos {
                prefetch_size: 0,
                prefetch_count: *count,
                global: *global,
            },
        ),
        ChannelRequest::Consume {
            queue,
            consumer,
            no_ack,
            exclusive,
            arguments,
            reply,
        } => {
            let consume = basic::Consume {
                queue,
                consumer_tag: consumer,
                no_local: false,
                no_ack: *no_ack,
                exclusive: *exclusive,
                nowait: !reply,
                arguments: &inside(arguments),
            };
            client.send(channel, &consume);
        }
        ChannelRequest::Cancel { consumer, reply } => {
            let consumer_tag = consumer;
            client.send(
                channel,
                &basic::Cancel {
                    consumer_tag,
                    nowait: !reply,
                },
            );
        }
        ChannelRequest::Get { queue, no_ack } => client.send(channel, &basic::Get { queue, no_ack: *no_ack }),
        ChannelRequest::Recover { reply: true } => client.send(channel, &basic::Recover { requeue: true }),
        ChannelRequest::Recover { reply: false } => client.send(channel, &basic::RecoverAsync { requeue: true }),
        ChannelRequest::ConfirmSelect { reply } => client.send(channel, &confirm::Select { nowait: !reply }),
        ChannelRequest::TxSelect => client.send(channel, &tx::Select {}),
        ChannelRequest::TxCommit => client.send(channel, &tx::Commit {}),
        ChannelRequest::TxRollback => client.send(channel, &tx::Rollback {}),
        topology => say_topology(client, channel, topology),
    }
}

/// Two methods refuse one delivery: either is drawn.
fn settle(
    client: &mut Client,
    channel: u16,
    (delivery_tag, multiple): (u64, bool),
    outcome: Outcome,
    rng: &mut ChaCha8Rng,
) {
    let requeue = outcome == Outcome::Requeue;
    if outcome == Outcome::Ack {
        client.ack(channel, delivery_tag, multiple);
    } else if multiple || rng.random_bool(0.5) {
        client.send(
            channel,
            &basic::Nack {
                delivery_tag,
                multiple,
                requeue,
            },
        );
    } else {
        client.send(channel, &basic::Reject { delivery_tag, requeue });
    }
}

fn say_topology(client: &mut Client, channel: u16, request: &ChannelRequest) {
    match request {
        ChannelRequest::DeclareExchange { .. } | ChannelRequest::DeclareQueue { .. } => {
            say_declare(client, channel, request);
        }
        ChannelRequest::DeleteExchange { name, if_unused, reply } => client.send(
            channel,
            &exchange::Delete {
                exchange: name,
                if_unused: *if_unused,
                nowait: !reply,
            },
        ),
        ChannelRequest::PurgeQueue { name, reply } => client.send(
            channel,
            &queue::Purge {
                queue: name,
                nowait: !reply,
            },
        ),
        ChannelRequest::DeleteQueue {
            name,
            if_unused,
            if_empty,
            reply,
        } => client.send(
            channel,
            &queue::Delete {
                queue: name,
                if_unused: *if_unused,
                if_empty: *if_empty,
                nowait: !reply,
            },
        ),
        _ => say_binding(client, channel, request),
    }
}

fn say_declare(client: &mut Client, channel: u16, request: &ChannelRequest) {
    match request {
        ChannelRequest::DeclareExchange {
            name,
            kind,
            passive,
            durable,
            auto_delete,
            internal,
            arguments,
            reply,
        } => client.send(
            channel,
            &exchange::Declare {
                exchange: name,
                kind,
                passive: *passive,
                durable: *durable,
                auto_delete: *auto_delete,
                internal: *internal,
                nowait: !reply,
                arguments: &inside(arguments),
            },
        ),
        ChannelRequest::DeclareQueue {
            name,
            passive,
            durable,
            exclusive,
            auto_delete,
            arguments,
            reply,
        } => client.send(
            channel,
            &queue::Declare {
                queue: name,
                passive: *passive,
                durable: *durable,
                exclusive: *exclusive,
                auto_delete: *auto_delete,
                nowait: !reply,
                arguments: &inside(arguments),
            },
        ),
        other => unreachable!("not a declaration: {other:?}"),
    }
}

fn say_binding(client: &mut Client, channel: u16, request: &ChannelRequest) {
    let (ChannelRequest::Bind {
        destination,
        source,
        routing_key,
        arguments,
        reply,
    }
    | ChannelRequest::Unbind {
        destination,
        source,
        routing_key,
        arguments,
        reply,
    }) = request
    else {
        unreachable!("every other request has its own method: {request:?}")
    };
    let (arguments, nowait) = (&*inside(arguments), !reply);
    let binds = matches!(request, ChannelRequest::Bind { .. });
    match destination {
        Destination::Queue(queue) if binds => client.send(
            channel,
            &queue::Bind {
                queue,
                exchange: source,
                routing_key,
                nowait,
                arguments,
            },
        ),
        Destination::Queue(queue) => client.send(
            channel,
            &queue::Unbind {
                queue,
                exchange: source,
                routing_key,
                arguments,
            },
        ),
        Destination::Exchange(destination) if binds => client.send(
            channel,
            &exchange::Bind {
                destination,
                source,
                routing_key,
                nowait,
                arguments,
            },
        ),
        Destination::Exchange(destination) => client.send(
            channel,
            &exchange::Unbind {
                destination,
                source,
                routing_key,
                nowait,
                arguments,
            },
        ),
    }
}

fn inside(arguments: &Table) -> Vec<u8> {
    let mut out = Vec::new();
    arguments.encode(&mut out);
    out
}

/// What a client heard on a channel, as a reply; `None` for what has a meaning of its own. `purges` says whether the
/// oldest unanswered request that empties a queue was a purge: the answers are alike.
pub(super) fn reply(event: ChannelEvent, purges: impl FnOnce() -> bool) -> Option<ChannelReply> {
    Some(match event {
        ChannelEvent::Opened => ChannelReply::Opened,
        ChannelEvent::Closed { .. } => return None,
        ChannelEvent::QueueDeclared {
            name,
            messages,
            consumers,
        } => ChannelReply::QueueDeclared {
            name,
            messages,
            consumers,
        },
        ChannelEvent::QueueEmptied { messages } if purges() => ChannelReply::QueuePurged { messages },
        ChannelEvent::QueueEmptied { messages } => ChannelReply::QueueDeleted { messages },
        ChannelEvent::Consuming { consumer } => ChannelReply::Consuming { consumer },
        ChannelEvent::Cancelled {
            consumer,
            by_server: false,
        } => ChannelReply::Cancelled { consumer },
        ChannelEvent::Cancelled { consumer, .. } => ChannelReply::CancelledByServer { consumer },
        ChannelEvent::Delivered {
            consumer,
            tag,
            redelivered,
            message,
        } => ChannelReply::Deliver {
            consumer,
            tag,
            redelivered,
            message,
        },
        ChannelEvent::Got {
            tag,
            redelivered,
            messages,
            message,
        } => ChannelReply::Got {
            tag,
            redelivered,
            message,
            messages,
        },
        ChannelEvent::Empty => ChannelReply::Empty,
        ChannelEvent::Returned { message, .. } => ChannelReply::Return { message },
        ChannelEvent::Confirmed { tag, multiple, ok } => ChannelReply::Confirm { tag, multiple, ok },
        ChannelEvent::Done(name) => return done(name),
    })
}

fn done(name: &str) -> Option<ChannelReply> {
    Some(match name {
        "exchange.declare-ok" => ChannelReply::ExchangeDeclared,
        "exchange.delete-ok" => ChannelReply::ExchangeDeleted,
        "exchange.bind-ok" => ChannelReply::Bound { exchange: true },
        "exchange.unbind-ok" => ChannelReply::Unbound { exchange: true },
        "queue.bind-ok" => ChannelReply::Bound { exchange: false },
        "queue.unbind-ok" => ChannelReply::Unbound { exchange: false },
        "basic.qos-ok" => ChannelReply::QosSet,
        "basic.recover-ok" => ChannelReply::Recovered,
        "confirm.select-ok" => ChannelReply::ConfirmSelected,
        "tx.select-ok" => ChannelReply::TxSelected,
        "tx.commit-ok" => ChannelReply::TxCommitted,
        "tx.rollback-ok" => ChannelReply::TxRolledBack,
        _ => return None,
    })
}
