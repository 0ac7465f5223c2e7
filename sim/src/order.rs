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
    /// The answers of this step.
    purged: Option<u64>,
    counts: Vec<(u64, u64)>,
}

/// Plain queues, in order.
#[derive(Debug)]
pub struct Order {
    queues: Vec<Option<Queue>>,
    /// The step under way.
    step: u64,
    blurred: bool,
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

    /// It was answered: what it took is compared at the end of the step.
    pub fn purge_answered(&mut self, queue: usize, messages: u64) {
        if let Some(queue) = &mut self.queues[queue] {
            queue.purges = queue.purges.saturating_sub(1);
            queue.purged = Some(messages);
        }
    }

    /// A count of ready messages, asked for in step `asked`, was answered: it is compared at the end of the step.
    pub fn counted(&mut self, queue: usize, asked: u64, messages: u64) {
        if let Some(queue) = &mut self.queues[queue] {
            queue.counts.push((asked, messages));
        }
    }

    pub(crate) fn crashed(&mut self) {
        for queue in self.queues.iter_mut().flatten() {
            queue.ready.clear();
            queue.purging.clear();
            queue.purges = 0;
            queue.furthest = None;
            queue.purged = None;
            queue.counts.clear();
        }
    }

    /// The step is over: whatever was to leave in it has left.
    pub fn step_over(&mut self) -> Verdict {
        let mut verdict = Verdict::default();
        let (blurred, step) = (self.blurred, self.step);
        for (number, queue) in self.queues.iter_mut().enumerate() {
            let Some(queue) = queue else { continue };
            let counts = std::mem::take(&mut queue.counts);
            let purged = queue.purged.take();
            let furthest = queue.furthest.take();
            if let Some(messages) = purged {
                let gone = std::mem::take(&mut queue.purging);
                if messages < gone.len() as u64 {
                    let what = format!("a purge took {messages}, but at least {} were ready", gone.len());
                    verdict.broken = Some(("G11", number, what));
                }
                verdict.gone.extend(gone.into_values().map(|id| (number, id)));
            }
            if blurred {
                continue;
            }
            for (asked, messages) in counts {
                verdict.counts += 1;
                let least = queue.ready.values().filter(|(_, since)| *since < asked).count() as u64;
                let most = queue.next - queue.settled_durably.min(queue.next);
                if messages < least || messages > most {
                    verdict.broken = Some((
                        "G11",
                        number,
                        format!("a count of {messages}, but {least} to {most} are ready"),
                    ));
                }
            }
            let Some((place, id)) = furthest else { continue };
            verdict.orders += 1;
            let skipped = queue
                .ready
                .range(..place)
                .map(|(_, one)| one)
                .find(|(_, since)| *since < step);
            if let Some((before, _)) = skipped {
                let what = format!("message {id} was delivered, but message {before} was before it");
                verdict.broken = Some(("G5", number, what));
            }
        }
        verdict
    }
}

/// What a step showed.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The guarantee, the queue, and what was wrong.
    pub broken: Option<(&'static str, usize, String)>,
    /// Messages that a purge took for good.
    pub gone: Vec<(usize, u64)>,
    /// Counts compared.
    pub counts: u64,
    /// Queues whose order was compared.
    pub orders: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages 1, 2 and 3 came in this order and are ready since step 1.
    fn three() -> Order {
        let mut order = Order::new(&[Kind::Plain]);
        order.begin(1, false);
        for id in 1..=3 {
            order.arrived(0, id, false);
            order.ready(0, id, 1);
        }
        assert!(order.step_over().broken.is_none());
        order
    }

    fn guarantee(order: &mut Order) -> Option<&'static str> {
        order.step_over().broken.map(|(guarantee, ..)| guarantee)
    }

    #[test]
    fn what_is_skipped_is_found() {
        let mut order = three();
        order.begin(2, false);
        order.delivered(0, 2);
        assert_eq!(guarantee(&mut order), Some("G5"));
        // Both left in one step: their order is not seen.
        let mut order = three();
        order.begin(2, false);
        order.delivered(0, 2);
        order.delivered(0, 1);
        assert_eq!(guarantee(&mut order), None);
    }

    #[test]
    fn a_returned_message_has_its_old_place() {
        let mut order = three();
        order.begin(2, false);
        order.delivered(0, 1);
        order.ready(0, 1, 2);
        assert_eq!(guarantee(&mut order), None);
        order.begin(3, false);
        order.delivered(0, 2);
        assert_eq!(guarantee(&mut order), Some("G5"));
        let mut blurred = three();
        blurred.begin(2, true);
        blurred.delivered(0, 3);
        assert_eq!(guarantee(&mut blurred), None);
    }

    #[test]
    fn counts_and_purges_are_compared() {
        for (messages, expected) in [(2, Some("G11")), (3, None), (4, Some("G11"))] {
            let mut order = three();
            order.begin(3, false);
            order.counted(0, 2, messages);
            assert_eq!(guarantee(&mut order), expected, "{messages}");
        }
        let mut order = three();
        order.begin(2, false);
        order.purge_asked(0);
        order.purge_answered(0, 2);
        assert_eq!(guarantee(&mut order), Some("G11"));
        let mut order = three();
        order.purge_asked(0);
        order.purge_answered(0, 3);
        assert_eq!(order.step_over().gone, [(0, 1), (0, 2), (0, 3)]);
    }
}
