//! `waystation serve`

use super::ConfigArgs;
use crate::net::Shared;
use crate::net::amqp::{Amqp, session_config};
use crate::process::{self, EXIT_INTERRUPTED, Ending};
use anyhow::Result;
use std::process::ExitCode;
use std::time::Duration;
use waystation_core::node::Node;

/// Password checks that still run when the server has stopped are not waited for longer.
const LAST_TASKS: Duration = Duration::from_millis(100);

pub(super) fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let config = args.load()?.config;
    process::start_logging(&config);
    let runtime = super::runtime(config.socket_threads)?;
    let session = session_config(&config);
    let open_amqp = move |shared: &Shared| Amqp::new(session.clone(), shared.clock.now().mono);
    let ending = runtime.block_on(process::run(&config, Node::open, open_amqp));
    runtime.shutdown_timeout(LAST_TASKS);
    match ending? {
        Ending::Stopped => Ok(ExitCode::SUCCESS),
        Ending::Interrupted => Ok(ExitCode::from(EXIT_INTERRUPTED)),
    }
}
