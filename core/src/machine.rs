//! Time, and the contract that every machine obeys. The contract's text is at the top of the crate.

/// Nanoseconds on the driver's monotone clock. Only a driver or the simulator makes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// Milliseconds since the Unix epoch, to stamp entries with and for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub u64);

/// The instant of one input, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers and timeouts.
    pub mono: Time,
    /// For the stamp of an entry.
    pub wall: Wall,
}

/// When to tick if nothing else happens, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// The instant at which a tick does something.
    pub at: Time,
    /// What waits, for logs and for a stuck simulation.
    pub reason: &'static str,
}

/// One shape for every machine.
pub trait Machine {
    /// What happens to it.
    type Input<'a>;
    /// What it does.
    type Output;
    /// Applies one input.
    fn handle(&mut self, now: Now, input: Self::Input<'_>);
    /// Pops one effect; `None` means drained.
    fn poll(&mut self) -> Option<Self::Output>;
    /// When to tick if nothing else happens.
    fn deadline(&self) -> Option<Deadline>;
}

impl Time {
    /// This instant and `ms` milliseconds more.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Whole milliseconds from `earlier` to this instant; 0 if `earlier` is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

impl Deadline {
    /// The earlier of two optional deadlines.
    #[must_use]
    pub fn earliest(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }
}
