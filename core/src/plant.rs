//! Planted bugs: what the simulator must find. One at a time is switched on, in builds with the feature `plants` alone;
//! in any other build each question is answered `false` when it is compiled.

macro_rules! plants {
    ($($name:ident: $what:literal,)*) => {
        /// A known bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Plant { $(#[doc = $what] $name,)* }

        impl Plant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What is wrong.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}

plants! {
    ConfirmEarly: "a publish is confirmed when it is proposed, before it is durable",
    SettleOffByOne: "a settled range lacks its last message",
    CheckpointForgetsBinding: "a checkpoint forgets one binding",
    CheckpointForgetsDirtyPage: "a checkpoint keeps a stored page though it changed",
    SyncSkippedAfterRoll: "the first write after a segment roll is not synced, and counted as if",
    ExpiryByLocalClock: "expiry is computed from the clock at replay, not from the entry's time",
    ExpiryLate: "a message lives a second longer than its time to live",
    RequeueAtTail: "a requeued message goes to the tail",
    RequeueLosesFlag: "a requeued message is not marked redelivered",
    CreditLeakedOnCancel: "a cancelled consumer's credit stays taken from its channel",
    CreditLeakedOnReject: "a rejection does not give its credit back",
    SuperblockEarly: "the superblock is written without waiting for the manifest's sync",
    PageReleasedEarly: "a stored page's segment is released before the next checkpoint is durable",
    CopyRelocatesEarly: "copy-forward relocates a message before its copy is durable",
    MarkClaimsTooMuch: "a record claims that records are durable which are still being written",
    DeadLetterTwice: "a dead letter is moved without taking the original",
    DeadLetterLost: "a dead letter takes the original and appends nothing",
    CycleUnseen: "dead-letter cycles are not recognised",
    TransactionTorn: "a transaction's settlements go in one write, its publishes in the next",
    RollbackPublishes: "a rollback publishes what it should forget",
    RollbackForgetsSettles: "a rollback forgets which deliveries it held",
    PurgeTakesUnsettled: "a purge takes what consumers hold",
    PurgeNotDurable: "a purge is answered before it is durable",
    CommitEarly: "a commit is answered before it is durable",
    RecoverySkipsSegment: "recovery stops at a seal as if the log ended there",
    RecoveryTrustsTerm: "recovery takes a record of an older term after a newer one",
    RecoveryKeepsTerm: "a restart takes no new term",
    DamageIsTail: "any invalid record is taken for the torn tail",
    MessageUnchecked: "a message read from the log is not compared with its checksum",
    PrefetchOffByOne: "a consumer may hold one message more than its prefetch",
    ConfirmMultipleTooFar: "a confirm covers a publish that is not durable yet",
    ReturnForgotten: "a mandatory message that no queue takes is not returned",
    RefusalConfirmed: "a publish that a full queue refused is confirmed as taken",
    ExclusiveOutlives: "an exclusive queue outlives its connection",
    AutoDeleteForgotten: "an auto-delete queue outlives its last consumer",
    FanoutForgetsOne: "a message for three queues or more misses the last",
    ReturnedLostOnClose: "what a closed channel held is not returned",
    PauseForgotten: "a reader that was paused is never resumed",
    FailedSyncIgnored: "a failed write or sync is ignored",
}

#[cfg(feature = "plants")]
mod switch {
    use super::Plant;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Plant>> = const { Cell::new(None) };
    }

    /// Switches one bug on, for this thread, or none.
    pub fn activate(plant: Option<Plant>) {
        ACTIVE.set(plant);
    }

    pub(crate) fn is(plant: Plant) -> bool {
        ACTIVE.get() == Some(plant)
    }
}

#[cfg(not(feature = "plants"))]
mod switch {
    use super::Plant;

    pub(crate) const fn is(_plant: Plant) -> bool {
        false
    }
}

#[cfg(feature = "plants")]
pub use switch::activate;
pub(crate) use switch::is;
