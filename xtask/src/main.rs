//! Automation: `cargo xtask test` sets up what the tests need and runs all of them; `cargo xtask sim` runs the simulator.

mod broker;
mod long;
mod run;
mod sim;
mod steps;
mod tally;
mod tools;

use anyhow::{Result, bail};
use std::process::ExitCode;
use std::time::Instant;
use steps::{STEPS, Step};
use tally::Tally;

const USAGE: &str = "\
usage: cargo xtask test [--only STEP]... [--skip STEP]...
       cargo xtask sim [ARGUMENTS OF waystation-sim]...
       cargo xtask sim --long [--hours H] [--seeds N] [--first SEED] [--threads N] [--fresh] | --long --status

Runs every test of the project, installing what it needs, and ends with one line: N passed, N failed.
Steps:";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("sim", arguments)) = arguments.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        return simulate(arguments);
    }
    match chosen_steps(&arguments) {
        Ok(steps) => test(&steps),
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            for step in STEPS {
                eprintln!("  {:8} {}", step.name, step.about);
            }
            ExitCode::from(2)
        }
    }
}

/// The simulator: a command of its own, or a long campaign. 1 if a seed failed, 2 for a wrong command line.
fn simulate(arguments: &[String]) -> ExitCode {
    let result = if arguments.first().is_some_and(|first| first == "--long") {
        match long::Options::parse(arguments) {
            Ok(options) => long::run(&options).map(|clean| u8::from(!clean)),
            Err(error) => {
                eprintln!("{error:#}");
                return ExitCode::from(2);
            }
        }
    } else {
        sim::run(arguments)
    };
    result.map_or_else(
        |error| {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

/// The steps that the command line asks for, in their order.
fn chosen_steps(arguments: &[String]) -> Result<Vec<&'static Step>> {
    let [command, options @ ..] = arguments else {
        bail!("no command is given");
    };
    if command != "test" {
        bail!("there is no command '{command}'");
    }
    let (mut only, mut skip) = (Vec::new(), Vec::new());
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let list = match option.as_str() {
            "--only" => &mut only,
            "--skip" => &mut skip,
            other => bail!("there is no option '{other}'"),
        };
        match options.next() {
            Some(name) if STEPS.iter().any(|step| step.name == name) => list.push(name.as_str()),
            Some(name) => bail!("there is no step '{name}'"),
            None => bail!("{option} needs the name of a step"),
        }
    }
    let chosen = |step: &&Step| (only.is_empty() || only.contains(&step.name)) && !skip.contains(&step.name);
    let steps: Vec<_> = STEPS.iter().filter(chosen).collect();
    if steps.is_empty() {
        bail!("no step is left");
    }
    Ok(steps)
}

/// Runs the steps, whatever becomes of each, and prints the sum as the last line.
fn test(steps: &[&Step]) -> ExitCode {
    let began = Instant::now();
    let mut sum = Tally::default();
    let mut report = Vec::new();
    for step in steps {
        println!("\n=== {}: {} ===", step.name, step.about);
        let step_began = Instant::now();
        let tally = (step.run)().unwrap_or_else(|error| {
            eprintln!("{}: {error:#}", step.name);
            Tally::FAILURE
        });
        let tally = tally.unless_empty(step.name);
        let line = format!("{:8} {:>7.1} s  {tally}", step.name, step_began.elapsed().as_secs_f64());
        println!("=== {line} ===");
        report.push(line);
        sum += tally;
    }
    println!("\n=== summary, {:.1} s ===", began.elapsed().as_secs_f64());
    for line in report {
        println!("{line}");
    }
    println!("{sum}");
    if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[&str]) -> Result<Vec<&'static str>> {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        Ok(chosen_steps(&arguments)?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_are_chosen_by_name() {
        assert_eq!(names(&["test"]).expect("all").len(), STEPS.len());
        assert_eq!(
            names(&["test", "--only", "node", "--only", "fmt"]).expect("two"),
            ["fmt", "node"]
        );
        let rest = names(&["test", "--skip", "java"]).expect("the rest");
        assert!(!rest.contains(&"java") && rest.len() == STEPS.len() - 1);
    }

    #[test]
    fn nonsense_is_refused() {
        for arguments in [
            &[][..],
            &["dance"],
            &["test", "--only"],
            &["test", "--only", "tea"],
            &["test", "--fast"],
        ] {
            assert!(names(arguments).is_err(), "{arguments:?}");
        }
    }
}
