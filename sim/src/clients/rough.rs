//! Clients of queues that come and go: visitors, who see that theirs go, and churners, who get in each other's way.

use super::requests::{Flags, Says, bind, consume, exchange, on, passive, publish, queue};
use super::{Act, Clients};
use crate::checkers::PROBE;
use crate::checkers::{Ledger, Published, body};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use waystation_core::api::{ChannelRequest, Destination, Name, Outcome, Request};
use waystation_core::message::{Table, Value};

/// What a visitor remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Visit {
    /// The queue that the server named, and the one that goes with its consumer.
    mine: Vec<String>,
    /// Of the visit before.
    gone: Vec<String>,
    probed: bool,
}

impl Visit {
    pub(super) fn hear(&mut self, name: &str) {
        if name.starts_with("amq.gen-") && !self.mine.iter().any(|mine| mine == name) {
            self.mine.push(name.to_owned());
        }
    }
}

impl Clients {
    /// Declares an exclusive queue that the server names, and one that goes with its only consumer.
    pub(super) fn arrive(&mut self, at: usize, rng: &mut ChaCha8Rng) -> Vec<ChannelRequest> {
        let visit = &mut self.clients[at].visit;
        visit.gone = std::mem::take(&mut visit.mine);
        visit.probed = false;
        let auto = format!("auto-{}", self.visit_next);
        self.visit_next += 1;
        self.clients[at].visit.mine.push(auto.clone());
        let mut requests = super::requests::declarations(&self.plan);
        let durable = rng.random_bool(0.5);
        requests.push(queue(
            "",
            Flags {
                exclusive: true,
                durable,
                ..Flags::default()
            },
            Vec::new(),
        ));
        requests.push(queue(
            &auto,
            Flags {
                auto_delete: true,
                ..Flags::default()
            },
            Vec::new(),
        ));
        requests.push(consume(&auto, "auto!".into(), true));
        requests.push(passive("dlq"));
        requests
    }

    /// Publishes to its own queues, then leaves; the next visit looks whether they are gone.
    pub(super) fn visit(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>, ledger: &mut Ledger) {
        let conn = self.conn(at);
        let visit = self.clients[at].visit.clone();
        if !visit.probed {
            self.clients[at].visit.probed = true;
            let mut requests = Vec::new();
            for (number, name) in visit.gone.iter().enumerate().take(1 + rng.random_range(0..2)) {
                let channel = PROBE + number as u16;
                requests.push(Request::OpenChannel { channel });
                requests.push(on(channel, passive(name)));
            }
            acts.push(Act::Send { conn, requests });
            return;
        }
        match rng.random_range(0..10) {
            0 => self.disconnect(at, acts),
            1..5 => {
                let name = visit.mine[rng.random_range(0..visit.mine.len())].clone();
                let request = on(1, self.wild("", &name, rng, ledger));
                acts.push(Act::Send {
                    conn,
                    requests: vec![request],
                });
            }
            _ => {}
        }
    }

    /// A message whose ways nobody keeps account of: its body alone is checked.
    fn wild(&mut self, exchange: &str, key: &str, rng: &mut ChaCha8Rng, ledger: &mut Ledger) -> ChannelRequest {
        let id = self.message_next;
        self.message_next += 1;
        let bytes = rng.random_range(8..self.plan.body_max.max(9));
        ledger.published(
            id,
            Published {
                bytes,
                ..Published::default()
            },
        );
        publish(exchange, key, Says::default(), &body(id, bytes), false)
    }

    /// Does anything to a few names that others do anything to.
    pub(super) fn churn(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>, ledger: &mut Ledger) {
        let conn = self.conn(at);
        let channel = self.clients[at].channel;
        let mut requests = Vec::new();
        if self.plan.crowd > 0 && !self.clients[at].crowded {
            self.clients[at].crowded = true;
            for number in 0..self.plan.crowd {
                let name = format!("crowd-{number}");
                requests.push(on(
                    channel,
                    queue(
                        &name,
                        Flags {
                            durable: true,
                            ..Flags::default()
                        },
                        Vec::new(),
                    ),
                ));
                requests.push(on(channel, self.wild("", &name, rng, ledger)));
            }
        }
        for _ in 0..rng.random_range(1..4) {
            let request = self.churned(at, rng, ledger);
            requests.push(on(channel, request));
        }
        acts.push(Act::Send { conn, requests });
    }

    fn churned(&mut self, at: usize, rng: &mut ChaCha8Rng, ledger: &mut Ledger) -> ChannelRequest {
        let mut draw = |prefix: char| format!("{prefix}{}", rng.random_range(0..3));
        let (one, source, other) = (draw('t'), draw('e'), draw('e'));
        let reply = rng.random_bool(0.7);
        let destination = if rng.random_bool(0.7) {
            Destination::Queue(Name::from(one.as_str()))
        } else {
            Destination::Exchange(Name::from(other))
        };
        let (routing_key, arguments) = (Name::from("k"), Table::default());
        match rng.random_range(0..20) {
            0..3 => churned_queue(&one, rng),
            3 => exchange(&source, ["fanout", "direct", "topic"][rng.random_range(0..3)]),
            4..7 => bind(&one, &source, "k"),
            7 => ChannelRequest::Bind {
                destination,
                source: source.into(),
                routing_key,
                arguments,
                reply,
            },
            8 => ChannelRequest::Unbind {
                destination,
                source: source.into(),
                routing_key,
                arguments,
                reply,
            },
            9 => {
                let (if_unused, if_empty) = (rng.random_bool(0.3), rng.random_bool(0.3));
                ChannelRequest::DeleteQueue {
                    name: one.into(),
                    if_unused,
                    if_empty,
                    reply,
                }
            }
            10 => ChannelRequest::DeleteExchange {
                name: source.into(),
                if_unused: rng.random_bool(0.3),
                reply,
            },
            11 => {
                self.clients[at].numbers += 1;
                consume(&one, format!("x{}!", self.clients[at].numbers), true)
            }
            12 => {
                let consumer = Name::from(format!("x{}!", self.clients[at].numbers));
                ChannelRequest::Cancel { consumer, reply }
            }
            13 => {
                self.clients[at].gets.push_back(false);
                ChannelRequest::Get {
                    queue: one.into(),
                    no_ack: false,
                }
            }
            14 => ChannelRequest::PurgeQueue {
                name: one.into(),
                reply,
            },
            15 => settle_nothing(),
            16..18 => self.wild("", &one, rng, ledger),
            _ => self.wild(&source, "k", rng, ledger),
        }
    }
}

/// Nothing has this tag: the channel fails, whatever is on its way to it.
const fn settle_nothing() -> ChannelRequest {
    ChannelRequest::Settle {
        tag: 1 << 40,
        multiple: false,
        outcome: Outcome::Ack,
    }
}

/// A queue that comes and goes, some with a lease.
fn churned_queue(name: &str, rng: &mut ChaCha8Rng) -> ChannelRequest {
    let flags = Flags {
        durable: rng.random_bool(0.7),
        auto_delete: rng.random_bool(0.2),
        ..Flags::default()
    };
    let lease = (Name::from("x-expires"), Value::I64(rng.random_range(1..60)));
    let arguments = if rng.random_bool(0.3) { vec![lease] } else { Vec::new() };
    queue(name, flags, arguments)
}
