//! `dnc-run completions SHELL`: prints a script for a shell, which then asks this program what can follow on a line.

use std::io::stdout;

use anyhow::{Context as _, anyhow};
use clap::Args;
use clap_complete::Shell;
use clap_complete::env::Shells;

use super::failure::Failure;

/// The environment variable in which a shell says that it asks for completions.
const VARIABLE: &str = "COMPLETE";
const PROGRAM: &str = "dnc-run";

/// Arguments of `dnc-run completions`.
#[derive(Args)]
pub struct CompletionsArgs {
    /// Shell to complete commands in
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the script.
    pub(super) fn run(self) -> Result<(), Failure> {
        let shells = Shells::builtins();
        let shell =
            shells.completer(&self.shell.to_string()).ok_or_else(|| anyhow!("`{}` is not supported", self.shell))?;
        let written = shell.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut stdout());
        Ok(written.context("Cannot write to standard output")?)
    }
}
