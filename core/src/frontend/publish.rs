//! A published message: checked, routed, handed to the shard.

use super::Frontend;
use super::channel::{CachedRoute, Channel};
use crate::api::{Cause, ChannelReply, Object, Operation};
use crate::catalog::{DURATION_MS_MAX, QueueId};
use crate::message::{Message, Properties};
use crate::plant::{self, Plant};
use crate::shard::{GroupId, Input, Publish, Token};
use std::sync::Arc;

/// Flags of the properties that the broker looks at: expiration and user-id (AMQP 0-9-1, section 4.2.6.1).
const LOOKED_AT: u16 = 1 << 8 | 1 << 4;
/// Bytes of publishes in one transaction: what one entry holds.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

impl Frontend {
    pub(super) fn publish(&mut self, group: GroupId, message: Message, mandatory: bool) {
        self.counters.published += 1;
        self.counters.published_bytes += message.body().len() as u64;
        let publish = match self.address(group, &message) {
            Ok(address) => Publish {
                queues: address.queues,
                ttl_ms: address.ttl_ms,
                delay_ms: address.delay_ms,
                message,
            },
            Err(cause) => return self.fail(group, Operation::Publish, cause),
        };
        if publish.queues.is_empty() {
            self.counters.unroutable += 1;
            if mandatory && !plant::is(Plant::ReturnForgotten) {
                self.sending(self.channels[&group].conn, publish.message.bytes().len());
                self.say(
                    group,
                    ChannelReply::Return {
                        message: publish.message.clone(),
                    },
                );
            }
        }
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        if let Some(transaction) = &mut channel.transaction {
            transaction.bytes += publish.message.bytes().len();
            if transaction.bytes > TRANSACTION_BYTES_MAX {
                let why = "the transaction holds more than 64 MiB: commit more often";
                return self.fail(group, Operation::Publish, Cause::Limit { why });
            }
            transaction.publishes.push(publish);
            return;
        }
        let number = channel.confirms.as_mut().map(super::channel::Confirms::add);
        if publish.queues.is_empty() {
            if let (Some(number), Some(confirms)) = (number, &mut channel.confirms) {
                confirms.set(number, true);
                self.confirming.insert(group);
            }
            return;
        }
        channel.behind = true;
        let token = number.map(|number| Token::Publish(group, number));
        self.to_shard.push_back(Input::Publish { token, publish });
    }

    pub(super) fn tell_confirms(&mut self, group: GroupId) {
        let Some(channel) = self.channels.get_mut(&group).filter(|channel| !channel.failed) else {
            return;
        };
        let mut replies = Vec::new();
        if let Some(confirms) = channel.confirms.as_mut().filter(|confirms| confirms.changed) {
            confirms.drain(|tag, multiple, ok| replies.push(ChannelReply::Confirm { tag, multiple, ok }));
        }
        replies.into_iter().for_each(|reply| self.say(group, reply));
    }

    /// The queues that take the message, and when.
    fn address(&mut self, group: GroupId, message: &Message) -> Result<Address, Cause> {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        let connection = &self.connections[&channel.conn];
        let ttl_ms = check_properties(message, &connection.user)?;
        let version = self.catalog.version();
        if let Some(queues) = cached(channel, version, message) {
            let delay_ms = 0;
            return Ok(Address {
                queues,
                ttl_ms,
                delay_ms,
            });
        }
        let (exchange, vhost) = (message.exchange(), &connection.vhost);
        let definition = self.catalog.exchange(vhost, exchange);
        if definition.is_some_and(|exchange| exchange.internal) {
            let (object, name) = (Object::Exchange, exchange.into());
            return Err(Cause::AccessRefused {
                object,
                name,
                why: "is internal: clients cannot publish to it",
            });
        }
        let delays = definition.is_some_and(|exchange| exchange.delayed);
        let delay_ms = if delays { delay_of(message)? } else { 0 };
        let route = self.catalog.route(vhost, exchange, message.routing_key(), message)?;
        let queues: Arc<[QueueId]> = Arc::from(route.queues);
        let address = Message::new(exchange, message.routing_key(), &[0, 0], &[]);
        channel.route = (route.cacheable && !delays).then(|| CachedRoute {
            version,
            address,
            queues: queues.clone(),
        });
        Ok(Address {
            queues,
            ttl_ms,
            delay_ms,
        })
    }
}

/// Where a message goes, and when.
struct Address {
    queues: Arc<[QueueId]>,
    /// Its own time to live.
    ttl_ms: Option<u64>,
    /// Milliseconds before it may be delivered.
    delay_ms: u64,
}

/// The header that says how long a message waits, as with RabbitMQ's plugin: an integer, or text of one; a negative one is
/// that of a message that waited before.
fn delay_of(message: &Message) -> Result<u64, Cause> {
    let headers = message.headers();
    let Some(value) = headers.value("x-delay") else {
        return Ok(0);
    };
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    match number.map(|number| number.max(0).unsigned_abs()) {
        Some(delay_ms) if delay_ms <= DURATION_MS_MAX => Ok(delay_ms),
        _ => Err(Cause::InvalidProperty {
            property: "x-delay",
            why: "must be an integer of milliseconds, ten years at most",
        }),
    }
}

/// The route of the channel's last publish, if it had the same address.
fn cached(channel: &Channel, version: u64, message: &Message) -> Option<Arc<[QueueId]>> {
    let route = channel
        .route
        .as_ref()
        .filter(|route| route.version == version || plant::is(Plant::RouteCacheStale))?;
    let same = route.address.routing_key() == message.routing_key() && route.address.exchange() == message.exchange();
    same.then(|| route.queues.clone())
}

/// The message's expiration; that its user-id, if any, is the connection's (as RabbitMQ checks it).
fn check_properties(message: &Message, user: &str) -> Result<Option<u64>, Cause> {
    let flags = message
        .properties()
        .get(..2)
        .map_or(0, |flags| u16::from(flags[0]) << 8 | u16::from(flags[1]));
    if flags & LOOKED_AT == 0 {
        return Ok(None);
    }
    let properties = Properties::parse(message.properties()).unwrap_or_default();
    if properties.user_id().is_some_and(|claimed| claimed != user.as_bytes()) {
        return Err(Cause::InvalidProperty {
            property: "user-id",
            why: "is not the connection's user",
        });
    }
    let Some(expiration) = properties.expiration() else {
        return Ok(None);
    };
    let number = std::str::from_utf8(expiration)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    match number.filter(|number| *number <= DURATION_MS_MAX) {
        Some(ttl_ms) => Ok(Some(ttl_ms)),
        None => Err(Cause::InvalidProperty {
            property: "expiration",
            why: "must be milliseconds in decimal digits",
        }),
    }
}
