//! One direction of a connection: a stream of bytes, late, in pieces, but in order and each byte once.
//!
//! That is what TCP promises and keeps: a segment that the network loses, repeats or reorders is put right by the two
//! kernels, and shows as delay alone. Duplication and reordering therefore belong to a link of datagrams, as nodes of a
//! cluster may have between them, and not here. What TCP does not promise is when bytes come, in which pieces, and
//! whether the connection lives: that is drawn.

use bytes::{Buf, Bytes, BytesMut};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::collections::VecDeque;

/// What a read of the socket gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes.
    Some(usize),
    /// None yet.
    Nothing,
    /// The other side has closed, and all it said was read.
    End,
    /// The connection was reset.
    Reset,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Pieces on their way, and when each arrives.
    flying: VecDeque<(u64, Bytes)>,
    /// Bytes that were written and not yet acknowledged.
    kept: usize,
    capacity: usize,
    chunk: usize,
    latency: u64,
    rate: Option<u64>,
    /// When a slow line has carried what was given to it.
    free_at: u64,
    /// When the newest piece arrives: the next does not overtake it.
    newest: u64,
    /// Nothing arrives before.
    stalled_until: u64,
    written: u64,
    /// The stream is reset behind so many bytes.
    reset_behind: Option<u64>,
    end: Option<(u64, End)>,
    /// Whatever is written from now on goes nowhere.
    silent: bool,
    /// What arrives is not acknowledged: the way back is silent.
    unheard: bool,
}

impl Pipe {
    pub(super) fn new(capacity: usize, chunk: usize, latency: u64) -> Self {
        Self {
            capacity,
            chunk,
            latency,
            ..Self::default()
        }
    }

    pub(super) const fn slow_down(&mut self, rate: Option<u64>) {
        self.rate = rate;
    }

    pub(super) const fn reset_behind(&mut self, bytes: Option<u64>) {
        self.reset_behind = bytes;
    }

    /// What is on its way is lost, and whatever follows.
    pub(super) fn silence(&mut self) {
        self.silent = true;
        self.flying.clear();
        self.end = None;
    }

    pub(super) const fn unhear(&mut self) {
        self.unheard = true;
    }

    /// Nothing arrives before `until`.
    pub(super) fn stall(&mut self, until: u64) {
        self.stalled_until = until;
        for (at, _) in &mut self.flying {
            *at = until.max(*at);
        }
        if let Some((at, _)) = &mut self.end {
            *at = until.max(*at);
        }
        self.newest = self.newest.max(until);
    }

    /// Writes as much as the socket takes, and says how much that was.
    pub(super) fn write(&mut self, now: u64, bytes: &mut BytesMut, rng: &mut ChaCha8Rng) -> usize {
        let room = self.capacity.saturating_sub(self.kept);
        let taken = bytes.len().min(room);
        self.kept += taken;
        let mut taking = bytes.split_to(taken).freeze();
        while !taking.is_empty() && !self.silent {
            let piece = match self.chunk {
                0 => taking.len(),
                chunk => rng.random_range(1..=chunk).min(taking.len()),
            };
            let mut piece = taking.split_to(piece);
            if let Some(last) = self.reset_behind {
                piece.truncate(last.saturating_sub(self.written) as usize);
            }
            self.written += piece.len() as u64;
            let at = self.arrival(now, piece.len(), rng);
            if !piece.is_empty() {
                self.flying.push_back((at, piece));
            }
            if self.reset_behind == Some(self.written) {
                self.end = Some((at, End::Reset));
                // The rest goes nowhere.
                self.silent = true;
            }
        }
        taken
    }

    fn arrival(&mut self, now: u64, bytes: usize, rng: &mut ChaCha8Rng) -> u64 {
        let carried = self.rate.map_or(0, |rate| bytes as u64 * 1_000_000_000 / rate);
        self.free_at = self.free_at.max(now) + carried;
        let way = rng.random_range(10_000..self.latency.max(10_001));
        self.newest = self.newest.max(self.free_at + way).max(self.stalled_until);
        self.newest
    }

    /// The writer closes, or resets.
    pub(super) fn close(&mut self, now: u64, reset: bool, rng: &mut ChaCha8Rng) {
        if self.silent || self.end.is_some() {
            return;
        }
        let at = self.arrival(now, 0, rng);
        self.end = Some((at, if reset { End::Reset } else { End::Closed }));
    }

    /// When the next thing arrives.
    pub(super) fn next(&self) -> Option<u64> {
        let end = self.end.map(|(at, _)| at);
        self.flying.front().map(|(at, _)| *at).or(end)
    }

    /// When the reader's kernel knows that the writer is gone, if it is: that may be before all was read.
    pub(super) fn end_at(&self) -> Option<u64> {
        self.end.map(|(at, _)| at)
    }

    /// Whether everything that was written has been read.
    pub(super) fn is_drained(&self) -> bool {
        self.flying.is_empty() && !self.silent
    }

    /// Appends what has arrived to `into`, at most `most` bytes of it.
    pub(super) fn read(&mut self, now: u64, most: usize, into: &mut Vec<u8>) -> Read {
        let before = into.len();
        while let Some((at, piece)) = self.flying.front_mut()
            && *at <= now
            && into.len() - before < most
        {
            let taken = piece.len().min(most - (into.len() - before));
            into.extend_from_slice(&piece[..taken]);
            piece.advance(taken);
            if piece.is_empty() {
                self.flying.pop_front();
            }
        }
        let read = into.len() - before;
        if !self.unheard {
            self.kept -= read;
        }
        if read > 0 {
            return Read::Some(read);
        }
        match self.end {
            Some((at, end)) if at <= now && self.flying.is_empty() => {
                if end == End::Reset {
                    Read::Reset
                } else {
                    Read::End
                }
            }
            _ => Read::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(1)
    }

    fn read_all(pipe: &mut Pipe) -> (Vec<u8>, Read, usize) {
        let (mut bytes, mut reads) = (Vec::new(), 0);
        loop {
            let now = pipe.next().unwrap_or(u64::MAX);
            match pipe.read(now, 50, &mut bytes) {
                Read::Some(_) => reads += 1,
                other => return (bytes, other, reads),
            }
        }
    }

    #[test]
    fn bytes_come_once_and_in_order_whatever_the_pieces() {
        for chunk in [0, 1, 7, 100] {
            let mut pipe = Pipe::new(10_000, chunk, 1_000_000);
            let all: Vec<u8> = (0..2_000_u32).map(|n| n as u8).collect();
            let mut bytes = BytesMut::from(&all[..]);
            for now in 0..4 {
                let mut part = bytes.split_to(500);
                assert_eq!(pipe.write(now * 10_000, &mut part, &mut rng()), 500);
            }
            pipe.close(50_000, false, &mut rng());
            let (read, end, reads) = read_all(&mut pipe);
            assert_eq!((read, end), (all, Read::End), "pieces of {chunk}");
            assert!(reads >= 40, "a read takes no more than it asked for");
        }
    }

    #[test]
    fn a_full_buffer_takes_no_more_until_it_is_read() {
        let mut pipe = Pipe::new(10, 0, 20_000);
        let mut bytes = BytesMut::from(&[1_u8; 25][..]);
        assert_eq!(pipe.write(0, &mut bytes, &mut rng()), 10);
        assert_eq!(pipe.write(0, &mut bytes, &mut rng()), 0);
        assert_eq!(pipe.read(1_000_000, 4, &mut Vec::new()), Read::Some(4));
        assert_eq!(pipe.write(0, &mut bytes, &mut rng()), 4);
    }

    #[test]
    fn a_reset_comes_behind_its_byte() {
        let mut pipe = Pipe::new(1_000, 3, 20_000);
        pipe.reset_behind(Some(100));
        let mut bytes = BytesMut::from(&[1_u8; 200][..]);
        pipe.write(0, &mut bytes, &mut rng());
        let (read, end, _) = read_all(&mut pipe);
        assert_eq!((read.len(), end), (100, Read::Reset));
    }

    #[test]
    fn silence_swallows_and_keeps_the_buffer_full() {
        let mut pipe = Pipe::new(10, 0, 20_000);
        pipe.write(0, &mut BytesMut::from(&[1_u8; 4][..]), &mut rng());
        pipe.silence();
        assert_eq!(pipe.write(0, &mut BytesMut::from(&[1_u8; 25][..]), &mut rng()), 6);
        pipe.close(5, true, &mut rng());
        assert_eq!(pipe.next(), None);
        assert_eq!(pipe.read(u64::MAX, 100, &mut Vec::new()), Read::Nothing);
    }

    #[test]
    fn a_slow_line_takes_its_time_and_a_stall_holds_all_up() {
        let mut pipe = Pipe::new(10_000, 0, 20_000);
        pipe.slow_down(Some(1_000));
        pipe.write(0, &mut BytesMut::from(&[1_u8; 2_000][..]), &mut rng());
        assert!(pipe.next().is_some_and(|at| at >= 2_000_000_000));
        pipe.stall(5_000_000_000);
        assert_eq!(pipe.next(), Some(5_000_000_000));
    }
}
