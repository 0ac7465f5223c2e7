//! Coverage marks: rare paths say that they were taken, so that a campaign of the simulator can list those that never
//! were. Without the feature `marks` they are nothing.

/// A rare path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the paths")]
#[repr(usize)]
pub enum Mark {
    SegmentRoll,
    SegmentRecycled,
    SegmentDeleted,
    SegmentOversize,
    SegmentAwaited,
    Checkpoint,
    CopyForward,
    CopyOutlived,
    PageEvicted,
    PageLoaded,
    PageDropped,
    ReplayAwaitsPage,
    ApplyAwaitsPage,
    CacheEvicted,
    MessageLoaded,
    DelayOver,
    ReturnCounted,
    DeadLetter,
    DeadLetterCycle,
    DeadLetterAwaitsBody,
    RefusedAndDeadLettered,
    PublishRefused,
    PublishersBlocked,
    ReaderPaused,
    QueueIdleExpired,
    QueueAutoDeleted,
    ExclusiveGone,
    QueueGoneBeforeCommit,
    TornTail,
    SlotLost,
    TermBump,
    DamageFound,
    FolderAbandoned,
}

/// Their number and names.
const NAMES: [&str; 33] = [
    "segment roll",
    "segment recycled",
    "segment deleted",
    "segment oversize",
    "segment awaited",
    "checkpoint",
    "copy forward",
    "copy outlived by its message",
    "page evicted",
    "page loaded",
    "page dropped whole",
    "replay awaits a page",
    "applying awaits a page",
    "cache evicted",
    "message loaded",
    "delay over",
    "return counted",
    "dead letter",
    "dead letter cycle",
    "dead letter awaits its body",
    "refused and dead-lettered",
    "publish refused",
    "publishers blocked",
    "reader paused",
    "queue expired idle",
    "queue auto-deleted",
    "exclusive queue gone with its connection",
    "queue gone before commit",
    "torn tail",
    "superblock slot lost",
    "new term",
    "damage found",
    "half-made folder begun anew",
];

#[cfg(feature = "marks")]
mod counting {
    use super::{Mark, NAMES};
    use std::cell::RefCell;

    thread_local! {
        static COUNTS: RefCell<[u64; NAMES.len()]> = const { RefCell::new([0; NAMES.len()]) };
    }

    /// The path was taken.
    pub(crate) fn hit(mark: Mark) {
        COUNTS.with_borrow_mut(|counts| counts[mark as usize] += 1);
    }

    /// Every mark's name.
    #[must_use]
    pub const fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// The marks that this thread reached since the last call, and how often.
    #[must_use]
    pub fn take() -> Vec<(&'static str, u64)> {
        let counts = COUNTS.with_borrow_mut(|counts| std::mem::replace(counts, [0; NAMES.len()]));
        NAMES.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(not(feature = "marks"))]
mod counting {
    use super::Mark;

    /// Nothing.
    pub(crate) const fn hit(_mark: Mark) {}

    /// None: this build has no marks.
    #[must_use]
    pub const fn names() -> &'static [&'static str] {
        &[]
    }

    /// Nothing: this build has no marks.
    #[must_use]
    pub const fn take() -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

pub(crate) use counting::hit;
pub use counting::{names, take};

const _: () = assert!(
    NAMES.len() == Mark::FolderAbandoned as usize + 1,
    "each mark has a name"
);
