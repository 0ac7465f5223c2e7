//! What the core answers, in the peer's terms.

use super::super::error::{Code, Error};
use super::super::frame;
use super::super::methods::{basic, channel, confirm, connection, exchange, queue, tx};
use super::channel::State;
use super::{Phase, Session};
use waystation_core::Now;
use waystation_core::api::{ChannelReply, Reply};
use waystation_core::plant::{self, Plant};

impl Session {
    pub(super) fn replies(&mut self, now: Now, replies: Vec<Reply>) {
        for reply in replies {
            match reply {
                Reply::Channel { channel, reply } => self.channel_reply(now, channel, reply),
                Reply::Connected => self.connected(now),
                Reply::Refused(fault) | Reply::Failed(fault) => {
                    let error = Error::from_fault(&fault, &self.peer.vhost);
                    self.close(now, &error);
                }
                Reply::Disconnected => {
                    if self.phase == Phase::Leaving {
                        self.left();
                    }
                }
                Reply::Hold => self.held = true,
                Reply::GoOn => self.held = plant::is(Plant::HoldForEver),
                Reply::Blocked { reason } => {
                    self.flow.blocked = Some(reason);
                }
                Reply::Unblocked => {
                    if std::mem::take(&mut self.flow).told && !plant::is(Plant::UnblockedUnsaid) {
                        frame::method(&mut self.out.bytes, 0, &connection::Unblocked {});
                    }
                }
            }
        }
        let credit = self.out.take_credit();
        if credit > 0 {
            self.request(waystation_core::api::Request::Drained { bytes: credit });
        }
    }

    /// Says connection.blocked, once, to a peer that publishes and understands it.
    pub(super) fn tell_blocked(&mut self) {
        if let Some(reason) = self.flow.blocked
            && self.peer.knows_blocked
            && !self.flow.told
            && !plant::is(Plant::BlockedUnsaid)
        {
            self.flow.told = true;
            frame::method(&mut self.out.bytes, 0, &connection::Blocked { reason });
        }
    }

    #[inline]
    fn channel_reply(&mut self, now: Now, number: u16, reply: ChannelReply) {
        if self.phase != Phase::Open {
            return;
        }
        let Some(channel) = self.channels.get(number) else {
            return;
        };
        let ended = matches!(channel.state, State::Closing | State::Leaving) && plant::is(Plant::DeliverAfterClose);
        let current = channel.stale == 0 && channel.state == State::Open || ended;
        match reply {
            ChannelReply::Closed if channel.stale > 0 => self.forget_stale(now, number),
            ChannelReply::Closed if channel.state == State::Leaving => {
                frame::method(&mut self.out.bytes, number, &channel::CloseOk {});
                if !plant::is(Plant::CloseLeavesChannel) {
                    self.channels.free(number);
                }
            }
            ChannelReply::Deliver { message, .. }
            | ChannelReply::Got { message, .. }
            | ChannelReply::Return { message }
                if !current =>
            {
                self.out.dropped(message.bytes().len() as u64);
            }
            ChannelReply::Failed(fault) if current => {
                let error = Error::from_fault(&fault, &self.peer.vhost);
                self.fail(now, number, error);
            }
            reply if current => self.tell(number, reply),
            // Said to an incarnation of the channel that is over.
            _ => {}
        }
    }

    #[inline]
    fn tell(&mut self, number: u16, reply: ChannelReply) {
        let frame_max = self.peer.frame_bytes_max;
        let out = &mut self.out.bytes;
        match reply {
            ChannelReply::Deliver {
                consumer,
                tag,
                redelivered,
                message,
            } => {
                let deliver = basic::Deliver {
                    consumer_tag: &consumer,
                    delivery_tag: tag,
                    redelivered,
                    exchange: message.exchange(),
                    routing_key: message.routing_key(),
                };
                frame::deliver(out, number, &deliver, &message, frame_max);
                self.out.delivered(message.bytes().len() as u64);
            }
            ChannelReply::Confirm {
                tag: delivery_tag,
                multiple,
                ok: true,
            } => {
                let extra = u64::from(multiple && plant::is(Plant::ConfirmNumberOff));
                let delivery_tag = delivery_tag + extra;
                frame::method(out, number, &basic::Ack { delivery_tag, multiple });
            }
            ChannelReply::Confirm {
                tag: delivery_tag,
                multiple,
                ok: false,
            } => {
                frame::method(
                    out,
                    number,
                    &basic::Nack {
                        delivery_tag,
                        multiple,
                        requeue: false,
                    },
                );
            }
            ChannelReply::CancelledByServer { consumer } => {
                if self.peer.knows_consumer_cancel {
                    let cancel = basic::Cancel {
                        consumer_tag: &consumer,
                        nowait: true,
                    };
                    frame::method(out, number, &cancel);
                }
            }
            other => self.tell_other(number, other),
        }
    }

    /// A message that was asked for, or comes back.
    fn tell_other(&mut self, number: u16, reply: ChannelReply) {
        let frame_max = self.peer.frame_bytes_max;
        let out = &mut self.out.bytes;
        match reply {
            ChannelReply::Got {
                tag,
                redelivered,
                message,
                messages,
            } => {
                let get_ok = basic::GetOk {
                    delivery_tag: tag,
                    redelivered,
                    exchange: message.exchange(),
                    routing_key: message.routing_key(),
                    message_count: messages,
                };
                frame::method(out, number, &get_ok);
                frame::content(out, number, message.properties(), message.body(), frame_max);
                self.out.delivered(message.bytes().len() as u64);
            }
            ChannelReply::Return { message } => {
                let returned = basic::Return {
                    reply_code: Code::NoRoute.number(),
                    reply_text: Code::NoRoute.name(),
                    exchange: message.exchange(),
                    routing_key: message.routing_key(),
                };
                frame::method(out, number, &returned);
                frame::content(out, number, message.properties(), message.body(), frame_max);
                self.out.delivered(message.bytes().len() as u64);
            }
            done => self.tell_done(number, &done),
        }
    }

    /// The answers of success that carry little or nothing.
    fn tell_done(&mut self, number: u16, reply: &ChannelReply) {
        let out = &mut self.out.bytes;
        match reply {
            ChannelReply::Opened => frame::method(out, number, &channel::OpenOk {}),
            ChannelReply::ExchangeDeclared => frame::method(out, number, &exchange::DeclareOk {}),
            ChannelReply::ExchangeDeleted => frame::method(out, number, &exchange::DeleteOk {}),
            ChannelReply::Bound { exchange: true } => frame::method(out, number, &exchange::BindOk {}),
            ChannelReply::Bound { exchange: false } => frame::method(out, number, &queue::BindOk {}),
            ChannelReply::Unbound { exchange: true } => frame::method(out, number, &exchange::UnbindOk {}),
            ChannelReply::Unbound { exchange: false } => frame::method(out, number, &queue::UnbindOk {}),
            ChannelReply::QueueDeclared {
                name,
                messages,
                consumers,
            } => {
                let declare_ok = queue::DeclareOk {
                    queue: name,
                    message_count: *messages,
                    consumer_count: *consumers,
                };
                frame::method(out, number, &declare_ok);
            }
            ChannelReply::QueuePurged { messages } => {
                frame::method(
                    out,
                    number,
                    &queue::PurgeOk {
                        message_count: *messages,
                    },
                );
            }
            ChannelReply::QueueDeleted { messages } => {
                frame::method(
                    out,
                    number,
                    &queue::DeleteOk {
                        message_count: *messages,
                    },
                );
            }
            ChannelReply::QosSet => frame::method(out, number, &basic::QosOk {}),
            ChannelReply::Consuming { consumer } => {
                frame::method(out, number, &basic::ConsumeOk { consumer_tag: consumer });
            }
            ChannelReply::Cancelled { consumer } => {
                frame::method(out, number, &basic::CancelOk { consumer_tag: consumer });
            }
            ChannelReply::Empty => frame::method(out, number, &basic::GetEmpty {}),
            ChannelReply::Recovered => frame::method(out, number, &basic::RecoverOk {}),
            ChannelReply::ConfirmSelected => frame::method(out, number, &confirm::SelectOk {}),
            ChannelReply::TxSelected => frame::method(out, number, &tx::SelectOk {}),
            ChannelReply::TxCommitted => frame::method(out, number, &tx::CommitOk {}),
            ChannelReply::TxRolledBack => frame::method(out, number, &tx::RollbackOk {}),
            // Handled before the channel's state was asked for.
            ChannelReply::Closed
            | ChannelReply::Failed(_)
            | ChannelReply::Deliver { .. }
            | ChannelReply::Got { .. }
            | ChannelReply::Confirm { .. }
            | ChannelReply::Return { .. }
            | ChannelReply::CancelledByServer { .. } => {}
        }
    }
}
