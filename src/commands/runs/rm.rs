//! `dnc-run runs rm RUN…`: deletes the folders of runs.

use std::fs;

use anyhow::Context as _;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::failure::Failure;
use crate::commands::names;
use crate::project::Project;
use crate::report::run_folder::RunFolder;
use crate::report::run_notes::Notes;

/// Arguments of `runs rm`.
#[derive(Args)]
pub(super) struct RmArgs {
    /// Runs, as in `sop/3` or `sop/1-20`
    #[arg(required = true, value_name = "RUN", add = ArgValueCompleter::new(names::runs))]
    removed: Vec<String>,
    /// Print what would be deleted without deleting it
    #[arg(long)]
    dry_run: bool,
}

impl RmArgs {
    /// Deletes the runs, or none of them if one must be kept.
    pub(super) fn run(self, project: &Project) -> Result<(), Failure> {
        let mut runs: Vec<RunFolder> = Vec::new();
        for text in &self.removed {
            // `sop` means the last run elsewhere. Here somebody may mean all of them.
            if !text.trim_end_matches('/').contains('/') {
                // A tag is no name of runs.
                let name = RunFolder::find(&project.runs, text).map_err(Failure::Call)?.name;
                return Err(Failure::Call(format!(
                    "`{text}` is not one run; name it with its number, as in `{name}/1`, or a range, as in `{name}/1-9`"
                )));
            }
            for run in RunFolder::find_all(&project.runs, text).map_err(Failure::Call)? {
                let notes = Notes::read(&run.path)?;
                if let Some(tag) = notes.tags.first() {
                    let id = run.id();
                    return Err(Failure::Call(format!(
                        "{id} has the tag `{tag}` and is kept; to delete it, call `dnc-run runs tag {id} {tag} --remove` first"
                    )));
                }
                if run.is_running() {
                    return Err(Failure::Call(format!("{} is running; stop it first", run.id())));
                }
                if !runs.contains(&run) {
                    runs.push(run);
                }
            }
        }
        for run in runs {
            if !self.dry_run {
                fs::remove_dir_all(&run.path).with_context(|| format!("Cannot delete `{}`", run.path.display()))?;
                // Other runs of the name may be left.
                let _ = run.path.parent().map(fs::remove_dir);
            }
            print_line!("{}{}", if self.dry_run { "would delete " } else { "deleted " }, run.id());
        }
        Ok(())
    }
}
