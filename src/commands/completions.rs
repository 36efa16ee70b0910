//! `dnc-run completions SHELL`: prints a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

use super::failure::Failure;

/// Arguments of `dnc-run completions`.
#[derive(Args)]
pub struct CompletionsArgs {
    /// Shell to complete commands in
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the completion script for `command`.
    pub(super) fn run(self, mut command: clap::Command) -> Result<(), Failure> {
        clap_complete::generate(self.shell, &mut command, "dnc-run", &mut std::io::stdout());
        Ok(())
    }
}
