//! The configuration: flag over environment over file over default, each value with its origin.
//!
//! Every setting is one row of [`keys::KEYS`]: its name in the file, its default, what is allowed, and how it is read from
//! text. The file, the environment and the flags all go through that row, so they cannot differ; `config print`, the error
//! texts and `docs/configuration.md` are made from it.

mod file;
pub mod keys;
pub mod units;

#[cfg(test)]
mod tests;

use crate::users::User;
use keys::{KEYS, Key};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing_subscriber::filter::Targets;
use waystation_core::node;

/// The prefix of every environment variable that is looked at.
const ENV_PREFIX: &str = "WAYSTATION_";
/// The environment variable that names the file.
pub const ENV_CONFIG: &str = "WAYSTATION_CONFIG";
/// A short name of `log.level`.
const ENV_LOG: &str = "WAYSTATION_LOG";

/// Where a protocol listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At `host:port`.
    At(String),
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Everything that the server is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the broker keeps its files.
    pub data_dir: PathBuf,
    /// AMQP 0-9-1.
    pub listen_amqp: Listen,
    /// The admin API.
    pub listen_admin: Listen,
    /// Which log lines are written.
    pub log_level: Targets,
    /// In which form.
    pub log_format: LogFormat,
    /// Connections at once; more are closed as they come.
    pub connections_max: usize,
    /// Threads that serve sockets.
    pub socket_threads: usize,
    /// How long connections may take to end when the server stops.
    pub shutdown_timeout: Duration,
    /// Heartbeat proposed to AMQP clients; zero is none.
    pub heartbeat: Duration,
    /// Longest AMQP frame, in bytes.
    pub frame_max: u32,
    /// Channels of one connection.
    pub channels_max: u16,
    /// Longest body of a message, in bytes.
    pub message_bytes_max: u64,
    /// The limits of the core.
    pub core: node::Config,
    /// Who may connect; if empty, `guest` from this machine.
    pub users: Vec<User>,
}

/// Where a value comes from; later ones win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// From 1 on.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A flag.
    Flag(String),
}

/// A mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {message}")]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// What, and what is allowed.
    pub message: String,
}

/// All mistakes, one per line of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// What to read, in tests without a process around it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that was asked for by flag.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Flag, key and text.
    pub flags: Vec<(String, &'static str, String)>,
}

/// The configuration, and where each value comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Text and origin by key.
    pub origins: BTreeMap<&'static str, (String, Origin)>,
}

impl Loaded {
    /// Reads all sources.
    ///
    /// # Errors
    /// Every mistake that was found, not only the first.
    pub fn read(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut builder = Builder::new();
        let from_env = sources.env.iter().find(|(name, _)| name == ENV_CONFIG);
        let path = sources
            .file
            .clone()
            .or_else(|| from_env.map(|(_, path)| PathBuf::from(path)));
        if let Some(path) = path {
            file::read(&mut builder, &path);
        }
        builder.read_env(&sources.env);
        for (flag, key, text) in &sources.flags {
            let key = keys::find(key).expect("flags name keys that exist");
            builder.set(key, text, Origin::Flag(flag.clone()));
        }
        builder.finish()
    }
}

/// Collects values and mistakes.
struct Builder {
    loaded: Loaded,
    errors: Vec<ConfigError>,
}

impl Builder {
    fn new() -> Self {
        let config = Config {
            data_dir: PathBuf::new(),
            listen_amqp: Listen::Off,
            listen_admin: Listen::Off,
            log_level: Targets::new(),
            log_format: LogFormat::Text,
            connections_max: 0,
            socket_threads: 0,
            shutdown_timeout: Duration::ZERO,
            heartbeat: Duration::ZERO,
            frame_max: 0,
            channels_max: 0,
            message_bytes_max: 0,
            core: node::Config::default(),
            users: Vec::new(),
        };
        let origins = BTreeMap::new();
        let mut builder = Self {
            loaded: Loaded { config, origins },
            errors: Vec::new(),
        };
        for key in KEYS {
            builder.set(key, key.default, Origin::Default);
        }
        builder
    }

    fn set(&mut self, key: &'static Key, text: &str, origin: Origin) {
        match (key.set)(&mut self.loaded.config, text) {
            Ok(()) => _ = self.loaded.origins.insert(key.name, (text.to_owned(), origin)),
            Err(why) => {
                let why = if why.is_empty() { why } else { format!("{why}: ") };
                let message = format!(
                    "{} = {text:?} is not allowed: {why}it must be {}",
                    key.name, key.allowed
                );
                self.fail(origin, message);
            }
        }
    }

    fn fail(&mut self, origin: Origin, message: String) {
        self.errors.push(ConfigError { origin, message });
    }

    fn read_env(&mut self, env: &[(String, String)]) {
        for (variable, text) in env {
            let Some(rest) = variable.strip_prefix(ENV_PREFIX) else {
                continue;
            };
            let origin = Origin::Env(variable.clone());
            let named = KEYS.iter().find(|key| env_name(key) == *variable);
            let short = (variable == ENV_LOG).then(|| keys::find("log.level")).flatten();
            if let Some(key) = named.or(short) {
                self.set(key, text, origin);
            } else if rest.contains("__") {
                // Variables without a section are others' too: Kubernetes makes WAYSTATION_SERVICE_HOST and the like.
                let guess = keys::nearest(&rest.to_lowercase().replace("__", "."));
                self.fail(origin, format!("no such setting; did you mean {}?", env_name(guess)));
            }
        }
    }

    fn finish(mut self) -> Result<Loaded, ConfigErrors> {
        self.check_whole();
        if self.errors.is_empty() {
            Ok(self.loaded)
        } else {
            Err(ConfigErrors(self.errors))
        }
    }

    /// What single values cannot show.
    fn check_whole(&mut self) {
        let config = &self.loaded.config;
        if config.core.pending_bytes_max < config.message_bytes_max {
            let origin = self.loaded.origins["limits.pending"].1.clone();
            let message =
                "limits.pending must be at least amqp.message_max, or the longest message could never be taken";
            self.fail(origin, message.to_owned());
        }
    }
}

/// The environment variable of a key.
#[must_use]
pub fn env_name(key: &Key) -> String {
    format!("{ENV_PREFIX}{}", key.name.to_uppercase().replace('.', "__"))
}

/// Line of a byte offset, from 1 on.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

impl Origin {
    fn file(path: &Path, text: &str, offset: usize) -> Self {
        Self::File {
            path: path.to_owned(),
            line: line_of(text, offset),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let line = if index == 0 { "" } else { "\n" };
            write!(f, "{line}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
