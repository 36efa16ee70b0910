//! What is found without running anything: whether a node has a record, and whether the bytes that it names are there.

use dnc_cache::{Blob, CacheError, Key, Outputs};

use super::options::Run;
use crate::execute::reason::Reason;
use crate::execute::result::NodeResult;
use crate::execute::task::Task;
use crate::plan::{NodeIndex, Plan};

/// What a look-up found.
pub(super) enum Found {
    /// A record.
    Record(Key, Outputs),
    /// No record, or the node runs in spite of it.
    Stale(Box<Task>, Reason),
    /// An input lacks what the node needs.
    Unusable(String),
}

/// What an action of the schedule found.
pub(super) enum Answered {
    LookedUp(Found),
    Present(bool),
    Ready,
}

/// The task of a node whose upstream nodes have finished as `results` say.
///
/// # Errors
/// An input lacks an output or a column that the port needs.
pub(super) fn task(run: &Run<'_>, results: &[NodeResult], node: NodeIndex) -> Result<Task, String> {
    let node = &run.plan.nodes[node];
    Task::new(run.plan, node, run.ingredients, |upstream| &results[upstream].outputs)
}

/// Computes the node's key and looks for its record.
pub(super) fn look_up(
    run: &Run<'_>,
    results: &[NodeResult],
    forced: bool,
    node: NodeIndex,
) -> Result<Found, CacheError> {
    let task = match task(run, results, node) {
        Ok(task) => task,
        Err(message) => return Ok(Found::Unusable(message)),
    };
    if forced {
        return Ok(Found::Stale(Box::new(task), Reason::Forced));
    }
    if let Some(outputs) = run.store.outputs(&task.key)? {
        return Ok(Found::Record(task.key, outputs));
    }
    let reason = Reason::of(&task, (run.previous)(&run.plan.nodes[node].name));
    Ok(Found::Stale(Box::new(task), reason))
}

/// Whether the outputs that the node's record names are there. Those that the run's report is made from will be read, so
/// they are verified.
pub(super) fn are_present(run: &Run<'_>, result: &NodeResult, node: NodeIndex) -> Result<bool, CacheError> {
    for output in &ports_of(run.plan, node).outputs {
        let Some(artifact) = result.outputs.get(&output.name) else { return Ok(false) };
        if !run.store.present(artifact)? {
            return Ok(false);
        }
        if output.kind.is_reported() {
            for file in artifact.files() {
                if !matches!(run.store.blob(&file.digest)?, Blob::Present(_)) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

fn ports_of(plan: &Plan, node: NodeIndex) -> &dnc_stages::api::Ports {
    &plan.stage(&plan.nodes[node]).ports
}
