//! Reading through: what the store lacks is looked for in the run's remote before it is computed.

use std::collections::BTreeMap;

use dnc_cache::{CacheError, Key, Outputs};

use super::lookup::{Answered, Found, are_present};
use super::options::Run;
use crate::execute::result::NodeResult;
use crate::schedule::Action;

/// An action of the schedule, and what was found.
pub(super) type Answer = (Action, Result<Answered, CacheError>);

/// Replaces the answers about what the store lacks by those of the remote: records of stale nodes, without their bytes, and
/// bytes that somebody needs now. All requests of a call are sent together.
pub(super) fn read_through(run: &Run<'_>, results: &[NodeResult], forced: &[bool], answers: &mut [Answer]) {
    let Some(remote) = run.remote else { return };
    let missing: Vec<Key> = answers.iter().filter_map(|answer| missing_record(answer, forced)).collect();
    if !missing.is_empty() {
        let found: BTreeMap<Key, Outputs> = remote.look_up(run.store, &missing);
        for answer in answers.iter_mut() {
            let outputs = missing_record(answer, forced).and_then(|key| Some((key, found.get(&key)?.clone())));
            if let Some((key, outputs)) = outputs {
                answer.1 = Ok(Answered::LookedUp(Found::Record(key, outputs)));
            }
        }
    }
    let lacks_bytes = |answer: &Answer| match answer {
        (Action::CheckBytes(node), Ok(Answered::Present(false))) => Some(*node),
        _ => None,
    };
    let keys: Vec<Key> = answers.iter().filter_map(|answer| results[lacks_bytes(answer)?].key).collect();
    if keys.is_empty() {
        return;
    }
    remote.fetch(run.store, &keys);
    for answer in answers {
        if let Some(node) = lacks_bytes(answer) {
            answer.1 = are_present(run, &results[node], node).map(Answered::Present);
        }
    }
}

/// The key of a node that has no record and may be a hit.
fn missing_record(answer: &Answer, forced: &[bool]) -> Option<Key> {
    match answer {
        (Action::LookUp(node), Ok(Answered::LookedUp(Found::Stale(task, _)))) if !forced[*node] => Some(task.key),
        _ => None,
    }
}
