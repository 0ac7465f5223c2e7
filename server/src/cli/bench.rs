//! `waystation bench`

use crate::bench::{Options, run as measure};
use anyhow::Result;
use std::io::Write;
use std::process::ExitCode;

pub(super) fn run(options: Options) -> Result<ExitCode> {
    let json = options.json;
    let runtime = super::runtime(usize::from(options.threads))?;
    let report = runtime.block_on(measure(options))?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    let clean = report.mistakes.is_empty();
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::EXIT_RUNTIME)
    })
}
