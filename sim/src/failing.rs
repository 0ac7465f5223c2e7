//! One seed at a time: run it, tell it, make it small.

use crate::{FAILED, USAGE};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use waystation_sim::shrink::{Shrunk, shrink};
use waystation_sim::timeline::{Recorder, Timeline, html, picture, text, view::View};
use waystation_sim::{Failure, Plan, Report, plan_file, try_run};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// The seed.
    #[arg(required_unless_present = "plan")]
    seed: Option<u64>,
    /// A plan that `shrink` or `campaign --keep-failures` wrote, instead of a seed.
    #[arg(long, conflicts_with = "seed")]
    plan: Option<PathBuf>,
    /// Switches a planted bug on, by its name.
    #[arg(long)]
    plant: Option<String>,
    /// Tell the result as JSON, to standard output.
    #[arg(long)]
    json: bool,
}

/// What of a run is told.
#[derive(clap::Args)]
pub(crate) struct Shown {
    /// Tell everything, not only what is around the failure.
    #[arg(long)]
    all: bool,
    /// Tell what concerns these messages.
    #[arg(long, value_delimiter = ',')]
    messages: Vec<u64>,
    /// Write a page with a picture, too.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Write the picture alone, too, as SVG.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// A plan, and what is needed to run it again.
struct Chosen {
    plan: Plan,
    plant: Option<String>,
    again: String,
}

impl Which {
    /// Draws or reads the plan, and switches the planted bug on.
    fn choose(&self) -> Result<Chosen, String> {
        let (plan, kept) = match &self.plan {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                plan_file::parse(&text).map_err(|what| format!("{}: {what}", path.display()))?
            }
            None => (Plan::draw(self.seed.unwrap_or_default()), None),
        };
        let plant = self.plant.clone().or(kept);
        if let Some(name) = &plant {
            switch_on(name)?;
        }
        let what = self
            .plan
            .as_ref()
            .map_or_else(|| plan.seed.to_string(), |path| format!("--plan {}", path.display()));
        let with = self
            .plant
            .as_ref()
            .map_or(String::new(), |name| format!(" --plant {name}"));
        let again = format!("cargo xtask sim replay {what}{with}");
        Ok(Chosen { plan, plant, again })
    }
}

#[cfg(feature = "plants")]
fn switch_on(name: &str) -> Result<(), String> {
    use waystation_core::plant::{Plant, activate};
    let plant = Plant::ALL
        .iter()
        .find(|plant| format!("{plant:?}").eq_ignore_ascii_case(name));
    let plant = plant.ok_or_else(|| format!("there is no planted bug {name}"))?;
    activate(Some(*plant));
    Ok(())
}

#[cfg(not(feature = "plants"))]
fn switch_on(name: &str) -> Result<(), String> {
    Err(format!(
        "{name}: this build has no planted bugs: cargo xtask sim builds with them"
    ))
}

/// Runs one and tells its sums.
pub(crate) fn run(which: &Which) -> ExitCode {
    let chosen = match which.choose() {
        Ok(chosen) => chosen,
        Err(what) => return wrong(&what),
    };
    let result = try_run(&chosen.plan, &Recorder::default());
    if which.json {
        println!("{:#}", outcome(&chosen, &result));
    } else {
        match &result {
            Ok(report) => print(report),
            Err(failure) => println!("seed {}: {failure}\n  {}", chosen.plan.seed, chosen.again),
        }
    }
    code(&result)
}

/// Runs one and tells what happened.
pub(crate) fn replay(which: &Which, shown: &Shown) -> ExitCode {
    let chosen = match which.choose() {
        Ok(chosen) => chosen,
        Err(what) => return wrong(&what),
    };
    let recorder = Recorder::on();
    let result = try_run(&chosen.plan, &recorder);
    let timeline = recorder.timeline();
    let view = match (shown.all, &result) {
        // A run without a failure has no part that matters more than others.
        (true, _) => View::whole(&timeline),
        (false, Ok(_)) if shown.messages.is_empty() => View::whole(&timeline),
        (false, _) => View::around(&timeline, &shown.messages),
    };
    if which.json {
        let mut told = outcome(&chosen, &result);
        told["rows"] = text::lines(&timeline, &view).lines().collect();
        println!("{told:#}");
    } else {
        print!("{}", text::lines(&timeline, &view));
        match &result {
            Ok(report) => print(report),
            Err(failure) => println!("\nseed {}: {failure}", chosen.plan.seed),
        }
    }
    if let Err(what) = shown.write(&chosen, &timeline, &view, result.as_ref().err()) {
        return wrong(&what);
    }
    code(&result)
}

impl Shown {
    fn write(
        &self,
        chosen: &Chosen,
        timeline: &Timeline,
        view: &View,
        failure: Option<&Failure>,
    ) -> Result<(), String> {
        let symptom = failure.map_or("nothing was broken", |failure| failure.what.as_str());
        if let Some(path) = &self.html {
            let title = format!("waystation-sim, seed {}", chosen.plan.seed);
            write(path, &html::page(timeline, view, &title, symptom, &chosen.again))?;
        }
        if let Some(path) = &self.svg {
            write(path, &picture::svg(timeline, view))?;
        }
        Ok(())
    }
}

/// Makes a failing one small, writes it, and tells it.
pub(crate) fn make_small(which: &Which, seconds: u64, into: &Path) -> ExitCode {
    let chosen = match which.choose() {
        Ok(chosen) => chosen,
        Err(what) => return wrong(&what),
    };
    let tell = |what: &str| eprintln!("{what}");
    let Some(shrunk) = shrink(&chosen.plan, Duration::from_secs(seconds), tell) else {
        println!("seed {} does not fail", chosen.plan.seed);
        return ExitCode::SUCCESS;
    };
    match keep(&chosen, &shrunk, into) {
        Ok((file, page)) if which.json => {
            let Shrunk {
                failure,
                runs,
                turns,
                faults,
                ..
            } = &shrunk;
            println!(
                "{:#}",
                json!({"seed": chosen.plan.seed, "kind": failure.kind, "what": failure.what, "runs": runs, "turns": turns,
                    "faults": faults, "plan": file, "page": page})
            );
        }
        Ok((file, page)) => {
            let recorder = Recorder::on();
            let _ = try_run(&shrunk.plan, &recorder);
            let timeline = recorder.timeline();
            print!("{}", text::lines(&timeline, &View::around(&timeline, &[])));
            println!(
                "\nseed {}, shrunk in {} runs: {}",
                chosen.plan.seed, shrunk.runs, shrunk.failure
            );
            println!(
                "  {} of {} turns and {} of {} faults are left",
                shrunk.turns.1, shrunk.turns.0, shrunk.faults.1, shrunk.faults.0
            );
            println!("  replay: cargo xtask sim replay --plan {}", file.display());
            println!("  picture: {}", page.display());
        }
        Err(what) => return wrong(&what),
    }
    ExitCode::from(FAILED)
}

/// Writes the shrunk plan and its page.
fn keep(chosen: &Chosen, shrunk: &Shrunk, into: &Path) -> Result<(PathBuf, PathBuf), String> {
    std::fs::create_dir_all(into).map_err(|error| format!("{}: {error}", into.display()))?;
    let name = match &chosen.plant {
        Some(plant) => format!("{}-{}", chosen.plan.seed, plant.to_lowercase()),
        None => chosen.plan.seed.to_string(),
    };
    let file = into.join(format!("{name}.json"));
    let page = into.join(format!("{name}.html"));
    write(
        &file,
        &plan_file::text(&shrunk.plan, &shrunk.failure.what, chosen.plant.as_deref()),
    )?;
    let recorder = Recorder::on();
    let _ = try_run(&shrunk.plan, &recorder);
    let timeline = recorder.timeline();
    let title = format!("waystation-sim, seed {}, shrunk", chosen.plan.seed);
    let again = format!("cargo xtask sim replay --plan {}", file.display());
    let view = View::around(&timeline, &[]);
    write(
        &page,
        &html::page(&timeline, &view, &title, &shrunk.failure.what, &again),
    )?;
    Ok((file, page))
}

fn outcome(chosen: &Chosen, result: &Result<Report, Failure>) -> serde_json::Value {
    let seed = chosen.plan.seed;
    match result {
        Ok(report) => {
            let counts: serde_json::Map<_, _> = report
                .counts()
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count.into()))
                .collect();
            json!({"seed": seed, "passed": true, "trace": format!("{:016x}", report.trace), "counts": counts})
        }
        Err(failure) => json!({"seed": seed, "passed": false, "kind": failure.kind, "at_ns": failure.at,
            "what": failure.what, "replay": chosen.again}),
    }
}

fn print(report: &Report) {
    for (name, count) in report.counts() {
        println!("{count:>12} {name}");
    }
    println!("trace {:016x}", report.trace);
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn code(result: &Result<Report, Failure>) -> ExitCode {
    ExitCode::from(if result.is_ok() { 0 } else { FAILED })
}

fn wrong(what: &str) -> ExitCode {
    eprintln!("{what}");
    ExitCode::from(USAGE)
}
