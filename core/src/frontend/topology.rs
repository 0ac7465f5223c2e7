//! Declaring, binding and deleting.

use super::Frontend;
use super::channel::Then;
use super::requests::Refused;
use crate::api::{Cause, ChannelReply, ChannelRequest, Destination, Name, Object, Operation};
use crate::catalog::{Change, Definition, ExchangeDefinition, Policy, QueueId, is_reserved, parse_type, text};
use crate::machine::Now;
use crate::message::Table;
use crate::shard::{GroupId, Guard, Input};

impl Frontend {
    /// A request about exchanges, bindings or queues.
    pub(super) fn perform_on_topology(
        &mut self,
        now: Now,
        group: GroupId,
        request: ChannelRequest,
    ) -> Result<(), Refused> {
        use ChannelRequest as R;
        match request {
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
                declared.map_err(|cause| (Operation::DeclareExchange, cause))
            }
            R::DeleteExchange { name, if_unused, reply } => {
                let deleted = self.delete_exchange(group, name, if_unused, reply);
                deleted.map_err(|cause| (Operation::DeleteExchange, cause))
            }
            R::Bind {
                destination,
                source,
                routing_key,
                arguments,
                reply,
            } => self.bind(
                group,
                Binding {
                    destination,
                    source,
                    routing_key,
                    arguments,
                    reply,
                },
                true,
            ),
            R::Unbind {
                destination,
                source,
                routing_key,
                arguments,
                reply,
            } => self.bind(
                group,
                Binding {
                    destination,
                    source,
                    routing_key,
                    arguments,
                    reply,
                },
                false,
            ),
            queues => self.perform_on_queue(now, group, queues),
        }
    }

    fn perform_on_queue(&mut self, now: Now, group: GroupId, request: ChannelRequest) -> Result<(), Refused> {
        use ChannelRequest as R;
        match request {
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
                declared.map_err(|cause| (Operation::DeclareQueue, cause))
            }
            R::PurgeQueue { name, reply } => {
                let (queue, _) = self
                    .find(group, &name)
                    .map_err(|cause| (Operation::PurgeQueue, cause))?;
                let token = self.await_answer(group, Operation::PurgeQueue, reply, Then::Purged);
                let behind = self.catch_up(group);
                self.to_shard.push_back(Input::Purge { token, queue, behind });
                Ok(())
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
                deleted.map_err(|cause| (Operation::DeleteQueue, cause))
            }
            other => unreachable!("{other:?} is not about topology"),
        }
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
            self.say_durably(
                group,
                Operation::DeclareExchange,
                flags.reply,
                ChannelReply::ExchangeDeclared,
            );
            return Ok(());
        }
        if name.is_empty() {
            return Err(refused("is the default exchange, which nobody declares"));
        }
        let (kind, delayed) = parse_type(kind, &arguments)?;
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
            delayed,
            durable,
            auto_delete,
            internal,
            arguments,
            alternate,
        };
        if let Some(present) = present {
            present.equivalent(&asked)?;
            self.say_durably(group, Operation::DeclareExchange, reply, ChannelReply::ExchangeDeclared);
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

    fn bind(&mut self, group: GroupId, asked: Binding, bind: bool) -> Result<(), Refused> {
        let Binding {
            destination,
            source,
            routing_key,
            arguments,
            reply,
        } = asked;
        let exchange = matches!(destination, Destination::Exchange(_));
        let operation = match (bind, exchange) {
            (true, false) => Operation::BindQueue,
            (true, true) => Operation::BindExchange,
            (false, false) => Operation::UnbindQueue,
            (false, true) => Operation::UnbindExchange,
        };
        let checked = self.check_binding(group, destination, &source);
        if !bind && matches!(checked, Err(Cause::NotFound { .. })) {
            // What is not bound is unbound already, as with RabbitMQ.
            self.say_durably(group, operation, reply, ChannelReply::Unbound { exchange });
            return Ok(());
        }
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
            self.count_declared(group, queue, name, reply);
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
            self.count_declared(group, id, name, reply);
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

    /// The queue is there: its counts are the answer.
    fn count_declared(&mut self, group: GroupId, queue: QueueId, name: Name, reply: bool) {
        self.channels.get_mut(&group).expect("the channel is open").last_queue = Some(name.clone());
        let token = self.await_answer(group, Operation::DeclareQueue, reply, Then::Declared { name });
        let queue = Some(queue);
        self.to_shard.push_back(Input::Count { token, queue });
    }

    fn delete_queue(&mut self, group: GroupId, name: &Name, guard: Guard, reply: bool) -> Result<(), Cause> {
        let id = match self.find(group, name) {
            Ok((id, _)) => id,
            Err(Cause::NotFound { .. }) => {
                self.say_durably(
                    group,
                    Operation::DeleteQueue,
                    reply,
                    ChannelReply::QueueDeleted { messages: 0 },
                );
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

    /// A name that no client chooses. It differs between runs, as the seed does.
    fn generate(&mut self, now: Now, prefix: &str) -> Name {
        let number = self.id();
        let mixed =
            crate::log::record::checksum(&[self.config.seed, now.wall.0, number].map(u64::to_le_bytes).concat());
        Name::from(format!("{prefix}{mixed:08x}{number:x}"))
    }
}

/// The fields of a bind or an unbind.
struct Binding {
    destination: Destination,
    source: Name,
    routing_key: Name,
    arguments: Table,
    reply: bool,
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
