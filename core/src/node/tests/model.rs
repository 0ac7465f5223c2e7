//! A reference model of the broker as one client sees it, and random histories that both must tell alike.
//!
//! The model is a list of messages for each queue and a list of bindings, in a few lines each, without a log, a cache or a
//! page. Each operation is carried out by the node until it comes to rest; what it says must be what the model says, word
//! for word. A crash loses what is not durable. What fails shrinks to the fewest operations.

mod histories;

use super::*;
use crate::message::Value;

const QUEUES: usize = 5;
const EXCHANGES: [(&str, &str); 4] = [("e0", "fanout"), ("e1", "direct"), ("e2", "topic"), ("e3", "headers")];
const KEYS: [&str; 6] = ["q0", "q1", "a.b", "a", "b.a.b", "*.b"];
const PATTERNS: [&str; 7] = ["a.b", "a.*", "#", "#.b", "*.*", "a.#.b", "q1"];

#[derive(Clone, Debug)]
enum Op {
    Declare {
        queue: usize,
        shape: usize,
        durable: bool,
    },
    Delete {
        queue: usize,
        if_empty: bool,
    },
    Purge {
        queue: usize,
    },
    Count {
        queue: usize,
    },
    Exchange {
        exchange: usize,
    },
    DeleteExchange {
        exchange: usize,
        if_unused: bool,
    },
    Bind {
        exchange: usize,
        to: To,
        pattern: usize,
        bind: bool,
    },
    Publish {
        exchange: usize,
        key: usize,
        ttl_ms: Option<u64>,
        header: i64,
        on_b: bool,
    },
    Get {
        queue: usize,
        no_ack: bool,
        on_b: bool,
    },
    Settle {
        nth: usize,
        multiple: bool,
        outcome: Outcome,
        on_b: bool,
    },
    Recover {
        on_b: bool,
    },
    Close {
        on_b: bool,
    },
    Pass {
        ms: u64,
    },
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Queue(usize),
    Exchange(usize),
}

/// How a queue is declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shape {
    ttl_ms: Option<u64>,
    length: Option<u64>,
    overflow: Option<&'static str>,
    dead_exchange: Option<&'static str>,
    dead_key: Option<&'static str>,
}

const NOTHING: Shape = Shape {
    ttl_ms: None,
    length: None,
    overflow: None,
    dead_exchange: None,
    dead_key: None,
};
const SHAPES: [Shape; 6] = [
    NOTHING,
    Shape {
        ttl_ms: Some(40),
        dead_exchange: Some("e0"),
        ..NOTHING
    },
    Shape {
        length: Some(3),
        dead_exchange: Some(""),
        dead_key: Some("q0"),
        ..NOTHING
    },
    Shape {
        length: Some(2),
        overflow: Some("reject-publish"),
        ..NOTHING
    },
    Shape {
        length: Some(2),
        overflow: Some("reject-publish-dlx"),
        dead_exchange: Some(""),
        dead_key: Some("q1"),
        ..NOTHING
    },
    Shape {
        dead_exchange: Some("e2"),
        dead_key: Some("a.b"),
        ..NOTHING
    },
];

impl Shape {
    fn arguments(self) -> Vec<(&'static str, Value)> {
        let mut arguments = Vec::new();
        let number = |value: Option<u64>| value.map(|value| Value::I64(value as i64));
        arguments.extend(number(self.ttl_ms).map(|value| ("x-message-ttl", value)));
        arguments.extend(number(self.length).map(|value| ("x-max-length", value)));
        arguments.extend(self.overflow.map(|value| ("x-overflow", Value::from(value))));
        arguments.extend(
            self.dead_exchange
                .map(|value| ("x-dead-letter-exchange", Value::from(value))),
        );
        arguments.extend(
            self.dead_key
                .map(|value| ("x-dead-letter-routing-key", Value::from(value))),
        );
        arguments
    }
}

/// A message, in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    /// Its place in the queue.
    place: u64,
    body: String,
    exchange: String,
    key: String,
    header: i64,
    ttl_ms: Option<u64>,
    expires: Option<u64>,
    again: bool,
    /// Queue, reason and count, the newest death first.
    deaths: Vec<(String, &'static str, i64)>,
}

#[derive(Clone, Debug)]
struct ModelQueue {
    id: u64,
    durable: bool,
    shape: Shape,
    next: u64,
    ready: Vec<Copy>,
}

#[derive(Clone, Debug, Default)]
struct ModelChannel {
    tags: u64,
    publishes: u64,
    held: Vec<(u64, usize, u64, Copy)>,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    ids: u64,
    bodies: u64,
    queues: BTreeMap<usize, ModelQueue>,
    exchanges: Vec<usize>,
    bindings: Vec<(usize, To, String)>,
    channels: [ModelChannel; 2],
}

fn name_of(queue: usize) -> String {
    format!("q{queue}")
}

fn queue_of(name: &str) -> Option<usize> {
    name.strip_prefix('q')?.parse().ok()
}

/// Words against a pattern, by the book.
fn fits(pattern: &[&str], words: &[&str]) -> bool {
    match (pattern.split_first(), words.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), None) => fits(rest, words),
        (Some((&"#", rest)), Some((_, others))) => fits(rest, words) || fits(pattern, others),
        (Some((one, rest)), Some((word, others))) => (*one == "*" || one == word) && fits(rest, others),
        _ => false,
    }
}

/// What a headers binding asks for, made of its pattern.
fn wanted(pattern: &str) -> (bool, i64) {
    (pattern.len().is_multiple_of(2), pattern.len() as i64 % 3)
}

impl ModelQueue {
    /// Whether it refuses one more.
    fn is_full(&self) -> bool {
        let length = self.shape.length.filter(|_| self.shape.overflow.is_some());
        length.is_some_and(|length| self.ready.len() as u64 + 1 > length)
    }
}

impl Model {
    fn takes(&self, exchange: usize, pattern: &str, key: &str, header: i64) -> bool {
        match EXCHANGES[exchange].1 {
            "fanout" => true,
            "direct" => pattern == key,
            "topic" => fits(
                &pattern.split('.').collect::<Vec<_>>(),
                &key.split('.').collect::<Vec<_>>(),
            ),
            _ => {
                let (any, value) = wanted(pattern);
                // Any finds the other header, which is there always.
                any || header == value
            }
        }
    }

    /// Queues that a message goes to, by number; none if the exchange is not there.
    fn route(&self, exchange: &str, key: &str, header: i64) -> Option<Vec<usize>> {
        if exchange.is_empty() {
            let queue = queue_of(key).filter(|queue| self.queues.contains_key(queue));
            return Some(queue.into_iter().collect());
        }
        let first = EXCHANGES.iter().position(|(name, _)| *name == exchange)?;
        if !self.exchanges.contains(&first) {
            return None;
        }
        let (mut queues, mut seen, mut left) = (Vec::new(), vec![first], vec![first]);
        while let Some(at) = left.pop() {
            for (_, to, pattern) in self.bindings.iter().filter(|(from, ..)| *from == at) {
                if !self.takes(at, pattern, key, header) {
                    continue;
                }
                match *to {
                    To::Queue(queue) if !queues.contains(&queue) => queues.push(queue),
                    To::Exchange(next) if !seen.contains(&next) => {
                        seen.push(next);
                        left.push(next);
                    }
                    _ => {}
                }
            }
        }
        queues.sort_by_key(|queue| self.queues[queue].id);
        Some(queues)
    }

    fn push(&mut self, queue: usize, copy: &Copy) {
        let now = self.now;
        let queue = self.queues.get_mut(&queue).expect("routed to");
        let ttl = queue.shape.ttl_ms.into_iter().chain(copy.ttl_ms).min();
        queue.ready.push(Copy {
            place: queue.next,
            expires: ttl.map(|ttl| now + ttl),
            again: false,
            ..copy.clone()
        });
        queue.next += 1;
    }

    /// A message dies: its letter goes where the queue says.
    fn bury(&mut self, queue: usize, copy: Copy, reason: &'static str) {
        if let Some((letter, targets)) = self.letter(queue, copy, reason) {
            targets.into_iter().for_each(|target| self.push(target, &letter));
        }
    }

    /// A full queue refuses a message and dead-letters it: the letter is published, and may be refused in its turn.
    fn refuse(&mut self, queue: usize, copy: Copy) {
        if self.queues[&queue].shape.overflow != Some("reject-publish-dlx") {
            return;
        }
        let Some((letter, targets)) = self.letter(queue, copy, "maxlen") else {
            return;
        };
        let (refusing, taking): (Vec<usize>, Vec<usize>) =
            targets.iter().partition(|queue| self.queues[queue].is_full());
        refusing
            .into_iter()
            .for_each(|queue| self.refuse(queue, letter.clone()));
        taking.into_iter().for_each(|queue| self.push(queue, &letter));
    }

    /// The letter of a death, and the queues that take it.
    fn letter(&self, queue: usize, copy: Copy, reason: &'static str) -> Option<(Copy, Vec<usize>)> {
        let shape = self.queues[&queue].shape;
        let exchange = shape.dead_exchange?;
        let name = name_of(queue);
        let mut deaths = copy.deaths;
        let same = deaths.iter().position(|(of, why, _)| *of == name && *why == reason);
        let count = same.map_or(0, |at| deaths.remove(at).2) + 1;
        deaths.insert(0, (name, reason, count));
        let key = shape.dead_key.map_or(copy.key, str::to_owned);
        let letter = Copy {
            exchange: exchange.to_owned(),
            key,
            ttl_ms: None,
            deaths,
            ..copy
        };
        let mut targets = self.route(exchange, &letter.key, letter.header).unwrap_or_default();
        // What died there before, and was not rejected since, would go round for ever.
        targets.retain(|target| {
            let last = letter.deaths.iter().position(|(of, ..)| *of == name_of(*target));
            !last.is_some_and(|last| letter.deaths[..=last].iter().all(|(_, why, _)| *why != "rejected"))
        });
        Some((letter, targets))
    }

    /// Queues drop what is too much or too old, until nothing changes.
    fn rest(&mut self) {
        loop {
            let mut by_id: Vec<usize> = self.queues.keys().copied().collect();
            by_id.sort_by_key(|queue| self.queues[queue].id);
            let mut dying = Vec::new();
            for name in by_id {
                let now = self.now;
                let queue = self.queues.get_mut(&name).expect("listed");
                let drops = queue.shape.overflow.is_none();
                while drops
                    && queue
                        .shape
                        .length
                        .is_some_and(|length| queue.ready.len() as u64 > length)
                {
                    dying.push((name, queue.ready.remove(0), "maxlen"));
                }
                while queue
                    .ready
                    .first()
                    .is_some_and(|head| head.expires.is_some_and(|at| at <= now))
                {
                    dying.push((name, queue.ready.remove(0), "expired"));
                }
            }
            if dying.is_empty() {
                return;
            }
            for (queue, copy, reason) in dying {
                self.bury(queue, copy, reason);
            }
        }
    }

    fn put_back(&mut self, queue: usize, id: u64, copy: Copy) {
        // Its queue may be gone, and another one have its name.
        if let Some(queue) = self.queues.get_mut(&queue).filter(|queue| queue.id == id) {
            let at = queue.ready.partition_point(|one| one.place < copy.place);
            queue.ready.insert(at, Copy { again: true, ..copy });
        }
    }

    fn release(&mut self, channel: usize) {
        let held = std::mem::take(&mut self.channels[channel]).held;
        for (_, queue, id, copy) in held {
            self.put_back(queue, id, copy);
        }
        self.rest();
    }

    fn publish(&mut self, exchange: &str, key: &str, ttl_ms: Option<u64>, header: i64, channel: usize) -> Vec<String> {
        self.bodies += 1;
        let body = format!("m{}", self.bodies);
        let Some(queues) = self.route(exchange, key, header) else {
            return vec!["failed".into()];
        };
        self.channels[channel].publishes += 1;
        let number = self.channels[channel].publishes;
        if queues.is_empty() {
            return vec![format!("return '{body}'"), format!("ack {number}")];
        }
        let copy = Copy {
            place: 0,
            body,
            exchange: exchange.to_owned(),
            key: key.to_owned(),
            header,
            ttl_ms,
            expires: None,
            again: false,
            deaths: Vec::new(),
        };
        let (refusing, taking): (Vec<usize>, Vec<usize>) =
            queues.iter().partition(|queue| self.queues[queue].is_full());
        for queue in &refusing {
            self.refuse(*queue, copy.clone());
        }
        for queue in taking {
            self.push(queue, &copy);
        }
        self.rest();
        let word = if refusing.is_empty() { "ack" } else { "nack" };
        vec![format!("{word} {number}")]
    }

    fn get(&mut self, name: usize, no_ack: bool, channel: usize) -> Vec<String> {
        let Some(queue) = self.queues.get_mut(&name) else {
            return vec!["failed".into()];
        };
        if queue.ready.is_empty() {
            return vec!["empty".into()];
        }
        let copy = queue.ready.remove(0);
        let (left, id) = (queue.ready.len(), queue.id);
        let holder = &mut self.channels[channel];
        holder.tags += 1;
        let mark = if copy.again { " again" } else { "" };
        let said = format!("got {} '{}'{mark} left {left}", holder.tags, copy.body);
        if !no_ack {
            holder.held.push((holder.tags, name, id, copy));
        }
        self.rest();
        vec![said]
    }

    fn settle(&mut self, tag: u64, multiple: bool, outcome: Outcome, channel: usize) -> Vec<String> {
        let held = &mut self.channels[channel].held;
        let known = held.iter().any(|(one, ..)| *one == tag);
        let all = multiple && tag == 0;
        if !known && !all {
            return vec!["failed".into()];
        }
        let is_meant = |one: u64| one == tag || (multiple && (tag == 0 || one < tag));
        let (mut settled, left): (Vec<_>, Vec<_>) = held.drain(..).partition(|(one, ..)| is_meant(*one));
        *held = left;
        // Queue by queue, as they were made.
        settled.sort_by_key(|(tag, _, id, _)| (*id, *tag));
        for (_, queue, id, copy) in settled {
            let there = self.queues.get(&queue).is_some_and(|queue| queue.id == id);
            match outcome {
                Outcome::Requeue => self.put_back(queue, id, copy),
                Outcome::Reject if there => self.bury(queue, copy, "rejected"),
                Outcome::Ack | Outcome::Reject => {}
            }
        }
        self.rest();
        Vec::new()
    }

    fn unbind_all(&mut self, gone: To) {
        self.bindings
            .retain(|(from, to, _)| *to != gone && To::Exchange(*from) != gone);
    }

    fn crash(&mut self) {
        // What was in memory is gone, whoever held it: it comes back nowhere, and dies of nothing.
        let gone: Vec<usize> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.durable)
            .map(|(name, _)| *name)
            .collect();
        for name in gone {
            self.queues.remove(&name);
            self.unbind_all(To::Queue(name));
        }
        let all = self.queues.values_mut().flat_map(|queue| &mut queue.ready);
        all.for_each(|copy| copy.again = true);
        // What expired while it was held dies after the restart: its dead letter is new.
        for channel in 0..2 {
            let held = std::mem::take(&mut self.channels[channel]).held;
            held.into_iter()
                .for_each(|(_, queue, id, copy)| self.put_back(queue, id, copy));
        }
        self.rest();
    }
}
