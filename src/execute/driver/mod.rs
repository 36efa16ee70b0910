//! The loop of a run: does what the schedule says until every target and everything upstream of it has finished.
//!
//! Reading order: this file (a run, which may walk the plan several times), [`pass`] (one walk), [`lookup`] (what is found
//! without running anything), [`read_through`] (what a remote has).

mod lookup;
mod options;
mod pass;
mod read_through;

use std::mem;
use std::sync::atomic::Ordering;

use dnc_cache::{CacheError, Key};

pub use options::{Options, Run};
use pass::Pass;

use super::event::Event;
use super::executor::Executor;
use super::outcome::Outcome;
use super::result::{NodeResult, not_recorded};

/// Brings the targets up to date and returns what became of each node, in the plan's order. A node that fails is an outcome and
/// not an error. The error means that the store cannot be read or written at all, which ended the run.
pub fn execute(run: &Run<'_>, executor: &mut dyn Executor) -> (Vec<NodeResult>, Result<(), CacheError>) {
    let mut forced = run.options.forced.clone();
    let mut before: Vec<NodeResult> = Vec::new();
    loop {
        let (mut results, walked) = Pass::new(run, &mut forced, &before).walk(executor);
        if let Err(CacheError::Commit { keys, source }) = &walked {
            // A walk waits for records itself before it drops anything.
            fail_unrecorded(run, &mut results, keys, source);
        }
        let flushed = flush(run, &mut results);
        let again = match walked.and_then(|again| flushed.map(|()| again)) {
            Ok(again) => again,
            Err(error) => return (results, Err(error)),
        };
        // A hit on what this very run computed is not a hit.
        for (result, before) in results.iter_mut().zip(mem::take(&mut before)) {
            if result.outcome == Outcome::Hit && before.outcome == Outcome::Ran && result.key == before.key {
                *result = before;
            }
        }
        if !again || run.stop.load(Ordering::Relaxed) {
            return (results, Ok(()));
        }
        // Bytes that were thought to be there are not. What ran is recorded, so walking the whole plan again costs little and
        // is easier to trust than correcting what was concluded from them.
        before = results;
    }
}

/// Waits until everything that ran is recorded. Nodes whose record cannot be written have failed.
fn flush(run: &Run<'_>, results: &mut [NodeResult]) -> Result<(), CacheError> {
    match run.store.flush() {
        Err(CacheError::Commit { keys, source }) => {
            fail_unrecorded(run, results, &keys, &source);
            Ok(())
        }
        other => other,
    }
}

/// Turns the nodes that ran, but whose records could not be written, into failed ones.
fn fail_unrecorded(run: &Run<'_>, results: &mut [NodeResult], keys: &[Key], source: &CacheError) {
    let nodes = run.plan.above(&run.options.targets).iter().filter(|&&wanted| wanted).count();
    for (node, result) in run.plan.nodes.iter().zip(results) {
        if result.outcome == Outcome::Ran && result.key.is_some_and(|key| keys.contains(&key)) {
            result.outputs.clear();
            result.outcome = Outcome::Failed;
            let message = not_recorded(source);
            result.error = Some(message.clone());
            run.listener.event(&Event::NodeFinished {
                node: node.name.clone(),
                outcome: Outcome::Failed,
                took: result.usage.took,
                error: Some(message),
                finished: nodes,
                nodes,
            });
        }
    }
}
