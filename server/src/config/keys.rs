//! The table of settings.

use super::units::{duration, size};
use super::{Config, Listen, LogFormat};
use std::ops::RangeInclusive;
use std::str::FromStr;
use waystation_core::api::Name;

/// One setting.
pub struct Key {
    /// Its path in the file.
    pub name: &'static str,
    /// What holds if nobody sets it.
    pub default: &'static str,
    /// What a value must be.
    pub allowed: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Reads a value; the error says why not, or nothing if `allowed` says it all.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Every setting, in the order in which they are shown.
pub static KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        default: "./waystation-data",
        allowed: "a path",
        about: "Where the broker keeps its files. One process at a time.",
        set: |config, text| {
            config.data_dir = text.into();
            if text.is_empty() { Err(String::new()) } else { Ok(()) }
        },
    },
    Key {
        name: "listen.amqp",
        default: "127.0.0.1:5672",
        allowed: "host:port, or off",
        about: "Where AMQP 0-9-1 clients connect. Port 0 takes a free one, which is printed.",
        set: |config, text| put(&mut config.listen_amqp, listen(text)),
    },
    Key {
        name: "listen.admin",
        default: "127.0.0.1:15672",
        allowed: "host:port, or off",
        about: "Where health, metrics and the admin API are served over HTTP.",
        set: |config, text| put(&mut config.listen_admin, listen(text)),
    },
    Key {
        name: "log.level",
        default: "info",
        allowed: "error, warn, info, debug, trace or off, or a list such as info,waystation_server::net=debug",
        about: "Which log lines are written to standard error. WAYSTATION_LOG is a short name for its variable.",
        set: |config, text| put(&mut config.log_level, text.parse().map_err(|_| String::new())),
    },
    Key {
        name: "log.format",
        default: "text",
        allowed: "text or json",
        about: "The form of log lines.",
        set: |config, text| {
            let format = match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err(String::new()),
            };
            put(&mut config.log_format, format)
        },
    },
    Key {
        name: "connections.max",
        default: "10000",
        allowed: "a number from 1 to 1000000",
        about: "Connections at once; one more is closed as it comes.",
        set: |config, text| put(&mut config.connections_max, number(text, 1..=1_000_000)),
    },
    Key {
        name: "connections.shutdown_timeout",
        default: "10s",
        allowed: "a duration from 0s to 1h, such as 10s",
        about: "How long connections may take to end when the server stops.",
        set: |config, text| put(&mut config.shutdown_timeout, duration(text, 0..=3_600_000)),
    },
    Key {
        name: "threads.sockets",
        default: "auto",
        allowed: "a number from 1 to 256, or auto",
        about: "Threads that serve sockets; auto takes half of the processors.",
        set: |config, text| {
            let threads = match text {
                "auto" => Ok(std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).max(1))),
                _ => number(text, 1..=256),
            };
            put(&mut config.socket_threads, threads)
        },
    },
    Key {
        name: "amqp.heartbeat",
        default: "60s",
        allowed: "a duration from 0s (none) to 1h, in whole seconds",
        about: "Heartbeat proposed to AMQP clients; the client may choose a shorter one.",
        set: |config, text| put(&mut config.heartbeat, duration(text, 0..=3_600_000)),
    },
    Key {
        name: "amqp.frame_max",
        default: "128KiB",
        allowed: "a size from 4KiB to 16MiB",
        about: "Longest AMQP frame; the client may choose a shorter one.",
        set: |config, text| {
            put(
                &mut config.frame_max,
                size(text, 4 * KIB..=16 * MIB).map(|bytes| bytes as u32),
            )
        },
    },
    Key {
        name: "amqp.channels_max",
        default: "2047",
        allowed: "a number from 1 to 65535",
        about: "Channels of one AMQP connection.",
        set: |config, text| put(&mut config.channels_max, number(text, 1..=u16::MAX)),
    },
    Key {
        name: "amqp.message_max",
        default: "16MiB",
        allowed: "a size from 1KiB to 256MiB",
        about: "Longest body of a message.",
        set: |config, text| put(&mut config.message_bytes_max, size(text, KIB..=256 * MIB)),
    },
    Key {
        name: "limits.cache",
        default: "256MiB",
        allowed: "a size from 1MiB to 1TiB",
        about: "Bodies of queued messages kept in memory; bodies beyond it are read back from the log.",
        set: |config, text| put(&mut config.core.cache_bytes, size(text, MIB..=1024 * GIB)),
    },
    Key {
        name: "limits.pending",
        default: "64MiB",
        allowed: "a size from 1MiB to 512MiB",
        about: "Bytes that wait for the disk before publishers are stopped.",
        set: |config, text| put(&mut config.core.pending_bytes_max, size(text, MIB..=512 * MIB)),
    },
    Key {
        name: "limits.connection_window",
        default: "1MiB",
        allowed: "a size from 4KiB to 1GiB",
        about: "Bytes of messages on their way to one connection; more wait in their queue.",
        set: |config, text| put(&mut config.core.connection_window_bytes, size(text, 4 * KIB..=GIB)),
    },
    Key {
        name: "limits.unsettled",
        default: "1048576",
        allowed: "a number from 1 to 16777216",
        about: "Unsettled deliveries of one channel, whatever its prefetch; more wait in their queue.",
        set: |config, text| put(&mut config.core.unsettled_max, number(text, 1..=1 << 24)),
    },
    Key {
        name: "storage.segment",
        default: "64MiB",
        allowed: "a size from 1MiB to 2GiB",
        about: "Length of one file of the log.",
        set: |config, text| put(&mut config.core.segment_bytes, size(text, MIB..=2 * GIB)),
    },
    Key {
        name: "storage.checkpoint",
        default: "64MiB",
        allowed: "a size from 1MiB to 64GiB",
        about: "Bytes of log between two checkpoints: what a restart has to replay.",
        set: |config, text| put(&mut config.core.checkpoint_bytes, size(text, MIB..=64 * GIB)),
    },
    Key {
        name: "vhosts",
        default: "/",
        allowed: "names, each once and not empty: a list in the file, separated by commas elsewhere",
        about: "The vhosts that exist. One that is named no longer stays as long as it holds something durable.",
        set: |config, text| put(&mut config.core.vhosts, vhosts(text)),
    },
];

/// The key of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The key whose name is most like `name`.
#[must_use]
pub fn nearest(name: &str) -> &'static Key {
    KEYS.iter()
        .min_by_key(|key| distance(key.name, name))
        .expect("the table is not empty")
}

/// Levenshtein's: insertions, deletions and replacements from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn number<T: FromStr + PartialOrd>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let value = text.replace('_', "").parse().map_err(|_| String::new())?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(String::new())
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    port.parse::<u16>().map_err(|_| format!("{port:?} is no port"))?;
    if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
        return Err("the host is missing, or an IPv6 address without brackets".to_owned());
    }
    Ok(Listen::At(text.to_owned()))
}

fn vhosts(text: &str) -> Result<Vec<Name>, String> {
    let names: Vec<Name> = text.split(',').map(|name| Name::from(name.trim())).collect();
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    if sorted.len() != names.len() || names.iter().any(|name| name.is_empty() || name.len() > 255) {
        return Err(String::new());
    }
    Ok(names)
}
