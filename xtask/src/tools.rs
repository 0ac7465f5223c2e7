//! What the client suites need besides Rust: installed where it is missing, and kept for the next run.

use crate::run::{must, target, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a client suite lives.
pub(crate) fn suite(language: &str) -> PathBuf {
    workspace().join("tests/clients").join(language)
}

/// Whether a command runs.
fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs Debian packages unless the command runs already.
fn ensure_command(program: &str, arguments: &[&str], packages: &[&str]) -> Result<()> {
    if runs(program, arguments) {
        return Ok(());
    }
    println!("{program} is missing: installing {}", packages.join(", "));
    let advice = || {
        format!(
            "{program} is needed and could not be installed: install {} yourself",
            packages.join(", ")
        )
    };
    must(Command::new("apt-get").arg("update")).with_context(advice)?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages);
    must(install.env("DEBIAN_FRONTEND", "noninteractive")).with_context(advice)?;
    if !runs(program, arguments) {
        bail!("{}", advice());
    }
    Ok(())
}

/// Runs `install` unless it ran for the same `wish` before; the stamp remembers the wish.
fn once_for(wish: &Path, stamp: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read(wish).with_context(|| format!("reading {}", wish.display()))?;
    if fs::read(stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(stamp, wanted).with_context(|| format!("writing {}", stamp.display()))
}

/// A Python with everything in `requirements.txt`: a virtual environment below `target`, or, where none can be made, the
/// interpreter that `PYTHON` names, if it has the packages.
pub(crate) fn python() -> Result<PathBuf> {
    let named = std::env::var("PYTHON").ok();
    match virtual_environment(named.as_deref().unwrap_or("python3")) {
        Ok(python) => Ok(python),
        Err(error) => match named {
            Some(python) if runs(&python, &["-c", "import pika, aio_pika, pytest, pytest_asyncio"]) => {
                println!("no virtual environment ({error:#}): {python} has the packages and is used as it is");
                Ok(PathBuf::from(python))
            }
            _ => Err(error),
        },
    }
}

fn virtual_environment(base: &str) -> Result<PathBuf> {
    let folder = target().join("e2e/venv");
    let python = folder.join("bin/python");
    let requirements = suite("python").join("requirements.txt");
    let stamp = folder.join("installed-requirements.txt");
    once_for(&requirements, &stamp, || {
        ensure_command(base, &["-c", "import venv, ensurepip"], &["python3", "python3-venv"])?;
        must(Command::new(base).args(["-m", "venv", "--clear"]).arg(&folder))?;
        must(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "-r"])
                .arg(&requirements),
        )
    })?;
    Ok(python)
}

/// Node, and the packages of its suite.
pub(crate) fn node() -> Result<()> {
    ensure_command("node", &["--version"], &["nodejs"])?;
    let folder = suite("node");
    once_for(
        &folder.join("package-lock.json"),
        &folder.join("node_modules/.installed-lock.json"),
        || {
            ensure_command("npm", &["--version"], &["npm"])?;
            must(
                Command::new("npm")
                    .args(["ci", "--no-audit", "--no-fund"])
                    .current_dir(&folder),
            )
        },
    )
}

/// A Java compiler and Maven; Maven keeps what it downloads.
pub(crate) fn java() -> Result<()> {
    ensure_command("javac", &["-version"], &["default-jdk-headless"])?;
    ensure_command("mvn", &["--version"], &["maven"])
}
