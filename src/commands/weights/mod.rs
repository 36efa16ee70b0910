//! `dnc-run weights`: published weights, one file per subcommand.

mod download;
mod fetch;
mod ls;

use clap::{Args, Subcommand};

use super::failure::Failure;

/// Arguments of `weights`.
#[derive(Args)]
pub struct WeightsArgs {
    #[command(subcommand)]
    command: WeightsCommand,
}

#[derive(Subcommand)]
enum WeightsCommand {
    /// List published weights, and where they are on this machine
    Ls(ls::LsArgs),
    /// Download published weights
    ///
    /// The file goes to `DNC_WEIGHTS`, by default `~/.cache/dnc-run/weights`. Nothing else downloads anything. An interrupted
    /// download continues where it stopped. Where the publisher states a checksum, it is checked.
    Fetch(fetch::FetchArgs),
}

impl WeightsArgs {
    /// Runs the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            WeightsCommand::Ls(args) => args.run(),
            WeightsCommand::Fetch(args) => args.run(),
        }
    }
}
