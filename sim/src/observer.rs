//! Watches what crosses the node's border and keeps the account of it: clients need not be honest or alive.

use crate::ledger::{Ledger, Seen};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waystation_core::api::{ChannelReply, ChannelRequest, ConnId, Outcome, Reply, Request};
use waystation_core::message::Message;

/// A connection's channel.
type At = (ConnId, u16);

#[derive(Debug, Default)]
struct Channel {
    /// Unique among all channels of the run.
    instance: u64,
    /// It is being closed: what it is still given goes back.
    closing: bool,
    /// Unsettled deliveries by tag: queue and message.
    held: BTreeMap<u64, (usize, u64)>,
    /// Consumers: queue and whether deliveries are settled by being sent.
    consumers: BTreeMap<String, (usize, bool)>,
    /// Consumers' prefetch when they began, and what they hold.
    prefetch: u16,
    limits: BTreeMap<String, u16>,
    holding: BTreeMap<String, BTreeSet<u64>>,
    gets: VecDeque<(usize, bool)>,
    purges: VecDeque<usize>,
    /// Publishes in confirm mode that wait, by number.
    pending: BTreeMap<u64, u64>,
    numbers: u64,
    confirming: bool,
    /// Settled since the last round trip began.
    settled: Vec<(usize, u64)>,
    /// What each round trip under way makes durable.
    trips: VecDeque<Vec<(usize, u64)>>,
}

/// The observer.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    channels: BTreeMap<At, Channel>,
    instances: u64,
    queues: Vec<String>,
}

impl Observer {
    pub(crate) fn new(queues: Vec<String>) -> Self {
        Self {
            queues,
            ..Self::default()
        }
    }

    /// The node died.
    pub(crate) fn crashed(&mut self, ledger: &mut Ledger) {
        let purges = self.channels.values().flat_map(|channel| &channel.purges);
        purges.for_each(|queue| ledger.purged(*queue));
        self.channels.clear();
    }

    fn queue(&self, name: &str) -> Option<usize> {
        self.queues.iter().position(|queue| queue == name)
    }

    /// The node is about to handle a request.
    pub(crate) fn request(&mut self, conn: ConnId, request: &Request, ledger: &mut Ledger) {
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
        if let Some(channel) = self.channels.get_mut(&at) {
            channel.closing = true;
            let holder = channel.instance;
            let held = std::mem::take(&mut channel.held);
            held.values()
                .for_each(|(queue, id)| ledger.returned(*queue, *id, holder));
        }
    }

    /// It is closed, or all channels of the connection are.
    fn closed(&mut self, conn: ConnId, number: Option<u16>, ledger: &mut Ledger) {
        let gone = |(owner, channel): &At| *owner == conn && number.is_none_or(|number| number == *channel);
        for (at, channel) in &self.channels {
            // A purge may have been done without the answer being seen.
            channel
                .purges
                .iter()
                .filter(|_| gone(at))
                .for_each(|queue| ledger.purged(*queue));
        }
        self.channels.retain(|at, _| !gone(at));
    }

    fn on_channel(&mut self, at: At, request: &ChannelRequest, ledger: &mut Ledger) {
        let name = match request {
            ChannelRequest::Consume { queue, .. }
            | ChannelRequest::Get { queue, .. }
            | ChannelRequest::PurgeQueue { name: queue, .. } => self.queue(queue),
            _ => None,
        };
        let Some(channel) = self.channels.get_mut(&at) else {
            return;
        };
        match request {
            ChannelRequest::ConfirmSelect { .. } => channel.confirming = true,
            ChannelRequest::Publish { message, .. } if channel.confirming => {
                channel.numbers += 1;
                channel.pending.insert(channel.numbers, id_of(message));
            }
            ChannelRequest::Qos { count, global: false } => channel.prefetch = *count,
            ChannelRequest::Consume { consumer, no_ack, .. } => {
                channel
                    .consumers
                    .insert(consumer.to_string(), (name.expect("a queue of the run"), *no_ack));
                if channel.prefetch > 0 && !no_ack {
                    channel.limits.insert(consumer.to_string(), channel.prefetch);
                }
            }
            ChannelRequest::Get { no_ack, .. } => {
                channel.gets.push_back((name.expect("a queue of the run"), *no_ack));
            }
            ChannelRequest::PurgeQueue { .. } => channel.purges.push_back(name.expect("a queue of the run")),
            ChannelRequest::DeclareQueue { reply: true, .. } => {
                let settled = std::mem::take(&mut channel.settled);
                channel.trips.push_back(settled);
            }
            ChannelRequest::Settle { tag, multiple, outcome } => {
                let tags: Vec<u64> = if *multiple {
                    channel
                        .held
                        .keys()
                        .copied()
                        .filter(|held| *tag == 0 || held <= tag)
                        .collect()
                } else {
                    vec![*tag]
                };
                for tag in tags {
                    settle(channel, tag, *outcome, ledger);
                }
            }
            _ => {}
        }
    }

    /// The node said something.
    pub(crate) fn reply(&mut self, when: When, conn: ConnId, reply: &Reply, ledger: &mut Ledger) {
        let When { at: at_ns, wall_ms, .. } = when;
        let (number, reply) = match reply {
            Reply::Disconnected => return self.closed(conn, None, ledger),
            Reply::Channel {
                channel,
                reply: ChannelReply::Closed,
            } => return self.closed(conn, Some(*channel), ledger),
            Reply::Channel { channel, reply } => (channel, reply),
            _ => return,
        };
        let Some(channel) = self.channels.get_mut(&(conn, *number)) else {
            return;
        };
        match reply {
            ChannelReply::Deliver {
                consumer,
                tag,
                redelivered,
                message,
            } => {
                let Some((queue, no_ack)) = channel.consumers.get(&**consumer).copied() else {
                    return ledger.fail("G4", at_ns, format!("a delivery to consumer {consumer}, which is none"));
                };
                let delivery = Delivery {
                    tag: *tag,
                    redelivered: *redelivered,
                    message,
                    queue,
                    no_ack,
                };
                seen(channel, when, &delivery, ledger);
                if let Some(limit) = channel.limits.get(&**consumer) {
                    let holding = channel.holding.entry(consumer.to_string()).or_default();
                    holding.insert(*tag);
                    if holding.len() > usize::from(*limit) {
                        ledger.fail(
                            "G14",
                            at_ns,
                            format!("prefetch {limit} was exceeded: {}", holding.len()),
                        );
                    }
                }
            }
            ChannelReply::Got {
                tag,
                redelivered,
                message,
                ..
            } => {
                let (queue, no_ack) = channel.gets.pop_front().expect("gets are answered in order");
                let delivery = Delivery {
                    tag: *tag,
                    redelivered: *redelivered,
                    message,
                    queue,
                    no_ack,
                };
                seen(channel, when, &delivery, ledger);
            }
            ChannelReply::Empty => drop(channel.gets.pop_front()),
            ChannelReply::QueuePurged { .. } => {
                if let Some(queue) = channel.purges.pop_front() {
                    ledger.purged(queue);
                }
            }
            ChannelReply::QueueDeclared { .. } => {
                let durable = channel.trips.pop_front().unwrap_or_default();
                durable
                    .into_iter()
                    .for_each(|(queue, id)| ledger.settled_durably(queue, id));
            }
            ChannelReply::Confirm { tag, multiple, ok } => {
                let tags: Vec<u64> = if *multiple {
                    channel.pending.keys().copied().filter(|number| number <= tag).collect()
                } else {
                    vec![*tag]
                };
                for tag in tags {
                    match channel.pending.remove(&tag) {
                        Some(id) => ledger.confirmed(at_ns, wall_ms, id, *ok),
                        None => ledger.fail("G1", at_ns, format!("publish {tag} was confirmed twice, or never made")),
                    }
                }
            }
            // A recover waits its turn on the channel: what it returns is what is held when it is answered.
            ChannelReply::Recovered => {
                let held = std::mem::take(&mut channel.held);
                channel.holding.clear();
                let holder = channel.instance;
                held.into_values()
                    .for_each(|(queue, id)| ledger.returned(queue, id, holder));
            }
            ChannelReply::Failed(fault) => {
                let what = format!(
                    "{conn:?} {:?}: {}; held {:?}, consumers {:?}",
                    fault.operation, fault.cause, channel.held, channel.consumers
                );
                let held = std::mem::take(&mut channel.held);
                let holder = channel.instance;
                held.into_values()
                    .for_each(|(queue, id)| ledger.returned(queue, id, holder));
                ledger.fail("G11", at_ns, format!("a correct request failed: {what}"));
            }
            _ => {}
        }
    }
}

/// The moment at which something left the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) at: u64,
    pub(crate) step: u64,
    pub(crate) wall_ms: u64,
}

struct Delivery<'a> {
    tag: u64,
    redelivered: bool,
    message: &'a Message,
    queue: usize,
    no_ack: bool,
}

fn seen(channel: &mut Channel, when: When, delivery: &Delivery<'_>, ledger: &mut Ledger) {
    let When { at, step, wall_ms } = when;
    let &Delivery {
        tag,
        redelivered,
        message,
        queue,
        no_ack,
    } = delivery;
    let holder = channel.instance;
    let id = ledger.delivered(&Seen {
        at,
        step,
        wall_ms,
        queue,
        body: message.body(),
        redelivered,
        no_ack,
        holder,
    });
    if let Some(id) = id
        && !no_ack
    {
        channel.held.insert(tag, (queue, id));
        if channel.closing {
            channel.held.clear();
            ledger.returned(queue, id, holder);
        }
    }
}

fn settle(channel: &mut Channel, tag: u64, outcome: Outcome, ledger: &mut Ledger) {
    let Some((queue, id)) = channel.held.remove(&tag) else {
        return;
    };
    for held in channel.holding.values_mut() {
        held.remove(&tag);
    }
    match outcome {
        Outcome::Ack => {
            channel.settled.push((queue, id));
            ledger.settled(queue, id, false);
        }
        Outcome::Reject => ledger.settled(queue, id, true),
        Outcome::Requeue => ledger.returned(queue, id, channel.instance),
    }
}

fn id_of(message: &Message) -> u64 {
    message
        .body()
        .get(..8)
        .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}
