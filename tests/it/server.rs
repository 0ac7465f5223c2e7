//! Starting, watching and ending the server under test.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A server has this long to print its listeners, or to exit; longer is a hang.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);
/// A server has this long to drain and exit after SIGTERM.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A broker to test: one that is there already, or one of our own.
pub(crate) struct Broker {
    /// Where AMQP is spoken.
    pub(crate) address: SocketAddr,
    /// Our own, with its folder, if it is one.
    _own: Option<(Server, tempfile::TempDir)>,
}

impl Broker {
    /// One broker for the tests that run at the same time; the last of them to end ends it.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let broker = Arc::new(Self::get());
            *shared = Arc::downgrade(&broker);
            broker
        })
    }

    /// The broker of `WAYSTATION_E2E_URL`, or a fresh server.
    fn get() -> Self {
        if let Ok(url) = std::env::var("WAYSTATION_E2E_URL") {
            let address = address_of(&url).expect("WAYSTATION_E2E_URL is amqp://[user:password@]address:port[/vhost]");
            return Self { address, _own: None };
        }
        let folder = tempfile::tempdir().expect("a folder for the server under test");
        let server = Server::start(folder.path(), &[]).expect("the server starts");
        Self {
            address: server.amqp.expect("AMQP is on by default"),
            _own: Some((server, folder)),
        }
    }

    /// The address as clients take it.
    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address)
    }
}

/// A running `waystation serve`.
pub(crate) struct Server {
    child: Child,
    /// The AMQP listener, unless it is off.
    pub(crate) amqp: Option<SocketAddr>,
    /// The admin listener, unless it is off.
    pub(crate) admin: Option<SocketAddr>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// How a server ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

/// What came of starting a server.
pub(crate) enum Started {
    /// It serves.
    Serving(Server),
    /// It exited before it served.
    Ended(Ended),
}

const AMQP_AND_ADMIN: [&str; 4] = ["--listen", "amqp=127.0.0.1:0", "--listen", "admin=127.0.0.1:0"];

impl Server {
    /// Starts a server on a folder, with both listeners on free ports of the loopback, and waits until it serves.
    pub(crate) fn start(folder: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        match Self::try_start(folder, settings, &AMQP_AND_ADMIN, 2)? {
            Started::Serving(server) => Ok(server),
            Started::Ended(ended) => bail!(
                "the server ended ({}) instead of serving: {}",
                ended.status,
                ended.stderr
            ),
        }
    }

    /// The same, where an exit is an answer too.
    pub(crate) fn try_start_default(folder: &Path) -> Result<Started> {
        Self::try_start(folder, &[], &AMQP_AND_ADMIN, 2)
    }

    /// Starts a server with these arguments and environment and waits for `listeners` lines.
    pub(crate) fn try_start(
        folder: &Path,
        settings: &[(&str, &str)],
        arguments: &[&str],
        listeners: usize,
    ) -> Result<Started> {
        let mut child = Command::new(binary())
            .arg("serve")
            .arg("--data-dir")
            .arg(folder)
            .args(arguments)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary().display()))?;
        let (lines, out_reader) = read_lines(child.stdout.take().expect("stdout is piped"));
        let stderr = Arc::default();
        let error_reader = collect(child.stderr.take().expect("stderr is piped"), Arc::clone(&stderr));
        let mut server = Self {
            child,
            amqp: None,
            admin: None,
            stderr,
            readers: vec![out_reader, error_reader],
        };
        if server.wait_for_listeners(&lines, listeners)? {
            Ok(Started::Serving(server))
        } else {
            Ok(Started::Ended(server.wait(START_LIMIT)?))
        }
    }

    /// Whether the listeners' lines came; if not, the server closed its stdout instead.
    fn wait_for_listeners(&mut self, lines: &Receiver<String>, expected: usize) -> Result<bool> {
        let end = Instant::now() + START_LIMIT;
        let mut found = 0;
        while found < expected {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let mut words = line.split_whitespace();
                    let slot = match words.next() {
                        Some("amqp") => &mut self.amqp,
                        Some("admin") => &mut self.admin,
                        _ => continue,
                    };
                    if let Some(address) = words.next().and_then(address_of) {
                        *slot = Some(address);
                        found += 1;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => bail!("not ready after {START_LIMIT:?}: {}", self.stderr()),
            }
        }
        Ok(true)
    }

    /// The AMQP address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.amqp.expect("started with an AMQP listener")
    }

    /// What it has written to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("no holder of this lock panics").clone()
    }

    /// Ends it as a power cut would end the process: SIGKILL, and waits.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().expect("the server is our child");
        self.wait(STOP_LIMIT).expect("a killed process ends")
    }

    /// Asks it to end by SIGTERM, and waits.
    pub(crate) fn stop(mut self) -> Result<Ended> {
        kill_process(self.pid(), Signal::TERM).context("SIGTERM to the server")?;
        self.wait(STOP_LIMIT)
    }

    /// Waits for it to end on its own.
    pub(crate) fn wait_for_end(mut self, limit: Duration) -> Result<Ended> {
        self.wait(limit)
    }

    /// Resident memory in bytes, from `/proc`.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("Linux reports VmRSS");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("VmRSS is in kB");
        kib * 1024
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn wait(&mut self, limit: Duration) -> Result<Ended> {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < end,
                "the server hangs: it did not end within {limit:?}: {}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("readers do not panic");
        }
        let stderr = self.stderr();
        ensure!(!stderr.contains("panicked at"), "the server panicked: {stderr}");
        Ok(Ended { status, stderr })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that is about to halt resets its connections first and explains itself then: wait for the words.
        if std::thread::panicking() && self.wait(Duration::from_secs(2)).is_ok() {
            eprintln!("the server ended; its stderr was:\n{}", self.stderr());
            return;
        }
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            eprintln!("the server's stderr was:\n{}", self.stderr());
        }
    }
}

/// `GET path` from an HTTP server: status code and body.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("reading an answer that ends with the connection")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer has a head")?;
    let code = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("a status line has a code")?;
    Ok((code, body.to_owned()))
}

/// The binary under test, built if nobody named one.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("WAYSTATION_BIN") {
        Some(path) => PathBuf::from(path),
        None => build().expect("the server builds"),
    })
}

/// Builds the release server and returns its path, as cargo reports it.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args([
            "build",
            "--release",
            "-p",
            "waystation-server",
            "--bin",
            "waystation",
            "--message-format=json",
        ])
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "cargo build failed: {}", output.status);
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "waystation")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names the executable it built")
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a folder of the workspace")
}

/// `127.0.0.1:5672` out of `amqp://guest:guest@127.0.0.1:5672/%2F`.
fn address_of(url: &str) -> Option<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    authority.rsplit('@').next()?.parse().ok()
}

fn read_lines(stdout: impl Read + Send + 'static) -> (Receiver<String>, JoinHandle<()>) {
    let (sender, receiver) = channel();
    let reader = std::thread::spawn(move || {
        // The receiver goes once the listeners are known; reading on keeps the server from blocking on a full pipe.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            drop(sender.send(line));
        }
    });
    (receiver, reader)
}

fn collect(stderr: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut text = into.lock().expect("no holder of this lock panics");
            text.push_str(&line);
            text.push('\n');
        }
    })
}
