//! What is certainly ready in a queue, in order.
//!
//! A message's place is that of its publish among all that the node took. It is certainly ready once it is confirmed, or
//! returned by a request that waits for nothing, until it is delivered, purged or lost sight of; one that expires, until
//! the earliest moment at which it may; one in a queue that drops its oldest, while all that came after it fit.

use crate::plan::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// A queue's order. Of a queue that takes dead letters only the purges are kept.
#[derive(Debug, Default)]
pub(crate) struct Line {
    exact: bool,
    /// It drops its oldest beyond so many.
    length: Option<u64>,
    /// When messages that are certainly ready may expire: wall milliseconds and place.
    mortal: BTreeSet<(u64, u64)>,
    /// Messages that the node was sent for it.
    arrivals: u64,
    ready: BTreeMap<u64, Ready>,
    /// Confirmed and not settled: ready again after a crash.
    owed: BTreeMap<u64, u64>,
    /// The furthest place delivered from in this step, and the message.
    furthest: Option<(u64, u64)>,
    /// Messages whose settlement is durable.
    pub(crate) settled_durably: u64,
    /// Certainly ready when a purge was asked for, and not delivered since.
    purging: BTreeMap<u64, u64>,
    purges: u32,
    /// The purge that was answered in this step took so many.
    purged: Option<u64>,
    /// The step of the last purge that was answered, or will never be.
    pub(crate) purged_at: Option<u64>,
    /// Counts under way: how many of the messages that were certainly ready when they were asked for have been since.
    counts: Vec<Count>,
    /// Messages that became ready in this step are not certain to be counted in it.
    newly: (u64, u64),
}

/// A message that is certainly ready.
#[derive(Clone, Copy, Debug)]
struct Ready {
    id: u64,
    /// Since the end of this step.
    since: u64,
    /// Before this wall time; 0 for always.
    until_ms: u64,
}

#[derive(Debug)]
struct Count {
    token: u64,
    /// Only what was ready before this step counts.
    asked: u64,
    ready: u64,
    /// In this step, with so many messages.
    answered: Option<u64>,
}

impl Line {
    /// The line of a queue; `exact` if each message comes to it once, from a publisher.
    pub(crate) fn new(kind: Kind, exact: bool) -> Self {
        let length = match kind {
            Kind::Bounded { length } => Some(length),
            _ => None,
        };
        Self {
            exact,
            length,
            ..Self::default()
        }
    }

    /// One more message: its place.
    pub(crate) fn arrived(&mut self) -> u64 {
        self.arrivals += 1;
        if let Some(length) = self.length {
            while let Some(first) = self.ready.first_key_value().map(|(first, _)| *first)
                && first + length < self.arrivals
            {
                self.unready(first);
            }
        }
        self.arrivals - 1
    }

    /// A message is certainly ready from the end of this step on, until it may expire (0 for never).
    pub(crate) fn ready(&mut self, place: u64, id: u64, step: u64, until_ms: u64) {
        let dropped = self.length.is_some_and(|length| place + length < self.arrivals);
        if self.exact && self.purges == 0 && !dropped {
            if self.newly.0 != step {
                self.newly = (step, 0);
            }
            self.ready.entry(place).or_insert_with(|| {
                self.newly.1 += 1;
                if until_ms > 0 {
                    self.mortal.insert((until_ms, place));
                }
                Ready {
                    id,
                    since: step,
                    until_ms,
                }
            });
        }
    }

    fn unready(&mut self, place: u64) {
        let Some(Ready { since, until_ms, .. }) = self.ready.remove(&place) else {
            return;
        };
        self.mortal.remove(&(until_ms, place));
        if since == self.newly.0 {
            self.newly.1 -= 1;
        }
        for count in self.counts.iter_mut().filter(|count| since < count.asked) {
            count.ready -= 1;
        }
    }

    /// Time has come so far: what may have expired is not certain any more.
    pub(crate) fn expire(&mut self, wall_ms: u64) {
        while let Some((until_ms, place)) = self.mortal.first().copied()
            && until_ms <= wall_ms
        {
            self.unready(place);
        }
    }

    /// Whether a message was certainly ready before this step.
    pub(crate) fn has_ready(&self, step: u64) -> bool {
        let newly = if self.newly.0 == step { self.newly.1 } else { 0 };
        self.ready.len() as u64 > newly
    }

    /// A message must come out, whatever happens.
    pub(crate) fn owe(&mut self, place: u64, id: u64) {
        if self.exact {
            self.owed.insert(place, id);
        }
    }

    /// It need not any more.
    pub(crate) fn forgive(&mut self, place: u64) {
        self.owed.remove(&place);
    }

    /// A message left.
    pub(crate) fn delivered(&mut self, place: u64, id: u64) {
        self.unready(place);
        self.purging.remove(&place);
        if self.exact && self.furthest.is_none_or(|(furthest, _)| furthest < place) {
            self.furthest = Some((place, id));
        }
    }

    /// A purge was asked for: nothing is certain any more.
    pub(crate) fn purge_asked(&mut self, blurred: bool) {
        self.purges += 1;
        let ready = self.forget();
        self.purging.clear();
        if self.purges == 1 && !blurred && self.length.is_none() {
            // A message that may expire while the purge is under way need not be in it.
            let lasting = ready.into_iter().filter(|(_, one)| one.until_ms == 0);
            self.purging = lasting.map(|(place, one)| (place, one.id)).collect();
        }
    }

    /// It may have been done, and will not be answered.
    pub(crate) fn purge_lost(&mut self, step: u64) {
        self.purges = self.purges.saturating_sub(1);
        self.purged_at = Some(step);
        self.forget();
        self.purging.clear();
    }

    /// It was answered: what it took is compared at the end of the step.
    pub(crate) fn purge_answered(&mut self, step: u64, messages: u64) {
        self.purges = self.purges.saturating_sub(1);
        self.purged_at = Some(step);
        self.purged = Some(messages);
    }

    fn forget(&mut self) -> BTreeMap<u64, Ready> {
        self.newly.1 = 0;
        self.mortal.clear();
        self.counts.iter_mut().for_each(|count| count.ready = 0);
        std::mem::take(&mut self.ready)
    }

    /// Something may be delivered and go back without being seen: what a purge takes is not known.
    pub(crate) fn blur(&mut self) {
        self.purging.clear();
    }

    /// A count is asked for.
    pub(crate) fn count_asked(&mut self, token: u64, step: u64) {
        let newly = if self.newly.0 == step { self.newly.1 } else { 0 };
        let ready = self.ready.len() as u64 - newly;
        self.counts.push(Count {
            token,
            asked: step,
            ready,
            answered: None,
        });
    }

    /// It was answered: what it found is compared at the end of the step.
    pub(crate) fn counted(&mut self, token: u64, messages: u64) {
        let count = self.counts.iter_mut().find(|count| count.token == token);
        count.into_iter().for_each(|count| count.answered = Some(messages));
    }

    /// It will not be answered.
    pub(crate) fn count_lost(&mut self, token: u64) {
        self.counts.retain(|count| count.token != token);
    }

    /// The counts that were answered in this step: what they found, the least and the most that they may find.
    pub(crate) fn counted_now(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let most = self.arrivals - self.settled_durably.min(self.arrivals);
        let answered = self.counts.iter().filter(|_| self.exact);
        answered.filter_map(move |count| Some((count.answered?, count.ready, most)))
    }

    /// What a purge that was answered in this step said, and how many messages it must have taken at least.
    pub(crate) fn purge_took(&self) -> Option<(u64, u64)> {
        self.purged.map(|messages| (messages, self.purging.len() as u64))
    }

    /// The message delivered from the furthest place in this step, and one before it that was ready before the step.
    pub(crate) fn overtaken(&self, step: u64) -> Option<(u64, Option<u64>)> {
        let (place, id) = self.furthest?;
        let mut before = self.ready.range(..place).map(|(_, one)| one);
        Some((id, before.find(|one| one.since < step).map(|one| one.id)))
    }

    /// The step is over: messages that a purge took for good.
    pub(crate) fn step_over(&mut self) -> Vec<u64> {
        self.furthest = None;
        self.counts.retain(|count| count.answered.is_none());
        if self.purged.take().is_some() {
            return std::mem::take(&mut self.purging).into_values().collect();
        }
        Vec::new()
    }

    /// Nothing is certain but what is owed.
    pub(crate) fn crashed(&mut self) -> Vec<(u64, u64)> {
        self.forget();
        self.purging.clear();
        self.counts.clear();
        (self.purges, self.purged, self.furthest) = (0, None, None);
        self.owed.iter().map(|(place, id)| (*place, *id)).collect()
    }
}
