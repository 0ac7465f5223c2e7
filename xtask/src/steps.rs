//! The steps of `cargo xtask test`, in their order.

use crate::broker::{Broker, build};
use crate::run::{cargo, must, shown_and_kept, target};
use crate::sim;
use crate::tally::{self, Tally};
use crate::tools;
use anyhow::{Result, ensure};
use std::process::Command;

/// Something to run.
pub(crate) struct Step {
    /// For `--only` and `--skip`.
    pub(crate) name: &'static str,
    /// One line for people.
    pub(crate) about: &'static str,
    /// Runs it and counts.
    pub(crate) run: fn() -> Result<Tally>,
}

/// All steps: cheap ones first.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "the source is formatted",
        run: || Ok(Tally::one(must(&mut cargo(&["fmt", "--all", "--check"])).is_ok())),
    },
    Step {
        name: "clippy",
        about: "the compiler and clippy have nothing to say",
        run: || {
            let arguments = [
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ];
            Ok(Tally::one(must(&mut cargo(&arguments)).is_ok()))
        },
    },
    Step {
        name: "unit",
        about: "unit tests of the workspace",
        run: || cargo_test(&["test", "--workspace", "--exclude", "waystation-tests", "--no-fail-fast"]),
    },
    Step {
        name: "sim",
        about: "the simulator: seeds with crashes, damage and failing disks; planted bugs; equal traces in every build",
        run: sim::test,
    },
    Step {
        name: "build",
        about: "the release server",
        run: || Ok(Tally::one(build().is_ok())),
    },
    Step {
        name: "it",
        about: "end-to-end tests in Rust: lapin, crashes, damage, hostile peers, memory, lifecycle, tidy",
        run: || {
            cargo_test(&[
                "test",
                "-p",
                "waystation-tests",
                "--test",
                "it",
                "--",
                "--test-threads=4",
            ])
        },
    },
    Step {
        name: "python",
        about: "pika and aio-pika",
        run: || {
            let mut pytest = Command::new(tools::python()?);
            pytest
                .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
                .current_dir(tools::suite("python"));
            client_suite("python", pytest.env("PYTHONDONTWRITEBYTECODE", "1"), tally::of_pytest)
        },
    },
    Step {
        name: "node",
        about: "amqplib",
        run: || {
            tools::node()?;
            let mut node = Command::new("node");
            client_suite(
                "node",
                node.arg("--test").current_dir(tools::suite("node")),
                tally::of_node,
            )
        },
    },
    Step {
        name: "java",
        about: "the RabbitMQ Java client",
        run: || {
            tools::java()?;
            let mut maven = Command::new("mvn");
            maven
                .args(["--batch-mode", "--no-transfer-progress", "test"])
                .current_dir(tools::suite("java"));
            let folder = std::path::absolute(target().join("e2e/java"))?;
            maven.arg(format!("-Dbuild.folder={}", folder.display()));
            client_suite("java", &mut maven, tally::of_maven)
        },
    },
];

fn cargo_test(arguments: &[&str]) -> Result<Tally> {
    let (success, output) = shown_and_kept(&mut cargo(arguments))?;
    Ok(tally::of_cargo(&output).unless_exit(success))
}

/// Runs the suite of a language against a broker of its own; the broker has to survive it and to end well.
fn client_suite(language: &str, command: &mut Command, count: fn(&str) -> Tally) -> Result<Tally> {
    let broker = Broker::start(language)?;
    ensure!(!broker.url.is_empty(), "a broker has an address");
    let (success, output) = shown_and_kept(command.env("WAYSTATION_E2E_URL", &broker.url))?;
    let mut tally = count(&output).unless_empty(language).unless_exit(success);
    if let Err(error) = broker.stop() {
        eprintln!("{error:#}");
        tally += Tally::FAILURE;
    }
    Ok(tally)
}
