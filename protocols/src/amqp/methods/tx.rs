//! Class tx (90).

// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.

use super::super::wire::{Malformed, Reader};
use super::{Encode, Method};
use bytes::BytesMut;

/// `tx.select`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Select {}
impl Select {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for Select {
    const CLASS: u16 = 90;
    const METHOD: u16 = 10;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<Select> for Method<'a> {
    fn from(method: Select) -> Self {
        Self::TxSelect(method)
    }
}

/// `tx.select-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectOk {}
impl SelectOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for SelectOk {
    const CLASS: u16 = 90;
    const METHOD: u16 = 11;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<SelectOk> for Method<'a> {
    fn from(method: SelectOk) -> Self {
        Self::TxSelectOk(method)
    }
}

/// `tx.commit`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {}
impl Commit {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for Commit {
    const CLASS: u16 = 90;
    const METHOD: u16 = 20;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<Commit> for Method<'a> {
    fn from(method: Commit) -> Self {
        Self::TxCommit(method)
    }
}

/// `tx.commit-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitOk {}
impl CommitOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for CommitOk {
    const CLASS: u16 = 90;
    const METHOD: u16 = 21;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<CommitOk> for Method<'a> {
    fn from(method: CommitOk) -> Self {
        Self::TxCommitOk(method)
    }
}

/// `tx.rollback`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollback {}
impl Rollback {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for Rollback {
    const CLASS: u16 = 90;
    const METHOD: u16 = 30;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<Rollback> for Method<'a> {
    fn from(method: Rollback) -> Self {
        Self::TxRollback(method)
    }
}

/// `tx.rollback-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollbackOk {}
impl RollbackOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for RollbackOk {
    const CLASS: u16 = 90;
    const METHOD: u16 = 31;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<RollbackOk> for Method<'a> {
    fn from(method: RollbackOk) -> Self {
        Self::TxRollbackOk(method)
    }
}
