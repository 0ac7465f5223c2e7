//! Watches what crosses the node's border and tells the ledger: clients need not be honest or alive.

use super::asked::{self, Asked, Covers, Settled};
use super::{Delivery, Event, Handing, Ledger};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waystation_core::api::{Cause, ChannelReply, ChannelRequest, ConnId, Fault, Outcome, Reply, Request};
use waystation_core::message::Message;

/// On this channel a queue is asked for that must be gone.
pub(crate) const PROBE: u16 = 100;
/// From this channel on, anything may fail.
pub(crate) const ROUGH: u16 = 200;
/// From this number on, connections are of clients that do what they must not. They leave the run's queues alone, and no
/// account is kept of theirs.
pub(crate) const FOES: u64 = 1 << 40;
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
    /// Consumers that began: queue, if one of the run, and whether deliveries are settled by being sent.
    consumers: BTreeMap<String, (Option<usize>, bool)>,
    /// Those that were asked for, by tag.
    beginning: VecDeque<(String, Option<usize>, bool)>,
    gets: VecDeque<(Option<usize>, bool)>,
    purges: VecDeque<usize>,
    /// Declarations: for passive ones of a queue of the run, the queue and the count's number.
    counts: VecDeque<Option<(usize, u64)>>,
    /// Publishes in confirm mode that wait, by number.
    pending: BTreeMap<u64, u64>,
    numbers: u64,
    confirming: bool,
    /// Mandatory messages that must come back before their confirm.
    returns: VecDeque<u64>,
    transaction: Option<Open>,
    /// Commits that are not answered; none for one of nothing.
    commits: VecDeque<Option<u64>>,
    /// Requests that are not answered, and whether they will be: those behind them may wait.
    asked: VecDeque<(Asked, bool)>,
    /// Settled since the last of these, and before the first of them.
    settled: Settled,
    uncovered: Settled,
    /// Tags given so far: they are dense.
    tags: u64,
    failed: bool,
    /// A round trip was answered in this step: publishes up to this number are safe, and must be confirmed in it.
    due: u64,
}

/// A transaction that is not committed.
#[derive(Debug, Default)]
struct Open {
    id: Option<u64>,
    settles: Vec<(u64, usize, u64, Outcome)>,
}

/// The border.
#[derive(Debug, Default)]
pub(super) struct Border {
    channels: BTreeMap<At, Channel>,
    /// Channels whose end is not answered, though the number is in use again.
    leaving: BTreeMap<At, VecDeque<Channel>>,
    /// Channels being closed, and cancels that are not answered.
    unsettled: usize,
    instances: u64,
    counts: u64,
    queues: BTreeMap<String, usize>,
    /// Channels with confirms that are due in this step.
    due: Vec<At>,
    /// Queues that go with a connection.
    owned: BTreeMap<ConnId, Vec<String>>,
    /// Queues that are gone for good.
    gone: BTreeSet<String>,
}

impl Border {
    pub(super) fn new(queues: impl Iterator<Item = String>) -> Self {
        let queues = queues.enumerate().map(|(number, name)| (name, number)).collect();
        Self {
            queues,
            ..Self::default()
        }
    }

    /// Whether something may be given to a consumer that is no more, and go back unseen: order is blurred then.
    pub(super) const fn is_unsettled(&self) -> bool {
        self.unsettled > 0
    }

    /// The node died.
    pub(super) fn crashed(&mut self, ledger: &mut Ledger) {
        let leaving = std::mem::take(&mut self.leaving);
        let all = self.channels.values().chain(leaving.values().flatten());
        let purges = all.flat_map(|channel| &channel.purges);
        purges.for_each(|queue| ledger.tell(&Event::PurgeLost { queue: *queue }));
        self.channels.clear();
        self.unsettled = 0;
        self.gone
            .extend(std::mem::take(&mut self.owned).into_values().flatten());
    }

    fn of_conn(&self, conn: ConnId) -> Vec<At> {
        let all = self.channels.range((conn, 0)..=(conn, u16::MAX));
        all.map(|(at, _)| *at).collect()
    }

    /// The node is about to handle a request.
    pub(super) fn request(&mut self, conn: ConnId, request: &Request, ledger: &mut Ledger) {
        if conn.0 >= FOES {
            return;
        }
        match request {
            Request::OpenChannel { channel } => {
                self.instances += 1;
                let opened = Channel {
                    instance: self.instances,
                    ..Channel::default()
                };
                let channel_instance = self.instances;
                let at = (conn, *channel);
                if let Some(before) = self.channels.insert(at, opened) {
                    self.leaving.entry(at).or_default().push_back(before);
                }
                ledger.tell(&Event::ChannelOpened {
                    channel: channel_instance,
                    conn,
                });
            }
            Request::CloseChannel { channel } => self.close((conn, *channel), ledger),
            Request::Disconnect => {
                ledger.tell(&Event::Leaving { conn });
                for at in self.of_conn(conn) {
                    self.close(at, ledger);
                }
            }
            Request::Channel { channel, request } => self.on_channel((conn, *channel), request, ledger),
            Request::Drained { bytes } => ledger.tell(&Event::Read { conn, bytes: *bytes }),
            Request::Connect { .. } => {}
        }
    }

    /// The channel is being closed: what it holds goes back, once what it asked before is done.
    fn close(&mut self, at: At, ledger: &mut Ledger) {
        let Some(channel) = self.channels.get_mut(&at).filter(|channel| !channel.closing) else {
            return;
        };
        self.unsettled += 1;
        channel.closing = true;
        ledger.tell(&Event::Blurred);
        ledger.tell(&Event::ChannelClosing {
            channel: channel.instance,
        });
        // A request that waits is part of what is done before.
        let at_once = channel.asked.is_empty();
        let open = channel.transaction.take().unwrap_or_default();
        if let Some(transaction) = open.id {
            ledger.tell(&Event::RolledBack { transaction });
        }
        let settles = open.settles.into_iter().map(|(_, queue, id, _)| (queue, id));
        let held: Vec<(usize, u64)> = std::mem::take(&mut channel.held).into_values().chain(settles).collect();
        let holder = channel.instance;
        for (queue, id) in held {
            ledger.tell(&Event::Returned {
                queue,
                id,
                holder,
                at_once,
            });
        }
    }

    /// It is closed, or all channels of the connection are.
    fn closed(&mut self, conn: ConnId, number: Option<u16>, ledger: &mut Ledger) {
        let gone = number.map_or_else(|| self.of_conn(conn), |number| vec![(conn, number)]);
        for at in gone {
            let mut ended: Vec<Channel> = match self.leaving.remove(&at) {
                // The answer is the oldest's; with its connection all of them end.
                Some(mut before) if number.is_some() => {
                    let first = before.pop_front();
                    if !before.is_empty() {
                        self.leaving.insert(at, before);
                    }
                    first.into_iter().collect()
                }
                Some(before) => before.into(),
                None => Vec::new(),
            };
            if ended.is_empty() || number.is_none() {
                ended.extend(self.channels.remove(&at));
            }
            for mut channel in ended {
                self.unsettled -= channel.unsettled();
                channel.settled_all(ledger);
                channel.gone(ledger);
            }
        }
        if number.is_none() {
            ledger.tell(&Event::Left { conn });
            self.gone.extend(self.owned.remove(&conn).into_iter().flatten());
        }
    }

    fn on_channel(&mut self, at: At, request: &ChannelRequest, ledger: &mut Ledger) {
        let queue = match request {
            ChannelRequest::Consume { queue, .. }
            | ChannelRequest::Get { queue, .. }
            | ChannelRequest::DeclareQueue {
                name: queue,
                passive: true,
                ..
            }
            | ChannelRequest::PurgeQueue { name: queue, .. } => self.queues.get(&**queue).copied(),
            _ => None,
        };
        if let ChannelRequest::Consume { queue, .. } = request
            && queue.starts_with("auto-")
            && at.1 < PROBE
        {
            // It goes with its one consumer, which goes with this connection. A queue that never had one stays.
            self.owned.entry(at.0).or_default().push(queue.to_string());
        }
        let gone = matches!(request, ChannelRequest::DeclareQueue { name, .. } if self.gone.contains(&**name));
        let Some(channel) = self.channels.get_mut(&at).filter(|channel| !channel.closing) else {
            return;
        };
        self.counts += 1;
        let before = channel.unsettled();
        channel.must_fail |= gone;
        channel.note(queue, self.counts, request, ledger);
        channel.ask(request, ledger);
        self.unsettled = self.unsettled + channel.unsettled() - before;
    }

    /// The node said something.
    pub(super) fn reply(&mut self, conn: ConnId, reply: &Reply, ledger: &mut Ledger) {
        if conn.0 >= FOES {
            return;
        }
        let (number, reply) = match reply {
            Reply::Disconnected => return self.closed(conn, None, ledger),
            Reply::Channel {
                channel,
                reply: ChannelReply::Closed,
            } => return self.closed(conn, Some(*channel), ledger),
            Reply::Channel { channel, reply } => (*channel, reply),
            Reply::Refused(fault) | Reply::Failed(fault) => {
                let what = format!("{conn:?}: a correct connection failed: {:?}", fault.cause);
                return ledger.tell(&Event::Wrong {
                    guarantee: "G11",
                    what: &what,
                });
            }
            Reply::Connected | Reply::Blocked { .. } | Reply::Unblocked | Reply::Hold | Reply::GoOn => return,
        };
        // Until the end of the channel before is answered, what is said is said on that.
        let before = self.leaving.get_mut(&(conn, number)).and_then(VecDeque::front_mut);
        let Some(channel) = before.or_else(|| self.channels.get_mut(&(conn, number))) else {
            let what = format!("something was said on channel {number} of {conn:?}, which is closed");
            return ledger.tell(&Event::Wrong {
                guarantee: "G4",
                what: &what,
            });
        };
        if let ChannelReply::QueueDeclared { name, .. } = reply {
            if channel.must_fail {
                ledger.tell(&Event::Outlived { queue: name });
            }
            // A name that the server made belongs to its connection.
            if name.starts_with("amq.gen-") && number < PROBE {
                let owned = self.owned.entry(conn).or_default();
                if !owned.iter().any(|one| **one == **name) {
                    owned.push(name.to_string());
                }
            }
        }
        let before = channel.unsettled();
        channel.answered(reply, ledger);
        channel.hear(number, reply, ledger);
        if channel.due > 0 {
            self.due.push((conn, number));
        }
        self.unsettled = self.unsettled + channel.unsettled() - before;
    }

    /// A round trip answers when the publishes before it are safe: their confirms leave in the same step.
    pub(super) fn step_over(&mut self, ledger: &mut Ledger) {
        for at in std::mem::take(&mut self.due) {
            let Some(channel) = self.channels.get_mut(&at) else {
                continue;
            };
            let due = std::mem::take(&mut channel.due);
            let first = channel.pending.first_key_value();
            if let Some((number, id)) = first.filter(|(number, _)| **number <= due) {
                let what = format!("publish {number}, message {id}, is safe by a round trip, and was not confirmed");
                ledger.tell(&Event::Wrong {
                    guarantee: "G1",
                    what: &what,
                });
            }
        }
    }
}

impl Channel {
    fn unsettled(&self) -> usize {
        usize::from(self.closing) + self.cancels as usize
    }

    /// The channel is no more, whatever it still waited for.
    fn gone(self, ledger: &mut Ledger) {
        // A purge may have been done without the answer being seen.
        for queue in self.purges {
            ledger.tell(&Event::PurgeLost { queue });
        }
        for (queue, token) in self.counts.into_iter().flatten() {
            ledger.tell(&Event::CountLost { queue, token });
        }
        let channel = self.instance;
        ledger.tell(&Event::ChannelGone { channel });
    }

    /// A request whose answer is due.
    fn ask(&mut self, request: &ChannelRequest, ledger: &mut Ledger) {
        let Some((kind, replied)) = asked::answer(request) else {
            return;
        };
        if self.asked.is_empty() {
            let channel = self.instance;
            ledger.tell(&Event::Waiting { channel, waiting: true });
        }
        let asked = Asked {
            kind,
            settled: std::mem::take(&mut self.settled),
            publishes: self.numbers,
        };
        self.asked.push_back((asked, replied));
    }

    /// The answer is that of the first request that has one; those before it that have none are done.
    fn answered(&mut self, reply: &ChannelReply, ledger: &mut Ledger) {
        let Some(kind) = asked::kind(reply) else { return };
        loop {
            let Some((asked, replied)) = self.asked.pop_front() else {
                return wrong(ledger, &format!("{kind:?} was answered, and not asked for"));
            };
            self.uncovered.append(asked.settled);
            if !replied {
                continue;
            }
            if asked.kind != kind {
                return wrong(ledger, &format!("{kind:?} was answered to {:?}", asked.kind));
            }
            match asked::covers(kind) {
                Covers::Nothing => {}
                Covers::Acknowledged => {
                    let acknowledged = std::mem::take(&mut self.uncovered.acknowledged);
                    tell_durable(ledger, acknowledged, false);
                }
                Covers::All => {
                    self.due = self.due.max(asked.publishes);
                    std::mem::take(&mut self.uncovered).tell_durable(ledger);
                }
            }
            break;
        }
        if self.asked.is_empty() {
            let channel = self.instance;
            ledger.tell(&Event::Waiting {
                channel,
                waiting: false,
            });
        }
    }

    /// The channel was closed, and that is answered: whatever was settled on it is durable.
    fn settled_all(&mut self, ledger: &mut Ledger) {
        if self.failed {
            // Some of it may have been dropped, with the requests that waited.
            return;
        }
        for (asked, _) in std::mem::take(&mut self.asked) {
            self.uncovered.append(asked.settled);
        }
        self.uncovered.append(std::mem::take(&mut self.settled));
        std::mem::take(&mut self.uncovered).tell_durable(ledger);
    }

    fn note(&mut self, queue: Option<usize>, number: u64, request: &ChannelRequest, ledger: &mut Ledger) {
        let channel = self.instance;
        match request {
            ChannelRequest::ConfirmSelect { .. } => self.confirming = true,
            ChannelRequest::TxSelect => self.transaction = Some(Open::default()),
            ChannelRequest::TxCommit => self.commit(ledger),
            ChannelRequest::TxRollback => self.roll_back(ledger),
            ChannelRequest::Publish { message, mandatory } => self.publish(message, *mandatory, ledger),
            ChannelRequest::Qos { count, global } => {
                let (count, global) = (*count, *global);
                ledger.tell(&Event::Qos { channel, count, global });
            }
            ChannelRequest::Consume { consumer, no_ack, .. } => {
                self.beginning.push_back((consumer.to_string(), queue, *no_ack));
                let no_ack = *no_ack;
                ledger.tell(&Event::ConsumeAsked {
                    channel,
                    consumer,
                    queue,
                    no_ack,
                });
            }
            ChannelRequest::Cancel { reply, consumer } => {
                self.cancels += u32::from(*reply);
                ledger.tell(&Event::CancelAsked { channel, consumer });
                ledger.tell(&Event::Blurred);
            }
            ChannelRequest::Get { no_ack, .. } => self.gets.push_back((queue, *no_ack)),
            ChannelRequest::PurgeQueue { .. } => {
                if let Some(queue) = queue {
                    ledger.tell(&Event::PurgeAsked { queue });
                    self.purges.push_back(queue);
                }
            }
            ChannelRequest::DeclareQueue {
                passive, reply: true, ..
            } => {
                let count = queue.filter(|_| *passive).map(|queue| (queue, number));
                if let Some((queue, token)) = count {
                    ledger.tell(&Event::CountAsked { queue, token });
                }
                self.counts.push_back(count);
            }
            ChannelRequest::Settle { tag, multiple, outcome } => {
                let upto = |held: &u64| *tag == 0 || held <= tag;
                let tags: Vec<u64> = if *multiple {
                    self.held.keys().copied().take_while(upto).collect()
                } else {
                    vec![*tag]
                };
                tags.into_iter().for_each(|tag| self.settle(tag, *outcome, ledger));
            }
            _ => {}
        }
    }

    fn publish(&mut self, message: &Message, mandatory: bool, ledger: &mut Ledger) {
        let id = id_of(message);
        ledger.tell(&Event::Offered { id, message });
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
            None => {
                let in_turn = self.asked.is_empty();
                ledger.tell(&Event::Arrived { id, in_turn });
            }
        }
    }

    fn commit(&mut self, ledger: &mut Ledger) {
        let Some(open) = self.transaction.as_mut().map(std::mem::take) else {
            return;
        };
        let Some(transaction) = open.id else {
            return self.commits.push_back(None);
        };
        let holder = self.instance;
        for (tag, queue, id, outcome) in open.settles {
            // What it settles gives its credit back.
            ledger.tell(&Event::CreditBack { channel: holder, tag });
            match outcome {
                Outcome::Ack => ledger.tell(&Event::Pledged { transaction, queue, id }),
                Outcome::Reject => ledger.tell(&Event::Settled {
                    queue,
                    id,
                    rejected: true,
                }),
                Outcome::Requeue => ledger.tell(&Event::Returned {
                    queue,
                    id,
                    holder,
                    at_once: false,
                }),
            }
        }
        let in_turn = self.asked.is_empty();
        ledger.tell(&Event::CommitAsked { transaction, in_turn });
        self.commits.push_back(Some(transaction));
    }

    fn roll_back(&mut self, ledger: &mut Ledger) {
        let Some(open) = self.transaction.as_mut().map(std::mem::take) else {
            return;
        };
        for (tag, queue, message, _) in open.settles {
            self.held.insert(tag, (queue, message));
        }
        if let Some(transaction) = open.id {
            ledger.tell(&Event::RolledBack { transaction });
        }
    }

    fn settle(&mut self, tag: u64, outcome: Outcome, ledger: &mut Ledger) {
        let Some((queue, id)) = self.held.remove(&tag) else {
            return;
        };
        if let Some(open) = &mut self.transaction {
            open.id.get_or_insert_with(|| ledger.transaction_next());
            return open.settles.push((tag, queue, id, outcome));
        }
        let holder = self.instance;
        ledger.tell(&Event::CreditBack { channel: holder, tag });
        if outcome == Outcome::Requeue {
            let at_once = self.asked.is_empty();
            return ledger.tell(&Event::Returned {
                queue,
                id,
                holder,
                at_once,
            });
        }
        let rejected = outcome == Outcome::Reject;
        if rejected {
            self.settled.rejected.push((queue, id));
        } else {
            self.settled.acknowledged.push((queue, id));
        }
        ledger.tell(&Event::Settled { queue, id, rejected });
    }

    fn hear(&mut self, number: u16, reply: &ChannelReply, ledger: &mut Ledger) {
        match reply {
            ChannelReply::Deliver {
                consumer,
                tag,
                redelivered,
                message,
            } => self.delivered(consumer, (*tag, *redelivered), message, ledger),
            ChannelReply::Got {
                tag,
                redelivered,
                message,
                ..
            } => {
                let Some((queue, no_ack)) = self.gets.pop_front() else {
                    return;
                };
                self.tagged(*tag, ledger);
                self.receive(*tag, *redelivered, message, queue, no_ack, ledger);
                ledger.tell(&Event::Handed(self.handing(None, *tag, no_ack, message)));
            }
            ChannelReply::Empty => drop(self.gets.pop_front()),
            ChannelReply::Return { message } => {
                let id = ledger.identify_or_tell(message);
                let expected = self.returns.pop_front();
                let (channel, bytes) = (self.instance, message.bytes().len() as u64);
                ledger.tell(&Event::Sent { channel, bytes });
                ledger.tell(&Event::CameBack { id, expected });
            }
            ChannelReply::QueuePurged { messages } => {
                if let Some(queue) = self.purges.pop_front() {
                    let messages = u64::from(*messages);
                    ledger.tell(&Event::PurgeAnswered { queue, messages });
                }
            }
            ChannelReply::QueueDeclared {
                messages, consumers, ..
            } => {
                if let Some((queue, token)) = self.counts.pop_front().flatten() {
                    ledger.tell(&Event::Counted {
                        queue,
                        token,
                        messages: u64::from(*messages),
                        consumers: u64::from(*consumers),
                    });
                }
            }
            ChannelReply::Consuming { consumer } => self.begun(consumer, ledger),
            ChannelReply::Confirm { tag, multiple, ok } => self.confirmed(*tag, *multiple, *ok, ledger),
            ChannelReply::TxCommitted => self.committed(ledger),
            // A recover waits its turn on the channel: what it returns is what is held when it is answered.
            ChannelReply::Recovered => self.let_go(ledger),
            ChannelReply::Cancelled { consumer } => {
                self.cancels = self.cancels.saturating_sub(1);
                self.ended(consumer, ledger);
            }
            ChannelReply::CancelledByServer { consumer } => {
                let channel = self.instance;
                ledger.tell(&Event::CancelAsked { channel, consumer });
                self.ended(consumer, ledger);
            }
            ChannelReply::Failed(fault) => self.failed(number, fault, ledger),
            _ => {}
        }
    }

    fn delivered(&mut self, consumer: &str, (tag, redelivered): (u64, bool), message: &Message, ledger: &mut Ledger) {
        let known = self.consumers.get(consumer).copied();
        let (queue, no_ack) = known.unwrap_or_default();
        let handing = self.handing(Some(consumer), tag, no_ack, message);
        self.tagged(tag, ledger);
        if known.is_some() {
            self.receive(tag, redelivered, message, queue, no_ack, ledger);
        }
        let known = known.is_some();
        ledger.tell(&Event::Handed(Handing { known, ..handing }));
    }

    fn failed(&mut self, number: u16, fault: &Fault, ledger: &mut Ledger) {
        ledger.tell(&Event::Blurred);
        self.let_go(ledger);
        (self.closing, self.failed) = (true, true);
        ledger.tell(&Event::ChannelClosing { channel: self.instance });
        if let Cause::ResourceLocked { queue, .. } = &fault.cause
            && self.must_fail
        {
            ledger.tell(&Event::Outlived { queue });
        }
        let missing = matches!(fault.cause, Cause::NotFound { .. } | Cause::ResourceLocked { .. });
        if (PROBE..ROUGH).contains(&number) && missing {
            ledger.tell(&Event::SeenGone);
        } else if number < ROUGH {
            let what = format!("a correct request failed: {:?}: {}", fault.operation, fault.cause);
            wrong(ledger, &what);
        }
    }

    /// A consumer has begun: deliveries to it may come.
    fn begun(&mut self, consumer: &str, ledger: &mut Ledger) {
        let channel = self.instance;
        match self.beginning.pop_front() {
            Some((tag, queue, no_ack)) if tag == consumer => drop(self.consumers.insert(tag, (queue, no_ack))),
            asked => {
                return wrong(
                    ledger,
                    &format!("consumer {consumer} has begun, where {asked:?} was asked for"),
                );
            }
        }
        ledger.tell(&Event::Consuming { channel, consumer });
    }

    /// A consumer has ended: deliveries to it come no more.
    fn ended(&mut self, consumer: &str, ledger: &mut Ledger) {
        let channel = self.instance;
        self.consumers.remove(consumer);
        ledger.tell(&Event::Cancelled { channel, consumer });
    }

    fn tagged(&mut self, tag: u64, ledger: &mut Ledger) {
        self.tags += 1;
        if tag != self.tags {
            let what = format!("delivery {tag} on a channel came after {}", self.tags - 1);
            ledger.tell(&Event::Wrong {
                guarantee: "G4",
                what: &what,
            });
        }
    }

    /// Whatever is held goes back.
    fn let_go(&mut self, ledger: &mut Ledger) {
        let holder = self.instance;
        ledger.tell(&Event::AllBack { channel: holder });
        for (queue, id) in std::mem::take(&mut self.held).into_values() {
            ledger.tell(&Event::Returned {
                queue,
                id,
                holder,
                at_once: false,
            });
        }
    }

    fn handing<'a>(&self, consumer: Option<&'a str>, tag: u64, no_ack: bool, message: &Message) -> Handing<'a> {
        Handing {
            channel: self.instance,
            consumer,
            known: true,
            tag,
            no_ack,
            bytes: message.bytes().len() as u64,
            closing: self.closing,
        }
    }

    fn receive(
        &mut self,
        tag: u64,
        redelivered: bool,
        message: &Message,
        queue: Option<usize>,
        no_ack: bool,
        ledger: &mut Ledger,
    ) {
        let (Some(id), Some(queue)) = (ledger.identify_or_tell(message), queue) else {
            return;
        };
        let holder = self.instance;
        ledger.tell(&Event::Delivered(Delivery {
            queue,
            id,
            message,
            redelivered,
            no_ack,
            holder,
        }));
        if no_ack {
            // A round trip that is asked for from now on says that it is gone for good.
            self.settled.sent.push((queue, id));
        } else if self.closing {
            ledger.tell(&Event::Returned {
                queue,
                id,
                holder,
                at_once: false,
            });
        } else {
            self.held.insert(tag, (queue, id));
        }
    }

    fn committed(&mut self, ledger: &mut Ledger) {
        let Some(commit) = self.commits.pop_front() else {
            return ledger.tell(&Event::CommittedNothing);
        };
        let Some(transaction) = commit else { return };
        let (publishes, settles) = ledger.history.parts(transaction);
        ledger.tell(&Event::Committed { transaction });
        tell_durable(ledger, settles, false);
        // A queue that refuses may refuse a message of a transaction; nobody is told (as with RabbitMQ).
        for id in publishes {
            ledger.tell(&Event::Confirmed { id, ok: true });
        }
    }

    fn confirmed(&mut self, tag: u64, multiple: bool, ok: bool, ledger: &mut Ledger) {
        let tags: Vec<u64> = if multiple {
            let covered = |number: &u64| *number <= tag;
            self.pending.keys().copied().take_while(covered).collect()
        } else {
            vec![tag]
        };
        for tag in tags {
            let Some(id) = self.pending.remove(&tag) else {
                return ledger.tell(&Event::ConfirmedNothing { tag });
            };
            if self.returns.contains(&id) {
                ledger.tell(&Event::NotReturned { id });
            }
            ledger.tell(&Event::Confirmed { id, ok });
        }
    }
}

impl Settled {
    fn tell_durable(self, ledger: &mut Ledger) {
        tell_durable(ledger, self.acknowledged, false);
        tell_durable(ledger, self.rejected, true);
        tell_durable(ledger, self.sent, false);
    }
}

fn tell_durable(ledger: &mut Ledger, settled: Vec<(usize, u64)>, rejected: bool) {
    for (queue, id) in settled {
        ledger.tell(&Event::SettledDurably { queue, id, rejected });
    }
}

/// An answer that no correct node gives.
fn wrong(ledger: &mut Ledger, what: &str) {
    let guarantee = "G11";
    ledger.tell(&Event::Wrong { guarantee, what });
}

fn id_of(message: &Message) -> u64 {
    message
        .body()
        .get(..8)
        .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}
