//! Class exchange (40).

// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.

#![expect(missing_docs, reason = "fields are the specification's")]

use super::super::wire::{self, Malformed, Reader};
use super::{Encode, Method};
use bytes::BytesMut;

/// `exchange.declare`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declare<'a> {
    pub exchange: &'a str,
    pub kind: &'a str,
    pub passive: bool,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub nowait: bool,
    pub arguments: &'a [u8],
}
impl<'a> Declare<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let exchange = reader.shortstr()?;
        let kind = reader.shortstr()?;
        let bits = reader.octet()?;
        let passive = bits & 1 != 0;
        let durable = bits & 2 != 0;
        let auto_delete = bits & 4 != 0;
        let internal = bits & 8 != 0;
        let nowait = bits & 16 != 0;
        let arguments = reader.table()?;
        Ok(Self {
            exchange,
            kind,
            passive,
            durable,
            auto_delete,
            internal,
            nowait,
            arguments,
        })
    }
}
impl Encode for Declare<'_> {
    const CLASS: u16 = 40;
    const METHOD: u16 = 10;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.exchange);
        wire::shortstr(out, self.kind);
        wire::octet(
            out,
            u8::from(self.passive)
                | (u8::from(self.durable) << 1)
                | (u8::from(self.auto_delete) << 2)
                | (u8::from(self.internal) << 3)
                | (u8::from(self.nowait) << 4),
        );
        wire::table(out, self.arguments);
    }
}
impl<'a> From<Declare<'a>> for Method<'a> {
    fn from(method: Declare<'a>) -> Self {
        Self::ExchangeDeclare(method)
    }
}

/// `exchange.declare-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeclareOk {}
impl DeclareOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for DeclareOk {
    const CLASS: u16 = 40;
    const METHOD: u16 = 11;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<DeclareOk> for Method<'a> {
    fn from(method: DeclareOk) -> Self {
        Self::ExchangeDeclareOk(method)
    }
}

/// `exchange.delete`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delete<'a> {
    pub exchange: &'a str,
    pub if_unused: bool,
    pub nowait: bool,
}
impl<'a> Delete<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let exchange = reader.shortstr()?;
        let bits = reader.octet()?;
        let if_unused = bits & 1 != 0;
        let nowait = bits & 2 != 0;
        Ok(Self {
            exchange,
            if_unused,
            nowait,
        })
    }
}
impl Encode for Delete<'_> {
    const CLASS: u16 = 40;
    const METHOD: u16 = 20;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.exchange);
        wire::octet(out, u8::from(self.if_unused) | (u8::from(self.nowait) << 1));
    }
}
impl<'a> From<Delete<'a>> for Method<'a> {
    fn from(method: Delete<'a>) -> Self {
        Self::ExchangeDelete(method)
    }
}

/// `exchange.delete-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteOk {}
impl DeleteOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for DeleteOk {
    const CLASS: u16 = 40;
    const METHOD: u16 = 21;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<DeleteOk> for Method<'a> {
    fn from(method: DeleteOk) -> Self {
        Self::ExchangeDeleteOk(method)
    }
}

/// `exchange.bind`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bind<'a> {
    pub destination: &'a str,
    pub source: &'a str,
    pub routing_key: &'a str,
    pub nowait: bool,
    pub arguments: &'a [u8],
}
impl<'a> Bind<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let destination = reader.shortstr()?;
        let source = reader.shortstr()?;
        let routing_key = reader.shortstr()?;
        let bits = reader.octet()?;
        let nowait = bits & 1 != 0;
        let arguments = reader.table()?;
        Ok(Self {
            destination,
            source,
            routing_key,
            nowait,
            arguments,
        })
    }
}
impl Encode for Bind<'_> {
    const CLASS: u16 = 40;
    const METHOD: u16 = 30;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.destination);
        wire::shortstr(out, self.source);
        wire::shortstr(out, self.routing_key);
        wire::octet(out, u8::from(self.nowait));
        wire::table(out, self.arguments);
    }
}
impl<'a> From<Bind<'a>> for Method<'a> {
    fn from(method: Bind<'a>) -> Self {
        Self::ExchangeBind(method)
    }
}

/// `exchange.bind-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindOk {}
impl BindOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for BindOk {
    const CLASS: u16 = 40;
    const METHOD: u16 = 31;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<BindOk> for Method<'a> {
    fn from(method: BindOk) -> Self {
        Self::ExchangeBindOk(method)
    }
}

/// `exchange.unbind`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unbind<'a> {
    pub destination: &'a str,
    pub source: &'a str,
    pub routing_key: &'a str,
    pub nowait: bool,
    pub arguments: &'a [u8],
}
impl<'a> Unbind<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short()?;
        let destination = reader.shortstr()?;
        let source = reader.shortstr()?;
        let routing_key = reader.shortstr()?;
        let bits = reader.octet()?;
        let nowait = bits & 1 != 0;
        let arguments = reader.table()?;
        Ok(Self {
            destination,
            source,
            routing_key,
            nowait,
            arguments,
        })
    }
}
impl Encode for Unbind<'_> {
    const CLASS: u16 = 40;
    const METHOD: u16 = 40;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, 0);
        wire::shortstr(out, self.destination);
        wire::shortstr(out, self.source);
        wire::shortstr(out, self.routing_key);
        wire::octet(out, u8::from(self.nowait));
        wire::table(out, self.arguments);
    }
}
impl<'a> From<Unbind<'a>> for Method<'a> {
    fn from(method: Unbind<'a>) -> Self {
        Self::ExchangeUnbind(method)
    }
}

/// `exchange.unbind-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnbindOk {}
impl UnbindOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for UnbindOk {
    const CLASS: u16 = 40;
    const METHOD: u16 = 51;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<UnbindOk> for Method<'a> {
    fn from(method: UnbindOk) -> Self {
        Self::ExchangeUnbindOk(method)
    }
}
