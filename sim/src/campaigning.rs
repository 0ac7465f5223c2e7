//! Many seeds: campaigns, coverage, and how fast it goes.

use crate::{FAILED, USAGE, VACUOUS, processors};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use waystation_sim::campaign::{Campaign, Summary};
use waystation_sim::{Failure, Plan, bench};

/// Which seeds to run, and how.
#[derive(clap::Args)]
pub(crate) struct Seeds {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Begin no seed after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Threads; by default one for each processor.
    #[arg(long)]
    threads: Option<usize>,
    /// Run each seed twice and compare the traces.
    #[arg(long)]
    twice: bool,
    /// Go on until so many seeds failed.
    #[arg(long, default_value_t = 1)]
    failures: usize,
    /// Write seeds that fail, with their symptom, to the folder of seeds that are run with the tests.
    #[arg(long, num_args = 0..=1, default_missing_value = "sim/seeds", value_name = "FOLDER")]
    keep_failures: Option<PathBuf>,
    /// Tell the result as JSON, to standard output.
    #[arg(long)]
    json: bool,
}

/// Runs seeds; with `coverage`, every rare path must have been taken.
pub(crate) fn campaign(seeds: &Seeds, coverage: bool) -> ExitCode {
    let campaign = Campaign {
        first: seeds.first,
        seeds: seeds.seeds,
        seconds: seeds.seconds,
        threads: seeds.threads.unwrap_or_else(processors),
        twice: seeds.twice,
        failures_max: seeds.failures.max(1),
        draw: Plan::draw,
    };
    let progress = Progress::new(seeds.seeds);
    let summary = campaign.run_told(&|run, failed| progress.tell(run, failed));
    progress.clear();
    if seeds.json {
        println!("{:#}", summary.json());
    } else {
        print(&summary, coverage);
    }
    for (seed, failure) in &summary.failures {
        eprintln!(
            "seed {seed}: {failure}\n  replay: cargo xtask sim replay {seed}\n  shrink: cargo xtask sim shrink {seed}"
        );
        if let Some(folder) = &seeds.keep_failures
            && let Err(error) = keep(folder, *seed, failure)
        {
            eprintln!("seed {seed} could not be kept in {}: {error}", folder.display());
            return ExitCode::from(USAGE);
        }
    }
    if !summary.failures.is_empty() {
        return ExitCode::from(FAILED);
    }
    if let Some(what) = summary.vacuous() {
        eprintln!("the campaign proves nothing: {what}");
        return ExitCode::from(VACUOUS);
    }
    if coverage {
        return covered(&summary);
    }
    ExitCode::SUCCESS
}

/// A file for the test that runs every seed that once failed.
fn keep(folder: &Path, seed: u64, failure: &Failure) -> std::io::Result<()> {
    let slug: String = failure.kind.chars().take_while(char::is_ascii_alphanumeric).collect();
    let path = folder.join(format!("{seed:04}-{}.txt", slug.to_lowercase()));
    std::fs::write(&path, format!("seed: {seed}\nsymptom: {failure}\n"))?;
    eprintln!("  kept in {}", path.display());
    Ok(())
}

/// A line that is written over, on a terminal.
struct Progress {
    seeds: u64,
    began: Instant,
    told: Option<Mutex<Instant>>,
}

impl Progress {
    fn new(seeds: u64) -> Self {
        let began = Instant::now();
        let told = std::io::stderr().is_terminal().then(|| Mutex::new(began));
        Self { seeds, began, told }
    }

    fn tell(&self, run: u64, failed: usize) {
        const EVERY: Duration = Duration::from_millis(200);
        let Some(told) = &self.told else { return };
        let mut told = told.lock().expect("telling does not panic");
        if told.elapsed() >= EVERY {
            *told = Instant::now();
            let rate = run as f64 / self.began.elapsed().as_secs_f64();
            let _ = write!(
                std::io::stderr(),
                "\r{run} of {} seeds, {rate:.0}/s, {failed} failed \x1b[K",
                self.seeds
            );
        }
    }

    fn clear(&self) {
        if self.told.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn print(summary: &Summary, coverage: bool) {
    let (speed, times) = summary.speed();
    let (seeds, seconds, failed) = (summary.seeds, summary.seconds, summary.failures.len());
    println!("{seeds} seeds in {seconds:.1} s: {speed:.1} a second, {times:.0} times real time; {failed} failed");
    let totals: Vec<(&str, u64)> = summary.totals.iter().map(|(name, count)| (*name, *count)).collect();
    columns(&totals);
    println!("trace {:016x}", summary.trace);
    if coverage {
        println!("\nrare paths taken:");
        let marks: Vec<(&str, u64)> = summary.marks.iter().map(|(name, count)| (*name, *count)).collect();
        columns(&marks);
    }
}

/// Counts in three columns, read downwards.
fn columns(counts: &[(&str, u64)]) {
    let rows = counts.len().div_ceil(3);
    for row in 0..rows {
        let cells = counts.iter().skip(row).step_by(rows.max(1));
        let line: Vec<String> = cells.map(|(name, count)| format!("{count:>12} {name:<28}")).collect();
        println!("{}", line.concat().trim_end());
    }
}

fn covered(summary: &Summary) -> ExitCode {
    if summary.marks.is_empty() {
        eprintln!("this build has no marks: cargo xtask sim builds with them");
        return ExitCode::from(VACUOUS);
    }
    let unreached = summary.unreached();
    if unreached.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("never taken: {}", unreached.join(", "));
    ExitCode::from(VACUOUS)
}

/// Measures the standard run with and without faults.
pub(crate) fn measure(seconds: u64, threads: usize, as_json: bool) -> ExitCode {
    let mut told = Vec::new();
    for (name, draw) in bench::PROFILES {
        let campaign = Campaign {
            first: 1,
            seeds: u64::MAX / 2,
            seconds: Some(seconds),
            threads,
            twice: false,
            failures_max: 1,
            draw,
        };
        let summary = campaign.run();
        if let Some((seed, failure)) = summary.failures.first() {
            eprintln!("{name}: seed {seed}: {failure}");
            return ExitCode::from(FAILED);
        }
        let (speed, times) = summary.speed();
        let speed = speed / threads as f64;
        let each = |count: &str| summary.totals.get(count).copied().unwrap_or(0) as f64 / summary.seeds as f64;
        let (publishes, crashes, virtual_ms) = (each("published"), each("crashes"), each("virtual ms"));
        let per_core = times / threads as f64;
        told.push(json!({"profile": name, "seeds": summary.seeds, "seeds_per_second_and_core": speed,
            "times_real_time_and_core": per_core, "publishes": publishes, "crashes": crashes, "virtual_ms": virtual_ms}));
        if !as_json {
            println!(
                "{name:<15} {speed:>7.1} seeds a second and core, {per_core:>6.0} times real time; \
                 each {publishes:.0} publishes, {crashes:.1} crashes, {virtual_ms:.0} virtual ms"
            );
        }
    }
    if as_json {
        println!("{:#}", serde_json::Value::Array(told));
    }
    ExitCode::SUCCESS
}
