//! The broker that the client suites talk to.

use crate::run::{cargo, must, target};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server has this long to exit after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A broker for one suite: a fresh server on a free port, or the one that `WAYSTATION_E2E_URL` names.
pub(crate) struct Broker {
    /// Where it speaks AMQP, for clients.
    pub(crate) url: String,
    own: Option<Own>,
}

struct Own {
    child: Child,
    folder: PathBuf,
    log: PathBuf,
}

/// Builds the release server; quick when nothing changed.
pub(crate) fn build() -> Result<()> {
    must(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "waystation-server",
        "--bin",
        "waystation",
    ]))
}

/// The server to test: the one that `WAYSTATION_BIN` names, or the release build as the source is now.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WAYSTATION_BIN") {
        return Ok(PathBuf::from(path));
    }
    build()?;
    Ok(target().join("release/waystation"))
}

impl Broker {
    /// Starts a server for the suite of this name, unless there is a broker already.
    pub(crate) fn start(suite: &str) -> Result<Self> {
        if let Ok(url) = std::env::var("WAYSTATION_E2E_URL") {
            println!("against {url} (WAYSTATION_E2E_URL)");
            return Ok(Self { url, own: None });
        }
        let folder = target().join(format!("e2e/{suite}-{}", std::process::id()));
        let log = target().join(format!("e2e/{suite}.log"));
        fs::create_dir_all(&folder)?;
        let binary = binary()?;
        let mut child = Command::new(&binary)
            .args([
                "serve",
                "--listen",
                "amqp=127.0.0.1:0",
                "--listen",
                "admin=off",
                "--data-dir",
            ])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let own = Own { child, folder, log };
        let address = stdout.by_ref().map_while(Result::ok).find_map(|line| {
            let mut words = line.split_whitespace();
            let address = (words.next() == Some("amqp")).then(|| words.next()).flatten()?;
            Some(address.strip_prefix("amqp://")?.trim_end_matches('/').to_owned())
        });
        // The server goes on writing: somebody has to read, or it blocks on a full pipe.
        std::thread::spawn(move || stdout.map_while(Result::ok).for_each(drop));
        let Some(address) = address else {
            let own = Self {
                url: String::new(),
                own: Some(own),
            };
            return match own.stop() {
                Ok(()) => bail!("the server printed no AMQP address"),
                Err(error) => Err(error.context("the server did not start")),
            };
        };
        let address = address.rsplit('@').next().unwrap_or_default();
        Ok(Self {
            url: format!("amqp://guest:guest@{address}/%2F"),
            own: Some(own),
        })
    }

    /// Ends the server by SIGTERM. It must be alive until then, exit with 0, and have panicked nowhere.
    pub(crate) fn stop(mut self) -> Result<()> {
        let Some(mut own) = self.own.take() else {
            return Ok(());
        };
        let died = own.child.try_wait()?;
        if died.is_none() {
            let terminate = format!("kill -TERM {}", own.child.id());
            must(Command::new("sh").args(["-c", &terminate]))?;
        }
        let end = Instant::now() + STOP_LIMIT;
        let status = loop {
            match own.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > end => bail!("the server does not end on SIGTERM; see {}", own.log.display()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let said = fs::read_to_string(&own.log)?;
        ensure!(
            died.is_none(),
            "the server died ({status}) before it was told to:\n{said}"
        );
        ensure!(!said.contains("panicked at"), "the server panicked:\n{said}");
        ensure!(status.success(), "the server ended with {status}:\n{said}");
        fs::remove_dir_all(&own.folder).with_context(|| format!("removing {}", own.folder.display()))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
