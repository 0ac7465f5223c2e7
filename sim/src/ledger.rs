//! What was promised and what was seen: an omniscient account of every message in every queue, and the checks on it.
//!
//! Each check names the guarantee of `docs/guarantees.md` that it watches. All are incremental: a step costs the same
//! however long the run is.

use crate::plan::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A guarantee was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number, `G1` and so on.
    pub guarantee: &'static str,
    /// Virtual nanoseconds.
    pub at: u64,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} broken at {} ms: {}",
            self.guarantee,
            self.at / 1_000_000,
            self.what
        )
    }
}

/// A message that was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Who published it, in which order.
    pub publisher: u32,
    /// Rises with each publish of a publisher.
    pub order: u64,
    /// The queues that it goes to, by number.
    pub queues: Vec<usize>,
    /// Length of its body.
    pub bytes: usize,
    /// Wall milliseconds at which its confirm came, if it did.
    pub confirmed_ms: Option<u64>,
    /// A queue's limit refused it.
    pub refused: bool,
}

/// A message in a queue.
#[derive(Clone, Debug, Default)]
struct InQueue {
    delivered: u32,
    /// The node's life in which it was delivered last.
    life: u32,
    /// The step in which it was delivered last.
    step: u64,
    /// Who holds it, in this life.
    holders: Vec<u64>,
    /// Settled by acknowledgement (or by being sent without one), or purged.
    settled: bool,
    /// That is durable.
    settled_durably: bool,
    /// A purge or a crash may have taken it.
    expendable: bool,
    /// Rejected, to be dead-lettered.
    rejected: bool,
    /// First copies that came out of the dead-letter queue, per life.
    dead: u32,
}

/// The newest publish delivered. What leaves in one step to several connections has no order between them.
#[derive(Clone, Copy, Debug, Default)]
struct First {
    step: u64,
    before_step: u64,
    newest: u64,
}

/// The account.
#[derive(Debug)]
pub struct Ledger {
    kinds: Vec<Kind>,
    messages: BTreeMap<u64, Published>,
    entries: BTreeMap<(usize, u64), InQueue>,
    /// First deliveries of each publisher in each queue.
    first: BTreeMap<(usize, u32), First>,
    /// The newest order that a channel saw of a publisher in a queue.
    first_at: BTreeMap<(usize, u32, u64), u64>,
    life: u32,
    /// Messages delivered while another held them: one of the two must have let go by the end of the step.
    suspects: BTreeSet<(usize, u64)>,
    /// Counts for the proof that the run did something.
    pub counters: Counters,
    violation: Option<Violation>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "self-explanatory")]
pub struct Counters {
    pub published: u64,
    pub confirmed: u64,
    pub refused: u64,
    pub delivered: u64,
    pub redelivered: u64,
    pub settled: u64,
    pub settled_durably: u64,
    pub dead: u64,
    pub expired: u64,
    pub returned: u64,
    pub purged: u64,
}

/// A delivery, as a client sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Virtual nanoseconds.
    pub at: u64,
    /// The node's step in which it left.
    pub step: u64,
    /// Wall milliseconds at which it left the node.
    pub wall_ms: u64,
    /// The queue's number.
    pub queue: usize,
    /// The body.
    pub body: &'a [u8],
    /// The flag.
    pub redelivered: bool,
    /// Settled by being sent.
    pub no_ack: bool,
    /// Who got it, unique to its channel's instance.
    pub holder: u64,
}

impl Ledger {
    /// An empty account of queues of these kinds.
    #[must_use]
    pub fn new(kinds: Vec<Kind>) -> Self {
        Self {
            kinds,
            messages: BTreeMap::new(),
            entries: BTreeMap::new(),
            first: BTreeMap::new(),
            first_at: BTreeMap::new(),
            life: 0,
            suspects: BTreeSet::new(),
            counters: Counters::default(),
            violation: None,
        }
    }

    /// The first violation, if there was one.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// A message is on its way.
    pub fn published(&mut self, id: u64, message: Published) {
        self.counters.published += 1;
        self.messages.insert(id, message);
    }

    /// A publish was answered.
    pub fn confirmed(&mut self, at: u64, wall_ms: u64, id: u64, ok: bool) {
        let Some(message) = self.messages.get_mut(&id) else {
            return self.fail("G1", at, format!("confirm of a publish that never was: {id}"));
        };
        if message.confirmed_ms.is_some() || message.refused {
            return self.fail("G1", at, format!("message {id} was confirmed twice"));
        }
        if ok {
            message.confirmed_ms = Some(wall_ms);
            self.counters.confirmed += 1;
        } else {
            message.refused = true;
            self.counters.refused += 1;
            let refusing = |queue: &usize| matches!(self.kinds[*queue], Kind::Refusing { .. });
            if !message.queues.iter().any(refusing) {
                self.fail(
                    "G1",
                    at,
                    format!("message {id} was refused, but none of its queues refuses"),
                );
            }
        }
    }

    /// A message came out of a queue. Its id, if it is one.
    pub fn delivered(&mut self, seen: &Seen<'_>) -> Option<u64> {
        let Some(id) = self.identify(seen) else {
            self.fail(
                "G4",
                seen.at,
                format!("a body of {} bytes that nobody published", seen.body.len()),
            );
            return None;
        };
        self.counters.delivered += 1;
        self.counters.redelivered += u64::from(seen.redelivered);
        let message = &self.messages[&id];
        let dead = self.kinds[seen.queue] == Kind::Dead;
        let routed = message.queues.contains(&seen.queue)
            || (dead && message.queues.iter().any(|queue| self.dead_letters(*queue)));
        if !routed {
            self.fail(
                "G4",
                seen.at,
                format!("message {id} came out of queue {}, where it never went", seen.queue),
            );
            return None;
        }
        self.check_time(seen, id);
        self.check_order(seen, id, dead);
        self.check_entry(seen, id, dead);
        Some(id)
    }

    /// Its holder acknowledged or rejected it.
    pub fn settled(&mut self, queue: usize, id: u64, rejected: bool) {
        self.counters.settled += 1;
        let dead_letters = self.dead_letters(queue);
        if let Some(entry) = self.entries.get_mut(&(queue, id)) {
            entry.holders.clear();
            entry.rejected = rejected && dead_letters;
            entry.settled = true;
        }
    }

    /// A holder gave it back, or is gone.
    pub fn returned(&mut self, queue: usize, id: u64, holder: u64) {
        self.counters.returned += 1;
        if let Some(entry) = self.entries.get_mut(&(queue, id)) {
            entry.holders.retain(|held_by| *held_by != holder);
        }
    }

    /// A step is over: what left to several connections in it had no order between them, what comes next has.
    pub fn step_over(&mut self, at: u64) {
        for (queue, id) in std::mem::take(&mut self.suspects) {
            if self.entries[&(queue, id)].holders.len() > 1 {
                self.fail(
                    "G3",
                    at,
                    format!("message {id} of queue {queue} was delivered while another holds it"),
                );
            }
        }
    }

    /// Whatever this holder settled is durable.
    pub fn settled_durably(&mut self, queue: usize, id: u64) {
        self.counters.settled_durably += 1;
        if let Some(entry) = self.entries.get_mut(&(queue, id)) {
            entry.settled_durably = true;
        }
    }

    /// Ready messages of a queue were dropped by a client: whatever was published by now may have gone.
    pub fn purged(&mut self, queue: usize) {
        self.counters.purged += 1;
        let ids: Vec<u64> = self
            .messages
            .iter()
            .filter(|(_, m)| m.queues.contains(&queue))
            .map(|(id, _)| *id)
            .collect();
        let dead = self.kinds[queue] == Kind::Dead;
        let all: Vec<u64> = if dead {
            self.messages.keys().copied().collect()
        } else {
            ids
        };
        for id in all {
            let entry = self.entries.entry((queue, id)).or_default();
            entry.expendable = true;
        }
    }

    /// The node died: nobody holds anything, and what was settled without a durable answer may come back.
    pub fn crashed(&mut self) {
        self.life += 1;
        let transient: Vec<usize> = (0..self.kinds.len())
            .filter(|queue| self.kinds[*queue] == Kind::Transient)
            .collect();
        for ((queue, _), entry) in &mut self.entries {
            entry.holders.clear();
            entry.expendable |= transient.contains(queue);
        }
    }

    /// All is quiet and every queue was emptied: what was confirmed must have come out (G1, G3).
    pub fn drained(&mut self, at: u64) {
        let dead = self.kinds.len() - 1;
        let mut missing = None;
        for (id, message) in &self.messages {
            if message.confirmed_ms.is_none() {
                continue;
            }
            for queue in &message.queues {
                let entry = self.entries.get(&(*queue, *id)).cloned().unwrap_or_default();
                let grave = self.entries.get(&(dead, *id)).cloned().unwrap_or_default();
                let out = (entry.settled && !entry.rejected) || entry.expendable;
                let buried = self.dead_letters(*queue) && (grave.settled || grave.expendable);
                if !out && !buried && self.kinds[*queue] != Kind::Transient {
                    missing = Some((*queue, *id));
                }
            }
        }
        if let Some((queue, id)) = missing {
            let what = format!(
                "message {id} was confirmed and never came out of queue {queue}: {:?}",
                self.kinds[queue]
            );
            self.fail("G1", at, what);
        }
    }

    /// Records a violation seen elsewhere.
    pub fn fail(&mut self, guarantee: &'static str, at: u64, what: String) {
        self.violation.get_or_insert(Violation { guarantee, at, what });
    }

    fn identify(&self, seen: &Seen<'_>) -> Option<u64> {
        let id = u64::from_le_bytes(seen.body.get(..8)?.try_into().ok()?);
        let message = self.messages.get(&id)?;
        (seen.body == body(id, message.bytes)).then_some(id)
    }

    /// Whether messages of the queue go to the dead-letter queue when they die.
    fn dead_letters(&self, queue: usize) -> bool {
        matches!(self.kinds[queue], Kind::Expiring { .. } | Kind::Bounded { .. })
    }

    fn check_time(&mut self, seen: &Seen<'_>, id: u64) {
        let confirmed = self.messages[&id].confirmed_ms;
        if let (Kind::Expiring { ttl_ms }, Some(confirmed)) = (self.kinds[seen.queue], confirmed)
            && seen.wall_ms > confirmed + ttl_ms
        {
            let late = seen.wall_ms - confirmed - ttl_ms;
            self.fail(
                "G13",
                seen.at,
                format!("message {id} was delivered {late} ms after its expiry"),
            );
        }
    }

    fn check_order(&mut self, seen: &Seen<'_>, id: u64, dead: bool) {
        // What may have been delivered before, to somebody who is gone, has no order any more.
        if dead || seen.redelivered {
            return;
        }
        let Published { publisher, order, .. } = self.messages[&id];
        let first = self.first.entry((seen.queue, publisher)).or_default();
        if first.step != seen.step {
            *first = First {
                step: seen.step,
                before_step: first.newest,
                newest: first.newest,
            };
        }
        first.newest = first.newest.max(order);
        let before = first.before_step;
        let here = self
            .first_at
            .insert((seen.queue, publisher, seen.holder), order)
            .unwrap_or(0);
        let before = before.max(here);
        if before > order {
            let what = format!(
                "queue {}: publish {order} of publisher {publisher} came after {before}",
                seen.queue
            );
            self.fail("G5", seen.at, what);
        }
    }

    fn check_entry(&mut self, seen: &Seen<'_>, id: u64, dead: bool) {
        let life = self.life;
        let queue = seen.queue;
        let sources = self.messages[&id]
            .queues
            .iter()
            .filter(|queue| self.dead_letters(**queue))
            .count() as u32;
        let entry = self.entries.entry((queue, id)).or_default();
        let mut broken = None;
        // What left in one step to several connections has no order between them.
        let earlier = entry.delivered > 0 && entry.step != seen.step;
        let same_life = earlier && entry.life == life;
        if entry.settled_durably && !dead {
            broken = Some(("G2", "was delivered after its settlement was durable"));
        } else if same_life && entry.settled && !dead {
            broken = Some(("G2", "was delivered after it was settled"));
        } else if !entry.holders.is_empty() && !dead {
            self.suspects.insert((queue, id));
        }
        if earlier && !seen.redelivered && !dead {
            broken = Some(("G3", "was delivered again without the redelivered flag"));
        }
        if dead && !seen.redelivered {
            entry.dead += 1;
            self.counters.dead += 1;
            if entry.dead > sources {
                broken = Some(("G13", "was dead-lettered more than once"));
            }
        }
        entry.delivered += 1;
        entry.life = life;
        entry.step = seen.step;
        entry.holders.extend((!seen.no_ack).then_some(seen.holder));
        entry.settled = seen.no_ack;
        entry.rejected = false;
        if let Some((guarantee, what)) = broken {
            self.fail(guarantee, seen.at, format!("message {id} of queue {queue} {what}"));
        }
    }
}

/// The body of a message: its id, then bytes that follow from it.
#[must_use]
pub fn body(id: u64, bytes: usize) -> Vec<u8> {
    let mut body = id.to_le_bytes().to_vec();
    let filler = (0..).map(|at: u64| (id.wrapping_mul(31).wrapping_add(at * 7)) as u8);
    body.extend(filler.take(bytes.saturating_sub(8)));
    body
}
