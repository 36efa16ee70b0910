//! The binary: parses the command line, calls the command, turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use dnc_run::commands::{self, Cli};

fn main() -> ExitCode {
    commands::dispatch(Cli::parse())
}
