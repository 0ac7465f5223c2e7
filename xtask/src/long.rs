//! `cargo xtask sim --long`: fresh seeds for hours, in chunks, by a simulator that stays the same.
//!
//! Everything is in `target/sim-long/`: the simulator as it was built when the campaign began, and `state.json`, which is
//! replaced as a whole after each chunk. Whatever kills this program costs a chunk at most. A chunk whose simulator dies
//! or hangs is halved until the seed is found that did it.

use crate::run::{must, target, workspace};
use crate::sim;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seeds of a chunk.
const CHUNK: u64 = 500;
/// Time for each seed of a chunk, and for any chunk, before its simulator counts as hanging.
const PATIENCE_SEED: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(60);
/// Seeds whose traces tell one build's behaviour from another's.
const BEHAVIOUR_SEEDS: u64 = 40;

/// What is asked.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    status: bool,
    fresh: bool,
    hours: Option<f64>,
    seeds: Option<u64>,
    first: Option<u64>,
    threads: Option<u64>,
}

/// What a campaign has come to.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// The commit that the simulator was built from, with `+` if there were changes.
    commit: String,
    /// The traces of a few seeds, as one number.
    behaviour: String,
    /// Seconds since 1970.
    began: u64,
    /// Seconds in which chunks ran.
    seconds: f64,
    first: u64,
    next: u64,
    totals: BTreeMap<String, u64>,
    marks: BTreeMap<String, u64>,
    marks_unreached: BTreeSet<String>,
    failures: Vec<Failed>,
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Failed {
    seed: u64,
    kind: String,
    what: String,
}

/// What `waystation-sim campaign --json` says.
#[derive(Deserialize)]
struct Chunk {
    seeds: u64,
    totals: BTreeMap<String, u64>,
    marks: BTreeMap<String, u64>,
    marks_unreached: BTreeSet<String>,
    trace: String,
    failures: Vec<Failed>,
}

impl Options {
    /// The options behind `--long`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{name} needs a number"));
            match name.as_str() {
                "--long" => {}
                "--status" => options.status = true,
                "--fresh" => options.fresh = true,
                "--hours" => options.hours = Some(value()?.parse().context("--hours needs a number")?),
                "--seeds" => options.seeds = Some(value()?.parse().context("--seeds needs a whole number")?),
                "--first" => options.first = Some(value()?.parse().context("--first needs a whole number")?),
                "--threads" => options.threads = Some(value()?.parse().context("--threads needs a whole number")?),
                other => bail!(
                    "there is no option '{other}': --long takes --hours, --seeds, --first, --threads, --fresh, --status"
                ),
            }
        }
        Ok(options)
    }
}

/// Runs on from where the campaign stands, or says where that is. Whether no seed failed so far.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let folder = target().join("sim-long");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let lock_path = folder.join("lock");
    let lock = File::create(&lock_path).with_context(|| format!("making {}", lock_path.display()))?;
    let free = lock.try_lock().is_ok();
    if options.status {
        let state = State::load(&folder)?.context("no long campaign was begun: cargo xtask sim --long begins one")?;
        say(&format!(
            "{}\n{}",
            state.told(),
            if free { "not running" } else { "running" }
        ));
        return Ok(state.failures.is_empty());
    }
    ensure!(
        free,
        "another long campaign runs on {}: `cargo xtask sim --long --status` tells how far it is",
        folder.display()
    );
    let mut state = match State::load(&folder)?.filter(|_| !options.fresh) {
        Some(state) => resume(state, &folder, options)?,
        None => begin(&folder, options)?,
    };
    let result = state.go_on(&folder, options);
    say(&state.told());
    result?;
    Ok(state.failures.is_empty())
}

/// Goes on with the simulator that began: results of two builds are never mixed.
fn resume(state: State, folder: &Path, options: &Options) -> Result<State> {
    ensure!(
        options.first.is_none(),
        "the campaign goes on at seed {}: --first is for a new one (--fresh)",
        state.next
    );
    let behaviour = behaviour(folder)?;
    ensure!(
        behaviour == state.behaviour,
        "{} behaves otherwise ({behaviour}) than the build that began ({}, {}): --fresh begins anew",
        program(folder).display(),
        state.commit,
        state.behaviour
    );
    let present = commit();
    if present != state.commit {
        eprintln!(
            "going on with the simulator of {}; the working tree is at {present}: --fresh begins anew with that",
            state.commit
        );
    }
    Ok(state)
}

/// Builds a simulator, keeps it, and begins. A campaign before is kept under its commit's name.
fn begin(folder: &Path, options: &Options) -> Result<State> {
    let commit = commit();
    must(&mut sim::command("build", true))?;
    if let Some(old) = State::load(folder)? {
        let kept = folder.join(format!("state-{}-{}.json", old.commit, old.began));
        std::fs::rename(State::path(folder), &kept).with_context(|| format!("keeping {}", kept.display()))?;
        eprintln!("the campaign before is kept in {}", kept.display());
    }
    let built = target().join("release").join(program(Path::new("")));
    let fresh = folder.join("waystation-sim.new");
    std::fs::copy(&built, &fresh).with_context(|| format!("copying {}", built.display()))?;
    std::fs::rename(&fresh, program(folder)).context("putting the simulator in its place")?;
    let first = options.first.unwrap_or(1);
    let state = State {
        behaviour: behaviour(folder)?,
        commit,
        began: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        seconds: 0.0,
        first,
        next: first,
        totals: BTreeMap::new(),
        marks: BTreeMap::new(),
        marks_unreached: BTreeSet::new(),
        failures: Vec::new(),
    };
    state.save(folder)?;
    Ok(state)
}

impl State {
    fn path(folder: &Path) -> PathBuf {
        folder.join("state.json")
    }

    fn load(folder: &Path) -> Result<Option<Self>> {
        let path = Self::path(folder);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let state = serde_json::from_slice(&bytes).with_context(|| {
                    format!(
                        "{} is not a campaign's state: move it away to begin anew",
                        path.display()
                    )
                })?;
                Ok(Some(state))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Replaces the state as a whole: a reader sees the one before or this one.
    fn save(&self, folder: &Path) -> Result<()> {
        let (path, new) = (Self::path(folder), folder.join("state.json.new"));
        let mut file = File::create(&new).with_context(|| format!("writing {}", new.display()))?;
        serde_json::to_writer_pretty(&mut file, self).with_context(|| format!("writing {}", new.display()))?;
        file.sync_all().with_context(|| format!("syncing {}", new.display()))?;
        std::fs::rename(&new, &path).with_context(|| format!("replacing {}", path.display()))
    }

    fn go_on(&mut self, folder: &Path, options: &Options) -> Result<()> {
        let began = Instant::now();
        let limit = options
            .hours
            .map(|hours| Duration::from_secs_f64(hours.max(0.0) * 3600.0));
        let end = options.seeds.map_or(u64::MAX, |seeds| self.first.saturating_add(seeds));
        let mut told = Instant::now();
        while self.next < end && limit.is_none_or(|limit| began.elapsed() < limit) {
            let seeds = CHUNK.min(end - self.next);
            let chunk_began = Instant::now();
            let before = self.failures.len();
            self.chunk(folder, self.next, seeds, options.threads)?;
            self.next += seeds;
            self.seconds += chunk_began.elapsed().as_secs_f64();
            self.save(folder)?;
            for failed in &self.failures[before..] {
                say(&format!("seed {}: {}", failed.seed, failed.what));
            }
            if told.elapsed() >= LINE_EVERY {
                told = Instant::now();
                say(&self.line());
            }
        }
        Ok(())
    }

    /// Runs seeds; if the simulator dies on them, halves of them.
    fn chunk(&mut self, folder: &Path, first: u64, seeds: u64, threads: Option<u64>) -> Result<()> {
        match simulate(folder, first, seeds, threads)? {
            Ok(chunk) => {
                self.add(chunk);
                Ok(())
            }
            Err(what) if seeds == 1 => {
                let kind = "died".into();
                self.failures.push(Failed {
                    seed: first,
                    kind,
                    what,
                });
                *self.totals.entry("seeds".into()).or_default() += 1;
                Ok(())
            }
            Err(_) => {
                let half = seeds / 2;
                self.chunk(folder, first, half, threads)?;
                self.chunk(folder, first + half, seeds - half, threads)
            }
        }
    }

    fn add(&mut self, chunk: Chunk) {
        let totals = std::iter::once(("seeds".to_owned(), chunk.seeds)).chain(chunk.totals);
        for (name, count) in totals {
            *self.totals.entry(name).or_default() += count;
        }
        for (name, count) in chunk.marks {
            *self.marks.entry(name).or_default() += count;
        }
        self.marks_unreached.extend(chunk.marks_unreached);
        self.marks_unreached.retain(|name| !self.marks.contains_key(name));
        self.failures.extend(chunk.failures);
    }

    fn total(&self, name: &str) -> u64 {
        self.totals.get(name).copied().unwrap_or(0)
    }

    fn line(&self) -> String {
        let (seeds, seconds) = (self.next - self.first, self.seconds.max(1e-9));
        format!(
            "{} seeds in {:.2} h, {:.0} a second, {:.0} times real time, {} failed; next is seed {}",
            grouped(seeds),
            self.seconds / 3600.0,
            seeds as f64 / seconds,
            self.total("virtual ms") as f64 / 1e3 / seconds,
            self.failures.len(),
            self.next
        )
    }

    fn told(&self) -> String {
        let mut lines = vec![
            format!("simulator of {}, behaviour {}", self.commit, self.behaviour),
            self.line(),
        ];
        let totals = self
            .totals
            .iter()
            .map(|(name, count)| format!("{} {name}", grouped(*count)));
        lines.push(totals.collect::<Vec<_>>().join(", "));
        if !self.marks_unreached.is_empty() {
            let never: Vec<&str> = self.marks_unreached.iter().map(String::as_str).collect();
            lines.push(format!("paths never taken: {}", never.join(", ")));
        }
        let mut kinds: BTreeMap<&str, Vec<&Failed>> = BTreeMap::new();
        for failed in &self.failures {
            kinds.entry(&failed.kind).or_default().push(failed);
        }
        for (kind, failed) in kinds {
            let seeds: Vec<String> = failed.iter().take(8).map(|one| one.seed.to_string()).collect();
            let more = if failed.len() > seeds.len() { ", ..." } else { "" };
            lines.push(format!(
                "{kind}, {} times: seeds {}{more}",
                failed.len(),
                seeds.join(", ")
            ));
            lines.push(format!("  {}", failed[0].what));
        }
        lines.join("\n")
    }
}

/// Runs the kept simulator, out of everybody's way. `Ok(Err)` if it died or hung.
fn simulate(folder: &Path, first: u64, seeds: u64, threads: Option<u64>) -> Result<std::result::Result<Chunk, String>> {
    let program = program(folder);
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(&program);
    command.args(["campaign", "--json", "--failures", "1000000000"]);
    command.args(["--first", &first.to_string(), "--seeds", &seeds.to_string()]);
    if let Some(threads) = threads {
        command.args(["--threads", &threads.to_string()]);
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.with_context(|| format!("starting {} with nice", program.display()))?;
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let patience = PATIENCE + PATIENCE_SEED * u32::try_from(seeds).unwrap_or(u32::MAX);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for the simulator")? {
            break status;
        }
        if began.elapsed() > patience {
            child.kill().context("ending a simulator that hangs")?;
            child.wait().context("waiting for the simulator")?;
            return Ok(Err(format!("the simulator hung for {} s", patience.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = reader
        .join()
        .expect("reading does not panic")
        .context("reading from the simulator")?;
    // 1: seeds failed; 3: too few to show anything. Both are told in full.
    Ok(match serde_json::from_str(&text) {
        Ok(chunk) if matches!(status.code(), Some(0 | 1 | 3)) => Ok(chunk),
        _ => Err(format!("the simulator died: {status}")),
    })
}

/// The traces of the first seeds, as one number.
fn behaviour(folder: &Path) -> Result<String> {
    match simulate(folder, 1, BEHAVIOUR_SEEDS, None)? {
        Ok(chunk) => Ok(chunk.trace),
        Err(what) => bail!("{}: {what}: --fresh builds another", program(folder).display()),
    }
}

fn program(folder: &Path) -> PathBuf {
    folder.join(format!("waystation-sim{}", std::env::consts::EXE_SUFFIX))
}

/// The commit of the working tree, with `+` if there are changes.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(workspace())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".into();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|text| !text.is_empty());
    if changed { format!("{head}+") } else { head }
}

/// A campaign outlives the terminal or pipe that it was started from.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        let arguments: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn options_are_read() {
        let options = parse(&["--long", "--hours", "0.5", "--seeds", "100"]).expect("right");
        assert_eq!(
            (options.hours, options.seeds, options.status),
            (Some(0.5), Some(100), false)
        );
        assert!(parse(&["--long", "--status"]).expect("right").status);
        for wrong in [&["--long", "--hours"][..], &["--seeds", "x"], &["--faster"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    fn state() -> State {
        State {
            commit: "abc".into(),
            behaviour: "0".into(),
            began: 1,
            seconds: 10.0,
            first: 1,
            next: 1001,
            totals: BTreeMap::new(),
            marks: BTreeMap::new(),
            marks_unreached: BTreeSet::new(),
            failures: Vec::new(),
        }
    }

    fn chunk(text: &str) -> Chunk {
        serde_json::from_str(text).expect("a chunk")
    }

    #[test]
    fn chunks_are_summed() {
        let mut state = state();
        for (marks, unreached, failures) in [
            (r#"{"a": 1}"#, r#"["b", "c"]"#, "[]"),
            (
                r#"{"b": 2}"#,
                r#"["a", "c"]"#,
                r#"[{"seed": 7, "kind": "G1", "at_ns": null, "what": "G1 broken"}]"#,
            ),
        ] {
            state.add(chunk(&format!(
                r#"{{"seeds": 500, "totals": {{"crashes": 3}}, "marks": {marks}, "marks_unreached": {unreached},
                     "trace": "0", "failures": {failures}}}"#
            )));
        }
        assert_eq!((state.total("seeds"), state.total("crashes")), (1000, 6));
        assert_eq!(state.marks_unreached, BTreeSet::from(["c".to_owned()]));
        let told = state.told();
        assert!(
            told.contains("1,000 seeds") && told.contains("G1, 1 times: seeds 7"),
            "{told}"
        );
    }

    #[test]
    fn state_is_kept_whole() {
        let folder = target().join(format!("sim-long-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        assert!(State::load(&folder).expect("absent").is_none());
        state().save(&folder).expect("saved");
        assert_eq!(State::load(&folder).expect("there").expect("whole").next, 1001);
        std::fs::write(State::path(&folder), "{").expect("written");
        assert!(State::load(&folder).is_err());
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    /// A simulator that dies on seed 7: the other seeds of the chunk count, and 7 is named.
    #[cfg(unix)]
    #[test]
    fn the_seed_that_kills_the_simulator_is_found() {
        use std::os::unix::fs::PermissionsExt;
        let folder = target().join(format!("sim-long-dies-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        let script = "#!/bin/sh\n[ $6 -le 7 ] && [ $((${6} + ${8})) -gt 7 ] && kill -9 $$\n\
                      echo '{\"seeds\": '$8', \"totals\": {}, \"marks\": {}, \"marks_unreached\": [], \
                      \"trace\": \"0\", \"failures\": []}'\n";
        std::fs::write(program(&folder), script).expect("written");
        std::fs::set_permissions(program(&folder), std::fs::Permissions::from_mode(0o755)).expect("allowed");
        let mut state = state();
        state.chunk(&folder, 1, 20, None).expect("it goes on");
        assert_eq!(state.total("seeds"), 20);
        let [failed] = &state.failures[..] else {
            panic!("one died: {:?}", state.failures);
        };
        assert_eq!((failed.seed, failed.kind.as_str()), (7, "died"));
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
