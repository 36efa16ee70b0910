//! `dnc-run runs`: lists the runs.

use std::collections::BTreeSet;

use clap::Args;

use super::failure::Failure;
use crate::execute::Outcome;
use crate::manifest::suggest;
use crate::project::{Folders, Project};
use crate::report::run_folder::{RunFolder, RunJson};
use crate::report::table::text_table;
use crate::report::{metrics, result};

/// Arguments of `runs`.
#[derive(Args)]
pub struct RunsArgs {
    /// List only the runs of this name
    name: Option<String>,
    #[command(flatten)]
    folders: Folders,
}

impl RunsArgs {
    /// Prints one line per run.
    pub(super) fn run(self) -> Result<(), Failure> {
        let project = Project::current(&self.folders)?;
        let mut runs = RunFolder::all(&project.runs)?;
        if runs.is_empty() {
            eprintln!("No runs in `{}`", project.runs.display());
            return Ok(());
        }
        if let Some(name) = &self.name {
            let names: BTreeSet<String> = runs.iter().map(|run| run.name.clone()).collect();
            if !names.contains(name) {
                let names = suggest::all_of(names.iter().map(String::as_str));
                return Err(Failure::Call(format!("No runs are called `{name}`; there are runs called {names}")));
            }
            runs.retain(|run| run.name == *name);
        }
        let rows = runs.iter().map(|run| match run.read() {
            Ok(json) => row(run, &json),
            Err(_) => vec![run.id(), "unfinished".to_owned()],
        });
        print_line!(
            "{}",
            text_table(&["run", "state", "hit", "ran", "warnings", "seconds", "result", "overrides"], rows.collect())
        );
        Ok(())
    }
}

fn row(run: &RunFolder, json: &RunJson) -> Vec<String> {
    let count = |outcome| json.nodes.iter().filter(|node| node.outcome == outcome).count();
    let state = match (count(Outcome::Failed), count(Outcome::Cancelled)) {
        _ if json.unfinished => "unfinished".to_owned(),
        (0, 0) => "done".to_owned(),
        (0, _) => "interrupted".to_owned(),
        (failed, _) => format!("{failed} failed"),
    };
    // Nodes of one stage often give the same.
    let warnings: BTreeSet<&String> = json.nodes.iter().flat_map(|node| &node.warnings).collect();
    vec![
        run.id(),
        state,
        count(Outcome::Hit).to_string(),
        count(Outcome::Ran).to_string(),
        warnings.len().to_string(),
        format!("{:.1}", json.seconds),
        headline(run, json).unwrap_or_default(),
        json.overrides.join(" "),
    ]
}

/// The main metric of a run, if it computed any.
fn headline(run: &RunFolder, json: &RunJson) -> Option<String> {
    let stage_of = |name: &str| json.nodes.iter().find(|node| node.node == name).map(|node| node.stage.as_str());
    result::headline(stage_of, &metrics::read(&run.path).ok()?)
}
