//! What each consumer may still be sent: its prefetch, its channel's, and its connection's window of bytes.

use super::{Event, Handing};
use std::collections::{BTreeMap, BTreeSet};
use waystation_core::api::ConnId;

/// A consumer.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    /// If it is one of the run.
    pub(crate) queue: Option<usize>,
    pub(crate) no_ack: bool,
    /// Unsettled deliveries at most; 0 for no limit.
    pub(crate) limit: u16,
    pub(crate) held: BTreeSet<u64>,
    /// Its beginning was answered.
    pub(crate) active: bool,
}

/// A channel's consumers.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) conn: ConnId,
    /// Of consumers that begin from now on.
    prefetch: u16,
    /// The limit shared by all its consumers; 0 for none.
    pub(crate) shared: u16,
    pub(crate) consumers: BTreeMap<String, Consumer>,
    /// Who holds a delivery. What a consumer held that was cancelled counts no longer.
    holders: BTreeMap<u64, String>,
    /// Cancelled, and not yet answered: they may still be sent something.
    ending: BTreeSet<String>,
    /// A request is not answered: those behind it may wait.
    waiting: bool,
    closing: bool,
}

/// A connection's window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    unread: u64,
    /// The step in which it was overrun.
    paused: Option<u64>,
    ending: bool,
}

/// All channels.
#[derive(Debug, Default)]
pub(crate) struct Credits {
    window_bytes: u64,
    pub(crate) channels: BTreeMap<u64, Channel>,
    windows: BTreeMap<ConnId, Window>,
}

impl Credits {
    pub(crate) fn new(window_bytes: u64) -> Self {
        Self {
            window_bytes,
            ..Self::default()
        }
    }

    /// Whether a connection's window was overrun before this step, and nothing was read since.
    pub(crate) fn is_paused(&self, conn: ConnId, step: u64) -> bool {
        let paused = self.windows.get(&conn).and_then(|window| window.paused);
        paused.is_some_and(|since| since < step)
    }

    /// Whether a consumer may certainly be sent a message.
    pub(crate) fn is_certain(&self, channel: &Channel, consumer: &Consumer) -> bool {
        let window = self.windows.get(&channel.conn).copied().unwrap_or_default();
        let open = window.paused.is_none() && !window.ending && !channel.closing && !channel.waiting;
        let free = channel.shared == 0 || channel.shared_held() < usize::from(channel.shared);
        let own = consumer.limit == 0 || consumer.held.len() < usize::from(consumer.limit);
        open && consumer.active && (consumer.no_ack || (free && own))
    }

    /// Consumers of a queue: those that are certainly there, and those that may be.
    pub(crate) fn count(&self, queue: usize) -> (u64, u64) {
        let (mut least, mut most) = (0, 0);
        for channel in self.channels.values() {
            for consumer in channel.consumers.values().filter(|one| one.queue == Some(queue)) {
                most += 1;
                least += u64::from(consumer.active && !channel.closing);
            }
            most += channel.ending.len() as u64;
        }
        (least, most)
    }

    pub(crate) fn take(&mut self, event: &Event<'_>, step: u64) {
        match *event {
            Event::ChannelOpened { channel, conn } => {
                self.channels.insert(channel, Channel::new(conn));
            }
            Event::Qos { channel, count, global } => self.change(channel, |one| {
                if global {
                    one.shared = count;
                } else {
                    one.prefetch = count;
                }
            }),
            Event::ConsumeAsked {
                channel,
                consumer,
                queue,
                no_ack,
            } => self.change(channel, |one| one.consume(consumer, queue, no_ack)),
            Event::Consuming { channel, consumer } => self.change(channel, |one| {
                if let Some(consumer) = one.consumers.get_mut(consumer) {
                    consumer.active = true;
                }
            }),
            Event::CancelAsked { channel, consumer } => self.change(channel, |one| one.cancel(consumer)),
            Event::Cancelled { channel, consumer } => self.change(channel, |one| {
                one.ending.remove(consumer);
            }),
            Event::CreditBack { channel, tag } => self.change(channel, |one| one.give_back(tag)),
            Event::AllBack { channel } => self.change(channel, |one| {
                one.holders.clear();
                one.consumers.values_mut().for_each(|consumer| consumer.held.clear());
            }),
            Event::Waiting { channel, waiting } => self.change(channel, |one| one.waiting = waiting),
            Event::ChannelClosing { channel } => self.change(channel, |one| one.closing = true),
            Event::ChannelGone { channel } => drop(self.channels.remove(&channel)),
            Event::Handed(handing) => self.hand(&handing, step),
            Event::Sent { channel, bytes } => self.send(channel, bytes, step),
            Event::Read { conn, bytes } => self.read(conn, bytes),
            Event::Leaving { conn } => self.windows.entry(conn).or_default().ending = true,
            Event::Left { conn } => drop(self.windows.remove(&conn)),
            Event::Crashed => {
                self.channels.clear();
                self.windows.clear();
            }
            _ => {}
        }
    }

    fn change(&mut self, channel: u64, change: impl FnOnce(&mut Channel)) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            change(channel);
        }
    }

    fn hand(&mut self, handing: &Handing<'_>, step: u64) {
        let Some(channel) = self.channels.get_mut(&handing.channel) else {
            return;
        };
        if let Some(consumer) = handing.consumer.filter(|_| !handing.no_ack && !handing.closing)
            && let Some(one) = channel.consumers.get_mut(consumer)
        {
            one.held.insert(handing.tag);
            channel.holders.insert(handing.tag, consumer.to_owned());
        }
        self.send(handing.channel, handing.bytes, step);
    }

    fn send(&mut self, channel: u64, bytes: u64, step: u64) {
        let Some(channel) = self.channels.get(&channel) else {
            return;
        };
        let window = self.windows.entry(channel.conn).or_default();
        window.unread += bytes;
        if window.unread > self.window_bytes {
            window.paused.get_or_insert(step);
        }
    }

    fn read(&mut self, conn: ConnId, bytes: u64) {
        let window = self.windows.entry(conn).or_default();
        window.unread = window.unread.saturating_sub(bytes);
        if window.unread <= self.window_bytes / 2 {
            window.paused = None;
        }
    }
}

impl Channel {
    const fn new(conn: ConnId) -> Self {
        Self {
            conn,
            prefetch: 0,
            shared: 0,
            consumers: BTreeMap::new(),
            holders: BTreeMap::new(),
            ending: BTreeSet::new(),
            waiting: false,
            closing: false,
        }
    }

    /// What its consumers hold together.
    pub(crate) fn shared_held(&self) -> usize {
        self.holders.len()
    }

    fn consume(&mut self, tag: &str, queue: Option<usize>, no_ack: bool) {
        let consumer = Consumer {
            queue,
            no_ack,
            limit: if no_ack { 0 } else { self.prefetch },
            ..Consumer::default()
        };
        // A tag in use is refused, and the channel fails.
        self.consumers.entry(tag.to_owned()).or_insert(consumer);
    }

    fn cancel(&mut self, tag: &str) {
        let Some(consumer) = self.consumers.remove(tag) else {
            return;
        };
        consumer.held.iter().for_each(|tag| drop(self.holders.remove(tag)));
        self.ending.insert(tag.to_owned());
    }

    fn give_back(&mut self, tag: u64) {
        if let Some(consumer) = self.holders.remove(&tag).and_then(|name| self.consumers.get_mut(&name)) {
            consumer.held.remove(&tag);
        }
    }
}
