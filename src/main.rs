//! The binary: parses the command line and calls the command.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use dnc_kernels::CachingAllocator;
use dnc_run::commands::{self, Cli};
use signal_hook::consts::SIGPIPE;

/// Caches the large blocks that hold tensors: returning them to the system and faulting them in again took two thirds of the
/// time of some convolutions.
#[global_allocator]
static ALLOCATOR: CachingAllocator = CachingAllocator::new();

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A reader that closes the pipe, such as `head`, ends this process, as is usual on Unix; otherwise writing would fail.
    let always = Arc::new(AtomicBool::new(cli.ends_with_its_reader()));
    if let Err(error) = signal_hook::flag::register_conditional_default(SIGPIPE, always) {
        eprintln!("error: Cannot handle signals: {error}");
        return ExitCode::FAILURE;
    }
    commands::dispatch(cli)
}
