//! Frames from the peer: what each means in each state.

use super::super::error::{Code, Error};
use super::super::frame::{self, Frame};
use super::super::methods::{Method, access, basic, channel, connection, exchange, queue};
use super::channel::State;
use super::content::decode_publish;
use super::{Phase, Session};
use waystation_core::Now;
use waystation_core::api::{ChannelRequest, Destination, Name, Outcome};
use waystation_core::message::Table;
use waystation_core::plant::{self, Plant};

impl Session {
    #[inline]
    pub(super) fn frame(&mut self, now: Now, frame: Frame<'_>) -> Result<(), Error> {
        if frame.kind == frame::HEARTBEAT {
            let sound = frame.channel == 0 && frame.payload.is_empty();
            let error = || Error::new(Code::FrameError, "a heartbeat has no payload and belongs to channel 0");
            return sound.then_some(()).ok_or_else(error);
        }
        match self.phase {
            Phase::Open if frame.channel != 0 => self.channel_frame(frame),
            Phase::Closing => self.closing_frame(frame),
            Phase::Leaving | Phase::Closed => Ok(()),
            _ => self.connection_frame(now, frame),
        }
    }

    fn connection_frame(&mut self, now: Now, frame: Frame<'_>) -> Result<(), Error> {
        if frame.kind != frame::METHOD {
            let text = "expected method frame, got non method frame instead";
            return Err(Error::new(Code::UnexpectedFrame, text));
        }
        let method = decode(frame.payload)?;
        if frame.channel != 0 {
            let text = format!(
                "{} on channel {} before connection.open-ok",
                method.name(),
                frame.channel
            );
            return Err(Error::new(Code::ChannelError, text).of(method.ids()));
        }
        match (self.phase, &method) {
            (_, Method::ConnectionClose(_)) => self.leave(),
            (Phase::Starting, Method::ConnectionStartOk(start_ok)) => return self.start_ok(now, start_ok),
            (Phase::Tuning, Method::ConnectionTuneOk(tune_ok)) => return self.tune_ok(tune_ok),
            (Phase::Tuned, Method::ConnectionOpen(open)) => self.open(open),
            (Phase::Open, Method::ConnectionUpdateSecret(_)) => {
                frame::method(&mut self.out.bytes, 0, &connection::UpdateSecretOk {});
            }
            _ => {
                let text = format!("{} is not expected now on channel 0", method.name());
                return Err(Error::new(Code::CommandInvalid, text).of(method.ids()));
            }
        }
        Ok(())
    }

    /// After connection.close only its answer counts, or the peer's own close that crossed it.
    fn closing_frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        if frame.kind == frame::METHOD && frame.channel == 0 {
            match decode(frame.payload) {
                Ok(Method::ConnectionCloseOk(_)) => self.finish(),
                Ok(Method::ConnectionClose(_)) => self.left(),
                // What a peer says that is being closed is not looked into.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn channel_frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        let number = frame.channel;
        let Some(channel) = self.channels.get(number) else {
            return self.free_channel_frame(number, frame);
        };
        match channel.state {
            State::Open => match frame.kind {
                frame::METHOD => {
                    channel.content.expect_method()?;
                    match decode_publish(frame.payload) {
                        Some(publish) => self.publish(number, &publish),
                        None => self.channel_method(number, &decode(frame.payload)?),
                    }
                }
                frame::HEADER => self.content_header(number, frame.payload),
                _ => Err(self.unexpected_body(number)),
            },
            State::Closing => self.closing_channel_frame(number, frame),
            State::Free | State::Leaving => self.free_channel_frame(number, frame),
        }
    }

    /// On a channel that is not open only channel.open makes sense.
    fn free_channel_frame(&mut self, number: u16, frame: Frame<'_>) -> Result<(), Error> {
        let error = Error::new(Code::ChannelError, "expected 'channel.open'");
        if frame.kind != frame::METHOD {
            return Err(error);
        }
        match decode(frame.payload)? {
            Method::ChannelOpen(_) => self.open_channel(number),
            // An answer to a close that crossed the peer's own.
            Method::ChannelCloseOk(_) => Ok(()),
            method => Err(error.of(method.ids())),
        }
    }

    /// After channel.close only its answer counts; the peer's own close is answered.
    fn closing_channel_frame(&mut self, number: u16, frame: Frame<'_>) -> Result<(), Error> {
        if frame.kind == frame::METHOD {
            match decode(frame.payload)? {
                Method::ChannelCloseOk(_) => self.channels.free(number),
                Method::ChannelClose(_) => frame::method(&mut self.out.bytes, number, &channel::CloseOk {}),
                _ => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn channel_method(&mut self, number: u16, method: &Method<'_>) -> Result<(), Error> {
        match method {
            Method::BasicPublish(publish) => return self.publish(number, publish),
            Method::BasicAck(ack) => {
                let multiple = ack.multiple && !plant::is(Plant::SettleOneOfSeveral);
                self.settle(number, ack.delivery_tag, multiple, Outcome::Ack);
            }
            Method::BasicNack(nack) => self.settle(number, nack.delivery_tag, nack.multiple, refused(nack.requeue)),
            Method::BasicReject(reject) => self.settle(number, reject.delivery_tag, false, refused(reject.requeue)),
            Method::ChannelClose(_) => self.leave_channel(number),
            Method::ChannelOpen(_) => return self.open_channel(number),
            // The answer to a close that the peer's open overtook, or to a flow: nothing waits for it.
            Method::ChannelCloseOk(_) | Method::ChannelFlowOk(_) => {}
            Method::ChannelFlow(flow) => {
                if !flow.active {
                    return Err(Error::new(Code::NotImplemented, "active=false").of(method.ids()));
                }
                frame::method(&mut self.out.bytes, number, &channel::FlowOk { active: true });
            }
            Method::AccessRequest(_) => {
                frame::method(&mut self.out.bytes, number, &access::RequestOk { ticket: 1 });
            }
            other => {
                let request = request(other)?;
                self.ask(number, request);
            }
        }
        Ok(())
    }

    #[inline]
    fn settle(&mut self, number: u16, tag: u64, multiple: bool, outcome: Outcome) {
        self.ask(number, ChannelRequest::Settle { tag, multiple, outcome });
    }
}

fn refused(requeue: bool) -> Outcome {
    if requeue && !plant::is(Plant::NackIgnoresRequeue) {
        Outcome::Requeue
    } else {
        Outcome::Reject
    }
}

/// Decodes a method frame's payload.
#[inline]
fn decode(payload: &[u8]) -> Result<Method<'_>, Error> {
    let Some((&[c1, c0, m1, m0], fields)) = payload.split_first_chunk() else {
        return Err(Error::new(Code::SyntaxError, "method frame without class and method"));
    };
    let (class, method) = (u16::from_be_bytes([c1, c0]), u16::from_be_bytes([m1, m0]));
    match Method::decode(class, method, fields) {
        Ok(Some(method)) => Ok(method),
        Ok(None) if plant::is(Plant::UnknownMethodCode) => Err(Error::new(Code::SyntaxError, "malformed")),
        Ok(None) => {
            let text = format!("unknown method {method} of class {class}");
            Err(Error::new(Code::NotImplemented, text).of((class, method)))
        }
        Err(_) => {
            let text = format!("malformed fields in method {method} of class {class}");
            Err(Error::new(Code::SyntaxError, text).of((class, method)))
        }
    }
}

/// What a method asks of the core.
fn request(method: &Method<'_>) -> Result<ChannelRequest, Error> {
    let unsupported = |text: String| Error::new(Code::NotImplemented, text).of(method.ids());
    Ok(match method {
        Method::BasicQos(qos) if qos.prefetch_size != 0 => {
            return Err(unsupported(format!("prefetch_size!=0 ({})", qos.prefetch_size)));
        }
        Method::BasicQos(qos) => ChannelRequest::Qos {
            count: qos.prefetch_count,
            global: qos.global,
        },
        Method::BasicConsume(consume) => basic_consume(method, consume)?,
        Method::BasicCancel(cancel) => ChannelRequest::Cancel {
            consumer: cancel.consumer_tag.into(),
            reply: !cancel.nowait,
        },
        Method::BasicGet(get) => ChannelRequest::Get {
            queue: get.queue.into(),
            no_ack: get.no_ack,
        },
        Method::BasicRecover(basic::Recover { requeue: false })
        | Method::BasicRecoverAsync(basic::RecoverAsync { requeue: false }) => {
            return Err(unsupported("requeue=false".to_owned()));
        }
        Method::BasicRecover(_) => ChannelRequest::Recover { reply: true },
        Method::BasicRecoverAsync(_) => ChannelRequest::Recover { reply: false },
        Method::ConfirmSelect(select) => ChannelRequest::ConfirmSelect { reply: !select.nowait },
        Method::TxSelect(_) => ChannelRequest::TxSelect,
        Method::TxCommit(_) => ChannelRequest::TxCommit,
        Method::TxRollback(_) => ChannelRequest::TxRollback,
        other => return topology(other),
    })
}

/// What a method of class exchange or queue asks of the core.
fn topology(method: &Method<'_>) -> Result<ChannelRequest, Error> {
    Ok(match method {
        Method::ExchangeDeclare(declare) => exchange_declare(method, declare)?,
        Method::ExchangeDelete(delete) => ChannelRequest::DeleteExchange {
            name: delete.exchange.into(),
            if_unused: delete.if_unused,
            reply: !delete.nowait,
        },
        Method::ExchangeBind(bind) => ChannelRequest::Bind {
            destination: Destination::Exchange(bind.destination.into()),
            source: bind.source.into(),
            routing_key: bind.routing_key.into(),
            arguments: table(method, bind.arguments)?,
            reply: !bind.nowait,
        },
        Method::ExchangeUnbind(unbind) => ChannelRequest::Unbind {
            destination: Destination::Exchange(unbind.destination.into()),
            source: unbind.source.into(),
            routing_key: unbind.routing_key.into(),
            arguments: table(method, unbind.arguments)?,
            reply: !unbind.nowait,
        },
        Method::QueueDeclare(declare) => queue_declare(method, declare)?,
        Method::QueueBind(bind) => ChannelRequest::Bind {
            destination: Destination::Queue(bind.queue.into()),
            source: bind.exchange.into(),
            routing_key: bind.routing_key.into(),
            arguments: table(method, bind.arguments)?,
            reply: !bind.nowait,
        },
        Method::QueueUnbind(unbind) => ChannelRequest::Unbind {
            destination: Destination::Queue(unbind.queue.into()),
            source: unbind.exchange.into(),
            routing_key: unbind.routing_key.into(),
            arguments: table(method, unbind.arguments)?,
            reply: true,
        },
        Method::QueuePurge(purge) => ChannelRequest::PurgeQueue {
            name: purge.queue.into(),
            reply: !purge.nowait,
        },
        Method::QueueDelete(delete) => ChannelRequest::DeleteQueue {
            name: delete.queue.into(),
            if_unused: delete.if_unused,
            if_empty: delete.if_empty,
            reply: !delete.nowait,
        },
        other => {
            let text = format!("{} is not a client's method on a channel", other.name());
            return Err(Error::new(Code::CommandInvalid, text).of(other.ids()));
        }
    })
}

fn basic_consume(method: &Method<'_>, consume: &basic::Consume<'_>) -> Result<ChannelRequest, Error> {
    Ok(ChannelRequest::Consume {
        queue: consume.queue.into(),
        consumer: consume.consumer_tag.into(),
        no_ack: consume.no_ack,
        exclusive: consume.exclusive,
        arguments: table(method, consume.arguments)?,
        reply: !consume.nowait,
    })
}

fn exchange_declare(method: &Method<'_>, declare: &exchange::Declare<'_>) -> Result<ChannelRequest, Error> {
    Ok(ChannelRequest::DeclareExchange {
        name: declare.exchange.into(),
        kind: Name::from(declare.kind),
        passive: declare.passive,
        durable: declare.durable,
        auto_delete: declare.auto_delete,
        internal: declare.internal,
        arguments: table(method, declare.arguments)?,
        reply: !declare.nowait,
    })
}

fn queue_declare(method: &Method<'_>, declare: &queue::Declare<'_>) -> Result<ChannelRequest, Error> {
    Ok(ChannelRequest::DeclareQueue {
        name: declare.queue.into(),
        passive: declare.passive,
        durable: declare.durable,
        exclusive: declare.exclusive,
        auto_delete: declare.auto_delete,
        arguments: table(method, declare.arguments)?,
        reply: !declare.nowait,
    })
}

fn table(method: &Method<'_>, inside: &[u8]) -> Result<Table, Error> {
    Table::decode(inside).map_err(|error| Error::new(Code::SyntaxError, format!("arguments: {error}")).of(method.ids()))
}
