//! Dead letters of the model: what their headers say, and when they go in a circle.

use super::model::Policy;
use bytes::Bytes;
use waystation_core::api::Name;
use waystation_core::message::{Message, OwnedProperties, Table, Value};

/// A message that died in `queue`, as its dead-letter exchange gets it.
pub(super) fn letter(queue: &str, policy: &Policy, message: &Message, reason: &str, time_ms: u64) -> Message {
    let mut properties = OwnedProperties::parse(message.properties()).expect("clients send valid properties");
    let mut headers = properties.headers.take().unwrap_or_default();
    let mut deaths = deaths(&headers);
    let same =
        |death: &Value| of(death, "queue").as_deref() == Some(queue) && of(death, "reason").as_deref() == Some(reason);
    let count = deaths.iter().find(|death| same(death)).and_then(count).unwrap_or(0) + 1;
    deaths.retain(|death| !same(death));
    let mut fields: Vec<(Name, Value)> = vec![
        ("count".into(), Value::I64(count)),
        ("reason".into(), Value::from(reason)),
        ("queue".into(), Value::from(queue)),
        ("time".into(), Value::Timestamp(time_ms / 1000)),
        ("exchange".into(), Value::from(message.exchange())),
        (
            "routing-keys".into(),
            Value::Array(vec![Value::Str(Bytes::copy_from_slice(message.routing_key()))]),
        ),
    ];
    if let Some(expiration) = properties.expiration.take() {
        fields.push(("original-expiration".into(), Value::Str(expiration)));
    }
    deaths.insert(0, Value::Table(Table(fields)));
    headers.0.retain(|(name, _)| &**name != "x-death");
    headers.0.push(("x-death".into(), Value::Array(deaths)));
    for (name, value) in [("exchange", message.exchange()), ("queue", queue), ("reason", reason)] {
        let name = format!("x-first-death-{name}");
        if headers.value(&name).is_none() {
            headers.0.push((name.as_str().into(), Value::from(value)));
        }
    }
    properties.headers = Some(headers);
    let exchange = policy
        .dead_letter_exchange
        .as_deref()
        .expect("only queues with one have letters");
    let key = policy
        .dead_letter_key
        .as_deref()
        .map_or(message.routing_key(), str::as_bytes);
    Message::new(exchange, key, &properties.to_vec(), message.body())
}

/// Whether a letter was in `queue` before and nobody has rejected it since.
pub(super) fn is_round(letter: &Message, queue: &str) -> bool {
    let mut rejected = false;
    for death in deaths(&letter.headers()) {
        rejected |= of(&death, "reason").as_deref() == Some("rejected");
        if of(&death, "queue").as_deref() == Some(queue) {
            return !rejected;
        }
    }
    false
}

fn deaths(headers: &Table) -> Vec<Value> {
    match headers.value("x-death") {
        Some(Value::Array(deaths)) => deaths.clone(),
        _ => Vec::new(),
    }
}

fn of(death: &Value, field: &str) -> Option<String> {
    let Value::Table(table) = death else { return None };
    table.value(field)?.as_str().map(str::to_owned)
}

fn count(death: &Value) -> Option<i64> {
    let Value::Table(table) = death else { return None };
    table.value("count")?.as_i64()
}
