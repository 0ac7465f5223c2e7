//! Planted bugs: what the simulator must find. One at a time is switched on, in builds with the feature `plants` alone;
//! in any other build each question is answered `false` when it is compiled.
//!
//! Each names its failure in one line. Those `from` somewhere are ports of bugs that others published: of brokers, logs
//! and databases. Those of the area `simulator` sit in its own disk and checkers, where they make it blind.

macro_rules! plants {
    ($($area:literal { $($name:ident: $what:literal $(from $source:literal)?,)* })*) => {
        /// A known bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Plant { $($(#[doc = $what] $(#[doc = concat!("\n\nPort of <", $source, ">.")])? $name,)*)* }

        impl Plant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)*)*];

            /// The part of the broker that it is in.
            #[must_use]
            pub const fn area(self) -> &'static str {
                match self { $($(Self::$name)|* => $area,)* }
            }

            /// What is wrong.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $($(Self::$name => $what,)*)* }
            }

            /// Where such a bug was reported; empty if it is of our own invention.
            #[must_use]
            pub const fn source(self) -> &'static str {
                match self { $($(Self::$name => concat!($($source)?),)*)* }
            }
        }
    };
}

plants! {
    "routing" {
        TopicHashNeedsWord: "`#` in a binding key stands for at least one word",
        HeadersCountX: "a plain headers binding asks for the headers that begin with `x-`, too",
        AlternateIgnored: "what no binding takes is dropped although the exchange has an alternate",
        RouteCacheStale: "a channel's cached route outlives a change of the bindings",
        UnbindLeavesTopic: "an unbound key of a topic exchange still routes"
            from "https://github.com/rabbitmq/rabbitmq-server/issues/4236",
        RouteNotDeduplicated: "a queue that two bindings lead to takes a message twice",
        DeletedQueueKeepsBindings: "a new queue inherits the bindings of a deleted one of its name",
        DirectByPrefix: "a direct exchange takes binding keys that only begin like the routing key",
        FanoutForgetsOne: "a message for three queues or more misses the last",
    }
    "topology" {
        ExclusiveOutlives: "an exclusive queue outlives its connection",
        AutoDeleteForgotten: "an auto-delete queue outlives its last consumer",
        LogForgetsAutoDelete: "after a restart an auto-delete queue is an ordinary one",
        TransientExchangeSurvives: "a transient exchange survives a restart",
        AutoDeleteExchangeStays: "an auto-delete exchange outlives its last binding",
        IfUnusedIgnored: "a queue with consumers is deleted although if-unused was asked",
        InequivalentAccepted: "a queue may be declared again with other arguments",
        LeaseNotRenewed: "getting from a queue does not renew its lease",
    }
    "dispatch" {
        OneConsumerServed: "of several consumers the first that can take a message has it every time",
        GetCountsItself: "a get says that one message more is left than there is",
        ExclusiveConsumerShared: "a second consumer may consume beside one with exclusive use",
        RequeueAtTail: "a requeued message goes to the tail"
            from "https://github.com/rabbitmq/rabbitmq-server/issues/10499",
        RequeueLosesFlag: "a requeued message is not marked redelivered",
        RecoveredNotFlagged: "what was delivered before a restart is not marked redelivered after it",
    }
    "credit" {
        PrefetchOffByOne: "a consumer may hold one message more than its prefetch",
        PrefetchPerChannel: "a consumer's prefetch is compared with what all of its channel hold",
        CreditLeakedOnCancel: "a cancelled consumer's credit stays taken from its channel",
        CreditLeakedOnReject: "a rejection does not give its credit back",
        CreditGrantedTwice: "a rejection gives its credit back twice"
            from "https://github.com/rabbitmq/rabbitmq-server/pull/5609",
        SharedLimitIgnored: "a limit shared by the consumers of a channel is not kept",
        SharedCreditWakesNobody: "a settlement that frees a shared limit wakes its own queue only",
        AutomaticWaitsForCredit: "a consumer that settles nothing waits for its channel's shared limit",
    }
    "flow control" {
        PauseForgotten: "a reader that was paused is never resumed",
        PausedStillServed: "a reader that does not read is served on",
        WindowLeaks: "of each message that a peer read some bytes stay in its window",
        HoldForgotten: "a connection that was told to hold is never told to go on",
        BlockedForever: "publishers that were blocked stay so",
    }
    "settle" {
        SettleOffByOne: "a settled range lacks its last message",
        RangesJoined: "two settlements with one message between them settle it, too"
            from "https://github.com/apache/pulsar/issues/22709",
        MultipleTakesOneMore: "settling up to a delivery takes the one after it",
        RequeueForgetsBytes: "the bytes of a requeued message do not count for its queue's limit",
    }
    "confirms" {
        ConfirmEarly: "a publish is confirmed when it is proposed, before it is durable"
            from "https://jepsen.io/analyses/nats-2.12.1",
        ConfirmMultipleTooFar: "a confirm covers a publish that is not durable yet",
        ConfirmForgotten: "a publish to queues in memory alone is never confirmed",
        RefusalConfirmed: "a publish that a full queue refused is confirmed as taken",
        RefusalSwallowed: "a refusal between two confirms is told as a confirm",
        ReturnForgotten: "a mandatory message that no queue takes is not returned",
    }
    "transactions" {
        TransactionTorn: "a transaction's settlements go in one write, its publishes in the next",
        TransactionCut: "a large transaction is cut into several writes"
            from "https://issues.apache.org/jira/browse/KAFKA-17754",
        RollbackPublishes: "a rollback publishes what it should forget"
            from "https://jepsen.io/analyses/redpanda-21.10.1",
        RollbackForgetsSettles: "a rollback forgets which deliveries it held",
        RollbackMixesTags: "a rollback gives deliveries back out of order",
        CommitEarly: "a commit is answered before it is durable",
        OpenTransactionKeeps: "what an open transaction settled is lost with its channel",
    }
    "expiry" {
        ExpiryByLocalClock: "expiry is computed from the clock at replay, not from the entry's time",
        ExpiryLate: "a message lives a second longer than its time to live",
        LongerTtlWins: "of a message's and its queue's time to live the longer counts",
        AtOnceNeverDelivered: "a message with no time to live expires although a consumer waits",
        TimerNotMoved: "a new head that expires sooner than the one before has no timer",
        ExpiredInQueueLost: "what expires after it was requeued or recovered is not dead-lettered"
            from "https://github.com/rabbitmq/rabbitmq-server/issues/37",
    }
    "dead letters" {
        DeadLetterTwice: "a dead letter is moved without taking the original",
        DeadLetterLost: "a dead letter takes the original and appends nothing",
        CycleUnseen: "dead-letter cycles are not recognised",
        RejectionIsCycle: "a rejected message that comes round is dropped as if it went in a cycle",
        DeathsUncounted: "a second death in the same queue is counted as the first"
            from "https://github.com/rabbitmq/rabbitmq-server/issues/11331",
        OverflowSaysRejected: "a message dropped for its queue's length is said to be rejected"
            from "https://github.com/rabbitmq/rabbitmq-server/pull/1858",
        DeathsReversed: "messages that die together are dead-lettered in the wrong order"
            from "https://github.com/rabbitmq/rabbitmq-server/pull/14926",
        LetterKeepsExpiration: "a dead letter keeps the expiration that it died of",
        LetterKeyIgnored: "a dead letter keeps its routing key although its queue names another",
        LetterTimeLocal: "a dead letter's time is the monotonic clock's",
        RejectionNotAwaited: "an answer does not wait for the rejections before it",
    }
    "limits" {
        LengthOffByOne: "a queue takes one message more than its length limit",
        ByteLimitCountsHead: "a byte limit of a queue that refuses counts properties and addresses, too",
        PendingUncounted: "a limit does not count what is proposed and not yet there"
            from "https://github.com/rabbitmq/rabbitmq-server/issues/8966",
    }
    "purge" {
        PurgeTakesUnsettled: "a purge takes what consumers hold",
        PurgeNotDurable: "a purge is answered before it is durable",
        PurgeForgetsReturned: "a purge hides what was requeued, which comes back after a restart",
        PurgeOvertakes: "a purge or a get does not see what its own channel published before",
    }
    "sessions" {
        ReturnedLostOnClose: "what a closed channel held is not returned"
            from "https://github.com/apache/pulsar/issues/755",
        BacklogDropped: "requests that wait in line are forgotten when their channel closes",
        ExclusiveQueueShared: "a connection may use another's exclusive queue",
        FailedChannelActs: "a channel that failed still does what it is asked",
    }
    "log" {
        SyncSkippedAfterRoll: "the first write after a segment roll is not synced, and counted as if"
            from "https://github.com/yugabyte/yugabyte-db/issues/3490",
        MarkClaimsTooMuch: "a record claims that records are durable which are still being written",
        PreparedTooSoon: "of two preparations of a segment the first counts as the second",
        TornRecordTaken: "a record is taken without regard to its checksum"
            from "https://github.com/etcd-io/etcd/issues/6515",
        FailedSyncIgnored: "a failed write or sync is ignored"
            from "https://github.com/facebook/rocksdb/pull/2495",
    }
    "recovery" {
        RecoverySkipsSegment: "recovery stops at a seal as if the log ended there",
        RecoveryTrustsTerm: "recovery takes a record of an older term after a newer one",
        RecoveryKeepsTerm: "a restart takes no new term",
        DamageIsTail: "any invalid record is taken for the torn tail",
        MessageUnchecked: "a message read from the log is not compared with its checksum",
        OlderSlotCounts: "of two whole superblock slots the older counts"
            from "https://github.com/nats-io/nats-server/issues/6600",
        ClockNotRestored: "a restart forgets the time of its newest entry",
        StaleSegmentsKept: "segments behind the end of the log are not removed",
    }
    "checkpoint" {
        CheckpointForgetsBinding: "a checkpoint forgets one binding"
            from "https://github.com/rabbitmq/rabbitmq-server/issues/12782",
        CheckpointForgetsDirtyPage: "a checkpoint keeps a stored page though it changed"
            from "https://github.com/apache/pulsar/issues/4849",
        CheckpointOverFlight: "a checkpoint is written while an entry before it is not applied",
        SuperblockEarly: "the superblock is written without waiting for the manifest's sync",
        OneSlotOnly: "a checkpoint frees segments when one slot of two leads to it",
    }
    "garbage collection" {
        PageReleasedEarly: "a stored page's segment is released before the next checkpoint is durable",
        ReleasedWithOlder: "what becomes obsolete during a checkpoint is released with it",
        CopyRelocatesEarly: "copy-forward relocates a message before its copy is durable"
            from "https://github.com/apache/artemis/pull/2270",
        DeadSegmentsKept: "segments that nothing needs are never freed",
    }
    "paging" {
        PinLeaks: "a message of a queue in memory keeps its place in the budget after it left",
        ReturnedPageEvicted: "a page with requeued messages is dropped from memory, and forgets that they were delivered",
        UnsettledPageEvicted: "a page with unsettled messages is dropped from memory",
        ExpiryHintLate: "a page out of memory names its latest expiry in place of its earliest",
        PageForgetsExpiry: "a page that was read back has forgotten when its messages expire",
    }
    "sessions" {
        ConfirmNumberOff: "a confirm of several publishes names one too many",
        SettleOneOfSeveral: "an acknowledgement of several deliveries settles the last alone",
        NackIgnoresRequeue: "a refused delivery is rejected though its return was asked for",
        MandatoryDropped: "a message that comes in one piece is not mandatory any more",
        BodyPieceTwice: "a piece of a body that ends a read is taken twice",
        BodySplitTooLong: "a body that is split fills its frames beyond the negotiated size",
        HeldBytesLost: "what comes before a login is answered is lost",
        StaleRepliesHeard: "what was said to a channel that failed goes to its successor",
        CloseLeavesChannel: "a channel that its client closed cannot be opened again",
        DeliverAfterClose: "deliveries go on after channel.close was sent",
        HeartbeatUnsent: "an idle connection gets no heartbeats",
        HeartbeatUnexpected: "a silent peer is waited for, for ever",
        HeartbeatWhilePaused: "time that a peer was not read from counts as its silence",
        BlockedUnsaid: "publishers are not told that they have to wait",
        UnblockedUnsaid: "publishers are not told that they may go on",
        BlockedRead: "a publisher that has to wait is read from",
        HoldForEver: "a connection that was held is never read from again",
        CreditTwice: "credit for what a socket took is given back twice",
        CreditLost: "what is not sent because its channel is gone gives no credit back",
        CreditBeforeSent: "credit is given back for what the socket did not take",
        LeaveForgotten: "a lost socket does not end its connection in the core",
        HandshakeForEver: "a handshake may take for ever",
        CloseForEver: "the answer to connection.close is waited for, for ever",
        FrameMaxIgnored: "a frame above the negotiated size is waited for",
        MessageMaxIgnored: "a message above the limit is accepted",
        UserIdUnchecked: "a message may name another user",
        UnknownMethodCode: "an unknown method is answered as if it were malformed",
        ChannelOpenedTwice: "channel.open on an open channel is ignored",
    }
    "priorities, delays, returns" {
        PriorityIgnored: "a queue with priorities is first in, first out",
        PriorityLowFirst: "beyond the highest priority is the lowest",
        DelayIgnored: "a delayed message is ready at once",
        DelayShort: "a delay ends 20 ms early",
        DelayedForgottenOnStart: "what was delayed when the node stopped is never looked at again",
        LifeBeginsBeforeDelay: "a delayed message's time to live begins when it is published",
        LookLost: "of the messages of a page that wait longer nobody thinks any more",
        ReturnUncounted: "a message that is given back is not counted",
        ReturnCountLost: "a page that was read back has forgotten how often its messages were given back",
        DeliveryLimitOffByOne: "a message dies at its limit of returns, not beyond it",
        RetryDelayFlat: "the delay of a message that is given back does not double",
        RetryLost: "a message that is to come again after a delay does not",
    }
    "simulator" {
        DiskLosesNothing: "the disk keeps what was not synced",
        DiskTearsNothing: "a crash takes all unsynced sectors or none",
        DamageHarmless: "damage writes what was there",
        CrashesRare: "the node does not crash",
        ObserverBlind: "deliveries are not told to the checkers",
        OrderUnchecked: "the order of deliveries is not compared",
        EndUnchecked: "nothing is looked for at the end of a run",
        ModelAgrees: "the reference model is never asked",
    }
}

#[cfg(feature = "plants")]
mod switch {
    use super::Plant;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Plant>> = const { Cell::new(None) };
        static ASKED: Cell<u64> = const { Cell::new(0) };
    }

    /// Switches one bug on, for this thread, or none.
    pub fn activate(plant: Option<Plant>) {
        ACTIVE.set(plant);
        ASKED.set(0);
    }

    /// How often the bug that is on was come to: never means that its place is gone.
    #[must_use]
    pub fn reached() -> u64 {
        ASKED.get()
    }

    /// Whether the bug is on.
    #[must_use]
    pub fn is(plant: Plant) -> bool {
        let on = ACTIVE.get() == Some(plant);
        ASKED.set(ASKED.get() + u64::from(on));
        on
    }
}

#[cfg(not(feature = "plants"))]
mod switch {
    use super::Plant;

    /// No bug is on in this build.
    #[must_use]
    pub const fn is(_plant: Plant) -> bool {
        false
    }
}

pub use switch::is;
#[cfg(feature = "plants")]
pub use switch::{activate, reached};
