//! The binary: parses the command line, calls the command, turns its end into an exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use dnc_kernels::LargeBlocks;
use dnc_run::commands::{self, Cli};
use signal_hook::consts::SIGPIPE;

/// Keeps the large blocks that tensors live in: giving them back to the system and faulting them in again took two thirds
/// of the time of some convolutions.
#[global_allocator]
static ALLOCATOR: LargeBlocks = LargeBlocks::new();

fn main() -> ExitCode {
    // Whoever reads the output and has seen enough ends us, as is usual; a write would panic instead.
    let always = Arc::new(AtomicBool::new(true));
    if let Err(error) = signal_hook::flag::register_conditional_default(SIGPIPE, always) {
        eprintln!("error: Cannot listen to signals: {error}");
        return ExitCode::FAILURE;
    }
    commands::dispatch(Cli::parse())
}
