//! Class confirm (85).

// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.

#![expect(missing_docs, reason = "fields are the specification's")]

use super::super::wire::{self, Malformed, Reader};
use super::{Encode, Method};
use bytes::BytesMut;

/// `confirm.select`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Select {
    pub nowait: bool,
}
impl Select {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bits = reader.octet()?;
        let nowait = bits & 1 != 0;
        Ok(Self { nowait })
    }
}
impl Encode for Select {
    const CLASS: u16 = 85;
    const METHOD: u16 = 10;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::octet(out, u8::from(self.nowait));
    }
}
impl<'a> From<Select> for Method<'a> {
    fn from(method: Select) -> Self {
        Self::ConfirmSelect(method)
    }
}

/// `confirm.select-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectOk {}
impl SelectOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for SelectOk {
    const CLASS: u16 = 85;
    const METHOD: u16 = 11;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<SelectOk> for Method<'a> {
    fn from(method: SelectOk) -> Self {
        Self::ConfirmSelectOk(method)
    }
}
