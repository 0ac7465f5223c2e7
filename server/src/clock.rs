//! The only place where the broker asks what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use waystation_core::{Now, Time, Wall};

/// Both clocks, from one start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotone time begins at 0 now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // A clock before 1970 is a clock that was never set: entries then bear the epoch itself.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: Time(mono),
            wall: Wall(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// The operating system's form of `time`, for its timers.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        // An instant too far to be represented is no deadline that anyone lives to see.
        let far = || self.start + Duration::from_secs(u64::from(u32::MAX));
        self.start.checked_add(Duration::from_nanos(time.0)).unwrap_or_else(far)
    }
}
