//! Publishers, consumers, meddlers, and the one that empties the queues at the end.

use crate::ledger::{Ledger, Published, body};
use crate::plan::{Kind, MS, Plan};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waystation_core::api::{ChannelReply, ChannelRequest, ConnId, Destination, Name, Outcome, Reply, Request};
use waystation_core::message::{Message, Table, Value};

/// What a client does to the world.
pub(crate) enum Act {
    Send { conn: ConnId, requests: Vec<Request> },
    Later { client: usize, generation: u64, delay: u64 },
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    Publisher,
    Consumer,
    Meddler,
    Drainer,
}

#[derive(Debug)]
struct Client {
    role: Role,
    /// Acts of an earlier generation are void.
    generation: u64,
    conn: Option<ConnId>,
    /// Replies of the channel were seen: it is open.
    ready: bool,
    publisher: u32,
    /// Publishes on this channel, and those not confirmed.
    numbers: u64,
    unconfirmed: BTreeSet<u64>,
    order: u64,
    held: VecDeque<u64>,
    /// Gets under way: whether each is settled by being sent.
    gets: VecDeque<bool>,
    /// Recovers under way: until they are answered, tags may be void.
    recovering: u32,
    blocked: bool,
    /// Answers that the drainer waits for, and how often all queues were empty.
    counts: BTreeMap<String, u32>,
    asked: bool,
    empty_rounds: u32,
    heard: u64,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    plan: Plan,
    clients: Vec<Client>,
    conns: BTreeMap<ConnId, usize>,
    conn_next: u64,
    message_next: u64,
    publisher_next: u32,
    healing: bool,
    done: bool,
}

/// The name of a queue of the run.
pub(crate) fn queue_name(plan: &Plan, queue: usize) -> String {
    if plan.queues[queue] == Kind::Dead {
        "dlq".into()
    } else {
        format!("q{queue}")
    }
}

impl Clients {
    pub(crate) fn new(plan: &Plan) -> Self {
        let roles = (0..plan.publishers).map(|_| Role::Publisher);
        let roles = roles.chain((0..plan.consumers).map(|_| Role::Consumer));
        let roles = roles
            .chain((0..plan.meddlers).map(|_| Role::Meddler))
            .chain([Role::Drainer]);
        let client = |role| Client {
            role,
            generation: 0,
            conn: None,
            ready: false,
            publisher: 0,
            numbers: 0,
            unconfirmed: BTreeSet::new(),
            order: 0,
            held: VecDeque::new(),
            gets: VecDeque::new(),
            recovering: 0,
            blocked: false,
            counts: BTreeMap::new(),
            asked: false,
            empty_rounds: 0,
            heard: 0,
        };
        Self {
            clients: roles.map(client).collect(),
            conns: BTreeMap::new(),
            conn_next: 1,
            message_next: 1,
            publisher_next: 1,
            healing: false,
            done: false,
            plan: plan.clone(),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn generation(&self, client: usize) -> u64 {
        self.clients[client].generation
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    pub(crate) const fn heal(&mut self) {
        self.healing = true;
    }

    /// What the run waits for.
    pub(crate) fn waiting(&self) -> String {
        let drainer = self.clients.last().expect("there is one");
        format!("queue counts {:?}, drainer ready: {}", drainer.counts, drainer.ready)
    }

    pub(crate) fn crashed(&mut self) {
        self.conns.clear();
        for client in &mut self.clients {
            client.generation += 1;
            client.reset();
        }
    }

    /// A client's turn.
    pub(crate) fn act(&mut self, at: usize, generation: u64, rng: &mut ChaCha8Rng, ledger: &mut Ledger) -> Vec<Act> {
        if self.clients[at].generation != generation || self.done {
            return Vec::new();
        }
        let mut acts = Vec::new();
        let delay = rng.random_range(1..2 * self.plan.pace);
        acts.push(Act::Later {
            client: at,
            generation,
            delay,
        });
        let drainer = self.clients[at].role == Role::Drainer;
        if self.healing && !drainer {
            // Everybody leaves but the drainer: what was held returns.
            acts.clear();
            self.disconnect(at, &mut acts);
            return acts;
        }
        if drainer && !self.healing {
            return acts;
        }
        if self.clients[at].conn.is_none() {
            self.connect(at, rng, &mut acts);
            return acts;
        }
        if !self.clients[at].ready {
            return acts;
        }
        if !drainer && rng.random_range(0..1000) < self.plan.deaths {
            self.disconnect(at, &mut acts);
            return acts;
        }
        match self.clients[at].role {
            Role::Publisher => self.publish(at, rng, &mut acts, ledger),
            Role::Consumer => self.consume(at, rng, &mut acts),
            Role::Meddler => self.meddle(at, rng, &mut acts),
            Role::Drainer => self.drain(at, &mut acts),
        }
        acts
    }

    /// Replies come in.
    pub(crate) fn hear(&mut self, conn: ConnId, replies: Vec<Reply>) -> Vec<Act> {
        let Some(at) = self.conns.get(&conn).copied() else {
            return Vec::new();
        };
        let mut acts = Vec::new();
        let mut drained = 0;
        for reply in replies {
            let client = &mut self.clients[at];
            match reply {
                Reply::Blocked { .. } => client.blocked = true,
                Reply::Unblocked => client.blocked = false,
                Reply::Channel { reply, .. } => drained += client.hear(reply),
                Reply::Hold
                | Reply::GoOn
                | Reply::Connected
                | Reply::Disconnected
                | Reply::Refused(_)
                | Reply::Failed(_) => {}
            }
        }
        let mut requests = Vec::new();
        if drained > 0 {
            requests.push(Request::Drained { bytes: drained });
        }
        let client = &mut self.clients[at];
        if client.role == Role::Drainer {
            let held = std::mem::take(&mut client.held);
            requests.extend(held.into_iter().map(|tag| settle(tag, false, Outcome::Ack)));
        }
        if !requests.is_empty() {
            acts.push(Act::Send { conn, requests });
        }
        acts
    }

    fn connect(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>) {
        let conn = ConnId(self.conn_next);
        self.conn_next += 1;
        self.conns.insert(conn, at);
        let mut requests = vec![
            Request::Connect {
                vhost: "/".into(),
                user: "guest".into(),
                channels_max: 10,
            },
            Request::OpenChannel { channel: 1 },
        ];
        requests.extend(self.declarations().into_iter().map(on_channel));
        let queues = self.plan.queues.len();
        let client = &mut self.clients[at];
        client.conn = Some(conn);
        match client.role {
            Role::Publisher => {
                client.publisher = self.publisher_next;
                self.publisher_next += 1;
                requests.push(on_channel(ChannelRequest::ConfirmSelect { reply: true }));
            }
            Role::Consumer => {
                let count = [0, 1, 2, 10, 100][rng.random_range(0..5)];
                requests.push(on_channel(ChannelRequest::Qos { count, global: false }));
                let queue = rng.random_range(0..queues);
                let no_ack = rng.random_bool(0.1);
                requests.push(on_channel(consume(&queue_name(&self.plan, queue), no_ack)));
            }
            Role::Meddler => {}
            Role::Drainer => {
                requests.push(on_channel(ChannelRequest::Qos {
                    count: 50,
                    global: false,
                }));
                for queue in 0..queues {
                    requests.push(on_channel(consume(&queue_name(&self.plan, queue), false)));
                }
            }
        }
        acts.push(Act::Send { conn, requests });
    }

    fn declarations(&self) -> Vec<ChannelRequest> {
        let mut requests = vec![
            exchange("dlx", "fanout"),
            exchange("fan", "fanout"),
            exchange("topic", "topic"),
        ];
        for (queue, kind) in self.plan.queues.iter().enumerate() {
            let name = queue_name(&self.plan, queue);
            requests.push(declare(&name, *kind));
            if *kind == Kind::Dead {
                requests.push(bind(&name, "dlx", ""));
            } else {
                requests.push(bind(&name, "fan", ""));
                requests.push(bind(&name, "topic", &format!("#.{name}.*")));
            }
        }
        requests
    }

    fn disconnect(&mut self, at: usize, acts: &mut Vec<Act>) {
        if let Some(conn) = self.clients[at].conn {
            self.conns.remove(&conn);
            self.clients[at].reset();
            acts.push(Act::Send {
                conn,
                requests: vec![Request::Disconnect],
            });
        }
    }

    fn publish(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>, ledger: &mut Ledger) {
        let live: Vec<usize> = (0..self.plan.queues.len())
            .filter(|queue| self.plan.queues[*queue] != Kind::Dead)
            .collect();
        let burst = rng.random_range(1..=self.plan.window);
        let client = &mut self.clients[at];
        let mut requests = Vec::new();
        for _ in 0..burst {
            if client.blocked || client.unconfirmed.len() >= self.plan.window {
                break;
            }
            let id = self.message_next;
            self.message_next += 1;
            client.order += 1;
            client.numbers += 1;
            client.unconfirmed.insert(client.numbers);
            let one = live[rng.random_range(0..live.len())];
            let name = queue_name(&self.plan, one);
            let (exchange, key, queues) = match rng.random_range(0..6) {
                0 => ("fan", String::new(), live.clone()),
                1 => ("topic", format!("a.{name}.b"), vec![one]),
                _ => ("", name, vec![one]),
            };
            let bytes = rng.random_range(8..self.plan.body_max.max(9));
            let Client { publisher, order, .. } = *client;
            let published = Published {
                publisher,
                order,
                queues,
                bytes,
                confirmed_ms: None,
                refused: false,
            };
            ledger.published(id, published);
            let message = Message::new(exchange, key.as_bytes(), &[0, 0], &body(id, bytes));
            requests.push(on_channel(ChannelRequest::Publish {
                message,
                mandatory: false,
            }));
        }
        if !requests.is_empty() {
            acts.push(Act::Send {
                conn: client.conn.expect("connected"),
                requests,
            });
        }
    }

    fn consume(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>) {
        let queue = queue_name(&self.plan, rng.random_range(0..self.plan.queues.len()));
        let forgetful = self.plan.forgetful;
        let client = &mut self.clients[at];
        let conn = client.conn.expect("connected");
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
                0 => settle(tag, false, Outcome::Requeue),
                1 => settle(tag, false, Outcome::Reject),
                2 if forgetful == 0 => {
                    let last = client.held.pop_back().unwrap_or(tag);
                    client.held.clear();
                    settle(last, true, Outcome::Ack)
                }
                _ => settle(tag, false, Outcome::Ack),
            });
        }
        if rng.random_bool(0.3) {
            requests.push(on_channel(passive(&queue)));
        }
        if !requests.is_empty() {
            acts.push(Act::Send { conn, requests });
        }
        match rng.random_range(0..200) {
            0 => {
                client.recovering += 1;
                acts.push(Act::Send {
                    conn,
                    requests: vec![on_channel(ChannelRequest::Recover { reply: true })],
                });
            }
            1 => {
                // The consumer is `c-` and its queue's name, for each queue; those that are none are no matter.
                let consumer = Name::from(format!("c-{queue}"));
                let cancel = on_channel(ChannelRequest::Cancel { consumer, reply: true });
                acts.push(Act::Send {
                    conn,
                    requests: vec![cancel],
                });
            }
            _ => {}
        }
    }

    fn meddle(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>) {
        let queue = queue_name(&self.plan, rng.random_range(0..self.plan.queues.len()));
        let client = &mut self.clients[at];
        let conn = client.conn.expect("connected");
        let request = match rng.random_range(0..40) {
            0 => ChannelRequest::PurgeQueue {
                name: Name::from(queue),
                reply: true,
            },
            1..4 => passive(&queue),
            4 => ChannelRequest::Recover { reply: true },
            5 => declare("temporary", Kind::Plain),
            6 => ChannelRequest::DeleteQueue {
                name: "temporary".into(),
                if_unused: rng.random_bool(0.5),
                if_empty: false,
                reply: rng.random_bool(0.5),
            },
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
            requests.push(settle(tag, false, outcome));
        }
        match &request {
            ChannelRequest::Recover { .. } => client.recovering += 1,
            ChannelRequest::Get { no_ack, .. } => client.gets.push_back(*no_ack),
            _ => {}
        }
        requests.push(on_channel(request));
        acts.push(Act::Send { conn, requests });
    }

    /// Asks for all counts; twice nothing anywhere means that all is out.
    fn drain(&mut self, at: usize, acts: &mut Vec<Act>) {
        let queues = self.plan.queues.len();
        let names: Vec<String> = (0..queues).map(|queue| queue_name(&self.plan, queue)).collect();
        let client = &mut self.clients[at];
        if client.asked && client.counts.len() < queues {
            return;
        }
        if client.asked {
            let empty = client.counts.values().all(|count| *count == 0) && client.heard == 0;
            client.empty_rounds = if empty { client.empty_rounds + 1 } else { 0 };
        }
        if client.empty_rounds > 3 {
            self.done = true;
            return;
        }
        client.asked = true;
        client.heard = 0;
        client.counts.clear();
        // Long enough between rounds for messages to expire and to be dead-lettered.
        let requests = names.iter().map(|name| on_channel(passive(name))).collect();
        acts.push(Act::Send {
            conn: client.conn.expect("connected"),
            requests,
        });
        if let Some(Act::Later { delay, .. }) = acts.first_mut() {
            *delay = 100 * MS;
        }
    }
}

impl Client {
    fn reset(&mut self) {
        self.conn = None;
        self.ready = false;
        self.numbers = 0;
        self.unconfirmed.clear();
        self.held.clear();
        self.gets.clear();
        self.recovering = 0;
        self.blocked = false;
        self.counts.clear();
        self.asked = false;
        self.empty_rounds = 0;
        self.heard = 0;
    }

    /// Takes a reply; how many bytes of message it brought.
    fn hear(&mut self, reply: ChannelReply) -> u64 {
        match reply {
            ChannelReply::Deliver {
                tag, message, consumer, ..
            } => {
                self.heard += 1;
                if !consumer.ends_with("!") {
                    self.held.push_back(tag);
                }
                message.bytes().len() as u64
            }
            ChannelReply::Got { tag, message, .. } => {
                if !self.gets.pop_front().expect("gets are answered in order") {
                    self.held.push_back(tag);
                }
                message.bytes().len() as u64
            }
            ChannelReply::Empty => {
                self.gets.pop_front();
                0
            }
            ChannelReply::Recovered => {
                self.held.clear();
                self.recovering -= 1;
                0
            }
            ChannelReply::Confirm {
                tag, multiple: true, ..
            } => {
                self.unconfirmed = self.unconfirmed.split_off(&(tag + 1));
                0
            }
            ChannelReply::Confirm { tag, .. } => {
                self.unconfirmed.remove(&tag);
                0
            }
            ChannelReply::QueueDeclared { name, messages, .. } => {
                self.counts.insert(name.to_string(), messages);
                self.ready = true;
                0
            }
            _ => 0,
        }
    }
}

fn on_channel(request: ChannelRequest) -> Request {
    Request::Channel { channel: 1, request }
}

fn settle(tag: u64, multiple: bool, outcome: Outcome) -> Request {
    on_channel(ChannelRequest::Settle { tag, multiple, outcome })
}

fn consume(queue: &str, no_ack: bool) -> ChannelRequest {
    let end = if no_ack { "!" } else { "" };
    ChannelRequest::Consume {
        queue: queue.into(),
        consumer: Name::from(format!("c-{queue}{end}")),
        no_ack,
        exclusive: false,
        arguments: Table::default(),
        reply: true,
    }
}

fn passive(queue: &str) -> ChannelRequest {
    ChannelRequest::DeclareQueue {
        name: queue.into(),
        passive: true,
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: Table::default(),
        reply: true,
    }
}

fn declare(queue: &str, kind: Kind) -> ChannelRequest {
    let mut arguments = Vec::new();
    let mut put = |name: &str, value: Value| arguments.push((Name::from(name), value));
    match kind {
        Kind::Expiring { ttl_ms } => {
            put("x-message-ttl", Value::I64(ttl_ms as i64));
            put("x-dead-letter-exchange", Value::from("dlx"));
        }
        Kind::Bounded { length } => {
            put("x-max-length", Value::I64(length as i64));
            put("x-dead-letter-exchange", Value::from("dlx"));
        }
        Kind::Refusing { length } => {
            put("x-max-length", Value::I64(length as i64));
            put("x-overflow", Value::from("reject-publish"));
        }
        Kind::Plain | Kind::Transient | Kind::Dead => {}
    }
    ChannelRequest::DeclareQueue {
        name: queue.into(),
        passive: false,
        durable: kind != Kind::Transient,
        exclusive: false,
        auto_delete: false,
        arguments: Table(arguments),
        reply: true,
    }
}

fn exchange(name: &str, kind: &str) -> ChannelRequest {
    ChannelRequest::DeclareExchange {
        name: name.into(),
        kind: kind.into(),
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: Table::default(),
        reply: true,
    }
}

fn bind(queue: &str, source: &str, key: &str) -> ChannelRequest {
    ChannelRequest::Bind {
        destination: Destination::Queue(queue.into()),
        source: source.into(),
        routing_key: key.into(),
        arguments: Table::default(),
        reply: true,
    }
}
