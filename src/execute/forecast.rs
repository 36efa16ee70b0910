//! What a run would do, without doing it.

use dnc_cache::{CacheError, Store};

use super::NodeResult;
use super::driver::Options;
use super::local::all_present;
use super::reason::Reason;
use super::task::{Ingredients, Task};
use crate::fingerprint::Fingerprint;
use crate::plan::Plan;
use crate::schedule::NodeIndex;

/// What a run would do with a node.
pub enum Forecast {
    /// Nobody asks for it.
    NotWanted,
    /// A record names its outputs.
    Hit {
        /// What it is made of.
        fingerprint: Box<Fingerprint>,
    },
    /// It would run.
    Stale {
        /// What it is made of.
        fingerprint: Box<Fingerprint>,
        /// Why.
        reason: Reason,
    },
    /// What it reads is not known before another node ran.
    Unknown {
        /// The first such node.
        until: NodeIndex,
    },
    /// It could not run: an input lacks what it needs.
    Wrong {
        /// What.
        message: String,
    },
}

/// What a run with these options would do with each node.
///
/// # Errors
/// The store cannot be read.
pub fn forecast(
    plan: &Plan,
    store: &Store,
    ingredients: &Ingredients,
    options: &Options,
    previous: &(dyn Fn(&str) -> Option<Fingerprint> + Sync),
) -> Result<Vec<Forecast>, CacheError> {
    let wanted = plan.above(&options.targets);
    let mut results: Vec<NodeResult> = plan.nodes.iter().map(|_| NodeResult::default()).collect();
    let mut forecasts: Vec<Forecast> = Vec::with_capacity(plan.nodes.len());
    for (index, node) in plan.nodes.iter().enumerate() {
        let feeds = node.inputs.iter().flat_map(|wire| &wire.feeds);
        let open = feeds.map(|feed| feed.node).find_map(|above| match &forecasts[above] {
            Forecast::Stale { .. } | Forecast::Wrong { .. } => Some(above),
            Forecast::Unknown { until } => Some(*until),
            Forecast::Hit { .. } | Forecast::NotWanted => None,
        });
        forecasts.push(match (wanted[index], open) {
            (false, _) => Forecast::NotWanted,
            (true, Some(until)) => Forecast::Unknown { until },
            (true, None) => match Task::new(plan, node, ingredients, &results) {
                Err(message) => Forecast::Wrong { message },
                Ok(task) => {
                    let record = store.record(&task.key)?;
                    let fingerprint = Box::new(task.fingerprint.clone());
                    match record {
                        _ if options.forced[index] => Forecast::Stale { fingerprint, reason: Reason::Forced },
                        None => Forecast::Stale { fingerprint, reason: Reason::of(&task, previous(&node.name)) },
                        Some(record) => {
                            results[index].outputs = record.outputs;
                            Forecast::Hit { fingerprint }
                        }
                    }
                }
            },
        });
    }
    find_lost(plan, store, options, &results, &mut forecasts)?;
    Ok(forecasts)
}

/// Makes stale what has a record, but whose bytes are gone though they were asked for or something that runs reads them.
fn find_lost(
    plan: &Plan,
    store: &Store,
    options: &Options,
    results: &[NodeResult],
    forecasts: &mut [Forecast],
) -> Result<(), CacheError> {
    let mut read = vec![false; plan.nodes.len()];
    options.targets.iter().for_each(|&target| read[target] = true);
    for (index, node) in plan.nodes.iter().enumerate().rev() {
        if let Forecast::Hit { fingerprint } = &forecasts[index]
            && read[index]
            && !all_present(store, &results[index].outputs)?
        {
            forecasts[index] = Forecast::Stale { fingerprint: fingerprint.clone(), reason: Reason::Lost };
        }
        if matches!(forecasts[index], Forecast::Stale { .. }) {
            node.upstream().into_iter().for_each(|above| read[above] = true);
        }
    }
    Ok(())
}
