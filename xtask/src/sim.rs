//! The simulator as a program: run as asked, and as a step of `cargo xtask test`.

use crate::run::{cargo, must};
use crate::tally::Tally;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Seeds of the step: what two processors take a minute for, and the same on every machine.
const CAMPAIGN: [&str; 3] = ["campaign", "--seeds", "4000"];
/// Every planted bug that was found is found still.
const PLANTS: [&str; 2] = ["plants", "--check"];
/// Seeds whose traces are compared between processes and builds.
const COMPARED: &str = "200";

/// `cargo run` or `cargo build` of the simulator, with coverage marks and planted bugs compiled in.
pub(crate) fn command(what: &str, release: bool) -> Command {
    let mut command = cargo(&[
        what,
        "--quiet",
        "--package",
        "waystation-sim",
        "--features",
        "marks,plants",
    ]);
    if release {
        command.arg("--release");
    }
    command
}

/// Runs it as asked: its exit code.
pub(crate) fn run(arguments: &[String]) -> Result<u8> {
    let mut command = command("run", true);
    let status = command
        .arg("--")
        .args(arguments)
        .status()
        .context("starting the simulator")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.with_context(|| format!("the simulator died: {status}"))
}

/// A campaign, the planted bugs, then a few hundred seeds whose traces must be the same in another process, with another number of
/// threads, run twice in one process, and in a build without optimisation (G18).
pub(crate) fn test() -> Result<Tally> {
    let mut tally = Tally::one(must(command("run", true).arg("--").args(CAMPAIGN)).is_ok());
    tally += Tally::one(must(command("run", true).arg("--").args(PLANTS)).is_ok());
    let release = trace(true, &["--threads", "1"])?;
    for (what, other) in [
        ("twice in one process, on all processors", trace(true, &["--twice"])?),
        ("in a debug build", trace(false, &[])?),
    ] {
        if other != release {
            eprintln!("{COMPARED} seeds have the trace {release} in a release build, and {other} {what}");
        }
        tally += Tally::one(other == release);
    }
    println!("{COMPARED} seeds have the trace {release} in a release build");
    Ok(tally)
}

/// The sum of the traces of the first seeds.
fn trace(release: bool, arguments: &[&str]) -> Result<String> {
    let mut command = command("run", release);
    command
        .args(["--", "campaign", "--json", "--seeds", COMPARED])
        .args(arguments);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("starting the simulator")?;
    ensure!(
        output.status.success(),
        "a campaign of {COMPARED} seeds failed: {}",
        output.status
    );
    let value: Value = serde_json::from_slice(&output.stdout).context("reading the simulator's JSON")?;
    let trace = value["trace"].as_str().context("the simulator's JSON has no trace")?;
    Ok(trace.to_owned())
}
