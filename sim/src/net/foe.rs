//! A client that sends what no correct client sends. Its connection, or its channel, ends with the specification's reply
//! code, and nobody else notices (G16).

use super::Counters;
use super::attacks::{Attack, CHANNEL, Expect, Stage};
use super::encode;
use super::socket::{Leave, Peer};
use crate::plan::MS;
use crate::wire::Check;
use bytes::BytesMut;
use rand::rngs::ChaCha8Rng;
use waystation_core::api::{Reply, Request};
use waystation_protocols::amqp::{ChannelEvent, Client, ClientConfig, Event};

/// The longest that an attack may go unanswered: a handshake's time, a close's time, and the ways.
const ANSWER: u64 = 30_000 * MS;

/// One, for one attack.
#[derive(Debug)]
pub(super) struct Foe {
    client: Client,
    attack: Attack,
    raw: BytesMut,
    begun_at: u64,
    /// Its bytes were sent.
    struck: bool,
    /// What was to come has come.
    answered: bool,
    /// It was told that publishers have to wait: then its bytes may not be read for as long as they do.
    waits: bool,
    leave: Option<Leave>,
}

impl Foe {
    pub(super) fn new(attack: Attack, heartbeat_seconds: u16, now: u64) -> Self {
        let config = ClientConfig {
            user: "guest".to_owned(),
            password: waystation_protocols::amqp::Secret(attack.password.to_owned()),
            vhost: attack.vhost.to_owned(),
            heartbeat_seconds,
            ..ClientConfig::default()
        };
        let mut client = Client::new(config);
        let mut foe_bytes = BytesMut::new();
        let at_once = attack.stage == Stage::Stranger;
        if at_once {
            drop(client.take_output());
            foe_bytes.extend_from_slice(&attack.bytes);
        }
        let mut foe = Self {
            client,
            attack,
            raw: foe_bytes,
            begun_at: now,
            struck: at_once,
            answered: false,
            waits: false,
            leave: None,
        };
        if at_once {
            foe.leave_if_unanswerable();
        }
        foe
    }

    fn strike(&mut self) {
        self.struck = true;
        self.raw.extend_from_slice(&self.attack.bytes);
        self.leave_if_unanswerable();
    }

    fn leave_if_unanswerable(&mut self) {
        if self.attack.expect == Expect::Nothing {
            self.answered = true;
            self.leave = Some(Leave::Close);
        }
    }

    fn compare(&mut self, seen: Expect, check: &mut Check, counters: &mut Counters) {
        if self.answered {
            return;
        }
        self.answered = true;
        counters.foes_answered += 1;
        let Attack { name, expect, .. } = &self.attack;
        if seen != *expect {
            check.fail(
                "G16",
                format!("{name} is answered by {seen:?}, and should be by {expect:?}"),
            );
        }
    }
}

impl Peer for Foe {
    fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    fn ask(&mut self, _requests: Vec<Request>, _check: &mut Check, _rng: &mut ChaCha8Rng) {}

    fn flown(&mut self, _check: &mut Check, _rng: &mut ChaCha8Rng, _counters: &mut Counters) {}

    fn hear(&mut self, event: Event, check: &mut Check, _rng: &mut ChaCha8Rng, counters: &mut Counters) {
        if let Event::Channel { channel, event } = &event {
            match (event, encode::reply(event.clone(), || true)) {
                (ChannelEvent::Closed { code, .. }, _) => check.heard_end(*channel, *code),
                (_, Some(reply)) => check.heard(*channel, &reply),
                (other, None) => check.fail("G4", format!("a client heard {other:?}, which answers nothing")),
            }
        }
        match event {
            Event::Connected { .. } if self.attack.stage == Stage::Connected => self.strike(),
            Event::Connected { .. } => self.client.open_channel(CHANNEL),
            Event::Channel {
                channel: CHANNEL,
                event: ChannelEvent::Opened,
            } if !self.struck => self.strike(),
            Event::Channel {
                event: ChannelEvent::Closed { code, .. },
                ..
            } => {
                self.compare(Expect::Channel(code), check, counters);
                if self.attack.is_busy {
                    self.client.open_channel(CHANNEL);
                } else {
                    self.leave = Some(Leave::Close);
                }
            }
            Event::Channel {
                event: ChannelEvent::Opened,
                ..
            } => self.leave = Some(Leave::Close),
            Event::Closed { code, .. } => {
                self.compare(Expect::Connection(code), check, counters);
                if self.attack.is_stubborn {
                    // The answer to the close never comes.
                    drop(self.client.take_output());
                } else {
                    self.leave = Some(Leave::Close);
                }
            }
            Event::Blocked { .. } => self.waits = true,
            Event::Broken(_) | Event::Unblocked | Event::Channel { .. } => {}
        }
    }

    fn raw(&mut self) -> BytesMut {
        self.raw.split()
    }

    fn take_told(&mut self) -> Vec<Reply> {
        Vec::new()
    }

    fn has_more(&self) -> bool {
        false
    }

    fn leave(&self) -> Option<Leave> {
        self.leave
    }

    fn is_leaving(&self) -> bool {
        self.answered && !self.attack.is_stubborn && (self.leave.is_some() || !self.attack.is_busy)
    }

    fn lost(&mut self, check: &mut Check, counters: &mut Counters) {
        self.compare(Expect::End, check, counters);
    }

    fn next(&self) -> Option<u64> {
        Some(self.begun_at + ANSWER)
    }

    fn tick(&mut self, now: u64, check: &mut Check) {
        if now >= self.begun_at + ANSWER && self.leave.is_none() {
            if self.waits {
                // Its own messages fill the memory, and nobody but itself could make room: it goes unanswered.
                self.answered = true;
            } else {
                let what = if self.answered {
                    "its channel is not opened again"
                } else {
                    "it is not answered"
                };
                check.fail("G15", format!("{}: {what}", self.attack.name));
            }
            self.leave = Some(Leave::Reset);
        }
    }
}
