//! What sessions ask on a channel.

use super::channel::{Confirms, Delivered, Then, Transaction, Waiting};
use super::{Asked, ConsumerAt, Frontend, backlog_bytes};
use crate::api::{
    Cause, ChannelReply, ChannelRequest, ConnId, DeliveryTag, Destination, Name, Object, Operation, Outcome,
};
use crate::catalog::{Change, Definition, ExchangeDefinition, Kind, Policy, QueueId, is_reserved, text};
use crate::machine::Now;
use crate::message::Table;
use crate::shard::{ConsumerId, ConsumerSpec, GroupId, Guard, Input};
use std::collections::BTreeMap;

/// A refusal, with what was asked.
type Refused = (Operation, Cause);

impl Frontend {
    /// A request on an open channel: now, or once those before it are answered.
    pub(super) fn request(&mut self, now: Now, group: GroupId, request: ChannelRequest) {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        if channel.failed {
            return;
        }
        if channel.waiting.is_some() {
            self.backlog_bytes += backlog_bytes(&request);
            channel.backlog.push_back(request);
            self.update_blocked();
            return;
        }
        if let Err((operation, cause)) = self.perform(now, group, request) {
            self.fail(group, operation, cause);
        }
    }

    /// The shard answered: those that waited have their turn.
    pub(super) fn resume(&mut self, now: Now, group: GroupId) {
        while let Some(channel) = self.channels.get_mut(&group)
            && channel.waiting.is_none()
            && !channel.failed
            && let Some(request) = channel.backlog.pop_front()
        {
            self.backlog_bytes -= backlog_bytes(&request);
            if let Err((operation, cause)) = self.perform(now, group, request) {
                self.fail(group, operation, cause);
            }
        }
        self.update_blocked();
    }

    fn perform(&mut self, now: Now, group: GroupId, request: ChannelRequest) -> Result<(), Refused> {
        use ChannelRequest as R;
        match request {
            R::Publish { message, mandatory } => self.publish(group, message, mandatory),
            R::Settle { tag, multiple, outcome } => self.settle(group, tag, multiple, outcome)?,
            R::DeclareExchange {
                name,
                kind,
                passive,
                durable,
                auto_delete,
                internal,
                arguments,
                reply,
            } => {
                let flags = ExchangeFlags {
                    passive,
                    durable,
                    auto_delete,
                    internal,
                    reply,
                };
                let declared = self.declare_exchange(group, name, &kind, flags, arguments);
                declared.map_err(|cause| (Operation::DeclareExchange, cause))?;
            }
            R::DeleteExchange { name, if_unused, reply } => {
                let deleted = self.delete_exchange(group, name, if_unused, reply);
                deleted.map_err(|cause| (Operation::DeleteExchange, cause))?;
            }
            R::Bind {
                destination,
                source,
                routing_key,
                arguments,
                reply,
            } => {
                self.bind(group, destination, source, routing_key, arguments, reply, true)?;
            }
            R::Unbind {
                destination,
                source,
                routing_key,
                arguments,
                reply,
            } => {
                self.bind(group, destination, source, routing_key, arguments, reply, false)?;
            }
            R::DeclareQueue {
                name,
                passive,
                durable,
                exclusive,
                auto_delete,
                arguments,
                reply,
            } => {
                let flags = QueueFlags {
                    passive,
                    durable,
                    exclusive,
                    auto_delete,
                    reply,
                };
                let declared = self.declare_queue(now, group, name, flags, arguments);
                declared.map_err(|cause| (Operation::DeclareQueue, cause))?;
            }
            R::PurgeQueue { name, reply } => {
                let (queue, _) = self
                    .find(group, &name)
                    .map_err(|cause| (Operation::PurgeQueue, cause))?;
                let token = self.await_answer(group, Operation::PurgeQueue, reply, Then::Purged);
                self.to_shard.push_back(Input::Purge { token, queue });
            }
            R::DeleteQueue {
                name,
                if_unused,
                if_empty,
                reply,
            } => {
                let guard = Guard {
                    unused: if_unused,
                    empty: if_empty,
                };
                let deleted = self.delete_queue(group, &name, guard, reply);
                deleted.map_err(|cause| (Operation::DeleteQueue, cause))?;
            }
            R::Qos { count, global } => self.qos(group, count, global),
            R::Consume {
                queue,
                consumer,
                no_ack,
                exclusive,
                arguments,
                reply,
            } => {
                let consuming = self.consume(group, &queue, consumer, no_ack, exclusive, &arguments, reply);
                consuming.map_err(|cause| (Operation::Consume, cause))?;
            }
            R::Cancel { consumer, reply } => self.cancel(group, consumer, reply),
            R::Get { queue, no_ack } => {
                let (queue, _) = self.find(group, &queue).map_err(|cause| (Operation::Get, cause))?;
                let token = self.await_answer(group, Operation::Get, true, Then::Got { no_ack });
                self.to_shard.push_back(Input::Get { token, queue, no_ack });
            }
            R::Recover { reply } => self.recover(group, reply),
            R::ConfirmSelect { reply } => self.confirm_select(group, reply)?,
            R::TxSelect => self.tx_select(group)?,
            R::TxCommit => self.tx_commit(group)?,
            R::TxRollback => self.tx_rollback(group)?,
        }
        Ok(())
    }

    /// Later requests wait; the shard's answer to the token is answered as `then` says.
    fn await_answer(&mut self, group: GroupId, operation: Operation, reply: bool, then: Then) -> crate::shard::Token {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        assert!(channel.waiting.is_none(), "one request at a time");
        channel.waiting = Some(Waiting { operation, reply, then });
        self.ask(Asked::Channel(group))
    }

    fn change(&mut self, group: GroupId, operation: Operation, change: Change, guard: Guard, reply: bool, then: Then) {
        let token = self.await_answer(group, operation, reply, then);
        self.to_shard.push_back(Input::Change { token, change, guard });
    }

    fn say_if(&mut self, group: GroupId, reply: bool, what: ChannelReply) {
        if reply {
            self.say(group, what);
        }
    }

    fn conn(&self, group: GroupId) -> (ConnId, &Name) {
        let conn = self.channels[&group].conn;
        (conn, &self.connections[&conn].vhost)
    }

    /// A queue by name, empty meaning the channel's last, if this connection may use it.
    fn find(&self, group: GroupId, name: &Name) -> Result<(QueueId, Name), Cause> {
        let (conn, vhost) = self.conn(group);
        let name = self.resolve(group, name)?;
        let missing = || Cause::NotFound {
            object: Object::Queue,
            name: name.clone(),
        };
        let id = self.catalog.queue_id(vhost, &name).ok_or_else(missing)?;
        let owner = self.catalog.queue(id).and_then(|queue| queue.exclusive);
        if owner.is_some_and(|owner| owner != conn) {
            return Err(Cause::ResourceLocked {
                queue: name,
                why: "another connection declared it exclusive",
            });
        }
        Ok((id, name))
    }

    fn resolve(&self, group: GroupId, name: &Name) -> Result<Name, Cause> {
        if !name.is_empty() {
            return Ok(name.clone());
        }
        let missing = || Cause::NotFound {
            object: Object::Queue,
            name: "".into(),
        };
        self.channels[&group].last_queue.clone().ok_or_else(missing)
    }

    fn declare_exchange(
        &mut self,
        group: GroupId,
        name: Name,
        kind: &Name,
        flags: ExchangeFlags,
        arguments: Table,
    ) -> Result<(), Cause> {
        let vhost = self.conn(group).1.clone();
        let refused = |why| Cause::AccessRefused {
            object: Object::Exchange,
            name: name.clone(),
            why,
        };
        let present = self.catalog.exchange(&vhost, &name);
        if flags.passive {
            let present = present.is_some() || name.is_empty();
            let missing = || Cause::NotFound {
                object: Object::Exchange,
                name: name.clone(),
            };
            present.then_some(()).ok_or_else(missing)?;
            self.say_if(group, flags.reply, ChannelReply::ExchangeDeclared);
            return Ok(());
        }
        if name.is_empty() {
            return Err(refused("is the default exchange, which nobody declares"));
        }
        let kind = Kind::parse(kind).ok_or_else(|| Cause::UnknownExchangeType { kind: kind.clone() })?;
        let alternate = text(&arguments, "alternate-exchange")?;
        let ExchangeFlags {
            durable,
            auto_delete,
            internal,
            reply,
            ..
        } = flags;
        let asked = ExchangeDefinition {
            vhost,
            name: name.clone(),
            kind,
            durable,
            auto_delete,
            internal,
            arguments,
            alternate,
        };
        if let Some(present) = present {
            present.equivalent(&asked)?;
            self.say_if(group, reply, ChannelReply::ExchangeDeclared);
            return Ok(());
        }
        if is_reserved(&name) {
            return Err(refused("has a name that begins with 'amq.', which is reserved"));
        }
        let then = Then::Say(ChannelReply::ExchangeDeclared);
        let change = Change::DeclareExchange(asked);
        self.change(group, Operation::DeclareExchange, change, Guard::default(), reply, then);
        Ok(())
    }

    fn delete_exchange(&mut self, group: GroupId, name: Name, if_unused: bool, reply: bool) -> Result<(), Cause> {
        if name.is_empty() || is_reserved(&name) {
            let why = "is built in and cannot be deleted";
            return Err(Cause::AccessRefused {
                object: Object::Exchange,
                name,
                why,
            });
        }
        let vhost = self.conn(group).1.clone();
        let change = Change::DeleteExchange { vhost, name, if_unused };
        let then = Then::Say(ChannelReply::ExchangeDeleted);
        self.change(group, Operation::DeleteExchange, change, Guard::default(), reply, then);
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of two requests that differ in one bit"
    )]
    fn bind(
        &mut self,
        group: GroupId,
        destination: Destination,
        source: Name,
        routing_key: Name,
        arguments: Table,
        reply: bool,
        bind: bool,
    ) -> Result<(), Refused> {
        let exchange = matches!(destination, Destination::Exchange(_));
        let operation = match (bind, exchange) {
            (true, false) => Operation::BindQueue,
            (true, true) => Operation::BindExchange,
            (false, false) => Operation::UnbindQueue,
            (false, true) => Operation::UnbindExchange,
        };
        let checked = self.check_binding(group, destination, &source);
        let (destination, routing_key) = checked
            .map(|(destination, named_queue)| {
                // Both names empty: the last queue, under its own name (AMQP 0-9-1, queue.bind, routing-key).
                let key = if routing_key.is_empty() {
                    named_queue.unwrap_or(routing_key)
                } else {
                    routing_key
                };
                (destination, key)
            })
            .map_err(|cause| (operation, cause))?;
        let vhost = self.conn(group).1.clone();
        let (change, said) = if bind {
            let change = Change::Bind {
                vhost,
                source,
                destination,
                routing_key,
                arguments,
            };
            (change, ChannelReply::Bound { exchange })
        } else {
            let change = Change::Unbind {
                vhost,
                source,
                destination,
                routing_key,
                arguments,
            };
            (change, ChannelReply::Unbound { exchange })
        };
        self.change(group, operation, change, Guard::default(), reply, Then::Say(said));
        Ok(())
    }

    /// Both ends exist and may be bound. With an empty queue name, the name that it stands for.
    fn check_binding(
        &self,
        group: GroupId,
        destination: Destination,
        source: &Name,
    ) -> Result<(Destination, Option<Name>), Cause> {
        let vhost = self.conn(group).1.clone();
        let default = |name: &Name| {
            let (object, name) = (Object::Exchange, name.clone());
            Cause::AccessRefused {
                object,
                name,
                why: "is the default exchange: every queue is bound to it by its name",
            }
        };
        let exists = |name: &Name| {
            let missing = || Cause::NotFound {
                object: Object::Exchange,
                name: name.clone(),
            };
            self.catalog.exchange(&vhost, name).map(drop).ok_or_else(missing)
        };
        if source.is_empty() {
            return Err(default(source));
        }
        let checked = match destination {
            Destination::Queue(name) => {
                let (_, found) = self.find(group, &name)?;
                let named = name.is_empty().then(|| found.clone());
                (Destination::Queue(found), named)
            }
            Destination::Exchange(name) if name.is_empty() => return Err(default(&name)),
            Destination::Exchange(name) => {
                exists(&name)?;
                (Destination::Exchange(name), None)
            }
        };
        exists(source)?;
        Ok(checked)
    }

    fn declare_queue(
        &mut self,
        now: Now,
        group: GroupId,
        name: Name,
        flags: QueueFlags,
        arguments: Table,
    ) -> Result<(), Cause> {
        let QueueFlags {
            passive,
            durable,
            exclusive,
            auto_delete,
            reply,
        } = flags;
        if passive {
            let (queue, name) = self.find(group, &name)?;
            self.channels.get_mut(&group).expect("open").last_queue = Some(name.clone());
            let token = self.await_answer(group, Operation::DeclareQueue, reply, Then::Declared { name });
            self.to_shard.push_back(Input::Count {
                token,
                queue: Some(queue),
            });
            return Ok(());
        }
        let policy = Policy::parse(&arguments)?;
        let (conn, vhost) = (self.conn(group).0, self.conn(group).1.clone());
        let generated = name.is_empty();
        let name = if generated {
            self.generate(now, "amq.gen-")
        } else {
            name
        };
        self.channels.get_mut(&group).expect("open").last_queue = Some(name.clone());
        let exclusive = exclusive.then_some(conn);
        let definition = Definition {
            vhost: vhost.clone(),
            name: name.clone(),
            durable,
            exclusive,
            auto_delete,
            arguments,
            policy,
        };
        if let Some(id) = self.catalog.queue_id(&vhost, &name) {
            self.find(group, &name)?;
            self.catalog.queue(id).expect("found by name").equivalent(&definition)?;
            let token = self.await_answer(group, Operation::DeclareQueue, reply, Then::Declared { name });
            self.to_shard.push_back(Input::Count { token, queue: Some(id) });
            return Ok(());
        }
        if is_reserved(&name) && !generated {
            let why = "has a name that begins with 'amq.', which is reserved";
            return Err(Cause::AccessRefused {
                object: Object::Queue,
                name,
                why,
            });
        }
        let id = QueueId(self.queue_next);
        self.queue_next += 1;
        let change = Change::DeclareQueue {
            id,
            asker: conn,
            definition,
        };
        self.change(
            group,
            Operation::DeclareQueue,
            change,
            Guard::default(),
            reply,
            Then::Declared { name },
        );
        Ok(())
    }

    fn delete_queue(&mut self, group: GroupId, name: &Name, guard: Guard, reply: bool) -> Result<(), Cause> {
        let id = match self.find(group, name) {
            Ok((id, _)) => id,
            Err(Cause::NotFound { .. }) => {
                self.say_if(group, reply, ChannelReply::QueueDeleted { messages: 0 });
                return Ok(());
            }
            Err(cause) => return Err(cause),
        };
        self.change(
            group,
            Operation::DeleteQueue,
            Change::DeleteQueue { id },
            guard,
            reply,
            Then::Deleted,
        );
        Ok(())
    }

    fn qos(&mut self, group: GroupId, count: u16, global: bool) {
        if global {
            let max = (count != 0).then_some(u32::from(count));
            self.to_shard.push_back(Input::Limit { group, max });
        } else {
            self.channels.get_mut(&group).expect("the channel is open").prefetch = count;
        }
        self.say(group, ChannelReply::QosSet);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one request")]
    fn consume(
        &mut self,
        group: GroupId,
        queue: &Name,
        consumer: Name,
        no_ack: bool,
        exclusive: bool,
        arguments: &Table,
        reply: bool,
    ) -> Result<(), Cause> {
        if arguments.value("x-priority").is_some() {
            return Err(Cause::NotImplemented {
                feature: "consumer argument 'x-priority'".into(),
            });
        }
        let (queue, _) = self.find(group, queue)?;
        let id = ConsumerId(self.id());
        let tag = if consumer.is_empty() {
            Name::from(format!("amq.ctag-{}", id.0))
        } else {
            consumer
        };
        let channel = &self.channels[&group];
        if channel.consumers.contains_key(&tag) {
            return Err(Cause::NotAllowed {
                why: "the consumer tag is in use on this channel",
            });
        }
        let max = match (no_ack, channel.prefetch) {
            (true, _) => u32::MAX,
            (false, 0) => self.config.unsettled_max,
            (false, prefetch) => u32::from(prefetch),
        };
        let spec = ConsumerSpec {
            queue,
            conn: channel.conn,
            group,
            no_ack,
            exclusive,
            max,
        };
        // The consumer is known before the shard can deliver to it.
        self.consumers.insert(
            id,
            ConsumerAt {
                group,
                tag: tag.clone(),
                no_ack,
            },
        );
        self.channels
            .get_mut(&group)
            .expect("open")
            .consumers
            .insert(tag.clone(), id);
        let token = self.await_answer(group, Operation::Consume, reply, Then::Consuming { consumer: tag, id });
        self.to_shard.push_back(Input::Consume {
            token,
            consumer: id,
            spec,
        });
        Ok(())
    }

    fn cancel(&mut self, group: GroupId, consumer: Name, reply: bool) {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        if let Some(id) = channel.consumers.remove(&consumer) {
            self.consumers.remove(&id);
            self.to_shard.push_back(Input::Cancel { consumer: id });
        }
        self.say_if(group, reply, ChannelReply::Cancelled { consumer });
    }

    fn settle(&mut self, group: GroupId, tag: DeliveryTag, multiple: bool, outcome: Outcome) -> Result<(), Refused> {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        let taken = if multiple {
            channel.deliveries.take_upto(tag)
        } else {
            channel.deliveries.take(tag).map(|delivered| vec![delivered])
        };
        let taken = taken.ok_or((Operation::Settle, Cause::UnknownDelivery { tag }))?;
        if let Some(transaction) = &mut channel.transaction {
            transaction
                .settles
                .extend(taken.into_iter().map(|delivered| (delivered, outcome)));
        } else {
            self.settle_all(taken, outcome);
        }
        Ok(())
    }

    /// Settles deliveries, those of one queue together.
    pub(super) fn settle_all(&mut self, taken: Vec<Delivered>, outcome: Outcome) {
        if let [one] = taken[..] {
            let Delivered { queue, sequence, .. } = one;
            self.to_shard.push_back(Input::Settle {
                queue,
                sequences: vec![sequence],
                outcome,
            });
            return;
        }
        let mut by_queue: BTreeMap<QueueId, Vec<u64>> = BTreeMap::new();
        for delivered in taken {
            by_queue.entry(delivered.queue).or_default().push(delivered.sequence);
        }
        for (queue, sequences) in by_queue {
            self.to_shard.push_back(Input::Settle {
                queue,
                sequences,
                outcome,
            });
        }
    }

    fn recover(&mut self, group: GroupId, reply: bool) {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        let taken = channel.deliveries.take_upto(0).expect("all of them");
        // The answer first: what is delivered again comes after it.
        self.say_if(group, reply, ChannelReply::Recovered);
        self.settle_all(taken, Outcome::Requeue);
    }

    fn confirm_select(&mut self, group: GroupId, reply: bool) -> Result<(), Refused> {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        if channel.transaction.is_some() {
            let why = "the channel is in transaction mode: confirm mode needs another channel";
            return Err((Operation::ConfirmSelect, Cause::WrongMode { why }));
        }
        channel.confirms.get_or_insert_with(Confirms::new);
        self.say_if(group, reply, ChannelReply::ConfirmSelected);
        Ok(())
    }

    fn tx_select(&mut self, group: GroupId) -> Result<(), Refused> {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        if channel.confirms.is_some() {
            let why = "the channel is in confirm mode: transactions need another channel";
            return Err((Operation::TxSelect, Cause::WrongMode { why }));
        }
        channel.transaction.get_or_insert_default();
        self.say(group, ChannelReply::TxSelected);
        Ok(())
    }

    fn tx_commit(&mut self, group: GroupId) -> Result<(), Refused> {
        let transaction = self.take_transaction(group, Operation::TxCommit)?;
        let token = self.await_answer(group, Operation::TxCommit, true, Then::Committed);
        let Transaction { publishes, settles, .. } = transaction;
        let settles = settles
            .into_iter()
            .map(|(one, outcome)| (one.queue, one.sequence, outcome))
            .collect();
        self.to_shard.push_back(Input::Commit {
            token,
            publishes,
            settles,
        });
        Ok(())
    }

    /// Publishes are forgotten; settlements too: their deliveries stay unsettled, under their tags.
    fn tx_rollback(&mut self, group: GroupId) -> Result<(), Refused> {
        let transaction = self.take_transaction(group, Operation::TxRollback)?;
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        channel
            .deliveries
            .restore(transaction.settles.into_iter().map(|(delivered, _)| delivered));
        self.say(group, ChannelReply::TxRolledBack);
        Ok(())
    }

    fn take_transaction(&mut self, group: GroupId, operation: Operation) -> Result<Transaction, Refused> {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        let why = "the channel is not in transaction mode: tx.select comes first";
        let transaction = channel
            .transaction
            .as_mut()
            .ok_or((operation, Cause::WrongMode { why }))?;
        Ok(std::mem::take(transaction))
    }

    /// A name that no client chooses. It differs between runs, as the seed does.
    fn generate(&mut self, now: Now, prefix: &str) -> Name {
        let number = self.id();
        let mixed =
            crate::log::record::checksum(&[self.config.seed, now.wall.0, number].map(u64::to_le_bytes).concat());
        Name::from(format!("{prefix}{mixed:08x}{number:x}"))
    }
}

struct ExchangeFlags {
    passive: bool,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    reply: bool,
}

struct QueueFlags {
    passive: bool,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    reply: bool,
}
