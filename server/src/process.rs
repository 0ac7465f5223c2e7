//! The server as a process: logs, signals, the lines on standard output, the supervisor.

use crate::config::{Config, LogFormat};
use crate::driver::Broker;
use crate::net::{Session, Shared};
use crate::serve::{ServeError, Server};
use sd_notify::NotifyState;
use std::io::{self, IsTerminal, Write};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use waystation_core::Now;
use waystation_core::disk::Listing;
use waystation_core::node;

/// The exit code of a process that an interrupt ended: 128 and the signal's number, as shells have it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// How a process that served came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In good order.
    Stopped,
    /// A second interrupt came while it stopped.
    Interrupted,
}

/// Writes log lines to standard error from now on. Does nothing if something else of this process does so already.
pub fn start_logging(config: &Config) {
    let registry = tracing_subscriber::registry().with(config.log_level.clone());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match config.log_format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logs are written by whoever came first");
    }
}

/// Serves until a signal ends it, or something that nobody asked for.
///
/// # Errors
/// [`ServeError`].
pub async fn run<N: Broker + 'static, S: Session>(
    config: &Config,
    open_node: impl FnOnce(node::Config, Listing, Now) -> N + Send + 'static,
    open_amqp: impl Fn(&Shared) -> S + Send + 'static,
) -> Result<Ending, ServeError> {
    // Before anything says that we are ready: a signal that comes right then must not find us deaf.
    let mut signals = Signals::new()?;
    let mut server = tokio::select! {
        server = Server::start(config, open_node, open_amqp) => server?,
        // Recovery only reads and repairs what it would do again: it may be left at any point.
        name = signals.next() => {
            tracing::info!("{name} during the start: stopped");
            return Ok(Ending::Stopped);
        }
    };
    announce(&server, config);
    notify(NotifyState::Ready);
    tokio::select! {
        error = server.failed() => return Err(error),
        name = signals.next() => tracing::info!("{name}: stopping; an interrupt ends it at once"),
    }
    notify(NotifyState::Stopping);
    tokio::select! {
        stopped = server.stop() => {
            stopped?;
            tracing::info!("stopped; everything is durable");
            Ok(Ending::Stopped)
        }
        () = signals.interrupt() => Ok(Ending::Interrupted),
    }
}

/// Tells a supervisor that asked for it (`NOTIFY_SOCKET`).
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the supervisor cannot be told");
    }
}

/// What people and scripts read to find the broker.
fn announce(server: &Server, config: &Config) {
    let text = announcement(server, config);
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Nobody reads: the broker works all the same.
        tracing::debug!(%error, "standard output");
    }
}

fn announcement(server: &Server, config: &Config) -> String {
    let mut lines = vec![format!("waystation {}", env!("CARGO_PKG_VERSION"))];
    let place = |address: Option<_>, scheme: &str| match address {
        Some(address) => format!("{scheme}://{address}"),
        None => "off".to_owned(),
    };
    lines.push(format!("amqp    {}", place(server.amqp, "amqp")));
    lines.push(format!("admin   {}", place(server.admin, "http")));
    lines.push(format!("data    {}", config.data_dir.display()));
    let found = &server.recovery;
    let mut recovered = format!("found   {} queues, {} messages", found.queues, found.messages);
    if found.entries > 0 {
        recovered.push_str(&format!("; {} entries of the log replayed", found.entries));
    }
    if let Some((file, offset)) = &found.torn {
        recovered.push_str(&format!(
            "; an unfinished write at the end of {file} (byte {offset}) was cut off"
        ));
    }
    lines.push(recovered);
    if let Some(address) = server.amqp {
        let mut url = String::new();
        if address.to_string() != "127.0.0.1:5672" {
            url = format!(" --url amqp://{address}");
        }
        lines.push(format!(
            "try     waystation publish hello 'Hello, world' --declare{url}"
        ));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "terminated",
            _ = self.interrupt.recv() => "interrupted",
        }
    }

    async fn interrupt(&mut self) {
        self.interrupt.recv().await;
    }
}
