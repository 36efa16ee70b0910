//! `dnc-run explain MANIFEST NODE`: the fingerprint of a node, and its difference from the last one.

use clap::Args;

use super::Failure;
use super::manifest_args::{ManifestArgs, ingredients_to_show};
use super::plan::everything;
use crate::execute::forecast::{Forecast, forecast};
use crate::fingerprint::Fingerprint;
use crate::plan::{Plan, Selection};

/// Arguments of `explain`.
#[derive(Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The node: `decode`, `train@2[3]`; a stage's name means all its nodes
    #[arg(value_name = "NODE")]
    node: Option<String>,
}

impl ExplainArgs {
    /// Prints fingerprints.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        // `explain NODE` alone means the manifest of the last run.
        if self.node.is_none() {
            self.node = self.manifest.manifest.take().map(|node| node.display().to_string());
        }
        let Some(node) = &self.node else { return Err(Failure::Call("Name the node to explain".into())) };
        let chosen = self.manifest.choose()?;
        let plan = chosen.plan()?;
        let selected = Selection::new(node).nodes(&plan).map_err(Failure::Call)?;
        let store = chosen.store()?;
        let options = everything(&plan, self.manifest.device.resolve());
        let ingredients = ingredients_to_show(&plan, &store.index(), options.device)?;
        let previous = chosen.previous(&plan, &store, None);
        let forecasts = forecast(&plan, &store, &ingredients, &options, &previous)?;
        for index in selected {
            explain(&plan, index, &forecasts, previous(&plan.nodes[index].name))?;
        }
        Ok(())
    }
}

fn explain(plan: &Plan, index: usize, forecasts: &[Forecast], previous: Option<Fingerprint>) -> Result<(), Failure> {
    let name = &plan.nodes[index].name;
    let fingerprint = match &forecasts[index] {
        Forecast::Hit { fingerprint } => {
            say!("{name}: hit");
            fingerprint
        }
        Forecast::Stale { fingerprint, reason } => {
            say!("{name}: stale: {reason}");
            fingerprint
        }
        Forecast::Unknown { until } => {
            let why = match &forecasts[*until] {
                Forecast::Stale { reason, .. } => format!(", which is stale: {reason}"),
                Forecast::Wrong { message } => format!(", which cannot: {message}"),
                _ => String::new(),
            };
            say!("{name}: its inputs are unknown until {} runs{why}", plan.nodes[*until].name);
            return Ok(());
        }
        Forecast::Wrong { message } => {
            say!("{name}: cannot run: {message}");
            return Ok(());
        }
        Forecast::NotWanted => {
            say!("{name}: nothing asks for it");
            return Ok(());
        }
    };
    say!("key {}", fingerprint.key());
    say!("{}", serde_json::to_string_pretty(fingerprint).expect("a fingerprint has string keys"));
    let Some(previous) = previous else {
        say!("No earlier run knows it, or its record is gone");
        return Ok(());
    };
    let changes = fingerprint.changes_since(&previous);
    if changes.is_empty() {
        say!("The same as in its last run");
    }
    for change in changes {
        say!("changed since its last run: {change}");
    }
    Ok(())
}
