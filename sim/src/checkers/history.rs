//! What is known of messages, of their places in queues, and of transactions.
//!
//! A message that every queue it went to is done with shrinks to a [`Past`]: it must never be seen again.

use super::credit::Credits;
use super::letters::Address;
use super::line::Line;
use super::{Delivery, Event};
use crate::plan::{Kind, Plan};
use std::collections::BTreeMap;
use waystation_core::message::Message;

/// A message that is published.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Who publishes it.
    pub publisher: u32,
    /// Rises with each publish of a publisher.
    pub order: u64,
    /// The queues that it goes to, by number; none for queues that nobody keeps account of.
    pub queues: Vec<usize>,
    /// Length of its body.
    pub bytes: usize,
    /// Its own time to live.
    pub ttl_ms: Option<u64>,
    /// Its priority, where a queue has any.
    pub priority: u8,
    /// Milliseconds before it may be delivered.
    pub delay_ms: u64,
    /// The transaction that it belongs to.
    pub transaction: Option<u64>,
}

/// The moment of a step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct When {
    /// Counts the events of the run.
    pub(crate) step: u64,
    /// Virtual nanoseconds.
    pub(crate) at: u64,
    pub(crate) wall_ms: u64,
}

/// How a publish was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not, so far.
    #[default]
    None,
    /// At this wall time.
    Confirmed {
        wall_ms: u64,
    },
    Refused,
}

/// A message that is not done with.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) published: Published,
    pub(crate) answer: Answer,
    /// Of the whole message, as the node was handed it.
    pub(crate) digest: u64,
    pub(crate) address: Address,
    /// The step in which the node took it, and the wall time then.
    arrived: Option<u64>,
    pub(crate) arrived_ms: u64,
    places: Vec<Place>,
    /// Copies that left for good, durably.
    finished: usize,
    /// Of a transaction, whose refusals nobody is told of.
    pub(crate) quietly: bool,
}

/// A message in a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    queue: usize,
    /// The how manyth message of the queue it is, if that is certain; not for dead letters.
    number: Option<u64>,
    pub(crate) delivered: u32,
    /// The node's life in which it was delivered last.
    pub(crate) life: u32,
    /// The step in which it was delivered last.
    pub(crate) step: u64,
    /// Who holds it, if it was delivered in this life.
    holders: Vec<u64>,
    /// Settled by acknowledgement (or by being sent without one), or purged.
    pub(crate) settled: bool,
    /// That is durable.
    pub(crate) durable: bool,
    /// A purge may have taken it.
    expendable: bool,
    /// The step since which nobody holds it, and the life in which it came.
    free_since: u64,
    came_in: u32,
    /// Rejected, to be dead-lettered.
    pub(crate) rejected: bool,
    /// First copies that came out of a grave.
    pub(crate) dead: u32,
    /// How often it was given back in this life, and the wall time of the last.
    returns: u16,
    pub(crate) returned_ms: u64,
}

/// What is left of a message that is done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Past {
    /// It is not, or was never published.
    #[default]
    None,
    /// All its copies were settled, durably.
    Done { bytes: u32 },
    /// Its transaction was rolled back.
    Void { bytes: u32 },
    /// It goes to no queue that anybody keeps account of: its body alone is checked.
    Stray { bytes: u32 },
}

/// How far a transaction came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Not yet committed: nothing of it may be seen.
    #[default]
    Open,
    /// Its commit was asked for and is not answered: all or nothing.
    Asked,
    /// The node died before it answered: all or nothing.
    Unknown,
}

/// A transaction whose end is not known.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) fate: Fate,
    publishes: Vec<u64>,
    settles: Vec<(usize, u64)>,
    /// A publish of it came out.
    pub(crate) happened: bool,
    /// What it settled came again, after a crash.
    pub(crate) undone: bool,
}

/// All that is known.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) names: Vec<String>,
    graves: Vec<Option<usize>>,
    pub(crate) now: When,
    pub(crate) life: u32,
    /// Something may be delivered in this step and go back without being seen.
    pub(crate) blurred: bool,
    messages: BTreeMap<u64, Record>,
    past: Vec<Past>,
    transactions: BTreeMap<u64, Transaction>,
    /// Which unanswered transaction settled a message.
    settled_by: BTreeMap<(usize, u64), u64>,
    lines: Vec<Line>,
    pub(crate) credits: Credits,
    /// Lines with something to forget at the end of the step.
    stirred: Vec<usize>,
}

impl History {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut history = Self {
            kinds: plan.queues.clone(),
            names: (0..plan.queues.len()).map(|queue| plan.name(queue)).collect(),
            graves: plan.graves.clone(),
            now: When::default(),
            life: 0,
            blurred: false,
            messages: BTreeMap::new(),
            past: Vec::new(),
            transactions: BTreeMap::new(),
            settled_by: BTreeMap::new(),
            lines: Vec::new(),
            credits: Credits::new(plan.window_bytes),
            stirred: Vec::new(),
        };
        let exact = |queue: usize| {
            let kind = history.kinds[queue];
            // A delayed message comes when it comes, and drives out another then.
            let surprised = plan.delayed > 0 && matches!(kind, Kind::Bounded { .. });
            !history.may_come_again(queue) && !kind.counts_returns() && !surprised
        };
        let line = |queue| Line::new(history.kinds[queue], exact(queue));
        history.lines = (0..plan.queues.len()).map(line).collect();
        history
    }

    pub(crate) fn published(&mut self, id: u64, published: Published) {
        if let Some(transaction) = published.transaction {
            self.transactions.entry(transaction).or_default().publishes.push(id);
        }
        if published.queues.is_empty() && published.transaction.is_none() {
            let bytes = published.bytes as u32;
            return self.remember(id, Past::Stray { bytes });
        }
        let record = Record {
            published,
            ..Record::default()
        };
        self.messages.insert(id, record);
    }

    pub(crate) const fn begin(&mut self, now: When) {
        self.now = now;
        self.blurred = false;
    }

    /// A message that is not done with.
    pub(crate) fn message(&self, id: u64) -> Option<&Record> {
        self.messages.get(&id)
    }

    /// What is left of one that is.
    pub(crate) fn past(&self, id: u64) -> Past {
        let at = usize::try_from(id).unwrap_or(usize::MAX);
        self.past.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn messages_len(&self) -> usize {
        self.messages.len()
    }

    /// Messages that are not done with.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u64, &Record)> {
        self.messages.iter().map(|(id, record)| (*id, record))
    }

    pub(crate) fn transaction(&self, id: u64) -> Option<&Transaction> {
        self.transactions.get(&id)
    }

    /// Whether a transaction's commit was not asked for yet.
    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.transactions.get(&id).is_none_or(|one| one.fate == Fate::Open)
    }

    /// The transaction with no answer that settled a message.
    pub(crate) fn settled_by(&self, queue: usize, id: u64) -> Option<(u64, &Transaction)> {
        let number = self.settled_by.get(&(queue, id))?;
        Some((*number, self.transactions.get(number)?))
    }

    pub(crate) fn line(&self, queue: usize) -> &Line {
        &self.lines[queue]
    }

    /// Queues that something happened to in this step.
    pub(crate) fn stirred(&self) -> &[usize] {
        &self.stirred
    }

    /// The message whose body this is.
    pub(crate) fn identify(&self, seen: &[u8]) -> Option<u64> {
        let id = u64::from_le_bytes(seen.get(..8)?.try_into().ok()?);
        let bytes = match (self.messages.get(&id), self.past(id)) {
            (Some(record), _) => record.published.bytes,
            (None, Past::Done { bytes } | Past::Void { bytes } | Past::Stray { bytes }) => bytes as usize,
            (None, Past::None) => return None,
        };
        is_body(id, bytes, seen).then_some(id)
    }

    /// Whether a queue's dead letters come to another, by way of others too.
    pub(crate) fn leads_to(&self, from: usize, to: usize) -> bool {
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

    /// Whether what dies in a queue may come to one queue twice.
    pub(crate) fn goes_round(&self, queue: usize) -> bool {
        let round = |at: usize| self.leads_to(at, at);
        round(queue) || (0..self.kinds.len()).any(|at| self.leads_to(queue, at) && round(at))
    }

    /// Where a queue's dead letters go.
    pub(crate) fn grave(&self, queue: usize) -> Option<usize> {
        self.graves[queue]
    }

    /// Whether one message may come out of a queue several times: as dead letters, or round a cycle.
    pub(crate) fn may_come_again(&self, queue: usize) -> bool {
        self.kinds[queue].is_grave() || self.leads_to(queue, queue)
    }

    /// Whether nothing is held against the loss of a message in a queue: a purge may have taken it.
    pub(crate) fn is_expendable(&self, queue: usize, record: &Record) -> bool {
        let purged = self.lines[queue].purged_at;
        match record.place(queue) {
            Some(place) => self.may_have_gone(place),
            // A dead letter comes when it comes.
            None => purged.is_some_and(|purged| record.arrived.is_none_or(|arrived| arrived <= purged)),
        }
    }

    /// A purge takes what nobody holds at the moment that it takes effect; what is delivered afterwards it did not take.
    fn may_have_gone(&self, place: &Place) -> bool {
        let purged = self.lines[place.queue].purged_at;
        place.expendable
            || (purged.is_some_and(|purged| place.free_since <= purged) && !self.is_held(place))
            || (self.kinds[place.queue] == Kind::Transient && place.came_in < self.life)
    }

    /// The earliest wall time at which a message may expire in a queue.
    pub(crate) fn until_ms(&self, record: &Record, queue: usize) -> Option<u64> {
        let of_queue = match self.kinds[queue] {
            Kind::Expiring { ttl_ms } | Kind::Middle { ttl_ms } => Some(ttl_ms),
            _ => None,
        };
        let ttl_ms = of_queue.into_iter().chain(record.published.ttl_ms).min()?;
        Some(record.arrived_ms + record.published.delay_ms + ttl_ms)
    }

    fn is_held(&self, place: &Place) -> bool {
        place.life == self.life && !place.holders.is_empty()
    }

    /// Takes an event in.
    pub(crate) fn take(&mut self, event: &Event<'_>) {
        self.credits.take(event, self.now.step);
        match *event {
            Event::Offered { id, message } => {
                if let Some(record) = self.messages.get_mut(&id) {
                    record.digest = digest(message);
                    record.address = Address::of(message);
                }
            }
            Event::Arrived { id, in_turn } => self.arrived(id, in_turn),
            Event::Confirmed { id, ok } => self.confirmed(id, ok),
            Event::Delivered(delivery) => self.delivered(&delivery),
            Event::Settled { queue, id, rejected } => self.settled(queue, id, rejected),
            Event::SettledDurably { queue, id, rejected } => self.settled_durably(queue, id, rejected),
            Event::Returned {
                queue,
                id,
                holder,
                at_once,
            } => self.returned(queue, id, holder, at_once),
            Event::PurgeAsked { queue } => self.lines[queue].purge_asked(self.blurred),
            Event::PurgeAnswered { queue, messages } => {
                self.lines[queue].purge_answered(self.now.step, messages);
                self.stir(queue);
            }
            Event::PurgeLost { queue } => self.lines[queue].purge_lost(self.now.step),
            Event::CountAsked { queue, token } => self.lines[queue].count_asked(token, self.now.step),
            Event::Counted {
                queue, token, messages, ..
            } => {
                self.lines[queue].expire(self.now.wall_ms);
                self.lines[queue].counted(token, messages);
                self.stir(queue);
            }
            Event::CountLost { queue, token } => self.lines[queue].count_lost(token),
            Event::Pledged { transaction, queue, id } => {
                self.transactions
                    .entry(transaction)
                    .or_default()
                    .settles
                    .push((queue, id));
            }
            Event::CommitAsked { transaction, in_turn } => self.commit_asked(transaction, in_turn),
            Event::Committed { transaction } => self.committed(transaction),
            Event::RolledBack { transaction } => self.rolled_back(transaction),
            Event::Blurred => {
                self.blurred = true;
                self.lines.iter_mut().for_each(Line::blur);
            }
            Event::StepOver => self.step_over(),
            Event::Crashed => self.crashed(),
            _ => {}
        }
    }

    fn stir(&mut self, queue: usize) {
        if !self.stirred.contains(&queue) {
            self.stirred.push(queue);
        }
    }

    /// The node takes a message. `in_turn` if nothing asked before it on its channel waits, so that its place is certain.
    fn arrived(&mut self, id: u64, in_turn: bool) {
        let Some(record) = self.messages.get_mut(&id) else {
            return;
        };
        record.arrived = Some(self.now.step);
        record.arrived_ms = self.now.wall_ms;
        for queue in &record.published.queues {
            // A queue in memory takes a publish at once, and a transaction's when its entry is durable.
            let in_memory = self.kinds[*queue] == Kind::Transient;
            let certain = in_turn && !(in_memory && record.published.transaction.is_some());
            let certain = certain && record.published.delay_ms == 0;
            let number =
                lane(self.kinds[*queue], record.published.priority) << LANE_SHIFT | self.lines[*queue].arrived();
            record.places.push(Place {
                queue: *queue,
                number: certain.then_some(number),
                free_since: self.now.step,
                came_in: self.life,
                ..Place::default()
            });
        }
    }

    fn confirmed(&mut self, id: u64, ok: bool) {
        let Some(record) = self.messages.get_mut(&id) else {
            return;
        };
        if !ok {
            record.answer = Answer::Refused;
            return;
        }
        record.answer = Answer::Confirmed {
            wall_ms: self.now.wall_ms,
        };
        if record.published.queues.is_empty() {
            let bytes = record.published.bytes as u32;
            return self.retire(id, Past::Stray { bytes });
        }
        let record = &self.messages[&id];
        for place in &record.places {
            let Some(number) = place.number else { continue };
            // A transaction's message may have been refused, and nobody is told.
            let refusable = record.quietly && matches!(self.kinds[place.queue], Kind::Refusing { .. });
            let gone = self.may_have_gone(place) || refusable;
            let until_ms = self.until_ms(record, place.queue);
            let line = &mut self.lines[place.queue];
            if !place.settled && !refusable && self.kinds[place.queue] != Kind::Transient {
                line.owe(number, id);
            }
            if place.delivered == 0 && !gone && until_ms.is_none_or(|until_ms| until_ms > self.now.wall_ms) {
                line.ready(number, id, self.now.step, until_ms.unwrap_or(0));
            }
        }
    }

    fn delivered(&mut self, delivery: &Delivery<'_>) {
        let Delivery { queue, id, .. } = *delivery;
        let repeats = self.may_come_again(queue);
        let life = self.life;
        let (step, Some(record)) = (self.now.step, self.messages.get_mut(&id)) else {
            return;
        };
        if let Some(transaction) = record
            .published
            .transaction
            .and_then(|id| self.transactions.get_mut(&id))
        {
            transaction.happened = true;
        }
        let place = record.place_mut(queue);
        // Of several deliveries in one step, the one that settles was the last, whatever the order in which they are seen.
        let again = place.delivered > 0 && place.step == step;
        if place.life != life {
            place.holders.clear();
            place.returns = 0;
        }
        place.settled = delivery.no_ack || (again && place.settled);
        place.durable &= repeats;
        place.delivered += 1;
        (place.life, place.step) = (life, step);
        place.holders.extend((!delivery.no_ack).then_some(delivery.holder));
        (place.rejected, place.expendable) = (false, false);
        place.free_since = step;
        place.dead += u32::from(repeats && !delivery.redelivered);
        if let Some(number) = place.number {
            let line = &mut self.lines[queue];
            line.expire(self.now.wall_ms);
            line.delivered(number, id);
            if place.settled {
                line.forgive(number);
            } else if self.kinds[queue] != Kind::Transient {
                // What came out of the log is in it.
                line.owe(number, id);
            }
            self.stir(queue);
        }
        if let Some(number) = self.settled_by.get(&(queue, id)).copied().filter(|_| !repeats)
            && let Some(transaction) = self
                .transactions
                .get_mut(&number)
                .filter(|one| one.fate == Fate::Unknown)
        {
            transaction.undone = true;
            self.settled_by.remove(&(queue, id));
        }
    }

    fn settled(&mut self, queue: usize, id: u64, rejected: bool) {
        let letters = self.graves[queue].is_some();
        if let Some(place) = self.existing(queue, id) {
            place.holders.clear();
            place.rejected = rejected && letters;
            place.settled = true;
            let number = place.number;
            number.into_iter().for_each(|number| self.lines[queue].forgive(number));
        }
    }

    fn settled_durably(&mut self, queue: usize, id: u64, rejected: bool) {
        self.lines[queue].settled_durably += 1;
        let Some(place) = self.existing(queue, id) else { return };
        let first = !std::mem::replace(&mut place.durable, true);
        // Several dead letters of one message share a place, and each leaves once. What was rejected goes on as a dead
        // letter, if anywhere.
        let leaves = !rejected || self.graves[queue].is_none();
        if leaves && (first || self.may_come_again(queue)) {
            self.finish(id);
        }
    }

    /// A copy left for good. When all have, the message must never be seen again.
    fn finish(&mut self, id: u64) {
        let rounds = |record: &Record| {
            let queues = &record.published.queues;
            queues.iter().any(|queue| self.leads_to(*queue, *queue))
        };
        let Some(record) = self.messages.get(&id) else { return };
        let cyclic = rounds(record);
        let record = self.messages.get_mut(&id).expect("just looked up");
        record.finished += 1;
        if record.finished >= record.published.queues.len() && record.answer != Answer::None && !cyclic {
            let bytes = record.published.bytes as u32;
            self.retire(id, Past::Done { bytes });
        }
    }

    fn retire(&mut self, id: u64, as_what: Past) {
        if self.messages.remove(&id).is_some() {
            self.remember(id, as_what);
        }
    }

    fn remember(&mut self, id: u64, as_what: Past) {
        let at = usize::try_from(id).expect("messages are numbered from 1 on, densely");
        if self.past.len() <= at {
            self.past.resize(at + 1, Past::None);
        }
        self.past[at] = as_what;
    }

    fn returned(&mut self, queue: usize, id: u64, holder: u64, at_once: bool) {
        let step = self.now.step;
        let wall_ms = self.now.wall_ms;
        let Some(place) = self.existing(queue, id) else { return };
        place.holders.retain(|held_by| *held_by != holder);
        place.returns += 1;
        place.returned_ms = wall_ms;
        if !place.holders.is_empty() {
            return;
        }
        place.free_since = step;
        let Some(number) = place.number.filter(|_| at_once && !place.settled) else {
            return;
        };
        let until_ms = self.until_ms(&self.messages[&id], queue);
        let lasts = until_ms.is_none_or(|until_ms| until_ms > self.now.wall_ms);
        if lasts && !self.is_expendable(queue, &self.messages[&id]) {
            self.lines[queue].ready(number, id, step, until_ms.unwrap_or(0));
        }
    }

    fn commit_asked(&mut self, id: u64, in_turn: bool) {
        let transaction = self.transactions.entry(id).or_default();
        transaction.fate = Fate::Asked;
        let (publishes, settles) = (transaction.publishes.clone(), transaction.settles.clone());
        for (queue, message) in settles {
            self.settled_by.insert((queue, message), id);
            self.settled(queue, message, false);
        }
        publishes.into_iter().for_each(|message| self.arrived(message, in_turn));
    }

    /// Its publishes and settlements are told of by events of their own.
    fn committed(&mut self, id: u64) {
        let Some(transaction) = self.transactions.remove(&id) else {
            return;
        };
        for (queue, message) in transaction.settles {
            self.settled_by.remove(&(queue, message));
        }
        for message in transaction.publishes {
            if let Some(record) = self.messages.get_mut(&message) {
                record.published.transaction = None;
                record.quietly = true;
            }
        }
    }

    /// Messages that a transaction publishes, and deliveries that it settles.
    pub(crate) fn parts(&self, id: u64) -> (Vec<u64>, Vec<(usize, u64)>) {
        let transaction = self.transactions.get(&id);
        transaction.map_or_else(Default::default, |one| (one.publishes.clone(), one.settles.clone()))
    }

    fn rolled_back(&mut self, id: u64) {
        if !self.is_open(id) {
            return;
        }
        let transaction = self.transactions.remove(&id).unwrap_or_default();
        for message in transaction.publishes {
            let bytes = self.messages.get(&message).map_or(0, |record| record.published.bytes) as u32;
            self.retire(message, Past::Void { bytes });
        }
    }

    fn step_over(&mut self) {
        let mut gone = Vec::new();
        for queue in std::mem::take(&mut self.stirred) {
            let taken = self.lines[queue].step_over();
            gone.extend(taken.into_iter().map(|id| (queue, id)));
        }
        for (queue, id) in gone {
            if let Some(place) = self.existing(queue, id) {
                (place.settled, place.rejected) = (true, false);
                let number = place.number;
                number.into_iter().for_each(|number| self.lines[queue].forgive(number));
                self.settled_durably(queue, id, false);
            }
        }
    }

    fn crashed(&mut self) {
        self.life += 1;
        let fates: Vec<(u64, Fate)> = self.transactions.iter().map(|(id, one)| (*id, one.fate)).collect();
        for (id, fate) in fates {
            match fate {
                Fate::Open => self.rolled_back(id),
                Fate::Asked => self.transactions.get_mut(&id).expect("listed").fate = Fate::Unknown,
                Fate::Unknown => {}
            }
        }
        for queue in 0..self.lines.len() {
            let owed = self.lines[queue].crashed();
            for (number, id) in owed {
                let Some(record) = self.messages.get(&id) else { continue };
                let until_ms = self.until_ms(record, queue);
                let lasts = until_ms.is_none_or(|until_ms| until_ms > self.now.wall_ms);
                if lasts && !self.is_expendable(queue, record) {
                    self.lines[queue].ready(number, id, 0, until_ms.unwrap_or(0));
                }
            }
        }
    }

    fn existing(&mut self, queue: usize, id: u64) -> Option<&mut Place> {
        let places = &mut self.messages.get_mut(&id)?.places;
        places.iter_mut().find(|place| place.queue == queue)
    }
}

impl Record {
    pub(crate) fn was_delivered(&self) -> bool {
        self.places.iter().any(Place::was_delivered)
    }

    pub(crate) fn place(&self, queue: usize) -> Option<&Place> {
        self.places.iter().find(|place| place.queue == queue)
    }

    fn place_mut(&mut self, queue: usize) -> &mut Place {
        let at = self.places.iter().position(|place| place.queue == queue);
        let at = at.unwrap_or_else(|| {
            self.places.push(Place {
                queue,
                ..Place::default()
            });
            self.places.len() - 1
        });
        &mut self.places[at]
    }
}

impl Place {
    /// Whether it was delivered at all.
    pub(crate) const fn was_delivered(&self) -> bool {
        self.delivered > 0
    }

    /// Who holds it, in this life of the node.
    pub(crate) fn holders(&self, life: u32) -> &[u64] {
        if self.life == life { &self.holders } else { &[] }
    }

    /// How often it was given back in this life, for sure.
    pub(crate) const fn returns(&self, life: u32) -> u16 {
        if self.life == life { self.returns } else { 0 }
    }
}

/// In a number, the place in its lane is below.
const LANE_SHIFT: u32 = 40;

/// What goes before, in a queue of this kind: 0 goes first.
pub(crate) fn lane(kind: Kind, priority: u8) -> u64 {
    match kind {
        Kind::Priority { max } => u64::from(max.saturating_sub(priority)),
        _ => 0,
    }
}

/// Of everything in a message: exchange, routing key, properties and body.
pub(crate) fn digest(message: &Message) -> u64 {
    digest_bytes(message.bytes())
}

pub(crate) fn digest_bytes(bytes: &[u8]) -> u64 {
    let mixed = |sum: u64, bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        (sum.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95)
    };
    bytes.chunks(8).fold(bytes.len() as u64, mixed)
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
