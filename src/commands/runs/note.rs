//! `dnc-run runs note RUN [TEXT]`: writes or shows the note of a run.

use std::io;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::failure::Failure;
use crate::commands::names;
use crate::project::Project;
use crate::report::run_folder::RunFolder;
use crate::report::run_notes::Notes;

/// Arguments of `runs note`.
#[derive(Args)]
pub(super) struct NoteArgs {
    /// Run, as in `sop/3`, or `sop` for the last run of that name
    #[arg(add = ArgValueCompleter::new(names::runs))]
    run: String,
    /// Note, which replaces an earlier one; empty to remove it [default: show the note]
    text: Option<String>,
}

impl NoteArgs {
    /// Writes the note, or prints it.
    pub(super) fn run(self, project: &Project) -> Result<(), Failure> {
        let run = RunFolder::find(&project.runs, &self.run).map_err(Failure::Call)?;
        match self.text {
            Some(text) => {
                Notes::change(&run.path, |notes| {
                    notes.note = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
                    Ok::<(), io::Error>(())
                })?;
            }
            None => match Notes::read(&run.path)?.note {
                Some(note) => print_line!("{note}"),
                None => eprintln!("{} has no note", run.id()),
            },
        }
        Ok(())
    }
}
