//! The loop of a run: does what the schedule says until every node that was asked for came to its end.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use std::{iter, mem, process};

use dnc_cache::{Blob, CacheError, Key, Outputs, Store};
use dnc_stages::context::InputArtifact;
use dnc_stages::device::DeviceChoice;
use rayon::prelude::*;

use super::budget::{Budget, Grant, Limits};
use super::held::Held;
use super::local::{self, Attempt, Incoming, Work};
use super::reason::Reason;
use super::retention::Retention;
use super::task::{Ingredients, Task, ambient_values};
use super::workers::{NodePool, Workers};
use super::{NodeResult, Outcome, whole_message};
use crate::fingerprint::Fingerprint;
use crate::plan::{Plan, Wire};
use crate::report::event::Event;
use crate::report::{Reporter, run_folder};
use crate::schedule::{NodeIndex, Schedule, State, Step};

/// How often a waiting run looks whether it was asked to stop.
const LOOK_FOR_STOP: Duration = Duration::from_millis(50);

/// Looks per piece of parallel work: some 100 µs.
const STEPS_AT_ONCE: usize = 16;

/// How a run is to be done.
pub struct Options {
    /// What it may use.
    pub limits: Limits,
    /// Where floats are computed.
    pub device: DeviceChoice,
    /// The nodes that are asked for; they and all above them are brought up to date.
    pub targets: Vec<NodeIndex>,
    /// For each node, whether it runs even if it has a record.
    pub forced: Vec<bool>,
    /// Whether each stale node runs twice, to compare.
    pub verify: bool,
}

/// What a run needs besides the plan.
pub struct Run<'run> {
    /// What is run.
    pub plan: &'run Plan,
    /// Where records and blobs are.
    pub store: &'run Store,
    /// What enters all keys.
    pub ingredients: &'run Ingredients,
    /// How.
    pub options: &'run Options,
    /// The fingerprint of a node in the last run that knew it.
    pub previous: &'run (dyn Fn(&str) -> Option<Fingerprint> + Sync),
    /// Who is told.
    pub reporter: &'run Reporter,
    /// Takes note of how far the nodes are. It is called often, whether or not one has ended.
    pub note: &'run (dyn Fn(&[NodeResult]) + Sync),
    /// Set when the user wants to stop.
    pub cancelled: &'run AtomicBool,
}

/// Brings the targets up to date and says what became of every node, in the plan's order. A node that fails is no error but
/// an outcome. The error beside them is that the store cannot be read or written at all, which ended the run.
pub fn execute(run: &Run<'_>) -> (Vec<NodeResult>, Result<(), CacheError>) {
    let mut forced = run.options.forced.clone();
    let mut before: Vec<NodeResult> = Vec::new();
    loop {
        let (mut results, walked) = pass(run, &mut forced, &before);
        let flushed = flush(run, &mut results);
        let again = match walked.and_then(|again| flushed.map(|()| again)) {
            Ok(again) => again,
            Err(error) => return (results, Err(error)),
        };
        // A hit on what this very run made is no hit.
        for (result, before) in results.iter_mut().zip(mem::take(&mut before)) {
            if result.outcome == Outcome::Hit && before.outcome == Outcome::Ran && result.key == before.key {
                *result = before;
            }
        }
        if !again || run.cancelled.load(Ordering::Relaxed) {
            return (results, Ok(()));
        }
        before = results;
        // Bytes that were believed to be there turned out otherwise. What was done is recorded, so looking at everything
        // anew costs little and is easier to trust than mending what was concluded from them.
    }
}

/// Waits until all that ran is recorded. What could not be has failed.
fn flush(run: &Run<'_>, results: &mut [NodeResult]) -> Result<(), CacheError> {
    let (keys, source) = match run.store.flush() {
        Err(CacheError::Commit { keys, source }) => (keys, source),
        other => return other,
    };
    for (node, result) in results.iter_mut().enumerate() {
        if result.outcome == Outcome::Ran && result.key.is_some_and(|key| keys.contains(&key)) {
            result.outputs.clear();
            result.error = Some(format!("It ran, but could not be recorded: {}", whole_message(&*source)));
            run.reporter.reopen();
            end(run, node, result, Outcome::Failed);
        }
    }
    Ok(())
}

/// A node on its way to a thread.
struct Start<'run> {
    node: NodeIndex,
    grant: Grant,
    work: Work<'run>,
    reason: Reason,
}

/// What came of a thread's work on a node.
struct Answer {
    node: NodeIndex,
    grant: Grant,
    attempt: Attempt,
    took: Duration,
    measured: BTreeMap<String, f64>,
}

/// One walk over the plan. The flag says that some bytes turned out otherwise than believed, so that the plan must be
/// walked again.
///
/// What failed in the walk before stays failed while its key is the same.
fn pass(run: &Run<'_>, forced: &mut [bool], before: &[NodeResult]) -> (Vec<NodeResult>, Result<bool, CacheError>) {
    let mut schedule = Schedule::new(run.plan.upstream(), &run.options.targets);
    let mut results: Vec<NodeResult> = run.plan.nodes.iter().map(|_| NodeResult::default()).collect();
    let mut budget = Budget::new(run.options.limits.clone());
    let mut again = false;
    let mut retention = Retention::new(run.plan, &run.options.targets);
    run.reporter.begin_pass();

    let walked = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let mut workers = Workers::new(scope, move |start, pool: &mut NodePool| {
            // The receiver outlives every thread of the scope.
            drop(sender.send(attempt(run, start, pool)));
        });
        let mut ready = Vec::new();
        let mut held = Held::default();
        let mut started = 0;
        // Leaving this scope waits for the workers, who need not finish for a run that has failed.
        let stop = |error: CacheError| {
            run.cancelled.store(true, Ordering::Relaxed);
            Err(error)
        };
        loop {
            let steps: Vec<Step> = iter::from_fn(|| schedule.next_step()).collect();
            if !steps.is_empty() {
                take_steps(run, &mut schedule, &mut results, before, forced, &mut ready, &steps).or_else(stop)?;
                continue;
            }
            if run.cancelled.load(Ordering::Relaxed) || again {
                ready.clear();
                held.clear();
            }
            ready.extend(held.take_due(Instant::now()));
            retention.apply(run.store, &results).or_else(stop)?;
            for start in choose_ready(run, &mut budget, &mut ready, &mut results, forced) {
                workers.start(start, budget.running());
                started += 1;
            }
            budget.spread();
            let next = held.next_due();
            if started == 0 && next.is_none() {
                return Ok(());
            }
            let pause = next.map_or(LOOK_FOR_STOP, |next| next.saturating_duration_since(Instant::now()));
            match receiver.recv_timeout(pause.min(LOOK_FOR_STOP)) {
                Ok(answer) => {
                    started -= 1;
                    again |= take_answer(run, &mut schedule, &mut results, &mut budget, &mut held, forced, answer);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the workers hold a sender"),
            }
            (run.note)(&results);
        }
    });
    let again = again && !run.cancelled.load(Ordering::Relaxed);
    for (node, result) in results.iter_mut().enumerate() {
        match schedule.state(node) {
            None | Some(State::Hit | State::Ran | State::Failed) => {}
            Some(State::Skipped) => end(run, node, result, Outcome::Skipped),
            Some(_) if again => {}
            Some(_) => end(run, node, result, Outcome::Cancelled),
        }
    }
    (results, walked.map(|()| again))
}

/// Does what can be done at once, and puts what has to run among the `ready`.
fn take_steps(
    run: &Run<'_>,
    schedule: &mut Schedule,
    results: &mut [NodeResult],
    before: &[NodeResult],
    forced: &[bool],
    ready: &mut Vec<NodeIndex>,
    steps: &[Step],
) -> Result<(), CacheError> {
    let see = |&step: &Step| {
        let seen = match step {
            Step::Look(node) => look(run, results, forced[node], node),
            Step::Secure(node) => is_secure(run, &results[node], node).map(Seen::Bytes),
            Step::Run(_) => Ok(Seen::Nothing),
        };
        (step, seen)
    };
    // Handing one or two to other threads and waiting for them takes longer than looking.
    let looked: Vec<(Step, Result<Seen, CacheError>)> = match steps.len() {
        ..=STEPS_AT_ONCE => steps.iter().map(see).collect(),
        _ => steps.par_iter().with_min_len(STEPS_AT_ONCE).map(see).collect(),
    };
    for object in run.store.set_aside() {
        run.reporter.notice(None, format!("`{object}` was damaged and is in quarantine; what it held is made again"));
    }
    for (step, seen) in looked {
        match (step, seen?) {
            (Step::Look(node), Seen::Record(key, outputs)) => {
                let result = &mut results[node];
                result.key = Some(key);
                result.outputs = outputs;
                schedule.found(node);
                end(run, node, result, Outcome::Hit);
            }
            (Step::Look(node), Seen::Stale(task, _)) if has_failed(before, node, &task) => {
                results[node] = before[node].clone();
                schedule.failed(node);
                run.reporter.finished_before();
            }
            (Step::Look(node), Seen::Stale(task, reason)) => {
                let result = &mut results[node];
                result.key = Some(task.key);
                result.task = Some(task);
                result.reason = Some(reason);
                schedule.stale(node);
            }
            (Step::Look(node), Seen::Wrong(message)) => {
                results[node].error = Some(message);
                schedule.failed(node);
                end(run, node, &mut results[node], Outcome::Failed);
            }
            (Step::Secure(node), Seen::Bytes(true)) => schedule.secured(node),
            (Step::Secure(node), _) => {
                run.reporter.reopen();
                results[node].reason = Some(Reason::Lost);
                schedule.lost(node);
            }
            (Step::Run(node), _) => ready.push(node),
            (Step::Look(_), Seen::Bytes(_) | Seen::Nothing) => unreachable!("a look sees a record or none"),
        }
    }
    Ok(())
}

/// Whether the task failed in the walk before.
fn has_failed(before: &[NodeResult], node: NodeIndex, task: &Task) -> bool {
    before.get(node).is_some_and(|before| before.outcome == Outcome::Failed && before.key == Some(task.key))
}

/// What a step that needs no running brought to light.
enum Seen {
    Record(Key, Outputs),
    Stale(Box<Task>, Reason),
    Wrong(String),
    Bytes(bool),
    Nothing,
}

fn look(run: &Run<'_>, results: &[NodeResult], forced: bool, node: NodeIndex) -> Result<Seen, CacheError> {
    let node = &run.plan.nodes[node];
    let task = match Task::new(run.plan, node, run.ingredients, results) {
        Ok(task) => task,
        Err(message) => return Ok(Seen::Wrong(message)),
    };
    if forced {
        return Ok(Seen::Stale(Box::new(task), Reason::Forced));
    }
    if let Some(outputs) = run.store.outputs(&task.key)? {
        return Ok(Seen::Record(task.key, outputs));
    }
    let reason = Reason::of(&task, (run.previous)(&node.name));
    Ok(Seen::Stale(Box::new(task), reason))
}

/// Whether the outputs that the node's record names are there. Those that the run's own tables are made of will be read,
/// so they are verified.
fn is_secure(run: &Run<'_>, result: &NodeResult, node: NodeIndex) -> Result<bool, CacheError> {
    let ports = &run.plan.stage(&run.plan.nodes[node]).ports;
    for output in &ports.outputs {
        let Some(artifact) = result.outputs.get(&output.name) else { return Ok(false) };
        if !run.store.present(artifact)? {
            return Ok(false);
        }
        if run_folder::HELD.contains(&output.kind) {
            for file in artifact.files() {
                if !matches!(run.store.blob(&file.digest)?, Blob::Present(_)) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// Takes as many of the ready nodes as there is room for, in order.
fn choose_ready<'run>(
    run: &'run Run<'_>,
    budget: &mut Budget,
    ready: &mut Vec<NodeIndex>,
    results: &mut [NodeResult],
    forced: &[bool],
) -> Vec<Start<'run>> {
    let mut waiting = Vec::new();
    let mut chosen = Vec::new();
    let mut candidates = mem::take(ready).into_iter();
    // A thousand may be ready, and each answer makes room for one.
    while !budget.is_spent()
        && let Some(node) = candidates.next()
    {
        let wanted = run.plan.wanted(&run.plan.nodes[node]);
        let Some(grant) = budget.grant(wanted, candidates.len()) else {
            waiting.push(node);
            continue;
        };
        let reason = results[node].reason.get_or_insert(Reason::Lost).clone();
        let work = work(run, results, &grant, forced[node], node);
        chosen.push(Start { node, grant, work, reason });
    }
    waiting.extend(candidates);
    *ready = waiting;
    chosen
}

/// Runs a node on a worker's thread.
fn attempt(run: &Run<'_>, start: Start<'_>, pool: &mut NodePool) -> Answer {
    let Start { node, grant, work, reason } = start;
    let name = &run.plan.nodes[node].name;
    if run.cancelled.load(Ordering::Relaxed) {
        return Answer { node, grant, attempt: Attempt::Cancelled, took: Duration::ZERO, measured: BTreeMap::new() };
    }
    let begin = || run.reporter.tell(&Event::NodeStarted { node: name.clone(), why: reason.to_string() });
    let observer = run.reporter.observer(name);
    let begun = Instant::now();
    let around = local::Around { store: run.store, observer: &observer, cancelled: run.cancelled };
    // The driver waits for an answer, whatever happens here.
    let attempt = panic::catch_unwind(AssertUnwindSafe(|| local::attempt(work, &around, pool, &begin)));
    let attempt = attempt.unwrap_or_else(|payload| {
        let told = local::text_of(payload.as_ref());
        Attempt::Failed(format!("It panicked outside of its stage (a defect, please report it): {told}"))
    });
    Answer { node, grant, attempt, took: begun.elapsed(), measured: observer.into_measured() }
}

fn work<'run>(
    run: &'run Run<'_>,
    results: &mut [NodeResult],
    grant: &Grant,
    forced: bool,
    index: NodeIndex,
) -> Work<'run> {
    let plan = run.plan;
    let task = results[index].task.take();
    let node = &plan.nodes[index];
    let incoming = |wire: &Wire| {
        let feeds = wire.feeds.iter().map(|feed| Incoming {
            artifact: InputArtifact {
                node: plan.nodes[feed.node].name.clone(),
                kind: feed.kind,
                files: Vec::new(),
                columns: wire.columns.clone(),
            },
            stored: results[feed.node].outputs[&feed.output].clone(),
        });
        (wire.port.clone(), feeds.collect())
    };
    Work {
        node: &node.name,
        job: plan.stage(node).job.as_ref(),
        // A node whose bytes were lost was looked at, but as a hit.
        task: task.map_or_else(
            || Task::new(plan, node, run.ingredients, results).expect("it was made when the node was looked at"),
            |task| *task,
        ),
        inputs: node.inputs.iter().map(incoming).collect(),
        sources: &run.ingredients.sources[node.stage],
        ambient: ambient_values(plan, node),
        device: grant.gpu.map_or(run.options.device, DeviceChoice::Cuda),
        share: Arc::clone(&grant.share),
        previous: (run.previous)(&node.name),
        forced,
        verify: run.options.verify,
    }
}

/// Notes what came of a node that was running; `true` if the plan must be walked again.
fn take_answer(
    run: &Run<'_>,
    schedule: &mut Schedule,
    results: &mut [NodeResult],
    budget: &mut Budget,
    held: &mut Held,
    forced: &mut [bool],
    answer: Answer,
) -> bool {
    let Answer { node, grant, attempt, took, measured } = answer;
    budget.give_back(grant);
    let result = &mut results[node];
    result.took = took;
    result.measured = measured;
    let believed = !result.outputs.is_empty();
    match attempt {
        Attempt::Ran { outputs, differs } => {
            forced[node] = false;
            if let Some(place) = &differs {
                let message = format!("not reproducible: `{place}` is not as recorded for the same key");
                run.reporter.notice(Some(&run.plan.nodes[node].name), message);
            }
            result.outputs = outputs;
            schedule.ran(node);
            end(run, node, result, Outcome::Ran);
            believed && differs.is_some()
        }
        Attempt::Found(outputs) => {
            result.outputs = outputs;
            result.reason = None;
            schedule.ran(node);
            end(run, node, result, Outcome::Hit);
            false
        }
        Attempt::Failed(message) => {
            result.error = Some(message);
            schedule.failed(node);
            end(run, node, result, Outcome::Failed);
            false
        }
        Attempt::Held(holder) => {
            if held.note(node, holder, Instant::now()) {
                let holder = match holder {
                    // Two nodes may have one key.
                    Some(id) if id == process::id() => "another node of this run".to_owned(),
                    Some(id) => format!("process {id}"),
                    None => "another process".to_owned(),
                };
                run.reporter.tell(&Event::NodeWaits { node: run.plan.nodes[node].name.clone(), holder });
            }
            false
        }
        Attempt::InputLost => true,
        Attempt::Cancelled => false,
    }
}

fn end(run: &Run<'_>, node: NodeIndex, result: &mut NodeResult, outcome: Outcome) {
    result.outcome = outcome;
    run.reporter.finished(&run.plan.nodes[node].name, result);
}
