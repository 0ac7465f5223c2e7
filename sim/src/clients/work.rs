//! Publishing, transactions, consuming and meddling.

use super::requests::{Says, consume, on, passive, publish, settle};
use super::{Act, Clients};
use crate::checkers::NOWHERE;
use crate::checkers::{Ledger, Published, body};
use crate::plan::{DELAY_MS_MAX, Kind};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use waystation_core::api::{ChannelRequest, ConnId, Name, Outcome, Request};

impl Clients {
    pub(super) fn conn(&self, at: usize) -> ConnId {
        self.links[self.clients[at].link].conn.expect("it is connected")
    }

    /// One message to queues of the run, or to nowhere.
    fn message(&mut self, at: usize, transaction: Option<u64>, rng: &mut ChaCha8Rng, ledger: &mut Ledger) -> Request {
        let plan = &self.plan;
        let live: Vec<usize> = (0..plan.queues.len())
            .filter(|queue| !plan.queues[*queue].is_grave())
            .collect();
        let id = self.message_next;
        self.message_next += 1;
        let one = live[rng.random_range(0..live.len())];
        let name = plan.name(one);
        let unroutable = rng.random_range(0..1000) < plan.unroutable;
        let delay_ms =
            (!unroutable && rng.random_range(0..1000) < plan.delayed).then(|| rng.random_range(0..DELAY_MS_MAX));
        let (exchange, key, queues) = match rng.random_range(0..6) {
            _ if unroutable => ("", NOWHERE.into(), Vec::new()),
            _ if delay_ms.is_some() => ("later", name, vec![one]),
            0 => ("fan", String::new(), live),
            1 => ("topic", format!("a.{name}.b"), vec![one]),
            _ => ("", name, vec![one]),
        };
        let ttl_ms = (rng.random_range(0..1000) < plan.expiring).then(|| rng.random_range(0..300));
        let orders = |kind: &Kind| matches!(kind, Kind::Priority { .. });
        let priority = plan.queues.iter().any(orders).then(|| rng.random_range(0..6));
        let bytes = rng.random_range(8..plan.body_max.max(9));
        let client = &mut self.clients[at];
        client.order += 1;
        let (publisher, order) = (client.publisher, client.order);
        let mandatory = unroutable || rng.random_bool(0.1);
        ledger.published(
            id,
            Published {
                publisher,
                order,
                queues,
                bytes,
                ttl_ms,
                priority: priority.unwrap_or(0),
                delay_ms: delay_ms.unwrap_or(0),
                transaction,
            },
        );
        let says = Says {
            ttl_ms,
            priority,
            delay_ms,
        };
        on(
            client.channel,
            publish(exchange, &key, says, &body(id, bytes), mandatory),
        )
    }

    pub(super) fn publish(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>, ledger: &mut Ledger) {
        let mut requests = Vec::new();
        for _ in 0..rng.random_range(1..=self.plan.window) {
            let client = &mut self.clients[at];
            if self.links[client.link].blocked || client.unconfirmed.len() >= self.plan.window {
                break;
            }
            client.numbers += 1;
            client.unconfirmed.insert(client.numbers);
            requests.push(self.message(at, None, rng, ledger));
        }
        if !requests.is_empty() {
            acts.push(Act::Send {
                conn: self.conn(at),
                requests,
            });
        }
    }

    /// Publishes and settles in transactions.
    pub(super) fn transact(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>, ledger: &mut Ledger) {
        if self.clients[at].deciding || self.links[self.clients[at].link].blocked {
            return;
        }
        let transaction = self.transaction_next;
        self.transaction_next += 1;
        let mut requests = Vec::new();
        for _ in 0..rng.random_range(0..6) {
            requests.push(self.message(at, Some(transaction), rng, ledger));
        }
        let client = &mut self.clients[at];
        let channel = client.channel;
        for _ in 0..rng.random_range(0..8) {
            let Some(tag) = client.held.pop_front() else { break };
            let outcome = [
                Outcome::Ack,
                Outcome::Ack,
                Outcome::Ack,
                Outcome::Requeue,
                Outcome::Reject,
            ][rng.random_range(0..5)];
            client.pledged.push(tag);
            requests.push(settle(channel, tag, false, outcome));
        }
        client.deciding = true;
        let commits = rng.random_bool(0.8);
        requests.push(on(
            channel,
            if commits {
                ChannelRequest::TxCommit
            } else {
                ChannelRequest::TxRollback
            },
        ));
        acts.push(Act::Send {
            conn: self.conn(at),
            requests,
        });
    }

    pub(super) fn consume(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>) {
        let queue = self.plan.name(rng.random_range(0..self.plan.queues.len()));
        let forgetful = self.plan.forgetful;
        let conn = self.conn(at);
        let client = &mut self.clients[at];
        let channel = client.channel;
        let mut requests = Vec::new();
        let works = if client.recovering > 0 {
            0
        } else {
            rng.random_range(0..20)
        };
        for _ in 0..works {
            let Some(tag) = client.held.pop_front() else { break };
            if rng.random_range(0..1000) < forgetful {
                continue;
            }
            requests.push(match rng.random_range(0..20) {
                0 => settle(channel, tag, false, Outcome::Requeue),
                1 => settle(channel, tag, false, Outcome::Reject),
                outcome @ 2..5 if forgetful == 0 => {
                    let upto = rng.random_range(0..=client.held.len());
                    let last = client.held.drain(..upto).next_back().unwrap_or(tag);
                    let outcome = [Outcome::Ack, Outcome::Requeue, Outcome::Reject][outcome - 2];
                    settle(channel, last, true, outcome)
                }
                _ => settle(channel, tag, false, Outcome::Ack),
            });
        }
        if rng.random_bool(0.3) {
            requests.push(on(channel, passive(&queue)));
        }
        match rng.random_range(0..200) {
            0 => {
                client.recovering += 1;
                requests.push(on(channel, ChannelRequest::Recover { reply: true }));
            }
            // Tags that are none are no matter.
            1 => {
                let consumer = Name::from(format!("c{}-{queue}", rng.random_range(1..4)));
                requests.push(on(channel, ChannelRequest::Cancel { consumer, reply: true }));
            }
            2 => {
                client.numbers += 1;
                let tag = format!("more{}-{queue}", client.numbers);
                requests.push(on(channel, consume(&queue, tag, false)));
            }
            _ => {}
        }
        if !requests.is_empty() {
            acts.push(Act::Send { conn, requests });
        }
    }

    pub(super) fn meddle(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>) {
        let queue = self.plan.name(rng.random_range(0..self.plan.queues.len()));
        let conn = self.conn(at);
        let client = &mut self.clients[at];
        let channel = client.channel;
        let request = match rng.random_range(0..40) {
            0 => ChannelRequest::PurgeQueue {
                name: Name::from(queue),
                reply: true,
            },
            1..4 => passive(&queue),
            4 => ChannelRequest::Recover { reply: true },
            _ => ChannelRequest::Get {
                queue: Name::from(queue),
                no_ack: rng.random_bool(0.3),
            },
        };
        let mut requests = Vec::new();
        while client.recovering == 0
            && let Some(tag) = client.held.pop_front()
        {
            let outcome = [Outcome::Ack, Outcome::Ack, Outcome::Reject, Outcome::Requeue][rng.random_range(0..4)];
            requests.push(settle(channel, tag, false, outcome));
        }
        match &request {
            ChannelRequest::Recover { .. } => client.recovering += 1,
            ChannelRequest::Get { no_ack, .. } => client.gets.push_back(*no_ack),
            _ => {}
        }
        requests.push(on(channel, request));
        acts.push(Act::Send { conn, requests });
    }
}
