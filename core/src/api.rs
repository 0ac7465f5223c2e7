//! What protocol sessions and the frontend say to each other, whatever the protocol.
//!
//! A session turns its peer's bytes into [`Request`]s and [`Reply`]s into bytes. Requests of one connection are handled
//! in order; replies on one channel come in the order of its requests, except [`ChannelReply::Deliver`],
//! [`ChannelReply::Confirm`] and [`ChannelReply::Return`], which come when they are due.

mod fault;

use crate::message::{Message, Table};
pub use fault::{Cause, Fault, Object, Operation};
use std::sync::Arc;

/// A name: of a queue, an exchange, a vhost, a user, a consumer. Cheap to clone.
pub type Name = Arc<str>;

/// A connection, numbered by the driver, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A channel of a connection.
pub type ChannelId = u16;

/// The number of a delivery within its channel, from 1 on, dense.
pub type DeliveryTag = u64;

/// What a session asks.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Request {
    /// The peer is authenticated and has chosen a vhost. First of all requests, once. Answered by
    /// [`Reply::Connected`] or [`Reply::Refused`].
    Connect {
        /// The vhost.
        vhost: Name,
        /// The authenticated user.
        user: Name,
        /// Largest body of a message, in bytes, and the like belong to the session; the frontend limits channels.
        channels_max: u16,
    },
    /// The connection ends, for whatever reason: its exclusive queues go, its deliveries return. Last of all requests.
    /// Answered by [`Reply::Disconnected`] when that is durable.
    Disconnect,
    /// Opens a channel. Answered by [`ChannelReply::Opened`]. The session has checked that it is not open, and has heard
    /// [`ChannelReply::Closed`] if it was before.
    OpenChannel {
        /// The channel.
        channel: ChannelId,
    },
    /// Closes a channel: its consumers end, its deliveries return. Answered by [`ChannelReply::Closed`].
    CloseChannel {
        /// An open channel, or one that failed.
        channel: ChannelId,
    },
    /// Something on an open channel. After [`ChannelReply::Failed`] the frontend ignores requests on that channel until
    /// [`Request::CloseChannel`].
    Channel {
        /// The channel.
        channel: ChannelId,
        /// What.
        request: ChannelRequest,
    },
    /// The socket took so many bytes of deliveries (sum of [`Message::bytes`] lengths): the source of byte credit.
    Drained {
        /// Bytes of messages.
        bytes: u64,
    },
}

/// What is asked on a channel. `reply: false` suppresses the reply of success, never that of failure.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum ChannelRequest {
    /// Routes a message. In confirm mode answered by a [`ChannelReply::Confirm`] that covers its publish number (from 1 on
    /// within the channel since confirm mode began).
    Publish {
        /// The message; exchange and routing key are inside.
        message: Message,
        /// Whether to return the message if no queue takes it.
        mandatory: bool,
    },
    /// Declares an exchange; [`ChannelReply::ExchangeDeclared`].
    DeclareExchange {
        /// Its name.
        name: Name,
        /// `direct`, `fanout`, `topic` or `headers`; others fail.
        kind: Name,
        /// Only check that it exists.
        passive: bool,
        /// Survives a restart.
        durable: bool,
        /// Goes with its last binding.
        auto_delete: bool,
        /// Takes no publishes from clients.
        internal: bool,
        /// `alternate-exchange` and the like.
        arguments: Table,
        /// Whether success is answered.
        reply: bool,
    },
    /// Deletes an exchange; [`ChannelReply::ExchangeDeleted`].
    DeleteExchange {
        /// Its name.
        name: Name,
        /// Fail if it has bindings.
        if_unused: bool,
        /// Whether success is answered.
        reply: bool,
    },
    /// Binds a queue or an exchange to an exchange; [`ChannelReply::Bound`].
    Bind {
        /// What receives.
        destination: Destination,
        /// The exchange that routes.
        source: Name,
        /// The binding key.
        routing_key: Name,
        /// For a headers exchange, what to match.
        arguments: Table,
        /// Whether success is answered.
        reply: bool,
    },
    /// Removes a binding, if it exists; [`ChannelReply::Unbound`].
    Unbind {
        /// What received.
        destination: Destination,
        /// The exchange that routed.
        source: Name,
        /// The binding key.
        routing_key: Name,
        /// The arguments it was bound with.
        arguments: Table,
        /// Whether success is answered (AMQP's queue.unbind has no nowait).
        reply: bool,
    },
    /// Declares a queue; [`ChannelReply::QueueDeclared`].
    DeclareQueue {
        /// Its name; empty asks for a server-named queue, or with `passive` for the channel's last declared one.
        name: Name,
        /// Only check that it exists, and count.
        passive: bool,
        /// Survives a restart.
        durable: bool,
        /// Belongs to this connection, and goes with it.
        exclusive: bool,
        /// Goes with its last consumer.
        auto_delete: bool,
        /// `x-message-ttl` and the like.
        arguments: Table,
        /// Whether success is answered.
        reply: bool,
    },
    /// Drops a queue's ready messages; [`ChannelReply::QueuePurged`].
    PurgeQueue {
        /// Its name; empty means the channel's last declared queue, here and below.
        name: Name,
        /// Whether success is answered.
        reply: bool,
    },
    /// Deletes a queue; [`ChannelReply::QueueDeleted`]. A queue that does not exist is deleted already.
    DeleteQueue {
        /// Its name.
        name: Name,
        /// Fail if it has consumers.
        if_unused: bool,
        /// Fail if it holds messages.
        if_empty: bool,
        /// Whether success is answered.
        reply: bool,
    },
    /// Limits unsettled deliveries; [`ChannelReply::QosSet`].
    Qos {
        /// Unsettled deliveries at most; 0 is no limit.
        count: u16,
        /// Shared by the channel's consumers; otherwise for each consumer that starts from now on.
        global: bool,
    },
    /// Starts a consumer; [`ChannelReply::Consuming`], before its first delivery.
    Consume {
        /// The queue.
        queue: Name,
        /// The consumer's tag; empty asks for a server-made one.
        consumer: Name,
        /// Deliveries are settled by being sent.
        no_ack: bool,
        /// Nobody else may consume from the queue.
        exclusive: bool,
        /// `x-priority` and the like.
        arguments: Table,
        /// Whether success is answered.
        reply: bool,
    },
    /// Ends a consumer; [`ChannelReply::Cancelled`]. Its deliveries stay unsettled.
    Cancel {
        /// Its tag.
        consumer: Name,
        /// Whether success is answered.
        reply: bool,
    },
    /// Takes one message; [`ChannelReply::Got`] or [`ChannelReply::Empty`].
    Get {
        /// The queue.
        queue: Name,
        /// Settled by being sent.
        no_ack: bool,
    },
    /// Settles deliveries. Not answered; a tag that is unknown fails the channel.
    Settle {
        /// The delivery; 0 with `multiple` means all.
        tag: DeliveryTag,
        /// Every unsettled delivery up to and including the tag.
        multiple: bool,
        /// How.
        outcome: Outcome,
    },
    /// Returns every unsettled delivery of the channel to its queue; [`ChannelReply::Recovered`].
    Recover {
        /// Whether success is answered (AMQP's recover-async is not).
        reply: bool,
    },
    /// Turns confirm mode on; [`ChannelReply::ConfirmSelected`].
    ConfirmSelect {
        /// Whether success is answered.
        reply: bool,
    },
    /// Turns transaction mode on; [`ChannelReply::TxSelected`].
    TxSelect,
    /// Commits publishes and settlements since the last commit; [`ChannelReply::TxCommitted`] when durable.
    TxCommit,
    /// Forgets them; [`ChannelReply::TxRolledBack`].
    TxRollback,
}

/// How a delivery is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Done: gone from the queue.
    Ack,
    /// Refused: dead-lettered if the queue says so, else gone.
    Reject,
    /// Back to its old place, marked redelivered.
    Requeue,
}

/// What a binding leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A queue, by name; empty means the channel's last declared queue.
    Queue(Name),
    /// An exchange, by name.
    Exchange(Name),
}

/// What the frontend tells a session.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Reply {
    /// The vhost is open.
    Connected,
    /// The vhost is not to be had.
    Refused(Fault),
    /// All that [`Request::Disconnect`] had to do is done.
    Disconnected,
    /// Publishers have to wait: the session stops reading from a connection that publishes, and says so where the
    /// protocol can.
    Blocked {
        /// What is short.
        reason: &'static str,
    },
    /// Publishers may go on.
    Unblocked,
    /// Too many requests of this connection wait in line: the session stops reading until [`Reply::GoOn`] (G14).
    Hold,
    /// Few enough wait.
    GoOn,
    /// The connection must end, with this error. The session sends [`Request::Disconnect`] in its turn.
    Failed(Fault),
    /// Something on a channel.
    Channel {
        /// The channel.
        channel: ChannelId,
        /// What.
        reply: ChannelReply,
    },
}

/// What the frontend tells on a channel.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum ChannelReply {
    /// The channel is open.
    Opened,
    /// The channel is closed.
    Closed,
    /// The channel failed; the session tells the peer and later sends [`Request::CloseChannel`].
    Failed(Fault),
    /// Declared, or it was there.
    ExchangeDeclared,
    /// Deleted.
    ExchangeDeleted,
    /// Bound, answering a [`ChannelRequest::Bind`] with the same kind of destination.
    Bound {
        /// Whether the destination was an exchange.
        exchange: bool,
    },
    /// Unbound.
    Unbound {
        /// Whether the destination was an exchange.
        exchange: bool,
    },
    /// Declared, or it was there.
    QueueDeclared {
        /// The name, made by the server if none was given.
        name: Name,
        /// Ready messages.
        messages: u32,
        /// Consumers.
        consumers: u32,
    },
    /// Purged.
    QueuePurged {
        /// How many messages went.
        messages: u32,
    },
    /// Deleted.
    QueueDeleted {
        /// How many messages went.
        messages: u32,
    },
    /// The limit holds.
    QosSet,
    /// The consumer is active.
    Consuming {
        /// Its tag.
        consumer: Name,
    },
    /// The consumer is no more, as asked.
    Cancelled {
        /// Its tag.
        consumer: Name,
    },
    /// The consumer is no more: its queue is gone.
    CancelledByServer {
        /// Its tag.
        consumer: Name,
    },
    /// A message for a consumer.
    Deliver {
        /// The consumer's tag.
        consumer: Name,
        /// The delivery.
        tag: DeliveryTag,
        /// It may have been delivered before.
        redelivered: bool,
        /// The message.
        message: Message,
    },
    /// The message that was asked for.
    Got {
        /// The delivery.
        tag: DeliveryTag,
        /// It may have been delivered before.
        redelivered: bool,
        /// The message.
        message: Message,
        /// Ready messages left.
        messages: u32,
    },
    /// No message is ready.
    Empty,
    /// Unsettled deliveries are back in their queues.
    Recovered,
    /// Confirm mode is on.
    ConfirmSelected,
    /// Publishes are safe, or refused.
    Confirm {
        /// A publish number.
        tag: u64,
        /// It and every one before it that is not confirmed yet.
        multiple: bool,
        /// Whether a queue took the message (or none was bound); otherwise a queue's limit refused it.
        ok: bool,
    },
    /// A mandatory message that no queue took. Comes before its confirm.
    Return {
        /// The message.
        message: Message,
    },
    /// Transaction mode is on.
    TxSelected,
    /// All of it is durable.
    TxCommitted,
    /// None of it happened.
    TxRolledBack,
}
