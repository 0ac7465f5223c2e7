//! Class queue (50).

// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.

#![expect(missing_docs, reason = "fields are the specification's")]

use super::super::wire::{self, Malformed, Reader};
use super::{Encode, Method};
use bytes::BytesMut;

/// `queue.declare`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declare<'a> {
    pub queue: &'a str,
    pub passive: bool,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub nowait: bool,
    pub arguments: &'a [u8],
}
impl<'a> Declare<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let queue = reader.shortstr()?;
        let bits = reader.octet()?;
        let passive = bits & 1 != 0;
        let durable = bits & 2 != 0;
        let exclusive = bits & 4 != 0;
        let auto_delete = bits & 8 != 0;
        let nowait = bits & 16 != 0;
        let arguments = reader.table()?;
        Ok(Self {
            queue,
            passive,
            durable,
            exclusive,
            auto_delete,
            nowait,
            arguments,
        })
    }
}
impl Encode for Declare<'_> {
    const CLASS: u16 = 50;
    const METHOD: u16 = 10;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.queue);
        wire::octet(
            out,
            u8::from(self.passive)
                | (u8::from(self.durable) << 1)
                | (u8::from(self.exclusive) << 2)
                | (u8::from(self.auto_delete) << 3)
                | (u8::from(self.nowait) << 4),
        );
        wire::table(out, self.arguments);
    }
}
impl<'a> From<Declare<'a>> for Method<'a> {
    fn from(method: Declare<'a>) -> Self {
        Self::QueueDeclare(method)
    }
}

/// `queue.declare-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeclareOk<'a> {
    pub queue: &'a str,
    pub message_count: u32,
    pub consumer_count: u32,
}
impl<'a> DeclareOk<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let queue = reader.shortstr()?;
        let message_count = reader.long()?;
        let consumer_count = reader.long()?;
        Ok(Self {
            queue,
            message_count,
            consumer_count,
        })
    }
}
impl Encode for DeclareOk<'_> {
    const CLASS: u16 = 50;
    const METHOD: u16 = 11;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, self.queue);
        wire::long(out, self.message_count);
        wire::long(out, self.consumer_count);
    }
}
impl<'a> From<DeclareOk<'a>> for Method<'a> {
    fn from(method: DeclareOk<'a>) -> Self {
        Self::QueueDeclareOk(method)
    }
}

/// `queue.bind`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bind<'a> {
    pub queue: &'a str,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub nowait: bool,
    pub arguments: &'a [u8],
}
impl<'a> Bind<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let queue = reader.shortstr()?;
        let exchange = reader.shortstr()?;
        let routing_key = reader.shortstr()?;
        let bits = reader.octet()?;
        let nowait = bits & 1 != 0;
        let arguments = reader.table()?;
        Ok(Self {
            queue,
            exchange,
            routing_key,
            nowait,
            arguments,
        })
    }
}
impl Encode for Bind<'_> {
    const CLASS: u16 = 50;
    const METHOD: u16 = 20;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.queue);
        wire::shortstr(out, self.exchange);
        wire::shortstr(out, self.routing_key);
        wire::octet(out, u8::from(self.nowait));
        wire::table(out, self.arguments);
    }
}
impl<'a> From<Bind<'a>> for Method<'a> {
    fn from(method: Bind<'a>) -> Self {
        Self::QueueBind(method)
    }
}

/// `queue.bind-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindOk {}
impl BindOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for BindOk {
    const CLASS: u16 = 50;
    const METHOD: u16 = 21;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<BindOk> for Method<'a> {
    fn from(method: BindOk) -> Self {
        Self::QueueBindOk(method)
    }
}

/// `queue.purge`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purge<'a> {
    pub queue: &'a str,
    pub nowait: bool,
}
impl<'a> Purge<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let queue = reader.shortstr()?;
        let bits = reader.octet()?;
        let nowait = bits & 1 != 0;
        Ok(Self { queue, nowait })
    }
}
impl Encode for Purge<'_> {
    const CLASS: u16 = 50;
    const METHOD: u16 = 30;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.queue);
        wire::octet(out, u8::from(self.nowait));
    }
}
impl<'a> From<Purge<'a>> for Method<'a> {
    fn from(method: Purge<'a>) -> Self {
        Self::QueuePurge(method)
    }
}

/// `queue.purge-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeOk {
    pub message_count: u32,
}
impl PurgeOk {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let message_count = reader.long()?;
        Ok(Self { message_count })
    }
}
impl Encode for PurgeOk {
    const CLASS: u16 = 50;
    const METHOD: u16 = 31;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::long(out, self.message_count);
    }
}
impl<'a> From<PurgeOk> for Method<'a> {
    fn from(method: PurgeOk) -> Self {
        Self::QueuePurgeOk(method)
    }
}

/// `queue.delete`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delete<'a> {
    pub queue: &'a str,
    pub if_unused: bool,
    pub if_empty: bool,
    pub nowait: bool,
}
impl<'a> Delete<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let queue = reader.shortstr()?;
        let bits = reader.octet()?;
        let if_unused = bits & 1 != 0;
        let if_empty = bits & 2 != 0;
        let nowait = bits & 4 != 0;
        Ok(Self {
            queue,
            if_unused,
            if_empty,
            nowait,
        })
    }
}
impl Encode for Delete<'_> {
    const CLASS: u16 = 50;
    const METHOD: u16 = 40;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.queue);
        wire::octet(
            out,
            u8::from(self.if_unused) | (u8::from(self.if_empty) << 1) | (u8::from(self.nowait) << 2),
        );
    }
}
impl<'a> From<Delete<'a>> for Method<'a> {
    fn from(method: Delete<'a>) -> Self {
        Self::QueueDelete(method)
    }
}

/// `queue.delete-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteOk {
    pub message_count: u32,
}
impl DeleteOk {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let message_count = reader.long()?;
        Ok(Self { message_count })
    }
}
impl Encode for DeleteOk {
    const CLASS: u16 = 50;
    const METHOD: u16 = 41;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::long(out, self.message_count);
    }
}
impl<'a> From<DeleteOk> for Method<'a> {
    fn from(method: DeleteOk) -> Self {
        Self::QueueDeleteOk(method)
    }
}

/// `queue.unbind`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unbind<'a> {
    pub queue: &'a str,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub arguments: &'a [u8],
}
impl<'a> Unbind<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let queue = reader.shortstr()?;
        let exchange = reader.shortstr()?;
        let routing_key = reader.shortstr()?;
        let arguments = reader.table()?;
        Ok(Self {
            queue,
            exchange,
            routing_key,
            arguments,
        })
    }
}
impl Encode for Unbind<'_> {
    const CLASS: u16 = 50;
    const METHOD: u16 = 50;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.queue);
        wire::shortstr(out, self.exchange);
        wire::shortstr(out, self.routing_key);
        wire::table(out, self.arguments);
    }
}
impl<'a> From<Unbind<'a>> for Method<'a> {
    fn from(method: Unbind<'a>) -> Self {
        Self::QueueUnbind(method)
    }
}

/// `queue.unbind-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnbindOk {}
impl UnbindOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for UnbindOk {
    const CLASS: u16 = 50;
    const METHOD: u16 = 51;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<UnbindOk> for Method<'a> {
    fn from(method: UnbindOk) -> Self {
        Self::QueueUnbindOk(method)
    }
}
