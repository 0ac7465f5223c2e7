//! `waystation-sim`: runs seeds, replays one, makes it small, and says what was covered.

mod campaigning;
mod failing;

use campaigning::Seeds;
use clap::{Parser, Subcommand};
use failing::{Shown, Which};
use std::path::PathBuf;
use std::process::ExitCode;
use waystation_sim::exhaustive;

/// A violated guarantee, or a panic.
const FAILED: u8 = 1;
/// The command line, or a file that it names, is wrong.
const USAGE: u8 = 2;
/// The campaign was too weak to show anything.
const VACUOUS: u8 = 3;

#[derive(Parser)]
#[command(
    name = "waystation-sim",
    about = "The broker core under virtual time, a seed and injected faults",
    after_help = "Exit codes: 0 nothing was broken; 1 a guarantee was broken, or the core panicked; 2 the command line or a \
                  file is wrong; 3 too little was tried to show anything, or a rare path was never taken"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one seed and tells what it did.
    Run(Which),
    /// Runs one seed and tells messages, faults and answers around the failure, or all; as text, and as a picture.
    Replay {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        shown: Shown,
    },
    /// Looks for the smallest run that still fails in the same way, writes it as a plan and draws it.
    Shrink {
        #[command(flatten)]
        which: Which,
        /// Seconds at most.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The folder to write to.
        #[arg(long, default_value = "target/sim")]
        into: PathBuf,
    },
    /// Runs seeds on all processors.
    Campaign(Seeds),
    /// A campaign that lists which rare paths were taken, and fails if one never was.
    Coverage(Seeds),
    /// Crashes short scripts after every output of the node, and again at every output of the recovery.
    Exhaustive {
        /// Scripts.
        #[arg(long, default_value_t = 3)]
        scripts: u64,
        /// Every so manyth crash is followed by others during the recovery.
        #[arg(long, default_value_t = 10)]
        stride: u64,
        /// Tell the result as JSON, to standard output.
        #[arg(long)]
        json: bool,
    },
    /// Measures the speed of a standard run, with and without faults.
    Bench {
        /// Seconds for each.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Threads.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Tell the result as JSON, to standard output.
        #[arg(long)]
        json: bool,
    },
    /// Switches planted bugs on, one by one, and runs seeds until each is found.
    Plants {
        /// Only those whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Seeds for each, at most.
        #[arg(long, default_value_t = 5_000)]
        seeds: u64,
        /// Seconds of one processor for each, at most.
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(which) => failing::run(&which),
        Command::Replay { which, shown } => failing::replay(&which, &shown),
        Command::Shrink { which, seconds, into } => failing::make_small(&which, seconds, &into),
        Command::Campaign(seeds) => campaigning::campaign(&seeds, false),
        Command::Coverage(seeds) => campaigning::campaign(&seeds, true),
        Command::Bench { seconds, threads, json } => campaigning::measure(seconds, threads.max(1), json),
        Command::Exhaustive { scripts, stride, json } => explore(scripts, stride, json),
        Command::Plants {
            only,
            first,
            seeds,
            seconds,
        } => plants(&only, first, seeds, seconds),
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn explore(scripts: u64, stride: u64, as_json: bool) -> ExitCode {
    let mut told = Vec::new();
    for seed in 1..=scripts {
        match exhaustive::explore(&exhaustive::script(seed), stride.max(1), 24) {
            Ok(tried) => {
                let (outputs, runs) = (tried.outputs, tried.runs);
                told.push(serde_json::json!({"script": seed, "outputs": outputs, "runs": runs}));
                if !as_json {
                    println!("script {seed}: {outputs} outputs, {runs} runs");
                }
            }
            Err(failed) => {
                let (plan, what) = *failed;
                eprintln!("script {seed}, crashes after outputs {:?}: {what}", plan.crash_after);
                return ExitCode::from(FAILED);
            }
        }
    }
    if as_json {
        println!("{:#}", serde_json::Value::Array(told));
    }
    ExitCode::SUCCESS
}

#[cfg(feature = "plants")]
fn plants(only: &str, first: u64, seeds: u64, seconds: f64) -> ExitCode {
    use waystation_core::plant::Plant;
    let chosen = |plant: &Plant| format!("{plant:?}").to_lowercase().contains(&only.to_lowercase());
    let plants: Vec<Plant> = Plant::ALL.iter().copied().filter(chosen).collect();
    let hunts = waystation_sim::plants::hunt_all(&plants, first, seeds, seconds, processors());
    println!("| planted bug | seeds | CPU s | seed | shown as |\n|---|---:|---:|---:|---|");
    for hunt in &hunts {
        let (seed, what) = hunt
            .caught
            .clone()
            .map_or(("-".into(), "survived".into()), |(seed, what)| {
                (
                    seed.to_string(),
                    what.chars().take(90).collect::<String>().replace('|', "/"),
                )
            });
        println!(
            "| {:?}: {} | {} | {:.1} | {seed} | {what} |",
            hunt.plant,
            hunt.plant.what(),
            hunt.seeds,
            hunt.seconds
        );
    }
    let caught = hunts.iter().filter(|hunt| hunt.caught.is_some()).count();
    println!("\n{caught} of {} found", hunts.len());
    if caught == hunts.len() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    }
}

#[cfg(not(feature = "plants"))]
fn plants(_only: &str, _first: u64, _seeds: u64, _seconds: f64) -> ExitCode {
    eprintln!("this build has no planted bugs: cargo xtask sim builds with them");
    ExitCode::from(VACUOUS)
}
