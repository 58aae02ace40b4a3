//! The p2pcopy command.

use std::process::ExitCode;

fn main() -> ExitCode {
    p2pcopy::run(std::env::args_os())
}
