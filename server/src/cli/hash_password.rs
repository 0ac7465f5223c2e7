//! `waystation hash-password`

use crate::users::hash_password;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The password; read as one line from standard input if not given, so that no history keeps it
    password: Option<String>,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let password = match &options.password {
        Some(password) => password.clone(),
        None => read()?,
    };
    if password.is_empty() {
        bail!("an empty password is no password");
    }
    writeln!(std::io::stdout().lock(), "{}", hash_password(&password)?)?;
    Ok(ExitCode::SUCCESS)
}

fn read() -> Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("password (shown as you type): ");
    }
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .context("cannot read the password from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
