//! The binary: parses the command line, calls the command, turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use dnc_kernels::LargeBlocks;
use dnc_run::commands::{self, Cli};

/// Keeps the large blocks that tensors live in: giving them back to the system and faulting them in again took two thirds
/// of the time of some convolutions.
#[global_allocator]
static ALLOCATOR: LargeBlocks = LargeBlocks::new();

fn main() -> ExitCode {
    commands::dispatch(Cli::parse())
}
