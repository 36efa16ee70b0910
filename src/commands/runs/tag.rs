//! `dnc-run runs tag RUN TAG…`: gives a run tags, or takes them away.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::failure::Failure;
use crate::commands::names;
use crate::project::Project;
use crate::report::run_folder::RunFolder;
use crate::report::run_notes::{Notes, check_tag};

/// Arguments of `runs tag`.
#[derive(Args)]
pub(super) struct TagArgs {
    /// Run, as in `sop/3`, or `sop` for the last run of that name
    #[arg(add = ArgValueCompleter::new(names::runs))]
    run: String,
    /// Tags, as in `baseline`
    #[arg(required = true, value_name = "TAG")]
    tags: Vec<String>,
    /// Remove the tags instead
    #[arg(long)]
    remove: bool,
}

impl TagArgs {
    /// Changes the tags of the run, and prints them.
    pub(super) fn run(self, project: &Project) -> Result<(), Failure> {
        let run = RunFolder::find(&project.runs, &self.run).map_err(Failure::Call)?;
        let notes = Notes::change(&run.path, |notes| {
            for tag in self.tags {
                if self.remove {
                    if !notes.tags.remove(&tag) {
                        return Err(Failure::Call(format!("{} has no tag `{tag}`", run.id())));
                    }
                } else {
                    check_tag(&tag).map_err(Failure::Call)?;
                    if RunFolder::all(&project.runs)?.iter().any(|run| run.name == tag) {
                        return Err(Failure::Call(format!("`{tag}` cannot be a tag, because runs have that name")));
                    }
                    notes.tags.insert(tag);
                }
            }
            Ok(())
        })?;
        print_line!("{}: {}", run.id(), notes.tags.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
        Ok(())
    }
}
