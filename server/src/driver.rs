//! The only loop that joins the core and the world: it feeds events to the node and carries its outputs away.
//!
//! One thread owns the node. Everything else talks to it through [`Inbox`]; replies go out as one batch per connection
//! and turn. Nothing here knows what a queue is.

pub mod inbox;

#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;

pub use inbox::{Event, Inbox};

use crate::clock::Clock;
use crate::disk::Disks;
use inbox::ReplySender;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use tokio::sync::{oneshot, watch};
use waystation_core::api::{ConnId, Reply};
use waystation_core::disk::Command;
use waystation_core::node::{AdminReply, HaltCause, Input, Output, Recovery};
use waystation_core::{Machine, Now};

/// Events handled before the outputs are carried away: enough for group commit, and no reply waits behind more.
const EVENTS_PER_TURN_MAX: usize = 1_024;

/// Anything that speaks as the node does.
pub trait Broker: for<'a> Machine<Input<'a> = Input, Output = Output> {}
impl<M: for<'a> Machine<Input<'a> = Input, Output = Output>> Broker for M {}

/// How far the core is, for everyone who waits on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Recovery runs.
    Starting,
    /// Connections may be accepted.
    Ready(Recovery),
    /// It cannot go on.
    Halted(HaltCause),
    /// It has ended as asked, and everything is durable.
    Stopped,
}

/// Runs `node` until it stops or halts. A sender of `state` that is dropped before either means that the node panicked.
pub fn run(node: impl Broker, clock: Clock, inbox: &Receiver<Event>, disks: Disks, state: &watch::Sender<State>) {
    let mut driver = Driver {
        node,
        disks,
        state,
        connections: BTreeMap::new(),
        touched: Vec::new(),
        writes: Vec::new(),
        admins: BTreeMap::new(),
        admin_next: 0,
    };
    let mut running = driver.drain();
    let mut next = driver.write(inbox);
    while running {
        let first = match next.take() {
            Some(event) => Ok(event),
            None => driver.wait(clock, inbox),
        };
        let now = clock.now();
        match first {
            Ok(event) => driver.take(now, event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for event in inbox.try_iter().take(EVENTS_PER_TURN_MAX) {
            driver.take(now, event);
        }
        // Asked after the events too, so that a steady stream of them cannot hold a timer back.
        if driver.node.deadline().is_some_and(|deadline| deadline.at <= now.mono) {
            driver.node.handle(now, Input::Tick);
        }
        running = driver.drain();
        next = driver.write(inbox);
    }
}

struct Driver<'a, M> {
    node: M,
    disks: Disks,
    state: &'a watch::Sender<State>,
    connections: BTreeMap<ConnId, Connection>,
    /// Connections whose batch is not empty.
    touched: Vec<ConnId>,
    /// Writes of this turn.
    writes: Vec<Command>,
    admins: BTreeMap<u64, oneshot::Sender<AdminReply>>,
    admin_next: u64,
}

struct Connection {
    replies: ReplySender,
    batch: Vec<Reply>,
}

impl<M: Broker> Driver<'_, M> {
    /// The next event, or the node's deadline.
    fn wait(&self, clock: Clock, inbox: &Receiver<Event>) -> Result<Event, RecvTimeoutError> {
        // Parks at once: on two cores 20 and 100 us of spinning made nothing faster, and took the core from the sockets.
        match self.node.deadline() {
            Some(deadline) => {
                let until = clock.instant(deadline.at);
                inbox.recv_timeout(until.saturating_duration_since(std::time::Instant::now()))
            }
            None => inbox.recv().map_err(RecvTimeoutError::from),
        }
    }

    /// Performs the turn's writes: by the disk's thread if events wait, here if nothing else is to be done. An event that
    /// is to be handled next comes back.
    fn write(&mut self, inbox: &Receiver<Event>) -> Option<Event> {
        if self.writes.is_empty() {
            return None;
        }
        let writes = std::mem::take(&mut self.writes);
        let waiting = inbox.try_recv().ok();
        let refused = if waiting.is_some() {
            Err(writes)
        } else {
            self.disks.write_now(writes)
        };
        match refused {
            Ok(event) => event.map(Event::Disk),
            Err(writes) => {
                writes.into_iter().for_each(|command| self.disks.submit(command));
                waiting
            }
        }
    }

    fn take(&mut self, now: Now, event: Event) {
        match event {
            Event::Attach { conn, replies } => {
                let batch = Vec::new();
                self.connections.insert(conn, Connection { replies, batch });
            }
            // The permit is given back when the core is done with the batch.
            Event::Client { conn, requests, permit } => {
                self.node.handle(now, Input::Client { conn, requests });
                drop(permit);
            }
            Event::Disk(event) => self.node.handle(now, Input::Disk(event)),
            Event::Admin { request, answer } => {
                let id = self.admin_next;
                self.admin_next += 1;
                self.admins.insert(id, answer);
                self.node.handle(now, Input::Admin { id, request });
            }
            // Whoever asked may have given up.
            Event::Ping { answer } => _ = answer.send(()),
            Event::Stop => self.node.handle(now, Input::Stop),
        }
    }

    /// Carries every output away; `false` once the node has ended.
    fn drain(&mut self) -> bool {
        let mut running = true;
        while let Some(output) = self.node.poll() {
            match output {
                Output::Client { conn, replies } => self.reply(conn, replies),
                Output::Disk(command @ Command::Write { .. }) => self.writes.push(command),
                Output::Disk(command) => self.disks.submit(command),
                Output::Admin { id, reply } => {
                    let answer = self.admins.remove(&id).expect("the node answers what was asked, once");
                    _ = answer.send(reply);
                }
                Output::Ready(recovery) => _ = self.state.send_replace(State::Ready(recovery)),
                Output::Halt(cause) => {
                    self.state.send_replace(State::Halted(cause));
                    running = false;
                }
                Output::Stopped => {
                    self.state.send_replace(State::Stopped);
                    running = false;
                }
            }
        }
        self.flush();
        running
    }

    fn reply(&mut self, conn: ConnId, mut replies: Vec<Reply>) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if connection.batch.is_empty() {
            connection.batch = replies;
            self.touched.push(conn);
        } else {
            connection.batch.append(&mut replies);
        }
    }

    fn flush(&mut self) {
        for conn in self.touched.drain(..) {
            let Some(connection) = self.connections.get_mut(&conn) else {
                continue;
            };
            let batch = std::mem::take(&mut connection.batch);
            let last = matches!(batch.last(), Some(Reply::Disconnected));
            // A connection's task that has ended takes no replies; its Disconnect is on its way or was handled.
            let gone = connection.replies.send(batch).is_err();
            if last || gone {
                self.connections.remove(&conn);
            }
        }
    }
}
