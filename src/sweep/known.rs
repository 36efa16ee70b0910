//! The runs of a sweep that exist: its only state.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::objective::Objective;
use super::trial::Reached;
use crate::execute::Outcome;
use crate::execute::forecast::Forecast;
use crate::plan::Plan;
use crate::report::metrics::{self, Metric};
use crate::report::run_folder::{NodeJson, RunFolder};
use crate::session::SessionError;
use crate::sync::lock;

/// The finished runs of a sweep.
pub(super) struct KnownRuns {
    runs: Mutex<Vec<Arc<KnownRun>>>,
}

/// A finished run.
pub(super) struct KnownRun {
    folder: RunFolder,
    /// Its nodes by name.
    nodes: HashMap<String, NodeJson>,
    /// The resolved manifest.
    manifest: String,
    /// Whether it ended in this process.
    is_fresh: bool,
}

impl KnownRuns {
    /// The runs called `name`. One that was killed has no manifest, and is none of them.
    pub(super) fn read(runs: &Path, name: &str) -> Result<Self, SessionError> {
        let action = || format!("Cannot read the folder of runs `{}`", runs.display());
        let folders = RunFolder::all(runs).map_err(SessionError::cannot(action()))?;
        let known = folders.into_iter().filter(|run| run.name == name).filter_map(|run| KnownRun::read(run, false));
        Ok(Self { runs: Mutex::new(known.map(Arc::new).collect()) })
    }

    /// Adds a run that has ended, and returns it; `None` if its folder is incomplete.
    pub(super) fn add(&self, folder: RunFolder) -> Option<Arc<KnownRun>> {
        let run = Arc::new(KnownRun::read(folder, true)?);
        lock(&self.runs).push(Arc::clone(&run));
        Some(run)
    }

    /// The runs of this plan's manifest, in the project in `root`, that have ended all of these nodes, in their order. Those that
    /// failed before this call of the program are left out if they are to be run again.
    pub(super) fn of(&self, plan: &Plan, root: &Path, nodes: &[&str], retry_failed: bool) -> Vec<Arc<KnownRun>> {
        let runs = lock(&self.runs);
        let Some(first) = runs.first() else { return Vec::new() };
        // Paths are relative to the folder of a run, and the folders of all runs are equally deep.
        let manifest = plan.manifest.to_toml_in(&first.folder.path, root);
        let is_of = |run: &&Arc<KnownRun>| {
            run.manifest == manifest
                && run.has_ended(nodes)
                && !(retry_failed && !run.is_fresh && run.failure(nodes).is_some())
        };
        runs.iter().filter(is_of).cloned().collect()
    }
}

impl KnownRun {
    fn read(folder: RunFolder, is_fresh: bool) -> Option<Self> {
        let json = folder.read().ok().filter(|json| !json.unfinished)?;
        let manifest = fs::read_to_string(folder.path.join("manifest.toml")).ok()?;
        let nodes = json.nodes.into_iter().map(|node| (node.node.clone(), node)).collect();
        Some(Self { folder, nodes, manifest, is_fresh })
    }

    fn node(&self, name: &str) -> Option<&NodeJson> {
        self.nodes.get(name)
    }

    fn has_ended(&self, nodes: &[&str]) -> bool {
        nodes.iter().all(|name| self.node(name).is_some_and(|node| node.outcome != Outcome::Cancelled))
    }

    /// The first of these nodes that failed, and why.
    fn failure(&self, nodes: &[&str]) -> Option<String> {
        let failed = nodes.iter().filter_map(|name| self.node(name)).find(|node| node.outcome == Outcome::Failed)?;
        Some(format!("{}: {}", failed.node, failed.error.as_deref().unwrap_or("it failed")))
    }

    /// Whether no node has another key than the run had, as far as keys are known: data, code and device may have changed since. Where
    /// records were deleted, the rest stays unknown.
    pub(super) fn agrees(&self, plan: &Plan, forecasts: &[Forecast]) -> bool {
        plan.nodes.iter().zip(forecasts).all(|(node, forecast)| match forecast {
            Forecast::Hit { fingerprint } | Forecast::Stale { fingerprint, .. } => {
                self.node(&node.name).is_some_and(|known| known.key == Some(fingerprint.key()))
            }
            Forecast::NotWanted | Forecast::Unknown { .. } => true,
            Forecast::Unusable { .. } => self.node(&node.name).is_some_and(|known| known.outcome == Outcome::Failed),
        })
    }

    /// What the run reached, given the nodes that lead to the objective and its own, `node`.
    pub(super) fn reached(&self, nodes: &[&str], node: &str, objective: &Objective) -> Result<Reached, SessionError> {
        let run = self.folder.clone();
        if let Some(reason) = self.failure(nodes) {
            return Ok(Reached::Failed { reason, run: Some(run) });
        }
        let all = metrics::read(&run.path).map_err(SessionError::cannot("Cannot read the metrics of the run"))?;
        let metric = objective
            .find(&all, node)
            .map_err(|message| SessionError::Call(format!("{message} (run `{}`)", run.id())))?;
        let metric = self.measured_by(&all, metric);
        Ok(Reached::Value { metric, run })
    }

    /// The same metric of the node that measured it: for a choice among rounds, the evaluation of the chosen round, which has queries.
    fn measured_by(&self, all: &[Metric], chosen: &Metric) -> Metric {
        let is_evaluation = |name: &str| self.node(name).is_some_and(|node| node.stage == "evaluate");
        let is_it = |metric: &&Metric| {
            is_evaluation(&metric.node) && **metric == Metric { node: metric.node.clone(), ..chosen.clone() }
        };
        all.iter().find(is_it).unwrap_or(chosen).clone()
    }
}
