//! `dnc-run plan MANIFEST`: each node is a hit, stale with the reason, or unknown until another node has run.

use clap::Args;
use dnc_cache::Key;
use serde::Serialize;

use super::failure::Failure;
use super::manifest_args::{ManifestArgs, hashing_progress};
use super::output::write_json;
use crate::execute::driver::Options;
use crate::execute::forecast::Forecast;
use crate::execute::reason::Reason;
use crate::plan::Plan;
use crate::session::Session;

/// Arguments of `plan`.
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `plan --json` prints.
#[derive(Serialize)]
struct PlanJson {
    /// Number of nodes with a record.
    hit: usize,
    /// Number of nodes that would run.
    stale: usize,
    /// Number of nodes whose inputs are not known yet.
    unknown: usize,
    /// The nodes in the order of the plan.
    nodes: Vec<NodeForecastJson>,
}

/// What a run would do with a node.
#[derive(Serialize)]
pub(super) struct NodeForecastJson {
    /// Name of the node.
    node: String,
    /// `hit`, `stale`, `unknown` or `unusable`.
    state: &'static str,
    /// Its key, if its inputs are known.
    key: Option<Key>,
    /// Why it would run, with the changes.
    reason: Option<Reason>,
    /// The node that has to run before anything is known.
    until: Option<String>,
    /// Why it cannot run.
    error: Option<String>,
}

impl NodeForecastJson {
    /// The entry of the node at `index`; `None` if no target needs it.
    pub(super) fn new(plan: &Plan, index: usize, forecast: &Forecast) -> Option<Self> {
        let of = |state| Self {
            node: plan.nodes[index].name.clone(),
            state,
            key: None,
            reason: None,
            until: None,
            error: None,
        };
        Some(match forecast {
            Forecast::NotWanted => return None,
            Forecast::Hit { fingerprint } => Self { key: Some(fingerprint.key()), ..of("hit") },
            Forecast::Stale { fingerprint, reason } => {
                Self { key: Some(fingerprint.key()), reason: Some(reason.clone()), ..of("stale") }
            }
            Forecast::Unknown { until } => Self { until: Some(plan.nodes[*until].name.clone()), ..of("unknown") },
            Forecast::Unusable { message } => Self { error: Some(message.clone()), ..of("unusable") },
        })
    }
}

impl PlanArgs {
    /// Prints what would run.
    pub(super) fn run(self) -> Result<(), Failure> {
        let session = self.manifest.session()?;
        let plan = session.plan()?;
        let options = Options::everything(&plan, session.device().resolve());
        if self.json {
            return print_json(&session, &plan, &options);
        }
        show(&session, &plan, &options)
    }
}

fn print_json(session: &Session, plan: &Plan, options: &Options) -> Result<(), Failure> {
    let forecasts = session.forecast(plan, options, &session.store()?, &session.history(plan), &hashing_progress())?;
    let nodes = forecasts.iter().enumerate().filter_map(|(index, one)| NodeForecastJson::new(plan, index, one));
    let nodes: Vec<_> = nodes.collect();
    let count = |state| nodes.iter().filter(|node| node.state == state).count();
    let (hit, stale, unknown) = (count("hit"), count("stale"), count("unknown"));
    Ok(write_json(&PlanJson { hit, stale, unknown, nodes })?)
}

/// Prints what a run with these options would do.
pub(super) fn show(session: &Session, plan: &Plan, options: &Options) -> Result<(), Failure> {
    let store = session.store()?;
    let forecasts = session.forecast(plan, options, &store, &session.history(plan), &hashing_progress())?;
    let width = plan.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
    let (mut hits, mut stale, mut unknown) = (0, 0, 0);
    for (node, forecast) in plan.nodes.iter().zip(&forecasts) {
        let text = match forecast {
            Forecast::NotWanted => continue,
            Forecast::Hit { .. } => {
                hits += 1;
                "hit".to_owned()
            }
            Forecast::Stale { reason, .. } => {
                stale += 1;
                format!("stale: {reason}")
            }
            Forecast::Unknown { until } => {
                unknown += 1;
                format!("unknown until {} has run", plan.nodes[*until].name)
            }
            Forecast::Unusable { message } => format!("cannot run: {message}"),
        };
        print_line!("{:width$}  {text}", node.name);
    }
    eprintln!("{hits} hit, {stale} stale, {unknown} unknown");
    Ok(())
}
