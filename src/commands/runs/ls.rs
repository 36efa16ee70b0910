//! `dnc-run runs [NAME]`: lists the runs.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::commands::failure::Failure;
use crate::commands::output::write_json;
use crate::execute::Outcome;
use crate::manifest::suggest;
use crate::project::Project;
use crate::report::run_folder::RunFolder;
use crate::report::run_notes::Notes;
use crate::report::table::text_table;
use crate::report::{metrics, result};

/// Arguments of `runs` without a command.
#[derive(Args)]
pub(super) struct LsArgs {
    /// List only the runs of this name
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    /// `done`, `failed`, `interrupted`, `running`, or `unfinished` if it was killed.
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
    /// Its tags, sorted.
    tags: BTreeSet<String>,
    /// Its note; `null` if it has none.
    note: Option<String>,
    /// Arguments of `--set` and `--vary`.
    overrides: Vec<String>,
    /// The manifest as given.
    manifest: Option<PathBuf>,
}

impl LsArgs {
    /// Prints one line per run.
    pub(super) fn run(&self, project: &Project) -> Result<(), Failure> {
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
            return Ok(write_json(&RunsJson {
                runs: runs.iter().map(RunSummaryJson::new).collect::<Result<_, _>>()?,
            })?);
        }
        let notes: Vec<Notes> = runs.iter().map(|run| Notes::read(&run.path)).collect::<Result<_, _>>()?;
        let rows = runs.iter().zip(&notes).map(|(run, notes)| row(run, notes));
        let mut header = vec!["run", "state", "hit", "ran", "warnings", "seconds", "result", "overrides"];
        // Most people write none.
        header.extend(notes.iter().any(|notes| !notes.tags.is_empty()).then_some("tags"));
        header.extend(notes.iter().any(|notes| notes.note.is_some()).then_some("note"));
        let width = header.len();
        let has_tags = header.contains(&"tags");
        let rows = rows.map(|mut row| {
            if !has_tags {
                row.remove(TAGS);
            }
            row.truncate(width);
            row
        });
        print_line!("{}", text_table(&header, rows.collect()));
        Ok(())
    }
}

impl RunSummaryJson {
    fn new(run: &RunFolder) -> io::Result<Self> {
        let (json, notes) = (run.read().ok(), Notes::read(&run.path)?);
        let counted = |outcome| json.as_ref().map_or(0, |json| json.count(outcome));
        Ok(Self {
            run: run.id(),
            path: run.path.clone(),
            state: run.state(json.as_ref()),
            hit: counted(Outcome::Hit),
            ran: counted(Outcome::Ran),
            failed: counted(Outcome::Failed),
            started: json.as_ref().map(|json| json.started),
            seconds: json.as_ref().map(|json| json.seconds),
            overrides: json.as_ref().map(|json| json.overrides.clone()).unwrap_or_default(),
            manifest: json.map(|json| json.manifest),
            tags: notes.tags,
            note: notes.note,
        })
    }
}

/// Column of the tags.
const TAGS: usize = 8;

fn row(run: &RunFolder, notes: &Notes) -> Vec<String> {
    let json = run.read().ok();
    let mut row = vec![run.id(), run.state(json.as_ref()).to_owned()];
    if let Some(json) = &json {
        if row[1] == "failed" {
            row[1] = format!("{} failed", json.count(Outcome::Failed));
        }
        // Nodes of one stage often give the same.
        let warnings: BTreeSet<&String> = json.nodes.iter().flat_map(|node| &node.warnings).collect();
        row.extend([
            json.count(Outcome::Hit).to_string(),
            json.count(Outcome::Ran).to_string(),
            warnings.len().to_string(),
            format!("{:.1}", json.seconds),
            metrics::read(&run.path).ok().and_then(|rows| result::headline(json, &rows)).unwrap_or_default(),
            json.overrides.join(" "),
        ]);
    }
    row.resize(TAGS, String::new());
    row.push(notes.tags.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
    row.push(notes.note.clone().unwrap_or_default());
    row
}
