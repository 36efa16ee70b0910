//! `dnc-run runs`: the runs that there are.

use std::collections::BTreeSet;

use clap::Args;

use super::place::Place;
use super::{Failure, Folders};
use crate::execute::Outcome;
use crate::manifest::suggest;
use crate::report::run_folder::RunFolder;
use crate::report::text_table;

/// Arguments of `runs`.
#[derive(Args)]
pub struct RunsArgs {
    /// Only the runs of this name
    name: Option<String>,
    #[command(flatten)]
    folders: Folders,
}

impl RunsArgs {
    /// Prints a line a run.
    pub(super) fn run(self) -> Result<(), Failure> {
        let place = Place::here(&self.folders)?;
        let mut rows = Vec::new();
        let all = RunFolder::all(&place.runs)?;
        let names: BTreeSet<String> = all.iter().map(|run| run.name.clone()).collect();
        if let Some(name) = self.name.as_ref().filter(|name| !names.is_empty() && !names.contains(*name)) {
            let names = suggest::all_of(names.iter().map(String::as_str));
            return Err(Failure::Call(format!("There are no runs of `{name}`, but of {names}")));
        }
        for run in all {
            if self.name.as_ref().is_some_and(|name| *name != run.name) {
                continue;
            }
            let Ok(json) = run.read() else {
                rows.push(vec![run.id(), "unfinished".to_owned()]);
                continue;
            };
            let count = |outcome| json.nodes.iter().filter(|node| node.outcome == outcome).count();
            let state = match (count(Outcome::Failed), count(Outcome::Cancelled)) {
                _ if json.unfinished => "unfinished".to_owned(),
                (0, 0) => "done".to_owned(),
                (0, _) => "interrupted".to_owned(),
                (failed, _) => format!("{failed} failed"),
            };
            rows.push(vec![
                run.id(),
                state,
                count(Outcome::Hit).to_string(),
                count(Outcome::Ran).to_string(),
                format!("{:.1}", json.seconds),
                json.overrides.join(" "),
            ]);
        }
        if rows.is_empty() {
            eprintln!("There are no runs in `{}`", place.runs.display());
        } else {
            say!("{}", text_table(&["run", "state", "hit", "ran", "seconds", "overrides"], rows));
        }
        Ok(())
    }
}
