//! Compares what the node said in a step with the model. Deliveries are taken in any order that the model allows; when
//! all are taken, nobody who could have a message may be without.

use super::model::{Expected, Expiry, Get, Held, Item, Model, Queue};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waystation_core::api::{ChannelReply, ConnId, Name, Reply};
use waystation_core::message::Message;
use waystation_core::node::{QueueInfo, Stats};

/// The guarantee, and what was seen.
pub(super) type Broken = (&'static str, String);

/// A message that was handed to a client.
#[derive(Clone, Debug)]
struct Handed {
    channel: u16,
    /// None for a get.
    consumer: Option<Name>,
    tag: u64,
    redelivered: bool,
    message: Message,
    /// For a get: how many it said were left.
    left: u32,
}

/// A publish's number, whether all before it are meant, and whether it was taken.
type Confirm = (u64, bool, bool);

/// What the node said in a step, by connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    answers: BTreeMap<ConnId, Vec<Reply>>,
    handed: BTreeMap<ConnId, VecDeque<Handed>>,
    confirms: BTreeMap<(ConnId, u16), Vec<Confirm>>,
    ended: BTreeSet<(ConnId, u16, Name)>,
    /// Whether a connection was told to hold, and not yet to go on.
    held: BTreeMap<ConnId, bool>,
    empty: bool,
}

impl Said {
    pub(super) fn add(&mut self, conn: ConnId, replies: Vec<Reply>) {
        for reply in replies {
            let Reply::Channel { channel, reply } = reply else {
                match reply {
                    Reply::Blocked { .. } | Reply::Unblocked => {}
                    Reply::Hold | Reply::GoOn => drop(self.held.insert(conn, reply == Reply::Hold)),
                    _ => self.answers.entry(conn).or_default().push(reply),
                }
                continue;
            };
            let handed = match reply {
                ChannelReply::Deliver {
                    consumer,
                    tag,
                    redelivered,
                    message,
                } => Handed {
                    channel,
                    consumer: Some(consumer),
                    tag,
                    redelivered,
                    message,
                    left: 0,
                },
                ChannelReply::Got {
                    tag,
                    redelivered,
                    message,
                    messages: left,
                } => Handed {
                    channel,
                    consumer: None,
                    tag,
                    redelivered,
                    message,
                    left,
                },
                other => {
                    self.add_other(conn, channel, other);
                    continue;
                }
            };
            self.handed.entry(conn).or_default().push_back(handed);
        }
    }

    fn add_other(&mut self, conn: ConnId, channel: u16, reply: ChannelReply) {
        match reply {
            ChannelReply::Confirm { tag, multiple, ok } => {
                self.confirms
                    .entry((conn, channel))
                    .or_default()
                    .push((tag, multiple, ok));
            }
            ChannelReply::CancelledByServer { consumer } => drop(self.ended.insert((conn, channel, consumer))),
            ChannelReply::Empty => self.empty = true,
            reply => self
                .answers
                .entry(conn)
                .or_default()
                .push(Reply::Channel { channel, reply }),
        }
    }
}

impl Model {
    /// # Errors
    /// The first difference.
    pub(super) fn judge(&mut self, mut said: Said) -> Result<(), Broken> {
        self.judge_answers(&said)?;
        self.judge_confirms(&said)?;
        self.crowded = said.handed.len() > 1;
        if let Some((conn, _)) = said.held.iter().find(|(_, held)| **held) {
            return Err(("G14", format!("connection {} is held, and nothing waits", conn.0)));
        }
        loop {
            self.let_die();
            if let Some(get) = self.get
                && self.queues.get(&get.queue).is_none_or(|queue| queue.items.is_empty())
            {
                if !std::mem::take(&mut said.empty) {
                    return Err(("G11", "a get from an empty queue was not answered so".into()));
                }
                self.get = None;
                continue;
            }
            let mut waiting = said
                .handed
                .iter()
                .filter_map(|(conn, handed)| Some((*conn, handed.front()?)));
            let Some((conn, taken)) = waiting.find_map(|(conn, one)| Some((conn, self.place_of(conn, one)?))) else {
                break;
            };
            let handed = said
                .handed
                .get_mut(&conn)
                .and_then(VecDeque::pop_front)
                .expect("just looked at");
            self.take(conn, handed, taken)?;
        }
        let left = said
            .handed
            .iter()
            .find_map(|(conn, handed)| Some((*conn, handed.front()?)));
        if let Some((conn, handed)) = left {
            return Err(self.explain(conn, handed));
        }
        if said.empty {
            return Err(("G11", "a get was told that nothing is ready, and something is".into()));
        }
        if let Some(Get { queue, .. }) = self.get {
            return Err((
                "G15",
                format!("a get from {} was not answered", self.queues[&queue].name),
            ));
        }
        self.judge_rest()
    }

    fn judge_answers(&mut self, said: &Said) -> Result<(), Broken> {
        let fits = |(expected, reply): (&Expected, &Reply)| match (expected, reply) {
            (Expected::Exactly(expected), reply) => expected == reply,
            (
                Expected::Failure(number),
                Reply::Channel {
                    channel,
                    reply: ChannelReply::Failed(_),
                },
            ) => number == channel,
            (Expected::Failure(_), _) => false,
        };
        let conns: BTreeSet<ConnId> = self.answers.keys().chain(said.answers.keys()).copied().collect();
        for conn in conns {
            let expected = self.answers.get(&conn).map_or(&[][..], Vec::as_slice);
            let replies = said.answers.get(&conn).map_or(&[][..], Vec::as_slice);
            if expected.len() != replies.len() || !expected.iter().zip(replies).all(fits) {
                return Err((
                    "G11",
                    format!("connection {}: {replies:?}, where {expected:?} was due", conn.0),
                ));
            }
        }
        if self.ended != said.ended {
            return Err((
                "G12",
                format!("consumers ended: {:?}, where {:?} were to", said.ended, self.ended),
            ));
        }
        Ok(())
    }

    fn judge_confirms(&mut self, said: &Said) -> Result<(), Broken> {
        for (at, told) in &said.confirms {
            let due = self.confirms.entry(*at).or_default();
            for (tag, multiple, ok) in told {
                let covered: Vec<u64> = due
                    .keys()
                    .copied()
                    .filter(|number| number == tag || (*multiple && number < tag))
                    .collect();
                if !covered.contains(tag) {
                    return Err(("G1", format!("publish {tag} was confirmed twice, or never made")));
                }
                for number in covered {
                    if due.remove(&number) != Some(*ok) {
                        return Err(("G1", format!("publish {number} was answered {ok}, and is not")));
                    }
                }
            }
        }
        match self.confirms.iter().find(|(_, due)| !due.is_empty()) {
            Some(((conn, _), due)) => Err(("G15", format!("connection {}: {due:?} were not confirmed", conn.0))),
            None => Ok(()),
        }
    }

    /// Where what was handed over stands: its queue and place, if nothing has to go before it.
    fn place_of(&self, conn: ConnId, handed: &Handed) -> Option<(u64, usize)> {
        let id = self.queue_of(conn, handed)?;
        let items = &self.queues.get(&id)?.items;
        let at = items.iter().position(|item| item.message == handed.message)?;
        let is_first = !items.iter().any(|other| other.place.is_before(&items[at].place));
        is_first.then_some((id, at))
    }

    fn queue_of(&self, conn: ConnId, handed: &Handed) -> Option<u64> {
        match &handed.consumer {
            None => self
                .get
                .filter(|get| get.at == (conn, handed.channel))
                .map(|get| get.queue),
            Some(tag) => self
                .consumer(conn, handed.channel, tag)
                .map(|id| self.consumers[&id].queue),
        }
    }

    fn consumer(&self, conn: ConnId, channel: u16, tag: &Name) -> Option<u64> {
        let mut consumers = self.consumers.iter();
        consumers
            .find(|(_, one)| one.at == (conn, channel) && one.tag == *tag)
            .map(|(id, _)| *id)
    }

    fn take(&mut self, conn: ConnId, handed: Handed, (id, at): (u64, usize)) -> Result<(), Broken> {
        let consumer = handed
            .consumer
            .as_ref()
            .and_then(|tag| self.consumer(conn, handed.channel, tag));
        let name = self.queues[&id].name.clone();
        if let Some(consumer) = consumer {
            if !self.has_credit(consumer) || self.connections[&conn].was_paused {
                return Err(("G14", format!("{name}: a consumer has more than its limit allows")));
            }
            self.judge_turn(id, consumer)?;
        }
        let queue = self.queues.get_mut(&id).expect("it holds the message");
        let item = queue.items.remove(at);
        let left = queue.items.len() as u32;
        if consumer.is_none() && handed.left != left {
            return Err((
                "G11",
                format!("{name}: a get says that {} are left, and {left} are", handed.left),
            ));
        }
        judge_flag(&name, &item, handed.redelivered)?;
        let no_ack = match consumer {
            Some(consumer) => self.consumers[&consumer].no_ack,
            None => self.get.take().is_some_and(|get| get.no_ack),
        };
        self.sent(conn, &item.message);
        let channel = self.channel((conn, handed.channel));
        channel.tags += 1;
        if channel.tags != handed.tag {
            return Err((
                "G4",
                format!("{name}: delivery {} is numbered {}", channel.tags, handed.tag),
            ));
        }
        if !no_ack {
            let held = Held {
                queue: id,
                item,
                consumer,
            };
            channel.held.insert(handed.tag, held);
        }
        Ok(())
    }

    /// Consumers of a queue are served in turn, where nothing but their own prefetch limits them.
    fn judge_turn(&mut self, id: u64, taker: u64) -> Result<(), Broken> {
        let consumers = self.queues[&id].consumers.clone();
        let free = |consumer: &u64| {
            let (conn, channel) = self.consumers[consumer].at;
            let connection = &self.connections[&conn];
            connection.channels[&channel].limit.is_none() && !connection.paused && !connection.was_paused
        };
        let due = consumers.iter().position(|consumer| self.is_able(*consumer));
        let turn = consumers.iter().position(|consumer| *consumer == taker);
        let all_free = consumers.iter().all(free);
        let queue = self.queues.get_mut(&id).expect("it holds the message");
        if due == turn {
            queue.unsure = queue.unsure.saturating_sub(1);
        } else if !all_free || queue.unsure > 0 || self.crowded {
            // Of what left in one step to several connections the order is not seen: nor is it who is last now, until all
            // had their turn.
            queue.unsure = consumers.len();
        } else {
            let what = format!("{}: a consumer was served out of turn", queue.name);
            return Err(("G15", what));
        }
        queue.consumers.rotate_left(turn.map_or(0, |turn| turn + 1));
        Ok(())
    }

    /// Why a delivery is none of those that the model allows.
    fn explain(&self, conn: ConnId, handed: &Handed) -> Broken {
        let message = format!(
            "{:?} with {} bytes of properties",
            handed.message,
            handed.message.properties().len()
        );
        let Some(id) = self.queue_of(conn, handed) else {
            return (
                "G4",
                format!("{message} was delivered to nobody: {:?}", handed.consumer),
            );
        };
        let queue = &self.queues[&id];
        let same = |item: &&Item| item.message == handed.message;
        if let Some(item) = queue.items.iter().find(same) {
            let before = queue.items.iter().find(|other| other.place.is_before(&item.place));
            return (
                "G5",
                format!(
                    "{}: {message} came before {:?}",
                    queue.name,
                    before.map(|one| &one.message)
                ),
            );
        }
        let like = queue
            .items
            .iter()
            .find(|item| item.message.body() == handed.message.body());
        let what = format!(
            "{}: {message} is not ready there; {:?} is, with headers {:?}, not {:?}",
            queue.name,
            like.map(|item| &item.message),
            like.map(|item| item.message.headers()),
            handed.message.headers()
        );
        (if like.is_some() { "G13" } else { "G4" }, what)
    }

    /// Nobody who could have a message is without.
    fn judge_rest(&self) -> Result<(), Broken> {
        for (id, queue) in &self.queues {
            let Some(head) = queue.items.first() else { continue };
            let able = queue.consumers.iter().find(|consumer| self.is_able(**consumer));
            if let Some(consumer) = able {
                let tag = &self.consumers[consumer].tag;
                let guarantee = if head.expiry == Expiry::AtOnce { "G13" } else { "G15" };
                let what = format!(
                    "{} ({id}): consumer {tag} waits, and {:?} is ready",
                    queue.name, head.message
                );
                return Err((guarantee, what));
            }
        }
        Ok(())
    }

    /// Compares what an operator is told.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn judge_infos(&self, infos: &[QueueInfo], stats: &Stats) -> Result<(), Broken> {
        let told: BTreeMap<&str, &QueueInfo> = infos.iter().map(|info| (&*info.name, info)).collect();
        for queue in self.queues.values() {
            if !told.contains_key(&*queue.name) {
                return Err(("G11", format!("queue {} is gone, and nobody deleted it", queue.name)));
            }
        }
        for (name, info) in told {
            let Some(id) = self.find(name) else {
                return Err(("G12", format!("queue {name} is there, and was to go")));
            };
            let queue = &self.queues[&id];
            let held = self.held_of(id);
            let bytes: u64 = super::model::body_bytes(&queue.items) + held.iter().sum::<u64>();
            let expected = (
                queue.items.len() as u64,
                held.len() as u64,
                bytes,
                queue.consumers.len() as u64,
            );
            let seen = (
                info.messages_ready,
                info.messages_unsettled,
                info.message_bytes,
                info.consumers,
            );
            if expected != seen {
                let what =
                    format!("queue {name} says (ready, unsettled, bytes, consumers) {seen:?}, and has {expected:?}");
                return Err(("G11", what));
            }
            let expected = (queue.durable, queue.exclusive.is_some(), queue.auto_delete);
            if expected != (info.durable, info.exclusive, info.auto_delete) {
                return Err(("G11", format!("queue {name} is not what it was declared to be")));
            }
        }
        let routes = self.topology.bindings().len() as u64;
        if (stats.bindings, stats.consumers) != (routes, self.consumers.len() as u64) {
            let what = format!(
                "there are {} bindings and {} consumers, where {routes} and {} are due",
                stats.bindings,
                stats.consumers,
                self.consumers.len()
            );
            return Err(("G11", what));
        }
        let pinned = |(id, queue): (&u64, &Queue)| {
            let is_transient = !queue.durable || queue.exclusive.is_some();
            is_transient && !(queue.items.is_empty() && self.held_of(*id).is_empty())
        };
        if stats.publishers_blocked > 0 && !self.queues.iter().any(pinned) {
            return Err(("G15", "publishers are blocked, and nothing waits".into()));
        }
        Ok(())
    }

    /// Bytes of each unsettled message of a queue.
    fn held_of(&self, id: u64) -> Vec<u64> {
        let channels = self
            .connections
            .values()
            .flat_map(|connection| connection.channels.values());
        let held = channels.flat_map(|channel| {
            let pledged = channel.transaction.iter().flat_map(|open| &open.settles);
            channel.held.values().chain(pledged.map(|(_, held, _)| held))
        });
        held.filter(|held| held.queue == id)
            .map(|held| held.item.message.body().len() as u64)
            .collect()
    }
}

fn judge_flag(name: &str, item: &Item, redelivered: bool) -> Result<(), Broken> {
    let allowed = if item.delivered {
        redelivered
    } else {
        !redelivered || item.recovered
    };
    if allowed {
        return Ok(());
    }
    let what = format!("{name}: {:?} came with redelivered {redelivered}", item.message);
    Err(("G3", what))
}

impl Said {
    /// Whether something was answered that says: it is done.
    pub(super) fn promises(&self) -> bool {
        let done = |reply: &Reply| matches!(reply, Reply::Channel { .. });
        // A refusal comes at once, whatever becomes of the copies that other queues take.
        let kept = |(_, _, ok): &Confirm| *ok;
        self.confirms.values().flatten().any(kept) || self.answers.values().flatten().any(done)
    }
}
