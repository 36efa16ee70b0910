//! `dnc-run runs`: lists the runs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::output::write_json;
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
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folders: Folders,
}

/// What `runs --json` prints.
#[derive(Serialize)]
struct RunsJson {
    /// The runs by name and number.
    runs: Vec<RunSummaryJson>,
}

/// One run.
#[derive(Serialize)]
struct RunSummaryJson {
    /// `<name>/<n>`.
    run: String,
    /// Its folder.
    path: PathBuf,
    /// `done`, `failed`, `interrupted` or `unfinished`.
    state: &'static str,
    /// Number of nodes that had a record.
    hit: usize,
    /// Number of nodes that ran.
    ran: usize,
    /// Number of nodes that failed.
    failed: usize,
    /// Start, in seconds since 1970; `null` for a run that has not written it yet.
    started: Option<u64>,
    /// Duration in seconds.
    seconds: Option<f64>,
    /// Arguments of `--set` and `--vary`.
    overrides: Vec<String>,
    /// The manifest as given.
    manifest: Option<PathBuf>,
}

impl RunsArgs {
    /// Prints one line per run.
    pub(super) fn run(self) -> Result<(), Failure> {
        let project = Project::current(&self.folders)?;
        let mut runs = RunFolder::all(&project.runs)?;
        if runs.is_empty() && !self.json {
            eprintln!("No runs in `{}`", project.runs.display());
            return Ok(());
        }
        if let Some(name) = self.name.as_ref().filter(|_| !runs.is_empty()) {
            let names: BTreeSet<String> = runs.iter().map(|run| run.name.clone()).collect();
            if !names.contains(name) {
                let names = suggest::all_of(names.iter().map(String::as_str));
                return Err(Failure::Call(format!("No runs are called `{name}`; there are runs called {names}")));
            }
            runs.retain(|run| run.name == *name);
        }
        if self.json {
            return Ok(write_json(&RunsJson { runs: runs.iter().map(RunSummaryJson::new).collect() })?);
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

impl RunSummaryJson {
    fn new(run: &RunFolder) -> Self {
        let json = run.read().ok();
        let counted = |outcome| json.as_ref().map_or(0, |json| count(json, outcome));
        Self {
            run: run.id(),
            path: run.path.clone(),
            state: json.as_ref().map_or("unfinished", state),
            hit: counted(Outcome::Hit),
            ran: counted(Outcome::Ran),
            failed: counted(Outcome::Failed),
            started: json.as_ref().map(|json| json.started),
            seconds: json.as_ref().map(|json| json.seconds),
            overrides: json.as_ref().map(|json| json.overrides.clone()).unwrap_or_default(),
            manifest: json.map(|json| json.manifest),
        }
    }
}

fn count(json: &RunJson, outcome: Outcome) -> usize {
    json.nodes.iter().filter(|node| node.outcome == outcome).count()
}

fn state(json: &RunJson) -> &'static str {
    match (count(json, Outcome::Failed), count(json, Outcome::Cancelled)) {
        _ if json.unfinished => "unfinished",
        (0, 0) => "done",
        (0, _) => "interrupted",
        _ => "failed",
    }
}

fn row(run: &RunFolder, json: &RunJson) -> Vec<String> {
    let state = match state(json) {
        "failed" => format!("{} failed", count(json, Outcome::Failed)),
        state => state.to_owned(),
    };
    // Nodes of one stage often give the same.
    let warnings: BTreeSet<&String> = json.nodes.iter().flat_map(|node| &node.warnings).collect();
    vec![
        run.id(),
        state,
        count(json, Outcome::Hit).to_string(),
        count(json, Outcome::Ran).to_string(),
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
