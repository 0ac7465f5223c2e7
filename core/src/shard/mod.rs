//! A shard: a replicated state machine that owns queues, and the leader of it that serves them.
//!
//! What must survive is a [`entry::Command`] in the log: catalog changes, enqueues, settlements. A command takes effect
//! when its entry is committed, here and on every replica alike. Who holds which delivery, who waits and who is full is
//! the leader's own and dies with it: the messages become ready again (G3).
//!
//! Commands gather in an open batch while the disk is busy; when it is idle, the batch becomes one entry, one record,
//! one write, one sync. Only then are its effects visible and its confirms sent (G1, G2).
//!
//! | module | holds |
//! |---|---|
//! | [`page`], `index` | where a queue's messages lie: the replicated state |
//! | `queue` | what the leader knows beside it |
//! | `propose` | requests become commands; batches become entries |
//! | `apply` | committed commands take effect |
//! | `delays` | when to look for messages whose time has come |
//! | `dispatch` | ready messages go to consumers; bodies are loaded, expired and overflowing messages leave |
//! | `dead_letter` | where a message goes that died |
//! | `checkpoint` | the index goes to the log, so that a restart reads the tail only |
//! | `space`, `compact` | live bytes per segment; dead segments are freed, mostly dead ones copied |
//! | `check` | invariants, for tests and the simulator |
//! | `recover` | a shard from what the log holds |

mod apply;
mod cache;
mod check;
mod checkpoint;
mod compact;
mod dead_letter;
mod delays;
mod dispatch;
pub(crate) mod entry;
pub(crate) mod index;
pub(crate) mod page;
mod propose;
pub(crate) mod queue;
pub(crate) mod recover;
mod space;

use crate::api::{Cause, ConnId, Outcome};
use crate::catalog::{Applied, Catalog, Change, QueueId};
use crate::disk::ReadId;
use crate::log::Log;
use crate::machine::{Deadline, Now, Time};
use crate::message::Message;
use crate::node::{Config, HaltCause, QueueInfo};
use cache::Cache;
use checkpoint::Checkpoint;
use compact::Compaction;
use dispatch::Load;
use page::Sequence;
use propose::{Barrier, Batch};
use queue::Queue;
use space::Space;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Names a request of the frontend in the shard's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Token {
    /// Numbered by the frontend.
    Request(u64),
    /// A publish in confirm mode, by its number within its channel.
    Publish(GroupId, u64),
}

/// A consumer, numbered by the frontend, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConsumerId(pub(crate) u64);

/// A channel's instance, numbered by the frontend, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupId(pub(crate) u64);

/// What the frontend asks.
#[derive(Debug)]
pub(crate) enum Input {
    /// Answered by [`Output::Published`] when durable, unless `token` is none.
    Publish { token: Option<Token>, publish: Publish },
    /// Answered by [`Output::Changed`]. `guard` is checked when it is proposed.
    Change { token: Token, change: Change, guard: Guard },
    /// Answered by [`Output::Purged`]. With `behind`, after everything asked before it is applied; here and for gets.
    Purge { token: Token, queue: QueueId, behind: bool },
    /// Answered by [`Output::Counted`], after everything asked before it is durable.
    Count { token: Token, queue: Option<QueueId> },
    /// Answered by [`Output::Consuming`].
    Consume {
        token: Token,
        consumer: ConsumerId,
        spec: ConsumerSpec,
    },
    /// The consumer ends; what it holds stays unsettled.
    Cancel { consumer: ConsumerId },
    /// Answered by [`Output::Got`].
    Get { token: Token, queue: QueueId, behind: bool },
    /// A delivery that is settled by being sent was handed to its session.
    Sent { queue: QueueId, sequence: Sequence },
    /// A delivery came to nobody: it goes back, and that does not count.
    Unsent { queue: QueueId, sequence: Sequence },
    /// Settles deliveries.
    Settle {
        queue: QueueId,
        sequences: Vec<Sequence>,
        outcome: Outcome,
    },
    /// Publishes and settlements that take effect together (G9). Answered by [`Output::Committed`].
    Commit {
        token: Token,
        publishes: Vec<Publish>,
        settles: Vec<(QueueId, Sequence, Outcome)>,
    },
    /// A limit of unsettled deliveries shared by the consumers of a channel; none is no limit.
    Limit { group: GroupId, max: Option<u32> },
    /// Deliveries to a connection stop, or go on.
    Pause { conn: ConnId, paused: bool },
    /// A channel is no more.
    Forget { group: GroupId },
}

/// A message and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) queues: Arc<[QueueId]>,
    pub(crate) ttl_ms: Option<u64>,
    /// Milliseconds before it may be delivered.
    pub(crate) delay_ms: u64,
    pub(crate) message: Message,
}

/// A condition of a change that only the leader can judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guard {
    /// The queue has no consumers.
    pub(crate) unused: bool,
    /// The queue has no ready messages.
    pub(crate) empty: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ConsumerSpec {
    pub(crate) queue: QueueId,
    pub(crate) conn: ConnId,
    pub(crate) group: GroupId,
    pub(crate) no_ack: bool,
    pub(crate) exclusive: bool,
    /// Unsettled deliveries at most.
    pub(crate) max: u32,
}

/// What the shard answers, and what it delivers.
#[derive(Debug)]
pub(crate) enum Output {
    Published {
        token: Token,
        ok: bool,
    },
    Changed {
        token: Option<Token>,
        change: Box<Change>,
        result: Result<(Applied, u64), Cause>,
    },
    Purged {
        token: Token,
        messages: u64,
    },
    Counted {
        token: Token,
        ready: u64,
        consumers: u64,
    },
    Consuming {
        token: Token,
        result: Result<(), Cause>,
    },
    Got {
        token: Token,
        got: Option<Delivery>,
        ready: u64,
    },
    Committed {
        token: Token,
    },
    Deliver {
        consumer: ConsumerId,
        delivery: Delivery,
    },
    /// The consumer's queue is gone.
    Ended {
        consumer: ConsumerId,
    },
    Blocked {
        reason: &'static str,
    },
    Unblocked,
    Halt(HaltCause),
    Stopped,
}

#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) queue: QueueId,
    pub(crate) sequence: Sequence,
    pub(crate) redelivered: bool,
    pub(crate) message: Message,
}

#[derive(Debug)]
struct Consumer {
    spec: ConsumerSpec,
    unsettled: u32,
}

#[derive(Debug, Default)]
struct Group {
    max: Option<u32>,
    unsettled: u32,
    consumers: BTreeSet<ConsumerId>,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
    pub(crate) acknowledged: u64,
    pub(crate) rejected: u64,
    pub(crate) requeued: u64,
    pub(crate) expired: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) dropped: u64,
    pub(crate) entries: u64,
    pub(crate) checkpoints: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) entry_bytes: u64,
}

/// The shard.
#[derive(Debug)]
pub(crate) struct Shard {
    config: Config,
    pub(crate) catalog: Catalog,
    queues: BTreeMap<QueueId, Queue>,
    pub(crate) log: Log,
    /// Wall time of the newest entry or input, in milliseconds: never falls (G13).
    time_ms: u64,
    now: Now,
    batch: Batch,
    consumers: BTreeMap<ConsumerId, Consumer>,
    groups: BTreeMap<GroupId, Group>,
    paused: BTreeSet<ConnId>,
    /// Queues that may have something to do.
    active: BTreeSet<QueueId>,
    /// When heads expire: wall milliseconds and queue.
    expiries: BTreeSet<(u64, QueueId)>,
    /// When unused queues go.
    idles: BTreeSet<(Time, QueueId)>,
    cache: Cache,
    loads: BTreeMap<ReadId, Load>,
    space: Space,
    checkpoint: Checkpoint,
    compaction: Option<Compaction>,
    blocked: bool,
    stopping: bool,
    outputs: VecDeque<Output>,
    pub(crate) counters: Counters,
}

impl Shard {
    /// Applies one request.
    pub(crate) fn handle(&mut self, now: Now, input: Input) {
        self.tick(now);
        match input {
            Input::Publish { token, publish } => self.publish(token, publish),
            Input::Change { token, change, guard } => self.propose_change(token, change, guard),
            Input::Purge {
                token,
                queue,
                behind: true,
            } => self.wait(Barrier::Purge { token, queue }),
            Input::Purge {
                token,
                queue,
                behind: false,
            } => self.purge(token, queue),
            Input::Count { token, queue } => self.count(token, queue),
            Input::Consume { token, consumer, spec } => self.consume(token, consumer, spec),
            Input::Cancel { consumer } => self.cancel(consumer),
            Input::Get {
                token,
                queue,
                behind: true,
            } => self.wait(Barrier::Get { token, queue }),
            Input::Get {
                token,
                queue,
                behind: false,
            } => self.get(token, queue),
            Input::Sent { queue, sequence } => self.sent(queue, sequence),
            Input::Unsent { queue, sequence } => self.unsent(queue, sequence),
            Input::Settle {
                queue,
                sequences,
                outcome,
            } => {
                sequences
                    .into_iter()
                    .for_each(|sequence| self.settle(queue, sequence, outcome));
            }
            Input::Commit {
                token,
                publishes,
                settles,
            } => self.commit(token, publishes, settles),
            Input::Limit { group, max } => self.limit(group, max),
            Input::Pause { conn, paused } => self.pause(conn, paused),
            Input::Forget { group } => drop(self.groups.remove(&group)),
        }
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now: Now) {
        self.now = now;
        self.time_ms = self.time_ms.max(now.wall.0);
    }

    /// The next effect for the frontend. Whatever the shard can do by itself is done before it says
    /// `None`: nothing that is ready waits for anything but what [`Shard::deadline`] or the disk will bring (G15).
    pub(crate) fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.fire_timers();
            self.dispatch();
            // A turn may have left something to do, such as the dead letter of what expired in it.
            while self.outputs.is_empty() && !self.active.is_empty() {
                self.dispatch();
            }
            self.flush();
            self.trim_cache();
            self.update_blocked();
        }
        self.outputs.pop_front()
    }

    /// When a tick does something.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let wall = self.expiries.first().map(|(at_ms, _)| {
            let ahead = at_ms.saturating_sub(self.now.wall.0);
            Deadline {
                at: self.now.mono.after_ms(ahead),
                reason: "a message expires or is due",
            }
        });
        let idle = self.idles.first().map(|(at, _)| Deadline {
            at: *at,
            reason: "an unused queue expires",
        });
        Deadline::earliest(wall, idle)
    }

    /// Makes everything durable and writes a checkpoint; then [`Output::Stopped`].
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Every queue, for an operator.
    pub(crate) fn queue_infos(&self) -> impl Iterator<Item = QueueInfo> + '_ {
        self.queues.values().map(|queue| QueueInfo {
            vhost: queue.definition.vhost.clone(),
            name: queue.definition.name.clone(),
            durable: queue.definition.durable,
            exclusive: queue.definition.exclusive.is_some(),
            auto_delete: queue.definition.auto_delete,
            arguments: describe_arguments(queue),
            messages_ready: queue.ready,
            messages_unsettled: queue.unsettled.len() as u64,
            message_bytes: queue.index.body_bytes(),
            consumers: queue.consumers.len() as u64,
        })
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// Ready and unsettled messages.
    pub(crate) fn message_counts(&self) -> (u64, u64) {
        self.queues.values().fold((0, 0), |(ready, unsettled), queue| {
            (ready + queue.ready, unsettled + queue.unsettled.len() as u64)
        })
    }

    pub(crate) const fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    pub(crate) const fn pending_bytes(&self) -> u64 {
        self.batch.bytes()
    }

    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(crate) fn space(&self) -> (u64, u64) {
        self.space.totals()
    }

    fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn halt(&mut self, cause: HaltCause) {
        self.outputs.clear();
        self.output(Output::Halt(cause));
    }

    fn touch(&mut self, queue: QueueId) {
        self.active.insert(queue);
    }
}

fn describe_arguments(queue: &Queue) -> Vec<(String, String)> {
    let arguments = queue.definition.arguments.0.iter();
    arguments
        .map(|(name, value)| (name.to_string(), crate::catalog::describe(Some(value))))
        .collect()
}

#[cfg(test)]
mod tests;
