//! `dnc-run MANIFEST`: plans, runs what is stale, prints the metric table, writes a run folder.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::Context as _;
use clap::Args;
use dnc_cache::Digest;

use super::detach::{detach, explain};
use super::execution_args::ExecutionArgs;
use super::failure::Failure;
use super::plan;
use super::planned_args::{PlannedArgs, PlannedRun};
use crate::execute::stop;
use crate::pages::{self, ReportOptions};
use crate::plan::Plan;
use crate::report::reporter::Reporter;
use crate::report::{metrics, result};
use crate::session::{ExecutorChoice, RunOptions, Session, SessionError};

/// Arguments of a run.
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    planned: PlannedArgs,
    /// Show what would run without running it
    #[arg(long)]
    dry_run: bool,
    /// With --vary, continue with the remaining runs after a run with a failed node
    #[arg(long)]
    keep_going: bool,
    /// Run each stale node twice, with one thread and with all, and compare the outputs
    #[arg(long)]
    verify: bool,
    /// Write a report of the run, as `dnc-run report` does, and print its path
    #[arg(long)]
    report: bool,
    /// With `--executor slurm`, submit the run itself as a small job, print the id of the job, and return
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) detach: bool,
    #[command(flatten)]
    execution: ExecutionArgs,
}

impl RunArgs {
    /// The manifest, if one is named.
    pub(super) fn manifest_path(&self) -> Option<&Path> {
        self.planned.manifest.manifest.as_deref()
    }

    /// Runs the manifest once, or once per combination of `--vary`; or submits that as a job.
    pub(super) fn run(self) -> Result<(), Failure> {
        let session = self.session()?;
        if self.detach {
            return self.submit_driver(&session);
        }
        let stop = stop::on_signals().context("Cannot listen to signals")?;
        self.run_in(&session, &stop)
    }

    /// The session that the arguments describe, without the values of `--vary`.
    pub(super) fn session(&self) -> Result<Session, Failure> {
        self.planned.session()
    }

    /// For each run, a digest of the manifest's text and of the files that it names; `None` while the manifest cannot be read.
    pub(super) fn inputs(&self, session: &Session, stop: &AtomicBool) -> Result<Option<Vec<Digest>>, Failure> {
        let listener = Reporter::new(self.execution.sink());
        let runs = self.planned.runs(session)?;
        Ok(runs.iter().map(|run| run.session.inputs(&listener, stop)).collect::<Result<_, SessionError>>()?)
    }

    /// Runs until the end, or until `stop` is set.
    pub(super) fn run_in(&self, session: &Session, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
        let runs = self.planned.runs(session)?;
        // Check all of them before the first one runs.
        if runs.len() > 1 {
            runs.iter().try_for_each(|run| self.options(&run.session, &run.session.plan()?).map(drop))?;
        }
        let mut end = Ok(());
        for run in runs {
            match self.run_one(&run, stop) {
                Err(Failure::Node) if self.keep_going => end = Err(Failure::Node),
                Err(failure) => return Err(failure),
                Ok(()) => {}
            }
        }
        end
    }

    /// Checks everything, and submits this call as a job.
    fn submit_driver(&self, session: &Session) -> Result<(), Failure> {
        if self.execution.executor != ExecutorChoice::Slurm {
            return Err(Failure::Call("`--detach` submits the run to Slurm, so it needs `--executor slurm`".into()));
        }
        let mut plans = Vec::new();
        for PlannedRun { session, .. } in self.planned.runs(session)? {
            let plan = session.plan()?;
            self.options(&session, &plan)?;
            plans.push(plan);
        }
        let plan = plans.first().expect("there is at least one run");
        let driver = detach(session, plan, self.manifest_path().is_some())?;
        if !self.execution.quiet {
            explain(&driver, &plan.manifest.name);
        }
        Ok(())
    }

    fn run_one(&self, PlannedRun { label, session }: &PlannedRun, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
        let plan = session.plan()?;
        let options = self.options(session, &plan)?;
        if self.dry_run {
            return plan::show(session, &plan, &options, label);
        }
        let run = session.run(&plan, &options, self.execution.sink(), stop)?;
        let rows = run.metrics()?;
        if !rows.is_empty() {
            print_line!("{}", metrics::table(&rows));
        }
        let stage_of =
            |name: &str| plan.nodes.iter().find(|node| node.name == name).map(|node| plan.stage(node).kind.name);
        let results = plan.nodes.iter().zip(&run.results);
        let ended = results.map(|(node, result)| (plan.stage(node).kind.name, result.outcome));
        if !run.interrupted
            && let Some(sentence) = result::sentence(stage_of, ended, &rows)
        {
            print_line!("{sentence}");
        }
        if (self.report || plan.manifest.report) && !run.interrupted {
            let report = pages::write(std::slice::from_ref(&run.folder), &ReportOptions::default())?;
            print_line!("{}", report.path.display());
        }
        let (interrupted, failed) = (run.interrupted, run.outcomes.failed);
        // Freeing thousands of nodes takes longer than the process has left, and the next run of --vary need not wait.
        thread::spawn(move || drop((plan, run)));
        match (interrupted, failed) {
            (true, _) => Err(Failure::Interrupted),
            (false, 0) => Ok(()),
            (false, _) => Err(Failure::Node),
        }
    }

    fn options(&self, session: &Session, plan: &Plan) -> Result<RunOptions, Failure> {
        let mut options = self.planned.options(plan)?;
        options.options.verify = self.verify;
        Ok(self.execution.configure(session, options)?)
    }
}
