//! What a run would do, without doing it.

use dnc_cache::{CacheError, Outputs, Store};

use super::attempt::all_present;
use super::driver::Options;
use super::reason::Reason;
use super::task::{Ingredients, Task};
use crate::fingerprint::Fingerprint;
use crate::plan::{NodeIndex, Plan};

/// What a run would do with a node.
pub enum Forecast {
    /// It is neither a target nor upstream of one.
    NotWanted,
    /// It has a record.
    Hit {
        /// Its fingerprint.
        fingerprint: Box<Fingerprint>,
    },
    /// It would run.
    Stale {
        /// Its fingerprint.
        fingerprint: Box<Fingerprint>,
        /// Why.
        reason: Reason,
    },
    /// Its inputs are unknown until another node has run.
    Unknown {
        /// The first such node.
        until: NodeIndex,
    },
    /// It cannot run: an input lacks what it needs.
    Unusable {
        /// What is missing.
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
    let mut outputs: Vec<Outputs> = vec![Outputs::new(); plan.nodes.len()];
    let mut forecasts: Vec<Forecast> = Vec::with_capacity(plan.nodes.len());
    for (index, node) in plan.nodes.iter().enumerate() {
        let open = node.feeds().map(|feed| feed.node).find_map(|above| match &forecasts[above] {
            Forecast::Stale { .. } | Forecast::Unusable { .. } => Some(above),
            Forecast::Unknown { until } => Some(*until),
            Forecast::Hit { .. } | Forecast::NotWanted => None,
        });
        forecasts.push(match (wanted[index], open) {
            (false, _) => Forecast::NotWanted,
            (true, Some(until)) => Forecast::Unknown { until },
            (true, None) => match Task::new(plan, node, ingredients, |upstream| &outputs[upstream]) {
                Err(message) => Forecast::Unusable { message },
                Ok(task) => {
                    let recorded = store.outputs(&task.key)?;
                    let fingerprint = Box::new(task.fingerprint.clone());
                    match recorded {
                        _ if options.forced[index] => Forecast::Stale { fingerprint, reason: Reason::Forced },
                        None => Forecast::Stale { fingerprint, reason: Reason::of(&task, previous(&node.name)) },
                        Some(recorded) => {
                            outputs[index] = recorded;
                            Forecast::Hit { fingerprint }
                        }
                    }
                }
            },
        });
    }
    find_lost(plan, store, options, &outputs, &mut forecasts)?;
    Ok(forecasts)
}

/// Marks as stale the hits whose bytes are gone although they are targets or a node that runs reads them.
fn find_lost(
    plan: &Plan,
    store: &Store,
    options: &Options,
    outputs: &[Outputs],
    forecasts: &mut [Forecast],
) -> Result<(), CacheError> {
    let mut read = vec![false; plan.nodes.len()];
    options.targets.iter().for_each(|&target| read[target] = true);
    for (index, node) in plan.nodes.iter().enumerate().rev() {
        if let Forecast::Hit { fingerprint } = &forecasts[index]
            && read[index]
            && !all_present(store, &outputs[index])?
        {
            forecasts[index] = Forecast::Stale { fingerprint: fingerprint.clone(), reason: Reason::Lost };
        }
        if matches!(forecasts[index], Forecast::Stale { .. }) {
            node.upstream().into_iter().for_each(|above| read[above] = true);
        }
    }
    Ok(())
}
