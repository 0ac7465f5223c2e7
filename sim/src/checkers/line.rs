//! What is certainly ready in a plain queue, in order.
//!
//! A message's place is that of its publish among all that the node took. It is certainly ready once it is confirmed, or
//! returned by a request that waits for nothing, until it is delivered, purged or lost sight of. A message that expires
//! by itself has no certain place.

use std::collections::BTreeMap;

/// A queue's order. For queues that are not exact only what every queue has is kept: numbers and purges.
#[derive(Debug, Default)]
pub(crate) struct Line {
    exact: bool,
    /// Messages that the node was sent for it.
    arrivals: u64,
    /// By place: the message, and the step since which it is certainly ready.
    ready: BTreeMap<u64, (u64, u64)>,
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
    pub(crate) fn new(exact: bool) -> Self {
        Self {
            exact,
            ..Self::default()
        }
    }

    /// One more message: its place.
    pub(crate) const fn arrived(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals - 1
    }

    /// A message is certainly ready from the end of this step on.
    pub(crate) fn ready(&mut self, place: u64, id: u64, step: u64) {
        if self.exact && self.purges == 0 {
            if self.newly.0 != step {
                self.newly = (step, 0);
            }
            self.ready.entry(place).or_insert_with(|| {
                self.newly.1 += 1;
                (id, step)
            });
        }
    }

    fn unready(&mut self, place: u64) {
        let Some((_, since)) = self.ready.remove(&place) else {
            return;
        };
        if since == self.newly.0 {
            self.newly.1 -= 1;
        }
        for count in self.counts.iter_mut().filter(|count| since < count.asked) {
            count.ready -= 1;
        }
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
        if self.purges == 1 && !blurred {
            self.purging = ready.into_iter().map(|(place, (id, _))| (place, id)).collect();
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

    fn forget(&mut self) -> BTreeMap<u64, (u64, u64)> {
        self.newly.1 = 0;
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
        Some((id, before.find(|(_, since)| *since < step).map(|(before, _)| *before)))
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
