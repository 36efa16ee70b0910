//! `dnc-run runs`: the list of runs, and commands for what people write about them, one file each.

mod ls;
mod note;
mod rm;
mod tag;

use clap::{Args, Subcommand};

use super::failure::Failure;
use crate::project::{Folders, Project};

/// Arguments of `runs`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArgs {
    #[command(subcommand)]
    command: Option<RunsCommand>,
    #[command(flatten)]
    ls: ls::LsArgs,
    #[command(flatten)]
    folders: Folders,
}

#[derive(Subcommand)]
enum RunsCommand {
    /// Tag a run; every command accepts a tag as its name
    Tag(tag::TagArgs),
    /// Write or show the note of a run
    Note(note::NoteArgs),
    /// Delete the folders of runs
    ///
    /// Results stay in the store until `cache gc` removes what no run references. Runs with tags are kept.
    Rm(rm::RmArgs),
}

impl RunsArgs {
    /// Runs the command on the runs of the project.
    pub(super) fn run(self) -> Result<(), Failure> {
        let project = Project::current(&self.folders)?;
        match self.command {
            None => self.ls.run(&project),
            Some(RunsCommand::Tag(args)) => args.run(&project),
            Some(RunsCommand::Note(args)) => args.run(&project),
            Some(RunsCommand::Rm(args)) => args.run(&project),
        }
    }
}
