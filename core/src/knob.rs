//! Sizes that are constants of the core. With the feature `knobs` the simulator draws them anew for each run, so that a
//! small world reaches what otherwise takes thousands of messages: many pages, cut entries, short turns. Without it each
//! is a constant when it is compiled.

macro_rules! knobs {
    ($($(#[doc = $what:literal])* $name:ident: $kind:ty = $value:expr,)*) => {
        /// The sizes, for one run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Knobs { $($(#[doc = $what])* pub $name: $kind,)* }

        impl Knobs {
            /// Those of every build that is used.
            pub const DEFAULT: Self = Self { $($name: $value,)* };
        }

        $(pub(crate) fn $name() -> $kind { current().$name })*
    };
}

knobs! {
    /// Messages per page of a queue's index. At 40 bytes a slot in memory a page is 40 KB: small enough to load at once,
    /// large enough that ten million messages make ten thousand pages.
    page_slots: usize = 1024,
    /// Deliveries of one queue before others have their turn.
    turn_messages: usize = 256,
    /// Bytes of one queue's turn: a slow reader's window is overrun by no more than this.
    turn_bytes: usize = 256 << 10,
    /// Deliveries before the frontend is heard again.
    round_outputs: usize = 2048,
    /// Dead letters of one queue before others have their turn.
    turn_deaths: usize = 64,
    /// Messages that lie within so many bytes of the head are read with it.
    read_ahead_bytes: u32 = 512 << 10,
    /// A batch is cut into entries of about this size, so that replay and replication work in pieces.
    entry_bytes: usize = 4 << 20,
    /// What one write takes of the open batch, beyond which the rest waits for the next: a segment's worth.
    write_bytes: u64 = 32 << 20,
    /// Bytes copied at once out of a mostly dead segment.
    copy_bytes: usize = 1 << 20,
    /// Bytes per read of the recovery. Larger records take several.
    replay_bytes: u32 = 1 << 20,
    /// Pieces of a record's body from this size on are written from where they are; smaller ones are copied together.
    chunk_bytes: usize = 16 << 10,
    /// Bytes of one connection's requests that wait in line before it is held: some thousands of declarations, or a few
    /// large messages.
    line_bytes: u64 = 1 << 20,
    /// Settled deliveries that are remembered, beside as many as are unsettled.
    gaps: usize = 1024,
}

impl Default for Knobs {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(feature = "knobs")]
mod setting {
    use super::Knobs;
    use std::cell::Cell;

    /// Every loop over messages asks for sizes. One input is not handled in so many.
    const PATIENCE: u64 = 30_000_000;

    thread_local! {
        static CURRENT: Cell<Knobs> = const { Cell::new(Knobs::DEFAULT) };
        static PATIENCE_LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    }

    /// Sets the sizes for this thread. A data folder is read with the sizes that it was written with.
    pub fn set(knobs: Knobs) {
        CURRENT.set(knobs);
        be_patient();
    }

    /// Another input is handled. From the first call on this thread a core that goes round in circles panics.
    pub fn be_patient() {
        PATIENCE_LEFT.set(PATIENCE);
    }

    pub(super) fn current() -> Knobs {
        let left = PATIENCE_LEFT.get();
        assert!(left > 0, "the core goes round in circles");
        PATIENCE_LEFT.set(left - 1);
        CURRENT.get()
    }
}

#[cfg(not(feature = "knobs"))]
mod setting {
    use super::Knobs;

    /// Nothing: in this build the sizes are constants.
    pub const fn set(_knobs: Knobs) {}

    /// Nothing: in this build nobody counts.
    pub const fn be_patient() {}

    pub(super) const fn current() -> Knobs {
        Knobs::DEFAULT
    }
}

use setting::current;
pub use setting::{be_patient, set};
