//! The course of a sweep: proposes trials, runs them, and lets the best go on.

use std::collections::HashSet;
use std::sync::Mutex;

use rayon::prelude::*;

use super::file::SweepFile;
use super::known::KnownRuns;
use super::measure::{Measurer, SweepOptions};
use super::samplers::{Sampler, Told, propose};
use super::trial::Trial;
use crate::manifest::Override;
use crate::session::{Session, SessionError};

/// A sweep of a manifest in a project.
pub struct Sweep<'a> {
    file: &'a SweepFile,
    session: Session,
}

/// What a sweep came to.
pub struct Course {
    /// Its trials, by number.
    pub trials: Vec<Trial>,
    /// The rounds at which trials are compared; one `None` in a sweep without halving.
    pub rungs: Vec<Option<u32>>,
}

impl<'a> Sweep<'a> {
    /// A sweep whose manifest is that of the session.
    ///
    /// # Errors
    /// The name of the sweep cannot be that of a manifest.
    pub fn new(file: &'a SweepFile, session: Session) -> Result<Self, SessionError> {
        let name = Override::set(&format!("name=\"{}\"", file.name))?;
        Ok(Self { file, session: session.with([name]) })
    }

    /// Runs what has not run yet; with `dry_run`, only reports what would run.
    ///
    /// # Errors
    /// A setting does not fit the manifest, the objective is not measured, the user stopped it, or the machine failed. A trial that
    /// fails is no error.
    pub fn run(&self, options: &SweepOptions<'_>) -> Result<Course, SessionError> {
        let file = self.file;
        let rungs: Vec<Option<u32>> = file
            .halving
            .as_ref()
            .map_or_else(|| vec![None], |halving| halving.rungs.iter().copied().map(Some).collect());
        let known = KnownRuns::read(&self.session.project().runs, &file.name)?;
        // A sweep that only looks creates no store; runs do.
        let store = self.session.store_to_read()?;
        let measurer = Measurer { file, session: &self.session, options, known, store, remote: Mutex::default() };
        let trials = self.trials(&measurer, &rungs);
        // Also for the runs of a sweep that was stopped.
        measurer.keep_in_remote();
        Ok(Course { trials: trials?, rungs })
    }

    /// Runs the trials as far as their results allow.
    fn trials(&self, measurer: &Measurer<'_>, rungs: &[Option<u32>]) -> Result<Vec<Trial>, SessionError> {
        let file = self.file;
        let sampler = file.method.sampler(&file.space, file.seed);
        let mut trials: Vec<Trial> = Vec::new();

        while trials.len() < file.trials {
            let before = trials.len();
            self.propose_more(sampler.as_ref(), &mut trials);
            if before == 0 {
                self.check(measurer, &trials, rungs)?;
            }
            measurer.measure(&mut trials[before..].iter_mut().collect::<Vec<_>>(), rungs[0])?;
            if is_open(&trials, 0) && trials.len() < file.trials && sampler.needs(trials.len()) > 0 {
                return Ok(trials);
            }
        }
        for (rung, &round) in rungs.iter().enumerate().skip(1) {
            let halving = file.halving.as_ref().expect("without halving there is one rung");
            if is_open(&trials, rung - 1) {
                return Ok(trials);
            }
            let reached = trials.iter().enumerate().filter(|(_, trial)| trial.rungs.len() == rung);
            let scores: Vec<_> =
                reached.map(|(index, trial)| (index, trial.score(rung - 1, &file.objective))).collect();
            let survivors = halving.survivors(&scores);
            let continuing = trials.iter_mut().enumerate().filter(|(index, _)| survivors.contains(index));
            measurer.measure(&mut continuing.map(|(_, trial)| trial).collect::<Vec<_>>(), round)?;
        }
        Ok(trials)
    }

    /// Adds the trials that can be proposed from the results so far.
    fn propose_more(&self, sampler: &dyn Sampler, trials: &mut Vec<Trial>) {
        // With halving, the first rung is the last that all trials reach.
        let score = |trial: &Trial| trial.score(0, &self.file.objective);
        let told: Vec<Told> =
            trials.iter().map(|trial| Told { point: trial.point.clone(), score: score(trial) }).collect();
        let mut tried: HashSet<Vec<String>> = trials.iter().map(|trial| trial.texts.clone()).collect();
        while trials.len() < self.file.trials && sampler.needs(trials.len()) <= told.len() {
            let number = trials.len();
            let point = propose(&self.file.space, sampler, number, &tried, &told[..sampler.needs(number)]);
            let texts = self.file.space.texts(&point);
            tried.insert(texts.clone());
            trials.push(Trial { number: number + 1, point, texts, rungs: Vec::new() });
        }
    }

    /// Refuses, before the first run, settings that do not fit the manifest, and an objective that is not measured. Of settings that
    /// depend on results, each value is tried in the place of the first trial's.
    fn check(&self, measurer: &Measurer<'_>, trials: &[Trial], rungs: &[Option<u32>]) -> Result<(), SessionError> {
        let plan_of = |texts: &[String]| -> Result<(), SessionError> {
            let plan = measurer.session_of(texts, self.file.seeds.first().copied())?.plan()?;
            rungs
                .iter()
                .try_for_each(|&round| self.file.objective.node_of(&plan, round).map(drop).map_err(SessionError::Call))
        };
        let checked: Vec<Result<(), SessionError>> = trials.par_iter().map(|trial| plan_of(&trial.texts)).collect();
        checked.into_iter().collect::<Result<(), SessionError>>()?;
        if trials.len() == self.file.trials {
            return Ok(());
        }
        for (index, dimension) in self.file.space.dimensions.iter().enumerate() {
            for text in dimension.range.telling() {
                let mut texts = trials[0].texts.clone();
                texts[index] = text;
                plan_of(&texts)?;
            }
        }
        Ok(())
    }
}

/// Whether a trial that should have run to this rung has not.
fn is_open(trials: &[Trial], rung: usize) -> bool {
    trials.iter().filter_map(|trial| trial.rungs.get(rung)).any(super::trial::Rung::is_open)
}
