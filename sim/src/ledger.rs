//! What was promised and what was seen: an omniscient account of every message in every queue, and the checks on it.
//!
//! Each check names the guarantee of `docs/guarantees.md` that it watches. All but [`Ledger::drained`] are incremental.

use crate::order::Order;
use crate::plan::{Kind, Plan};
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
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Who published it, in which order.
    pub publisher: u32,
    /// Rises with each publish of a publisher.
    pub order: u64,
    /// The queues that it goes to, by number; none for queues that nobody keeps account of.
    pub queues: Vec<usize>,
    /// Length of its body.
    pub bytes: usize,
    /// Its own time to live.
    pub ttl_ms: Option<u64>,
    /// The transaction that it belongs to.
    pub transaction: Option<u64>,
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
    /// First copies that came out of a grave.
    dead: u32,
}

/// The newest publish delivered. What leaves in one step to several connections has no order between them.
#[derive(Clone, Copy, Debug, Default)]
struct First {
    step: u64,
    before_step: u64,
    newest: u64,
}

/// How far a transaction came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    /// Not yet committed: nothing of it may be seen.
    #[default]
    Open,
    /// Its commit was asked for and is not answered: all or nothing.
    Asked,
    Committed,
    RolledBack,
    /// The node died before it answered: all or nothing.
    Unknown,
}

#[derive(Debug, Default)]
struct Transaction {
    fate: Fate,
    publishes: Vec<u64>,
    settles: Vec<(usize, u64)>,
    /// A publish of it came out.
    happened: bool,
    /// What it settled came again, after a crash.
    undone: bool,
}

/// Numbers of transactions that no publish named.
const SETTLES_FIRST: u64 = 1 << 40;

/// The account.
#[derive(Debug)]
pub struct Ledger {
    kinds: Vec<Kind>,
    graves: Vec<Option<usize>>,
    messages: BTreeMap<u64, Published>,
    entries: BTreeMap<(usize, u64), InQueue>,
    transactions: BTreeMap<u64, Transaction>,
    /// Which unanswered transaction settled a message.
    settled_by: BTreeMap<(usize, u64), u64>,
    /// First deliveries of each publisher in each queue.
    first: BTreeMap<(usize, u32), First>,
    /// The newest order that a channel saw of a publisher in a queue.
    first_at: BTreeMap<(usize, u32, u64), u64>,
    life: u32,
    /// Messages delivered while another held them: one of the two must have let go by the end of the step.
    suspects: BTreeSet<(usize, u64)>,
    /// The exact order of plain queues.
    pub order: Order,
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
    pub returned: u64,
    pub purged: u64,
    pub transactions: u64,
    pub torn_transactions: u64,
    pub unroutable: u64,
    pub order_checks: u64,
    pub count_checks: u64,
    pub gone_queues: u64,
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
    /// An empty account of the queues of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            kinds: plan.queues.clone(),
            graves: plan.graves.clone(),
            messages: BTreeMap::new(),
            entries: BTreeMap::new(),
            transactions: BTreeMap::new(),
            settled_by: BTreeMap::new(),
            first: BTreeMap::new(),
            first_at: BTreeMap::new(),
            life: 0,
            suspects: BTreeSet::new(),
            order: Order::new(&plan.queues),
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
        if let Some(transaction) = message.transaction {
            self.transactions.entry(transaction).or_default().publishes.push(id);
        }
        self.messages.insert(id, message);
    }

    /// The node takes the message now: its place in its queues is behind all before.
    pub fn arrived(&mut self, id: u64) {
        let Some(message) = self.messages.get(&id) else { return };
        for queue in &message.queues {
            self.order.arrived(*queue, id, message.ttl_ms.is_some());
        }
    }

    /// A publish was answered.
    pub fn confirmed(&mut self, at: u64, wall_ms: u64, step: u64, id: u64, ok: bool) {
        let Some(message) = self.messages.get_mut(&id) else {
            return self.fail("G1", at, format!("confirm of a publish that never was: {id}"));
        };
        if message.confirmed_ms.is_some() || message.refused {
            return self.fail("G1", at, format!("message {id} was confirmed twice"));
        }
        if ok {
            message.confirmed_ms = Some(wall_ms);
            self.counters.confirmed += 1;
            for queue in message.queues.clone() {
                let entry = self.entries.get(&(queue, id));
                if entry.is_none_or(|entry| entry.delivered == 0 && !entry.expendable) {
                    self.order.ready(queue, id, step);
                }
            }
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

    /// The transaction that a message belongs to.
    pub(crate) fn transaction_of(&mut self, message: u64) -> u64 {
        let known = self.messages.get(&message).and_then(|message| message.transaction);
        known.unwrap_or_else(|| self.transaction_next())
    }

    /// A number for a transaction that begins with a settlement.
    pub(crate) fn transaction_next(&mut self) -> u64 {
        let id = self
            .transactions
            .last_key_value()
            .map_or(SETTLES_FIRST, |(id, _)| (id + 1).max(SETTLES_FIRST));
        self.transactions.entry(id).or_default();
        id
    }

    /// A message was ready when a purge took all that was.
    pub(crate) fn purged_durably(&mut self, queue: usize, id: u64) {
        let entry = self.entries.entry((queue, id)).or_default();
        entry.settled = true;
        entry.settled_durably = true;
        self.order.settled_durably(queue);
    }

    /// A transaction settles a delivery when it commits.
    pub fn settles_later(&mut self, transaction: u64, queue: usize, id: u64) {
        self.transactions
            .entry(transaction)
            .or_default()
            .settles
            .push((queue, id));
    }

    /// A transaction's commit was asked for.
    pub fn commit_asked(&mut self, id: u64) {
        let transaction = self.transactions.entry(id).or_default();
        transaction.fate = Fate::Asked;
        for (queue, message) in transaction.settles.clone() {
            self.settled_by.insert((queue, message), id);
            self.settled(queue, message, false);
        }
        for message in self.transactions[&id].publishes.clone() {
            self.arrived(message);
        }
    }

    /// It was answered.
    pub fn committed(&mut self, at: u64, wall_ms: u64, step: u64, id: u64) {
        self.counters.transactions += 1;
        let transaction = self.transactions.entry(id).or_default();
        transaction.fate = Fate::Committed;
        let (publishes, settles) = (transaction.publishes.clone(), transaction.settles.clone());
        for (queue, message) in settles {
            self.settled_by.remove(&(queue, message));
            self.settled_durably(queue, message);
        }
        for message in publishes {
            // A queue that refuses may refuse a message of a transaction; nobody is told (as with RabbitMQ).
            self.confirmed(at, wall_ms, step, message, true);
        }
    }

    /// It was rolled back, or its channel ended before its commit.
    pub fn rolled_back(&mut self, id: u64) {
        let transaction = self.transactions.entry(id).or_default();
        if transaction.fate == Fate::Open {
            transaction.fate = Fate::RolledBack;
            self.counters.torn_transactions += 1;
        }
    }

    /// A message came out of a queue that nobody keeps account of, or came back to its publisher.
    pub fn seen_whole(&mut self, at: u64, body: &[u8]) -> Option<u64> {
        let id = self.identify(body);
        if id.is_none() {
            self.fail(
                "G4",
                at,
                format!("a body of {} bytes that nobody published", body.len()),
            );
        }
        id
    }

    /// A message came out of a queue. Its id, if it is one.
    pub fn delivered(&mut self, seen: &Seen<'_>) -> Option<u64> {
        let id = self.seen_whole(seen.at, seen.body)?;
        self.counters.delivered += 1;
        self.counters.redelivered += u64::from(seen.redelivered);
        let grave = self.kinds[seen.queue].is_grave();
        let routed = self.messages[&id].queues.contains(&seen.queue);
        let buried = self.messages[&id]
            .queues
            .iter()
            .any(|queue| self.leads_to(*queue, seen.queue));
        if !routed && !buried {
            self.fail(
                "G4",
                seen.at,
                format!("message {id} came out of queue {}, where it never went", seen.queue),
            );
            return None;
        }
        // What may come round again has been here before.
        let several = grave || self.leads_to(seen.queue, seen.queue);
        self.check_transaction(seen, id, several);
        self.check_time(seen, id, several);
        self.check_order(seen, id, several);
        self.check_entry(seen, id, several);
        self.order.delivered(seen.queue, id);
        Some(id)
    }

    /// Its holder acknowledged or rejected it.
    pub fn settled(&mut self, queue: usize, id: u64, rejected: bool) {
        self.counters.settled += 1;
        let letters = self.graves[queue].is_some();
        if let Some(entry) = self.entries.get_mut(&(queue, id)) {
            entry.holders.clear();
            entry.rejected = rejected && letters;
            entry.settled = true;
        }
    }

    /// A holder gave it back, or is gone. `now` if the node takes notice in this step.
    pub fn returned(&mut self, queue: usize, id: u64, holder: u64, now: Option<u64>) {
        self.counters.returned += 1;
        if let Some(entry) = self.entries.get_mut(&(queue, id)) {
            entry.holders.retain(|held_by| *held_by != holder);
            if let Some(step) = now.filter(|_| entry.holders.is_empty() && !entry.settled && !entry.expendable) {
                self.order.ready(queue, id, step);
            }
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
        let verdict = self.order.step_over();
        self.counters.order_checks += verdict.orders;
        self.counters.count_checks += verdict.counts;
        verdict
            .gone
            .into_iter()
            .for_each(|(queue, id)| self.purged_durably(queue, id));
        if let Some((guarantee, queue, what)) = verdict.broken {
            self.fail(guarantee, at, format!("queue {queue}: {what}"));
        }
    }

    /// Whatever this holder settled is durable.
    pub fn settled_durably(&mut self, queue: usize, id: u64) {
        self.counters.settled_durably += 1;
        if let Some(entry) = self.entries.get_mut(&(queue, id)) {
            entry.settled_durably = true;
        }
        self.order.settled_durably(queue);
    }

    /// Ready messages of a queue were dropped by a client: whatever was published by now may have gone.
    pub fn purged(&mut self, queue: usize) {
        self.counters.purged += 1;
        let grave = self.kinds[queue].is_grave() || self.leads_to(queue, queue);
        let here = |message: &Published| grave || message.queues.contains(&queue);
        let ids: Vec<u64> = self
            .messages
            .iter()
            .filter(|(_, message)| here(message))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.entries.entry((queue, id)).or_default().expendable = true;
        }
    }

    /// The node died: nobody holds anything, and what was settled without a durable answer may come back.
    pub fn crashed(&mut self) {
        self.life += 1;
        for transaction in self.transactions.values_mut() {
            match transaction.fate {
                Fate::Asked => transaction.fate = Fate::Unknown,
                Fate::Open => transaction.fate = Fate::RolledBack,
                Fate::Committed | Fate::RolledBack | Fate::Unknown => {}
            }
        }
        for ((queue, _), entry) in &mut self.entries {
            entry.holders.clear();
            entry.expendable |= self.kinds[*queue] == Kind::Transient;
        }
        self.order.crashed();
        for (id, message) in self
            .messages
            .iter()
            .filter(|(_, message)| message.confirmed_ms.is_some())
        {
            for queue in &message.queues {
                let entry = self.entries.get(&(*queue, *id));
                if entry.is_none_or(|entry| !entry.settled && !entry.expendable) {
                    self.order.ready(*queue, *id, 0);
                }
            }
        }
    }

    /// All is quiet and every queue was emptied: what was confirmed must have come out (G1, G3), and of each transaction
    /// all or nothing (G9).
    pub fn drained(&mut self, at: u64) {
        let mut missing = None;
        for (id, message) in &self.messages {
            let transaction = message.transaction.and_then(|id| self.transactions.get(&id));
            let happened = transaction.is_some_and(|transaction| transaction.happened);
            if message.confirmed_ms.is_none() && !happened {
                continue;
            }
            for queue in &message.queues {
                let refusable = transaction.is_some() && matches!(self.kinds[*queue], Kind::Refusing { .. });
                if !refusable && self.kinds[*queue] != Kind::Transient && !self.came_out(*queue, *id, message) {
                    missing = Some((*queue, *id, happened));
                }
            }
        }
        if let Some((queue, id, happened)) = missing {
            let kind = self.kinds[queue];
            let guarantee = if happened { "G9" } else { "G1" };
            let what = format!("message {id} was confirmed and never came out of queue {queue}: {kind:?}");
            self.fail(guarantee, at, what);
        }
    }

    /// Whether a message left the queue as it may: settled, purged, expired, or by way of the graves.
    fn came_out(&self, queue: usize, id: u64, message: &Published) -> bool {
        let left = |queue: usize| {
            let entry = self.entries.get(&(queue, id));
            entry.is_some_and(|entry| (entry.settled && !entry.rejected) || entry.expendable)
        };
        if left(queue) {
            return true;
        }
        // It expires by itself, and nobody asks for its letter.
        if message.ttl_ms.is_some() && self.graves[queue].is_none() {
            return true;
        }
        let mut at = queue;
        for _ in 0..self.kinds.len() {
            let Some(grave) = self.graves[at] else { return false };
            // What comes round without a rejection is dropped.
            if left(grave) || grave == queue {
                return true;
            }
            at = grave;
        }
        true
    }

    /// Records a violation seen elsewhere.
    pub fn fail(&mut self, guarantee: &'static str, at: u64, what: String) {
        self.violation.get_or_insert(Violation { guarantee, at, what });
    }

    fn identify(&self, seen: &[u8]) -> Option<u64> {
        let id = u64::from_le_bytes(seen.get(..8)?.try_into().ok()?);
        let message = self.messages.get(&id)?;
        is_body(id, message.bytes, seen).then_some(id)
    }

    /// Whether a queue's dead letters come to another, by way of others too.
    fn leads_to(&self, from: usize, to: usize) -> bool {
        let mut at = from;
        for _ in 0..self.graves.len() {
            match self.graves[at] {
                Some(grave) if grave == to => return true,
                Some(grave) => at = grave,
                None => return false,
            }
        }
        false
    }

    /// Queues of a message whose letters go to this grave without passing another.
    fn sources(&self, id: u64, grave: usize) -> u32 {
        let queues = &self.messages[&id].queues;
        queues.iter().filter(|queue| self.leads_to(**queue, grave)).count() as u32
    }

    fn check_transaction(&mut self, seen: &Seen<'_>, id: u64, several: bool) {
        if let Some(transaction) = self.messages[&id].transaction {
            let one = self.transactions.entry(transaction).or_default();
            one.happened = true;
            if matches!(one.fate, Fate::Open | Fate::RolledBack) {
                let what = format!(
                    "message {id} came out, but its transaction {transaction} is {:?}",
                    one.fate
                );
                self.fail("G9", seen.at, what);
            }
        }
        let settled_by = self.settled_by.get(&(seen.queue, id)).copied().filter(|_| !several);
        let unknown = settled_by.and_then(|id| Some((id, self.transactions.get_mut(&id)?)));
        if let Some((number, one)) = unknown.filter(|(_, one)| one.fate == Fate::Unknown) {
            one.undone = true;
            self.settled_by.remove(&(seen.queue, id));
            if one.happened {
                let what = format!("transaction {number} published, but message {id}, which it settled, came again");
                self.fail("G9", seen.at, what);
            }
        }
        let both = self.messages[&id]
            .transaction
            .and_then(|id| Some((id, self.transactions.get(&id)?)));
        if let Some((number, _)) = both.filter(|(_, one)| one.undone && one.happened && one.fate == Fate::Unknown) {
            self.fail(
                "G9",
                seen.at,
                format!("transaction {number} published, and what it settled came again"),
            );
        }
    }

    fn check_time(&mut self, seen: &Seen<'_>, id: u64, several: bool) {
        let message = &self.messages[&id];
        let queue_ttl = match self.kinds[seen.queue] {
            Kind::Expiring { ttl_ms } => Some(ttl_ms),
            _ => None,
        };
        let ttl = queue_ttl.into_iter().chain(message.ttl_ms).min();
        if let (Some(ttl_ms), Some(confirmed)) = (ttl, message.confirmed_ms)
            && !several
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

    fn check_order(&mut self, seen: &Seen<'_>, id: u64, several: bool) {
        // What may have been delivered before, to somebody who is gone, has no order any more.
        if several || seen.redelivered {
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

    fn check_entry(&mut self, seen: &Seen<'_>, id: u64, several: bool) {
        let (life, queue) = (self.life, seen.queue);
        let round = self.leads_to(queue, queue);
        let sources = self.sources(id, queue) + u32::from(self.messages[&id].queues.contains(&queue));
        let entry = self.entries.entry((queue, id)).or_default();
        let mut broken = None;
        // What left in one step to several connections has no order between them.
        let earlier = entry.delivered > 0 && entry.step != seen.step;
        let same_life = earlier && entry.life == life;
        if entry.settled_durably && !several {
            broken = Some(("G2", "was delivered after its settlement was durable"));
        } else if same_life && entry.settled && !several {
            broken = Some(("G2", "was delivered after it was settled"));
        } else if !entry.holders.is_empty() && !several {
            self.suspects.insert((queue, id));
        }
        if earlier && !seen.redelivered && !several {
            broken = Some(("G3", "was delivered again without the redelivered flag"));
        }
        if several && !seen.redelivered {
            entry.dead += 1;
            self.counters.dead += 1;
            if entry.dead > sources && !round {
                broken = Some(("G13", "was dead-lettered more than once"));
            }
        }
        let again = entry.delivered > 0 && entry.step == seen.step;
        entry.delivered += 1;
        entry.life = life;
        entry.step = seen.step;
        entry.holders.extend((!seen.no_ack).then_some(seen.holder));
        // Of several deliveries in one step, the one that settles was the last, whatever the order in which they are seen.
        entry.settled = seen.no_ack || (again && entry.settled);
        entry.rejected = false;
        if let Some((guarantee, what)) = broken {
            self.fail(guarantee, seen.at, format!("message {id} of queue {queue} {what}"));
        }
    }
}

fn filler(id: u64, bytes: usize) -> impl Iterator<Item = u8> {
    let start = id.wrapping_mul(31);
    (0..bytes.saturating_sub(8) as u64).map(move |at| start.wrapping_add(at.wrapping_mul(7)) as u8)
}

/// The body of a message: its id, then bytes that follow from it.
#[must_use]
pub fn body(id: u64, bytes: usize) -> Vec<u8> {
    let mut body = id.to_le_bytes().to_vec();
    body.extend(filler(id, bytes));
    body
}

fn is_body(id: u64, bytes: usize, seen: &[u8]) -> bool {
    seen.len() == bytes.max(8) && seen[8..].iter().copied().eq(filler(id, bytes))
}

#[cfg(test)]
mod tests;
