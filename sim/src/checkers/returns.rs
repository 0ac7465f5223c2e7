//! How often a message was given back, where its queue counts that: its deliveries say so, it comes no more when it was too
//! often, and it does not die of it before.

use super::Delivery;
use super::history::{History, Place};
use crate::plan::Kind;
use waystation_core::message::{Message, OwnedProperties, Value};

pub(super) const COUNT: &str = "x-delivery-count";

/// The message as it was before its queue wrote the count into its headers.
pub(super) fn without_count(message: &Message) -> Message {
    let mut properties = OwnedProperties::parse(message.properties()).unwrap_or_default();
    if let Some(headers) = &mut properties.headers {
        headers.0.retain(|(name, _)| &**name != COUNT);
    }
    properties.headers = properties.headers.filter(|headers| !headers.0.is_empty());
    Message::new(
        message.exchange(),
        message.routing_key(),
        &properties.to_vec(),
        message.body(),
    )
}

/// What is wrong with a delivery, if anything.
pub(super) fn wrong(history: &History, delivery: &Delivery<'_>) -> Option<String> {
    let record = history.message(delivery.id)?;
    let place = record.place(delivery.queue)?;
    let kind = history.kinds[delivery.queue];
    if !kind.counts_returns() || history.may_come_again(delivery.queue) {
        return None;
    }
    let certain = place.returns(history.life);
    if let Kind::Limited { returns } = kind
        && certain > returns
    {
        return Some(format!(
            "was given back {certain} times and came again: {returns} are allowed"
        ));
    }
    let headers = delivery.message.headers();
    let said = headers.value(COUNT).and_then(Value::as_i64).unwrap_or(0);
    let possible = i64::from(certain)..=i64::from(place.delivered);
    (!possible.contains(&said)).then(|| {
        let most = place.delivered;
        format!("says that it was given back {said} times: it was at least {certain}, at most {most}")
    })
}

/// Whether a message may have been given back too often: each time it was delivered before.
pub(super) fn is_spent(kind: Kind, place: Option<&Place>) -> bool {
    let delivered = place.map_or(0, |place| place.delivered);
    matches!(kind, Kind::Limited { returns } if delivered > u32::from(returns))
}
