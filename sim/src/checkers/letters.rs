//! What a dead letter says of its deaths, against what is known of them.
//!
//! Where nothing goes round, the deaths are exactly the way from the queue that the message was published to: one for each
//! queue on it, each counted once, with the address that the message had there.

use super::history::{History, Record};
use super::{Delivery, Event};
use crate::plan::Kind;
use std::collections::BTreeMap;
use waystation_core::message::{Message, OwnedProperties, Value};

/// Where a message was published to, and a digest of the properties that a death leaves alone.
#[derive(Debug, Default)]
pub(crate) struct Address {
    pub(crate) exchange: String,
    pub(crate) key: Vec<u8>,
    properties: u64,
}

/// How often each message was rejected in each queue.
#[derive(Debug, Default)]
pub(super) struct Rejections(BTreeMap<(u64, usize), u64>, usize);

/// One entry of `x-death`.
struct Death {
    queue: usize,
    reason: String,
    count: i64,
    exchange: String,
    key: Vec<u8>,
    seconds: u64,
    expiration: Option<Vec<u8>>,
}

impl Address {
    pub(crate) fn of(message: &Message) -> Self {
        Self {
            exchange: message.exchange().to_owned(),
            key: message.routing_key().to_vec(),
            properties: kept_properties(message),
        }
    }
}

fn is_of_a_death(name: &str) -> bool {
    name == "x-death" || name.starts_with("x-first-death-")
}

/// A digest of everything that neither a death changes nor a count of returns.
fn kept_properties(message: &Message) -> u64 {
    let mut properties = OwnedProperties::parse(message.properties()).unwrap_or_default();
    properties.expiration = None;
    if let Some(headers) = &mut properties.headers {
        headers
            .0
            .retain(|(name, _)| !is_of_a_death(name) && &**name != super::returns::COUNT);
        if headers.0.is_empty() {
            properties.headers = None;
        }
    }
    super::history::digest_bytes(&properties.to_vec())
}

impl Rejections {
    pub(super) fn see(&mut self, history: &History, event: &Event<'_>) {
        // Those of messages that are done with are forgotten now and then.
        if self.0.len() > 2 * self.1 + 64 {
            self.0.retain(|(id, _), _| history.message(*id).is_some());
            self.1 = self.0.len();
        }
        if let Event::Settled {
            queue,
            id,
            rejected: true,
        } = event
        {
            *self.0.entry((*id, *queue)).or_default() += 1;
        }
    }

    /// What is wrong with a delivery that came by way of the dead-letter exchanges.
    pub(super) fn judge(&self, history: &History, delivery: &Delivery<'_>) -> Option<String> {
        let record = history.message(delivery.id)?;
        let is_grave = history.kinds[delivery.queue].is_grave();
        let message = delivery.message;
        let headers = message.headers();
        let deaths = match headers.value("x-death") {
            Some(Value::Array(deaths)) => deaths
                .iter()
                .map(|death| parse(history, death))
                .collect::<Option<Vec<_>>>(),
            Some(_) => None,
            None if is_grave => return Some("came out of a queue of dead letters and has no x-death".into()),
            None => return None,
        };
        let Some(deaths) = deaths.filter(|deaths| !deaths.is_empty()) else {
            return Some("has an x-death that is none".into());
        };
        let wrong = address(history, delivery, &deaths).or_else(|| self.each(history, record, delivery.id, &deaths));
        if wrong.is_some() {
            return wrong;
        }
        let properties = OwnedProperties::parse(message.properties()).unwrap_or_default();
        if properties.expiration.is_some() {
            return Some("died and has an expiration".into());
        }
        if kept_properties(message) != record.address.properties {
            return Some("died and has other properties than it was published with".into());
        }
        let round = record.published.queues.iter().any(|queue| history.goes_round(*queue));
        if round {
            return None;
        }
        way(history, record, &deaths).or_else(|| first(&headers, deaths.last()?, history))
    }

    /// Each death by itself: it has a cause.
    fn each(&self, history: &History, record: &Record, id: u64, deaths: &[Death]) -> Option<String> {
        for death in deaths {
            let (kind, name) = (history.kinds[death.queue], &history.names[death.queue]);
            let of_queue = matches!(kind, Kind::Expiring { .. } | Kind::Middle { .. });
            let own_ttl = record.published.ttl_ms.is_some();
            let rejected = self.0.get(&(id, death.queue)).copied().unwrap_or(0);
            let limited = matches!(kind, Kind::Bounded { .. } | Kind::Refusing { letters: true, .. });
            let caused = match &*death.reason {
                "expired" => of_queue || own_ttl,
                "maxlen" => limited,
                "rejected" => rejected >= death.count as u64,
                "delivery_limit" => super::returns::is_spent(kind, record.place(death.queue)),
                _ => false,
            };
            if !caused || death.count < 1 {
                let (reason, count) = (&death.reason, death.count);
                return Some(format!("died {count} times in {name} of '{reason}', which cannot be"));
            }
            if death.seconds > history.now.wall_ms / 1000 || death.seconds < record.arrived_ms / 1000 {
                return Some(format!(
                    "died in {name} at {} s, before it came or after it left",
                    death.seconds
                ));
            }
        }
        None
    }
}

/// By how much a message died of its age before its time, in the queue that it was published to.
pub(super) fn early_ms(history: &History, delivery: &Delivery<'_>) -> Option<u64> {
    let record = history.message(delivery.id)?;
    let headers = delivery.message.headers();
    let Some(Value::Array(deaths)) = headers.value("x-death") else {
        return None;
    };
    let first = parse(history, deaths.last()?).filter(|death| death.reason == "expired")?;
    let due = history
        .until_ms(record, first.queue)
        .filter(|_| record.place(first.queue).is_some())?;
    due.checked_sub(history.now.wall_ms).filter(|early| *early > 0)
}

/// The letter has the address that its last queue's declaration says.
fn address(history: &History, delivery: &Delivery<'_>, deaths: &[Death]) -> Option<String> {
    let last = &deaths[0];
    let (queue, message) = (delivery.queue, delivery.message);
    if history.grave(last.queue) != Some(queue) {
        let name = &history.names[last.queue];
        return Some(format!("died in {name}, whose dead letters do not come here"));
    }
    let expected = match history.kinds[queue] {
        Kind::Dead => ("dlx", &last.key[..]),
        _ => ("", history.names[queue].as_bytes()),
    };
    let found = (message.exchange(), message.routing_key());
    (found != expected).then(|| format!("died and has the address {found:?}, not {expected:?}"))
}

/// The deaths are the way that the message went, each with the address that it had there.
fn way(history: &History, record: &Record, deaths: &[Death]) -> Option<String> {
    let mut at: Option<&Death> = None;
    for death in deaths.iter().rev() {
        let name = &history.names[death.queue];
        let (here, exchange, key) = match at {
            None => {
                let there = record.published.queues.contains(&death.queue);
                (there, &*record.address.exchange, &record.address.key[..])
            }
            Some(before) => {
                let there = history.grave(before.queue) == Some(death.queue);
                let dead = history.kinds[death.queue] == Kind::Dead;
                let (exchange, key) = if dead {
                    ("dlx", &before.key[..])
                } else {
                    ("", name.as_bytes())
                };
                (there, exchange, key)
            }
        };
        if !here || death.count != 1 {
            return Some(format!("died in {name} {} times, which is not on its way", death.count));
        }
        if (&*death.exchange, &death.key[..]) != (exchange, key) {
            return Some(format!("died in {name} with another address than it had there"));
        }
        let ttl = record
            .published
            .ttl_ms
            .filter(|_| at.is_none())
            .map(|ttl| ttl.to_string().into_bytes());
        if death.expiration != ttl {
            return Some(format!(
                "died in {name} with original-expiration {:?}, not {ttl:?}",
                death.expiration
            ));
        }
        at = Some(death);
    }
    None
}

/// `x-first-death-*` tell of the first death.
fn first(headers: &waystation_core::message::Table, death: &Death, history: &History) -> Option<String> {
    let expected = [
        ("x-first-death-queue", &*history.names[death.queue]),
        ("x-first-death-reason", &death.reason),
        ("x-first-death-exchange", &death.exchange),
    ];
    let wrong = |(name, value): &(&str, &str)| headers.value(name).and_then(Value::as_str) != Some(value);
    let (name, value) = expected.into_iter().find(wrong)?;
    Some(format!("has {name} {:?}, not {value}", headers.value(name)))
}

fn parse(history: &History, value: &Value) -> Option<Death> {
    let Value::Table(table) = value else { return None };
    let text = |name: &str| table.value(name).and_then(Value::as_str).map(str::to_owned);
    let queue = text("queue")?;
    let key = match table.value("routing-keys")? {
        Value::Array(keys) => match &keys[..] {
            [Value::Str(key)] => key.to_vec(),
            _ => return None,
        },
        _ => return None,
    };
    let expiration = match table.value("original-expiration") {
        Some(Value::Str(text)) => Some(text.to_vec()),
        Some(_) => return None,
        None => None,
    };
    let seconds = match table.value("time")? {
        Value::Timestamp(seconds) => *seconds,
        _ => return None,
    };
    Some(Death {
        queue: history.names.iter().position(|name| *name == queue)?,
        reason: text("reason")?,
        count: table.value("count")?.as_i64()?,
        exchange: text("exchange")?,
        key,
        seconds,
        expiration,
    })
}

#[cfg(test)]
mod tests {
    use crate::checkers::testing::{BYTES, LETTER, Letter, Story, letter};
    use crate::checkers::{Event, body};
    use waystation_core::message::Message;

    fn found(message: &Message, wait_ms: u64) -> Option<&'static str> {
        let mut story = Story::begin();
        story.publish(1, &[1], true);
        story.wait_ms(wait_ms);
        story.begin_step();
        story.hand_over_message(2, message, false);
        story.tell(Event::StepOver);
        story.found()
    }

    #[test]
    fn a_letter_tells_the_truth_of_its_death() {
        assert_eq!(found(&letter(&LETTER, &body(1, BYTES)), 50), None);
        let wrong = [
            Letter { queue: "q0", ..LETTER },
            Letter { queue: "dlq", ..LETTER },
            Letter {
                reason: "maxlen",
                ..LETTER
            },
            Letter {
                reason: "rejected",
                ..LETTER
            },
            Letter { count: 2, ..LETTER },
            Letter {
                exchange: "fan",
                ..LETTER
            },
            Letter { first: "q0", ..LETTER },
            Letter { key: "q1", ..LETTER },
        ];
        for told in wrong {
            let message = letter(&told, &body(1, BYTES));
            assert_eq!(found(&message, 50), Some("G4"), "{:?}", message.headers());
        }
        let silent = Message::new("dlx", b"", &[0, 0], &body(1, BYTES));
        assert_eq!(found(&silent, 50), Some("G4"));
    }

    #[test]
    fn nothing_dies_before_its_time() {
        assert_eq!(found(&letter(&LETTER, &body(1, BYTES)), 49), Some("G13"));
    }
}
