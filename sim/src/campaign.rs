//! Many seeds, on all processors, and the proof that they showed something.

use crate::plan::Plan;
use crate::timeline::Recorder;
use crate::trace::Trace;
use crate::world::{Report, run_told};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

thread_local! {
    /// This thread is in a run.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    /// Where this thread's newest panic was, and its words.
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// No seed is begun after so many seconds.
    pub seconds: Option<u64>,
    /// Threads.
    pub threads: usize,
    /// Each seed is run twice, and the traces are compared (G18).
    pub twice: bool,
    /// No seed is begun after so many failures.
    pub failures_max: usize,
    /// What a seed's run is.
    pub draw: fn(u64) -> Plan,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds run.
    pub seeds: u64,
    /// Real seconds.
    pub seconds: f64,
    /// Sums of the runs' reports.
    pub totals: BTreeMap<&'static str, u64>,
    /// Coverage marks that were reached, and how often.
    pub marks: BTreeMap<&'static str, u64>,
    /// Seeds that failed, and how.
    pub failures: Vec<(u64, Failure)>,
    /// The sum of a hash of each seed with its trace: the same for the same seeds, whatever the order (G18).
    pub trace: u64,
}

/// How a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The guarantee, `G1` and so on, or `panic at` and a place in the source: two failures of one kind are taken for
    /// one bug.
    pub kind: String,
    /// Virtual nanoseconds, if they are known.
    pub at: Option<u64>,
    /// For people.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Runs a plan and says how it failed: a violation, or the words of a panic.
///
/// # Errors
/// The failure, for people.
pub fn attempt(plan: &Plan) -> Result<Report, String> {
    try_run(plan, &Recorder::default()).map_err(|failure| failure.what)
}

/// Runs a plan, tells what happens, and says how it failed: a violation, or a panic.
///
/// # Errors
/// The failure. It is also the last event that is told.
pub fn try_run(plan: &Plan, recorder: &Recorder) -> Result<Report, Failure> {
    silence();
    RUNNING.set(true);
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| run_told(plan, recorder)));
    RUNNING.set(false);
    let failure = match result {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(violation)) => Failure {
            kind: violation.guarantee.to_owned(),
            at: Some(violation.at),
            what: violation.to_string(),
        },
        Err(_) => {
            let (place, words) = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
            Failure {
                kind: format!("panic at {place}"),
                at: None,
                what: format!("the core panicked: {words}"),
            }
        }
    };
    if let Some(mut timeline) = recorder.open() {
        let at = failure.at.unwrap_or_else(|| timeline.end());
        timeline.fail(at, failure.what.clone());
    }
    Err(failure)
}

/// Panics of runs are kept, not printed: a failing seed is told of once, with its replay.
fn silence() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !RUNNING.get() {
                return others(info);
            }
            let at = info.location();
            let place = at.map_or(String::new(), |at| format!("{}:{}", at.file(), at.line()));
            PANIC.with_borrow_mut(|words| *words = Some((place, info.to_string().replace('\n', " "))));
        }));
    });
}

impl Campaign {
    /// Runs the seeds.
    #[must_use]
    pub fn run(&self) -> Summary {
        self.run_told(&|_, _| {})
    }

    /// Runs the seeds, and tells after each how many were run and how many failed.
    #[must_use]
    pub fn run_told(&self, tell: &(dyn Fn(u64, usize) + Sync)) -> Summary {
        let started = Instant::now();
        let next = AtomicU64::new(self.first);
        let stop = AtomicBool::new(false);
        let summary = Mutex::new(Summary::default());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| self.work(started, &next, &stop, &summary, tell));
            }
        });
        let mut summary = summary.into_inner().expect("no thread panics: runs are caught");
        summary.seconds = started.elapsed().as_secs_f64();
        summary.failures.sort_by_key(|(seed, _)| *seed);
        summary
    }

    fn work(
        &self,
        started: Instant,
        next: &AtomicU64,
        stop: &AtomicBool,
        summary: &Mutex<Summary>,
        tell: &(dyn Fn(u64, usize) + Sync),
    ) {
        // What this thread reached before is no part of the campaign.
        drop(waystation_core::mark::take());
        let limit = self.seconds.map(Duration::from_secs);
        loop {
            let late = limit.is_some_and(|limit| started.elapsed() > limit);
            if late || stop.load(Ordering::Relaxed) {
                break;
            }
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.first.saturating_add(self.seeds) {
                break;
            }
            let result = self.one(&(self.draw)(seed));
            let mut summary = summary.lock().expect("no thread panics: runs are caught");
            summary.add(seed, result);
            tell(summary.seeds, summary.failures.len());
            stop.fetch_or(summary.failures.len() >= self.failures_max, Ordering::Relaxed);
        }
        let mut summary = summary.lock().expect("no thread panics: runs are caught");
        for (name, count) in waystation_core::mark::take() {
            *summary.marks.entry(name).or_default() += count;
        }
    }
}

impl Campaign {
    /// Runs a plan, and again if each is run twice.
    fn one(&self, plan: &Plan) -> Result<Report, Failure> {
        let first = try_run(plan, &Recorder::default());
        let again = self.twice.then(|| try_run(plan, &Recorder::default()));
        let traced =
            |result: &Result<Report, Failure>| result.as_ref().map(|report| report.trace).map_err(Failure::clone);
        match again {
            Some(again) if traced(&again) != traced(&first) => Err(Failure {
                kind: "G18".into(),
                at: None,
                what: "G18 broken: two runs of the seed have two traces".into(),
            }),
            _ => first,
        }
    }
}

impl Summary {
    pub(crate) fn add(&mut self, seed: u64, result: Result<Report, Failure>) {
        self.seeds += 1;
        let mut trace = Trace::default();
        match result {
            Ok(report) => {
                trace.note(seed, &report.trace);
                for (name, count) in report.counts() {
                    *self.totals.entry(name).or_default() += count;
                }
            }
            Err(failure) => {
                trace.note(seed, &failure.what);
                self.failures.push((seed, failure));
            }
        }
        self.trace = self.trace.wrapping_add(trace.finish());
    }

    fn total(&self, name: &str) -> u64 {
        self.totals.get(name).copied().unwrap_or(0)
    }

    /// Marks that no run reached. Empty if the build has no marks.
    #[must_use]
    pub fn unreached(&self) -> Vec<&'static str> {
        let known = waystation_core::mark::names();
        known
            .iter()
            .copied()
            .filter(|name| !self.marks.contains_key(name))
            .collect()
    }

    /// Why the numbers are too small to have shown anything. Rare things need a hundred seeds to be expected.
    #[must_use]
    pub fn vacuous(&self) -> Option<String> {
        let seeds = self.seeds;
        let floors = [
            ("confirmed", seeds * 20),
            ("delivered", seeds * 20),
            ("redelivered", seeds),
            ("dead letters", seeds / 4),
            ("crashes", seeds),
            ("crashes that tore", seeds / 50),
            ("sectors lost", seeds / 8),
            ("damage found", seeds / 300),
            ("ends compared", seeds / 5),
            ("model steps", seeds * 50),
            ("transactions", seeds / 2),
            ("returned unroutable", seeds / 10),
            ("settled durably", seeds),
            ("order checks", seeds * 10),
            ("count checks", seeds),
            ("refused", seeds),
            ("purges", seeds / 4),
            ("duplicated", seeds / 10),
            ("recovered", seeds / 4),
            ("queues seen gone", seeds / 4),
            ("crashes in recovery", seeds / 8),
            ("damaged", seeds / 150),
            ("disk errors", seeds / 100),
            ("byte connections", seeds / 4),
            ("resets", seeds / 30),
            ("silences", seeds / 300),
            ("network stalls", seeds / 300),
            ("slow connections", seeds / 30),
            ("attacks answered", seeds / 8),
        ];
        let few = |(name, floor): &(&str, u64)| self.total(name) < *floor;
        let first = floors.into_iter().find(few).filter(|_| seeds >= 100);
        first.map(|(name, floor)| format!("{} {name}, where {seeds} seeds should give {floor}", self.total(name)))
    }

    /// Seeds in a second, and virtual seconds in a real one.
    #[must_use]
    pub fn speed(&self) -> (f64, f64) {
        let seconds = self.seconds.max(1e-9);
        (
            self.seeds as f64 / seconds,
            self.total("virtual ms") as f64 / 1e3 / seconds,
        )
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let (seeds_per_second, times_real) = self.speed();
        json!({
            "seeds": self.seeds,
            "seconds": self.seconds,
            "seeds_per_second": seeds_per_second,
            "times_real_time": times_real,
            "totals": self.totals,
            "marks": self.marks,
            "marks_unreached": self.unreached(),
            "vacuous": self.vacuous(),
            "trace": format!("{:016x}", self.trace),
            "failures": self.failures.iter().map(told).collect::<Vec<_>>(),
        })
    }
}

fn told((seed, failure): &(u64, Failure)) -> Value {
    json!({"seed": seed, "kind": failure.kind, "at_ns": failure.at, "what": failure.what})
}
