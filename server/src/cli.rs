//! The command line.

mod amqp;
mod bench;
mod completions;
mod config;
mod consume;
mod hash_password;
mod log;
mod publish;
mod queue;
mod serve;
mod version;

#[cfg(test)]
pub(crate) mod tests;

use crate::config::keys::{self, KEYS};
use crate::config::{ConfigErrors, Loaded, Sources};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Something failed while running.
const EXIT_RUNTIME: u8 = 1;
/// The configuration is wrong: `EX_CONFIG` of `sysexits.h`.
const EXIT_CONFIG: u8 = 78;

#[derive(Debug, Parser)]
#[command(
    name = "waystation",
    version,
    about = "A message broker: AMQP 0-9-1 clients connect to it unmodified."
)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Without a command the broker starts: `waystation` is `waystation serve`.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ConfigArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the broker; so does `waystation` without a command
    Serve(ConfigArgs),
    /// Put load on a broker, ours or another, and measure
    Bench(crate::bench::Options),
    /// Look at queues and empty or delete them, over the admin API
    #[command(subcommand)]
    Queue(queue::Command),
    /// Publish messages to a queue or an exchange
    Publish(publish::Options),
    /// Print messages of a queue
    Consume(consume::Options),
    /// Look into the log of a stopped broker
    #[command(subcommand)]
    Log(log::Command),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Turn a password into a hash for the configuration
    HashPassword(hash_password::Options),
    /// Print a completion script for a shell
    Completions(completions::Options),
    /// Print the version
    Version(version::Options),
}

/// Flags that set the configuration.
#[derive(Clone, Debug, Default, Args)]
struct ConfigArgs {
    /// Configuration file (TOML); WAYSTATION_CONFIG names it too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the broker keeps its files
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where a protocol listens: amqp=HOST:PORT, admin=HOST:PORT, or =off; repeatable
    #[arg(long, value_name = "PROTOCOL=ADDRESS", value_parser = listen)]
    listen: Vec<(&'static str, String)>,
    /// Which log lines are written: error, warn, info, debug, trace, off
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The form of log lines: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Any other setting, such as limits.cache=1GiB; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(&'static str, String)>,
}

fn listen(text: &str) -> Result<(&'static str, String), String> {
    let (protocol, address) = text.split_once('=').ok_or("it must be PROTOCOL=ADDRESS")?;
    match keys::find(&format!("listen.{protocol}")) {
        Some(key) => Ok((key.name, address.to_owned())),
        None => Err(format!("no protocol {protocol:?}: amqp and admin exist")),
    }
}

fn setting(text: &str) -> Result<(&'static str, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    match keys::find(name) {
        Some(key) => Ok((key.name, value.to_owned())),
        None => Err(format!(
            "no setting {name:?}; did you mean {:?}?",
            keys::nearest(name).name
        )),
    }
}

impl ConfigArgs {
    fn load(&self) -> Result<Loaded, ConfigErrors> {
        // A variable that is not UTF-8 is none of ours.
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Loaded::read(&self.sources(env.collect()))
    }

    fn sources(&self, env: Vec<(String, String)>) -> Sources {
        let mut flags = Vec::new();
        let mut flag = |flag: &str, key, value: &Option<String>| {
            if let Some(value) = value {
                flags.push((flag.to_owned(), key, value.clone()));
            }
        };
        flag("--data-dir", "data_dir", &self.data_dir);
        flag("--log-level", "log.level", &self.log_level);
        flag("--log-format", "log.format", &self.log_format);
        let several = |flag: &str, pairs: &[(&'static str, String)]| -> Vec<_> {
            pairs
                .iter()
                .map(|(key, value)| (flag.to_owned(), *key, value.clone()))
                .collect()
        };
        flags.extend(several("--listen", &self.listen));
        flags.extend(several("--set", &self.set));
        debug_assert!(
            flags
                .iter()
                .all(|(_, key, _)| KEYS.iter().any(|known| known.name == *key))
        );
        Sources {
            file: self.config.clone(),
            env,
            flags,
        }
    }
}

/// Does what the arguments (the program's name first) say, and tells how the process ought to end.
pub fn main_from_args(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, with exit code 0; if nobody reads them there is nobody to tell.
            _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Bench(options)) => bench::run(options),
        Some(Command::Queue(command)) => queue::run(&command),
        Some(Command::Publish(options)) => publish::run(&options),
        Some(Command::Consume(options)) => consume::run(&options),
        Some(Command::Log(command)) => log::run(&command),
        Some(Command::Config(command)) => config::run(&command),
        Some(Command::HashPassword(options)) => hash_password::run(&options),
        Some(Command::Completions(options)) => completions::run(&options),
        Some(Command::Version(options)) => version::run(&options),
    };
    match done {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// Tells people what went wrong, and scripts by the exit code.
fn failed(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(broken_pipe) {
        // The reader has seen enough: `waystation queue ls | head`.
        return ExitCode::SUCCESS;
    }
    let mut stderr = std::io::stderr().lock();
    // Without a standard error the exit code has to say it.
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        _ = writeln!(stderr, "{errors}");
        return ExitCode::from(EXIT_CONFIG);
    }
    _ = writeln!(stderr, "waystation: {error:#}");
    ExitCode::from(EXIT_RUNTIME)
}

/// A runtime of that many threads.
fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    // One thread needs no machinery for stealing work, and wakes nobody else.
    if threads <= 1 {
        return tokio::runtime::Builder::new_current_thread().enable_all().build();
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("sockets")
        .enable_all()
        .build()
}
