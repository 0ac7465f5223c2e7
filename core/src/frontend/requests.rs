//! What sessions ask on a channel.

use super::channel::{Confirms, Delivered, Then, Transaction, Waiting};
use super::{Asked, ConsumerAt, Frontend, backlog_bytes};
use crate::api::{Cause, ChannelReply, ChannelRequest, ConnId, DeliveryTag, Name, Object, Operation, Outcome};
use crate::catalog::{Change, QueueId};
use crate::machine::Now;
use crate::message::Table;
use crate::plant::{self, Plant};
use crate::shard::{ConsumerId, ConsumerSpec, GroupId, Guard, Input};
use std::collections::BTreeMap;

/// A refusal, with what was asked.
pub(super) type Refused = (Operation, Cause);

impl Frontend {
    /// A request on an open channel: now, or once those before it are answered.
    pub(super) fn request(&mut self, now: Now, group: GroupId, request: ChannelRequest) {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        if (channel.failed && !plant::is(Plant::FailedChannelActs)) || channel.ending.is_some() {
            return;
        }
        if channel.waiting.is_some() {
            let (conn, bytes) = (channel.conn, backlog_bytes(&request));
            channel.backlog.push_back(request);
            self.join_line(conn, bytes);
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
            let conn = channel.conn;
            self.leave_line(conn, backlog_bytes(&request));
            if let Err((operation, cause)) = self.perform(now, group, request) {
                self.fail(group, operation, cause);
            }
        }
        self.end_if_done(group);
        self.update_blocked();
    }

    fn perform(&mut self, now: Now, group: GroupId, request: ChannelRequest) -> Result<(), Refused> {
        use ChannelRequest as R;
        match request {
            R::Publish { message, mandatory } => self.publish(group, message, mandatory),
            R::Settle { tag, multiple, outcome } => self.settle(group, tag, multiple, outcome)?,
            R::Qos { count, global } => self.qos(group, count, global),
            R::Cancel { consumer, reply } => self.cancel(group, consumer, reply),
            R::Recover { reply } => self.recover(group, reply),
            R::ConfirmSelect { reply } => self.confirm_select(group, reply)?,
            R::TxSelect => self.tx_select(group)?,
            R::TxCommit => self.tx_commit(group)?,
            R::TxRollback => self.tx_rollback(group)?,
            R::Consume {
                queue,
                consumer,
                no_ack,
                exclusive,
                arguments,
                reply,
            } => {
                let asked = Consume {
                    queue,
                    consumer,
                    no_ack,
                    exclusive,
                    arguments,
                    reply,
                };
                self.consume(group, asked)
                    .map_err(|cause| (Operation::Consume, cause))?;
            }
            R::Get { queue, no_ack } => {
                let (queue, _) = self.find(group, &queue).map_err(|cause| (Operation::Get, cause))?;
                let token = self.await_answer(group, Operation::Get, true, Then::Got { no_ack });
                let behind = self.catch_up(group);
                self.to_shard.push_back(Input::Get { token, queue, behind });
            }
            topology => self.perform_on_topology(now, group, topology)?,
        }
        Ok(())
    }

    /// Later requests wait; the shard's answer to the token is answered as `then` says.
    pub(super) fn await_answer(
        &mut self,
        group: GroupId,
        operation: Operation,
        reply: bool,
        then: Then,
    ) -> crate::shard::Token {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        assert!(channel.waiting.is_none(), "one request at a time");
        channel.waiting = Some(Waiting { operation, reply, then });
        self.ask(Asked::Channel(group))
    }

    pub(super) fn change(
        &mut self,
        group: GroupId,
        operation: Operation,
        change: Change,
        guard: Guard,
        reply: bool,
        then: Then,
    ) {
        let token = self.await_answer(group, operation, reply, then);
        self.to_shard.push_back(Input::Change { token, change, guard });
    }

    /// Whether the next request has to wait for what the channel published before: it must see it (G11).
    pub(super) fn catch_up(&mut self, group: GroupId) -> bool {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        std::mem::take(&mut channel.behind) && !plant::is(Plant::PurgeOvertakes)
    }

    pub(super) fn say_if(&mut self, group: GroupId, reply: bool, what: ChannelReply) {
        if reply {
            self.say(group, what);
        }
    }

    /// Answers once everything settled on the channel is durable: a round trip says so (G2).
    pub(super) fn say_durably(&mut self, group: GroupId, operation: Operation, reply: bool, what: ChannelReply) {
        if !self.channels[&group].unsure {
            return self.say_if(group, reply, what);
        }
        let token = self.await_answer(group, operation, reply, Then::Say(what));
        self.to_shard.push_back(Input::Count { token, queue: None });
    }

    pub(super) fn conn(&self, group: GroupId) -> (ConnId, &Name) {
        let conn = self.channels[&group].conn;
        (conn, &self.connections[&conn].vhost)
    }

    /// A queue by name, empty meaning the channel's last, if this connection may use it.
    pub(super) fn find(&self, group: GroupId, name: &Name) -> Result<(QueueId, Name), Cause> {
        let (conn, vhost) = self.conn(group);
        let name = self.resolve(group, name)?;
        let missing = || Cause::NotFound {
            object: Object::Queue,
            name: name.clone(),
        };
        let id = self.catalog.queue_id(vhost, &name).ok_or_else(missing)?;
        let owner = self.catalog.queue(id).and_then(|queue| queue.exclusive);
        if owner.is_some_and(|owner| owner != conn) && !plant::is(Plant::ExclusiveQueueShared) {
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

    fn qos(&mut self, group: GroupId, count: u16, global: bool) {
        if global {
            let max = (count != 0).then_some(u32::from(count));
            self.to_shard.push_back(Input::Limit { group, max });
        } else {
            self.channels.get_mut(&group).expect("the channel is open").prefetch = count;
        }
        self.say_durably(group, Operation::Qos, true, ChannelReply::QosSet);
    }

    fn consume(&mut self, group: GroupId, asked: Consume) -> Result<(), Cause> {
        let Consume {
            queue,
            consumer,
            no_ack,
            exclusive,
            arguments,
            reply,
        } = asked;
        if arguments.value("x-priority").is_some() {
            return Err(Cause::NotImplemented {
                feature: "consumer argument 'x-priority'".into(),
            });
        }
        let (queue, _) = self.find(group, &queue)?;
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
        self.say_durably(group, Operation::Cancel, reply, ChannelReply::Cancelled { consumer });
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
            channel.unsure = true;
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
        self.say_durably(group, Operation::ConfirmSelect, reply, ChannelReply::ConfirmSelected);
        Ok(())
    }

    fn tx_select(&mut self, group: GroupId) -> Result<(), Refused> {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        if channel.confirms.is_some() {
            let why = "the channel is in confirm mode: transactions need another channel";
            return Err((Operation::TxSelect, Cause::WrongMode { why }));
        }
        channel.transaction.get_or_insert_default();
        self.say_durably(group, Operation::TxSelect, true, ChannelReply::TxSelected);
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
        if plant::is(Plant::RollbackPublishes) {
            transaction.publishes.into_iter().for_each(|publish| {
                self.to_shard.push_back(Input::Publish { token: None, publish });
            });
        }
        if plant::is(Plant::RollbackForgetsSettles) {
            self.say(group, ChannelReply::TxRolledBack);
            return Ok(());
        }
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
}

/// The fields of a consume.
struct Consume {
    queue: Name,
    consumer: Name,
    no_ack: bool,
    exclusive: bool,
    arguments: Table,
    reply: bool,
}
