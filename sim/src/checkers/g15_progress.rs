//! G15, progress: once faults have stopped, everything comes out within a stated virtual time.

use crate::plan::MS;

/// Virtual time within which, once faults have stopped, everything must come out.
pub(crate) const HEAL: u64 = 120_000 * MS;
/// Events of one run: beyond them it goes round in circles.
pub(crate) const STEPS_MAX: u64 = 3_000_000;

/// Whether a run that is not over goes on too long.
pub(crate) const fn is_stuck(now: u64, length: u64, steps: u64) -> bool {
    now > length + HEAL || steps > STEPS_MAX
}

/// What is wrong with it.
pub(crate) fn stuck(waiting: &str) -> String {
    let seconds = HEAL / MS / 1000;
    format!("not drained {seconds} virtual s after the faults stopped: {waiting}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_events_have_a_bound() {
        assert!(!is_stuck(HEAL + 10, 10, 0));
        assert!(is_stuck(HEAL + 11, 10, 0));
        assert!(is_stuck(0, 10, STEPS_MAX + 1));
    }
}
