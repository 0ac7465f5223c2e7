//! The hash of a run (G18): every output of the node with every byte of it, every request, and the state at the end.
//!
//! What is hashed is structure, never text or addresses, so that debug and release builds, processes and machines agree.
//! Words of the machine are taken as 64 bits, whatever their size.

use std::hash::{Hash, Hasher};

/// A running hash. Not for anything that an enemy may choose; made to be cheap for many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace(u64);

/// An odd number without pattern: the fraction of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// Something happened at a virtual time.
    pub fn note(&mut self, at: u64, what: &impl Hash) {
        self.word(at);
        what.hash(self);
    }

    /// Both halves of the product count: no bit of the word is lost.
    const fn word(&mut self, word: u64) {
        let product = (self.0 ^ word) as u128 * FACTOR as u128;
        self.0 = (product as u64 ^ (product >> 64) as u64).wrapping_add(word.rotate_left(32));
    }
}

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            // Its length, so that zeros at the end count.
            self.word(u64::from_le_bytes(word) ^ (rest.len() as u64) << 56);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.word(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.word(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(what: &impl Hash) -> u64 {
        let mut trace = Trace::default();
        trace.note(1, what);
        trace.finish()
    }

    #[test]
    fn every_byte_counts_and_so_does_the_order() {
        let bytes: Vec<u8> = (0..100).collect();
        let before = hash(&bytes);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(hash(&other), before, "byte {at}");
        }
        assert_ne!(hash(&[1_u8, 2]), hash(&[2_u8, 1]));
        assert_ne!(hash(&[0_u8; 3].as_slice()), hash(&[0_u8; 4].as_slice()));
    }

    /// The same number in every build, on every machine, for ever: campaigns compare hashes with those of others.
    #[test]
    fn the_hash_is_fixed() {
        assert_eq!(hash(&(7_usize, "seven", [7_u8; 9], Some(true))), FIXED);
    }

    const FIXED: u64 = 7_002_964_776_317_414_791;
}
