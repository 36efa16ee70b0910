//! `dnc-run explain MANIFEST NODE`: prints the fingerprint of a node, and how it differs from that of the most similar earlier run.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::failure::Failure;
use super::manifest_args::{ManifestArgs, hashing_progress};
use super::names;
use super::output::write_json;
use super::plan::NodeForecastJson;
use crate::execute::driver::Options;
use crate::execute::forecast::Forecast;
use crate::fingerprint::{Change, Fingerprint};
use crate::plan::{Plan, Selection};

/// Arguments of `dnc-run explain`.
#[derive(Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Node to explain, such as `decode` or `train@2[3]`; the name of a stage selects all its nodes
    #[arg(value_name = "NODE", add = ArgValueCompleter::new(names::nodes))]
    node: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `explain --json` prints.
#[derive(Serialize)]
struct ExplainJson {
    nodes: Vec<ExplainedJson>,
}

/// The fingerprint of a node, and how it differs from that of the most similar earlier run.
#[derive(Serialize)]
struct ExplainedJson {
    #[serde(flatten)]
    forecast: NodeForecastJson,
    /// The fingerprint, if its inputs are known.
    fingerprint: Option<Fingerprint>,
    /// Whether an earlier run of the node is recorded.
    has_run: bool,
    /// Differences from the most similar earlier run.
    changes: Vec<Change>,
}

impl ExplainArgs {
    /// Prints the fingerprints of the selected nodes.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let node = self.manifest.node(self.node.take(), "explain")?;
        let session = self.manifest.session()?;
        let plan = session.plan()?;
        let selected = Selection::new(node).nodes(&plan).map_err(Failure::Call)?;
        let store = session.store_to_read()?;
        let options = Options::everything(&plan, session.device().resolve());
        let history = session.history(&plan);
        let forecasts = session.forecast(&plan, &options, &store, &history, &hashing_progress())?;
        if self.json {
            let explained = selected.into_iter().filter_map(|index| {
                let previous = history.fingerprint(&store, &plan.nodes[index].name);
                explained(&plan, index, &forecasts[index], previous)
            });
            return Ok(write_json(&ExplainJson { nodes: explained.collect() })?);
        }
        for index in selected {
            let previous = history.fingerprint(&store, &plan.nodes[index].name);
            explain(&plan, index, &forecasts, previous)?;
        }
        Ok(())
    }
}

fn explained(plan: &Plan, index: usize, forecast: &Forecast, previous: Option<Fingerprint>) -> Option<ExplainedJson> {
    let fingerprint = match forecast {
        Forecast::Hit { fingerprint } | Forecast::Stale { fingerprint, .. } => Some((**fingerprint).clone()),
        Forecast::Unknown { .. } | Forecast::Unusable { .. } | Forecast::NotWanted => None,
    };
    let changes = fingerprint.as_ref().zip(previous.as_ref()).map(|(now, before)| now.changes_since(before));
    Some(ExplainedJson {
        forecast: NodeForecastJson::new(plan, index, forecast)?,
        fingerprint,
        has_run: previous.is_some(),
        changes: changes.unwrap_or_default(),
    })
}

fn explain(plan: &Plan, index: usize, forecasts: &[Forecast], previous: Option<Fingerprint>) -> Result<(), Failure> {
    let name = &plan.nodes[index].name;
    let fingerprint = match &forecasts[index] {
        Forecast::Hit { fingerprint } => {
            print_line!("{name}: hit");
            fingerprint
        }
        Forecast::Stale { fingerprint, reason } => {
            print_line!("{name}: stale: {reason}");
            fingerprint
        }
        Forecast::Unknown { until } => {
            let why = match &forecasts[*until] {
                Forecast::Stale { reason, .. } => format!(", which is stale: {reason}"),
                Forecast::Unusable { message } => format!(", which cannot run: {message}"),
                _ => String::new(),
            };
            print_line!("{name}: unknown until {} has run{why}", plan.nodes[*until].name);
            return Ok(());
        }
        Forecast::Unusable { message } => {
            print_line!("{name}: cannot run: {message}");
            return Ok(());
        }
        Forecast::NotWanted => {
            print_line!("{name}: not needed by any target");
            return Ok(());
        }
    };
    print_line!("key {}", fingerprint.key());
    print_line!("{}", serde_json::to_string_pretty(fingerprint).expect("the keys of a fingerprint are strings"));
    let Some(previous) = previous else {
        print_line!("No earlier run of this node is recorded");
        return Ok(());
    };
    let changes = fingerprint.changes_since(&previous);
    if changes.is_empty() {
        print_line!("Unchanged since the most similar earlier run");
    }
    for change in changes {
        print_line!("Changed since the most similar earlier run: {change}");
    }
    Ok(())
}
