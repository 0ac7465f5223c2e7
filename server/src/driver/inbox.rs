//! The way to the core: one queue, and a budget for what clients may have in it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use waystation_core::api::{ConnId, Reply, Request};
use waystation_core::disk;
use waystation_core::node::{AdminReply, AdminRequest};

/// Bytes that all connections together may have queued in front of the core (G14). At a few hundred MB/s this is some
/// tens of milliseconds of work: more would only be waiting, and a socket's buffer is the better place for that.
pub const INBOX_BYTES_MAX: u32 = 16 << 20;
/// Batches that one connection may have queued: one being handled and one behind it. A flood on one connection thus
/// delays the others by no more than this.
const BATCHES_PER_CONNECTION_MAX: usize = 2;
/// What a batch costs at least: requests that few bytes stand for still take room.
const BATCH_COST_MIN: u32 = 256;

/// Where replies to a connection go. Bounded by the core's byte credit for the connection.
pub type ReplySender = mpsc::UnboundedSender<Vec<Reply>>;

/// Something for the core's thread.
#[derive(Debug)]
pub enum Event {
    /// A connection's replies go here from now on.
    Attach {
        /// The connection.
        conn: ConnId,
        /// Its task's queue.
        replies: ReplySender,
    },
    /// Requests of a connection.
    Client {
        /// The connection.
        conn: ConnId,
        /// In order.
        requests: Vec<Request>,
        /// Its share of the budget; none for the last request of a connection, which must not wait.
        permit: Option<Permit>,
    },
    /// A disk thread reports.
    Disk(disk::Event),
    /// An operator asks.
    Admin {
        /// What.
        request: AdminRequest,
        /// Where the answer goes.
        answer: oneshot::Sender<AdminReply>,
    },
    /// Shows that the loop turns.
    Ping {
        /// Where the answer goes.
        answer: oneshot::Sender<()>,
    },
    /// End in good order.
    Stop,
}

/// The sending side of the core's queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: Sender<Event>,
    budget: Arc<Semaphore>,
}

/// The core has ended: nobody answers any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker's core has ended")]
pub struct Ended;

/// Room in the queue, given back when the core has handled what took it.
#[derive(Debug)]
pub struct Permit {
    _batch: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// One connection's entrance to the budget.
#[derive(Clone, Debug)]
pub struct Gate {
    batches: Arc<Semaphore>,
    budget: Arc<Semaphore>,
}

impl Inbox {
    /// A queue: its two ends.
    #[must_use]
    pub fn new() -> (Self, Receiver<Event>) {
        let (sender, receiver) = channel();
        let budget = Arc::new(Semaphore::new(INBOX_BYTES_MAX as usize));
        (Self { sender, budget }, receiver)
    }

    /// Queues an event. One sent after the core has ended is dropped: there is nobody left whom it concerns, and whoever
    /// waits for an answer sees its channel closed.
    pub fn send(&self, event: Event) {
        if self.sender.send(event).is_err() {
            tracing::trace!("an event came after the core had ended");
        }
    }

    /// Asks as an operator.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn admin(&self, request: AdminRequest) -> Result<AdminReply, Ended> {
        let (answer, reply) = oneshot::channel();
        self.send(Event::Admin { request, answer });
        reply.await.map_err(|_| Ended)
    }

    /// Returns when the core's loop has turned.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn ping(&self) -> Result<(), Ended> {
        let (answer, reply) = oneshot::channel();
        self.send(Event::Ping { answer });
        reply.await.map_err(|_| Ended)
    }

    /// A new connection's entrance.
    #[must_use]
    pub fn gate(&self) -> Gate {
        Gate {
            batches: Arc::new(Semaphore::new(BATCHES_PER_CONNECTION_MAX)),
            budget: Arc::clone(&self.budget),
        }
    }
}

impl Gate {
    /// Room for a batch that came as `bytes` bytes, if there is room now.
    #[must_use]
    pub fn try_enter(&self, bytes: usize) -> Option<Permit> {
        let batch = Arc::clone(&self.batches).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.budget).try_acquire_many_owned(cost(bytes)).ok()?;
        Some(Permit {
            _batch: batch,
            _bytes: bytes,
        })
    }

    /// Waits for room, in the order of asking.
    pub async fn enter(self, bytes: usize) -> Permit {
        let batch = self.batches.acquire_owned().await.expect("never closed");
        let bytes = self.budget.acquire_many_owned(cost(bytes)).await.expect("never closed");
        Permit {
            _batch: batch,
            _bytes: bytes,
        }
    }
}

/// A single batch beyond the whole budget (one huge message) takes all of it.
fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes)
        .unwrap_or(u32::MAX)
        .clamp(BATCH_COST_MIN, INBOX_BYTES_MAX)
}
