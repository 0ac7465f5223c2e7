//! Seeds that once failed, determinism, and a crash after every step of a short script.

use std::path::Path;
use std::time::Duration;
use waystation_sim::kept::Kept;
use waystation_sim::timeline::Recorder;
use waystation_sim::{Plan, attempt, exhaustive, plan_file, run, shrink, try_run};

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

/// The shrinker leaves out what can be left out: what is not broken must not be broken by that.
#[test]
fn leaving_out_turns_faults_and_requests_breaks_nothing() {
    let mut left_out = 0;
    for seed in 1..=40 {
        let recorder = Recorder::on();
        let whole = Plan::draw(seed);
        try_run(&whole, &recorder).expect("it passes");
        let timeline = recorder.timeline();
        for round in 0..3 {
            // Any half of each will do, so long as it is another one each time.
            let half = |number: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (40 + round) & 1) == 1;
            let mut kept = Kept::default();
            for (client, turn, requests) in &timeline.turns {
                if half(seed << 32 | (*client as u64) << 16 | *turn) {
                    kept.turns.entry(*client).or_default().insert(*turn);
                }
                kept.without.extend(
                    (0..*requests)
                        .filter(|place| half(turn << 8 ^ *place as u64))
                        .map(|place| (*client, *turn, place)),
                );
            }
            for (fault, number) in timeline.faults.iter().filter(|(_, number)| half(seed << 8 | number)) {
                kept.faults.entry(*fault).or_default().insert(*number);
            }
            left_out += kept.without.len();
            let plan = Plan {
                kept: Some(kept),
                ..whole.clone()
            };
            if let Err(failure) = try_run(&plan, &Recorder::default()) {
                panic!(
                    "seed {seed}, round {round}: {failure}\n{}",
                    plan_file::text(&plan, "", None)
                );
            }
        }
    }
    assert!(left_out > 1000, "{left_out}");
}
