//! What each request does to the model, and what it is answered.

use super::model::{Connection, Consumer, Expected, Get, Held, Model, Policy, Queue, Transaction, ttl_of};
use super::topology::{Binding, Exchange};
use waystation_core::api::{ChannelReply, ChannelRequest, ConnId, Destination, Name, Outcome, Reply};
use waystation_core::message::{Message, OwnedProperties, Value};

type At = (ConnId, u16);

/// The channel fails.
struct Failure;

impl Model {
    pub(super) fn connect(&mut self, conn: ConnId) {
        self.connections.insert(conn, Connection::default());
        self.answer(conn, Reply::Connected);
    }

    pub(super) fn disconnect(&mut self, conn: ConnId) {
        let channels: Vec<u16> = self.connections[&conn].channels.keys().copied().collect();
        channels.into_iter().for_each(|channel| self.clear((conn, channel)));
        let mine = self.queues.iter().filter(|(_, queue)| queue.exclusive == Some(conn));
        let gone: Vec<u64> = mine.map(|(id, _)| *id).collect();
        for id in gone {
            self.delete(id);
        }
        self.connections.remove(&conn);
        self.answer(conn, Reply::Disconnected);
    }

    pub(super) fn open(&mut self, at: At) {
        let connection = self.connections.get_mut(&at.0).expect("scripts use what is connected");
        connection.channels.entry(at.1).or_default();
        self.say(at, ChannelReply::Opened);
    }

    pub(super) fn close(&mut self, at: At) {
        self.clear(at);
        let connection = self.connections.get_mut(&at.0).expect("scripts use what is connected");
        connection.channels.remove(&at.1);
        self.say(at, ChannelReply::Closed);
    }

    pub(super) fn drained(&mut self, conn: ConnId, bytes: u64) {
        let window = self.window;
        let connection = self.connections.get_mut(&conn).expect("scripts use what is connected");
        connection.unread -= bytes;
        if connection.paused && connection.unread <= window / 2 {
            connection.paused = false;
            connection.was_paused = false;
        }
    }

    pub(super) fn ask(&mut self, at: At, request: &ChannelRequest) {
        if self.channel(at).failed {
            return;
        }
        if self.perform(at, request).is_err() {
            self.clear(at);
            self.channel(at).failed = true;
            // What was published before is not told of any more.
            self.confirms.remove(&at);
            self.answers.entry(at.0).or_default().push(Expected::Failure(at.1));
        }
    }

    fn perform(&mut self, at: At, request: &ChannelRequest) -> Result<(), Failure> {
        use ChannelRequest as R;
        match request {
            R::Publish { message, mandatory } => self.take_publish(at, message, *mandatory),
            R::DeclareExchange { .. } | R::DeleteExchange { .. } | R::Bind { .. } | R::Unbind { .. } => {
                self.change_routes(at, request)
            }
            R::DeclareQueue { .. } => self.declare_queue(at, request),
            R::PurgeQueue { name, .. } => {
                let id = self.usable(at, name)?;
                let items = std::mem::take(&mut self.queues.get_mut(&id).ok_or(Failure)?.items);
                self.say(
                    at,
                    ChannelReply::QueuePurged {
                        messages: items.len() as u32,
                    },
                );
                Ok(())
            }
            R::DeleteQueue {
                name,
                if_unused,
                if_empty,
                ..
            } => {
                let messages = match self.find(name) {
                    None => 0,
                    Some(_) => {
                        let id = self.usable(at, name)?;
                        let queue = &self.queues[&id];
                        let used = *if_unused && !queue.consumers.is_empty();
                        fail_if(used || (*if_empty && !queue.items.is_empty()))?;
                        self.delete(id)
                    }
                };
                self.say(
                    at,
                    ChannelReply::QueueDeleted {
                        messages: messages as u32,
                    },
                );
                Ok(())
            }
            R::Qos { count, global } => {
                let channel = self.channel(at);
                if *global {
                    channel.limit = (*count > 0).then_some(u32::from(*count));
                } else {
                    channel.prefetch = *count;
                }
                self.say(at, ChannelReply::QosSet);
                Ok(())
            }
            R::Consume {
                queue,
                consumer,
                no_ack,
                exclusive,
                ..
            } => self.consume(at, queue, consumer, *no_ack, *exclusive),
            R::Get { queue, no_ack } => {
                let queue = self.usable(at, queue)?;
                self.use_queue(queue);
                let no_ack = *no_ack;
                self.get = Some(Get { at, queue, no_ack });
                Ok(())
            }
            _ => self.perform_on_channel(at, request),
        }
    }

    fn perform_on_channel(&mut self, at: At, request: &ChannelRequest) -> Result<(), Failure> {
        use ChannelRequest as R;
        match request {
            R::Cancel { consumer, .. } => {
                let mine = |(_, one): &(&u64, &Consumer)| one.at == at && one.tag == *consumer;
                if let Some(id) = self.consumers.iter().find(mine).map(|(id, _)| *id) {
                    self.cancel(id);
                }
                let consumer = consumer.clone();
                self.say(at, ChannelReply::Cancelled { consumer });
            }
            R::Settle { tag, multiple, outcome } => return self.take_settle(at, *tag, *multiple, *outcome),
            R::Recover { .. } => {
                let held = std::mem::take(&mut self.channel(at).held);
                held.into_values().for_each(|held| self.settle(held, Outcome::Requeue));
                self.say(at, ChannelReply::Recovered);
            }
            R::ConfirmSelect { .. } => {
                fail_if(self.channel(at).transaction.is_some())?;
                self.channel(at).confirms.get_or_insert(1);
                self.say(at, ChannelReply::ConfirmSelected);
            }
            R::TxSelect => {
                fail_if(self.channel(at).confirms.is_some())?;
                self.channel(at).transaction.get_or_insert_default();
                self.say(at, ChannelReply::TxSelected);
            }
            R::TxCommit => {
                let open = self.channel(at).transaction.as_mut().ok_or(Failure)?;
                let Transaction { publishes, settles } = std::mem::take(open);
                let (rejected, others): (Vec<_>, Vec<_>) = settles
                    .into_iter()
                    .partition(|(_, _, outcome)| *outcome == Outcome::Reject);
                for (_, held, outcome) in others {
                    self.settle(held, outcome);
                }
                for (queues, message, ttl_ms) in publishes {
                    self.publish(&queues, &message, ttl_ms);
                }
                // Letters of what is rejected come behind.
                for (_, held, outcome) in rejected {
                    self.settle(held, outcome);
                }
                self.say(at, ChannelReply::TxCommitted);
            }
            R::TxRollback => {
                let open = self.channel(at).transaction.as_mut().ok_or(Failure)?;
                let back = std::mem::take(open)
                    .settles
                    .into_iter()
                    .map(|(tag, held, _)| (tag, held));
                self.channel(at).held.extend(back);
                self.say(at, ChannelReply::TxRolledBack);
            }
            other => unreachable!("{other:?} was handled"),
        }
        Ok(())
    }

    fn take_publish(&mut self, at: At, message: &Message, mandatory: bool) -> Result<(), Failure> {
        let properties = OwnedProperties::parse(message.properties()).map_err(|_| Failure)?;
        fail_if(properties.user_id.is_some_and(|user| user[..] != *b"guest"))?;
        let ttl_ms = ttl_of(message);
        fail_if(properties.expiration.is_some() && ttl_ms.is_none())?;
        fail_if(
            self.topology
                .exchange(message.exchange())
                .is_some_and(|exchange| exchange.internal),
        )?;
        let queues = self.route(message).ok_or(Failure)?;
        if queues.is_empty() && mandatory {
            let message = message.clone();
            self.sent(at.0, &message);
            self.say(at, ChannelReply::Return { message });
        }
        if let Some(open) = &mut self.channel(at).transaction {
            open.publishes.push((queues, message.clone(), ttl_ms));
            return Ok(());
        }
        let ok = self.publish(&queues, message, ttl_ms);
        let channel = self.channel(at);
        if let Some(number) = &mut channel.confirms {
            let this = *number;
            *number += 1;
            self.confirms.entry(at).or_default().insert(this, ok);
        }
        Ok(())
    }

    /// Bytes of a message are on their way to a peer.
    pub(super) fn sent(&mut self, conn: ConnId, message: &Message) {
        let window = self.window;
        let connection = self.connections.get_mut(&conn).expect("scripts use what is connected");
        connection.unread += message.bytes().len() as u64;
        connection.paused |= connection.unread > window;
    }

    fn take_settle(&mut self, at: At, tag: u64, multiple: bool, outcome: Outcome) -> Result<(), Failure> {
        let channel = self.channel(at);
        let all = multiple && tag == 0;
        fail_if(!all && !channel.held.contains_key(&tag))?;
        let wanted = |held: &u64| *held == tag || (multiple && (tag == 0 || *held < tag));
        let tags: Vec<u64> = channel.held.keys().copied().filter(wanted).collect();
        let taken: Vec<(u64, Held)> = tags
            .into_iter()
            .filter_map(|tag| Some((tag, channel.held.remove(&tag)?)))
            .collect();
        if let Some(open) = &mut channel.transaction {
            open.settles
                .extend(taken.into_iter().map(|(tag, held)| (tag, held, outcome)));
        } else {
            taken.into_iter().for_each(|(_, held)| self.settle(held, outcome));
        }
        Ok(())
    }

    /// A queue that exists and that this connection may use.
    fn usable(&self, at: At, name: &str) -> Result<u64, Failure> {
        let id = self.find(name).ok_or(Failure)?;
        let owner = self.queues[&id].exclusive;
        fail_if(owner.is_some_and(|owner| owner != at.0))?;
        Ok(id)
    }

    fn declare_queue(&mut self, at: At, request: &ChannelRequest) -> Result<(), Failure> {
        let ChannelRequest::DeclareQueue {
            name,
            passive,
            durable,
            exclusive,
            auto_delete,
            arguments,
            ..
        } = request
        else {
            return Err(Failure);
        };
        let policy = Policy::of(arguments);
        let asked = Queue {
            name: name.clone(),
            durable: *durable,
            exclusive: exclusive.then_some(at.0),
            auto_delete: *auto_delete,
            policy,
            items: Vec::new(),
            consumers: Vec::new(),
            unsure: 0,
            exclusive_consumer: None,
            used_at: self.mono_ms,
        };
        let (mut messages, mut consumers) = (0, 0);
        if self.find(name).is_some() || *passive {
            let id = self.usable(at, name)?;
            let there = &self.queues[&id];
            let same = there.durable == asked.durable
                && there.exclusive == asked.exclusive
                && there.auto_delete == asked.auto_delete
                && there.policy == asked.policy;
            fail_if(!*passive && !same)?;
            (messages, consumers) = (there.items.len() as u32, there.consumers.len() as u32);
            self.use_queue(id);
        } else {
            let id = self.number();
            self.queues.insert(id, asked);
        }
        let name = name.clone();
        self.say(
            at,
            ChannelReply::QueueDeclared {
                name,
                messages,
                consumers,
            },
        );
        Ok(())
    }

    fn consume(&mut self, at: At, name: &str, tag: &Name, no_ack: bool, exclusive: bool) -> Result<(), Failure> {
        let id = self.usable(at, name)?;
        fail_if(self.consumers.values().any(|other| other.at == at && other.tag == *tag))?;
        let number = self.number();
        let queue = self.queues.get_mut(&id).ok_or(Failure)?;
        fail_if(queue.exclusive_consumer.is_some() || (exclusive && !queue.consumers.is_empty()))?;
        queue.exclusive_consumer = exclusive.then_some(number);
        queue.consumers.push(number);
        self.use_queue(id);
        let prefetch = self.channel(at).prefetch;
        let max = if no_ack {
            u32::MAX
        } else {
            Self::unsettled_max(prefetch)
        };
        let consumer = Consumer {
            queue: id,
            at,
            tag: tag.clone(),
            no_ack,
            max,
        };
        self.consumers.insert(number, consumer);
        let consumer = tag.clone();
        self.say(at, ChannelReply::Consuming { consumer });
        Ok(())
    }

    fn change_routes(&mut self, at: At, request: &ChannelRequest) -> Result<(), Failure> {
        use ChannelRequest as R;
        let said = match request {
            R::DeclareExchange {
                name,
                kind,
                passive,
                durable,
                auto_delete,
                internal,
                arguments,
                ..
            } => {
                let asked = Exchange {
                    name: name.clone(),
                    kind: kind.clone(),
                    durable: *durable,
                    auto_delete: *auto_delete,
                    internal: *internal,
                    alternate: arguments
                        .value("alternate-exchange")
                        .and_then(Value::as_str)
                        .map(Name::from),
                };
                match self.topology.exchange(name) {
                    Some(there) => fail_if(!*passive && *there != asked)?,
                    None => {
                        fail_if(*passive || name.is_empty() || name.starts_with("amq."))?;
                        self.topology.declare(asked);
                    }
                }
                ChannelReply::ExchangeDeclared
            }
            R::DeleteExchange { name, if_unused, .. } => {
                fail_if(name.is_empty() || name.starts_with("amq.") || (*if_unused && self.topology.is_source(name)))?;
                self.topology.delete(name);
                ChannelReply::ExchangeDeleted
            }
            R::Bind { .. } | R::Unbind { .. } => return self.change_binding(at, request),
            other => unreachable!("{other:?} changes no routes"),
        };
        self.say(at, said);
        Ok(())
    }

    fn change_binding(&mut self, at: At, request: &ChannelRequest) -> Result<(), Failure> {
        use ChannelRequest as R;
        let (R::Bind {
            destination,
            source,
            routing_key,
            arguments,
            ..
        }
        | R::Unbind {
            destination,
            source,
            routing_key,
            arguments,
            ..
        }) = request
        else {
            return Err(Failure);
        };
        let binds = matches!(request, R::Bind { .. });
        let binding = Binding {
            source: source.clone(),
            destination: destination.clone(),
            key: routing_key.clone(),
            arguments: arguments.clone(),
        };
        let there = self.topology.exchange(source).is_some()
            && match destination {
                Destination::Queue(name) => self.find(name).is_some(),
                Destination::Exchange(name) => self.topology.exchange(name).is_some(),
            };
        if let Destination::Queue(name) = destination
            && self.find(name).is_some()
        {
            self.usable(at, name)?;
        }
        fail_if(binds && !there)?;
        let exchange = matches!(destination, Destination::Exchange(_));
        let said = if binds {
            self.topology.bind(binding);
            ChannelReply::Bound { exchange }
        } else {
            self.topology.unbind(&binding);
            ChannelReply::Unbound { exchange }
        };
        self.say(at, said);
        Ok(())
    }
}

const fn fail_if(wrong: bool) -> Result<(), Failure> {
    if wrong { Err(Failure) } else { Ok(()) }
}
