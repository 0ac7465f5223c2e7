//! `waystation queue`: a client of the admin API.

use crate::admin::{Failure, Queue, Removed};
use crate::config::units::show_size;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use comfy_table::Table;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use ureq::http::Request;

/// A broker that takes longer is as good as gone.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List queues
    Ls {
        #[command(flatten)]
        server: Server,
        /// Only this vhost
        #[arg(long)]
        vhost: Option<String>,
    },
    /// Show one queue
    Show(Which),
    /// Drop the ready messages of a queue
    Purge(Which),
    /// Delete a queue, whatever it holds
    Delete(Which),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    #[command(flatten)]
    server: Server,
    /// Its vhost
    #[arg(long, default_value = "/")]
    vhost: String,
    /// Its name
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Server {
    /// Where the admin API is
    #[arg(long, env = "WAYSTATION_ADMIN_URL", default_value = "http://127.0.0.1:15672")]
    url: String,
    /// Name and password
    #[arg(
        long,
        env = "WAYSTATION_USER",
        default_value = "guest:guest",
        hide_env_values = true,
        value_name = "NAME:PASSWORD"
    )]
    user: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Result<ExitCode> {
    let text = match command {
        Command::Ls { server, vhost } => {
            let filter = vhost.as_ref().map(|vhost| format!("?vhost={}", encoded(vhost)));
            let queues: Vec<Queue> = server.ask("GET", &format!("/api/queues{}", filter.unwrap_or_default()))?;
            if server.json { json(&queues)? } else { listed(&queues) }
        }
        Command::Show(which) => {
            let queue: Queue = which.ask("GET", "")?;
            if which.server.json {
                json(&queue)?
            } else {
                shown(&queue)
            }
        }
        Command::Purge(which) => which.removed("POST", "/purge", "purged")?,
        Command::Delete(which) => which.removed("DELETE", "", "deleted")?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

impl Which {
    fn ask<T: DeserializeOwned>(&self, method: &str, what: &str) -> Result<T> {
        let (vhost, name) = (encoded(&self.vhost), encoded(&self.name));
        self.server.ask(method, &format!("/api/queues/{vhost}/{name}{what}"))
    }

    fn removed(&self, method: &str, what: &str, done: &str) -> Result<String> {
        let removed: Removed = self.ask(method, what)?;
        if self.server.json {
            return json(&removed);
        }
        Ok(format!(
            "{done} queue '{}' in vhost '{}', messages gone: {}\n",
            self.name, self.vhost, removed.messages
        ))
    }
}

impl Server {
    fn ask<T: DeserializeOwned>(&self, method: &str, path: &str) -> Result<T> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT));
        let agent: ureq::Agent = agent.build().into();
        let login = format!("Basic {}", BASE64_STANDARD.encode(&self.user));
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header("authorization", login)
            .body(());
        let request = request.with_context(|| format!("{url} is no URL"))?;
        let mut response = agent.run(request).with_context(|| {
            format!(
                "cannot reach the broker's admin API at {}: is it running, and is --url right?",
                self.url
            )
        })?;
        let status = response.status();
        let body = response.body_mut().read_to_string().context("the answer broke off")?;
        if !status.is_success() {
            let said = serde_json::from_str::<Failure>(&body).map_or(body, |failure| failure.error);
            bail!("{said} ({status})");
        }
        serde_json::from_str(&body)
            .with_context(|| format!("{url} did not answer as the admin API of a waystation broker"))
    }
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn listed(queues: &[Queue]) -> String {
    let mut table = plain_table(&["VHOST", "NAME", "READY", "UNSETTLED", "BYTES", "CONSUMERS", "FEATURES"]);
    for column in 2..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    for queue in queues {
        table.add_row([
            queue.vhost.clone(),
            queue.name.clone(),
            queue.messages_ready.to_string(),
            queue.messages_unsettled.to_string(),
            show_size(queue.message_bytes),
            queue.consumers.to_string(),
            features(queue),
        ]);
    }
    super::config::text(&table)
}

fn shown(queue: &Queue) -> String {
    let mut lines = vec![
        ("vhost", queue.vhost.clone()),
        ("name", queue.name.clone()),
        ("ready", queue.messages_ready.to_string()),
        ("unsettled", queue.messages_unsettled.to_string()),
        ("bytes", show_size(queue.message_bytes)),
        ("consumers", queue.consumers.to_string()),
        ("features", features(queue)),
    ];
    for (name, value) in &queue.arguments {
        lines.push((name, value.clone()));
    }
    lines
        .into_iter()
        .map(|(name, value)| format!("{name:<12}{value}\n"))
        .collect()
}

fn features(queue: &Queue) -> String {
    let all = [
        (queue.durable, "durable"),
        (!queue.durable, "transient"),
        (queue.exclusive, "exclusive"),
        (queue.auto_delete, "auto-delete"),
    ];
    let set: Vec<&str> = all.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
    set.join(" ")
}

/// A table without lines, as `ps` prints.
pub(super) fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}
