//! Stories for the checkers' tests: each that must fail beside one that must not. A checker that cannot fail is worth
//! nothing.

use super::{Delivery, Event, Handing, Ledger, Published, body};
use crate::plan::{Kind, MS, Plan};
use waystation_core::api::{ConnId, Name};
use waystation_core::message::{Message, OwnedProperties, Table, Value};

const HOLDER: u64 = 7;
/// A channel that is open, and its connection, with a window of so many bytes.
pub(super) const CHANNEL: u64 = 1;
pub(super) const CONN: ConnId = ConnId(1);
pub(super) const WINDOW: u64 = 1000;
/// Length of each body.
pub(super) const BYTES: usize = 20;

/// What a letter in queue 2 says of its only death.
pub(super) struct Letter {
    pub(super) queue: &'static str,
    pub(super) reason: &'static str,
    pub(super) count: i64,
    pub(super) exchange: &'static str,
    pub(super) first: &'static str,
    pub(super) key: &'static str,
}

/// It expired in queue 1.
pub(super) const LETTER: Letter = Letter {
    queue: "q1",
    reason: "expired",
    count: 1,
    exchange: "",
    first: "q1",
    key: "",
};

pub(super) fn letter(told: &Letter, body: &[u8]) -> Message {
    let text = |name: &str, value: &str| (Name::from(name), Value::from(value));
    let key = Value::Str(bytes::Bytes::from_static(told.key.as_bytes()));
    let death = Table(vec![
        (Name::from("count"), Value::I64(told.count)),
        text("reason", told.reason),
        text("queue", told.queue),
        (Name::from("time"), Value::Timestamp(1)),
        text("exchange", told.exchange),
        (Name::from("routing-keys"), Value::Array(vec![key])),
    ]);
    let headers = Table(vec![
        (Name::from("x-death"), Value::Array(vec![Value::Table(death)])),
        text("x-first-death-exchange", told.exchange),
        text("x-first-death-queue", told.first),
        text("x-first-death-reason", told.reason),
    ]);
    let properties = OwnedProperties {
        headers: Some(headers),
        ..OwnedProperties::default()
    };
    Message::new("dlx", told.key.as_bytes(), &properties.to_vec(), body)
}

fn message(body: &[u8]) -> Message {
    Message::new("", b"", &[0, 0], body)
}

/// Queue 0 plain, 1 with dead letters after 50 ms, 2 where they go, 3 plain.
pub(super) struct Story {
    ledger: Ledger,
    step: u64,
    at: u64,
}

impl Story {
    pub(super) fn begin() -> Self {
        let queues = vec![Kind::Plain, Kind::Expiring { ttl_ms: 50 }, Kind::Dead, Kind::Plain];
        let ledger = Ledger::new(&Plan {
            queues,
            graves: vec![None, Some(2), None, None],
            window_bytes: WINDOW,
            ..Plan::draw(1)
        });
        let (step, at) = (0, 0);
        let mut story = Self { ledger, step, at };
        let (channel, conn) = (CHANNEL, CONN);
        story.tell(Event::ChannelOpened { channel, conn });
        story
    }

    pub(super) fn found(&self) -> Option<&'static str> {
        self.ledger.violation().map(|violation| violation.guarantee)
    }

    pub(super) fn tell(&mut self, event: Event<'_>) {
        self.ledger.tell(&event);
    }

    pub(super) fn wait_ms(&mut self, ms: u64) {
        self.at += ms * MS;
    }

    pub(super) fn begin_step(&mut self) {
        self.step += 1;
        self.ledger.begin(self.step, self.at, 1000 + self.at / MS);
    }

    pub(super) fn published(&mut self, id: u64, message: Published) {
        let bytes = message.bytes;
        self.ledger.published(id, message);
        self.tell(Event::Offered {
            id,
            message: &self::message(&body(id, bytes)),
        });
    }

    /// Published, taken by the node, and confirmed perhaps, in a step of its own.
    pub(super) fn publish(&mut self, id: u64, queues: &[usize], confirm: bool) {
        self.published(
            id,
            Published {
                publisher: 1,
                order: id,
                queues: queues.to_vec(),
                bytes: BYTES,
                ..Published::default()
            },
        );
        self.begin_step();
        self.tell(Event::Arrived { id, in_turn: true });
        if confirm {
            self.tell(Event::Confirmed { id, ok: true });
        }
        self.tell(Event::StepOver);
    }

    pub(super) fn confirm(&mut self, id: u64, ok: bool) {
        self.begin_step();
        self.tell(Event::Confirmed { id, ok });
        self.tell(Event::StepOver);
    }

    /// A delivery in a step of its own.
    pub(super) fn deliver(&mut self, queue: usize, id: u64, redelivered: bool) {
        self.deliver_body(queue, &body(id, BYTES), redelivered);
    }

    pub(super) fn deliver_body(&mut self, queue: usize, body: &[u8], redelivered: bool) {
        if queue == 2 {
            // What expires does so in its time.
            self.wait_ms(50);
        }
        self.begin_step();
        self.hand_over_body(queue, body, redelivered);
        self.tell(Event::StepOver);
    }

    /// A delivery in the step under way.
    pub(super) fn hand_over(&mut self, queue: usize, id: u64, redelivered: bool) {
        self.hand_over_body(queue, &body(id, BYTES), redelivered);
    }

    fn hand_over_body(&mut self, queue: usize, body: &[u8], redelivered: bool) {
        let message = if queue == 2 {
            letter(&LETTER, body)
        } else {
            message(body)
        };
        self.hand_over_message(queue, &message, redelivered);
    }

    pub(super) fn hand_over_message(&mut self, queue: usize, message: &Message, redelivered: bool) {
        let Some(id) = self.ledger.identify_or_tell(message) else {
            return;
        };
        self.tell(Event::Delivered(Delivery {
            queue,
            id,
            message,
            redelivered,
            no_ack: false,
            holder: HOLDER,
        }));
    }

    /// A consumer of the open channel begins.
    pub(super) fn consumer(&mut self, consumer: &str, queue: Option<usize>) {
        let (channel, no_ack) = (CHANNEL, false);
        self.tell(Event::ConsumeAsked {
            channel,
            consumer,
            queue,
            no_ack,
        });
        self.tell(Event::Consuming { channel, consumer });
    }

    /// It is sent a message of some queue.
    pub(super) fn hand(&mut self, consumer: &str, tag: u64, bytes: u64) {
        self.tell(Event::Handed(Handing {
            channel: CHANNEL,
            consumer: Some(consumer),
            known: true,
            tag,
            no_ack: false,
            bytes,
            closing: false,
        }));
    }

    pub(super) fn settle(&mut self, queue: usize, id: u64, rejected: bool) {
        self.tell(Event::Settled { queue, id, rejected });
    }

    pub(super) fn settled_durably(&mut self, queue: usize, id: u64) {
        self.tell(Event::SettledDurably {
            queue,
            id,
            rejected: false,
        });
    }

    /// In a step of its own.
    pub(super) fn give_back(&mut self, queue: usize, id: u64) {
        self.begin_step();
        self.tell(Event::Returned {
            queue,
            id,
            holder: HOLDER,
            at_once: true,
        });
        self.tell(Event::StepOver);
    }

    /// Asked for and answered in a step of its own.
    pub(super) fn purge(&mut self, queue: usize, messages: u64) {
        self.begin_step();
        self.tell(Event::PurgeAsked { queue });
        self.tell(Event::PurgeAnswered { queue, messages });
        self.tell(Event::StepOver);
    }

    pub(super) fn crash(&mut self) {
        self.ledger.crashed();
    }

    pub(super) fn drained(&mut self) {
        self.ledger.drained();
    }

    pub(super) fn unsettled(&self) -> usize {
        self.ledger.unsettled()
    }
}

/// However long the run, memory is bounded by what is unsettled.
#[test]
fn a_long_run_keeps_what_is_unsettled() {
    const HELD: u64 = 100;
    let mut story = Story::begin();
    for id in 1..=20_000 {
        story.publish(id, &[0], true);
        story.deliver(0, id, false);
        if id > HELD {
            story.settle(0, id - HELD, false);
            story.settled_durably(0, id - HELD);
        }
        if id % 1000 == 0 {
            story.purge(3, 0);
        }
        assert!(story.unsettled() <= HELD as usize + 1, "{} at {id}", story.unsettled());
    }
    assert_eq!(story.found(), None);
}
