//! `dnc-run cache`: commands for the store, one file each.

mod gc;
mod gc_remote;
mod ls;
mod pull;
mod push;
mod status;
mod transfer;
mod verify;

use clap::{Args, Subcommand};
use dnc_cache::Store;

use super::failure::Failure;
use crate::project::{Folders, Project};

/// Arguments of `cache`.
#[derive(Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
    #[command(flatten)]
    folders: Folders,
}

#[derive(Subcommand)]
enum CacheCommand {
    /// List the records with their sizes and last uses
    Ls(ls::LsArgs),
    /// Read every byte of the store, and quarantine what is damaged
    Verify(verify::VerifyArgs),
    /// Remove records that no kept run references, and all files that only they need
    ///
    /// The runs of all projects that share the store count. With --remote, those of all projects that have pushed there do.
    Gc(gc::GcArgs),
    /// Copy records and their files to a remote
    ///
    /// Copies only what the remote lacks. The remote is a folder, for example on a network share, or a bucket, and is created if
    /// it does not exist. An existing record is never replaced by one with different outputs.
    Push(push::PushArgs),
    /// Copy records and their files from a remote
    ///
    /// Copies only what the store lacks. All files are verified on arrival.
    Pull(pull::PullArgs),
    /// Compare the store with a remote without copying anything
    Status(status::StatusArgs),
}

impl CacheArgs {
    /// Runs the command on the store of the project.
    pub(super) fn run(self) -> Result<(), Failure> {
        let project = Project::current(&self.folders)?;
        let store = match self.command {
            CacheCommand::Pull(_) => Store::open(&project.store)?,
            _ => Store::open_or_empty(&project.store)?,
        };
        if !project.store.exists() {
            eprintln!("There is no store in `{}` yet; the first run creates it", project.store.display());
        }
        match self.command {
            CacheCommand::Ls(args) => args.run(&store),
            CacheCommand::Verify(args) => args.run(&store),
            CacheCommand::Gc(args) => args.run(&store, &project),
            CacheCommand::Push(args) => args.run(&store, &project),
            CacheCommand::Pull(args) => args.run(&store, &project),
            CacheCommand::Status(args) => args.run(&store, &project),
        }
    }
}
