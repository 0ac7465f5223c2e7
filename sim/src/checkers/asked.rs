//! Requests of a channel whose answer is due: in this order, of this kind.

use waystation_core::api::{ChannelReply, ChannelRequest, Destination};

/// The kind of answer that a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ExchangeDeclared,
    ExchangeDeleted,
    Bound { exchange: bool },
    Unbound { exchange: bool },
    QueueDeclared,
    QueuePurged,
    QueueDeleted,
    QosSet,
    Consuming,
    Cancelled,
    Got,
    Recovered,
    ConfirmSelected,
    TxSelected,
    TxCommitted,
    TxRolledBack,
}

/// What an answer says of what was settled on the channel before it was asked for (G2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Covers {
    Nothing,
    /// Acknowledgements are durable. A rejection may still be on its way to the dead-letter exchange, and what was settled
    /// by being sent may wait for the next write.
    Acknowledged,
    /// Everything is.
    All,
}

/// A request whose answer is due.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    /// Settled on the channel since the request before: acknowledged, rejected, sent.
    pub(super) settled: Settled,
    /// Publishes in confirm mode before it.
    pub(super) publishes: u64,
}

/// Queue and message of what was settled.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) acknowledged: Vec<(usize, u64)>,
    pub(super) rejected: Vec<(usize, u64)>,
    /// Settled by being sent.
    pub(super) sent: Vec<(usize, u64)>,
}

impl Settled {
    /// This, and what was settled after it.
    pub(super) fn append(&mut self, mut later: Self) {
        self.acknowledged.append(&mut later.acknowledged);
        self.rejected.append(&mut later.rejected);
        self.sent.append(&mut later.sent);
    }
}

/// The kind of answer that a request has, if it has one, and whether success is answered.
pub(super) fn answer(request: &ChannelRequest) -> Option<(Kind, bool)> {
    use ChannelRequest as R;
    let is_exchange = |destination: &Destination| matches!(destination, Destination::Exchange(_));
    Some(match request {
        R::Publish { .. } | R::Settle { .. } => return None,
        R::DeclareExchange { reply, .. } => (Kind::ExchangeDeclared, *reply),
        R::DeleteExchange { reply, .. } => (Kind::ExchangeDeleted, *reply),
        R::Bind { destination, reply, .. } => {
            let exchange = is_exchange(destination);
            (Kind::Bound { exchange }, *reply)
        }
        R::Unbind { destination, reply, .. } => {
            let exchange = is_exchange(destination);
            (Kind::Unbound { exchange }, *reply)
        }
        R::DeclareQueue { reply, .. } => (Kind::QueueDeclared, *reply),
        R::PurgeQueue { reply, .. } => (Kind::QueuePurged, *reply),
        R::DeleteQueue { reply, .. } => (Kind::QueueDeleted, *reply),
        R::Qos { .. } => (Kind::QosSet, true),
        R::Consume { reply, .. } => (Kind::Consuming, *reply),
        R::Cancel { reply, .. } => (Kind::Cancelled, *reply),
        R::Get { .. } => (Kind::Got, true),
        R::Recover { reply } => (Kind::Recovered, *reply),
        R::ConfirmSelect { reply } => (Kind::ConfirmSelected, *reply),
        R::TxSelect => (Kind::TxSelected, true),
        R::TxCommit => (Kind::TxCommitted, true),
        R::TxRollback => (Kind::TxRolledBack, true),
    })
}

/// The kind of a reply, if it answers a request.
pub(super) const fn kind(reply: &ChannelReply) -> Option<Kind> {
    use ChannelReply as R;
    Some(match reply {
        R::Opened | R::Closed | R::Failed(_) | R::CancelledByServer { .. } => return None,
        R::Deliver { .. } | R::Confirm { .. } | R::Return { .. } => return None,
        R::ExchangeDeclared => Kind::ExchangeDeclared,
        R::ExchangeDeleted => Kind::ExchangeDeleted,
        R::Bound { exchange } => Kind::Bound { exchange: *exchange },
        R::Unbound { exchange } => Kind::Unbound { exchange: *exchange },
        R::QueueDeclared { .. } => Kind::QueueDeclared,
        R::QueuePurged { .. } => Kind::QueuePurged,
        R::QueueDeleted { .. } => Kind::QueueDeleted,
        R::QosSet => Kind::QosSet,
        R::Consuming { .. } => Kind::Consuming,
        R::Cancelled { .. } => Kind::Cancelled,
        R::Got { .. } | R::Empty => Kind::Got,
        R::Recovered => Kind::Recovered,
        R::ConfirmSelected => Kind::ConfirmSelected,
        R::TxSelected => Kind::TxSelected,
        R::TxCommitted => Kind::TxCommitted,
        R::TxRolledBack => Kind::TxRolledBack,
    })
}

/// What an answer of this kind covers. `docs/guarantees.md` lists those that wait for nothing.
pub(super) const fn covers(kind: Kind) -> Covers {
    match kind {
        Kind::Consuming | Kind::Got | Kind::Recovered | Kind::TxRolledBack => Covers::Nothing,
        Kind::QueueDeclared | Kind::QueuePurged | Kind::TxCommitted => Covers::All,
        _ => Covers::Acknowledged,
    }
}
