//! Class basic (60).

// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.

#![expect(missing_docs, reason = "fields are the specification's")]

use super::super::wire::{self, Malformed, Reader};
use super::{Encode, Method};
use bytes::BytesMut;

/// `basic.qos`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Qos {
    pub prefetch_size: u32,
    pub prefetch_count: u16,
    pub global: bool,
}
impl Qos {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let prefetch_size = reader.long()?;
        let prefetch_count = reader.short()?;
        let bits = reader.octet()?;
        let global = bits & 1 != 0;
        Ok(Self {
            prefetch_size,
            prefetch_count,
            global,
        })
    }
}
impl Encode for Qos {
    const CLASS: u16 = 60;
    const METHOD: u16 = 10;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::long(out, self.prefetch_size);
        wire::short(out, self.prefetch_count);
        wire::octet(out, u8::from(self.global));
    }
}
impl<'a> From<Qos> for Method<'a> {
    fn from(method: Qos) -> Self {
        Self::BasicQos(method)
    }
}

/// `basic.qos-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QosOk {}
impl QosOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for QosOk {
    const CLASS: u16 = 60;
    const METHOD: u16 = 11;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<QosOk> for Method<'a> {
    fn from(method: QosOk) -> Self {
        Self::BasicQosOk(method)
    }
}

/// `basic.consume`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consume<'a> {
    pub queue: &'a str,
    pub consumer_tag: &'a str,
    pub no_local: bool,
    pub no_ack: bool,
    pub exclusive: bool,
    pub nowait: bool,
    pub arguments: &'a [u8],
}
impl<'a> Consume<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let queue = reader.shortstr()?;
        let consumer_tag = reader.shortstr()?;
        let bits = reader.octet()?;
        let no_local = bits & 1 != 0;
        let no_ack = bits & 2 != 0;
        let exclusive = bits & 4 != 0;
        let nowait = bits & 8 != 0;
        let arguments = reader.table()?;
        Ok(Self {
            queue,
            consumer_tag,
            no_local,
            no_ack,
            exclusive,
            nowait,
            arguments,
        })
    }
}
impl Encode for Consume<'_> {
    const CLASS: u16 = 60;
    const METHOD: u16 = 20;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.queue);
        wire::shortstr(out, self.consumer_tag);
        wire::octet(
            out,
            u8::from(self.no_local)
                | (u8::from(self.no_ack) << 1)
                | (u8::from(self.exclusive) << 2)
                | (u8::from(self.nowait) << 3),
        );
        wire::table(out, self.arguments);
    }
}
impl<'a> From<Consume<'a>> for Method<'a> {
    fn from(method: Consume<'a>) -> Self {
        Self::BasicConsume(method)
    }
}

/// `basic.consume-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumeOk<'a> {
    pub consumer_tag: &'a str,
}
impl<'a> ConsumeOk<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let consumer_tag = reader.shortstr()?;
        Ok(Self { consumer_tag })
    }
}
impl Encode for ConsumeOk<'_> {
    const CLASS: u16 = 60;
    const METHOD: u16 = 21;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, self.consumer_tag);
    }
}
impl<'a> From<ConsumeOk<'a>> for Method<'a> {
    fn from(method: ConsumeOk<'a>) -> Self {
        Self::BasicConsumeOk(method)
    }
}

/// `basic.cancel`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cancel<'a> {
    pub consumer_tag: &'a str,
    pub nowait: bool,
}
impl<'a> Cancel<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let consumer_tag = reader.shortstr()?;
        let bits = reader.octet()?;
        let nowait = bits & 1 != 0;
        Ok(Self { consumer_tag, nowait })
    }
}
impl Encode for Cancel<'_> {
    const CLASS: u16 = 60;
    const METHOD: u16 = 30;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, self.consumer_tag);
        wire::octet(out, u8::from(self.nowait));
    }
}
impl<'a> From<Cancel<'a>> for Method<'a> {
    fn from(method: Cancel<'a>) -> Self {
        Self::BasicCancel(method)
    }
}

/// `basic.cancel-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelOk<'a> {
    pub consumer_tag: &'a str,
}
impl<'a> CancelOk<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let consumer_tag = reader.shortstr()?;
        Ok(Self { consumer_tag })
    }
}
impl Encode for CancelOk<'_> {
    const CLASS: u16 = 60;
    const METHOD: u16 = 31;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, self.consumer_tag);
    }
}
impl<'a> From<CancelOk<'a>> for Method<'a> {
    fn from(method: CancelOk<'a>) -> Self {
        Self::BasicCancelOk(method)
    }
}

/// `basic.publish`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publish<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a [u8],
    pub mandatory: bool,
    pub immediate: bool,
}
impl<'a> Publish<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let exchange = reader.shortstr()?;
        let routing_key = reader.bytes()?;
        let bits = reader.octet()?;
        let mandatory = bits & 1 != 0;
        let immediate = bits & 2 != 0;
        Ok(Self {
            exchange,
            routing_key,
            mandatory,
            immediate,
        })
    }
}
impl Encode for Publish<'_> {
    const CLASS: u16 = 60;
    const METHOD: u16 = 40;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.exchange);
        wire::bytes(out, self.routing_key);
        wire::octet(out, u8::from(self.mandatory) | (u8::from(self.immediate) << 1));
    }
}
impl<'a> From<Publish<'a>> for Method<'a> {
    fn from(method: Publish<'a>) -> Self {
        Self::BasicPublish(method)
    }
}

/// `basic.return`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Return<'a> {
    pub reply_code: u16,
    pub reply_text: &'a str,
    pub exchange: &'a str,
    pub routing_key: &'a [u8],
}
impl<'a> Return<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let reply_code = reader.short()?;
        let reply_text = reader.shortstr()?;
        let exchange = reader.shortstr()?;
        let routing_key = reader.bytes()?;
        Ok(Self {
            reply_code,
            reply_text,
            exchange,
            routing_key,
        })
    }
}
impl Encode for Return<'_> {
    const CLASS: u16 = 60;
    const METHOD: u16 = 50;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, self.reply_code);
        wire::shortstr(out, self.reply_text);
        wire::shortstr(out, self.exchange);
        wire::bytes(out, self.routing_key);
    }
}
impl<'a> From<Return<'a>> for Method<'a> {
    fn from(method: Return<'a>) -> Self {
        Self::BasicReturn(method)
    }
}

/// `basic.deliver`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deliver<'a> {
    pub consumer_tag: &'a str,
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a str,
    pub routing_key: &'a [u8],
}
impl<'a> Deliver<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let consumer_tag = reader.shortstr()?;
        let delivery_tag = reader.longlong()?;
        let bits = reader.octet()?;
        let redelivered = bits & 1 != 0;
        let exchange = reader.shortstr()?;
        let routing_key = reader.bytes()?;
        Ok(Self {
            consumer_tag,
            delivery_tag,
            redelivered,
            exchange,
            routing_key,
        })
    }
}
impl Encode for Deliver<'_> {
    const CLASS: u16 = 60;
    const METHOD: u16 = 60;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, self.consumer_tag);
        wire::longlong(out, self.delivery_tag);
        wire::octet(out, u8::from(self.redelivered));
        wire::shortstr(out, self.exchange);
        wire::bytes(out, self.routing_key);
    }
}
impl<'a> From<Deliver<'a>> for Method<'a> {
    fn from(method: Deliver<'a>) -> Self {
        Self::BasicDeliver(method)
    }
}

/// `basic.get`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Get<'a> {
    pub queue: &'a str,
    pub no_ack: bool,
}
impl<'a> Get<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let queue = reader.shortstr()?;
        let bits = reader.octet()?;
        let no_ack = bits & 1 != 0;
        Ok(Self { queue, no_ack })
    }
}
impl Encode for Get<'_> {
    const CLASS: u16 = 60;
    const METHOD: u16 = 70;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.queue);
        wire::octet(out, u8::from(self.no_ack));
    }
}
impl<'a> From<Get<'a>> for Method<'a> {
    fn from(method: Get<'a>) -> Self {
        Self::BasicGet(method)
    }
}

/// `basic.get-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetOk<'a> {
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a str,
    pub routing_key: &'a [u8],
    pub message_count: u32,
}
impl<'a> GetOk<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let delivery_tag = reader.longlong()?;
        let bits = reader.octet()?;
        let redelivered = bits & 1 != 0;
        let exchange = reader.shortstr()?;
        let routing_key = reader.bytes()?;
        let message_count = reader.long()?;
        Ok(Self {
            delivery_tag,
            redelivered,
            exchange,
            routing_key,
            message_count,
        })
    }
}
impl Encode for GetOk<'_> {
    const CLASS: u16 = 60;
    const METHOD: u16 = 71;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::longlong(out, self.delivery_tag);
        wire::octet(out, u8::from(self.redelivered));
        wire::shortstr(out, self.exchange);
        wire::bytes(out, self.routing_key);
        wire::long(out, self.message_count);
    }
}
impl<'a> From<GetOk<'a>> for Method<'a> {
    fn from(method: GetOk<'a>) -> Self {
        Self::BasicGetOk(method)
    }
}

/// `basic.get-empty`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetEmpty {}
impl GetEmpty {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.shortstr()?;
        Ok(Self {})
    }
}
impl Encode for GetEmpty {
    const CLASS: u16 = 60;
    const METHOD: u16 = 72;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, "");
    }
}
impl<'a> From<GetEmpty> for Method<'a> {
    fn from(method: GetEmpty) -> Self {
        Self::BasicGetEmpty(method)
    }
}

/// `basic.ack`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    pub delivery_tag: u64,
    pub multiple: bool,
}
impl Ack {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let delivery_tag = reader.longlong()?;
        let bits = reader.octet()?;
        let multiple = bits & 1 != 0;
        Ok(Self { delivery_tag, multiple })
    }
}
impl Encode for Ack {
    const CLASS: u16 = 60;
    const METHOD: u16 = 80;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::longlong(out, self.delivery_tag);
        wire::octet(out, u8::from(self.multiple));
    }
}
impl<'a> From<Ack> for Method<'a> {
    fn from(method: Ack) -> Self {
        Self::BasicAck(method)
    }
}

/// `basic.reject`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reject {
    pub delivery_tag: u64,
    pub requeue: bool,
}
impl Reject {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let delivery_tag = reader.longlong()?;
        let bits = reader.octet()?;
        let requeue = bits & 1 != 0;
        Ok(Self { delivery_tag, requeue })
    }
}
impl Encode for Reject {
    const CLASS: u16 = 60;
    const METHOD: u16 = 90;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::longlong(out, self.delivery_tag);
        wire::octet(out, u8::from(self.requeue));
    }
}
impl<'a> From<Reject> for Method<'a> {
    fn from(method: Reject) -> Self {
        Self::BasicReject(method)
    }
}

/// `basic.recover-async`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoverAsync {
    pub requeue: bool,
}
impl RecoverAsync {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bits = reader.octet()?;
        let requeue = bits & 1 != 0;
        Ok(Self { requeue })
    }
}
impl Encode for RecoverAsync {
    const CLASS: u16 = 60;
    const METHOD: u16 = 100;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::octet(out, u8::from(self.requeue));
    }
}
impl<'a> From<RecoverAsync> for Method<'a> {
    fn from(method: RecoverAsync) -> Self {
        Self::BasicRecoverAsync(method)
    }
}

/// `basic.recover`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recover {
    pub requeue: bool,
}
impl Recover {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bits = reader.octet()?;
        let requeue = bits & 1 != 0;
        Ok(Self { requeue })
    }
}
impl Encode for Recover {
    const CLASS: u16 = 60;
    const METHOD: u16 = 110;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::octet(out, u8::from(self.requeue));
    }
}
impl<'a> From<Recover> for Method<'a> {
    fn from(method: Recover) -> Self {
        Self::BasicRecover(method)
    }
}

/// `basic.recover-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoverOk {}
impl RecoverOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for RecoverOk {
    const CLASS: u16 = 60;
    const METHOD: u16 = 111;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<RecoverOk> for Method<'a> {
    fn from(method: RecoverOk) -> Self {
        Self::BasicRecoverOk(method)
    }
}

/// `basic.nack`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nack {
    pub delivery_tag: u64,
    pub multiple: bool,
    pub requeue: bool,
}
impl Nack {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let delivery_tag = reader.longlong()?;
        let bits = reader.octet()?;
        let multiple = bits & 1 != 0;
        let requeue = bits & 2 != 0;
        Ok(Self {
            delivery_tag,
            multiple,
            requeue,
        })
    }
}
impl Encode for Nack {
    const CLASS: u16 = 60;
    const METHOD: u16 = 120;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::longlong(out, self.delivery_tag);
        wire::octet(out, u8::from(self.multiple) | (u8::from(self.requeue) << 1));
    }
}
impl<'a> From<Nack> for Method<'a> {
    fn from(method: Nack) -> Self {
        Self::BasicNack(method)
    }
}
