//! Class channel (20).

// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.

#![expect(missing_docs, reason = "fields are the specification's")]

use super::super::wire::{self, Malformed, Reader};
use super::{Encode, Method};
use bytes::BytesMut;

/// `channel.open`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {}
impl Open {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.shortstr()?;
        Ok(Self {})
    }
}
impl Encode for Open {
    const CLASS: u16 = 20;
    const METHOD: u16 = 10;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, "");
    }
}
impl<'a> From<Open> for Method<'a> {
    fn from(method: Open) -> Self {
        Self::ChannelOpen(method)
    }
}

/// `channel.open-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOk {}
impl OpenOk {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.longstr()?;
        Ok(Self {})
    }
}
impl Encode for OpenOk {
    const CLASS: u16 = 20;
    const METHOD: u16 = 11;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::longstr(out, b"");
    }
}
impl<'a> From<OpenOk> for Method<'a> {
    fn from(method: OpenOk) -> Self {
        Self::ChannelOpenOk(method)
    }
}

/// `channel.flow`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub active: bool,
}
impl Flow {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bits = reader.octet()?;
        let active = bits & 1 != 0;
        Ok(Self { active })
    }
}
impl Encode for Flow {
    const CLASS: u16 = 20;
    const METHOD: u16 = 20;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::octet(out, u8::from(self.active));
    }
}
impl<'a> From<Flow> for Method<'a> {
    fn from(method: Flow) -> Self {
        Self::ChannelFlow(method)
    }
}

/// `channel.flow-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowOk {
    pub active: bool,
}
impl FlowOk {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bits = reader.octet()?;
        let active = bits & 1 != 0;
        Ok(Self { active })
    }
}
impl Encode for FlowOk {
    const CLASS: u16 = 20;
    const METHOD: u16 = 21;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::octet(out, u8::from(self.active));
    }
}
impl<'a> From<FlowOk> for Method<'a> {
    fn from(method: FlowOk) -> Self {
        Self::ChannelFlowOk(method)
    }
}

/// `channel.close`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Close<'a> {
    pub reply_code: u16,
    pub reply_text: &'a str,
    pub class_id: u16,
    pub method_id: u16,
}
impl<'a> Close<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let reply_code = reader.short()?;
        let reply_text = reader.shortstr()?;
        let class_id = reader.short()?;
        let method_id = reader.short()?;
        Ok(Self {
            reply_code,
            reply_text,
            class_id,
            method_id,
        })
    }
}
impl Encode for Close<'_> {
    const CLASS: u16 = 20;
    const METHOD: u16 = 40;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, self.reply_code);
        wire::shortstr(out, self.reply_text);
        wire::short(out, self.class_id);
        wire::short(out, self.method_id);
    }
}
impl<'a> From<Close<'a>> for Method<'a> {
    fn from(method: Close<'a>) -> Self {
        Self::ChannelClose(method)
    }
}

/// `channel.close-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseOk {}
impl CloseOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for CloseOk {
    const CLASS: u16 = 20;
    const METHOD: u16 = 41;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<CloseOk> for Method<'a> {
    fn from(method: CloseOk) -> Self {
        Self::ChannelCloseOk(method)
    }
}
