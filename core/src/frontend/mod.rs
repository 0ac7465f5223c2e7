//! The frontend: connections and channels on one side, the shard on the other, messages between.
//!
//! It routes from its own copy of the catalog, numbers deliveries and publishes, and keeps each channel's requests in
//! order: while the shard owes an answer, later requests of that channel wait. A confirm or an answer leaves only when
//! the shard said so, which is when it is durable.
//!
//! | module | holds |
//! |---|---|
//! | `channel` | deliveries, confirms, modes |
//! | `requests`, `topology` | what sessions ask |
//! | `publish` | routing a message |
//! | `answers` | what the shard says |

mod answers;
mod channel;
mod publish;
mod requests;
mod topology;

use crate::api::{Cause, ChannelReply, ChannelRequest, ConnId, Fault, Name, Object, Operation, Reply, Request};
use crate::catalog::{Catalog, Change, QueueId};
use crate::knob;
use crate::machine::Now;
use crate::mark::{self, Mark};
use crate::node::{AdminReply, Config};
use crate::plant::{self, Plant};
use crate::shard::{ConsumerId, GroupId, Input, Token};
use channel::Channel;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The frontend.
#[derive(Debug)]
pub(crate) struct Frontend {
    config: Config,
    pub(crate) catalog: Catalog,
    connections: BTreeMap<ConnId, Connection>,
    channels: BTreeMap<GroupId, Channel>,
    consumers: BTreeMap<ConsumerId, ConsumerAt>,
    /// Requests that the shard will answer.
    asked: BTreeMap<u64, Asked>,
    next_id: u64,
    queue_next: u64,
    /// Channels with confirms to tell.
    confirming: BTreeSet<GroupId>,
    /// Connections with replies to send.
    replying: BTreeSet<ConnId>,
    to_shard: VecDeque<Input>,
    admin: VecDeque<(u64, AdminReply)>,
    /// Bytes of publishes that wait behind other requests.
    backlog_bytes: u64,
    shard_blocked: Option<&'static str>,
    blocked: bool,
    pub(crate) counters: Counters,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) published: u64,
    pub(crate) published_bytes: u64,
    pub(crate) unroutable: u64,
    pub(crate) confirmed: u64,
    pub(crate) refused: u64,
}

#[derive(Debug)]
struct Connection {
    vhost: Name,
    user: Name,
    channels: BTreeMap<u16, GroupId>,
    channels_max: u16,
    /// Channels whose end is not yet answered: a successor's answers come after it.
    closing: BTreeSet<u16>,
    /// Bytes of messages on their way to the peer.
    unread_bytes: u64,
    paused: bool,
    /// Bytes of its requests that wait in line, and whether it was told to hold.
    waiting_bytes: u64,
    held: bool,
    replies: Vec<Reply>,
    /// The session has ended; what belonged to it is being removed.
    ending: bool,
}

#[derive(Debug)]
struct ConsumerAt {
    group: GroupId,
    tag: Name,
    no_ack: bool,
}

/// Who asked the shard.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Channel(GroupId),
    /// The end of a connection waits for everything before it.
    End(ConnId),
    /// So does the end of a channel.
    Closed(ConnId, u16),
    /// An operator, with the driver's number.
    Admin(u64),
    /// Nobody waits.
    Nobody,
}

impl Frontend {
    pub(crate) fn new(config: Config, catalog: Catalog) -> Self {
        let queue_next = catalog.queue_next();
        Self {
            config,
            catalog,
            connections: BTreeMap::new(),
            channels: BTreeMap::new(),
            consumers: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_id: 1,
            queue_next,
            confirming: BTreeSet::new(),
            replying: BTreeSet::new(),
            to_shard: VecDeque::new(),
            admin: VecDeque::new(),
            backlog_bytes: 0,
            shard_blocked: None,
            blocked: false,
            counters: Counters::default(),
        }
    }

    /// Applies one request of a session.
    pub(crate) fn handle(&mut self, now: Now, conn: ConnId, request: Request) {
        match request {
            Request::Connect {
                vhost,
                user,
                channels_max,
            } => self.connect(conn, vhost, user, channels_max),
            Request::Disconnect => self.disconnect(conn),
            Request::OpenChannel { channel } => self.open_channel(conn, channel),
            Request::CloseChannel { channel } => self.close_channel(conn, channel),
            Request::Channel { channel, request } => {
                let open = self
                    .connections
                    .get(&conn)
                    .and_then(|connection| connection.channels.get(&channel));
                if let Some(group) = open.copied() {
                    self.request(now, group, request);
                }
            }
            Request::Drained { bytes } => self.drained(conn, bytes),
        }
    }

    /// The next message for the shard.
    pub(crate) fn poll_shard(&mut self) -> Option<Input> {
        self.to_shard.pop_front()
    }

    /// The next connection with replies, and they.
    pub(crate) fn poll_replies(&mut self) -> Option<(ConnId, Vec<Reply>)> {
        while let Some(group) = self.confirming.pop_first() {
            self.tell_confirms(group);
        }
        let conn = self.replying.pop_first()?;
        let connection = self.connections.get_mut(&conn)?;
        let mut replies = std::mem::take(&mut connection.replies);
        let is_last = |reply: &Reply| matches!(reply, Reply::Disconnected | Reply::Refused(_));
        if let Some(last) = replies.iter().position(is_last) {
            // What is said to all connections may have come behind it.
            replies.truncate(last + 1);
            self.connections.remove(&conn);
        }
        Some((conn, replies))
    }

    /// The next answer to an operator, with the driver's number.
    pub(crate) fn poll_admin(&mut self) -> Option<(u64, AdminReply)> {
        self.admin.pop_front()
    }

    /// Answers an operator.
    pub(crate) fn tell_admin(&mut self, id: u64, reply: AdminReply) {
        self.admin.push_back((id, reply));
    }

    /// Connections, channels and consumers.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (
            self.connections.len() as u64,
            self.channels.len() as u64,
            self.consumers.len() as u64,
        )
    }

    /// An operator purges or deletes a queue.
    pub(crate) fn administer(&mut self, id: u64, queue: QueueId, delete: bool) {
        let token = self.ask(Asked::Admin(id));
        self.to_shard.push_back(if delete {
            Input::Change {
                token,
                change: Change::DeleteQueue { id: queue },
                guard: crate::shard::Guard::default(),
            }
        } else {
            Input::Purge {
                token,
                queue,
                behind: false,
            }
        });
    }

    /// Deliveries that its channels hold, those settled in an open transaction included.
    pub(crate) fn held(&self) -> impl Iterator<Item = (QueueId, u64)> {
        self.channels.values().flat_map(|channel| {
            let settles = channel.transaction.iter().flat_map(|open| &open.settles);
            let pledged = settles.map(|(one, _)| (one.queue, one.sequence));
            channel.deliveries.held().chain(pledged)
        })
    }

    /// Panics on a broken invariant.
    pub(crate) fn check(&self) {
        self.catalog.check();
        for (conn, connection) in &self.connections {
            for (number, group) in &connection.channels {
                let channel = &self.channels[group];
                assert_eq!(
                    (channel.conn, channel.number),
                    (*conn, *number),
                    "channels and connections agree"
                );
            }
        }
        for (id, at) in &self.consumers {
            assert_eq!(
                self.channels[&at.group].consumers.get(&at.tag),
                Some(id),
                "consumers and channels agree"
            );
        }
        let backlog: u64 = self
            .channels
            .values()
            .flat_map(|channel| &channel.backlog)
            .map(backlog_bytes)
            .sum();
        assert_eq!(backlog, self.backlog_bytes, "waiting publishes are counted");
    }

    fn ask(&mut self, asked: Asked) -> Token {
        let id = self.id();
        self.asked.insert(id, asked);
        Token::Request(id)
    }

    const fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn reply(&mut self, conn: ConnId, reply: Reply) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.replies.push(reply);
            self.replying.insert(conn);
        }
    }

    fn say(&mut self, group: GroupId, reply: ChannelReply) {
        let Some(channel) = self.channels.get(&group) else {
            return;
        };
        let (conn, channel) = (channel.conn, channel.number);
        self.reply(conn, Reply::Channel { channel, reply });
    }

    fn connect(&mut self, conn: ConnId, vhost: Name, user: Name, channels_max: u16) {
        let known = self.catalog.has_vhost(&vhost);
        let connection = Connection {
            vhost: vhost.clone(),
            user,
            channels: BTreeMap::new(),
            channels_max,
            closing: BTreeSet::new(),
            unread_bytes: 0,
            paused: false,
            waiting_bytes: 0,
            held: false,
            replies: Vec::new(),
            ending: false,
        };
        let before = self.connections.insert(conn, connection);
        assert!(before.is_none(), "connection numbers are never reused");
        if known {
            self.reply(conn, Reply::Connected);
            if self.blocked {
                self.reply(
                    conn,
                    Reply::Blocked {
                        reason: self.shard_blocked.unwrap_or("busy"),
                    },
                );
            }
        } else {
            let cause = Cause::NotFound {
                object: Object::Vhost,
                name: vhost,
            };
            self.reply(
                conn,
                Reply::Refused(Fault {
                    operation: Operation::Connect,
                    cause,
                }),
            );
        }
    }

    /// The connection ends once everything that it asked for before is done.
    fn disconnect(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.ending = true;
        // It takes no more deliveries.
        self.to_shard.push_back(Input::Pause { conn, paused: true });
        let groups: Vec<GroupId> = connection.channels.values().copied().collect();
        if groups.is_empty() {
            self.end_connection(conn);
        }
        // The last of its channels ends the connection.
        for group in groups {
            self.channels
                .get_mut(&group)
                .expect("the channel is open")
                .ending
                .get_or_insert(false);
            self.end_if_done(group);
        }
    }

    fn end_connection_if_done(&mut self, conn: ConnId) {
        if self
            .connections
            .get(&conn)
            .is_some_and(|connection| connection.ending && connection.channels.is_empty())
        {
            self.end_connection(conn);
        }
    }

    /// Removes what belongs to the connection; says so once that is durable.
    fn end_connection(&mut self, conn: ConnId) {
        for queue in self.catalog.exclusive_queues(conn) {
            if plant::is(Plant::ExclusiveOutlives) {
                break;
            }
            mark::hit(Mark::ExclusiveGone);
            let token = self.ask(Asked::Nobody);
            let change = Change::DeleteQueue { id: queue };
            self.to_shard.push_back(Input::Change {
                token,
                change,
                guard: crate::shard::Guard::default(),
            });
        }
        let token = self.ask(Asked::End(conn));
        self.to_shard.push_back(Input::Count { token, queue: None });
    }

    fn open_channel(&mut self, conn: ConnId, number: u16) {
        let group = GroupId(self.id());
        let Some(connection) = self.connections.get_mut(&conn).filter(|connection| !connection.ending) else {
            return;
        };
        if connection.channels.len() >= usize::from(connection.channels_max) {
            let cause = Cause::NotAllowed {
                why: "too many channels on this connection",
            };
            self.reply(
                conn,
                Reply::Failed(Fault {
                    operation: Operation::OpenChannel,
                    cause,
                }),
            );
            return;
        }
        let before = connection.channels.insert(number, group);
        assert!(before.is_none(), "the session opens a channel once");
        self.channels.insert(group, Channel::new(conn, number));
        self.to_shard.push_back(Input::Limit { group, max: None });
        if self.connections[&conn].closing.contains(&number) {
            let then = channel::Then::Say(ChannelReply::Opened);
            let token = self.await_answer(group, Operation::OpenChannel, true, then);
            self.to_shard.push_back(Input::Count { token, queue: None });
            return;
        }
        self.say(group, ChannelReply::Opened);
    }

    fn close_channel(&mut self, conn: ConnId, number: u16) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let Some(group) = connection.channels.get(&number).copied() else {
            return;
        };
        self.channels.get_mut(&group).expect("the channel is open").ending = Some(true);
        self.end_if_done(group);
    }

    /// A channel that is to end does, if nothing asked before waits: its consumers end, its deliveries return (G3). The
    /// answer says, too, that everything settled on it is durable (G2).
    fn end_if_done(&mut self, group: GroupId) {
        let Some(channel) = self.channels.get(&group) else {
            return;
        };
        let Some(answered) = channel
            .ending
            .filter(|_| (channel.waiting.is_none() && channel.backlog.is_empty()) || plant::is(Plant::BacklogDropped))
        else {
            return;
        };
        let (conn, number) = (channel.conn, channel.number);
        self.clear_channel(group);
        self.tell_confirms(group);
        self.confirming.remove(&group);
        self.channels.remove(&group);
        self.to_shard.push_back(Input::Forget { group });
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.channels.remove(&number);
        }
        if answered {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.closing.insert(number);
            }
            let token = self.ask(Asked::Closed(conn, number));
            self.to_shard.push_back(Input::Count { token, queue: None });
        }
        self.end_connection_if_done(conn);
    }

    fn clear_channel(&mut self, group: GroupId) {
        let channel = self.channels.get_mut(&group).expect("the channel is open");
        let consumers = std::mem::take(&mut channel.consumers);
        let mut returned = channel.deliveries.take_upto(0).expect("all of them");
        let conn = channel.conn;
        let forgotten: u64 = channel.backlog.drain(..).map(|request| backlog_bytes(&request)).sum();
        if let Some(transaction) = channel.transaction.take_if(|_| !plant::is(Plant::OpenTransactionKeeps)) {
            returned.extend(transaction.settles.into_iter().map(|(delivered, _)| delivered));
        }
        for consumer in consumers.into_values() {
            self.consumers.remove(&consumer);
            self.to_shard.push_back(Input::Cancel { consumer });
        }
        if !plant::is(Plant::ReturnedLostOnClose) {
            self.settle_all(returned, crate::api::Outcome::Requeue);
        }
        self.leave_line(conn, forgotten);
    }

    /// The channel fails: the peer is told, and nothing more is done on it.
    fn fail(&mut self, group: GroupId, operation: Operation, cause: Cause) {
        self.clear_channel(group);
        self.channels.get_mut(&group).expect("the channel is open").failed = true;
        self.say(group, ChannelReply::Failed(Fault { operation, cause }));
    }

    /// The peer read: deliveries to it go on.
    fn drained(&mut self, conn: ConnId, bytes: u64) {
        let window = self.config.connection_window_bytes;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let leaked = bytes / 16 * u64::from(plant::is(Plant::WindowLeaks));
        connection.unread_bytes = connection.unread_bytes.saturating_sub(bytes - leaked);
        if connection.paused && !connection.ending && connection.unread_bytes <= window / 2 {
            if plant::is(Plant::PauseForgotten) {
                return;
            }
            connection.paused = false;
            self.to_shard.push_back(Input::Pause { conn, paused: false });
        }
    }

    /// Bytes of messages are on their way to the peer: beyond its window, deliveries stop (G14).
    fn sending(&mut self, conn: ConnId, bytes: usize) {
        let window = self.config.connection_window_bytes;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.unread_bytes += bytes as u64;
        if !connection.paused && connection.unread_bytes > window {
            mark::hit(Mark::ReaderPaused);
            connection.paused = true;
            self.to_shard.push_back(Input::Pause { conn, paused: true });
        }
    }

    /// Requests of a connection wait in line. A peer that does not wait for answers is held back (G14).
    fn join_line(&mut self, conn: ConnId, bytes: u64) {
        self.backlog_bytes += bytes;
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.waiting_bytes += bytes;
            if !connection.held && connection.waiting_bytes > knob::line_bytes() {
                connection.held = true;
                self.reply(conn, Reply::Hold);
            }
        }
        self.update_blocked();
    }

    fn leave_line(&mut self, conn: ConnId, bytes: u64) {
        self.backlog_bytes -= bytes;
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.waiting_bytes -= bytes;
            let low = connection.waiting_bytes <= knob::line_bytes() / 2 && !plant::is(Plant::HoldForgotten);
            if connection.held && low {
                connection.held = false;
                self.reply(conn, Reply::GoOn);
            }
        }
        self.update_blocked();
    }

    fn update_blocked(&mut self) {
        let full = self.backlog_bytes > self.config.pending_bytes_max;
        let blocked = self.shard_blocked.is_some() || full;
        if blocked == self.blocked {
            return;
        }
        self.blocked = blocked;
        let reason = self.shard_blocked.unwrap_or("low on disk bandwidth");
        let conns: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in conns {
            self.reply(
                conn,
                if blocked {
                    Reply::Blocked { reason }
                } else {
                    Reply::Unblocked
                },
            );
        }
    }
}

/// What a waiting request weighs.
fn backlog_bytes(request: &ChannelRequest) -> u64 {
    const REQUEST_BYTES: u64 = 256;
    match request {
        ChannelRequest::Publish { message, .. } => REQUEST_BYTES + message.bytes().len() as u64,
        _ => REQUEST_BYTES,
    }
}
