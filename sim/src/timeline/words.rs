//! Requests, replies and commands of the disk in a few words, with the messages that they are about.
//!
//! A settlement names a tag and a confirm a number; people think of messages. What each tag and number stands for is
//! remembered here, by channel.

use super::Part;
use std::collections::{BTreeMap, BTreeSet};
use waystation_core::api::{ChannelReply, ChannelRequest, ConnId, Destination, Outcome, Reply, Request};
use waystation_core::disk::Command;
use waystation_core::message::{Message, OwnedProperties, Table, Value};

/// Messages named in full; of more there is a number.
const NAMED_MAX: usize = 12;

/// What was said on a channel since it was opened.
#[derive(Clone, Debug, Default)]
struct Talk {
    confirming: bool,
    /// Messages by publish number.
    published: Vec<u64>,
    confirmed: u64,
    /// Messages by delivery tag, and tags that are not settled.
    delivered: BTreeMap<u64, u64>,
    open: BTreeSet<u64>,
}

/// What is needed to find words.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    talks: BTreeMap<(ConnId, u16), Talk>,
    /// Messages that were published, by the number in their body.
    messages: BTreeMap<u64, Message>,
}

impl Words {
    pub(super) fn request(&mut self, conn: ConnId, request: &Request) -> Part {
        let text = match request {
            Request::Connect { .. } => "connect".into(),
            Request::Disconnect => "disconnect".into(),
            Request::OpenChannel { channel } => {
                self.talks.insert((conn, *channel), Talk::default());
                format!("open channel {channel}")
            }
            Request::CloseChannel { channel } => format!("close channel {channel}"),
            Request::Drained { bytes } => format!("read {bytes} bytes"),
            Request::Channel { channel, request } => {
                let mut part = self.on_channel((conn, *channel), request);
                part.text = on(*channel, part.text);
                return part;
            }
        };
        plain(text)
    }

    fn on_channel(&mut self, at: (ConnId, u16), request: &ChannelRequest) -> Part {
        let talk = self.talks.entry(at).or_default();
        match request {
            ChannelRequest::Publish { message, mandatory } => {
                let id = number(message);
                self.messages.insert(id, message.clone());
                if talk.confirming {
                    talk.published.push(id);
                }
                let end = if *mandatory { ", mandatory" } else { "" };
                let text = format!("publish #{id} {}{end}", describe(message));
                Part {
                    text,
                    messages: vec![id],
                }
            }
            ChannelRequest::Settle { tag, multiple, outcome } => talk.settle(*tag, *multiple, *outcome),
            ChannelRequest::ConfirmSelect { .. } => {
                talk.confirming = true;
                plain("confirm mode".into())
            }
            other => plain(asked(other)),
        }
    }

    pub(super) fn reply(&mut self, conn: ConnId, reply: &Reply) -> Part {
        match reply {
            Reply::Channel { channel, reply } => {
                let talk = self.talks.entry((conn, *channel)).or_default();
                let mut part = talk.reply(reply);
                part.text = on(*channel, part.text);
                part
            }
            Reply::Connected => plain("connected".into()),
            Reply::Disconnected => plain("disconnected".into()),
            Reply::Blocked { reason } => plain(format!("publishers must wait: {reason}")),
            Reply::Unblocked => plain("publishers may go on".into()),
            Reply::Hold => plain("requests must wait".into()),
            Reply::GoOn => plain("requests may go on".into()),
            Reply::Refused(fault) | Reply::Failed(fault) => {
                plain(format!("connection failed: {:?}: {}", fault.operation, fault.cause))
            }
        }
    }

    pub(super) fn command(&self, command: &Command) -> Part {
        match command {
            Command::Write {
                id,
                file,
                offset,
                chunks,
                sync,
            } => {
                let bytes = chunks.concat();
                let messages = self.messages_in(&bytes);
                let (end, held) = (if *sync { " and sync" } else { "" }, holding(&messages));
                let text = format!("write {}{end}: {} bytes of {file} at {offset}{held}", id.0, bytes.len());
                Part { text, messages }
            }
            Command::Read {
                file, offset, bytes, ..
            } => plain(format!("read {bytes} bytes of {file} at {offset}")),
            Command::Prepare { file, bytes, recycle } => {
                let from = recycle.map_or(String::new(), |old| format!(" from segment {old:x}"));
                plain(format!("prepare {file}, {bytes} bytes{from}"))
            }
            Command::Delete { file } => plain(format!("delete {file}")),
        }
    }

    /// Whole messages in bytes of the log.
    pub(super) fn messages_in(&self, bytes: &[u8]) -> Vec<u64> {
        let mut found = Vec::new();
        for (start, window) in bytes.windows(8).enumerate() {
            let id = u64::from_le_bytes(window.try_into().expect("eight bytes"));
            let Some(message) = self.messages.get(&id) else {
                continue;
            };
            let head = message.bytes().len() - message.body().len();
            let begins = start.checked_sub(head);
            if begins.is_some_and(|begins| bytes[begins..].starts_with(message.bytes())) && !found.contains(&id) {
                found.push(id);
            }
        }
        found
    }
}

impl Talk {
    fn settle(&mut self, tag: u64, multiple: bool, outcome: Outcome) -> Part {
        let tags: Vec<u64> = if multiple {
            self.open
                .iter()
                .copied()
                .filter(|open| tag == 0 || *open <= tag)
                .collect()
        } else {
            vec![tag]
        };
        let known = tags.iter().filter_map(|tag| self.delivered.get(tag).copied());
        let messages: Vec<u64> = known.collect();
        for tag in tags {
            self.open.remove(&tag);
        }
        let how = match outcome {
            Outcome::Ack => "acknowledge",
            Outcome::Reject => "reject",
            Outcome::Requeue => "requeue",
        };
        let upto = if multiple { "all up to " } else { "" };
        let text = format!("{how} {}(delivery {upto}{tag})", named(&messages));
        Part { text, messages }
    }

    fn reply(&mut self, reply: &ChannelReply) -> Part {
        match reply {
            ChannelReply::Deliver {
                consumer,
                tag,
                redelivered,
                message,
            } => {
                let id = self.take(*tag, message);
                let again = if *redelivered { " again" } else { "" };
                about(id, format!("deliver #{id}{again} to {consumer} (delivery {tag})"))
            }
            ChannelReply::Got {
                tag,
                redelivered,
                message,
                messages,
            } => {
                let id = self.take(*tag, message);
                let again = if *redelivered { " again" } else { "" };
                about(id, format!("got #{id}{again} (delivery {tag}), {messages} left"))
            }
            ChannelReply::Return { message } => {
                let id = number(message);
                about(id, format!("return #{id}: no queue takes it"))
            }
            ChannelReply::Confirm { tag, multiple, ok } => self.confirm(*tag, *multiple, *ok),
            ChannelReply::Failed(fault) => plain(format!("channel failed: {:?}: {}", fault.operation, fault.cause)),
            ChannelReply::Recovered => {
                self.open.clear();
                plain("recovered".into())
            }
            other => plain(answered(other)),
        }
    }

    fn take(&mut self, tag: u64, message: &Message) -> u64 {
        let id = number(message);
        self.delivered.insert(tag, id);
        self.open.insert(tag);
        id
    }

    fn confirm(&mut self, tag: u64, multiple: bool, ok: bool) -> Part {
        let first = if multiple { self.confirmed + 1 } else { tag };
        let numbers = first..=tag;
        let known = numbers.filter_map(|number| self.published.get(usize::try_from(number).ok()?.checked_sub(1)?));
        let messages: Vec<u64> = known.copied().collect();
        if multiple {
            self.confirmed = tag;
        }
        let (how, upto) = (
            if ok { "confirm" } else { "refuse" },
            if multiple { "all up to " } else { "" },
        );
        let text = format!("{how} {}(publish {upto}{tag})", named(&messages));
        Part { text, messages }
    }
}

/// What of a message is worth a word: its way, its size, its time to live.
fn describe(message: &Message) -> String {
    let (exchange, key) = (message.exchange(), String::from_utf8_lossy(message.routing_key()));
    let way = match (exchange, &*key) {
        ("", key) => format!("to {key}"),
        (exchange, "") => format!("by {exchange}"),
        (exchange, key) => format!("by {exchange} {key}"),
    };
    let properties = OwnedProperties::parse(message.properties()).unwrap_or_default();
    let expiry = properties.expiration.map_or(String::new(), |ms| {
        format!(", expires in {} ms", String::from_utf8_lossy(&ms))
    });
    format!("{way}, {} bytes{expiry}", message.body().len())
}

fn asked(request: &ChannelRequest) -> String {
    match request {
        ChannelRequest::DeclareExchange { name, kind, .. } => format!("declare {kind} exchange {name}"),
        ChannelRequest::DeleteExchange { name, .. } => format!("delete exchange {name}"),
        ChannelRequest::Bind {
            destination,
            source,
            routing_key,
            ..
        } => format!("bind {} to {source} {routing_key}", end_of(destination)),
        ChannelRequest::Unbind {
            destination,
            source,
            routing_key,
            ..
        } => format!("unbind {} from {source} {routing_key}", end_of(destination)),
        ChannelRequest::DeclareQueue {
            name, passive: true, ..
        } => format!("count queue {name}"),
        ChannelRequest::DeclareQueue {
            name,
            durable,
            exclusive,
            auto_delete,
            arguments,
            ..
        } => {
            let flags = [
                (*durable, "durable"),
                (*exclusive, "exclusive"),
                (*auto_delete, "auto-delete"),
            ];
            let flags = flags.iter().filter(|flag| flag.0).map(|flag| flag.1.to_owned());
            let all: Vec<String> = flags.chain(pairs(arguments)).collect();
            let name = if name.is_empty() { "named by the server" } else { name };
            format!("declare queue {name} ({})", all.join(", "))
        }
        ChannelRequest::PurgeQueue { name, .. } => format!("purge queue {name}"),
        ChannelRequest::DeleteQueue { name, .. } => format!("delete queue {name}"),
        ChannelRequest::Qos { count, global } => {
            format!("prefetch {count}{}", if *global { " for the channel" } else { "" })
        }
        ChannelRequest::Consume {
            queue,
            consumer,
            no_ack,
            ..
        } => format!("consume {queue} as {consumer}{}", unacknowledged(*no_ack)),
        ChannelRequest::Cancel { consumer, .. } => format!("cancel {consumer}"),
        ChannelRequest::Get { queue, no_ack } => format!("get from {queue}{}", unacknowledged(*no_ack)),
        ChannelRequest::Recover { .. } => "recover".into(),
        ChannelRequest::TxSelect => "transaction mode".into(),
        ChannelRequest::TxCommit => "commit".into(),
        ChannelRequest::TxRollback => "roll back".into(),
        // Told elsewhere.
        ChannelRequest::Publish { .. } | ChannelRequest::Settle { .. } | ChannelRequest::ConfirmSelect { .. } => {
            format!("{request:?}")
        }
    }
}

fn answered(reply: &ChannelReply) -> String {
    match reply {
        ChannelReply::QueueDeclared {
            name,
            messages,
            consumers,
        } => format!("queue {name}: {messages} messages, {consumers} consumers"),
        ChannelReply::QueuePurged { messages } => format!("purged {messages} messages"),
        ChannelReply::QueueDeleted { messages } => format!("deleted with {messages} messages"),
        ChannelReply::Consuming { consumer } => format!("consuming as {consumer}"),
        ChannelReply::Cancelled { consumer } => format!("cancelled {consumer}"),
        ChannelReply::CancelledByServer { consumer } => format!("consumer {consumer} is gone with its queue"),
        ChannelReply::TxSelected => "in transaction mode".into(),
        ChannelReply::TxCommitted => "committed".into(),
        ChannelReply::TxRolledBack => "rolled back".into(),
        ChannelReply::ConfirmSelected => "in confirm mode".into(),
        ChannelReply::Empty => "nothing to get".into(),
        ChannelReply::Opened => "channel is open".into(),
        ChannelReply::Closed => "channel is closed".into(),
        ChannelReply::ExchangeDeclared => "exchange is declared".into(),
        ChannelReply::ExchangeDeleted => "exchange is deleted".into(),
        ChannelReply::Bound { .. } => "bound".into(),
        ChannelReply::Unbound { .. } => "unbound".into(),
        ChannelReply::QosSet => "prefetch is set".into(),
        // Told elsewhere.
        other => format!("{other:?}"),
    }
}

const fn unacknowledged(no_ack: bool) -> &'static str {
    if no_ack { ", settled by being sent" } else { "" }
}

fn end_of(destination: &Destination) -> String {
    match destination {
        Destination::Queue(name) => format!("queue {name}"),
        Destination::Exchange(name) => format!("exchange {name}"),
    }
}

fn pairs(arguments: &Table) -> impl Iterator<Item = String> {
    arguments.0.iter().map(|(name, value)| match value {
        Value::Str(text) => format!("{name}={:?}", String::from_utf8_lossy(text)),
        Value::I64(number) => format!("{name}={number}"),
        other => format!("{name}={other:?}"),
    })
}

/// The number that a message of a run carries in its body.
fn number(message: &Message) -> u64 {
    let bytes = message.body().first_chunk::<8>();
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn on(channel: u16, text: String) -> String {
    if channel == 1 {
        text
    } else {
        format!("[{channel}] {text}")
    }
}

const fn plain(text: String) -> Part {
    let messages = Vec::new();
    Part { text, messages }
}

fn about(id: u64, text: String) -> Part {
    let messages = vec![id];
    Part { text, messages }
}

/// `#1 #2 #3 ` or ` `.
fn named(messages: &[u64]) -> String {
    let mut text = String::new();
    for id in messages.iter().take(NAMED_MAX) {
        text.push_str(&format!("#{id} "));
    }
    if messages.len() > NAMED_MAX {
        text.push_str(&format!("and {} more ", messages.len() - NAMED_MAX));
    }
    text
}

/// Which messages are in bytes of the disk.
pub(super) fn holding(messages: &[u64]) -> String {
    if messages.is_empty() {
        String::new()
    } else {
        format!(", with {}", named(messages).trim_end())
    }
}
