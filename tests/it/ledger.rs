//! What was published, confirmed, delivered and settled, and what follows from it.
//!
//! A message is known by its key alone: its identity travels as the message id, and its body is a function of both, so
//! that whatever comes back can be checked byte for byte.

use crate::amqp::Received;
use std::collections::BTreeMap;

/// Which message: the `number`th of `publisher` to `queue`, from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) queue: u16,
    pub(crate) publisher: u16,
    pub(crate) number: u32,
}

impl Key {
    /// The message id of this message with a body of so many bytes.
    pub(crate) fn message_id(self, size: usize) -> String {
        format!("{}.{}.{}.{size}", self.queue, self.publisher, self.number)
    }

    fn parse(message_id: &str) -> Option<(Self, usize)> {
        let mut parts = message_id.split('.');
        let queue = parts.next()?.parse().ok()?;
        let publisher = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let size = parts.next()?.parse().ok()?;
        let key = Self {
            queue,
            publisher,
            number,
        };
        parts.next().is_none().then_some((key, size))
    }

    /// The body: pseudo-random bytes that no other message has.
    pub(crate) fn body(self, size: usize) -> Vec<u8> {
        let mut state = u64::from(self.queue) << 48 | u64::from(self.publisher) << 32 | u64::from(self.number);
        let mut body = Vec::with_capacity(size + 8);
        while body.len() < size {
            // SplitMix64.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            body.extend((word ^ (word >> 31)).to_le_bytes());
        }
        body.truncate(size);
        body
    }
}

/// How far the settlement of a message has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Settlement {
    #[default]
    None,
    /// An acknowledgement was sent; whether it took effect is not known.
    Sent,
    /// A later synchronous call on the same channel was answered: it took effect, durably.
    Certain,
}

#[derive(Clone, Debug, Default)]
struct State {
    size: usize,
    /// The round in which the confirm came.
    confirmed: Option<u32>,
    delivered: u32,
    settlement: Settlement,
}

/// Totals, to prove that a run did something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) sent: usize,
    pub(crate) confirmed: usize,
    pub(crate) delivered: usize,
    pub(crate) settled: usize,
}

/// The numbers last delivered, by queue and publisher, since the consumer started: they only grow (G5), for these
/// consumers never return a message.
#[derive(Debug, Default)]
pub(crate) struct Order(BTreeMap<(u16, u16), u32>);

/// The whole truth, as far as the clients know it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    messages: BTreeMap<Key, State>,
    next: BTreeMap<(u16, u16), u32>,
    /// What must not have happened.
    pub(crate) violations: Vec<String>,
}

impl Ledger {
    /// Registers the next message of a publisher to a queue, before it is sent.
    pub(crate) fn sending(&mut self, queue: u16, publisher: u16, size: usize) -> Key {
        let next = self.next.entry((queue, publisher)).or_default();
        let key = Key {
            queue,
            publisher,
            number: *next,
        };
        *next += 1;
        self.messages.insert(
            key,
            State {
                size,
                ..State::default()
            },
        );
        key
    }

    /// A confirm came.
    pub(crate) fn confirmed(&mut self, key: Key, round: u32) {
        self.state(key).confirmed = Some(round);
    }

    /// A message came from `queue`. Its key, if it is one of ours and unharmed.
    pub(crate) fn received(&mut self, queue: u16, message: &Received, order: &mut Order) -> Option<Key> {
        let Some((key, size)) = Key::parse(&message.message_id) else {
            return self.violation(format!(
                "G4: queue {queue} delivered an unknown id '{}'",
                message.message_id
            ));
        };
        match self.messages.get(&key) {
            Some(state) if state.size == size && key.queue == queue => {}
            _ => {
                return self.violation(format!(
                    "G4: queue {queue} delivered {key:?} of {size} bytes: never sent there"
                ));
            }
        }
        if key.body(size) != message.body {
            return self.violation(format!("G4: {key:?} of {size} bytes came with another body"));
        }
        if let Some(last) = order.0.insert((queue, key.publisher), key.number)
            && last >= key.number
        {
            self.violations.push(format!("G5: {key:?} came after number {last}"));
        }
        let state = self.state(key);
        state.delivered += 1;
        if state.settlement == Settlement::Certain {
            self.violations
                .push(format!("G2: {key:?} came again though its settlement was certain"));
        }
        Some(key)
    }

    /// An acknowledgement is about to be sent.
    pub(crate) fn settling(&mut self, key: Key) {
        let state = self.state(key);
        state.settlement = state.settlement.max(Settlement::Sent);
    }

    /// A synchronous call after the acknowledgement was answered.
    pub(crate) fn settled(&mut self, key: Key) {
        self.state(key).settlement = Settlement::Certain;
    }

    /// Confirmed, never acknowledged, and not among what is `left`: lost (G1, G3).
    pub(crate) fn report_lost(&mut self, left: &[Key]) {
        let left: std::collections::BTreeSet<_> = left.iter().collect();
        for (key, state) in &self.messages {
            if state.confirmed.is_some() && state.settlement == Settlement::None && !left.contains(key) {
                self.violations.push(format!("G1: {key:?} is lost: {state:?}"));
            }
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let count = |matches: fn(&State) -> bool| self.messages.values().filter(|state| matches(state)).count();
        Totals {
            sent: self.messages.len(),
            confirmed: count(|state| state.confirmed.is_some()),
            delivered: count(|state| state.delivered > 0),
            settled: count(|state| state.settlement == Settlement::Certain),
        }
    }

    fn state(&mut self, key: Key) -> &mut State {
        self.messages.get_mut(&key).expect("keys are made by sending()")
    }

    fn violation(&mut self, text: String) -> Option<Key> {
        self.violations.push(text);
        None
    }
}

/// A ledger that overlooks something would make every test that uses it pass.
mod tests {
    use super::*;
    use crate::amqp::BASIC_GET_OK;

    fn arrival(key: Key, size: usize) -> Received {
        Received {
            channel: 1,
            id: BASIC_GET_OK,
            tag: 1,
            consumer: String::new(),
            redelivered: false,
            message_id: key.message_id(size),
            body: key.body(size),
        }
    }

    /// Two messages, sent and confirmed.
    fn two() -> (Ledger, [Key; 2]) {
        let mut ledger = Ledger::default();
        let keys = [ledger.sending(0, 0, 10), ledger.sending(0, 0, 20)];
        keys.iter().for_each(|&key| ledger.confirmed(key, 0));
        (ledger, keys)
    }

    fn violations(ledger: &Ledger) -> Vec<&str> {
        ledger.violations.iter().map(|text| &text[..2]).collect()
    }

    #[test]
    fn what_is_right_is_no_violation() {
        let (mut ledger, keys) = two();
        let mut order = Order::default();
        assert_eq!(ledger.received(0, &arrival(keys[0], 10), &mut order), Some(keys[0]));
        ledger.settling(keys[0]);
        ledger.settled(keys[0]);
        assert_eq!(ledger.received(0, &arrival(keys[1], 20), &mut order), Some(keys[1]));
        ledger.report_lost(&keys[1..]);
        assert!(ledger.violations.is_empty(), "{:?}", ledger.violations);
    }

    #[test]
    fn loss_is_found_unless_an_acknowledgement_was_sent() {
        let (mut ledger, keys) = two();
        ledger.settling(keys[0]);
        ledger.report_lost(&[]);
        assert_eq!(violations(&ledger), ["G1"]);
        assert!(ledger.violations[0].contains("number: 1"));
    }

    #[test]
    fn what_was_settled_may_not_come_again() {
        let (mut ledger, keys) = two();
        ledger.settling(keys[0]);
        ledger.settled(keys[0]);
        ledger.received(0, &arrival(keys[0], 10), &mut Order::default());
        assert_eq!(violations(&ledger), ["G2"]);
    }

    #[test]
    fn inventions_are_found() {
        let (mut ledger, keys) = two();
        let mut flipped = arrival(keys[0], 10);
        flipped.body[3] ^= 1;
        let mut nameless = arrival(keys[0], 10);
        nameless.message_id = "0.0.0".to_owned();
        let never_sent = arrival(Key { number: 7, ..keys[0] }, 10);
        for (queue, message) in [(0, flipped), (0, nameless), (0, never_sent), (1, arrival(keys[0], 10))] {
            assert_eq!(ledger.received(queue, &message, &mut Order::default()), None);
        }
        assert_eq!(violations(&ledger), ["G4"; 4]);
    }

    #[test]
    fn disorder_and_repetition_are_found() {
        let (mut ledger, keys) = two();
        let mut order = Order::default();
        ledger.received(0, &arrival(keys[1], 20), &mut order);
        ledger.received(0, &arrival(keys[0], 10), &mut order);
        ledger.received(0, &arrival(keys[0], 10), &mut order);
        assert_eq!(violations(&ledger), ["G5", "G5"]);
    }
}
