//! Publishers, consumers, meddlers and others, and the one that empties the queues at the end.
//!
//! A client has a channel; several share a connection. A connection that dies takes all its clients' channels along.

pub(crate) mod requests;
mod rough;
mod work;

use crate::checkers::Ledger;
use crate::plan::{DELAY_MS_MAX, MS, Plan};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use requests::{consume, declarations, on, settle};
use rough::Visit;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waystation_core::api::{ChannelReply, ChannelRequest, ConnId, Outcome, Reply, Request};

/// Rounds of counts, 100 ms apart, in which nothing is anywhere: longer than any message waits.
const EMPTY_ROUNDS: u32 = 2 + (DELAY_MS_MAX / 100) as u32;

/// What a client does to the world.
pub(crate) enum Act {
    Send { conn: ConnId, requests: Vec<Request> },
    Later { client: usize, generation: u64, delay: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Publisher,
    Committer,
    Consumer,
    Meddler,
    Visitor,
    Churner,
    Drainer,
}

/// A connection, or the place of one.
#[derive(Debug, Default)]
struct Link {
    conn: Option<ConnId>,
    /// It never says that it read what came.
    mute: bool,
    blocked: bool,
}

#[derive(Debug)]
struct Client {
    role: Role,
    link: usize,
    channel: u16,
    /// Acts of an earlier generation are void.
    generation: u64,
    /// Its channel was asked for.
    open: bool,
    /// Its channel is being closed, and is opened again after that.
    closing: bool,
    /// Replies of the channel were seen: it is open.
    ready: bool,
    greeted: u32,
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
    /// Settlements of the transaction, to be taken up again if it is rolled back.
    pledged: Vec<u64>,
    /// A commit or a rollback is under way.
    deciding: bool,
    visit: Visit,
    crowded: bool,
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
    links: Vec<Link>,
    /// Connections that said goodbye and are not answered: what they asked before may still wait, and they hold messages.
    leaving: BTreeSet<ConnId>,
    conn_next: u64,
    message_next: u64,
    publisher_next: u32,
    transaction_next: u64,
    visit_next: u64,
    healing: bool,
    /// Connections of others that speak bytes are not ended yet.
    pub(crate) others_linger: bool,
    done: bool,
}

impl Clients {
    pub(crate) fn new(plan: &Plan) -> Self {
        let sharing = [
            (Role::Publisher, plan.publishers),
            (Role::Committer, plan.committers),
            (Role::Consumer, plan.consumers),
            (Role::Meddler, plan.meddlers),
        ];
        let alone = [
            (Role::Visitor, plan.visitors),
            (Role::Churner, plan.churners),
            (Role::Drainer, 1),
        ];
        let mut clients = Vec::new();
        let mut links: usize = 0;
        let all = |roles: &[(Role, usize)]| -> Vec<Role> {
            roles
                .iter()
                .flat_map(|(role, count)| std::iter::repeat_n(*role, *count))
                .collect()
        };
        for (number, role) in all(&sharing).into_iter().enumerate() {
            let channel = 1 + (number % plan.channels) as u16;
            links += usize::from(channel == 1);
            clients.push(Client::new(role, links - 1, channel));
        }
        for role in all(&alone) {
            links += 1;
            let channel = if role == Role::Churner {
                crate::checkers::ROUGH
            } else {
                1
            };
            clients.push(Client::new(role, links - 1, channel));
        }
        Self {
            clients,
            links: (0..links).map(|_| Link::default()).collect(),
            leaving: BTreeSet::new(),
            conn_next: 1,
            message_next: 1,
            publisher_next: 1,
            transaction_next: 1,
            visit_next: 1,
            healing: false,
            others_linger: false,
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

    /// A name for each connection's place: its clients' numbers and roles.
    pub(crate) fn lanes(&self) -> Vec<String> {
        let name = |link: usize| {
            let clients = self
                .clients
                .iter()
                .enumerate()
                .filter(|(_, client)| client.link == link);
            let named = clients.map(|(number, client)| format!("{number} {:?}", client.role).to_lowercase());
            named.collect::<Vec<_>>().join(", ")
        };
        (0..self.links.len()).map(name).collect()
    }

    /// Whether a client goes on as before if this request never leaves it: it waits for no answer, and nothing that the
    /// account takes for granted depends on it. A transaction is all or nothing, and so are its publishes; a visitor's
    /// queue goes with its consumer.
    pub(crate) fn is_optional(&self, client: usize, request: &Request) -> bool {
        let Request::Channel { request, .. } = request else {
            return false;
        };
        let role = self.clients[client].role;
        match request {
            ChannelRequest::Publish { .. } => matches!(role, Role::Publisher | Role::Churner),
            ChannelRequest::Settle { .. } => matches!(role, Role::Consumer | Role::Committer | Role::Meddler),
            ChannelRequest::Consume { .. } | ChannelRequest::Qos { .. } => {
                matches!(role, Role::Consumer | Role::Committer)
            }
            _ => false,
        }
    }

    /// The place of a connection, as long as it lives.
    pub(crate) fn lane_of(&self, conn: ConnId) -> Option<usize> {
        self.links.iter().position(|link| link.conn == Some(conn))
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
        format!(
            "queue counts {:?}, drainer ready: {}, connections that are not answered their goodbye: {:?}",
            drainer.counts, drainer.ready, self.leaving
        )
    }

    pub(crate) fn crashed(&mut self) {
        self.links.iter_mut().for_each(|link| *link = Link::default());
        self.leaving.clear();
        for client in &mut self.clients {
            client.generation += 1;
            client.reset();
        }
    }

    /// A connection is gone, and not by its clients' doing.
    pub(crate) fn lost(&mut self, conn: ConnId) {
        if let Some(number) = self.links.iter().position(|link| link.conn == Some(conn)) {
            self.links[number] = Link::default();
            let mine = self.clients.iter_mut().filter(|client| client.link == number);
            mine.for_each(Client::reset);
        }
    }

    /// The connection of the client that empties the queues.
    pub(crate) fn drainer_conn(&self) -> Option<ConnId> {
        self.links.last().and_then(|link| link.conn)
    }

    /// A client's turn.
    pub(crate) fn act(&mut self, at: usize, generation: u64, rng: &mut ChaCha8Rng, ledger: &mut Ledger) -> Vec<Act> {
        let absent = self.plan.absent.contains(&at) && self.clients[at].role != Role::Drainer;
        if self.clients[at].generation != generation || self.done || absent {
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
        if !self.clients[at].open {
            self.connect(at, rng, &mut acts);
            return acts;
        }
        if !self.clients[at].ready || self.clients[at].closing {
            return acts;
        }
        if !drainer && rng.random_range(0..1000) < self.plan.deaths {
            if rng.random_bool(0.5) {
                self.disconnect(at, &mut acts);
            } else {
                self.close(at, &mut acts);
            }
            return acts;
        }
        self.work(at, rng, &mut acts, ledger);
        acts
    }

    fn work(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>, ledger: &mut Ledger) {
        match self.clients[at].role {
            Role::Publisher => self.publish(at, rng, acts, ledger),
            Role::Committer => self.transact(at, rng, acts, ledger),
            Role::Consumer => self.consume(at, rng, acts),
            Role::Meddler => self.meddle(at, rng, acts),
            Role::Visitor => self.visit(at, rng, acts, ledger),
            Role::Churner => self.churn(at, rng, acts, ledger),
            Role::Drainer => self.drain(at, acts),
        }
    }

    /// Replies come in.
    pub(crate) fn hear(&mut self, conn: ConnId, replies: Vec<Reply>) -> Vec<Act> {
        if replies.iter().any(|reply| matches!(reply, Reply::Disconnected)) {
            self.leaving.remove(&conn);
        }
        let Some(link) = self.links.iter().position(|link| link.conn == Some(conn)) else {
            return Vec::new();
        };
        let mut drained = 0;
        let mut requests = Vec::new();
        for reply in replies {
            match reply {
                Reply::Blocked { .. } => self.links[link].blocked = true,
                Reply::Unblocked => self.links[link].blocked = false,
                Reply::Channel { channel, reply } => drained += self.hear_channel(link, channel, reply, &mut requests),
                // These clients never have a mebibyte of requests in line.
                Reply::Hold | Reply::GoOn => {}
                Reply::Connected | Reply::Disconnected | Reply::Refused(_) | Reply::Failed(_) => {}
            }
        }
        if drained > 0 && !self.links[link].mute {
            requests.push(Request::Drained { bytes: drained });
        }
        if requests.is_empty() {
            Vec::new()
        } else {
            vec![Act::Send { conn, requests }]
        }
    }

    /// A reply on a channel: bytes of messages that it brought.
    fn hear_channel(&mut self, link: usize, channel: u16, reply: ChannelReply, requests: &mut Vec<Request>) -> u64 {
        let mine =
            |client: &&mut Client| client.link == link && (client.channel == channel || client.role == Role::Visitor);
        let Some(client) = self.clients.iter_mut().find(mine) else {
            return 0;
        };
        let drained = match reply {
            ChannelReply::Closed if client.channel == channel => {
                client.reset();
                0
            }
            ChannelReply::Failed(_) => {
                client.closing |= client.channel == channel;
                requests.push(Request::CloseChannel { channel });
                0
            }
            reply => client.hear(reply),
        };
        if client.role == Role::Drainer {
            let held = std::mem::take(&mut client.held);
            requests.extend(held.into_iter().map(|tag| settle(1, tag, false, Outcome::Ack)));
        }
        drained
    }

    fn connect(&mut self, at: usize, rng: &mut ChaCha8Rng, acts: &mut Vec<Act>) {
        let link = &mut self.links[self.clients[at].link];
        let mut requests = Vec::new();
        let conn = *link.conn.get_or_insert_with(|| {
            self.conn_next += 1;
            requests.push(Request::Connect {
                vhost: "/".into(),
                user: "guest".into(),
                channels_max: 10,
            });
            ConnId(self.conn_next - 1)
        });
        if !requests.is_empty() {
            let may = matches!(self.clients[at].role, Role::Consumer | Role::Meddler);
            *link = Link {
                conn: Some(conn),
                mute: may && rng.random_range(0..1000) < self.plan.mute,
                blocked: false,
            };
        }
        let client = &mut self.clients[at];
        client.open = true;
        let channel = client.channel;
        requests.push(Request::OpenChannel { channel });
        let role = client.role;
        if matches!(role, Role::Publisher | Role::Committer) {
            client.publisher = self.publisher_next;
            self.publisher_next += 1;
        }
        let mut asked = if role == Role::Visitor {
            Vec::new()
        } else {
            declarations(&self.plan)
        };
        asked.extend(self.beginnings(role, rng));
        // The last answer makes it ready.
        asked.push(requests::passive("dlq"));
        if role == Role::Visitor {
            asked = self.arrive(at, rng);
        }
        requests.extend(asked.into_iter().map(|request| on(channel, request)));
        acts.push(Act::Send { conn, requests });
    }

    /// What a role begins with.
    fn beginnings(&self, role: Role, rng: &mut ChaCha8Rng) -> Vec<ChannelRequest> {
        let queues = self.plan.queues.len();
        let mut requests = Vec::new();
        match role {
            Role::Publisher => requests.push(ChannelRequest::ConfirmSelect { reply: true }),
            Role::Committer | Role::Consumer => {
                if role == Role::Committer {
                    requests.push(ChannelRequest::TxSelect);
                }
                let count = [0, 1, 2, 10, 100][rng.random_range(0..5)];
                let global = rng.random_bool(0.3);
                requests.push(ChannelRequest::Qos { count, global });
                for _ in 0..rng.random_range(1..3) {
                    let name = self.plan.name(rng.random_range(0..queues));
                    let no_ack = role == Role::Consumer && rng.random_bool(0.1);
                    let end = if no_ack { "!" } else { "" };
                    requests.push(consume(&name, format!("c{}-{name}{end}", requests.len()), no_ack));
                }
            }
            Role::Drainer => {
                requests.push(ChannelRequest::Qos {
                    count: 50,
                    global: false,
                });
                let names = (0..queues).map(|queue| self.plan.name(queue));
                requests.extend(names.map(|name| consume(&name, format!("c-{name}"), false)));
            }
            Role::Meddler | Role::Visitor | Role::Churner => {}
        }
        requests
    }

    /// The connection is gone, for all its clients.
    fn disconnect(&mut self, at: usize, acts: &mut Vec<Act>) {
        let number = self.clients[at].link;
        if let Some(conn) = std::mem::take(&mut self.links[number]).conn {
            self.clients
                .iter_mut()
                .filter(|client| client.link == number)
                .for_each(Client::reset);
            self.leaving.insert(conn);
            acts.push(Act::Send {
                conn,
                requests: vec![Request::Disconnect],
            });
        }
    }

    /// The channel is closed, and opened again when that is answered.
    fn close(&mut self, at: usize, acts: &mut Vec<Act>) {
        let client = &mut self.clients[at];
        if let Some(conn) = self.links[client.link].conn
            && client.role != Role::Visitor
        {
            client.closing = true;
            acts.push(Act::Send {
                conn,
                requests: vec![Request::CloseChannel {
                    channel: client.channel,
                }],
            });
        }
    }

    /// Whether nobody but the drainer is connected.
    fn is_alone(&self) -> bool {
        !self.others_linger
            && self.leaving.is_empty()
            && self.links.iter().filter(|link| link.conn.is_some()).count() == 1
    }

    /// Asks for all counts; nothing anywhere a few times, with everybody else gone, means that all is out.
    fn drain(&mut self, at: usize, acts: &mut Vec<Act>) {
        let alone = self.is_alone();
        let names: Vec<String> = (0..self.plan.queues.len()).map(|queue| self.plan.name(queue)).collect();
        let client = &mut self.clients[at];
        if client.asked && client.counts.len() < names.len() {
            return;
        }
        if client.asked {
            let empty = alone && client.counts.values().all(|count| *count == 0) && client.heard == 0;
            client.empty_rounds = if empty { client.empty_rounds + 1 } else { 0 };
        }
        if client.empty_rounds > EMPTY_ROUNDS {
            self.done = true;
            return;
        }
        client.asked = true;
        client.heard = 0;
        client.counts.clear();
        // Long enough between rounds for messages to expire and to be dead-lettered.
        let requests = names.iter().map(|name| on(1, requests::passive(name))).collect();
        acts.push(Act::Send {
            conn: self.links[client.link].conn.expect("connected"),
            requests,
        });
        if let Some(Act::Later { delay, .. }) = acts.first_mut() {
            *delay = 100 * MS;
        }
    }
}

impl Client {
    fn new(role: Role, link: usize, channel: u16) -> Self {
        Self {
            role,
            link,
            channel,
            generation: 0,
            open: false,
            closing: false,
            ready: false,
            greeted: 0,
            publisher: 0,
            numbers: 0,
            unconfirmed: BTreeSet::new(),
            order: 0,
            held: VecDeque::new(),
            gets: VecDeque::new(),
            recovering: 0,
            pledged: Vec::new(),
            deciding: false,
            visit: Visit::default(),
            crowded: false,
            counts: BTreeMap::new(),
            asked: false,
            empty_rounds: 0,
            heard: 0,
        }
    }

    /// Its channel is gone. What it remembers of others' stays.
    fn reset(&mut self) {
        let fresh = Self::new(self.role, self.link, self.channel);
        let visit = std::mem::take(&mut self.visit);
        *self = Self {
            generation: self.generation,
            crowded: self.crowded,
            visit,
            ..fresh
        };
    }

    /// Takes a reply; how many bytes of message it brought.
    fn hear(&mut self, reply: ChannelReply) -> u64 {
        match reply {
            ChannelReply::Deliver {
                tag, message, consumer, ..
            } => {
                self.heard += 1;
                if !consumer.ends_with('!') {
                    self.held.push_back(tag);
                }
                return message.bytes().len() as u64;
            }
            ChannelReply::Got { tag, message, .. } => {
                if !self.gets.pop_front().expect("gets are answered in order") {
                    self.held.push_back(tag);
                }
                return message.bytes().len() as u64;
            }
            ChannelReply::Return { message } => return message.bytes().len() as u64,
            ChannelReply::Empty => drop(self.gets.pop_front()),
            ChannelReply::Recovered => {
                self.held.clear();
                self.recovering -= 1;
            }
            ChannelReply::Confirm {
                tag, multiple: true, ..
            } => {
                self.unconfirmed = self.unconfirmed.split_off(&(tag + 1));
            }
            ChannelReply::Confirm { tag, .. } => drop(self.unconfirmed.remove(&tag)),
            ChannelReply::TxCommitted => {
                self.deciding = false;
                self.pledged.clear();
            }
            ChannelReply::TxRolledBack => {
                self.deciding = false;
                self.held.extend(self.pledged.drain(..));
                self.held.make_contiguous().sort_unstable();
            }
            ChannelReply::QueueDeclared { name, messages, .. } => {
                self.visit.hear(&name);
                // First its declaration is answered, then the last request of the beginning.
                self.greeted += u32::from(&*name == "dlq");
                self.ready = self.greeted >= 2;
                self.counts.insert(name.to_string(), messages);
            }
            _ => {}
        }
        0
    }
}
