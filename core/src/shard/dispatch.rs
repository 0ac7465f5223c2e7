//! Ready messages go to whoever waits for them.

use super::delays::Due;
use super::entry::{Command, parse_message};
use super::index::page_of;
use super::page::{MESSAGE_HEAD_BYTES, Sequence, Slot};
use super::queue::{Death, Dying, Head, Holder, Queue};
use super::{ConsumerId, Delivery, Output, Shard};
use crate::catalog::{Change, QueueId};
use crate::disk::{FileId, ReadId};
use crate::knob;
use crate::log::record::{Position, checksum};
use crate::mark::{self, Mark};
use crate::message::{Message, OwnedProperties, Value};
use crate::node::HaltCause;
use crate::plant::{self, Plant};
use bytes::Bytes;

/// What is read ahead takes no more than this part of the cache: it must not drive out what was read with it.
const READ_AHEAD_SHARE: u64 = 4;

/// The header that tells how often a message was given back.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// What a read is for.
#[derive(Debug)]
pub(super) enum Load {
    /// A page of a queue's index.
    Page { queue: QueueId, page: u64, at: Position },
    /// Messages of a queue: sequences, and where each begins in what is read.
    Messages {
        queue: QueueId,
        at: Position,
        wanted: Vec<(Sequence, u32)>,
    },
}

/// Why a queue's turn ended.
enum Turn {
    /// Nothing to do until something happens.
    Idle,
    /// More could be delivered.
    More,
}

impl Shard {
    /// Gives each active queue its turn.
    pub(super) fn dispatch(&mut self) {
        let mut waiting = std::mem::take(&mut self.active);
        while let Some(id) = waiting.pop_first() {
            if let Turn::More = self.serve(id) {
                self.active.insert(id);
            } else if let Some(queue) = self.queues.get_mut(&id) {
                queue.see();
            }
            self.schedule_expiry(id);
            if self.outputs.len() > knob::round_outputs() {
                break;
            }
        }
        self.active.append(&mut waiting);
    }

    fn serve(&mut self, id: QueueId) -> Turn {
        if self.queues.get(&id).is_some_and(|queue| queue.ending) {
            self.bury(id);
            return Turn::Idle;
        }
        self.promote(id);
        self.shorten(id);
        self.bury(id);
        let mut bytes = 0;
        for _ in 0..knob::turn_messages() {
            let Some(queue) = self.queues.get_mut(&id) else {
                return Turn::Idle;
            };
            if queue.gets.is_empty() && queue.consumers.is_empty() {
                return self.expire_head(id);
            }
            let sequence = match queue.head() {
                Head::Ready(sequence) => sequence,
                Head::Page(page) => {
                    self.load_page(id, page);
                    return Turn::Idle;
                }
                Head::Empty => return self.answer_gets_empty(id),
            };
            if self.expired(id, sequence) || self.spent(id, sequence) {
                continue;
            }
            let queue = &self.queues[&id];
            let turn = if queue.gets.is_empty() {
                self.next_turn(id).map(Some)
            } else {
                Some(None)
            };
            let Some(turn) = turn else { return Turn::Idle };
            let slot = self.queues[&id].index.slot(sequence).expect("the head is in memory");
            if slot.message.is_none() {
                // A consumer whose turn it is keeps it while the message is read from the disk.
                self.load_messages(id, sequence);
                return Turn::Idle;
            }
            bytes += slot.bytes as usize;
            let taker = turn.map(|turn| self.take_turn(id, turn));
            self.deliver(id, sequence, taker);
            if bytes > knob::turn_bytes() {
                return Turn::More;
            }
        }
        Turn::More
    }

    /// Which of the queue's consumers is the next, in turn, that may have a message.
    fn next_turn(&self, id: QueueId) -> Option<usize> {
        let consumers = &self.queues[&id].consumers;
        consumers.iter().position(|consumer| self.has_credit(*consumer))
    }

    /// The consumer has its turn: from now on it is the last.
    fn take_turn(&mut self, id: QueueId, turn: usize) -> ConsumerId {
        let queue = self.queues.get_mut(&id).expect("it is being served");
        queue.consumers.rotate_left(turn + 1);
        let taker = *queue.consumers.back().expect("it was found");
        if plant::is(Plant::OneConsumerServed) {
            queue.consumers.rotate_right(turn + 1);
        }
        taker
    }

    /// Whether somebody could take a message now.
    pub(super) fn waits_for(&self, id: QueueId) -> bool {
        let queue = &self.queues[&id];
        !queue.gets.is_empty() || queue.consumers.iter().any(|consumer| self.has_credit(*consumer))
    }

    fn has_credit(&self, id: ConsumerId) -> bool {
        let consumer = &self.consumers[&id];
        let group = &self.groups[&consumer.spec.group];
        let held = if plant::is(Plant::PrefetchPerChannel) {
            group.unsettled
        } else {
            consumer.unsettled
        };
        let max = consumer.spec.max;
        let free = consumer.spec.no_ack && !plant::is(Plant::AutomaticWaitsForCredit);
        held < max.saturating_add(u32::from(plant::is(Plant::PrefetchOffByOne)))
            && (free || group.max.is_none_or(|max| group.unsettled < max) || plant::is(Plant::SharedLimitIgnored))
            && (!self.paused.contains(&consumer.spec.conn) || plant::is(Plant::PausedStillServed))
    }

    fn deliver(&mut self, id: QueueId, sequence: Sequence, taker: Option<ConsumerId>) {
        let queue = self.queues.get_mut(&id).expect("it is being served");
        queue.take(sequence);
        let slot = queue.index.slot(sequence).expect("the head is in memory");
        let mut message = slot.message.clone().expect("loaded");
        if slot.returns > 0 {
            message = with_count(&message, slot.returns);
        }
        let redelivered = queue.is_redelivered(sequence);
        let delivery = Delivery {
            queue: id,
            sequence,
            redelivered,
            message,
        };
        self.counters.delivered += 1;
        self.counters.redelivered += u64::from(redelivered);
        let (holder, output) = match taker {
            None => {
                let get = queue.gets.pop_front().expect("somebody asked");
                let (token, ready) = (get.token, queue.ready + u64::from(plant::is(Plant::GetCountsItself)));
                let got = Some(delivery);
                (Holder::Get, Output::Got { token, got, ready })
            }
            Some(consumer) => {
                // What is settled by being sent counts for no limit.
                let no_ack = self.consumers[&consumer].spec.no_ack;
                let holder = if no_ack {
                    Holder::Get
                } else {
                    Holder::Consumer(consumer)
                };
                (holder, Output::Deliver { consumer, delivery })
            }
        };
        queue.unsettled.insert(sequence, holder);
        self.output(output);
        if let Holder::Consumer(consumer) = holder {
            let consumer = self.consumers.get_mut(&consumer).expect("chosen");
            consumer.unsettled += 1;
            self.groups
                .get_mut(&consumer.spec.group)
                .expect("a consumer's group exists")
                .unsettled += 1;
        }
    }

    fn answer_gets_empty(&mut self, id: QueueId) -> Turn {
        let queue = self.queues.get_mut(&id).expect("it is being served");
        for get in std::mem::take(&mut queue.gets) {
            self.output(Output::Got {
                token: get.token,
                got: None,
                ready: 0,
            });
        }
        Turn::Idle
    }

    /// Removes the head if its time is over. Whether it was.
    fn expired(&mut self, id: QueueId, sequence: Sequence) -> bool {
        let slot = self.queues[&id].index.slot(sequence).expect("the head is in memory");
        let late = 1000 * u64::from(plant::is(Plant::ExpiryLate));
        let over = slot.expires_ms != 0 && slot.expires_ms + late <= self.time_ms;
        let at_once = slot.expires_ms == Slot::AT_ONCE && !plant::is(Plant::AtOnceNeverDelivered);
        if !over || (at_once && !self.queues[&id].is_seen(sequence) && self.waits_for(id)) {
            return false;
        }
        let queue = self.queues.get_mut(&id).expect("it is being served");
        queue.take(sequence);
        self.counters.expired += 1;
        self.die(id, sequence, Death::Expired);
        true
    }

    /// Removes the head if it was given back too often: the node stopped between that and its end. Whether it was.
    fn spent(&mut self, id: QueueId, sequence: Sequence) -> bool {
        let queue = self.queues.get_mut(&id).expect("it is being served");
        if !queue.is_spent(sequence) {
            return false;
        }
        queue.take(sequence);
        self.die(id, sequence, Death::DeliveryLimit);
        true
    }

    /// Messages whose time has come are to be ready.
    fn promote(&mut self, id: QueueId) {
        let time_ms = self.time_ms;
        let Some(queue) = self.queues.get_mut(&id) else { return };
        match queue.due(time_ms, knob::turn_messages()) {
            None => {}
            Some(Due::Page(page)) => self.load_page(id, page),
            Some(Due::Messages(sequences)) => {
                let persistent = queue.is_persistent();
                mark::hit(Mark::DelayOver);
                if persistent {
                    self.propose(Command::Promote { queue: id, sequences }, None, false);
                } else {
                    self.apply_promote(id, &sequences);
                }
            }
        }
    }

    /// Without consumers, heads still expire.
    fn expire_head(&mut self, id: QueueId) -> Turn {
        for _ in 0..knob::turn_messages() {
            let Some(queue) = self.queues.get_mut(&id) else {
                return Turn::Idle;
            };
            let due = queue.head_expiry();
            if due == 0 || due > self.time_ms {
                return Turn::Idle;
            }
            match queue.head() {
                Head::Ready(sequence) => drop(self.expired(id, sequence)),
                Head::Page(page) => {
                    self.load_page(id, page);
                    return Turn::Idle;
                }
                Head::Empty => return Turn::Idle,
            }
        }
        Turn::More
    }

    /// Drops heads while the queue is longer than its limit.
    fn shorten(&mut self, id: QueueId) {
        while let Some(queue) = self.queues.get_mut(&id)
            && queue.is_over_limit()
        {
            match queue.head() {
                Head::Ready(sequence) => {
                    queue.take(sequence);
                    self.counters.dropped += 1;
                    self.die(id, sequence, Death::MaxLength);
                }
                Head::Page(page) => {
                    self.load_page(id, page);
                    return;
                }
                Head::Empty => return,
            }
        }
    }

    /// A message that nobody holds leaves: to the dead-letter exchange, if the queue has one.
    pub(super) fn die(&mut self, id: QueueId, sequence: Sequence, death: Death) {
        let queue = self.queues.get_mut(&id).expect("it holds the message");
        let lost = plant::is(Plant::ExpiredInQueueLost) && death == Death::Expired && queue.is_redelivered(sequence);
        if queue.definition.policy.dead_letter_exchange.is_none() || lost {
            self.remove(id, sequence);
            return;
        }
        let number = (death == Death::Rejected).then(|| self.batch.reject());
        queue.dying.push_back(Dying {
            sequence,
            death,
            number,
        });
        if plant::is(Plant::DeathsReversed) {
            queue.dying.rotate_right(1);
        }
        self.touch(id);
    }

    fn schedule_expiry(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let due = if queue.loading.is_some() || queue.ending {
            None
        } else {
            let expiry = Some(queue.head_expiry()).filter(|expiry| *expiry != 0);
            expiry.into_iter().chain(queue.delays.next()).min()
        };
        if queue.timer == due || (plant::is(Plant::TimerNotMoved) && queue.timer.is_some()) {
            return;
        }
        if let Some(before) = std::mem::replace(&mut queue.timer, due) {
            self.expiries.remove(&(before, id));
        }
        if let Some(at_ms) = due {
            self.expiries.insert((at_ms, id));
        }
    }

    pub(super) fn fire_timers(&mut self) {
        while let Some((at_ms, id)) = self.expiries.first().copied()
            && at_ms <= self.time_ms
        {
            self.expiries.remove(&(at_ms, id));
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.timer = None;
            }
            self.touch(id);
        }
        while let Some((at, id)) = self.idles.first().copied()
            && at <= self.now.mono
        {
            self.idles.remove(&(at, id));
            let idle = self.queues.get(&id).is_some_and(|queue| queue.consumers.is_empty());
            if idle {
                mark::hit(Mark::QueueIdleExpired);
                self.propose(Command::Change(Change::DeleteQueue { id }), None, false);
            }
        }
    }

    /// The queue was declared again, got from, or gained or lost a consumer: its lease begins anew.
    pub(super) fn use_queue(&mut self, id: QueueId) {
        let now = self.now.mono;
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(ttl_ms) = queue.definition.policy.expires_ms else {
            return;
        };
        self.idles.remove(&(queue.used_at.after_ms(ttl_ms), id));
        queue.used_at = now;
        if queue.consumers.is_empty() {
            self.idles.insert((now.after_ms(ttl_ms), id));
        }
    }

    /// Asks for a page of a queue's index, once.
    pub(super) fn load_page(&mut self, id: QueueId, page: u64) {
        let queue = self.queues.get_mut(&id).expect("it has the page");
        if queue.loading.is_some() {
            return;
        }
        let stored = queue.index.pages()[&page]
            .stored
            .expect("a page is in memory or stored");
        let read = self.log.read(
            FileId::Segment(stored.at.segment),
            u64::from(stored.at.offset),
            stored.bytes,
        );
        queue.loading = Some(read);
        self.loads.insert(
            read,
            Load::Page {
                queue: id,
                page,
                at: stored.at,
            },
        );
    }

    /// Asks for a message, and for those behind it that lie near.
    pub(super) fn load_messages(&mut self, id: QueueId, first: Sequence) {
        let queue = self.queues.get_mut(&id).expect("it has the message");
        if queue.loading.is_some() {
            return;
        }
        let at = queue.index.slot(first).expect("the page is in memory").at;
        let budget = self.config.cache_bytes / READ_AHEAD_SHARE;
        let (wanted, bytes) = near(queue, first, at, budget);
        let read = self.log.read(FileId::Segment(at.segment), u64::from(at.offset), bytes);
        queue.loading = Some(read);
        self.loads.insert(read, Load::Messages { queue: id, at, wanted });
    }

    /// A read is done.
    pub(crate) fn loaded(&mut self, read: ReadId, bytes: &Bytes) {
        let Some(load) = self.loads.remove(&read) else { return };
        let fault = match load {
            Load::Page { queue, page, at } => self.page_loaded(queue, page, at, bytes),
            Load::Messages { queue, at, wanted } => self.messages_loaded(queue, at, &wanted, bytes),
        };
        match fault {
            Ok(()) => self.apply_durable(),
            Err(Damage { at, what }) => {
                let file = FileId::Segment(at.segment);
                self.halt(HaltCause::Damaged {
                    file,
                    offset: u64::from(at.offset),
                    what,
                });
            }
        }
    }

    fn page_loaded(&mut self, id: QueueId, number: u64, at: Position, bytes: &Bytes) -> Result<(), Damage> {
        let Some(queue) = self.queues.get_mut(&id) else {
            return Ok(());
        };
        queue.loading = None;
        self.active.insert(id);
        let Some(page) = queue.index.page_mut(number).filter(|page| page.slots.is_none()) else {
            return Ok(());
        };
        let whole = page.stored.is_some_and(|stored| stored.checksum == checksum(bytes));
        mark::hit(Mark::PageLoaded);
        let loaded = if whole { page.load(bytes) } else { None };
        loaded.ok_or(Damage {
            at,
            what: "a page of a queue's index was expected",
        })
    }

    fn messages_loaded(
        &mut self,
        id: QueueId,
        at: Position,
        wanted: &[(Sequence, u32)],
        bytes: &Bytes,
    ) -> Result<(), Damage> {
        let Some(queue) = self.queues.get_mut(&id) else {
            return Ok(());
        };
        queue.loading = None;
        self.active.insert(id);
        for (sequence, offset) in wanted {
            let Some(slot) = queue.index.slot(*sequence) else {
                continue;
            };
            let place = Position {
                offset: at.offset + offset,
                ..at
            };
            if !slot.live || slot.message.is_some() || slot.at != place {
                continue;
            }
            let length = slot.bytes;
            let message = bytes
                .get(*offset as usize..)
                .and_then(|bytes| parse_message(bytes, length));
            let message = message.ok_or(Damage {
                at: place,
                what: "a message was expected",
            })?;
            mark::hit(Mark::MessageLoaded);
            queue.index.cache(*sequence, message);
            self.cache.keep(id, *sequence, length);
        }
        Ok(())
    }

    /// Forgets the oldest cached messages beyond the budget.
    pub(super) fn trim_cache(&mut self) {
        while let Some((id, sequence)) = self.cache.excess(self.config.cache_bytes) {
            let Some(queue) = self.queues.get_mut(&id) else {
                continue;
            };
            let logged = queue.index.slot(sequence).is_some_and(Slot::is_logged);
            if logged && let Some(bytes) = queue.index.uncache(sequence) {
                mark::hit(Mark::CacheEvicted);
                self.cache.forget(bytes);
            }
        }
        if self.cache.is_stale() {
            let queues = &self.queues;
            self.cache.compact(|id, sequence| {
                let slot = queues.get(&id).and_then(|queue| queue.index.slot(sequence));
                slot.is_some_and(|slot| slot.message.is_some())
            });
        }
    }
}

/// The message, telling in its headers how often it was given back, as RabbitMQ's quorum queues do.
fn with_count(message: &Message, returns: u16) -> Message {
    let mut properties = OwnedProperties::parse(message.properties()).unwrap_or_default();
    let headers = properties.headers.get_or_insert_default();
    headers.0.retain(|(name, _)| &**name != DELIVERY_COUNT);
    headers.0.push((DELIVERY_COUNT.into(), Value::I64(i64::from(returns))));
    Message::new(
        message.exchange(),
        message.routing_key(),
        &properties.to_vec(),
        message.body(),
    )
}

/// Durable bytes that are not what was written.
pub(super) struct Damage {
    pub(super) at: Position,
    pub(super) what: &'static str,
}

/// The messages from `first` on, in order, that one read can bring and the budget can keep: their sequences and offsets in
/// it, and its length.
fn near(queue: &Queue, first: Sequence, at: Position, budget: u64) -> (Vec<(Sequence, u32)>, u32) {
    let mut wanted = Vec::new();
    let (mut end, mut kept) = (0, 0);
    let page = page_of(first);
    for sequence in first.. {
        let Some(slot) = queue.index.slot(sequence).filter(|_| page_of(sequence) == page) else {
            break;
        };
        if !slot.live || slot.message.is_some() {
            continue;
        }
        let ahead = slot
            .at
            .offset
            .checked_sub(at.offset)
            .filter(|_| slot.at.segment == at.segment);
        let Some(offset) = ahead.filter(|offset| *offset < knob::read_ahead_bytes() || sequence == first) else {
            break;
        };
        let length = slot.bytes + MESSAGE_HEAD_BYTES;
        kept += super::cache::cost(slot.bytes);
        if (offset + length > knob::read_ahead_bytes() || kept > budget) && sequence != first {
            break;
        }
        end = end.max(offset + length);
        wanted.push((sequence, offset));
    }
    (wanted, end)
}
