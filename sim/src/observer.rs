//! Watches what crosses the node's border and keeps the account of it: clients need not be honest or alive.

use crate::ledger::{Ledger, Seen};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waystation_core::api::{Cause, ChannelReply, ChannelRequest, ConnId, Fault, Outcome, Reply, Request};
use waystation_core::message::Message;

/// On this channel a queue is asked for that must be gone.
pub(crate) const PROBE: u16 = 100;
/// From this channel on, anything may fail.
pub(crate) const ROUGH: u16 = 200;
/// Where mandatory messages are sent that no queue takes.
pub(crate) const NOWHERE: &str = "nowhere";

/// A connection's channel.
type At = (ConnId, u16);

#[derive(Debug, Default)]
struct Channel {
    /// Unique among all channels of the run.
    instance: u64,
    /// It is being closed: what it is still given goes back.
    closing: bool,
    /// It asked for a queue that is gone for good.
    must_fail: bool,
    /// Cancels that are not answered.
    cancels: u32,
    /// Unsettled deliveries by tag: queue and message.
    held: BTreeMap<u64, (usize, u64)>,
    /// Consumers: queue, if one of the run, and whether deliveries are settled by being sent.
    consumers: BTreeMap<String, (Option<usize>, bool)>,
    /// Consumers' prefetch when they began, and what they hold.
    prefetch: u16,
    limits: BTreeMap<String, u16>,
    holding: BTreeMap<String, BTreeSet<u64>>,
    /// The limit shared by all its consumers; not checked once one is cancelled.
    shared: Option<u16>,
    gets: VecDeque<(Option<usize>, bool)>,
    purges: VecDeque<usize>,
    /// Passive declarations: the queue of the run, and the step.
    counts: VecDeque<(Option<usize>, u64)>,
    /// Publishes in confirm mode that wait, by number.
    pending: BTreeMap<u64, u64>,
    numbers: u64,
    confirming: bool,
    /// Mandatory messages that must come back before their confirm.
    returns: VecDeque<u64>,
    transaction: Option<Open>,
    commits: VecDeque<u64>,
    /// Settled since the last round trip began.
    settled: Vec<(usize, u64)>,
    /// What each round trip under way makes durable.
    trips: VecDeque<Vec<(usize, u64)>>,
    /// Requests that are not answered: those behind them may wait.
    asked: i64,
}

/// A transaction that is not committed.
#[derive(Debug, Default)]
struct Open {
    id: Option<u64>,
    settles: Vec<(u64, usize, u64, Outcome)>,
}

/// The observer.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    channels: BTreeMap<At, Channel>,
    instances: u64,
    queues: Vec<String>,
    step: u64,
    /// Queues that go with a connection.
    owned: BTreeMap<ConnId, Vec<String>>,
    /// Queues that are gone for good.
    gone: BTreeSet<String>,
}

/// The moment at which something left the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) at: u64,
    pub(crate) step: u64,
    pub(crate) wall_ms: u64,
}

impl Observer {
    pub(crate) fn new(queues: Vec<String>) -> Self {
        Self {
            queues,
            ..Self::default()
        }
    }

    /// Whether something may be given to a consumer that is no more, and go back unseen: order is blurred then.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.channels
            .values()
            .any(|channel| channel.closing || channel.cancels > 0)
    }

    /// The node died.
    pub(crate) fn crashed(&mut self, ledger: &mut Ledger) {
        let purges = self.channels.values().flat_map(|channel| &channel.purges);
        purges.for_each(|queue| ledger.purged(*queue));
        self.channels.clear();
        self.gone
            .extend(std::mem::take(&mut self.owned).into_values().flatten());
    }

    fn queue(&self, name: &str) -> Option<usize> {
        self.queues.iter().position(|queue| queue == name)
    }

    /// The node is about to handle a request.
    pub(crate) fn request(&mut self, step: u64, conn: ConnId, request: &Request, ledger: &mut Ledger) {
        self.step = step;
        match request {
            Request::OpenChannel { channel } => {
                self.instances += 1;
                let opened = Channel {
                    instance: self.instances,
                    ..Channel::default()
                };
                self.channels.insert((conn, *channel), opened);
            }
            Request::CloseChannel { channel } => self.close((conn, *channel), ledger),
            Request::Disconnect => {
                let all: Vec<At> = self
                    .channels
                    .keys()
                    .filter(|(owner, _)| *owner == conn)
                    .copied()
                    .collect();
                all.into_iter().for_each(|at| self.close(at, ledger));
            }
            Request::Channel { channel, request } => self.on_channel((conn, *channel), request, ledger),
            Request::Connect { .. } | Request::Drained { .. } => {}
        }
    }

    /// The channel is being closed: what it holds goes back, once what it asked before is done.
    fn close(&mut self, at: At, ledger: &mut Ledger) {
        let Some(channel) = self.channels.get_mut(&at).filter(|channel| !channel.closing) else {
            return;
        };
        channel.closing = true;
        ledger.order.blur();
        // A request that waits is part of what is done before.
        let step = (channel.asked == 0).then_some(self.step);
        let open = channel.transaction.take().unwrap_or_default();
        open.id.into_iter().for_each(|id| ledger.rolled_back(id));
        let settles = open.settles.into_iter().map(|(_, queue, id, _)| (queue, id));
        let held: Vec<(usize, u64)> = std::mem::take(&mut channel.held).into_values().chain(settles).collect();
        held.into_iter()
            .for_each(|(queue, id)| ledger.returned(queue, id, channel.instance, step));
    }

    /// It is closed, or all channels of the connection are.
    fn closed(&mut self, conn: ConnId, number: Option<u16>, ledger: &mut Ledger) {
        let gone = |(owner, channel): &At| *owner == conn && number.is_none_or(|number| number == *channel);
        for (at, channel) in &self.channels {
            // A purge may have been done without the answer being seen.
            for queue in channel.purges.iter().filter(|_| gone(at)) {
                ledger.order.purge_lost(*queue);
                ledger.purged(*queue);
            }
        }
        self.channels.retain(|at, _| !gone(at));
        if number.is_none() {
            self.gone.extend(self.owned.remove(&conn).into_iter().flatten());
        }
    }

    fn on_channel(&mut self, at: At, request: &ChannelRequest, ledger: &mut Ledger) {
        let name = match request {
            ChannelRequest::Consume { queue, .. }
            | ChannelRequest::Get { queue, .. }
            | ChannelRequest::DeclareQueue {
                name: queue,
                passive: true,
                ..
            }
            | ChannelRequest::PurgeQueue { name: queue, .. } => self.queue(queue),
            _ => None,
        };
        let step = self.step;
        if let ChannelRequest::DeclareQueue {
            name,
            auto_delete: true,
            passive: false,
            ..
        } = request
            && at.1 < PROBE
        {
            // It has one consumer, on this connection.
            self.owned.entry(at.0).or_default().push(name.to_string());
        }
        let gone = matches!(request, ChannelRequest::DeclareQueue { name, .. } if self.gone.contains(&**name));
        let Some(channel) = self.channels.get_mut(&at).filter(|channel| !channel.closing) else {
            return;
        };
        channel.must_fail |= gone;
        channel.note(name, step, request, ledger);
        channel.asked += i64::from(is_answered(request));
    }

    /// The node said something.
    pub(crate) fn reply(&mut self, when: When, conn: ConnId, reply: &Reply, ledger: &mut Ledger) {
        let (number, reply) = match reply {
            Reply::Disconnected => return self.closed(conn, None, ledger),
            Reply::Channel {
                channel,
                reply: ChannelReply::Closed,
            } => return self.closed(conn, Some(*channel), ledger),
            Reply::Channel { channel, reply } => (channel, reply),
            Reply::Refused(fault) | Reply::Failed(fault) => {
                let what = format!("{conn:?}: a correct connection failed: {:?}", fault.cause);
                return ledger.fail("G11", when.at, what);
            }
            Reply::Connected | Reply::Blocked { .. } | Reply::Unblocked | Reply::Hold | Reply::GoOn => return,
        };
        if let ChannelReply::QueueDeclared { name, .. } = reply {
            self.declared(when, (conn, *number), name, ledger);
        }
        if let ChannelReply::Failed(Fault {
            cause: Cause::ResourceLocked { queue, .. },
            ..
        }) = reply
            && self
                .channels
                .get(&(conn, *number))
                .is_some_and(|channel| channel.must_fail)
        {
            ledger.fail("G12", when.at, format!("queue {queue} outlives its connection"));
        }
        let Some(channel) = self.channels.get_mut(&(conn, *number)) else {
            return;
        };
        match reply {
            ChannelReply::Deliver { .. } | ChannelReply::Confirm { .. } | ChannelReply::Return { .. } => {}
            ChannelReply::CancelledByServer { .. } | ChannelReply::Failed(_) | ChannelReply::Opened => {}
            _ => channel.asked -= 1,
        }
        channel.hear(when, *number, reply, ledger);
    }

    fn declared(&mut self, when: When, at: At, name: &str, ledger: &mut Ledger) {
        if self.channels.get(&at).is_some_and(|channel| channel.must_fail) {
            ledger.fail("G12", when.at, format!("queue {name} outlives what it was to go with"));
        }
        // A name that the server made belongs to its connection.
        if name.starts_with("amq.gen-") && at.1 < PROBE {
            let owned = self.owned.entry(at.0).or_default();
            if !owned.iter().any(|one| one == name) {
                owned.push(name.to_owned());
            }
        }
    }
}

/// Whether the node answers a request, sooner or later.
const fn is_answered(request: &ChannelRequest) -> bool {
    !matches!(request, ChannelRequest::Publish { .. } | ChannelRequest::Settle { .. })
}

impl Channel {
    fn note(&mut self, queue: Option<usize>, step: u64, request: &ChannelRequest, ledger: &mut Ledger) {
        match request {
            ChannelRequest::ConfirmSelect { .. } => self.confirming = true,
            ChannelRequest::TxSelect => self.transaction = Some(Open::default()),
            ChannelRequest::TxCommit => self.commit(ledger),
            ChannelRequest::TxRollback => self.roll_back(ledger),
            ChannelRequest::Publish { message, mandatory } => self.publish(message, *mandatory, ledger),
            ChannelRequest::Qos { count, global: false } => self.prefetch = *count,
            ChannelRequest::Qos { count, global: true } => self.shared = (*count > 0).then_some(*count),
            ChannelRequest::Consume { consumer, no_ack, .. } => {
                self.consumers.insert(consumer.to_string(), (queue, *no_ack));
                if self.prefetch > 0 && !no_ack {
                    self.limits.insert(consumer.to_string(), self.prefetch);
                }
            }
            ChannelRequest::Cancel { reply, .. } => {
                self.cancels += u32::from(*reply);
                self.shared = None;
                ledger.order.blur();
            }
            ChannelRequest::Get { no_ack, .. } => self.gets.push_back((queue, *no_ack)),
            ChannelRequest::PurgeQueue { .. } => {
                if let Some(queue) = queue {
                    ledger.order.purge_asked(queue);
                    self.purges.push_back(queue);
                }
            }
            ChannelRequest::DeclareQueue {
                passive, reply: true, ..
            } => {
                self.trips.push_back(std::mem::take(&mut self.settled));
                self.counts.push_back((queue.filter(|_| *passive), step));
            }
            ChannelRequest::Settle { tag, multiple, outcome } => {
                let tags: Vec<u64> = if *multiple {
                    self.held
                        .keys()
                        .copied()
                        .filter(|held| *tag == 0 || held <= tag)
                        .collect()
                } else {
                    vec![*tag]
                };
                tags.into_iter()
                    .for_each(|tag| self.settle(step, tag, *outcome, ledger));
            }
            _ => {}
        }
    }

    fn publish(&mut self, message: &Message, mandatory: bool, ledger: &mut Ledger) {
        let id = id_of(message);
        if mandatory && message.routing_key() == NOWHERE.as_bytes() {
            self.returns.push_back(id);
        }
        if self.confirming {
            self.numbers += 1;
            self.pending.insert(self.numbers, id);
        }
        match &mut self.transaction {
            // Its transaction's number is that of its first publish or settlement.
            Some(open) => drop(open.id.get_or_insert_with(|| ledger.transaction_of(id))),
            None => ledger.arrived(id),
        }
    }

    fn commit(&mut self, ledger: &mut Ledger) {
        let Some(open) = self.transaction.as_mut().map(std::mem::take) else {
            return;
        };
        let Some(id) = open.id else {
            return self.commits.push_back(0);
        };
        for (tag, queue, message, outcome) in open.settles {
            // What it settles gives its credit back.
            self.let_credit_go(tag);
            match outcome {
                Outcome::Ack => ledger.settles_later(id, queue, message),
                Outcome::Reject => ledger.settled(queue, message, true),
                Outcome::Requeue => ledger.returned(queue, message, self.instance, None),
            }
        }
        ledger.commit_asked(id);
        self.commits.push_back(id);
    }

    fn roll_back(&mut self, ledger: &mut Ledger) {
        let Some(open) = self.transaction.as_mut().map(std::mem::take) else {
            return;
        };
        for (tag, queue, message, _) in open.settles {
            self.held.insert(tag, (queue, message));
        }
        open.id.into_iter().for_each(|id| ledger.rolled_back(id));
    }

    fn let_credit_go(&mut self, tag: u64) {
        for held in self.holding.values_mut() {
            held.remove(&tag);
        }
    }

    fn settle(&mut self, step: u64, tag: u64, outcome: Outcome, ledger: &mut Ledger) {
        let Some((queue, id)) = self.held.remove(&tag) else {
            return;
        };
        if let Some(open) = &mut self.transaction {
            open.id.get_or_insert_with(|| ledger.transaction_next());
            return open.settles.push((tag, queue, id, outcome));
        }
        self.let_credit_go(tag);
        match outcome {
            Outcome::Ack => {
                self.settled.push((queue, id));
                ledger.settled(queue, id, false);
            }
            Outcome::Reject => {
                self.settled.push((queue, id));
                ledger.settled(queue, id, true);
            }
            Outcome::Requeue => {
                let now = (self.asked == 0).then_some(step);
                ledger.returned(queue, id, self.instance, now);
            }
        }
    }

    fn hear(&mut self, when: When, number: u16, reply: &ChannelReply, ledger: &mut Ledger) {
        let When { at, step, wall_ms } = when;
        match reply {
            ChannelReply::Deliver {
                consumer,
                tag,
                redelivered,
                message,
            } => {
                let Some((queue, no_ack)) = self.consumers.get(&**consumer).copied() else {
                    return ledger.fail("G4", at, format!("a delivery to consumer {consumer}, which is none"));
                };
                self.take(when, (*tag, *redelivered), message, queue, no_ack, ledger);
                self.check_credit(at, consumer, *tag, no_ack, ledger);
            }
            ChannelReply::Got {
                tag,
                redelivered,
                message,
                ..
            } => {
                let (queue, no_ack) = self.gets.pop_front().expect("gets are answered in order");
                self.take(when, (*tag, *redelivered), message, queue, no_ack, ledger);
            }
            ChannelReply::Empty => drop(self.gets.pop_front()),
            ChannelReply::Return { message } => {
                let id = ledger.seen_whole(at, message.body());
                if self.returns.pop_front() != id || id.is_none() {
                    ledger.fail(
                        "G4",
                        at,
                        format!("message {id:?} was returned out of turn, or without need"),
                    );
                }
                ledger.counters.unroutable += 1;
            }
            ChannelReply::QueuePurged { messages } => self.purged(*messages, ledger),
            ChannelReply::QueueDeclared { messages, .. } => self.counted(*messages, ledger),
            ChannelReply::Confirm { tag, multiple, ok } => self.confirmed(when, *tag, *multiple, *ok, ledger),
            ChannelReply::TxCommitted => match self.commits.pop_front() {
                Some(0) => {}
                Some(id) => ledger.committed(at, wall_ms, step, id),
                None => ledger.fail("G9", at, "a commit that nobody asked for was answered".into()),
            },
            // A recover waits its turn on the channel: what it returns is what is held when it is answered.
            ChannelReply::Recovered => self.let_go(ledger),
            ChannelReply::Cancelled { .. } => self.cancels -= 1,
            ChannelReply::Failed(fault) => {
                ledger.order.blur();
                self.let_go(ledger);
                self.closing = true;
                let missing = matches!(fault.cause, Cause::NotFound { .. } | Cause::ResourceLocked { .. });
                if (PROBE..ROUGH).contains(&number) && missing {
                    ledger.counters.gone_queues += 1;
                } else if number < ROUGH {
                    let what = format!("a correct request failed: {:?}: {}", fault.operation, fault.cause);
                    ledger.fail("G11", at, what);
                }
            }
            _ => {}
        }
    }

    /// Whatever is held goes back.
    fn let_go(&mut self, ledger: &mut Ledger) {
        self.holding.clear();
        let held = std::mem::take(&mut self.held);
        held.into_values()
            .for_each(|(queue, id)| ledger.returned(queue, id, self.instance, None));
    }

    fn take(
        &mut self,
        when: When,
        (tag, redelivered): (u64, bool),
        message: &Message,
        queue: Option<usize>,
        no_ack: bool,
        ledger: &mut Ledger,
    ) {
        let When { at, step, wall_ms } = when;
        let holder = self.instance;
        let Some(queue) = queue else {
            ledger.seen_whole(at, message.body());
            return;
        };
        let seen = Seen {
            at,
            step,
            wall_ms,
            queue,
            body: message.body(),
            redelivered,
            no_ack,
            holder,
        };
        if let Some(id) = ledger.delivered(&seen)
            && !no_ack
        {
            if self.closing {
                ledger.returned(queue, id, holder, None);
            } else {
                self.held.insert(tag, (queue, id));
            }
        }
    }

    fn check_credit(&mut self, at: u64, consumer: &str, tag: u64, no_ack: bool, ledger: &mut Ledger) {
        if no_ack || self.closing {
            return;
        }
        let holding = self.holding.entry(consumer.to_owned()).or_default();
        holding.insert(tag);
        let held = holding.len();
        if let Some(limit) = self.limits.get(consumer).filter(|limit| held > usize::from(**limit)) {
            ledger.fail("G14", at, format!("prefetch {limit} was exceeded: {held}"));
        }
        let all: usize = self.holding.values().map(BTreeSet::len).sum();
        if let Some(limit) = self.shared.filter(|limit| all > usize::from(*limit)) {
            ledger.fail("G14", at, format!("the channel's prefetch {limit} was exceeded: {all}"));
        }
    }

    fn purged(&mut self, messages: u32, ledger: &mut Ledger) {
        let Some(queue) = self.purges.pop_front() else { return };
        ledger.order.purge_answered(queue, u64::from(messages));
        ledger.purged(queue);
    }

    fn counted(&mut self, messages: u32, ledger: &mut Ledger) {
        let durable = self.trips.pop_front().unwrap_or_default();
        durable
            .into_iter()
            .for_each(|(queue, id)| ledger.settled_durably(queue, id));
        let Some((Some(queue), asked)) = self.counts.pop_front() else {
            return;
        };
        ledger.order.counted(queue, asked, u64::from(messages));
    }

    fn confirmed(&mut self, when: When, tag: u64, multiple: bool, ok: bool, ledger: &mut Ledger) {
        let When { at, step, wall_ms } = when;
        let tags: Vec<u64> = if multiple {
            self.pending
                .keys()
                .copied()
                .take_while(|number| *number <= tag)
                .collect()
        } else {
            vec![tag]
        };
        for tag in tags {
            let Some(id) = self.pending.remove(&tag) else {
                return ledger.fail("G1", at, format!("publish {tag} was confirmed twice, or never made"));
            };
            if self.returns.contains(&id) {
                ledger.fail(
                    "G4",
                    at,
                    format!("mandatory message {id} was confirmed and not returned before"),
                );
            }
            ledger.confirmed(at, wall_ms, step, id, ok);
        }
    }
}

fn id_of(message: &Message) -> u64 {
    message
        .body()
        .get(..8)
        .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}
