//! What a run did, event by event, for people. Kept only if somebody asks: most runs are never told.
//!
//! | module | holds |
//! |---|---|
//! | `words` | requests, replies and commands in a few words, with the messages that they are about |
//! | [`view`] | which of it is worth showing |
//! | [`text`] | a line for each |
//! | [`picture`], [`html`] | lanes, time downwards, arrows between them, as SVG and as a page |

pub mod html;
pub mod picture;
pub mod text;
pub mod view;
mod words;

use crate::kept::Fault;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use waystation_core::api::{ConnId, Reply, Request};
use waystation_core::disk::{Command, Event as DiskEvent};
use words::Words;

/// Takes down what a run does, or nothing. Its owner keeps a clone: what was told before a panic is not lost.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Arc<Mutex<Timeline>>>);

impl Recorder {
    /// One that takes everything down.
    #[must_use]
    pub fn on() -> Self {
        Self(Some(Arc::default()))
    }

    /// Where to tell it, if somebody listens.
    pub(crate) fn open(&self) -> Option<MutexGuard<'_, Timeline>> {
        let timeline = self.0.as_ref()?;
        Some(timeline.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was told.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.open().map(|timeline| timeline.clone()).unwrap_or_default()
    }
}

/// A run, told.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Clients, then the node, then its disk: an event's lane is a place in this list.
    pub lanes: Vec<String>,
    /// In the order in which they began.
    pub events: Vec<Event>,
    /// Turns in which clients did something: client, turn, and how many of its requests can be left out.
    pub turns: Vec<(usize, u64, usize)>,
    /// Faults that struck.
    pub faults: Vec<(Fault, u64)>,
    /// Things told, ends of events included.
    moments: u64,
    /// Begun and not ended, by the number under which the world scheduled their end.
    underway: BTreeMap<u64, usize>,
    lane_of: BTreeMap<ConnId, usize>,
    words: Words,
}

/// Something that happened in a lane.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its place among all moments.
    pub moment: u64,
    /// Virtual nanoseconds at which it began.
    pub at: u64,
    /// Its lane.
    pub lane: usize,
    /// Of which kind it is.
    pub what: What,
    /// What it consists of, in words.
    pub parts: Vec<Part>,
}

/// One thing of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// In words.
    pub text: String,
    /// The messages that it is about.
    pub messages: Vec<u64>,
}

/// A moment, and when it was.
pub type Moment = (u64, u64);

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Bytes go to another lane, and arrive or not.
    Travel {
        /// The lane.
        to: usize,
        /// Moment and virtual nanoseconds.
        arrived: Option<Moment>,
    },
    /// The disk works, and ends or not.
    Work {
        /// Moment and virtual nanoseconds.
        ended: Option<Moment>,
    },
    /// Something that takes no time.
    Mark(Mark),
}

/// A mark in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The process died.
    Crash,
    /// It is started again.
    Start,
    /// Recovery is over.
    Ready,
    /// The node gave up.
    Halt,
    /// Bytes of files are not what was written.
    Damage,
    /// A command of the disk failed.
    DiskError,
    /// A write takes seconds.
    Stall,
    /// A connection broke.
    Lost,
    /// Faults stop, and everybody leaves.
    Heal,
    /// A guarantee was broken, or the core panicked.
    Failure,
}

impl Timeline {
    /// The place of a lane. New ones come last.
    pub(crate) fn lane(&mut self, name: &str) -> usize {
        let known = self.lanes.iter().position(|lane| lane == name);
        known.unwrap_or_else(|| {
            self.lanes.push(name.to_owned());
            self.lanes.len() - 1
        })
    }

    /// A connection belongs to a lane.
    pub(crate) fn connect(&mut self, conn: ConnId, lane: usize) {
        self.lane_of.insert(conn, lane);
    }

    fn lane_of(&mut self, conn: ConnId) -> usize {
        match self.lane_of.get(&conn) {
            Some(lane) => *lane,
            None => self.lane(&format!("connection {}", conn.0)),
        }
    }

    /// A client sends; the end is scheduled under `number`.
    pub(crate) fn sent(&mut self, number: u64, at: u64, (conn, node): (ConnId, usize), requests: &[Request]) {
        let lane = self.lane_of(conn);
        let words = &mut self.words;
        let parts = requests.iter().map(|request| words.request(conn, request)).collect();
        let what = What::Travel {
            to: node,
            arrived: None,
        };
        self.begin(Some(number), at, lane, what, parts);
    }

    /// A node answers; the end is scheduled under `number`.
    pub(crate) fn answered(&mut self, number: u64, at: u64, (conn, node): (ConnId, usize), replies: &[Reply]) {
        let to = self.lane_of(conn);
        let words = &mut self.words;
        let parts = replies.iter().map(|reply| words.reply(conn, reply)).collect();
        self.begin(Some(number), at, node, What::Travel { to, arrived: None }, parts);
    }

    /// A disk is asked; the end, if it takes time, is scheduled under `number`.
    pub(crate) fn asked_disk(&mut self, number: Option<u64>, at: u64, lane: usize, command: &Command) {
        let parts = vec![self.words.command(command)];
        self.begin(number, at, lane, What::Work { ended: None }, parts);
    }

    /// What was scheduled under this number happens.
    pub(crate) fn ended(&mut self, number: u64, now: u64) {
        let Some(event) = self.underway.remove(&number) else {
            return;
        };
        self.moments += 1;
        match &mut self.events[event].what {
            What::Travel { arrived: end, .. } | What::Work { ended: end } => *end = Some((self.moments, now)),
            What::Mark(_) => {}
        }
    }

    /// A disk answers with bytes: which messages are in them.
    pub(crate) fn loaded(&mut self, number: u64, answer: &DiskEvent) {
        if let (Some(event), DiskEvent::Loaded { bytes, .. }) = (self.underway.get(&number), answer) {
            let messages = self.words.messages_in(bytes);
            let part = &mut self.events[*event].parts[0];
            part.text.push_str(&words::holding(&messages));
            part.messages = messages;
        }
    }

    /// A connection broke.
    pub(crate) fn lost(&mut self, conn: ConnId, now: u64) {
        let lane = self.lane_of(conn);
        self.mark(now, lane, Mark::Lost, format!("connection {} broke", conn.0));
    }

    /// Something that takes no time.
    pub(crate) fn mark(&mut self, at: u64, lane: usize, mark: Mark, text: String) {
        let messages = view::messages_named(&text);
        self.begin(None, at, lane, What::Mark(mark), vec![Part { text, messages }]);
    }

    /// A client did something in a turn; so many of its requests can be left out.
    pub(crate) fn turn(&mut self, client: usize, turn: u64, optional: usize) {
        self.turns.push((client, turn, optional));
    }

    /// A fault struck.
    pub(crate) fn struck(&mut self, fault: Fault, number: u64) {
        self.faults.push((fault, number));
    }

    /// Whether an event that never ended was cut off: something broke after it began. Others were under way at the end.
    #[must_use]
    pub fn is_cut_off(&self, event: &Event) -> bool {
        let breaks = |mark| matches!(mark, Mark::Crash | Mark::Halt | Mark::Lost);
        let later = self.events.iter().filter(|other| other.moment > event.moment);
        event.what.end().is_none()
            && later
                .into_iter()
                .any(|other| matches!(other.what, What::Mark(mark) if breaks(mark)))
    }

    /// The newest virtual time told.
    #[must_use]
    pub fn end(&self) -> u64 {
        let ends = self
            .events
            .iter()
            .map(|event| event.what.end().map_or(event.at, |end| end.1));
        ends.max().unwrap_or(0)
    }

    /// The run failed: the last of all events, in the lane of the first node.
    pub fn fail(&mut self, at: u64, what: String) {
        let lane = self.lane("node");
        self.mark(at, lane, Mark::Failure, what);
    }

    fn begin(&mut self, number: Option<u64>, at: u64, lane: usize, what: What, parts: Vec<Part>) {
        self.moments += 1;
        if let Some(number) = number {
            self.underway.insert(number, self.events.len());
        }
        self.events.push(Event {
            moment: self.moments,
            at,
            lane,
            what,
            parts,
        });
    }
}

impl What {
    /// When it ended, if it takes time and did.
    #[must_use]
    pub const fn end(&self) -> Option<Moment> {
        match self {
            Self::Travel { arrived: end, .. } | Self::Work { ended: end } => *end,
            Self::Mark(_) => None,
        }
    }
}
