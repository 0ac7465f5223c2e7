//! Where a message goes that was rejected, expired or dropped for its queue's length.
//!
//! Its headers tell its story as with RabbitMQ: `x-death`, an array of tables, the newest death first, one for each
//! queue and reason with a count; and `x-first-death-queue`, `-reason`, `-exchange`.

use super::entry::{Command, Enqueue};
use super::page::Sequence;
use super::queue::{Death, Dying};
use super::{Publish, Shard};
use crate::api::Name;
use crate::catalog::{Definition, QueueId};
use crate::knob;
use crate::mark::{self, Mark};
use crate::message::{Message, OwnedProperties, Table, Value};
use crate::plant::{self, Plant};
use bytes::Bytes;
use std::sync::Arc;

impl Shard {
    /// Sends the queue's dead letters on their way.
    pub(super) fn bury(&mut self, id: QueueId) {
        for _ in 0..knob::turn_deaths() {
            let Some(queue) = self.queues.get(&id) else { return };
            let Some(Dying {
                sequence,
                death,
                number,
            }) = queue.dying.front().copied()
            else {
                return;
            };
            let slot = queue
                .index
                .slot(sequence)
                .expect("pages of dying messages stay in memory");
            let Some(message) = slot.message.clone() else {
                return self.read_dead(id, sequence);
            };
            let live = slot.live;
            let definition = queue.definition.clone();
            self.queues.get_mut(&id).expect("looked up").dying.pop_front();
            if live {
                self.move_dead(id, sequence, &definition, &message, death);
            }
            self.buried(number);
        }
        self.touch(id);
    }

    /// Reads a dead letter's message. Where somebody waits for what is ready, every second read is his (G15).
    fn read_dead(&mut self, id: QueueId, sequence: Sequence) {
        mark::hit(Mark::DeadLetterAwaitsBody);
        let waits = self.waits_for(id);
        let queue = self.queues.get_mut(&id).expect("looked up");
        if queue.loading.is_some() {
            return;
        }
        if std::mem::take(&mut queue.read_for_dead) && queue.ready > 0 && waits {
            self.touch(id);
            return;
        }
        queue.read_for_dead = true;
        self.load_messages(id, sequence);
    }

    fn move_dead(&mut self, id: QueueId, sequence: Sequence, from: &Definition, message: &Message, death: Death) {
        self.counters.dead_lettered += 1;
        mark::hit(Mark::DeadLetter);
        let (message, queues) = self.dead_letter(from, message, death);
        if queues.is_empty() {
            self.remove(id, sequence);
            return;
        }
        let (queues, transient) = self.split(&queues);
        let enqueue = Enqueue {
            queues,
            transient,
            ttl_ms: None,
            delay_ms: 0,
            message,
        };
        if self.queues[&id].is_persistent() {
            self.propose(
                Command::Move {
                    queue: id,
                    sequence,
                    enqueue,
                },
                None,
                false,
            );
        } else {
            self.remove(id, sequence);
            self.propose(Command::Enqueue(enqueue), None, false);
        }
    }

    /// The leader's time, as everywhere in the log (G13).
    fn letter_time_ms(&self) -> u64 {
        if plant::is(Plant::LetterTimeLocal) {
            return self.now.mono.0 / 1_000_000;
        }
        self.time_ms
    }

    /// A message that a full queue refused, and that is to be dead-lettered.
    pub(super) fn dead_letter_refused(&mut self, id: QueueId, message: &Message) {
        let definition = self.queues[&id].definition.clone();
        let (message, queues) = self.dead_letter(&definition, message, Death::MaxLength);
        if !queues.is_empty() {
            self.counters.dead_lettered += 1;
            self.publish(
                None,
                Publish {
                    queues,
                    ttl_ms: None,
                    delay_ms: 0,
                    message,
                },
            );
        }
    }

    /// The dead letter, and the queues that take it: none if nobody does, or if it has been there before without having
    /// been rejected on its way round.
    fn dead_letter(&self, from: &Definition, message: &Message, death: Death) -> (Message, Arc<[QueueId]>) {
        let Some(exchange) = from.policy.dead_letter_exchange.clone() else {
            return (message.clone(), Arc::default());
        };
        let key = match &from.policy.dead_letter_key {
            Some(key) if !plant::is(Plant::LetterKeyIgnored) => key.as_bytes().to_vec(),
            _ => message.routing_key().to_vec(),
        };
        let mut properties = OwnedProperties::parse(message.properties()).unwrap_or_default();
        let deaths = record_death(&mut properties, from, message, death, self.letter_time_ms());
        let letter = Message::new(&exchange, &key, &properties.to_vec(), message.body());
        let route = self
            .catalog
            .route(&from.vhost, &exchange, &key, &letter)
            .unwrap_or_default();
        let returns = |id: &QueueId| {
            let cycle = is_cycle(&deaths, &self.queues[id].definition.name) && !plant::is(Plant::CycleUnseen);
            if cycle {
                mark::hit(Mark::DeadLetterCycle);
            }
            cycle
        };
        let queues = route
            .queues
            .into_iter()
            .filter(|id| self.queues.contains_key(id) && !returns(id))
            .collect();
        (letter, queues)
    }
}

/// Writes the death into the headers; all deaths come back, the newest first.
fn record_death(
    properties: &mut OwnedProperties,
    from: &Definition,
    message: &Message,
    death: Death,
    time_ms: u64,
) -> Vec<Value> {
    let headers = properties.headers.get_or_insert_default();
    let mut deaths = match headers.value("x-death") {
        Some(Value::Array(deaths)) => deaths.clone(),
        _ => Vec::new(),
    };
    let same = |value: &Value| {
        text_of(value, "queue") == Some(&*from.name) && text_of(value, "reason") == Some(death.reason())
    };
    let before = deaths.iter().position(same).map(|at| deaths.remove(at));
    let count = before
        .as_ref()
        .and_then(|value| field(value, "count")?.as_i64())
        .unwrap_or(0)
        .min(if plant::is(Plant::DeathsUncounted) { 0 } else { i64::MAX })
        + 1;
    let mut entry = Table(vec![
        (Name::from("count"), Value::I64(count)),
        (Name::from("reason"), Value::from(death.reason())),
        (Name::from("queue"), Value::from(&*from.name)),
        (Name::from("time"), Value::Timestamp(time_ms / 1000)),
        (Name::from("exchange"), Value::from(message.exchange())),
        (
            Name::from("routing-keys"),
            Value::Array(vec![Value::Str(Bytes::copy_from_slice(message.routing_key()))]),
        ),
    ]);
    if let Some(expiration) = properties.expiration.take() {
        // It must not expire again at once.
        properties.expiration = plant::is(Plant::LetterKeepsExpiration).then(|| expiration.clone());
        entry
            .0
            .push((Name::from("original-expiration"), Value::Str(expiration)));
    }
    deaths.insert(0, Value::Table(entry));
    headers.0.retain(|(name, _)| &**name != "x-death");
    headers.0.push((Name::from("x-death"), Value::Array(deaths.clone())));
    let first = [
        ("x-first-death-exchange", message.exchange()),
        ("x-first-death-queue", &from.name),
        ("x-first-death-reason", death.reason()),
    ];
    for (name, value) in first {
        if headers.value(name).is_none() {
            headers.0.push((Name::from(name), Value::from(value)));
        }
    }
    deaths
}

/// Whether the message died in `queue` before and was never rejected since: it would go round for ever.
fn is_cycle(deaths: &[Value], queue: &str) -> bool {
    let Some(last) = deaths.iter().position(|death| text_of(death, "queue") == Some(queue)) else {
        return false;
    };
    deaths[..=last]
        .iter()
        .all(|death| text_of(death, "reason") != Some("rejected") || plant::is(Plant::RejectionIsCycle))
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Table(table) => table.value(name),
        _ => None,
    }
}

fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    field(value, name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(queue: &str, reason: &str) -> Value {
        let fields = [("queue", queue), ("reason", reason)];
        Value::Table(Table(
            fields
                .map(|(name, value)| (Name::from(name), Value::from(value)))
                .to_vec(),
        ))
    }

    #[test]
    fn a_round_without_rejection_is_a_cycle() {
        let deaths = [death("b", "expired"), death("a", "expired")];
        assert!(is_cycle(&deaths, "a"));
        assert!(is_cycle(&deaths, "b"));
        assert!(!is_cycle(&deaths, "c"));
        assert!(!is_cycle(&[death("b", "rejected"), death("a", "expired")], "a"));
        assert!(is_cycle(&[death("b", "expired"), death("a", "rejected")], "b"));
    }
}
