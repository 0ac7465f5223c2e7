//! `waystation-sim`: runs seeds, replays one.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::time::Instant;
use waystation_sim::{Plan, run};

#[derive(Parser)]
#[command(
    name = "waystation-sim",
    about = "The broker core under virtual time, a seed and injected faults"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one seed and tells what happened.
    Replay {
        /// The seed.
        seed: u64,
    },
    /// Runs seeds until one fails or all passed.
    Campaign {
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// How many.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// Runs each seed twice and compares the traces.
        #[arg(long)]
        twice: bool,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Replay { seed } => replay(seed),
        Command::Campaign { first, seeds, twice } => campaign(first, seeds, twice),
    }
}

fn replay(seed: u64) -> ExitCode {
    let plan = Plan::draw(seed);
    println!("{plan:#?}");
    match run(&plan) {
        Ok(report) => {
            println!("{report:#?}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn campaign(first: u64, seeds: u64, twice: bool) -> ExitCode {
    let started = Instant::now();
    let mut total = Totals::default();
    for seed in first..first + seeds {
        let plan = Plan::draw(seed);
        let result = std::panic::catch_unwind(|| run(&plan));
        let Ok(result) = result else {
            eprintln!("seed {seed}: the core panicked\nreplay: cargo xtask sim replay {seed}");
            return ExitCode::FAILURE;
        };
        match result {
            Ok(report) => total.add(&report),
            Err(violation) => {
                eprintln!("seed {seed}: {violation}\nreplay: cargo xtask sim replay {seed}");
                return ExitCode::FAILURE;
            }
        }
        if twice {
            let again = run(&plan).map(|report| report.trace).ok();
            if again != Some(total.trace) {
                eprintln!("seed {seed}: G18 broken: two runs have two traces");
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds in {seconds:.1} s: {:.0} seeds/s, {:.0} times real time, {} crashes, {} published, {} confirmed, \
         {} delivered, {} redelivered, {} dead letters",
        seeds as f64 / seconds,
        total.virtual_ns as f64 / 1e9 / seconds,
        total.crashes,
        total.published,
        total.confirmed,
        total.delivered,
        total.redelivered,
        total.dead,
    );
    total.vacuous(seeds).map_or(ExitCode::SUCCESS, |what| {
        eprintln!("the campaign proves nothing: {what}");
        ExitCode::from(3)
    })
}

#[derive(Default)]
struct Totals {
    trace: u64,
    virtual_ns: u64,
    crashes: u64,
    published: u64,
    confirmed: u64,
    delivered: u64,
    redelivered: u64,
    dead: u64,
}

impl Totals {
    fn add(&mut self, report: &waystation_sim::Report) {
        self.trace = report.trace;
        self.virtual_ns += report.virtual_ns;
        self.crashes += report.crashes;
        self.published += report.ledger.published;
        self.confirmed += report.ledger.confirmed;
        self.delivered += report.ledger.delivered;
        self.redelivered += report.ledger.redelivered;
        self.dead += report.ledger.dead;
    }

    /// Why the numbers are too small to have shown anything.
    fn vacuous(&self, seeds: u64) -> Option<&'static str> {
        let rules = [
            (self.confirmed < seeds * 20, "fewer than 20 confirms a seed"),
            (self.delivered < self.confirmed, "fewer deliveries than confirms"),
            (
                seeds >= 100 && self.crashes < seeds / 4,
                "fewer than one crash in four seeds",
            ),
            (
                seeds >= 100 && self.redelivered < seeds,
                "fewer than one redelivery a seed",
            ),
            (
                seeds >= 100 && self.dead < seeds / 2,
                "fewer than one dead letter in two seeds",
            ),
        ];
        rules.into_iter().find(|(broken, _)| *broken).map(|(_, what)| what)
    }
}
