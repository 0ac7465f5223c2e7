//! A broker on a folder in memory, driven step by step: one test for each behaviour.
//!
//! What the broker says is compared as text: `declared q 0 0` (messages, consumers), `c 1 'body'` (consumer, tag, body;
//! `again` if it is marked redelivered), `got 1 'body' left 0`, `ack 3` or `ack ..3` (multiple), `failed: why`.

mod confirms;
mod consuming;
mod dead_letters;
mod lanes;
mod limits;
mod model;
mod queues;
mod restart;
mod storage;
mod topology;

use super::*;
use crate::api::{ChannelReply, ChannelRequest as R, Destination, Outcome};
use crate::disk::folder::Folder;
use crate::machine::{Time, Wall};
use crate::message::{Message, OwnedProperties, Table, Value};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A channel: connection and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Chan(u64, u16);

const A: Chan = Chan(1, 1);
const B: Chan = Chan(2, 1);

struct Broker {
    node: Node,
    config: Config,
    folder: Folder,
    now: Now,
    /// Writes are held back, in order, until [`Broker::release`].
    holding: bool,
    held: VecDeque<Command>,
    said: BTreeMap<Chan, Vec<String>>,
    told: BTreeMap<u64, Vec<String>>,
    /// Messages delivered, got and returned.
    messages: BTreeMap<Chan, Vec<Message>>,
    admin: VecDeque<AdminReply>,
    ready: Option<Recovery>,
    halted: Option<HaltCause>,
    stopped: bool,
}

fn small() -> Config {
    Config {
        segment_bytes: 32 << 10,
        cache_bytes: 1 << 20,
        checkpoint_bytes: 1 << 30,
        ..Config::default()
    }
}

impl Broker {
    fn new() -> Self {
        Self::start(small(), Folder::default())
    }

    fn start(config: Config, folder: Folder) -> Self {
        let broker = Self::open_folder(config, folder);
        assert_eq!(broker.halted, None);
        assert!(broker.ready.is_some(), "an undamaged folder makes a ready broker");
        broker
    }

    /// As far as it comes.
    fn open_folder(config: Config, folder: Folder) -> Self {
        let now = Now {
            mono: Time(1_000_000_000),
            wall: Wall(1_000_000),
        };
        let mut broker = Self {
            node: Node::open(config.clone(), folder.listing(), now),
            config,
            folder,
            now,
            holding: false,
            held: VecDeque::new(),
            said: BTreeMap::new(),
            told: BTreeMap::new(),
            messages: BTreeMap::new(),
            admin: VecDeque::new(),
            ready: None,
            halted: None,
            stopped: false,
        };
        broker.run();
        broker
    }

    /// The process dies and starts again; what was written and not synced is lost.
    fn crash(self) -> Self {
        let now = self.now;
        let folder = self.folder.crashed(|_| false);
        let mut broker = Self::start(self.config, folder);
        broker.now = now;
        broker
    }

    fn run(&mut self) {
        for _ in 0..1_000_000 {
            let Some(output) = self.node.poll() else {
                self.node.check();
                return;
            };
            assert_eq!(self.halted, None, "nothing leaves after a halt: {output:?}");
            match output {
                Output::Disk(command) => {
                    let write = matches!(command, Command::Write { .. });
                    if write && (self.holding || !self.held.is_empty()) {
                        self.held.push_back(command);
                    } else {
                        self.perform(command);
                    }
                }
                Output::Client { conn, replies } => replies.into_iter().for_each(|reply| self.hear(conn.0, reply)),
                Output::Admin { reply, .. } => self.admin.push_back(reply),
                Output::Ready(report) => assert_eq!(self.ready.replace(report), None, "ready once"),
                Output::Halt(cause) => self.halted = Some(cause),
                Output::Stopped => self.stopped = true,
            }
        }
        panic!("the broker does not come to rest");
    }

    fn perform(&mut self, command: Command) {
        if let Some(event) = self.folder.perform(command) {
            self.node.handle(self.now, Input::Disk(event));
        }
    }

    fn hold(&mut self) {
        self.holding = true;
    }

    /// The disk does all it was asked for, and goes on.
    fn release(&mut self) {
        self.holding = false;
        while let Some(command) = self.held.pop_front() {
            self.perform(command);
        }
        self.run();
    }

    fn request(&mut self, conn: u64, request: Request) {
        let (conn, requests) = (ConnId(conn), vec![request]);
        self.node.handle(self.now, Input::Client { conn, requests });
        self.run();
    }

    fn connect(&mut self, conn: u64) {
        let (vhost, user) = (Name::from("/"), Name::from("guest"));
        self.request(
            conn,
            Request::Connect {
                vhost,
                user,
                channels_max: 10,
            },
        );
        assert_eq!(self.told(conn), ["connected"]);
    }

    /// Opens a channel, and its connection before the first.
    fn open(&mut self, at: Chan) {
        if !self.told.contains_key(&at.0) {
            self.connect(at.0);
        }
        self.request(at.0, Request::OpenChannel { channel: at.1 });
        assert_eq!(self.said(at), ["opened"]);
    }

    fn with(channels: &[Chan]) -> Self {
        let mut broker = Self::new();
        channels.iter().for_each(|at| broker.open(*at));
        broker
    }

    /// What the broker answers on the channel.
    fn ask(&mut self, at: Chan, request: R) -> Vec<String> {
        self.request(at.0, Request::Channel { channel: at.1, request });
        self.said(at)
    }

    /// Many requests at once.
    fn ask_all(&mut self, at: Chan, requests: Vec<R>) -> Vec<String> {
        let requests = requests
            .into_iter()
            .map(|request| Request::Channel { channel: at.1, request });
        let (conn, requests) = (ConnId(at.0), requests.collect());
        self.node.handle(self.now, Input::Client { conn, requests });
        self.run();
        self.said(at)
    }

    /// What was said on the channel since it was last asked.
    fn said(&mut self, at: Chan) -> Vec<String> {
        self.said.insert(at, Vec::new()).unwrap_or_default()
    }

    /// What was said to the connection as a whole.
    fn told(&mut self, conn: u64) -> Vec<String> {
        self.told.insert(conn, Vec::new()).unwrap_or_default()
    }

    /// The messages that came on the channel since it was last asked.
    fn messages(&mut self, at: Chan) -> Vec<Message> {
        self.messages.remove(&at).unwrap_or_default()
    }

    fn publish(&mut self, at: Chan, queue: &str, bodies: &[&str]) {
        for body in bodies {
            self.request(
                at.0,
                Request::Channel {
                    channel: at.1,
                    request: publish("", queue, body),
                },
            );
        }
    }

    /// Bodies of everything ready, in order, taken for good; `again` is not looked at.
    fn drain(&mut self, at: Chan, queue: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let said = self.ask(at, get_no_ack(queue));
            let [said] = &said[..] else { panic!("{said:?}") };
            if said == "empty" {
                self.messages(at);
                return bodies;
            }
            bodies.push(said.split('\'').nth(1).expect("a body").to_owned());
        }
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now = Now {
            mono: self.now.mono.after_ms(ms),
            wall: Wall(self.now.wall.0 + ms),
        };
        self.node.handle(self.now, Input::Tick);
        self.run();
    }

    fn administer(&mut self, request: AdminRequest) -> AdminReply {
        self.node.handle(self.now, Input::Admin { id: 1, request });
        self.run();
        self.admin.pop_front().expect("an operator is answered")
    }

    fn stats(&mut self) -> Stats {
        match self.administer(AdminRequest::Stats) {
            AdminReply::Stats(stats) => *stats,
            other => panic!("{other:?}"),
        }
    }

    fn stop(&mut self) {
        self.node.handle(self.now, Input::Stop);
        self.run();
    }

    fn hear(&mut self, conn: u64, reply: Reply) {
        let text = match reply {
            Reply::Channel { channel, reply } => {
                let at = Chan(conn, channel);
                let text = self.text(at, reply);
                self.said.entry(at).or_default().push(text);
                return;
            }
            Reply::Connected => "connected".into(),
            Reply::Refused(fault) => format!("refused: {}", fault.cause),
            Reply::Disconnected => "disconnected".into(),
            Reply::Blocked { reason } => format!("blocked: {reason}"),
            Reply::Unblocked => "unblocked".into(),
            Reply::Hold => "hold".into(),
            Reply::GoOn => "go on".into(),
            Reply::Failed(fault) => format!("failed: {}", fault.cause),
        };
        self.told.entry(conn).or_default().push(text);
    }

    fn text(&mut self, at: Chan, reply: ChannelReply) -> String {
        use ChannelReply as C;
        let mut body = |message: Message| {
            let text = String::from_utf8_lossy(message.body()).into_owned();
            self.messages.entry(at).or_default().push(message);
            text
        };
        let mark = |redelivered| if redelivered { " again" } else { "" };
        match reply {
            C::QueueDeclared {
                name,
                messages,
                consumers,
            } => format!("declared {name} {messages} {consumers}"),
            C::QueuePurged { messages } => format!("purged {messages}"),
            C::QueueDeleted { messages } => format!("deleted {messages}"),
            C::Consuming { consumer } => format!("consuming {consumer}"),
            C::Cancelled { consumer } => format!("cancelled {consumer}"),
            C::CancelledByServer { consumer } => format!("ended {consumer}"),
            C::Deliver {
                consumer,
                tag,
                redelivered,
                message,
            } => format!("{consumer} {tag} '{}'{}", body(message), mark(redelivered)),
            C::Got {
                tag,
                redelivered,
                message,
                messages,
            } => format!("got {tag} '{}'{} left {messages}", body(message), mark(redelivered)),
            C::Confirm { tag, multiple, ok } => {
                let (word, dots) = (if ok { "ack" } else { "nack" }, if multiple { ".." } else { "" });
                format!("{word} {dots}{tag}")
            }
            C::Return { message } => format!("return '{}'", body(message)),
            C::Failed(fault) => format!("failed: {}", fault.cause),
            C::Bound { exchange } => format!("bound{}", if exchange { " exchange" } else { "" }),
            C::Unbound { exchange } => format!("unbound{}", if exchange { " exchange" } else { "" }),
            plain => format!("{plain:?}").to_lowercase(),
        }
    }
}

fn table(fields: &[(&str, Value)]) -> Table {
    Table(
        fields
            .iter()
            .map(|(name, value)| (Name::from(*name), value.clone()))
            .collect(),
    )
}

/// A durable queue.
fn queue(name: &str) -> R {
    queue_with(name, &[])
}

fn queue_with(name: &str, arguments: &[(&str, Value)]) -> R {
    R::DeclareQueue {
        name: name.into(),
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        arguments: table(arguments),
        reply: true,
    }
}

fn changed(mut request: R, change: impl FnOnce(&mut bool, &mut bool, &mut bool, &mut bool, &mut bool)) -> R {
    match &mut request {
        R::DeclareQueue {
            passive,
            durable,
            exclusive,
            auto_delete,
            reply,
            ..
        } => change(passive, durable, exclusive, auto_delete, reply),
        other => panic!("{other:?}"),
    }
    request
}

fn transient(name: &str) -> R {
    changed(queue(name), |_, durable, _, _, _| *durable = false)
}

fn exclusive(name: &str) -> R {
    changed(queue(name), |_, durable, exclusive, _, _| {
        (*durable, *exclusive) = (false, true)
    })
}

fn passive(name: &str) -> R {
    changed(queue(name), |passive, _, _, _, _| *passive = true)
}

fn auto_delete(name: &str) -> R {
    changed(queue(name), |_, _, _, auto_delete, _| *auto_delete = true)
}

fn exchange(name: &str, kind: &str) -> R {
    exchange_with(name, kind, &[])
}

fn exchange_with(name: &str, kind: &str, arguments: &[(&str, Value)]) -> R {
    R::DeclareExchange {
        name: name.into(),
        kind: kind.into(),
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: table(arguments),
        reply: true,
    }
}

fn bind(source: &str, queue: &str, key: &str) -> R {
    R::Bind {
        destination: Destination::Queue(queue.into()),
        source: source.into(),
        routing_key: key.into(),
        arguments: Table::default(),
        reply: true,
    }
}

fn publish(exchange: &str, key: &str, body: &str) -> R {
    publish_with(exchange, key, body, &OwnedProperties::default())
}

fn publish_with(exchange: &str, key: &str, body: &str, properties: &OwnedProperties) -> R {
    R::Publish {
        message: Message::new(exchange, key.as_bytes(), &properties.to_vec(), body.as_bytes()),
        mandatory: false,
    }
}

fn mandatory(exchange: &str, key: &str, body: &str) -> R {
    R::Publish {
        message: Message::new(exchange, key.as_bytes(), &[0, 0], body.as_bytes()),
        mandatory: true,
    }
}

/// A message with an expiration of its own.
fn expiring(key: &str, body: &str, ms: &str) -> R {
    let properties = OwnedProperties {
        expiration: Some(Bytes::copy_from_slice(ms.as_bytes())),
        ..OwnedProperties::default()
    };
    publish_with("", key, body, &properties)
}

fn consume(queue: &str, consumer: &str) -> R {
    R::Consume {
        queue: queue.into(),
        consumer: consumer.into(),
        no_ack: false,
        exclusive: false,
        arguments: Table::default(),
        reply: true,
    }
}

fn cancel(consumer: &str) -> R {
    R::Cancel {
        consumer: consumer.into(),
        reply: true,
    }
}

fn get(queue: &str) -> R {
    R::Get {
        queue: queue.into(),
        no_ack: false,
    }
}

fn get_no_ack(queue: &str) -> R {
    R::Get {
        queue: queue.into(),
        no_ack: true,
    }
}

fn purge(queue: &str) -> R {
    R::PurgeQueue {
        name: queue.into(),
        reply: true,
    }
}

fn delete(queue: &str) -> R {
    R::DeleteQueue {
        name: queue.into(),
        if_unused: false,
        if_empty: false,
        reply: true,
    }
}

const fn settle(tag: u64, outcome: Outcome) -> R {
    R::Settle {
        tag,
        multiple: false,
        outcome,
    }
}

const fn ack(tag: u64) -> R {
    settle(tag, Outcome::Ack)
}

const fn ack_upto(tag: u64) -> R {
    R::Settle {
        tag,
        multiple: true,
        outcome: Outcome::Ack,
    }
}

const fn requeue(tag: u64) -> R {
    settle(tag, Outcome::Requeue)
}

const fn reject(tag: u64) -> R {
    settle(tag, Outcome::Reject)
}

const fn qos(count: u16) -> R {
    R::Qos { count, global: false }
}

const CONFIRM: R = R::ConfirmSelect { reply: true };
