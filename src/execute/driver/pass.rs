//! One walk over the plan.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{iter, mem};

use dnc_cache::CacheError;
use rayon::prelude::*;

use super::lookup::{Answered, Found, are_present, look_up, task};
use super::options::Run;
use super::read_through::{self, read_through};
use crate::execute::elsewhere::ComputedElsewhere;
use crate::execute::event::Event;
use crate::execute::executor::Executor;
use crate::execute::outcome::Outcome;
use crate::execute::reason::Reason;
use crate::execute::result::NodeResult;
use crate::execute::retention::Retention;
use crate::execute::warnings::warnings_in;
use crate::execute::work::{Answer, Attempt, Work, WorkInput};
use crate::plan::{Needs, NodeIndex, Wire};
use crate::schedule::{Action, Schedule, State};

/// How often a waiting run checks whether it was asked to stop.
const CHECK_FOR_STOP: Duration = Duration::from_millis(50);

/// Look-ups per piece of parallel work: about 100 µs.
const LOOK_UPS_AT_ONCE: usize = 16;

/// One walk over the plan.
///
/// A node that failed in the walk before stays failed as long as its key is the same.
pub(super) struct Pass<'run, 'r> {
    run: &'run Run<'run>,
    forced: &'r mut [bool],
    before: &'r [NodeResult],
    schedule: Schedule,
    results: Vec<NodeResult>,
    retention: Retention<'run>,
    /// Nodes that can run as soon as the executor has room.
    ready: Vec<NodeIndex>,
    elsewhere: ComputedElsewhere,
    /// Number of pieces of work that are not answered yet.
    running: usize,
    /// Number of nodes that have finished, and of all that will.
    finished: usize,
    nodes: usize,
    /// Whether bytes that were thought to be there are not, so that the plan must be walked again.
    again: bool,
}

impl<'run, 'r> Pass<'run, 'r> {
    /// A walk in which the nodes marked `forced` run in any case.
    pub(super) fn new(run: &'run Run<'run>, forced: &'r mut [bool], before: &'r [NodeResult]) -> Self {
        let (plan, targets) = (run.plan, &run.options.targets);
        let schedule = Schedule::new(plan.upstream(), targets);
        Self {
            run,
            forced,
            before,
            nodes: schedule.unfinished(),
            schedule,
            results: plan.nodes.iter().map(|_| NodeResult::default()).collect(),
            retention: Retention::new(plan, targets),
            ready: Vec::new(),
            elsewhere: ComputedElsewhere::default(),
            running: 0,
            finished: 0,
            again: false,
        }
    }

    /// Walks until nothing is left to do. Returns the results and whether the plan must be walked again.
    pub(super) fn walk(mut self, executor: &mut dyn Executor) -> (Vec<NodeResult>, Result<bool, CacheError>) {
        let walked = self.work_off(executor);
        if walked.is_err() {
            // Work under way is of no use to a run that has failed.
            self.run.stop.store(true, Ordering::Relaxed);
            executor.cancel();
        }
        let again = self.again && !self.run.stop.load(Ordering::Relaxed);
        for node in 0..self.results.len() {
            match self.schedule.state(node) {
                None | Some(State::Hit | State::Ran | State::Failed) => {}
                Some(State::Skipped) => self.finish(node, Outcome::Skipped),
                Some(_) if again => {}
                Some(_) => self.finish(node, Outcome::Cancelled),
            }
        }
        (self.results, walked.map(|()| again))
    }

    fn work_off(&mut self, executor: &mut dyn Executor) -> Result<(), CacheError> {
        let mut is_cancelled = false;
        loop {
            let actions: Vec<Action> = iter::from_fn(|| self.schedule.next_action()).collect();
            if !actions.is_empty() {
                self.act(&actions)?;
                continue;
            }
            let is_stopped = self.run.stop.load(Ordering::Relaxed);
            if is_stopped || self.again {
                self.ready.clear();
                self.elsewhere.clear();
            }
            if is_stopped && !mem::replace(&mut is_cancelled, true) {
                executor.cancel();
            }
            self.ready.extend(self.elsewhere.take_due(Instant::now()));
            self.retention.apply(self.run.store, &self.results)?;
            self.submit_ready(executor);
            let next = self.elsewhere.next_due();
            if self.running == 0 && next.is_none() {
                return Ok(());
            }
            let pause = next.map_or(CHECK_FOR_STOP, |next| next.saturating_duration_since(Instant::now()));
            if let Some(answer) = executor.poll(pause.min(CHECK_FOR_STOP)) {
                self.take(answer);
            }
            (self.run.checkpoint)(&self.results);
        }
    }

    /// Does what can be done at once, and adds what has to run to the ready nodes.
    fn act(&mut self, actions: &[Action]) -> Result<(), CacheError> {
        let (run, results, forced) = (self.run, &self.results, &*self.forced);
        let answer = |&action: &Action| {
            let answered = match action {
                Action::LookUp(node) => look_up(run, results, forced[node], node).map(Answered::LookedUp),
                Action::CheckBytes(node) => are_present(run, &results[node], node).map(Answered::Present),
                Action::Run(_) => Ok(Answered::Ready),
            };
            (action, answered)
        };
        // Handing a few look-ups to other threads and waiting for them takes longer than doing them.
        let mut answered: Vec<read_through::Answer> = match actions.len() {
            ..=LOOK_UPS_AT_ONCE => actions.iter().map(answer).collect(),
            _ => actions.par_iter().with_min_len(LOOK_UPS_AT_ONCE).map(answer).collect(),
        };
        read_through(run, results, forced, &mut answered);
        for object in run.store.take_quarantined() {
            let message = format!("`{object}` was damaged and moved to quarantine; its contents are computed again");
            run.listener.event(&Event::Notice { node: None, message });
        }
        for (action, answered) in answered {
            match (action, answered?) {
                (Action::LookUp(node), Answered::LookedUp(found)) => self.looked_up(node, found),
                (Action::CheckBytes(node), Answered::Present(true)) => self.schedule.present(node),
                (Action::CheckBytes(node), _) => {
                    self.finished -= 1;
                    self.results[node].reason = Some(Reason::Lost);
                    self.schedule.lost(node);
                }
                (Action::Run(node), _) => self.ready.push(node),
                (Action::LookUp(_), _) => unreachable!("a look-up is answered by what it found"),
            }
        }
        Ok(())
    }

    fn looked_up(&mut self, node: NodeIndex, found: Found) {
        match found {
            Found::Record(key, outputs) => {
                self.results[node].key = Some(key);
                self.results[node].outputs = outputs;
                self.schedule.found(node);
                self.finish(node, Outcome::Hit);
                self.warn(node);
            }
            Found::Stale(task, _) if has_failed(self.before.get(node), task.key) => {
                self.results[node] = self.before[node].clone();
                self.schedule.failed(node);
                // Its end was reported in the walk before.
                self.finished += 1;
            }
            Found::Stale(task, reason) => {
                let result = &mut self.results[node];
                result.key = Some(task.key);
                result.task = Some(task);
                result.reason = Some(reason);
                self.schedule.stale(node);
            }
            Found::Unusable(message) => {
                self.results[node].error = Some(message);
                self.schedule.failed(node);
                self.finish(node, Outcome::Failed);
            }
        }
    }

    /// Submits as many of the ready nodes as there is room for, in order.
    fn submit_ready(&mut self, executor: &mut dyn Executor) {
        let mut waiting = Vec::new();
        let mut candidates = mem::take(&mut self.ready).into_iter();
        // A thousand may be ready while each answer makes room for one.
        while !executor.is_full()
            && let Some(node) = candidates.next()
        {
            let planned = &self.run.plan.nodes[node];
            let needs = self.run.plan.needs(planned);
            if executor.has_room(&self.run.plan.stage(planned).name, &needs) {
                let work = self.work(node, needs);
                self.results[node].began = Some(Instant::now());
                executor.submit(work, candidates.len());
                self.running += 1;
            } else {
                waiting.push(node);
            }
        }
        waiting.extend(candidates);
        self.ready = waiting;
    }

    fn work(&mut self, index: NodeIndex, needs: Needs) -> Work {
        let (run, plan) = (self.run, self.run.plan);
        let node = &plan.nodes[index];
        // The bytes of a hit turned out to be lost: then its task was not kept.
        let task = self.results[index].task.take().map_or_else(
            || task(run, &self.results, index).expect("it was made when the node was looked up"),
            |task| *task,
        );
        let why = self.results[index].reason.get_or_insert(Reason::Lost).to_string();
        let inputs = |wire: &Wire| {
            let feeds = wire.feeds.iter().map(|feed| WorkInput {
                node: plan.nodes[feed.node].name.clone(),
                kind: feed.kind,
                columns: wire.columns.clone(),
                artifact: self.results[feed.node].outputs[&feed.output].clone(),
            });
            (wire.port.clone(), feeds.collect())
        };
        Work {
            index,
            node: node.name.clone(),
            stage: plan.stage(node).name.clone(),
            why,
            task,
            params: plan.stage(node).params.clone(),
            inputs: node.inputs.iter().map(inputs).collect(),
            sources: run.ingredients.sources[node.stage].clone(),
            needs,
            device: run.options.device,
            previous: (run.previous)(&node.name),
            forced: self.forced[index],
            verify: run.options.verify,
            memory_remedy: None,
        }
    }

    /// Notes how an attempt ended.
    fn take(&mut self, answer: Answer) {
        let Answer { index: node, attempt, usage, warnings } = answer;
        self.running -= 1;
        let result = &mut self.results[node];
        result.usage = usage;
        result.warnings = warnings;
        let was_known = !result.outputs.is_empty();
        match attempt {
            Attempt::Ran { outputs, differs } => {
                self.forced[node] = false;
                result.outputs = outputs;
                if let Some(location) = &differs {
                    let message = format!("not reproducible: `{location}` differs from the record of the same key");
                    let node = Some(self.run.plan.nodes[node].name.clone());
                    self.run.listener.event(&Event::Notice { node, message });
                }
                self.schedule.ran(node);
                self.finish(node, Outcome::Ran);
                self.warn(node);
                self.again |= was_known && differs.is_some();
            }
            Attempt::Found { outputs } => {
                result.outputs = outputs;
                result.reason = None;
                self.schedule.ran(node);
                self.finish(node, Outcome::Hit);
                self.warn(node);
            }
            Attempt::Failed { message } => {
                result.error = Some(message);
                self.schedule.failed(node);
                self.finish(node, Outcome::Failed);
            }
            Attempt::Claimed { holder } => {
                if self.elsewhere.add(node, holder, Instant::now()) {
                    // Two nodes may have one key; each may run in a process of its own.
                    let has_key = |other: &NodeResult| other.began.is_some() && other.key == self.results[node].key;
                    let has_twin = (0..self.results.len()).any(|other| other != node && has_key(&self.results[other]));
                    let holder = match holder {
                        _ if has_twin => "another node of this run".to_owned(),
                        Some(id) => format!("process {id}"),
                        None => "another process".to_owned(),
                    };
                    let node = self.run.plan.nodes[node].name.clone();
                    self.run.listener.event(&Event::NodeWaits { node, holder });
                }
            }
            Attempt::InputLost => self.again = true,
            Attempt::Cancelled if self.run.stop.load(Ordering::Relaxed) => {}
            Attempt::Cancelled => {
                result.error = Some("Its process was asked to stop by somebody else than this run".to_owned());
                self.schedule.failed(node);
                self.finish(node, Outcome::Failed);
            }
        }
    }

    /// Shows the warnings in the outputs of a node that were not shown yet.
    fn warn(&mut self, node: NodeIndex) {
        let plan = self.run.plan;
        let found = warnings_in(self.run.store, plan, &plan.nodes[node], &self.results[node].outputs);
        for message in found {
            let is_known = |result: &NodeResult| result.warnings.contains(&message);
            if is_known(&self.results[node]) {
                continue;
            }
            if !self.before.get(node).is_some_and(is_known) {
                let node = plan.nodes[node].name.clone();
                self.run.listener.event(&Event::Warning { node, message: message.clone() });
            }
            self.results[node].warnings.push(message);
        }
    }

    fn finish(&mut self, node: NodeIndex, outcome: Outcome) {
        self.finished += 1;
        let result = &mut self.results[node];
        result.outcome = outcome;
        self.run.listener.event(&Event::NodeFinished {
            node: self.run.plan.nodes[node].name.clone(),
            outcome,
            took: result.usage.took,
            error: result.error.clone(),
            finished: self.finished,
            nodes: self.nodes,
        });
    }
}

/// Whether the task with this key failed in the walk before.
fn has_failed(before: Option<&NodeResult>, key: dnc_cache::Key) -> bool {
    before.is_some_and(|before| before.outcome == Outcome::Failed && before.key == Some(key))
}
