//! What was promised and what was seen: an omniscient account of every message in every queue, and a checker for each
//! guarantee of `docs/guarantees.md`.
//!
//! The [`border`] turns what crosses the node's edge into [`Event`]s. Each [`Checker`] judges an event against the
//! [`History`] before it; then the history takes it in. An event costs a logarithm of what is unsettled, and memory is
//! bounded by that, beside eight bytes for each message that is done with.
//!
//! | module | holds |
//! |---|---|
//! | `border` | connections and channels: whose tag is whose, what a round trip covers |
//! | [`history`] | messages, their places in queues, transactions |
//! | `line` | what is certainly ready in a queue, in order |
//! | `credit` | what each consumer may still be sent |
//! | `letters` | what dead letters say of their deaths |
//! | `returns` | how often a message was given back, where that is counted |
//! | `g01` ... | one guarantee each |

mod asked;
mod border;
mod credit;
mod g01_confirmed_survives;
mod g02_settled_stays_settled;
mod g03_at_least_once;
mod g04_nothing_invented;
mod g05_order;
mod g09_transactions;
mod g11_one_state;
mod g12_exclusivity;
mod g13_time;
mod g14_bounded;
pub(crate) mod g15_progress;
pub(crate) mod g17_corruption;
pub mod history;
mod letters;
mod line;
mod returns;
#[cfg(test)]
mod testing;

use crate::plan::Plan;
use border::Border;
pub(crate) use border::{FOES, NOWHERE, PROBE, ROUGH};
use history::{History, When};
pub use history::{Published, body};
use std::fmt;
use waystation_core::api::{ChannelReply, ConnId, Reply, Request};
use waystation_core::message::Message;
use waystation_core::plant::{self, Plant};

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
    /// Settled, and delivered again after a crash that undid it, as it may.
    pub duplicated: u64,
    /// Delivered, though the publish was never confirmed, as it may be.
    pub recovered: u64,
    /// Confirmed, and never seen again: none, if all is well.
    pub lost: u64,
    /// Delivered, and never published: none, if all is well.
    pub unexpected: u64,
    pub ends: u64,
}

/// What happened at the node's border. Channels and holders are instances: their numbers are never reused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// The node was handed a publish.
    Offered { id: u64, message: &'a Message },
    /// The node takes a publish: its place in its queues is behind all before, if nothing asked before it on its channel
    /// waits (`in_turn`).
    Arrived { id: u64, in_turn: bool },
    /// A publish was answered.
    Confirmed { id: u64, ok: bool },
    /// A publish was answered that was answered before, or never made.
    ConfirmedNothing { tag: u64 },
    /// A mandatory message came back.
    CameBack { id: Option<u64>, expected: Option<u64> },
    /// A mandatory message that no queue takes was confirmed and had not come back.
    NotReturned { id: u64 },
    /// A body that nobody published.
    Invented { bytes: usize },
    /// A message came out of a queue of the run.
    Delivered(Delivery<'a>),
    /// Any message went to a consumer or a get, from whatever queue.
    Handed(Handing<'a>),
    /// A delivery was acknowledged or rejected.
    Settled { queue: usize, id: u64, rejected: bool },
    /// A round trip says that its settlement is durable.
    SettledDurably { queue: usize, id: u64, rejected: bool },
    /// A holder gave it back, or is gone; `at_once` if the node takes notice in this step.
    Returned {
        queue: usize,
        id: u64,
        holder: u64,
        at_once: bool,
    },
    /// A purge was asked for.
    PurgeAsked { queue: usize },
    /// It was answered.
    PurgeAnswered { queue: usize, messages: u64 },
    /// It may have been done, and will not be answered.
    PurgeLost { queue: usize },
    /// A count of ready messages was asked for.
    CountAsked { queue: usize, token: u64 },
    /// It was answered.
    Counted {
        queue: usize,
        token: u64,
        messages: u64,
        consumers: u64,
    },
    /// It will not be answered.
    CountLost { queue: usize, token: u64 },
    /// A transaction settles a delivery when it commits.
    Pledged { transaction: u64, queue: usize, id: u64 },
    /// A transaction's commit was asked for.
    CommitAsked { transaction: u64, in_turn: bool },
    /// It was answered.
    Committed { transaction: u64 },
    /// A commit was answered that nobody asked for.
    CommittedNothing,
    /// It was rolled back, or its channel ended before its commit.
    RolledBack { transaction: u64 },
    /// A channel was opened.
    ChannelOpened { channel: u64, conn: ConnId },
    /// A prefetch was set.
    Qos { channel: u64, count: u16, global: bool },
    /// A consumer was asked for.
    ConsumeAsked {
        channel: u64,
        consumer: &'a str,
        queue: Option<usize>,
        no_ack: bool,
    },
    /// It has begun.
    Consuming { channel: u64, consumer: &'a str },
    /// Its end was asked for, or its queue is gone.
    CancelAsked { channel: u64, consumer: &'a str },
    /// It has ended.
    Cancelled { channel: u64, consumer: &'a str },
    /// A delivery counts no longer: its credit is back.
    CreditBack { channel: u64, tag: u64 },
    /// All deliveries of the channel are back.
    AllBack { channel: u64 },
    /// A request of the channel is not answered, and those behind it may wait.
    Waiting { channel: u64, waiting: bool },
    /// The channel is being closed, or failed.
    ChannelClosing { channel: u64 },
    /// A channel is no more.
    ChannelGone { channel: u64 },
    /// A connection was sent so many bytes of messages that are no deliveries.
    Sent { channel: u64, bytes: u64 },
    /// A connection read so many bytes of messages.
    Read { conn: ConnId, bytes: u64 },
    /// A connection ends.
    Leaving { conn: ConnId },
    /// It has ended.
    Left { conn: ConnId },
    /// Something that breaks a guarantee by itself.
    Wrong { guarantee: &'static str, what: &'a str },
    /// A queue is there that must be gone.
    Outlived { queue: &'a str },
    /// A queue that must be gone is.
    SeenGone,
    /// Something may be delivered in this step and go back without being seen.
    Blurred,
    /// Whatever was to leave in this step has left.
    StepOver,
    /// The node died.
    Crashed,
    /// All is quiet, and every queue was emptied.
    Drained,
}

/// A message that came out of a queue of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) queue: usize,
    pub(crate) id: u64,
    pub(crate) message: &'a Message,
    pub(crate) redelivered: bool,
    /// Settled by being sent.
    pub(crate) no_ack: bool,
    /// The channel.
    pub(crate) holder: u64,
}

/// A message on its way to somebody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handing<'a> {
    pub(crate) channel: u64,
    /// None for a get.
    pub(crate) consumer: Option<&'a str>,
    /// Whether the consumer is one.
    pub(crate) known: bool,
    pub(crate) tag: u64,
    pub(crate) no_ack: bool,
    /// Of the whole message.
    pub(crate) bytes: u64,
    /// The channel is being closed.
    pub(crate) closing: bool,
}

/// What the checkers say.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    at: u64,
    violation: Option<Violation>,
    pub(crate) counters: Counters,
}

impl Verdicts {
    pub(crate) fn fail(&mut self, guarantee: &'static str, what: String) {
        let at = self.at;
        self.violation.get_or_insert(Violation { guarantee, at, what });
    }
}

/// Watches one guarantee.
pub(crate) trait Checker: fmt::Debug {
    /// Judges an event. The history is as it was before.
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts);
}

/// The account.
#[derive(Debug)]
pub struct Ledger {
    history: History,
    border: Border,
    checkers: Vec<Box<dyn Checker>>,
    verdicts: Verdicts,
    /// Transactions that no publish numbered.
    transactions: u64,
}

/// Their numbers begin here.
const SETTLES_FIRST: u64 = 1 << 40;

impl Ledger {
    /// An empty account of the queues of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            history: History::new(plan),
            border: Border::new((0..plan.queues.len()).map(|queue| plan.name(queue))),
            checkers: vec![
                Box::<g01_confirmed_survives::Checker>::default(),
                Box::<g02_settled_stays_settled::Checker>::default(),
                Box::<g03_at_least_once::Checker>::default(),
                Box::<g04_nothing_invented::Checker>::default(),
                Box::<g05_order::Checker>::default(),
                Box::<g09_transactions::Checker>::default(),
                Box::<g11_one_state::Checker>::default(),
                Box::<g12_exclusivity::Checker>::default(),
                Box::<g13_time::Checker>::default(),
                Box::<g14_bounded::Checker>::default(),
                Box::<g15_progress::Checker>::default(),
            ],
            verdicts: Verdicts::default(),
            transactions: 0,
        }
    }

    /// The first violation, if there was one.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.verdicts.violation.as_ref()
    }

    /// What the run did so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.verdicts.counters
    }

    /// Messages that are not done with.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.history.messages_len()
    }

    /// Records a violation seen elsewhere.
    pub fn fail(&mut self, guarantee: &'static str, what: String) {
        self.verdicts.fail(guarantee, what);
    }

    /// A message is on its way to the node.
    pub fn published(&mut self, id: u64, message: Published) {
        self.verdicts.counters.published += 1;
        self.history.published(id, message);
    }

    /// A step of the node begins: its number, virtual nanoseconds, and wall milliseconds.
    pub(crate) fn begin(&mut self, step: u64, at: u64, wall_ms: u64) {
        self.verdicts.at = at;
        self.history.begin(When { step, at, wall_ms });
        if self.border.is_unsettled() {
            self.tell(&Event::Blurred);
        }
    }

    /// The node is about to handle a request.
    pub(crate) fn request(&mut self, conn: ConnId, request: &Request) {
        let mut border = std::mem::take(&mut self.border);
        border.request(conn, request, self);
        self.border = border;
    }

    /// The node said something.
    pub(crate) fn reply(&mut self, conn: ConnId, reply: &Reply) {
        let delivers = matches!(
            reply,
            Reply::Channel {
                reply: ChannelReply::Deliver { .. },
                ..
            }
        );
        if delivers && plant::is(Plant::ObserverBlind) {
            return;
        }
        let mut border = std::mem::take(&mut self.border);
        border.reply(conn, reply, self);
        self.border = border;
    }

    /// A step is over: what left to several connections in it had no order between them, what comes next has.
    pub(crate) fn step_over(&mut self) {
        let mut border = std::mem::take(&mut self.border);
        border.step_over(self);
        self.border = border;
        self.tell(&Event::StepOver);
    }

    /// The node died: nobody holds anything, and what was settled without a durable answer may come back.
    pub(crate) fn crashed(&mut self) {
        self.tell(&Event::StepOver);
        let mut border = std::mem::take(&mut self.border);
        border.crashed(self);
        self.border = border;
        self.tell(&Event::Crashed);
    }

    /// All is quiet and every queue was emptied.
    pub(crate) fn drained(&mut self) {
        if !plant::is(Plant::EndUnchecked) {
            self.tell(&Event::Drained);
        }
    }

    /// The message that this is.
    fn identify(&self, message: &Message) -> Option<u64> {
        self.history.identify(message.body())
    }

    /// The same, and if it is none, that is told.
    fn identify_or_tell(&mut self, message: &Message) -> Option<u64> {
        let id = self.identify(message);
        if id.is_none() {
            let bytes = message.body().len();
            self.tell(&Event::Invented { bytes });
        }
        id
    }

    /// The transaction that a message belongs to.
    fn transaction_of(&mut self, message: u64) -> u64 {
        let record = self.history.message(message);
        let known = record.and_then(|record| record.published.transaction);
        known.unwrap_or_else(|| self.transaction_next())
    }

    /// A number for a transaction that begins with a settlement.
    const fn transaction_next(&mut self) -> u64 {
        self.transactions += 1;
        SETTLES_FIRST + self.transactions
    }

    fn tell(&mut self, event: &Event<'_>) {
        if let Event::Wrong { guarantee, what } = event {
            self.verdicts.fail(guarantee, (*what).to_owned());
        }
        for checker in &mut self.checkers {
            checker.see(&self.history, event, &mut self.verdicts);
        }
        self.count(event);
        self.history.take(event);
    }

    fn count(&mut self, event: &Event<'_>) {
        let counters = &mut self.verdicts.counters;
        match event {
            Event::Drained => counters.ends += 1,
            Event::Confirmed { ok: true, .. } => counters.confirmed += 1,
            Event::Confirmed { ok: false, .. } => counters.refused += 1,
            Event::Delivered(delivery) => {
                counters.delivered += 1;
                counters.redelivered += u64::from(delivery.redelivered);
                counters.dead += u64::from(self.history.may_come_again(delivery.queue) && !delivery.redelivered);
            }
            Event::Settled { .. } => counters.settled += 1,
            Event::SettledDurably { .. } => counters.settled_durably += 1,
            Event::Returned { .. } => counters.returned += 1,
            Event::PurgeAnswered { .. } | Event::PurgeLost { .. } => counters.purged += 1,
            Event::Committed { .. } => counters.transactions += 1,
            Event::RolledBack { transaction } => {
                counters.torn_transactions += u64::from(self.history.is_open(*transaction));
            }
            Event::CommitAsked { transaction, .. } => {
                counters.settled += self.history.parts(*transaction).1.len() as u64
            }
            Event::CameBack { .. } => counters.unroutable += 1,
            Event::SeenGone => counters.gone_queues += 1,
            Event::Invented { .. } => counters.unexpected += 1,
            _ => {}
        }
    }
}
