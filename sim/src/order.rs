//! The exact order of plain queues: whatever is certainly ready goes before what came after it, and what returned is
//! back at its old place (G5).
//!
//! A message's place is that of its publish among all that the node took. It is certainly ready once it is confirmed, or
//! returned by a request that waits for nothing, until it is delivered, purged or lost sight of.

use crate::plan::Kind;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Queue {
    places: BTreeMap<u64, u64>,
    next: u64,
    /// By place: the message, and the step since which it is certainly ready.
    ready: BTreeMap<u64, (u64, u64)>,
    /// The furthest place delivered from in this step.
    furthest: Option<(u64, u64)>,
    settled_durably: u64,
    /// Certainly ready when a purge was asked for, and not delivered since.
    purging: BTreeMap<u64, u64>,
    purges: u32,
}

/// Plain queues, in order.
#[derive(Debug)]
pub struct Order {
    queues: Vec<Option<Queue>>,
    /// The step under way.
    step: u64,
    blurred: bool,
    checks: u64,
}

impl Order {
    pub(crate) fn new(kinds: &[Kind]) -> Self {
        let queues = kinds
            .iter()
            .map(|kind| (*kind == Kind::Plain).then(Queue::default))
            .collect();
        Self {
            queues,
            step: 0,
            blurred: false,
            checks: 0,
        }
    }

    /// A step begins. `blurred` if something may be delivered and go back without being seen.
    pub fn begin(&mut self, step: u64, blurred: bool) {
        self.step = step;
        self.blurred = false;
        if blurred {
            self.blur();
        }
    }

    /// Something may be delivered in this step and go back without being seen.
    pub fn blur(&mut self) {
        self.blurred = true;
        for queue in self.queues.iter_mut().flatten().filter(|queue| queue.purges > 0) {
            queue.purging.clear();
        }
    }

    /// The node takes a publish. One that expires by itself has no certain place.
    pub fn arrived(&mut self, queue: usize, id: u64, expires: bool) {
        if let Some(queue) = &mut self.queues[queue] {
            if !expires {
                queue.places.insert(id, queue.next);
            }
            queue.next += 1;
        }
    }

    /// A message is certainly ready from the end of this step on.
    pub fn ready(&mut self, queue: usize, id: u64, step: u64) {
        if let Some(queue) = &mut self.queues[queue]
            && queue.purges == 0
            && let Some(place) = queue.places.get(&id)
        {
            queue.ready.insert(*place, (id, step));
        }
    }

    /// A message left.
    pub fn delivered(&mut self, queue: usize, id: u64) {
        if let Some(queue) = &mut self.queues[queue]
            && let Some(place) = queue.places.get(&id).copied()
        {
            queue.ready.remove(&place);
            queue.purging.remove(&place);
            if queue.furthest.is_none_or(|(furthest, _)| furthest < place) {
                queue.furthest = Some((place, id));
            }
        }
    }

    pub(crate) fn settled_durably(&mut self, queue: usize) {
        if let Some(queue) = &mut self.queues[queue] {
            queue.settled_durably += 1;
        }
    }

    /// A purge was asked for: nothing is certain any more.
    pub fn purge_asked(&mut self, queue: usize) {
        if let Some(queue) = &mut self.queues[queue] {
            queue.purges += 1;
            let ready = std::mem::take(&mut queue.ready);
            if queue.purges == 1 && !self.blurred {
                queue.purging = ready.into_iter().map(|(place, (id, _))| (place, id)).collect();
            } else {
                queue.purging.clear();
            }
        }
    }

    /// It may have been done, and will not be answered.
    pub fn purge_lost(&mut self, queue: usize) {
        if let Some(queue) = &mut self.queues[queue] {
            queue.purges = queue.purges.saturating_sub(1);
            queue.ready.clear();
            queue.purging.clear();
        }
    }

    /// It was answered: messages that must have been in it, which are gone for good, or why the answer is wrong.
    ///
    /// # Errors
    /// What is wrong with the count.
    pub fn purge_answered(&mut self, queue: usize, messages: u64) -> Result<Vec<u64>, String> {
        let Some(queue) = &mut self.queues[queue] else {
            return Ok(Vec::new());
        };
        queue.purges = queue.purges.saturating_sub(1);
        let gone: Vec<u64> = std::mem::take(&mut queue.purging).into_values().collect();
        self.checks += 1;
        if messages < gone.len() as u64 {
            return Err(format!(
                "a purge took {messages}, but at least {} were ready",
                gone.len()
            ));
        }
        Ok(gone)
    }

    /// A count of ready messages, asked for in step `asked`, was answered.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn counted(&mut self, queue: usize, asked: u64, messages: u64) -> Result<u64, String> {
        let Some(queue) = self.queues[queue].as_ref().filter(|_| !self.blurred) else {
            return Ok(0);
        };
        let least = queue.ready.values().filter(|(_, since)| *since < asked).count() as u64;
        let most = queue.next - queue.settled_durably.min(queue.next);
        if messages < least || messages > most {
            return Err(format!("a count of {messages}, but {least} to {most} are ready"));
        }
        Ok(1)
    }

    pub(crate) fn crashed(&mut self) {
        for queue in self.queues.iter_mut().flatten() {
            queue.ready.clear();
            queue.purging.clear();
            queue.purges = 0;
            queue.furthest = None;
        }
    }

    pub(crate) fn checks(&self) -> u64 {
        let delivered = self
            .queues
            .iter()
            .flatten()
            .filter(|queue| queue.furthest.is_some() && !self.blurred);
        delivered.count() as u64
    }

    /// The step is over: a message that was delivered before one that was certainly ready, and that one.
    pub(crate) fn step_over(&mut self) -> Option<(usize, u64, u64)> {
        let mut broken = None;
        for (number, queue) in self.queues.iter_mut().enumerate() {
            let Some(queue) = queue else { continue };
            let Some((furthest, id)) = queue.furthest.take() else {
                continue;
            };
            if self.blurred {
                continue;
            }
            let before = queue.ready.range(..furthest).map(|(_, one)| one);
            let skipped = before.filter(|(_, since)| *since < self.step).map(|(id, _)| *id).next();
            if let Some(skipped) = skipped {
                broken = Some((number, id, skipped));
            }
        }
        broken
    }
}
