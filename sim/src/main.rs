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
    Plants(Plants),
}

#[derive(clap::Args)]
struct Plants {
    /// Only those whose name or area contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Seeds for each, at most.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// Seconds of one processor for each, at most.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Seeds for the share of them that show each.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Only check that what was found before still is.
    #[arg(long)]
    check: bool,
    /// Write what is found to `docs/planted-bugs.md` and `sim/plants.json`.
    #[arg(long)]
    write: bool,
    /// Tell the result as JSON, to standard output.
    #[arg(long)]
    json: bool,
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
        Command::Plants(asked) => plants(&asked),
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
fn plants(asked: &Plants) -> ExitCode {
    use waystation_core::plant::Plant;
    use waystation_sim::plants::{Budget, hunt_all, kept_path, markdown};
    let chosen = |plant: &Plant| {
        format!("{plant:?} {}", plant.area())
            .to_lowercase()
            .contains(&asked.only.to_lowercase())
    };
    let plants: Vec<Plant> = Plant::ALL.iter().copied().filter(chosen).collect();
    if asked.check {
        return check_plants(&plants);
    }
    let budget = Budget {
        first: asked.first,
        seeds: asked.seeds,
        seconds: asked.seconds,
        rate: asked.rate,
    };
    let hunts = hunt_all(&plants, budget, processors(), |hunt| {
        let what = hunt.caught.as_ref().map_or("SURVIVED", |(_, what)| what.as_str());
        let short: String = what.chars().take(110).collect();
        let name = format!("{:?}", hunt.plant);
        eprintln!("{name:<28} {:>6} seeds {:>7.2} s  {short}", hunt.seeds, hunt.seconds);
    });
    let all = serde_json::Value::Array(hunts.iter().map(waystation_sim::plants::Hunt::json).collect());
    if asked.json {
        println!("{all:#}");
    }
    let caught = hunts.iter().filter(|hunt| hunt.caught.is_some()).count();
    eprintln!("{caught} of {} found", hunts.len());
    if asked.write {
        let page = kept_path().with_file_name("../docs/planted-bugs.md");
        let written =
            std::fs::write(kept_path(), format!("{all:#}\n")).and_then(|()| std::fs::write(page, markdown(&hunts)));
        if let Err(error) = written {
            eprintln!("the table could not be written: {error}");
            return ExitCode::from(FAILED);
        }
    }
    let lost = hunts.iter().filter(|hunt| hunt.caught.is_none());
    let argued = |hunt: &&waystation_sim::plants::Hunt| {
        !waystation_sim::plants::ARGUED
            .iter()
            .any(|(plant, _)| *plant == hunt.plant)
    };
    ExitCode::from(if lost.filter(argued).count() == 0 { 0 } else { FAILED })
}

/// Compares with what was found before.
#[cfg(feature = "plants")]
fn check_plants(plants: &[waystation_core::plant::Plant]) -> ExitCode {
    let verdicts = match waystation_sim::plants::check_all(plants, processors()) {
        Ok(verdicts) => verdicts,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(FAILED);
        }
    };
    let wrong: Vec<_> = verdicts.iter().filter(|verdict| verdict.wrong.is_some()).collect();
    for verdict in &wrong {
        let (plant, what) = (verdict.hunt.plant, verdict.wrong.as_deref().unwrap_or_default());
        eprintln!("{plant:?} {what}: {}", plant.what());
    }
    let found = verdicts.iter().filter(|verdict| verdict.hunt.caught.is_some()).count();
    let seconds: f64 = verdicts.iter().map(|verdict| verdict.hunt.seconds).sum();
    println!(
        "{found} of {} planted bugs found in {seconds:.0} s of a processor",
        verdicts.len()
    );
    ExitCode::from(if wrong.is_empty() { 0 } else { FAILED })
}

#[cfg(not(feature = "plants"))]
fn plants(_asked: &Plants) -> ExitCode {
    eprintln!("this build has no planted bugs: cargo xtask sim builds with them");
    ExitCode::from(VACUOUS)
}
