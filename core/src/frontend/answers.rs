//! What the shard says.

use super::channel::{Then, Waiting};
use super::{Asked, Frontend};
use crate::api::{Cause, ChannelReply, ConnId, Reply};
use crate::catalog::{Applied, Change};
use crate::machine::Now;
use crate::node::AdminReply;
use crate::plant::{self, Plant};
use crate::shard::{ConsumerId, Delivery, GroupId, Input, Output, Token};

/// The shard's answer to a request, in one shape.
enum Answer {
    Changed(Result<(Applied, u64), Cause>),
    Counted { ready: u64, consumers: u64 },
    Purged(u64),
    Consuming(Result<(), Cause>),
    Got(Option<Delivery>, u64),
    Committed,
}

impl Frontend {
    /// Applies what the shard says; [`Output::Halt`] and [`Output::Stopped`] are the node's.
    pub(crate) fn handle_shard(&mut self, now: Now, output: Output) {
        match output {
            Output::Published { token, ok } => self.published(token, ok),
            Output::Changed { token, change, result } => {
                if result.is_ok() {
                    self.apply(&change);
                }
                if let Some(token) = token {
                    self.answer(now, token, Answer::Changed(result));
                }
            }
            Output::Purged { token, messages } => self.answer(now, token, Answer::Purged(messages)),
            Output::Counted {
                token,
                ready,
                consumers,
            } => {
                self.answer(now, token, Answer::Counted { ready, consumers });
            }
            Output::Consuming { token, result } => self.answer(now, token, Answer::Consuming(result)),
            Output::Got { token, got, ready } => self.answer(now, token, Answer::Got(got, ready)),
            Output::Committed { token } => self.answer(now, token, Answer::Committed),
            Output::Deliver { consumer, delivery } => self.deliver(consumer, delivery),
            Output::Ended { consumer } => self.ended(consumer),
            Output::Blocked { reason } => {
                self.shard_blocked = Some(reason);
                self.update_blocked();
            }
            Output::Unblocked => {
                self.shard_blocked = None;
                self.update_blocked();
            }
            Output::Halt(_) | Output::Stopped => unreachable!("the node's own"),
        }
    }

    /// This copy of the catalog follows the shard's.
    fn apply(&mut self, change: &Change) {
        let applied = self.catalog.apply(change);
        assert!(applied.is_ok(), "copies of the catalog agree");
        self.queue_next = self.queue_next.max(self.catalog.queue_next());
    }

    fn published(&mut self, token: Token, ok: bool) {
        let Token::Publish(group, number) = token else { return };
        if ok {
            self.counters.confirmed += 1;
        } else {
            self.counters.refused += 1;
        }
        if let Some(confirms) = self
            .channels
            .get_mut(&group)
            .and_then(|channel| channel.confirms.as_mut())
        {
            confirms.set(number, ok);
            self.confirming.insert(group);
        }
    }

    fn answer(&mut self, now: Now, token: Token, answer: Answer) {
        let Token::Request(id) = token else {
            unreachable!("publishes are answered as published")
        };
        match self
            .asked
            .remove(&id)
            .expect("the shard answers what it was asked, once")
        {
            Asked::Channel(group) => {
                let waiting = self.channels.get_mut(&group).and_then(|channel| channel.waiting.take());
                match waiting {
                    Some(waiting) => self.answer_channel(group, waiting, answer),
                    None => self.answer_nobody(answer),
                }
                self.resume(now, group);
            }
            Asked::End(conn) => self.connection_ended(conn),
            Asked::Closed(conn, channel) => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.closing.remove(&channel);
                }
                self.reply(
                    conn,
                    Reply::Channel {
                        channel,
                        reply: ChannelReply::Closed,
                    },
                );
            }
            Asked::Admin(id) => {
                let messages = match answer {
                    Answer::Purged(messages) | Answer::Changed(Ok((_, messages))) => messages,
                    _ => 0,
                };
                self.tell_admin(id, AdminReply::Done { messages });
            }
            Asked::Nobody => {}
        }
    }

    /// The channel is gone: what was fetched for it goes back.
    fn answer_nobody(&mut self, answer: Answer) {
        if let Answer::Got(Some(delivery), _) = answer {
            self.give_back(&delivery);
        }
    }

    fn give_back(&mut self, delivery: &Delivery) {
        let Delivery { queue, sequence, .. } = *delivery;
        self.to_shard.push_back(Input::Unsent { queue, sequence });
    }

    fn answer_channel(&mut self, group: GroupId, waiting: Waiting, answer: Answer) {
        let Waiting { operation, reply, then } = waiting;
        if self.channels[&group].failed {
            return self.answer_nobody(answer);
        }
        // Every answer but these waited for what the channel had settled before.
        let waited = !matches!(answer, Answer::Consuming(_) | Answer::Got(..));
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        channel.unsure &= !waited;
        let said = match (then, answer) {
            (Then::Consuming { consumer, id }, Answer::Consuming(result)) => {
                if result.is_err() {
                    self.consumers.remove(&id);
                    self.channels.get_mut(&group).expect("open").consumers.remove(&consumer);
                }
                result.map(|()| ChannelReply::Consuming { consumer })
            }
            (_, Answer::Changed(Err(cause)) | Answer::Consuming(Err(cause))) => Err(cause),
            (Then::Say(said), Answer::Changed(Ok(_)) | Answer::Counted { .. }) => Ok(said),
            (Then::Declared { name }, Answer::Changed(Ok((_, ready)))) => Ok(ChannelReply::QueueDeclared {
                name,
                messages: clamp(ready),
                consumers: 0,
            }),
            (Then::Declared { name }, Answer::Counted { ready, consumers }) => Ok(ChannelReply::QueueDeclared {
                name,
                messages: clamp(ready),
                consumers: clamp(consumers),
            }),
            (Then::Deleted, Answer::Changed(Ok((_, ready)))) => {
                Ok(ChannelReply::QueueDeleted { messages: clamp(ready) })
            }
            (Then::Purged, Answer::Purged(messages)) => Ok(ChannelReply::QueuePurged {
                messages: clamp(messages),
            }),
            (Then::Got { no_ack, .. }, Answer::Got(got, ready)) => Ok(self.got(group, no_ack, got, ready)),
            (Then::Committed, Answer::Committed) => Ok(ChannelReply::TxCommitted),
            (then, _) => unreachable!("the shard answers in kind: {then:?}"),
        };
        match said {
            Ok(said) if reply => self.say(group, said),
            Ok(_) => {}
            Err(cause) => self.fail(group, operation, cause),
        }
    }

    fn got(&mut self, group: GroupId, no_ack: bool, got: Option<Delivery>, ready: u64) -> ChannelReply {
        let Some(delivery) = got else {
            return ChannelReply::Empty;
        };
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        let (queue, sequence) = (delivery.queue, delivery.sequence);
        let tag = if no_ack {
            self.to_shard.push_back(Input::Sent { queue, sequence });
            channel.deliveries.tag()
        } else {
            channel.deliveries.add(delivery.queue, delivery.sequence)
        };
        let conn = channel.conn;
        self.sending(conn, delivery.message.bytes().len());
        let Delivery {
            redelivered, message, ..
        } = delivery;
        ChannelReply::Got {
            tag,
            redelivered,
            message,
            messages: clamp(ready),
        }
    }

    fn deliver(&mut self, consumer: ConsumerId, delivery: Delivery) {
        // Cancelled while the delivery was on its way.
        let Some(at) = self.consumers.get(&consumer) else {
            return self.give_back(&delivery);
        };
        let (group, tag, no_ack) = (at.group, at.tag.clone(), at.no_ack);
        let channel = self.channels.get_mut(&group).expect("a consumer's channel is open");
        let (queue, sequence) = (delivery.queue, delivery.sequence);
        let number = if no_ack {
            self.to_shard.push_back(Input::Sent { queue, sequence });
            channel.deliveries.tag()
        } else {
            channel.deliveries.add(delivery.queue, delivery.sequence)
        };
        let conn = channel.conn;
        self.sending(conn, delivery.message.bytes().len());
        let Delivery {
            redelivered, message, ..
        } = delivery;
        self.say(
            group,
            ChannelReply::Deliver {
                consumer: tag,
                tag: number,
                redelivered,
                message,
            },
        );
    }

    /// A consumer's queue is gone.
    fn ended(&mut self, consumer: ConsumerId) {
        let Some(at) = self.consumers.remove(&consumer) else {
            return;
        };
        self.channels
            .get_mut(&at.group)
            .expect("a consumer's channel is open")
            .consumers
            .remove(&at.tag);
        self.say(at.group, ChannelReply::CancelledByServer { consumer: at.tag });
    }

    /// Everything that the connection asked for is durable; if one of its declarations came late, once more.
    fn connection_ended(&mut self, conn: ConnId) {
        if self.catalog.exclusive_queues(conn).is_empty() || plant::is(Plant::ExclusiveOutlives) {
            self.to_shard.push_back(Input::Pause { conn, paused: false });
            self.reply(conn, Reply::Disconnected);
        } else {
            self.end_connection(conn);
        }
    }
}

/// Counts on the wire are 32 bits wide.
fn clamp(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
