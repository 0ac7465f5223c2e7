//! Planted bugs: each is switched on, and seeds are run until one fails. The simulator's worth is how many it finds, and
//! how soon.

use crate::campaign::attempt;
use crate::plan::Plan;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use waystation_core::plant::{Plant, activate};

/// What became of one.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub plant: Plant,
    /// Seeds run, the one that failed included.
    pub seeds: u64,
    /// Seconds of one processor.
    pub seconds: f64,
    /// How it showed, if it did: the seed, and what broke.
    pub caught: Option<(u64, String)>,
}

/// Hunts each of the bugs, on so many threads, for at most so many seconds of processor and so many seeds.
#[must_use]
pub fn hunt_all(plants: &[Plant], first: u64, seeds: u64, seconds: f64, threads: usize) -> Vec<Hunt> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(plant) = plants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let hunt = hunt(*plant, first, seeds, seconds);
                    found.lock().expect("runs are caught").push(hunt);
                }
            });
        }
    });
    let mut found = found.into_inner().expect("runs are caught");
    found.sort_by_key(|hunt: &Hunt| plants.iter().position(|plant| *plant == hunt.plant));
    found
}

fn hunt(plant: Plant, first: u64, seeds: u64, seconds: f64) -> Hunt {
    let started = Stopwatch::start();
    let mut hunt = Hunt {
        plant,
        seeds: 0,
        seconds: 0.0,
        caught: None,
    };
    for seed in first..first + seeds {
        hunt.seeds += 1;
        let plan = Plan::draw(seed);
        activate(Some(plant));
        let result = attempt(&plan);
        activate(None);
        hunt.seconds = started.seconds();
        if let Err(what) = result {
            hunt.caught = Some((seed, what));
            break;
        }
        if hunt.seconds > seconds {
            break;
        }
    }
    hunt
}

/// Seconds of processor that this thread used, where the system tells; else seconds that passed.
struct Stopwatch {
    began: Instant,
    used_before: Option<u64>,
}

impl Stopwatch {
    fn start() -> Self {
        let (began, used_before) = (Instant::now(), Self::used());
        Self { began, used_before }
    }

    fn seconds(&self) -> f64 {
        match (self.used_before, Self::used()) {
            (Some(before), Some(now)) => now.saturating_sub(before) as f64 / 1e9,
            _ => self.began.elapsed().as_secs_f64(),
        }
    }

    /// Nanoseconds on a processor: the first field of Linux's `schedstat`.
    fn used() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse().ok()
    }
}
