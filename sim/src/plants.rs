//! Planted bugs: each is switched on, and seeds are run until one fails. The simulator's worth is how many it finds, and
//! how soon.
//!
//! `sim/plants.json` keeps what a full hunt found: the ratchet. A check runs the seed that found each bug, and a few times
//! as many as it took if that one no longer does. A bug that was found and survives is a loss; so is one whose place in
//! the code is never come to any more.

mod table;

use crate::campaign::{Summary, attempt, try_run};
use crate::plan::Plan;
use crate::timeline::Recorder;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
pub use table::markdown;
use waystation_core::plant::{Plant, activate, reached};

/// Bugs that no seed can show, and why, or which directed test shows them.
pub const ARGUED: &[(Plant, &str)] = &[
    (
        Plant::OlderSlotCounts,
        "Equivalent by design: a checkpoint frees nothing before both slots lead to it, so the older of two whole slots leads \
         to a state that is still all there.",
    ),
    (
        Plant::StaleSegmentsKept,
        "Equivalent: a segment behind the end is made anew before it is written to, and what it held until then says that \
         records are durable which all lie before the end.",
    ),
    (
        Plant::PageReleasedEarly,
        "Equivalent while one write is under way at a time: nothing becomes obsolete between a checkpoint's first record and \
         its last superblock slot, and segments are freed at no other moment.",
    ),
    (
        Plant::ReleasedWithOlder,
        "Equivalent for the same reason: what becomes obsolete during a checkpoint is nothing.",
    ),
    (
        Plant::RecoveryTrustsTerm,
        "Directed test `a_term_that_falls_ends_the_log` in core/src/log/tests/damage.rs. It needs a record that \
         survives behind a lost one of exactly the length of what is written in its place after the restart.",
    ),
    (
        Plant::RecoveryKeepsTerm,
        "Directed test `every_life_has_a_term_of_its_own` in core/src/node/tests/restart.rs, for the same reason.",
    ),
];
/// Seeds in which a bug of the simulator itself has to show as too little done.
const BATCH: u64 = 300;
/// A check looks this many times as far as it took to find a bug, and so many seeds further.
const SLACK: (u64, u64) = (4, 60);

/// What became of one.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub plant: Plant,
    /// Seeds run, the one that failed included.
    pub seeds: u64,
    /// Seconds of one processor.
    pub seconds: f64,
    /// Times that its place in the code was come to.
    pub reached: u64,
    /// How it showed, if it did: the seed, and what broke.
    pub caught: Option<(u64, String)>,
    /// Of how many seeds how many show it.
    pub rate: Option<(u64, u64)>,
}

impl Hunt {
    /// The guarantee that was seen broken, or `panic` if the core noticed by itself, or `vacuous`.
    #[must_use]
    pub fn guarantee(&self) -> &str {
        let Some((_, what)) = &self.caught else { return "" };
        if what.starts_with('G') {
            what.split_whitespace().next().unwrap_or_default()
        } else if self.plant.area() == "simulator" {
            "vacuous"
        } else {
            "panic"
        }
    }

    /// For programs, and for the next check.
    #[must_use]
    pub fn json(&self) -> Value {
        let seed = self.caught.as_ref().map(|(seed, _)| *seed);
        json!({
            "name": format!("{:?}", self.plant),
            "area": self.plant.area(),
            "what": self.plant.what(),
            "source": self.plant.source(),
            "seed": seed,
            "seeds": self.seeds,
            "cpu_seconds": (self.seconds * 1e4).round() / 1e4,
            "guarantee": self.guarantee(),
            "hits": self.rate.map(|(hits, _)| hits),
            "of": self.rate.map(|(_, of)| of),
        })
    }
}

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The first seed.
    pub first: u64,
    /// Seeds for each bug, at most.
    pub seeds: u64,
    /// Seconds of one processor for each, at most.
    pub seconds: f64,
    /// Seeds for the rate at which each shows; none without.
    pub rate: u64,
}

/// Hunts each of the bugs on so many threads, and tells of each when it is done.
#[must_use]
pub fn hunt_all(plants: &[Plant], budget: Budget, threads: usize, tell: impl Fn(&Hunt) + Sync) -> Vec<Hunt> {
    on_threads(plants, threads, |plant| {
        let mut hunt = hunt(plant, None, budget);
        if hunt.caught.is_some() && budget.rate > 0 && plant.area() != "simulator" {
            let seeds = budget.first..budget.first + budget.rate;
            let hits = seeds.filter(|seed| fails(plant, *seed).is_some()).count();
            hunt.rate = Some((hits as u64, budget.rate));
        }
        tell(&hunt);
        hunt
    })
}

/// What a check says of a bug.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The hunt.
    pub hunt: Hunt,
    /// What is wrong, if anything.
    pub wrong: Option<String>,
}

/// Checks each bug against what is kept.
///
/// # Errors
/// If what is kept cannot be read.
pub fn check_all(plants: &[Plant], threads: usize) -> Result<Vec<Verdict>, String> {
    let kept = kept()?;
    Ok(on_threads(plants, threads, |plant| check(plant, &kept)))
}

fn check(plant: Plant, kept: &[Value]) -> Verdict {
    let name = format!("{plant:?}");
    let record = kept.iter().find(|record| record["name"] == *name);
    let argued = ARGUED.iter().any(|(other, _)| *other == plant);
    let known = record.and_then(|record| record["seed"].as_u64());
    let before = record.and_then(|record| record["seeds"].as_u64()).unwrap_or(1);
    let seeds = if argued { 20 } else { before * SLACK.0 + SLACK.1 };
    let budget = Budget {
        first: 1,
        seeds,
        seconds: 60.0,
        rate: 0,
    };
    let hunt = hunt(plant, known, budget);
    let wrong = if record.is_none() {
        Some("has no record: run `cargo xtask sim plants --write`".to_owned())
    } else if hunt.reached == 0 {
        Some("is never come to any more: its place in the code is gone".to_owned())
    } else if hunt.caught.is_none() && known.is_some() && !argued {
        Some(format!("was found before and survives {} seeds", hunt.seeds))
    } else {
        None
    };
    Verdict { hunt, wrong }
}

/// Where the ratchet lies.
#[must_use]
pub fn kept_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("plants.json")
}

fn kept() -> Result<Vec<Value>, String> {
    let path = kept_path();
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Does something for each of the bugs on so many threads; in their order.
fn on_threads<T: Send>(plants: &[Plant], threads: usize, work: impl Fn(Plant) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(plant) = plants.get(at) else { break };
                    let result = work(*plant);
                    done.lock().expect("runs are caught").push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("runs are caught");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// How a seed fails with the bug on, if it does.
fn fails(plant: Plant, seed: u64) -> Option<String> {
    run_with(plant, seed).1
}

fn run_with(plant: Plant, seed: u64) -> (u64, Option<String>) {
    let plan = Plan::draw(seed);
    activate(Some(plant));
    let result = attempt(&plan);
    let times = reached();
    activate(None);
    (times, result.err())
}

/// Runs a seed that is known to show it, then others in order.
fn hunt(plant: Plant, known: Option<u64>, budget: Budget) -> Hunt {
    let started = Stopwatch::start();
    let mut hunt = Hunt {
        plant,
        seeds: 0,
        seconds: 0.0,
        reached: 0,
        caught: None,
        rate: None,
    };
    if plant.area() == "simulator" {
        blind(&mut hunt);
        hunt.seconds = started.seconds();
        return hunt;
    }
    for seed in known.into_iter().chain(budget.first..budget.first + budget.seeds) {
        hunt.seeds += 1;
        let (times, failure) = run_with(plant, seed);
        hunt.reached += times;
        hunt.seconds = started.seconds();
        if let Some(what) = failure {
            hunt.caught = Some((seed, what));
            break;
        }
        if hunt.seconds > budget.seconds {
            break;
        }
    }
    hunt
}

/// A bug of the simulator makes it blind: no seed fails, and the thresholds of a campaign must.
fn blind(hunt: &mut Hunt) {
    let mut summary = Summary::default();
    for seed in 1..=BATCH {
        let plan = Plan::draw(seed);
        activate(Some(hunt.plant));
        let result = try_run(&plan, &Recorder::default());
        hunt.reached += reached();
        activate(None);
        hunt.seeds += 1;
        if let Err(failure) = &result {
            hunt.caught = Some((seed, failure.what.clone()));
        }
        summary.add(seed, result);
    }
    if let Some(what) = summary.vacuous() {
        hunt.caught = Some((1, what));
    }
}

/// Seconds of processor that this thread used, where the system tells; else seconds that passed.
struct Stopwatch(f64);

impl Stopwatch {
    fn start() -> Self {
        Self(Self::used())
    }

    fn seconds(&self) -> f64 {
        Self::used() - self.0
    }

    #[cfg(unix)]
    fn used() -> f64 {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
    }

    #[cfg(not(unix))]
    fn used() -> f64 {
        use std::time::{SystemTime, UNIX_EPOCH};
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0.0, |since| since.as_secs_f64())
    }
}
