//! The `waystation` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    waystation_server::cli::main_from_args(std::env::args_os())
}
