//! Every method of the protocol, borrowed from a frame's payload.

// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.

pub mod access;
pub mod basic;
pub mod channel;
pub mod confirm;
pub mod connection;
pub mod exchange;
pub mod queue;
pub mod tx;

use super::wire::{Malformed, Reader};
use bytes::BytesMut;

/// A method that can be written.
pub trait Encode {
    /// Class id.
    const CLASS: u16;
    /// Method id.
    const METHOD: u16;

    /// Appends the fields.
    ///
    /// # Panics
    /// If a short string is longer than 255 bytes; no decoded one is.
    fn write(&self, out: &mut BytesMut);

    /// Appends class id, method id and fields.
    ///
    /// # Panics
    /// As [`Encode::write`].
    fn encode(&self, out: &mut BytesMut) {
        let ids = (u32::from(Self::CLASS) << 16) | u32::from(Self::METHOD);
        out.extend_from_slice(&ids.to_be_bytes());
        self.write(out);
    }
}

/// Any method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "class and method")]
pub enum Method<'a> {
    ConnectionStart(connection::Start<'a>),
    ConnectionStartOk(connection::StartOk<'a>),
    ConnectionSecure(connection::Secure<'a>),
    ConnectionSecureOk(connection::SecureOk<'a>),
    ConnectionTune(connection::Tune),
    ConnectionTuneOk(connection::TuneOk),
    ConnectionOpen(connection::Open<'a>),
    ConnectionOpenOk(connection::OpenOk),
    ConnectionClose(connection::Close<'a>),
    ConnectionCloseOk(connection::CloseOk),
    ConnectionBlocked(connection::Blocked<'a>),
    ConnectionUnblocked(connection::Unblocked),
    ConnectionUpdateSecret(connection::UpdateSecret<'a>),
    ConnectionUpdateSecretOk(connection::UpdateSecretOk),
    ChannelOpen(channel::Open),
    ChannelOpenOk(channel::OpenOk),
    ChannelFlow(channel::Flow),
    ChannelFlowOk(channel::FlowOk),
    ChannelClose(channel::Close<'a>),
    ChannelCloseOk(channel::CloseOk),
    AccessRequest(access::Request<'a>),
    AccessRequestOk(access::RequestOk),
    ExchangeDeclare(exchange::Declare<'a>),
    ExchangeDeclareOk(exchange::DeclareOk),
    ExchangeDelete(exchange::Delete<'a>),
    ExchangeDeleteOk(exchange::DeleteOk),
    ExchangeBind(exchange::Bind<'a>),
    ExchangeBindOk(exchange::BindOk),
    ExchangeUnbind(exchange::Unbind<'a>),
    ExchangeUnbindOk(exchange::UnbindOk),
    QueueDeclare(queue::Declare<'a>),
    QueueDeclareOk(queue::DeclareOk<'a>),
    QueueBind(queue::Bind<'a>),
    QueueBindOk(queue::BindOk),
    QueuePurge(queue::Purge<'a>),
    QueuePurgeOk(queue::PurgeOk),
    QueueDelete(queue::Delete<'a>),
    QueueDeleteOk(queue::DeleteOk),
    QueueUnbind(queue::Unbind<'a>),
    QueueUnbindOk(queue::UnbindOk),
    BasicQos(basic::Qos),
    BasicQosOk(basic::QosOk),
    BasicConsume(basic::Consume<'a>),
    BasicConsumeOk(basic::ConsumeOk<'a>),
    BasicCancel(basic::Cancel<'a>),
    BasicCancelOk(basic::CancelOk<'a>),
    BasicPublish(basic::Publish<'a>),
    BasicReturn(basic::Return<'a>),
    BasicDeliver(basic::Deliver<'a>),
    BasicGet(basic::Get<'a>),
    BasicGetOk(basic::GetOk<'a>),
    BasicGetEmpty(basic::GetEmpty),
    BasicAck(basic::Ack),
    BasicReject(basic::Reject),
    BasicRecoverAsync(basic::RecoverAsync),
    BasicRecover(basic::Recover),
    BasicRecoverOk(basic::RecoverOk),
    BasicNack(basic::Nack),
    ConfirmSelect(confirm::Select),
    ConfirmSelectOk(confirm::SelectOk),
    TxSelect(tx::Select),
    TxSelectOk(tx::SelectOk),
    TxCommit(tx::Commit),
    TxCommitOk(tx::CommitOk),
    TxRollback(tx::Rollback),
    TxRollbackOk(tx::RollbackOk),
}

impl<'a> Method<'a> {
    /// Decodes the fields of method `method` of class `class`, all of `fields`; `Ok(None)` if there is no such method.
    /// Tables are bounded but not looked into.
    ///
    /// # Errors
    /// If the fields end early or late, or a short string is not UTF-8.
    pub fn decode(class: u16, method: u16, fields: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(fields);
        let decoded = Self::fields(class, method, &mut reader)?;
        if decoded.is_some() {
            reader.end()?;
        }
        Ok(decoded)
    }

    #[inline]
    fn fields(class: u16, method: u16, reader: &mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match (class, method) {
            (10, 10) => connection::Start::read(reader)?.into(),
            (10, 11) => connection::StartOk::read(reader)?.into(),
            (10, 20) => connection::Secure::read(reader)?.into(),
            (10, 21) => connection::SecureOk::read(reader)?.into(),
            (10, 30) => connection::Tune::read(reader)?.into(),
            (10, 31) => connection::TuneOk::read(reader)?.into(),
            (10, 40) => connection::Open::read(reader)?.into(),
            (10, 41) => connection::OpenOk::read(reader)?.into(),
            (10, 50) => connection::Close::read(reader)?.into(),
            (10, 51) => connection::CloseOk::read(reader)?.into(),
            (10, 60) => connection::Blocked::read(reader)?.into(),
            (10, 61) => connection::Unblocked::read(reader)?.into(),
            (10, 70) => connection::UpdateSecret::read(reader)?.into(),
            (10, 71) => connection::UpdateSecretOk::read(reader)?.into(),
            (20, 10) => channel::Open::read(reader)?.into(),
            (20, 11) => channel::OpenOk::read(reader)?.into(),
            (20, 20) => channel::Flow::read(reader)?.into(),
            (20, 21) => channel::FlowOk::read(reader)?.into(),
            (20, 40) => channel::Close::read(reader)?.into(),
            (20, 41) => channel::CloseOk::read(reader)?.into(),
            (30, 10) => access::Request::read(reader)?.into(),
            (30, 11) => access::RequestOk::read(reader)?.into(),
            (40, 10) => exchange::Declare::read(reader)?.into(),
            (40, 11) => exchange::DeclareOk::read(reader)?.into(),
            (40, 20) => exchange::Delete::read(reader)?.into(),
            (40, 21) => exchange::DeleteOk::read(reader)?.into(),
            (40, 30) => exchange::Bind::read(reader)?.into(),
            (40, 31) => exchange::BindOk::read(reader)?.into(),
            (40, 40) => exchange::Unbind::read(reader)?.into(),
            (40, 51) => exchange::UnbindOk::read(reader)?.into(),
            (50, 10) => queue::Declare::read(reader)?.into(),
            (50, 11) => queue::DeclareOk::read(reader)?.into(),
            (50, 20) => queue::Bind::read(reader)?.into(),
            (50, 21) => queue::BindOk::read(reader)?.into(),
            (50, 30) => queue::Purge::read(reader)?.into(),
            (50, 31) => queue::PurgeOk::read(reader)?.into(),
            (50, 40) => queue::Delete::read(reader)?.into(),
            (50, 41) => queue::DeleteOk::read(reader)?.into(),
            (50, 50) => queue::Unbind::read(reader)?.into(),
            (50, 51) => queue::UnbindOk::read(reader)?.into(),
            (60, 10) => basic::Qos::read(reader)?.into(),
            (60, 11) => basic::QosOk::read(reader)?.into(),
            (60, 20) => basic::Consume::read(reader)?.into(),
            (60, 21) => basic::ConsumeOk::read(reader)?.into(),
            (60, 30) => basic::Cancel::read(reader)?.into(),
            (60, 31) => basic::CancelOk::read(reader)?.into(),
            (60, 40) => basic::Publish::read(reader)?.into(),
            (60, 50) => basic::Return::read(reader)?.into(),
            (60, 60) => basic::Deliver::read(reader)?.into(),
            (60, 70) => basic::Get::read(reader)?.into(),
            (60, 71) => basic::GetOk::read(reader)?.into(),
            (60, 72) => basic::GetEmpty::read(reader)?.into(),
            (60, 80) => basic::Ack::read(reader)?.into(),
            (60, 90) => basic::Reject::read(reader)?.into(),
            (60, 100) => basic::RecoverAsync::read(reader)?.into(),
            (60, 110) => basic::Recover::read(reader)?.into(),
            (60, 111) => basic::RecoverOk::read(reader)?.into(),
            (60, 120) => basic::Nack::read(reader)?.into(),
            (85, 10) => confirm::Select::read(reader)?.into(),
            (85, 11) => confirm::SelectOk::read(reader)?.into(),
            (90, 10) => tx::Select::read(reader)?.into(),
            (90, 11) => tx::SelectOk::read(reader)?.into(),
            (90, 20) => tx::Commit::read(reader)?.into(),
            (90, 21) => tx::CommitOk::read(reader)?.into(),
            (90, 30) => tx::Rollback::read(reader)?.into(),
            (90, 31) => tx::RollbackOk::read(reader)?.into(),
            _ => return Ok(None),
        }))
    }

    /// Appends class id, method id and fields.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::ConnectionStart(method) => method.encode(out),
            Self::ConnectionStartOk(method) => method.encode(out),
            Self::ConnectionSecure(method) => method.encode(out),
            Self::ConnectionSecureOk(method) => method.encode(out),
            Self::ConnectionTune(method) => method.encode(out),
            Self::ConnectionTuneOk(method) => method.encode(out),
            Self::ConnectionOpen(method) => method.encode(out),
            Self::ConnectionOpenOk(method) => method.encode(out),
            Self::ConnectionClose(method) => method.encode(out),
            Self::ConnectionCloseOk(method) => method.encode(out),
            Self::ConnectionBlocked(method) => method.encode(out),
            Self::ConnectionUnblocked(method) => method.encode(out),
            Self::ConnectionUpdateSecret(method) => method.encode(out),
            Self::ConnectionUpdateSecretOk(method) => method.encode(out),
            Self::ChannelOpen(method) => method.encode(out),
            Self::ChannelOpenOk(method) => method.encode(out),
            Self::ChannelFlow(method) => method.encode(out),
            Self::ChannelFlowOk(method) => method.encode(out),
            Self::ChannelClose(method) => method.encode(out),
            Self::ChannelCloseOk(method) => method.encode(out),
            Self::AccessRequest(method) => method.encode(out),
            Self::AccessRequestOk(method) => method.encode(out),
            Self::ExchangeDeclare(method) => method.encode(out),
            Self::ExchangeDeclareOk(method) => method.encode(out),
            Self::ExchangeDelete(method) => method.encode(out),
            Self::ExchangeDeleteOk(method) => method.encode(out),
            Self::ExchangeBind(method) => method.encode(out),
            Self::ExchangeBindOk(method) => method.encode(out),
            Self::ExchangeUnbind(method) => method.encode(out),
            Self::ExchangeUnbindOk(method) => method.encode(out),
            Self::QueueDeclare(method) => method.encode(out),
            Self::QueueDeclareOk(method) => method.encode(out),
            Self::QueueBind(method) => method.encode(out),
            Self::QueueBindOk(method) => method.encode(out),
            Self::QueuePurge(method) => method.encode(out),
            Self::QueuePurgeOk(method) => method.encode(out),
            Self::QueueDelete(method) => method.encode(out),
            Self::QueueDeleteOk(method) => method.encode(out),
            Self::QueueUnbind(method) => method.encode(out),
            Self::QueueUnbindOk(method) => method.encode(out),
            Self::BasicQos(method) => method.encode(out),
            Self::BasicQosOk(method) => method.encode(out),
            Self::BasicConsume(method) => method.encode(out),
            Self::BasicConsumeOk(method) => method.encode(out),
            Self::BasicCancel(method) => method.encode(out),
            Self::BasicCancelOk(method) => method.encode(out),
            Self::BasicPublish(method) => method.encode(out),
            Self::BasicReturn(method) => method.encode(out),
            Self::BasicDeliver(method) => method.encode(out),
            Self::BasicGet(method) => method.encode(out),
            Self::BasicGetOk(method) => method.encode(out),
            Self::BasicGetEmpty(method) => method.encode(out),
            Self::BasicAck(method) => method.encode(out),
            Self::BasicReject(method) => method.encode(out),
            Self::BasicRecoverAsync(method) => method.encode(out),
            Self::BasicRecover(method) => method.encode(out),
            Self::BasicRecoverOk(method) => method.encode(out),
            Self::BasicNack(method) => method.encode(out),
            Self::ConfirmSelect(method) => method.encode(out),
            Self::ConfirmSelectOk(method) => method.encode(out),
            Self::TxSelect(method) => method.encode(out),
            Self::TxSelectOk(method) => method.encode(out),
            Self::TxCommit(method) => method.encode(out),
            Self::TxCommitOk(method) => method.encode(out),
            Self::TxRollback(method) => method.encode(out),
            Self::TxRollbackOk(method) => method.encode(out),
        }
    }

    /// Class id and method id.
    #[must_use]
    pub const fn ids(&self) -> (u16, u16) {
        match self {
            Self::ConnectionStart(_) => (10, 10),
            Self::ConnectionStartOk(_) => (10, 11),
            Self::ConnectionSecure(_) => (10, 20),
            Self::ConnectionSecureOk(_) => (10, 21),
            Self::ConnectionTune(_) => (10, 30),
            Self::ConnectionTuneOk(_) => (10, 31),
            Self::ConnectionOpen(_) => (10, 40),
            Self::ConnectionOpenOk(_) => (10, 41),
            Self::ConnectionClose(_) => (10, 50),
            Self::ConnectionCloseOk(_) => (10, 51),
            Self::ConnectionBlocked(_) => (10, 60),
            Self::ConnectionUnblocked(_) => (10, 61),
            Self::ConnectionUpdateSecret(_) => (10, 70),
            Self::ConnectionUpdateSecretOk(_) => (10, 71),
            Self::ChannelOpen(_) => (20, 10),
            Self::ChannelOpenOk(_) => (20, 11),
            Self::ChannelFlow(_) => (20, 20),
            Self::ChannelFlowOk(_) => (20, 21),
            Self::ChannelClose(_) => (20, 40),
            Self::ChannelCloseOk(_) => (20, 41),
            Self::AccessRequest(_) => (30, 10),
            Self::AccessRequestOk(_) => (30, 11),
            Self::ExchangeDeclare(_) => (40, 10),
            Self::ExchangeDeclareOk(_) => (40, 11),
            Self::ExchangeDelete(_) => (40, 20),
            Self::ExchangeDeleteOk(_) => (40, 21),
            Self::ExchangeBind(_) => (40, 30),
            Self::ExchangeBindOk(_) => (40, 31),
            Self::ExchangeUnbind(_) => (40, 40),
            Self::ExchangeUnbindOk(_) => (40, 51),
            Self::QueueDeclare(_) => (50, 10),
            Self::QueueDeclareOk(_) => (50, 11),
            Self::QueueBind(_) => (50, 20),
            Self::QueueBindOk(_) => (50, 21),
            Self::QueuePurge(_) => (50, 30),
            Self::QueuePurgeOk(_) => (50, 31),
            Self::QueueDelete(_) => (50, 40),
            Self::QueueDeleteOk(_) => (50, 41),
            Self::QueueUnbind(_) => (50, 50),
            Self::QueueUnbindOk(_) => (50, 51),
            Self::BasicQos(_) => (60, 10),
            Self::BasicQosOk(_) => (60, 11),
            Self::BasicConsume(_) => (60, 20),
            Self::BasicConsumeOk(_) => (60, 21),
            Self::BasicCancel(_) => (60, 30),
            Self::BasicCancelOk(_) => (60, 31),
            Self::BasicPublish(_) => (60, 40),
            Self::BasicReturn(_) => (60, 50),
            Self::BasicDeliver(_) => (60, 60),
            Self::BasicGet(_) => (60, 70),
            Self::BasicGetOk(_) => (60, 71),
            Self::BasicGetEmpty(_) => (60, 72),
            Self::BasicAck(_) => (60, 80),
            Self::BasicReject(_) => (60, 90),
            Self::BasicRecoverAsync(_) => (60, 100),
            Self::BasicRecover(_) => (60, 110),
            Self::BasicRecoverOk(_) => (60, 111),
            Self::BasicNack(_) => (60, 120),
            Self::ConfirmSelect(_) => (85, 10),
            Self::ConfirmSelectOk(_) => (85, 11),
            Self::TxSelect(_) => (90, 10),
            Self::TxSelectOk(_) => (90, 11),
            Self::TxCommit(_) => (90, 20),
            Self::TxCommitOk(_) => (90, 21),
            Self::TxRollback(_) => (90, 30),
            Self::TxRollbackOk(_) => (90, 31),
        }
    }

    /// Class and method as the specification writes them.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ConnectionStart(_) => "connection.start",
            Self::ConnectionStartOk(_) => "connection.start-ok",
            Self::ConnectionSecure(_) => "connection.secure",
            Self::ConnectionSecureOk(_) => "connection.secure-ok",
            Self::ConnectionTune(_) => "connection.tune",
            Self::ConnectionTuneOk(_) => "connection.tune-ok",
            Self::ConnectionOpen(_) => "connection.open",
            Self::ConnectionOpenOk(_) => "connection.open-ok",
            Self::ConnectionClose(_) => "connection.close",
            Self::ConnectionCloseOk(_) => "connection.close-ok",
            Self::ConnectionBlocked(_) => "connection.blocked",
            Self::ConnectionUnblocked(_) => "connection.unblocked",
            Self::ConnectionUpdateSecret(_) => "connection.update-secret",
            Self::ConnectionUpdateSecretOk(_) => "connection.update-secret-ok",
            Self::ChannelOpen(_) => "channel.open",
            Self::ChannelOpenOk(_) => "channel.open-ok",
            Self::ChannelFlow(_) => "channel.flow",
            Self::ChannelFlowOk(_) => "channel.flow-ok",
            Self::ChannelClose(_) => "channel.close",
            Self::ChannelCloseOk(_) => "channel.close-ok",
            Self::AccessRequest(_) => "access.request",
            Self::AccessRequestOk(_) => "access.request-ok",
            Self::ExchangeDeclare(_) => "exchange.declare",
            Self::ExchangeDeclareOk(_) => "exchange.declare-ok",
            Self::ExchangeDelete(_) => "exchange.delete",
            Self::ExchangeDeleteOk(_) => "exchange.delete-ok",
            Self::ExchangeBind(_) => "exchange.bind",
            Self::ExchangeBindOk(_) => "exchange.bind-ok",
            Self::ExchangeUnbind(_) => "exchange.unbind",
            Self::ExchangeUnbindOk(_) => "exchange.unbind-ok",
            Self::QueueDeclare(_) => "queue.declare",
            Self::QueueDeclareOk(_) => "queue.declare-ok",
            Self::QueueBind(_) => "queue.bind",
            Self::QueueBindOk(_) => "queue.bind-ok",
            Self::QueuePurge(_) => "queue.purge",
            Self::QueuePurgeOk(_) => "queue.purge-ok",
            Self::QueueDelete(_) => "queue.delete",
            Self::QueueDeleteOk(_) => "queue.delete-ok",
            Self::QueueUnbind(_) => "queue.unbind",
            Self::QueueUnbindOk(_) => "queue.unbind-ok",
            Self::BasicQos(_) => "basic.qos",
            Self::BasicQosOk(_) => "basic.qos-ok",
            Self::BasicConsume(_) => "basic.consume",
            Self::BasicConsumeOk(_) => "basic.consume-ok",
            Self::BasicCancel(_) => "basic.cancel",
            Self::BasicCancelOk(_) => "basic.cancel-ok",
            Self::BasicPublish(_) => "basic.publish",
            Self::BasicReturn(_) => "basic.return",
            Self::BasicDeliver(_) => "basic.deliver",
            Self::BasicGet(_) => "basic.get",
            Self::BasicGetOk(_) => "basic.get-ok",
            Self::BasicGetEmpty(_) => "basic.get-empty",
            Self::BasicAck(_) => "basic.ack",
            Self::BasicReject(_) => "basic.reject",
            Self::BasicRecoverAsync(_) => "basic.recover-async",
            Self::BasicRecover(_) => "basic.recover",
            Self::BasicRecoverOk(_) => "basic.recover-ok",
            Self::BasicNack(_) => "basic.nack",
            Self::ConfirmSelect(_) => "confirm.select",
            Self::ConfirmSelectOk(_) => "confirm.select-ok",
            Self::TxSelect(_) => "tx.select",
            Self::TxSelectOk(_) => "tx.select-ok",
            Self::TxCommit(_) => "tx.commit",
            Self::TxCommitOk(_) => "tx.commit-ok",
            Self::TxRollback(_) => "tx.rollback",
            Self::TxRollbackOk(_) => "tx.rollback-ok",
        }
    }
}
