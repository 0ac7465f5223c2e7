//! Seeds that once failed, determinism, and a crash after every step of a short script.

use std::path::Path;
use std::time::Duration;
use waystation_sim::{Plan, attempt, exhaustive, run, shrink};

/// The number in a file of `seeds/`, whose first line is `seed: N`.
fn kept_seeds() -> Vec<(String, u64)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(&path).expect("it is text");
        let first = text.lines().next().and_then(|line| line.strip_prefix("seed: "));
        let seed = first
            .and_then(|number| number.parse().ok())
            .expect("the first line is `seed: N`");
        seeds.push((path.display().to_string(), seed));
    }
    seeds.sort();
    seeds
}

#[test]
fn seeds_that_once_failed_pass() {
    let seeds = kept_seeds();
    assert!(!seeds.is_empty(), "seeds are kept");
    for (path, seed) in seeds {
        if let Err(what) = attempt(&Plan::draw(seed)) {
            panic!("{path}: {what}");
        }
    }
}

/// G18
#[test]
fn a_seed_has_one_trace() {
    let mut traces = Vec::new();
    for seed in 1..=12 {
        let plan = Plan::draw(seed);
        let traced = |plan| run(plan).map(|report| (report.trace, report.outputs, report.steps));
        let trace = traced(&plan).expect("it passes");
        assert_eq!(Ok(trace), traced(&plan), "seed {seed}");
        traces.push(trace.0);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 12, "different seeds have different traces");
}

#[test]
fn a_crash_after_every_output_loses_nothing() {
    let tried = exhaustive::explore(&exhaustive::script(1), 40, 8);
    let tried = tried.unwrap_or_else(|failed| panic!("crashes after outputs {:?}: {}", failed.0.crash_after, failed.1));
    assert!(tried.outputs > 50 && tried.runs > tried.outputs, "{tried:?}");
}

#[test]
fn a_plan_that_passes_is_not_shrunk() {
    assert_eq!(
        shrink::shrink(&exhaustive::script(2), Duration::from_secs(1), |_| {}),
        None
    );
}
