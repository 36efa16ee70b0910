//! All runs, and how far each is.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use dnc_serve::Refusal;
use dnc_serve::answers::{Metric, Node, Round, Run, RunState};

use crate::error_chain::error_chain;
use crate::execute::Outcome;
use crate::pages::evidence::Subject;
use crate::report::run_folder::{NodeJson, RunFolder, RunJson};
use crate::report::{metrics, result};
use crate::sync::lock;

/// All runs of a project. A run that did not change is not read again.
pub(super) struct Listed {
    runs: PathBuf,
    read: Mutex<HashMap<PathBuf, (SystemTime, Run)>>,
}

impl Listed {
    pub(super) fn new(runs: &Path) -> Self {
        Self { runs: runs.to_owned(), read: Mutex::default() }
    }

    /// The run called `name`, among those that exist.
    pub(super) fn find(&self, name: &str) -> Result<RunFolder, Refusal> {
        let all = RunFolder::all(&self.runs).unwrap_or_default();
        let found = all.into_iter().find(|run| run.id() == name);
        found.ok_or_else(|| Refusal::NotFound(format!("There is no run `{name}`; `/api/runs` lists all")))
    }

    /// All runs, the last started first.
    pub(super) fn all(&self) -> Result<Vec<Run>, Refusal> {
        let folders =
            RunFolder::all(&self.runs).map_err(|error| Refusal::Failed(format!("Cannot list the runs: {error}")))?;
        let mut read = lock(&self.read);
        let mut known = HashMap::with_capacity(folders.len());
        for folder in folders {
            let Some(changed) = changed(&folder) else { continue };
            let (path, earlier) = (folder.path.clone(), read.remove(&folder.path));
            let earlier = earlier.filter(|(time, _)| *time == changed);
            known.insert(path, earlier.unwrap_or_else(|| (changed, describe(&folder))));
        }
        *read = known;
        let mut runs: Vec<Run> = read.values().map(|(_, run)| run.clone()).collect();
        runs.sort_by(|a, b| (b.started, &b.run).cmp(&(a.started, &a.run)));
        Ok(runs)
    }

    /// How far a run is.
    pub(super) fn state(&self, folder: &RunFolder) -> Result<RunState, Refusal> {
        let json = read(folder)?;
        Ok(RunState {
            run: folder.id(),
            state: folder.state(Some(&json)).to_owned(),
            started: json.started,
            seconds: json.seconds,
            nodes: json.nodes.iter().map(|node| described(node, json.unfinished)).collect(),
            metrics: metrics_of(folder)?,
        })
    }
}

/// When a run last changed; `None` if it has no `run.json`.
pub(super) fn changed(folder: &RunFolder) -> Option<SystemTime> {
    fs::metadata(folder.path.join("run.json")).and_then(|found| found.modified()).ok()
}

/// The metrics of a run; none before its end.
pub(super) fn metrics_of(folder: &RunFolder) -> Result<Vec<Metric>, Refusal> {
    let rows = metrics::read(&folder.path).map_err(|error| Refusal::Failed(error_chain(&error)))?;
    let row = |row: metrics::Metric| {
        let metrics::Metric { node, round, learners, split, metric, k, value, .. } = row;
        Metric { node, round, learners, split, metric, k, value }
    };
    Ok(rows.into_iter().map(row).collect())
}

fn read(folder: &RunFolder) -> Result<RunJson, Refusal> {
    folder.read().map_err(|error| Refusal::Failed(format!("Cannot read the run `{}`: {error}", folder.id())))
}

/// A run in the list.
fn describe(folder: &RunFolder) -> Run {
    let unknown = Run {
        run: folder.id(),
        state: folder.state(None).to_owned(),
        started: None,
        seconds: None,
        result: None,
        overrides: Vec::new(),
        metric: None,
        rounds: Vec::new(),
        search: None,
    };
    let Ok(json) = folder.read() else { return unknown };
    let rows = metrics::read(&folder.path).unwrap_or_default();
    let subject = Subject::find(&json, None, &rows);
    let rounds = subject.iter().flat_map(|subject| {
        let (metric, k) = subject.headline[0];
        let value = |node: &str| {
            let of_node = rows.iter().filter(move |row| row.node == node && row.split == subject.split);
            of_node.into_iter().find(|row| row.metric == metric && row.k == k).map(|row| row.value)
        };
        let round = move |round: &crate::pages::evidence::Evaluated| {
            Some(Round { round: round.round, learners: round.learners, value: value(&round.node)? })
        };
        subject.rounds.iter().filter_map(round).collect::<Vec<_>>()
    });
    Run {
        state: folder.state(Some(&json)).to_owned(),
        started: Some(json.started),
        seconds: Some(json.seconds),
        result: result::headline(&json, &rows),
        rounds: rounds.collect(),
        metric: subject.as_ref().map(|subject| {
            let (metric, k) = subject.headline[0];
            format!("{} {}", subject.split, metrics::metric_label(metric, k))
        }),
        overrides: json.overrides.clone(),
        ..unknown
    }
}

fn described(node: &NodeJson, is_unfinished: bool) -> Node {
    let state = match (node.outcome, is_unfinished, node.began) {
        (Outcome::Cancelled, true, Some(_)) => "running".to_owned(),
        (Outcome::Cancelled, true, None) => "waiting".to_owned(),
        (outcome, ..) => outcome.to_string(),
    };
    Node {
        node: node.node.clone(),
        stage: node.stage.clone(),
        state,
        began: node.began,
        seconds: node.seconds,
        error: node.error.clone(),
    }
}
