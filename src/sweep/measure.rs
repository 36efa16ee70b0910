//! Runs of trials, several at once: each is found among the runs that exist, or made.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use dnc_cache::Store;

use super::file::SweepFile;
use super::known::KnownRuns;
use super::trial::{Reached, Rung, Trial, TrialRun};
use crate::execute::budget::Limits;
use crate::execute::forecast::Forecast;
use crate::execute::remote::{RemotePlace, RunRemote};
use crate::manifest::Override;
use crate::plan::Plan;
use crate::report::reporter::Reporter;
use crate::report::sinks::{self, Sink};
use crate::session::{ExecutorChoice, RunOptions, Session, SessionError};
use crate::sync::lock;

/// How trials are run.
pub struct SweepOptions<'a> {
    /// The options of a run of a plan.
    pub configure: &'a (dyn Fn(&Session, &Plan) -> Result<RunOptions, SessionError> + Sync),
    /// Number of runs at once.
    pub parallel: usize,
    /// Whether trials that failed in an earlier call run again.
    pub retry_failed: bool,
    /// Whether nothing runs.
    pub dry_run: bool,
    /// Hears of the runs.
    pub listener: &'a dyn SweepListener,
    /// Set when the user asks to stop.
    pub stop: &'a Arc<AtomicBool>,
}

/// Hears of the runs of a sweep, from several threads.
pub trait SweepListener: Sync {
    /// Shows what concerns no run but the sweep as a whole.
    fn sink(&self) -> Box<dyn Sink>;
    /// A run starts; the sink shows its progress.
    fn starts(&self, run: &TrialRun) -> Box<dyn Sink>;
    /// A run ended, or was found to have ended earlier.
    fn ended(&self, run: &TrialRun, reached: &Reached, was_known: bool);
}

/// Runs the trials of one sweep.
pub(super) struct Measurer<'a> {
    pub(super) file: &'a SweepFile,
    /// The session of the sweep's manifest, whose name is that of the sweep.
    pub(super) session: &'a Session,
    pub(super) options: &'a SweepOptions<'a>,
    pub(super) known: KnownRuns,
    /// The store, to look things up.
    pub(super) store: Store,
    /// The remote that runs have sent to.
    pub(super) remote: Mutex<Option<RemotePlace>>,
}

/// A trial with a seed, as indices.
type Job = (usize, usize);

impl Measurer<'_> {
    /// Runs these trials with all seeds until `round`, and adds what they reached. Of a trial that fails with a seed, the later ones
    /// need not run.
    pub(super) fn measure(&self, trials: &mut [&mut Trial], round: Option<u32>) -> Result<(), SessionError> {
        let seeds = self.seeds();
        let jobs = (0..trials.len()).flat_map(|trial| (0..seeds.len()).map(move |seed| (trial, seed)));
        let jobs: Mutex<VecDeque<Job>> = Mutex::new(jobs.collect());
        let reached: Mutex<Vec<Vec<Option<Reached>>>> = Mutex::new(vec![vec![None; seeds.len()]; trials.len()]);
        let shown: &[&mut Trial] = trials;
        let work = |worker: usize| -> Result<(), SessionError> {
            loop {
                let Some((trial, seed)) = lock(&jobs).pop_front() else { return Ok(()) };
                let has_failed = |reached: &Option<Reached>| matches!(reached, Some(Reached::Failed { .. }));
                if lock(&reached)[trial][..seed].iter().any(has_failed) {
                    continue;
                }
                let ended = self.run(shown[trial], seeds[seed], round, worker).inspect_err(|_| {
                    // The other runs end as well.
                    lock(&jobs).clear();
                    self.options.stop.store(true, Ordering::Relaxed);
                })?;
                lock(&reached)[trial][seed] = Some(ended);
            }
        };
        let ended: Vec<Result<(), SessionError>> = thread::scope(|scope| {
            let workers: Vec<_> = (1..self.options.parallel).map(|worker| scope.spawn(move || work(worker))).collect();
            let first = work(0);
            let joined = workers.into_iter().map(|worker| worker.join().expect("a run's panic is caught below"));
            std::iter::once(first).chain(joined).collect()
        });
        // Of several, the cause is the error that is not the stop of the others.
        let (interrupted, errors): (Vec<_>, Vec<_>) =
            ended.into_iter().filter_map(Result::err).partition(|error| matches!(error, SessionError::Interrupted));
        if let Some(error) = errors.into_iter().chain(interrupted).next() {
            return Err(error);
        }
        for (trial, reached) in trials.iter_mut().zip(lock(&reached).drain(..)) {
            let failed = reached.iter().position(|reached| matches!(reached, Some(Reached::Failed { .. })));
            let counted = failed.map_or(reached.len(), |failed| failed + 1);
            let seeds = reached.into_iter().take(counted).flatten().collect();
            trial.rungs.push(Rung { round, seeds });
        }
        Ok(())
    }

    /// Says in the remote which keys the runs reference, if any has sent something.
    pub(super) fn keep_in_remote(&self) {
        if let Some(place) = lock(&self.remote).take() {
            let reporter = Arc::new(Reporter::new(self.options.listener.sink()));
            self.session.keep_in_remote(&RunRemote::new(place, reporter), &self.store);
        }
    }

    /// The seeds of every trial; `None` for that of the manifest.
    fn seeds(&self) -> Vec<Option<u64>> {
        if self.file.seeds.is_empty() { vec![None] } else { self.file.seeds.iter().copied().map(Some).collect() }
    }

    /// The session of a trial with a seed.
    pub(super) fn session_of(&self, texts: &[String], seed: Option<u64>) -> Result<Session, SessionError> {
        let mut overrides = Vec::new();
        for (dimension, text) in self.file.space.dimensions.iter().zip(texts) {
            overrides.push(Override::of_space(&dimension.key, text)?);
        }
        overrides.extend(seed.map(|seed| Override::set(&format!("seed={seed}"))).transpose()?);
        Ok(self.session.clone().with(overrides))
    }

    fn run(
        &self,
        trial: &Trial,
        seed: Option<u64>,
        round: Option<u32>,
        worker: usize,
    ) -> Result<Reached, SessionError> {
        let label = self.file.space.label(&trial.texts);
        let told = TrialRun { trial: trial.number, trials: self.file.trials, seed, round, label };
        let SweepOptions { listener, stop, retry_failed, .. } = *self.options;
        if stop.load(Ordering::Relaxed) {
            return Err(SessionError::Interrupted);
        }
        let session = self.session_of(&trial.texts, seed)?;
        // Settings that a sampler proposed from results were not checked before the first run.
        let planned = session.plan().map(|plan| (self.file.objective.node_of(&plan, round), plan));
        let (node, plan) = match planned {
            Ok((node, plan)) => (node.map_err(SessionError::Call)?, plan),
            Err(SessionError::Manifest(problems)) => {
                let title = problems.problems().first().map(|problem| problem.title.clone()).unwrap_or_default();
                let reached = Reached::Failed { reason: format!("The manifest is invalid: {title}"), run: None };
                listener.ended(&told, &reached, false);
                return Ok(reached);
            }
            Err(error) => return Err(error),
        };
        let mut options = (self.options.configure)(&session, &plan)?.until(&plan, &node)?;
        share(&mut options, worker, self.options.parallel)?;
        let wanted = plan.above(&options.options.targets);
        let names = plan.nodes.iter().zip(wanted).filter_map(|(node, wanted)| wanted.then_some(node.name.as_str()));
        let names: Vec<&str> = names.collect();

        let known = self.known.of(&plan, &session.project().root, &names, retry_failed);
        if !known.is_empty() || self.options.dry_run {
            let quiet = Reporter::new(sinks::choose(None, true));
            let history = session.history(&plan);
            let forecasts = session.forecast(&plan, &options.options, &self.store, &history, &quiet)?;
            if let Some(run) = known.iter().find(|run| run.agrees(&plan, &forecasts)) {
                let reached = run.reached(&names, &node, &self.file.objective)?;
                listener.ended(&told, &reached, true);
                return Ok(reached);
            }
            if self.options.dry_run {
                let count = |is_it: fn(&Forecast) -> bool| forecasts.iter().filter(|forecast| is_it(forecast)).count();
                let hit = count(|forecast| matches!(forecast, Forecast::Hit { .. }));
                return Ok(Reached::NotRun { hit, stale: names.len() - hit });
            }
        }

        options.keep_in_remote = false;
        let run = session.run(&plan, &options, listener.starts(&told), stop)?;
        if options.push && run.used_remote {
            *lock(&self.remote) = options.remote;
        }
        if run.interrupted {
            return Err(SessionError::Interrupted);
        }
        let known = self.known.add(run.folder.clone()).ok_or_else(|| {
            let action = format!("Cannot read the run `{}` that has just ended", run.folder.id());
            SessionError::Environment { action, source: "its folder is incomplete".into() }
        })?;
        let reached = known.reached(&names, &node, &self.file.objective)?;
        listener.ended(&told, &reached, false);
        Ok(reached)
    }
}

/// Gives one of several runs at once its share of this machine. Jobs of a cluster have machines of their own.
fn share(options: &mut RunOptions, worker: usize, parallel: usize) -> Result<(), SessionError> {
    if parallel == 1 || options.executor == ExecutorChoice::Slurm {
        return Ok(());
    }
    let Limits { jobs, threads, memory, gpus } = &mut options.limits;
    if !gpus.is_empty() && gpus.len() < parallel {
        return Err(SessionError::Call(format!(
            "{parallel} runs at once need a GPU each, but there {}; set `--parallel` to {} or name more with `--gpus`",
            if gpus.len() == 1 { "is 1".to_owned() } else { format!("are {}", gpus.len()) },
            gpus.len()
        )));
    }
    *jobs = (*jobs / parallel).max(1);
    *threads = (*threads / parallel).max(1);
    *memory /= parallel as u64;
    *gpus = gpus.iter().copied().skip(worker).step_by(parallel).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_at_once_share_the_machine() {
        let options = |gpus: &[usize], executor| RunOptions {
            options: crate::execute::driver::Options {
                device: dnc_stages::api::DeviceChoice::Cpu,
                targets: Vec::new(),
                forced: Vec::new(),
                verify: false,
            },
            limits: Limits { jobs: 10, threads: 8, memory: 900, gpus: gpus.to_vec() },
            executor,
            remote: None,
            push: false,
            keep_in_remote: true,
        };
        let check = |gpus: &[usize], executor, worker, parallel, expected: (usize, usize, u64, &[usize])| {
            let mut options = options(gpus, executor);
            share(&mut options, worker, parallel).expect("there are enough GPUs");
            let Limits { jobs, threads, memory, gpus } = &options.limits;
            assert_eq!((*jobs, *threads, *memory, gpus.as_slice()), expected);
        };
        check(&[], ExecutorChoice::Local, 0, 1, (10, 8, 900, &[]));
        check(&[], ExecutorChoice::Local, 2, 3, (3, 2, 300, &[]));
        check(&[], ExecutorChoice::Process, 0, 20, (1, 1, 45, &[]));
        check(&[0, 1, 4, 5], ExecutorChoice::Local, 1, 2, (5, 4, 450, &[1, 5]));
        check(&[0], ExecutorChoice::Slurm, 1, 2, (10, 8, 900, &[0]));
        let error = share(&mut options(&[0], ExecutorChoice::Local), 0, 2).expect_err("two runs cannot share a GPU");
        assert_eq!(
            error.to_string(),
            "2 runs at once need a GPU each, but there is 1; set `--parallel` to 1 or name more with `--gpus`"
        );
    }
}
