//! Bytes on their way to the peer, and which of them are messages that the core waits for to be taken.

use super::super::limits;
use bytes::BytesMut;
use std::collections::VecDeque;
use waystation_core::plant::{self, Plant};

/// Output and its accounts. Positions count from the connection's first byte.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Not yet taken by the driver.
    pub(super) bytes: BytesMut,
    /// Taken by the driver, in all.
    taken: u64,
    /// Taken by the socket, in all.
    sent: u64,
    /// Where runs of deliveries end, and the bytes of messages in each.
    marks: VecDeque<(u64, u64)>,
    /// Bytes of messages taken by the socket, or dropped, and not yet reported.
    credit: u64,
}

impl Outgoing {
    /// Everything written so far, in bytes.
    pub(super) fn produced_bytes(&self) -> u64 {
        self.taken + self.bytes.len() as u64
    }

    /// What the socket has not taken, in bytes.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.produced_bytes() - self.sent
    }

    pub(super) fn take(&mut self) -> BytesMut {
        self.taken += self.bytes.len() as u64;
        self.bytes.split()
    }

    /// A delivery of `message_bytes` was written last.
    pub(super) fn delivered(&mut self, message_bytes: u64) {
        if plant::is(Plant::CreditBeforeSent) {
            self.credit += message_bytes;
            return;
        }
        let end = self.produced_bytes();
        match self.marks.back_mut() {
            Some((last, sum)) if *sum < limits::CREDIT_BYTES => {
                *last = end;
                *sum += message_bytes;
            }
            _ => self.marks.push_back((end, message_bytes)),
        }
    }

    /// A delivery of `message_bytes` is not written at all: its channel is gone.
    pub(super) fn dropped(&mut self, message_bytes: u64) {
        if !plant::is(Plant::CreditLost) {
            self.credit += message_bytes;
        }
    }

    /// The socket took `bytes` more. A driver that claims more than it took is held to what it took.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent = self.taken.min(self.sent + bytes as u64);
        while let Some((end, sum)) = self.marks.front() {
            if *end > self.sent {
                break;
            }
            self.credit += sum << u32::from(plant::is(Plant::CreditTwice));
            self.marks.pop_front();
        }
    }

    /// Bytes of messages to report to the core.
    pub(super) fn take_credit(&mut self) -> u64 {
        std::mem::take(&mut self.credit)
    }
}
