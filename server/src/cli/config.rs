//! `waystation config check` and `waystation config print`

use super::ConfigArgs;
use crate::config::keys::KEYS;
use anyhow::Result;
use clap::{Args, Subcommand};
use comfy_table::Table;
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether the configuration is right; exit code 78 if not
    Check(ConfigArgs),
    /// Show every value that holds, and where it comes from
    Print(Print),
}

#[derive(Debug, Args)]
pub(super) struct Print {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match command {
        Command::Check(config) => {
            config.load()?;
            writeln!(out, "the configuration is right")?;
        }
        Command::Print(print) => write!(out, "{}", show(print)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(print: &Print) -> Result<String> {
    let loaded = print.config.load()?;
    // Names alone: what is shown may be pasted somewhere.
    let users: Vec<&str> = loaded.config.users.iter().map(|user| user.name.as_str()).collect();
    if print.json {
        let value = |(value, origin): &(String, crate::config::Origin)| serde_json::json!({ "value": value, "origin": origin.to_string() });
        let mut values: serde_json::Map<String, serde_json::Value> = loaded
            .origins
            .iter()
            .map(|(name, entry)| ((*name).to_owned(), value(entry)))
            .collect();
        values.insert("users".to_owned(), users.into());
        return Ok(format!("{}\n", serde_json::Value::from(values)));
    }
    let mut table = super::queue::plain_table(&["KEY", "VALUE", "ORIGIN"]);
    for key in KEYS {
        let (value, origin) = &loaded.origins[key.name];
        table.add_row([key.name, value, &origin.to_string()]);
    }
    let names = if users.is_empty() {
        "guest (from this machine)".to_owned()
    } else {
        users.join(", ")
    };
    table.add_row(["users", &names, ""]);
    Ok(text(&table))
}

/// A table as lines without trailing blanks.
pub(super) fn text(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The page `docs/configuration.md`.
#[cfg(test)]
pub(super) fn page() -> String {
    use crate::config::env_name;
    let mut page = PAGE_HEAD.to_owned();
    for key in KEYS {
        page.push_str(&format!("\n### `{}`\n\n{}\n\n", key.name, key.about));
        page.push_str(&format!("- Default: `{}`\n- Allowed: {}\n", key.default, key.allowed));
        page.push_str(&format!("- Environment: `{}`\n", env_name(key)));
    }
    page
}

#[cfg(test)]
const PAGE_HEAD: &str = include_str!("configuration_head.md");
