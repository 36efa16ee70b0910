//! `dnc-run plan MANIFEST`: each node is a hit, stale with the reason, or unknown until another node has run.

use clap::Args;
use dnc_cache::Key;
use serde::Serialize;

use super::failure::Failure;
use super::manifest_args::hashing_progress;
use super::output::write_json;
use super::planned_args::PlannedArgs;
use super::resource_args::ResourceArgs;
use super::units::{format_bytes, format_seconds};
use crate::execute::forecast::Forecast;
use crate::execute::reason::Reason;
use crate::plan::Plan;
use crate::session::{Cost, Estimate, RunOptions, Session};

/// Arguments of `plan`.
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    planned: PlannedArgs,
    #[command(flatten)]
    resources: ResourceArgs,
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
    /// What the run will probably take.
    expected: ExpectedJson,
    /// The nodes in the order of the plan.
    nodes: Vec<PlannedJson>,
}

/// What a run will probably take.
#[derive(Serialize)]
struct ExpectedJson {
    /// Duration in seconds of the nodes whose time is known.
    seconds: f64,
    /// Bytes that these write.
    bytes: u64,
    /// Number of nodes whose time is known.
    known_nodes: usize,
    /// Number of the other nodes that may run.
    unknown_nodes: usize,
    /// Bytes that are free on the disk of the store.
    free_bytes: Option<u64>,
}

/// A node, and what it will probably take.
#[derive(Serialize)]
struct PlannedJson {
    #[serde(flatten)]
    forecast: NodeForecastJson,
    /// What it will probably take, if it may run and it or another node of its stage has run before.
    expected: Option<NodeExpectedJson>,
}

/// What a node will probably take, from an earlier run.
#[derive(Serialize)]
struct NodeExpectedJson {
    /// Run time in seconds.
    seconds: f64,
    /// Bytes that it writes, if known.
    bytes: Option<u64>,
    /// The run that this comes from.
    run: String,
    /// The node of that run.
    node: String,
}

impl NodeExpectedJson {
    fn new(cost: &Cost) -> Self {
        Self { seconds: cost.seconds, bytes: cost.bytes, run: cost.run.to_string(), node: cost.node.clone() }
    }
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
        let runs = self.planned.runs(&self.planned.session()?)?;
        if self.json && runs.len() > 1 {
            return Err(Failure::Call(
                "`plan --json` shows one run, but `--vary` asks for several; use `--set` for one of them".into(),
            ));
        }
        for run in runs {
            let plan = run.session.plan()?;
            let options = self.resources.configure(self.planned.options(&plan)?)?;
            if self.json {
                return print_json(&run.session, &plan, &options);
            }
            show(&run.session, &plan, &options, &run.label)?;
        }
        Ok(())
    }
}

/// What a run would do with each node, and what it will probably take.
fn foresee(session: &Session, plan: &Plan, options: &RunOptions) -> Result<(Vec<Forecast>, Estimate), Failure> {
    let store = session.store_to_read()?;
    let history = session.history(plan);
    let forecasts = session.forecast(plan, &options.options, &store, &history, &hashing_progress())?;
    let estimate = session.estimate(plan, &forecasts, options, &store, &history)?;
    Ok((forecasts, estimate))
}

fn print_json(session: &Session, plan: &Plan, options: &RunOptions) -> Result<(), Failure> {
    let (forecasts, estimate) = foresee(session, plan, options)?;
    let nodes = forecasts.iter().zip(&estimate.nodes).enumerate().filter_map(|(index, (forecast, cost))| {
        let forecast = NodeForecastJson::new(plan, index, forecast)?;
        Some(PlannedJson { forecast, expected: cost.as_ref().map(NodeExpectedJson::new) })
    });
    let nodes: Vec<_> = nodes.collect();
    let count = |state| nodes.iter().filter(|node| node.forecast.state == state).count();
    let (hit, stale, unknown) = (count("hit"), count("stale"), count("unknown"));
    let expected = ExpectedJson {
        seconds: estimate.seconds,
        bytes: estimate.bytes,
        known_nodes: estimate.known,
        unknown_nodes: estimate.running - estimate.known,
        free_bytes: estimate.free,
    };
    Ok(write_json(&PlanJson { hit, stale, unknown, expected, nodes })?)
}

/// Prints what a run with these options would do, under the `label` that distinguishes it from other runs.
pub(super) fn show(session: &Session, plan: &Plan, options: &RunOptions, label: &str) -> Result<(), Failure> {
    let (forecasts, estimate) = foresee(session, plan, options)?;
    if !label.is_empty() {
        print_line!("{label}");
    }
    let width = plan.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
    let (mut hits, mut stale, mut unknown) = (0, 0, 0);
    for ((node, forecast), cost) in plan.nodes.iter().zip(&forecasts).zip(&estimate.nodes) {
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
        print_line!("{:width$}  {text}{}", node.name, cost.as_ref().map(expected).unwrap_or_default());
    }
    eprintln!("{hits} hit, {stale} stale, {unknown} unknown");
    if estimate.running > 0 {
        eprintln!("{}", summary(&estimate, options.limits.threads));
    }
    if let Some(free) = estimate.free.filter(|_| estimate.is_too_large()) {
        eprintln!(
            "warning: The run will probably write {}, but the disk of the store `{}` has only {} free; `dnc-run cache gc` makes \
             space, and `--store DIR` puts the store on another disk",
            format_bytes(estimate.bytes),
            session.project().store.display(),
            format_bytes(free)
        );
    }
    Ok(())
}

/// What a node will probably take, to be appended to what is said of it.
fn expected(cost: &Cost) -> String {
    let bytes = cost.bytes.map(|bytes| format!(", {}", format_bytes(bytes))).unwrap_or_default();
    format!("; about {}{bytes}", format_seconds(cost.seconds))
}

/// What the run will probably take, in a sentence.
fn summary(estimate: &Estimate, threads: usize) -> String {
    let Estimate { running, known, seconds, bytes, .. } = *estimate;
    if known == 0 {
        return "No estimate of time and space: no node that would run has run before".to_owned();
    }
    let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
    let all = format!("About {} with {threads}, {} to write", format_seconds(seconds), format_bytes(bytes));
    match running - known {
        0 => all,
        others => format!("{all}, for {known} of {running} nodes; {others} never ran"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_how_much_of_the_run_it_is_about() {
        let summary = |running, known, threads| {
            let (seconds, bytes, free) = (260.0, 310_000_000, None);
            summary(&Estimate { nodes: Vec::new(), running, known, seconds, bytes, free }, threads)
        };
        assert_eq!(summary(25, 25, 2), "About 4 min 20 s with 2 threads, 310.0 MB to write");
        let some = "About 4 min 20 s with 1 thread, 310.0 MB to write, for 12 of 25 nodes; 13 never ran";
        assert_eq!(summary(25, 12, 1), some);
        assert!(summary(25, 0, 1).starts_with("No estimate"));
    }
}
