//! What a broker does, one request at a time, with lists in place of indexes. Each request changes the model at once and
//! says what must be answered; deliveries are then compared with what is ready (`judge`).

use super::letters::{is_round, letter};
use super::topology::Topology;
use std::collections::{BTreeMap, BTreeSet};
use waystation_core::api::{ChannelReply, ConnId, Destination, Name, Outcome, Reply};
use waystation_core::message::{Message, OwnedProperties, Table, Value};

/// Unsettled deliveries of a consumer without prefetch.
const UNSETTLED_MAX: u32 = 1 << 20;

/// What a queue's arguments mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Policy {
    pub(super) ttl_ms: Option<u64>,
    pub(super) lease_ms: Option<u64>,
    pub(super) length: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) refuses: bool,
    pub(super) buries_refused: bool,
    pub(super) dead_letter_exchange: Option<Name>,
    pub(super) dead_letter_key: Option<Name>,
}

impl Policy {
    pub(super) fn of(arguments: &Table) -> Self {
        let number = |name| {
            arguments
                .value(name)
                .and_then(Value::as_i64)
                .map(|number| number as u64)
        };
        let text = |name| arguments.value(name).and_then(Value::as_str).map(Name::from);
        let overflow = text("x-overflow").unwrap_or_else(|| "drop-head".into());
        Self {
            ttl_ms: number("x-message-ttl"),
            lease_ms: number("x-expires"),
            length: number("x-max-length"),
            bytes: number("x-max-length-bytes"),
            refuses: overflow.starts_with("reject-publish"),
            buries_refused: &*overflow == "reject-publish-dlx",
            dead_letter_exchange: text("x-dead-letter-exchange"),
            dead_letter_key: text("x-dead-letter-routing-key"),
        }
    }

    /// Whether so many messages of so many bytes are too much.
    fn exceeds(&self, messages: u64, bytes: u64) -> bool {
        self.length.is_some_and(|max| messages > max) || self.bytes.is_some_and(|max| bytes > max)
    }
}

/// Where a message stands: the step in which it came, where from (0: a publisher), and a number. What came in one step
/// from two queues has no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) step: u64,
    number: u64,
    source: u64,
}

impl Place {
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.step < other.step || (self.source == other.source && self.number < other.number)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    /// A consumer that waits may have it, or nobody.
    AtOnce,
    At(u64),
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) message: Message,
    pub(super) place: Place,
    pub(super) expiry: Expiry,
    /// It was delivered; it may have been, before the node started.
    pub(super) delivered: bool,
    pub(super) recovered: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) name: Name,
    pub(super) durable: bool,
    pub(super) exclusive: Option<ConnId>,
    pub(super) auto_delete: bool,
    pub(super) policy: Policy,
    /// Ready messages, in order.
    pub(super) items: Vec<Item>,
    /// Consumers by number, in the order of their turns.
    pub(super) consumers: Vec<u64>,
    /// Deliveries until it is sure again whose turn is last.
    pub(super) unsure: usize,
    pub(super) exclusive_consumer: Option<u64>,
    /// Milliseconds on the monotonic clock.
    pub(super) used_at: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) queue: u64,
    pub(super) at: (ConnId, u16),
    pub(super) tag: Name,
    pub(super) no_ack: bool,
    pub(super) max: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) queue: u64,
    pub(super) item: Item,
    pub(super) consumer: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    pub(super) publishes: Vec<(Vec<u64>, Message, Option<u64>)>,
    pub(super) settles: Vec<(u64, Held, Outcome)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Channel {
    pub(super) failed: bool,
    pub(super) tags: u64,
    pub(super) held: BTreeMap<u64, Held>,
    pub(super) prefetch: u16,
    pub(super) limit: Option<u32>,
    /// The number of the next publish, in confirm mode.
    pub(super) confirms: Option<u64>,
    pub(super) transaction: Option<Transaction>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    pub(super) channels: BTreeMap<u16, Channel>,
    pub(super) unread: u64,
    pub(super) paused: bool,
    /// It was, when the step began.
    pub(super) was_paused: bool,
}

/// What must be answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expected {
    Exactly(Reply),
    Failure(u16),
}

/// A get that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Get {
    pub(super) at: (ConnId, u16),
    pub(super) queue: u64,
    pub(super) no_ack: bool,
}

/// The model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) topology: Topology,
    pub(super) queues: BTreeMap<u64, Queue>,
    pub(super) connections: BTreeMap<ConnId, Connection>,
    /// Several connections were handed something in this step.
    pub(super) crowded: bool,
    pub(super) consumers: BTreeMap<u64, Consumer>,
    pub(super) window: u64,
    pub(super) step: u64,
    numbers: u64,
    /// Milliseconds: the monotonic clock, the wall clock, and the latest that the wall clock ever said.
    pub(super) mono_ms: u64,
    pub(super) wall_ms: u64,
    pub(super) time_ms: u64,
    pub(super) answers: BTreeMap<ConnId, Vec<Expected>>,
    /// Consumers that the server ends in this step.
    pub(super) ended: BTreeSet<(ConnId, u16, Name)>,
    /// Publishes of this step, and whether they are confirmed or refused.
    pub(super) confirms: BTreeMap<(ConnId, u16), BTreeMap<u64, bool>>,
    pub(super) get: Option<Get>,
}

impl Model {
    pub(super) fn new(window: u64, wall_ms: u64) -> Self {
        Self {
            topology: Topology::new(),
            queues: BTreeMap::new(),
            connections: BTreeMap::new(),
            consumers: BTreeMap::new(),
            window,
            step: 0,
            numbers: 0,
            mono_ms: 0,
            wall_ms,
            time_ms: wall_ms,
            answers: BTreeMap::new(),
            ended: BTreeSet::new(),
            confirms: BTreeMap::new(),
            crowded: false,
            get: None,
        }
    }

    /// A step begins.
    pub(super) fn begin(&mut self) {
        self.step += 1;
        self.answers.clear();
        self.ended.clear();
        self.confirms.clear();
        self.get = None;
        for connection in self.connections.values_mut() {
            connection.was_paused = connection.paused;
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn answer(&mut self, conn: ConnId, reply: Reply) {
        self.answers.entry(conn).or_default().push(Expected::Exactly(reply));
    }

    pub(super) fn say(&mut self, (conn, channel): (ConnId, u16), reply: ChannelReply) {
        self.answer(conn, Reply::Channel { channel, reply });
    }

    pub(super) fn channel(&mut self, (conn, number): (ConnId, u16)) -> &mut Channel {
        let connection = self.connections.get_mut(&conn).expect("scripts use what is connected");
        connection.channels.get_mut(&number).expect("scripts use what is open")
    }

    pub(super) fn find(&self, name: &str) -> Option<u64> {
        self.queues
            .iter()
            .find(|(_, queue)| &*queue.name == name)
            .map(|(id, _)| *id)
    }

    /// Clocks go on, to the next moment at which something is due or so far.
    pub(super) fn set_time(&mut self, mono_ms: u64, wall_ms: u64) {
        self.mono_ms = mono_ms;
        self.wall_ms = wall_ms;
        self.time_ms = self.time_ms.max(wall_ms);
    }

    /// When something next happens by itself, on the monotonic clock.
    pub(super) fn next_event(&self) -> Option<u64> {
        let expiry = |queue: &Queue| match queue.items.first()?.expiry {
            Expiry::At(at) => Some(self.mono_ms + at.saturating_sub(self.wall_ms)),
            Expiry::Never | Expiry::AtOnce => None,
        };
        let lease = |queue: &Queue| Some(queue.used_at + queue.policy.lease_ms.filter(|_| queue.consumers.is_empty())?);
        let queues = self.queues.values();
        queues.flat_map(|queue| [expiry(queue), lease(queue)]).flatten().min()
    }

    /// Queues whose lease is over go.
    pub(super) fn end_leases(&mut self) {
        let over = |queue: &Queue| {
            let lease = queue.policy.lease_ms.filter(|_| queue.consumers.is_empty());
            lease.is_some_and(|lease| queue.used_at + lease <= self.mono_ms)
        };
        let gone: Vec<u64> = self
            .queues
            .iter()
            .filter(|(_, queue)| over(queue))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.delete(id);
        }
    }

    pub(super) fn use_queue(&mut self, id: u64) {
        let now = self.mono_ms;
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.used_at = now;
        }
    }

    /// A message comes to a queue.
    pub(super) fn push(&mut self, id: u64, message: &Message, ttl_ms: Option<u64>, source: u64) {
        let (number, step, time_ms) = (self.number(), self.step, self.time_ms);
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let expiry = match ttl_ms.into_iter().chain(queue.policy.ttl_ms).min() {
            None => Expiry::Never,
            Some(0) => Expiry::AtOnce,
            Some(ttl) => Expiry::At(time_ms + ttl),
        };
        let place = Place { step, number, source };
        queue.items.push(Item {
            message: message.clone(),
            place,
            expiry,
            delivered: false,
            recovered: false,
        });
    }

    /// A message comes to its queues, unless they are full and refuse it. Whether none did.
    pub(super) fn publish(&mut self, queues: &[u64], message: &Message, ttl_ms: Option<u64>) -> bool {
        let mut refused = Vec::new();
        for id in queues.iter().filter(|id| self.queues.contains_key(id)) {
            let queue = &self.queues[id];
            let bytes: u64 = body_bytes(&queue.items) + message.body().len() as u64;
            if queue.policy.refuses && queue.policy.exceeds(queue.items.len() as u64 + 1, bytes) {
                refused.push(*id);
            }
        }
        for id in &refused {
            if self.queues[id].policy.buries_refused {
                self.bury(*id, message, "maxlen", true);
            }
        }
        for id in queues.iter().filter(|id| !refused.contains(id)) {
            self.push(*id, message, ttl_ms, 0);
        }
        refused.is_empty()
    }

    /// The queues that a message goes to; `None` if its exchange is none.
    pub(super) fn route(&self, message: &Message) -> Option<Vec<u64>> {
        let names = self
            .topology
            .route(message.exchange(), message.routing_key(), message)?;
        let mut queues: Vec<u64> = names.iter().filter_map(|name| self.find(name)).collect();
        queues.sort_unstable();
        Some(queues)
    }

    /// A message died in a queue.
    fn bury(&mut self, id: u64, message: &Message, reason: &str, refused: bool) {
        let queue = &self.queues[&id];
        if queue.policy.dead_letter_exchange.is_none() {
            return;
        }
        let letter = letter(&queue.name, &queue.policy, message, reason, self.time_ms);
        let mut queues = self.route(&letter).unwrap_or_default();
        queues.retain(|queue| !is_round(&letter, &self.queues[queue].name));
        if refused {
            // It is published anew: queues that are full refuse it, too.
            self.publish(&queues, &letter, None);
        } else {
            queues.iter().for_each(|queue| self.push(*queue, &letter, None, id));
        }
    }

    /// Whatever is due to die does, heads first.
    pub(super) fn let_die(&mut self) {
        loop {
            let dying = self
                .queues
                .iter()
                .find_map(|(id, queue)| Some((*id, self.dies(*id, queue)?)));
            let Some((id, reason)) = dying else { return };
            let item = self.queues.get_mut(&id).expect("just found").items.remove(0);
            self.bury(id, &item.message, reason, false);
        }
    }

    fn dies(&self, id: u64, queue: &Queue) -> Option<&'static str> {
        let head = queue.items.first()?;
        if !queue.policy.refuses && queue.policy.exceeds(queue.items.len() as u64, body_bytes(&queue.items)) {
            return Some("maxlen");
        }
        let over = match head.expiry {
            Expiry::Never => false,
            Expiry::At(at) => at <= self.time_ms,
            Expiry::AtOnce => head.place.step < self.step || head.recovered || head.delivered || !self.is_wanted(id),
        };
        over.then_some("expired")
    }

    /// Whether somebody could have a message of the queue now.
    pub(super) fn is_wanted(&self, id: u64) -> bool {
        let asked = self.get.is_some_and(|get| get.queue == id);
        asked
            || self.queues[&id]
                .consumers
                .iter()
                .any(|consumer| self.is_able(*consumer))
    }

    pub(super) fn is_able(&self, id: u64) -> bool {
        let consumer = &self.consumers[&id];
        !self.connections[&consumer.at.0].paused && self.has_credit(id)
    }

    pub(super) fn has_credit(&self, id: u64) -> bool {
        let consumer = &self.consumers[&id];
        let limit = self.connections[&consumer.at.0].channels[&consumer.at.1].limit;
        let group = |held: &u64| self.consumers.get(held).is_some_and(|other| other.at == consumer.at);
        let all = self.holding(consumer.at).into_iter().filter(group).count();
        self.holds(id) < consumer.max && (consumer.no_ack || limit.is_none_or(|max| all < max as usize))
    }

    fn holds(&self, id: u64) -> u32 {
        let at = self.consumers[&id].at;
        self.holding(at).into_iter().filter(|holder| *holder == id).count() as u32
    }

    /// The consumers of a channel's unsettled deliveries, each as often as it holds one.
    fn holding(&self, (conn, channel): (ConnId, u16)) -> Vec<u64> {
        let channel = &self.connections[&conn].channels[&channel];
        let pledged = channel
            .transaction
            .iter()
            .flat_map(|open| &open.settles)
            .map(|(_, held, _)| held);
        // What a deleted queue held is held by nobody.
        let all = channel
            .held
            .values()
            .chain(pledged)
            .filter(|held| self.queues.contains_key(&held.queue));
        all.filter_map(|held| held.consumer).collect()
    }

    pub(super) fn settle(&mut self, held: Held, outcome: Outcome) {
        let Held {
            queue: id, mut item, ..
        } = held;
        let Some(queue) = self.queues.get_mut(&id) else { return };
        match outcome {
            Outcome::Ack => {}
            Outcome::Reject => self.bury(id, &item.message, "rejected", false),
            Outcome::Requeue => {
                item.delivered = true;
                let at = queue.items.partition_point(|other| other.place < item.place);
                queue.items.insert(at, item);
            }
        }
    }

    pub(super) fn cancel(&mut self, id: u64) {
        let Some(consumer) = self.consumers.remove(&id) else {
            return;
        };
        let Some(queue) = self.queues.get_mut(&consumer.queue) else {
            return;
        };
        queue.consumers.retain(|other| *other != id);
        queue.exclusive_consumer.take_if(|exclusive| *exclusive == id);
        let ends = queue.auto_delete && queue.consumers.is_empty();
        self.use_queue(consumer.queue);
        if ends {
            self.delete(consumer.queue);
        }
    }

    /// A queue goes, with all it holds; how many ready messages it had.
    pub(super) fn delete(&mut self, id: u64) -> u64 {
        let Some(queue) = self.queues.remove(&id) else { return 0 };
        for consumer in queue.consumers {
            let Consumer { at, tag, .. } = self.consumers.remove(&consumer).expect("queues know their consumers");
            self.ended.insert((at.0, at.1, tag));
        }
        self.topology.forget(&Destination::Queue(queue.name));
        queue.items.len() as u64
    }

    /// Consumers of a channel end, and what it holds returns.
    pub(super) fn clear(&mut self, at: (ConnId, u16)) {
        let mine: Vec<u64> = self
            .consumers
            .iter()
            .filter(|(_, one)| one.at == at)
            .map(|(id, _)| *id)
            .collect();
        mine.into_iter().for_each(|id| self.cancel(id));
        let channel = self.channel(at);
        let open = channel.transaction.take().unwrap_or_default();
        let held: Vec<Held> = std::mem::take(&mut channel.held).into_values().collect();
        let pledged = open.settles.into_iter().map(|(_, held, _)| held);
        held.into_iter()
            .chain(pledged)
            .for_each(|held| self.settle(held, Outcome::Requeue));
    }

    /// The node died and came back: what is in memory is gone, and nobody is connected.
    pub(super) fn restart(&mut self) {
        let all: Vec<(ConnId, u16)> = self
            .connections
            .iter()
            .flat_map(|(conn, connection)| connection.channels.keys().map(|channel| (*conn, *channel)))
            .collect();
        // Nobody's end is noticed: an auto-delete queue stays.
        self.consumers.clear();
        self.queues.values_mut().for_each(|queue| queue.consumers.clear());
        all.into_iter().for_each(|at| self.clear(at));
        self.connections.clear();
        let transient = |queue: &Queue| !queue.durable || queue.exclusive.is_some();
        let gone: Vec<u64> = self
            .queues
            .iter()
            .filter(|(_, queue)| transient(queue))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.delete(id);
        }
        self.topology.restart();
        self.ended.clear();
        self.answers.clear();
        self.confirms.clear();
        self.get = None;
        for queue in self.queues.values_mut() {
            queue.used_at = self.mono_ms;
            queue.exclusive_consumer = None;
            queue.items.iter_mut().for_each(|item| item.recovered = true);
        }
    }

    /// What is in queues may have been there before a crash, or come to be by what happened after it.
    pub(super) fn recover_all(&mut self) {
        let items = self.queues.values_mut().flat_map(|queue| &mut queue.items);
        items.for_each(|item| item.recovered = true);
    }

    /// Whether a failure is due.
    pub(super) fn fails(&self) -> bool {
        let mut due = self.answers.values().flatten();
        due.any(|expected| matches!(expected, Expected::Failure(_)))
    }

    pub(super) const fn unsettled_max(prefetch: u16) -> u32 {
        if prefetch == 0 { UNSETTLED_MAX } else { prefetch as u32 }
    }
}

pub(super) fn body_bytes(items: &[Item]) -> u64 {
    items.iter().map(|item| item.message.body().len() as u64).sum()
}

/// A message's own time to live.
pub(super) fn ttl_of(message: &Message) -> Option<u64> {
    let properties = OwnedProperties::parse(message.properties()).ok()?;
    std::str::from_utf8(&properties.expiration?).ok()?.parse().ok()
}
