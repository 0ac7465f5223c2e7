//! What is done next: drawn from what the model says is there, so that most of it makes sense.

use super::model::{Model, Policy, Queue};
use crate::clients::requests::{Flags, bind_with, consume, exchange_flagged, queue};
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use waystation_core::api::{ChannelRequest, ConnId, Destination, Name, Outcome};
use waystation_core::message::{Message, OwnedProperties, Table, Value};

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Connect(ConnId),
    Disconnect(ConnId),
    Open(ConnId, u16),
    Close(ConnId, u16),
    /// Requests of one channel, sent together.
    Ask(ConnId, u16, Vec<ChannelRequest>),
    /// The same, and the channel is closed behind them.
    AskAndClose(ConnId, u16, Vec<ChannelRequest>),
    Drain(ConnId, u64),
    /// Milliseconds.
    Pass(u64),
    /// The wall clock goes back by so many milliseconds.
    ClockBack(u64),
    Crash,
    /// The power fails after so many outputs of what is asked.
    CrashIn(ConnId, u16, ChannelRequest, u64),
    Stop,
}

/// Connections and channels of each.
const CONNECTIONS: u64 = 3;
const CHANNELS: u16 = 2;

/// What a seed draws, beside the model.
#[derive(Debug)]
pub(super) struct Script {
    /// Queues by name: flags and arguments.
    queues: Vec<(Name, Flags, Table)>,
    /// Exchanges by name: kind, flags, alternate.
    exchanges: Vec<(Name, &'static str, [bool; 3], Option<Name>)>,
    weights: [u32; 20],
    conn_next: u64,
    message_next: u64,
    tag_next: u64,
    /// What is asked first.
    setup: Vec<ChannelRequest>,
    body_max: usize,
}

impl Script {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut queues: Vec<(Name, Flags, Table)> = (0..rng.random_range(2..6))
            .map(|number| draw_queue(number, rng))
            .collect();
        let limitless = |table: &Table| table.value("x-overflow").is_none();
        let mut graves: Vec<Name> = queues
            .iter()
            .filter(|one| limitless(&one.2))
            .map(|one| one.0.clone())
            .collect();
        graves.extend(["d0".into(), "d1".into()]);
        let durable = Flags {
            durable: true,
            ..Flags::default()
        };
        queues.push(("d0".into(), durable, Table::default()));
        queues.push(("d1".into(), durable, Table::default()));
        for (name, _, table) in &mut queues {
            if &**name == "d0" && rng.random_bool(0.5) {
                table
                    .0
                    .push(("x-message-ttl".into(), Value::I64([3, 30][rng.random_range(0..2)])));
            }
            let chance = if table.value("x-overflow").is_some() { 0.7 } else { 0.5 };
            if rng.random_bool(chance) && &**name != "d1" {
                draw_letters(table, &graves, rng);
            }
        }
        draw_cycle(&mut queues, rng);
        let kinds = ["direct", "fanout", "topic", "topic", "headers"];
        let exchanges = (0..rng.random_range(1..5))
            .map(|number| {
                let name = Name::from(format!("x{number}"));
                let flags = [rng.random_bool(0.7), rng.random_bool(0.2), rng.random_bool(0.1)];
                let alternate = rng
                    .random_bool(0.3)
                    .then(|| format!("x{}", rng.random_range(0..4)).as_str().into());
                (name, kinds[rng.random_range(0..kinds.len())], flags, alternate)
            })
            .collect();
        let usual = [30, 6, 8, 2, 25, 8, 8, 3, 1, 5, 5, 4, 2, 1, 8, 6, 3, 8, 4, 4];
        let weights = usual.map(|weight| weight * [0, 1, 1, 3][rng.random_range(0..4)]);
        let mut script = Self {
            queues,
            exchanges,
            weights,
            conn_next: 1,
            message_next: 1,
            tag_next: 1,
            setup: Vec::new(),
            body_max: [40, 300, 300, 6_000][rng.random_range(0..4)],
        };
        // Something to begin with, and to take messages away.
        for weight in [0, 4, 17] {
            script.weights[weight] = script.weights[weight].max(usual[weight]);
        }
        script.begin(rng);
        script
    }

    fn begin(&mut self, rng: &mut ChaCha8Rng) {
        let internal = rng.random_bool(0.3);
        self.setup
            .push(exchange_flagged("dlx", "fanout", [true, false, internal], None));
        let exchanges = self.exchanges.clone();
        self.setup.extend(
            exchanges
                .iter()
                .map(|(name, kind, flags, alternate)| exchange_flagged(name, kind, *flags, alternate.clone())),
        );
        for (name, flags, table) in &self.queues {
            self.setup.push(queue(name, *flags, table.0.clone()));
        }
        for grave in ["d0", "d1"] {
            if rng.random_bool(0.7) {
                self.setup.push(bind_with(
                    Destination::Queue(grave.into()),
                    "dlx",
                    "",
                    Table::default(),
                    true,
                ));
            }
        }
        for _ in 0..rng.random_range(0..8) {
            let request = self.bind(rng, true);
            self.setup.push(request);
        }
        self.setup.reverse();
    }

    /// The next step.
    pub(super) fn next(&mut self, model: &Model, rng: &mut ChaCha8Rng) -> Op {
        if (model.connections.len() as u64) < CONNECTIONS {
            self.conn_next += 1;
            return Op::Connect(ConnId(self.conn_next - 1));
        }
        for (conn, connection) in &model.connections {
            for number in 1..=CHANNELS {
                match connection.channels.get(&number) {
                    None => return Op::Open(*conn, number),
                    Some(channel) if channel.failed && rng.random_bool(0.8) => return Op::Close(*conn, number),
                    Some(_) => {}
                }
            }
        }
        let conns: Vec<ConnId> = model.connections.keys().copied().collect();
        let (conn, channel) = (conns[rng.random_range(0..conns.len())], rng.random_range(1..=CHANNELS));
        if let Some(request) = self.setup.pop() {
            return Op::Ask(conn, 1, vec![request]);
        }
        let total: u32 = self.weights.iter().sum();
        let mut drawn = rng.random_range(0..total);
        let choice = self.weights.iter().position(|weight| {
            let here = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            here
        });
        self.choose(choice.unwrap_or(0), (conn, channel), model, rng)
    }

    fn choose(&mut self, choice: usize, at: (ConnId, u16), model: &Model, rng: &mut ChaCha8Rng) -> Op {
        let (conn, channel) = at;
        let one = |request| Op::Ask(conn, channel, vec![request]);
        match choice {
            1 => self.burst(at, model, rng),
            15 => Op::Pass([1, 3, 10, 40, 200][rng.random_range(0..5)]),
            16 => match rng.random_range(0..10) {
                0 => Op::Disconnect(conn),
                1..4 => Op::Close(conn, channel),
                4 => Op::ClockBack(rng.random_range(1..100)),
                _ => Op::Pass(1),
            },
            17 => {
                let unread = model.connections[&conn].unread;
                Op::Drain(conn, [unread, unread / 2, unread / 3][rng.random_range(0..3)])
            }
            18 => match rng.random_range(0..6) {
                0..2 => Op::Stop,
                2 => Op::Crash,
                _ => self.crash_in(at, model, rng),
            },
            other => one(self.request(other, at, model, rng)),
        }
    }

    fn request(&mut self, choice: usize, at: (ConnId, u16), model: &Model, rng: &mut ChaCha8Rng) -> ChannelRequest {
        let channel = &model.connections[&at.0].channels[&at.1];
        let name = self.queue_name(rng);
        match choice {
            0 => self.publish(rng),
            2 if channel
                .transaction
                .as_ref()
                .is_some_and(|open| open.publishes.len() < 2) =>
            {
                self.publish(rng)
            }
            2 if channel.transaction.is_some() => ChannelRequest::TxCommit,
            3 if channel.transaction.is_some() => ChannelRequest::TxRollback,
            2 => [ChannelRequest::ConfirmSelect { reply: true }, ChannelRequest::TxSelect]
                [usize::from(rng.random_bool(0.3))]
            .clone(),
            4 => settle(channel.held.keys().copied().collect(), rng),
            5 => ChannelRequest::Get {
                queue: name,
                no_ack: rng.random_bool(0.3),
            },
            6 => {
                self.tag_next += 1;
                let mut request = consume(&name, format!("c{}", self.tag_next), rng.random_bool(0.2));
                if let ChannelRequest::Consume { exclusive, .. } = &mut request {
                    *exclusive = rng.random_bool(0.06);
                }
                request
            }
            7 => {
                let mine: Vec<Name> = model
                    .consumers
                    .values()
                    .filter(|one| one.at == at)
                    .map(|one| one.tag.clone())
                    .collect();
                let consumer = if mine.is_empty() {
                    "none".into()
                } else {
                    mine[rng.random_range(0..mine.len())].clone()
                };
                ChannelRequest::Cancel { consumer, reply: true }
            }
            8 => ChannelRequest::Recover { reply: true },
            9 => ChannelRequest::Qos {
                count: [0, 1, 1, 2, 5][rng.random_range(0..5)],
                global: rng.random_bool(0.5),
            },
            10.. => self.change(choice, name, model, rng),
            _ => self.publish(rng),
        }
    }

    /// Something about queues and exchanges.
    fn change(&mut self, choice: usize, name: Name, model: &Model, rng: &mut ChaCha8Rng) -> ChannelRequest {
        match choice {
            10 => passive(&name),
            11 => self.declare(rng),
            12 => {
                let (if_unused, if_empty) = (rng.random_bool(0.4), rng.random_bool(0.4));
                ChannelRequest::DeleteQueue {
                    name,
                    if_unused,
                    if_empty,
                    reply: true,
                }
            }
            13 => ChannelRequest::PurgeQueue { name, reply: true },
            14 => {
                let binds = rng.random_bool(0.6);
                if !binds && rng.random_bool(0.7) && !model.topology.bindings().is_empty() {
                    let bindings = model.topology.bindings();
                    let one = &bindings[rng.random_range(0..bindings.len())];
                    return bind_with(
                        one.destination.clone(),
                        &one.source,
                        &one.key,
                        one.arguments.clone(),
                        false,
                    );
                }
                self.bind(rng, binds)
            }
            19 if rng.random_bool(0.5) => self.redeclare_exchange(rng),
            19 => ChannelRequest::DeleteExchange {
                name: self.exchange_name(rng),
                if_unused: rng.random_bool(0.5),
                reply: true,
            },
            _ => self.publish(rng),
        }
    }

    fn queue_name(&self, rng: &mut ChaCha8Rng) -> Name {
        self.queues[rng.random_range(0..self.queues.len())].0.clone()
    }

    fn exchange_name(&self, rng: &mut ChaCha8Rng) -> Name {
        let built_in = ["amq.direct", "amq.fanout", "amq.topic", "amq.headers"];
        if rng.random_bool(0.15) {
            return built_in[rng.random_range(0..4)].into();
        }
        format!("x{}", rng.random_range(0..self.exchanges.len()))
            .as_str()
            .into()
    }

    fn declare(&self, rng: &mut ChaCha8Rng) -> ChannelRequest {
        let (name, mut flags, mut table) = self.queues[rng.random_range(0..self.queues.len())].clone();
        match rng.random_range(0..20) {
            0 => flags.durable = !flags.durable,
            1 => flags.auto_delete = !flags.auto_delete,
            2 if table.value("x-message-ttl").is_none() => table.0.push(("x-message-ttl".into(), Value::I64(77))),
            _ => {}
        }
        queue(&name, flags, table.0)
    }

    fn redeclare_exchange(&self, rng: &mut ChaCha8Rng) -> ChannelRequest {
        let (name, kind, mut flags, alternate) = self.exchanges[rng.random_range(0..self.exchanges.len())].clone();
        flags[1] ^= rng.random_bool(0.1);
        exchange_flagged(&name, kind, flags, alternate)
    }

    fn bind(&self, rng: &mut ChaCha8Rng, binds: bool) -> ChannelRequest {
        let source = self.exchange_name(rng);
        let destination = if rng.random_bool(0.75) {
            Destination::Queue(self.queue_name(rng))
        } else {
            Destination::Exchange(self.exchange_name(rng))
        };
        let mut table = Table::default();
        if rng.random_bool(0.5) {
            let modes = ["all", "any", "all-with-x", "any-with-x"];
            if rng.random_bool(0.8) {
                table
                    .0
                    .push(("x-match".into(), Value::from(modes[rng.random_range(0..4)])));
            }
            table.0.extend(headers(rng));
            if rng.random_bool(0.1) {
                table.0.push(("b".into(), Value::Void));
            }
        }
        bind_with(destination, &source, &key(rng, true), table, binds)
    }

    fn message(&mut self, exchange: &str, key: &str, rng: &mut ChaCha8Rng) -> Message {
        self.message_next += 1;
        let longest = if rng.random_bool(0.1) { self.body_max } else { 40 };
        let bytes = if rng.random_bool(0.03) {
            0
        } else {
            rng.random_range(8..=longest)
        };
        let mut body = crate::checkers::body(self.message_next, bytes);
        body.truncate(bytes);
        let properties = if rng.random_bool(0.4) {
            OwnedProperties::default()
        } else {
            properties(rng)
        };
        Message::new(exchange, key.as_bytes(), &properties.to_vec(), &body)
    }

    fn publish(&mut self, rng: &mut ChaCha8Rng) -> ChannelRequest {
        let (exchange, key) = match rng.random_range(0..100) {
            0 => ("none".into(), key(rng, false)),
            1..55 => ("".into(), self.queue_name(rng)),
            _ => (self.exchange_name(rng), key(rng, false)),
        };
        ChannelRequest::Publish {
            message: self.message(&exchange, &key, rng),
            mandatory: rng.random_bool(0.2),
        }
    }

    /// Publishes to a queue from which nobody takes, and something behind them that has to see them.
    fn burst(&mut self, at: (ConnId, u16), model: &Model, rng: &mut ChaCha8Rng) -> Op {
        let (conn, channel) = at;
        let name = self.queue_name(rng);
        let calm = model.find(&name).is_some_and(|id| {
            let Policy {
                ttl_ms,
                length,
                bytes,
                refuses,
                ..
            } = &model.queues[&id].policy;
            let limited = (length.is_some() || bytes.is_some()) && !refuses;
            !model.is_wanted(id)
                && !limited
                && *ttl_ms != Some(0)
                && model.queues[&id].exclusive.is_none_or(|owner| owner == conn)
        });
        let open = &model.connections[&conn].channels[&channel];
        if !calm || open.transaction.is_some() || open.failed {
            return Op::Pass(1);
        }
        let mut requests = Vec::new();
        if rng.random_bool(0.5) {
            // What comes behind waits in line.
            requests.push(passive(&name));
        }
        for _ in 0..rng.random_range(2..7) {
            self.message_next += 1;
            let body = crate::checkers::body(self.message_next, rng.random_range(8..40));
            requests.push(ChannelRequest::Publish {
                message: Message::new("", name.as_bytes(), &[0, 0], &body),
                mandatory: false,
            });
        }
        if open.confirms.is_none() && rng.random_bool(0.3) {
            return Op::AskAndClose(conn, channel, requests);
        }
        requests.push(match rng.random_range(0..4) {
            0 => passive(&name),
            1 => ChannelRequest::PurgeQueue { name, reply: true },
            2 => ChannelRequest::Get {
                queue: name,
                no_ack: rng.random_bool(0.5),
            },
            _ => ChannelRequest::DeleteQueue {
                name,
                if_unused: false,
                if_empty: true,
                reply: true,
            },
        });
        Op::Ask(conn, channel, requests)
    }

    /// Something that one entry of the log says, or that a crash makes unsaid.
    fn crash_in(&mut self, at: (ConnId, u16), model: &Model, rng: &mut ChaCha8Rng) -> Op {
        let channel = &model.connections[&at.0].channels[&at.1];
        // What a consumer settles by being given it has a third way to end, and so has a letter out of a queue in memory.
        let lets_go = |queue: &Queue| {
            let is_transient = !queue.durable || queue.exclusive.is_some();
            is_transient && queue.policy.dead_letter_exchange.is_some()
        };
        let third = model.consumers.values().any(|consumer| consumer.no_ack) || model.queues.values().any(lets_go);
        if channel.failed || third {
            return Op::Crash;
        }
        let rejects = channel
            .transaction
            .iter()
            .flat_map(|open| &open.settles)
            .any(|one| one.2 != Outcome::Ack);
        let request = match rng.random_range(0..6) {
            0..4 if channel
                .transaction
                .as_ref()
                .is_some_and(|open| open.publishes.len() > 1)
                && !rejects =>
            {
                ChannelRequest::TxCommit
            }
            0 => self.bind(rng, true),
            1 if channel.transaction.is_some() && !rejects => ChannelRequest::TxCommit,
            2 if !channel.held.is_empty() && channel.transaction.is_none() => {
                let tags: Vec<u64> = channel.held.keys().copied().collect();
                ChannelRequest::Settle {
                    tag: tags[rng.random_range(0..tags.len())],
                    multiple: false,
                    outcome: [Outcome::Ack, Outcome::Reject][usize::from(rng.random_bool(0.4))],
                }
            }
            3 => ChannelRequest::PurgeQueue {
                name: self.queue_name(rng),
                reply: true,
            },
            _ => self.publish(rng),
        };
        Op::CrashIn(at.0, at.1, request, rng.random_range(0..6))
    }
}

fn passive(name: &str) -> ChannelRequest {
    crate::clients::requests::passive(name)
}

fn settle(tags: Vec<u64>, rng: &mut ChaCha8Rng) -> ChannelRequest {
    let outcome = [Outcome::Ack, Outcome::Ack, Outcome::Reject, Outcome::Requeue][rng.random_range(0..4)];
    if tags.is_empty() && rng.random_bool(0.95) {
        return ChannelRequest::Settle {
            tag: 0,
            multiple: true,
            outcome,
        };
    }
    let multiple = rng.random_bool(0.3);
    let tag = match rng.random_range(0..40) {
        0 => rng.random_range(0..50),
        1 if multiple => 0,
        _ => tags.get(rng.random_range(0..tags.len().max(1))).copied().unwrap_or(1),
    };
    ChannelRequest::Settle { tag, multiple, outcome }
}

fn draw_queue(number: usize, rng: &mut ChaCha8Rng) -> (Name, Flags, Table) {
    let flags = Flags {
        passive: false,
        durable: rng.random_bool(0.75),
        exclusive: rng.random_bool(0.08),
        auto_delete: rng.random_bool(0.15),
    };
    let mut table = Table::default();
    let mut put = |name: &str, value: Value| table.0.push((name.into(), value));
    if rng.random_bool(0.3) {
        put("x-message-ttl", Value::I64([0, 2, 15, 60, 400][rng.random_range(0..5)]));
    }
    if rng.random_bool(0.1) {
        put("x-expires", Value::I64([5, 50, 300][rng.random_range(0..3)]));
    }
    let (by_length, by_bytes) = (rng.random_bool(0.25), rng.random_bool(0.2));
    if by_length {
        put("x-max-length", Value::I64([0, 1, 3, 6][rng.random_range(0..4)]));
    }
    if by_bytes {
        put(
            "x-max-length-bytes",
            Value::I64([0, 30, 80, 200][rng.random_range(0..4)]),
        );
    }
    if by_length || by_bytes {
        let overflow = ["drop-head", "reject-publish", "reject-publish-dlx"][rng.random_range(0..3)];
        put("x-overflow", Value::from(overflow));
    }
    (Name::from(format!("q{number}")), flags, table)
}

/// Letters go where no limit is: what several of them would push out has no order.
fn draw_letters(table: &mut Table, graves: &[Name], rng: &mut ChaCha8Rng) {
    let by_name = rng.random_bool(0.5);
    let exchange = match rng.random_range(0..20) {
        0 => "none",
        _ if by_name => "",
        _ => "dlx",
    };
    table.0.push(("x-dead-letter-exchange".into(), Value::from(exchange)));
    if by_name {
        let grave = &graves[rng.random_range(0..graves.len())];
        table
            .0
            .push(("x-dead-letter-routing-key".into(), Value::from(&**grave)));
    } else if rng.random_bool(0.3) {
        table.0.push(("x-dead-letter-routing-key".into(), Value::from("a.b")));
    }
}

/// Letters of a queue without limits come back to it, by way of one where they expire.
fn draw_cycle(queues: &mut [(Name, Flags, Table)], rng: &mut ChaCha8Rng) {
    let origin = queues
        .iter()
        .position(|(_, _, table)| table.value("x-overflow").is_none());
    let Some(origin) = origin.filter(|_| rng.random_bool(0.3)) else {
        return;
    };
    let name = queues[origin].0.clone();
    if &*name == "d0" {
        return;
    }
    for (at, to) in [(&*name, "d0"), ("d0", &*name)] {
        let Some((_, _, table)) = queues.iter_mut().find(|one| &*one.0 == at) else {
            return;
        };
        table.0.retain(|(key, _)| !key.starts_with("x-dead-letter"));
        table.0.push(("x-dead-letter-exchange".into(), Value::from("")));
        table.0.push(("x-dead-letter-routing-key".into(), Value::from(to)));
        if at == "d0" && table.value("x-message-ttl").is_none() {
            table.0.push(("x-message-ttl".into(), Value::I64(5)));
        }
    }
}

/// Words between dots; in a pattern some stand for others.
fn key(rng: &mut ChaCha8Rng, pattern: bool) -> Name {
    let words = ["a", "b", "ab", "*", "#"];
    let known = if pattern { 5 } else { 3 };
    let count = rng.random_range(0..4);
    let key: Vec<&str> = (0..count).map(|_| words[rng.random_range(0..known)]).collect();
    Name::from(key.join("."))
}

fn headers(rng: &mut ChaCha8Rng) -> Vec<(Name, Value)> {
    let mut headers = Vec::new();
    for name in ["a", "b", "x-c"] {
        if rng.random_bool(0.5) {
            let value = match rng.random_range(0..4) {
                0 => Value::I32(1),
                1 => Value::I64(1),
                2 => Value::I32(2),
                _ => Value::from("text"),
            };
            headers.push((name.into(), value));
        }
    }
    headers
}

fn properties(rng: &mut ChaCha8Rng) -> OwnedProperties {
    let mut text = |share: f64, texts: &[&'static str]| {
        let text = texts[rng.random_range(0..texts.len())];
        rng.random_bool(share).then(|| Bytes::from_static(text.as_bytes()))
    };
    let (content_type, correlation_id) = (text(0.3, &["text/plain"]), text(0.3, &["7", ""]));
    let (reply_to, message_id, type_) = (text(0.2, &["q0"]), text(0.2, &["m"]), text(0.2, &["t"]));
    let (app_id, content_encoding) = (text(0.1, &["app"]), text(0.1, &["gzip"]));
    let expiration = text(0.25, &["0", "2", "20", "90", "1000"]);
    let wrong = text(0.004, &["soon"]);
    let user_id = text(0.05, &["guest", "guest", "guest", "guest", "guest", "guest", "mallory"]);
    OwnedProperties {
        content_type,
        content_encoding,
        headers: rng.random_bool(0.6).then(|| Table(headers(rng))),
        delivery_mode: rng.random_bool(0.5).then_some(2),
        priority: rng.random_bool(0.2).then_some(3),
        correlation_id,
        reply_to,
        expiration: wrong.or(expiration),
        message_id,
        timestamp: rng.random_bool(0.2).then_some(1_700_000_000),
        type_,
        user_id,
        app_id,
        cluster_id: None,
    }
}
