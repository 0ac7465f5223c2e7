//! `waystation version`

use anyhow::Result;
use clap::Args;
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = std::io::stdout().lock();
    if options.json {
        writeln!(out, "{}", serde_json::json!({ "version": version }))?;
    } else {
        writeln!(out, "waystation {version}")?;
    }
    Ok(ExitCode::SUCCESS)
}
