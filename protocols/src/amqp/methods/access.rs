//! Class access (30).

// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.

#![expect(missing_docs, reason = "fields are the specification's")]

use super::super::wire::{self, Malformed, Reader};
use super::{Encode, Method};
use bytes::BytesMut;

/// `access.request`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    pub realm: &'a str,
    pub exclusive: bool,
    pub passive: bool,
    pub active: bool,
    pub write: bool,
    pub read: bool,
}
impl<'a> Request<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let realm = reader.shortstr()?;
        let bits = reader.octet()?;
        let exclusive = bits & 1 != 0;
        let passive = bits & 2 != 0;
        let active = bits & 4 != 0;
        let write = bits & 8 != 0;
        let read = bits & 16 != 0;
        Ok(Self {
            realm,
            exclusive,
            passive,
            active,
            write,
            read,
        })
    }
}
impl Encode for Request<'_> {
    const CLASS: u16 = 30;
    const METHOD: u16 = 10;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, self.realm);
        wire::octet(
            out,
            u8::from(self.exclusive)
                | (u8::from(self.passive) << 1)
                | (u8::from(self.active) << 2)
                | (u8::from(self.write) << 3)
                | (u8::from(self.read) << 4),
        );
    }
}
impl<'a> From<Request<'a>> for Method<'a> {
    fn from(method: Request<'a>) -> Self {
        Self::AccessRequest(method)
    }
}

/// `access.request-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestOk {
    pub ticket: u16,
}
impl RequestOk {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let ticket = reader.short()?;
        Ok(Self { ticket })
    }
}
impl Encode for RequestOk {
    const CLASS: u16 = 30;
    const METHOD: u16 = 11;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, self.ticket);
    }
}
impl<'a> From<RequestOk> for Method<'a> {
    fn from(method: RequestOk) -> Self {
        Self::AccessRequestOk(method)
    }
}
