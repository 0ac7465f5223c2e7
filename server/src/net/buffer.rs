//! A read buffer as large as its connection is busy.

/// What an idle connection holds: thousands of them are to cost little.
const BYTES_MIN: usize = 2 << 10;
/// With this much read at once, the cost of the call is lost in that of the messages.
const BYTES_MAX: usize = 128 << 10;
/// A step up or down.
const FACTOR: usize = 4;
/// Reads in a row that would have fitted a smaller buffer, after which it shrinks.
const SMALL_READS: u32 = 64;

/// Grows when a read fills it, shrinks when many do not.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    small: u32,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; BYTES_MIN],
            small: 0,
        }
    }

    /// Where to read to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// What was read.
    pub(super) fn filled(&self, count: usize) -> &[u8] {
        &self.bytes[..count]
    }

    /// Adapts to a read of `count` bytes, once these are done with.
    pub(super) fn adapt(&mut self, count: usize) {
        let length = self.bytes.len();
        if count == length {
            self.small = 0;
            if length < BYTES_MAX {
                self.bytes = vec![0; length * FACTOR];
            }
        } else if count < length / FACTOR && length > BYTES_MIN {
            self.small += 1;
            if self.small >= SMALL_READS {
                self.small = 0;
                self.bytes = vec![0; length / FACTOR];
            }
        } else {
            self.small = 0;
        }
    }
}

const _: () = assert!(
    BYTES_MIN * FACTOR * FACTOR * FACTOR == BYTES_MAX,
    "steps lead from one end to the other"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_traffic() {
        let mut buffer = Buffer::new();
        for expected in [8 << 10, 32 << 10, 128 << 10, 128 << 10] {
            let full = buffer.room().len();
            buffer.adapt(full);
            assert_eq!(buffer.room().len(), expected);
        }
        for _ in 0..63 {
            buffer.adapt(10);
        }
        // One read that needs the room starts the count anew.
        buffer.adapt(40 << 10);
        for _ in 0..63 {
            buffer.adapt(10);
        }
        assert_eq!(buffer.room().len(), BYTES_MAX);
        for _ in 0..(3 * 64) {
            buffer.adapt(10);
        }
        assert_eq!(buffer.room().len(), BYTES_MIN);
        assert_eq!(buffer.filled(3).len(), 3);
    }
}
