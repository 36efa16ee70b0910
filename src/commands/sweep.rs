//! `dnc-run sweep SWEEP`: searches for the best settings by many runs of a manifest.

use std::num::NonZero;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use dnc_stages::api::device::DeviceChoice;
use serde_json::{Map, Value};

use super::execution_args::ExecutionArgs;
use super::failure::Failure;
use super::output::write_json;
use super::units::parse_limit;
use crate::execute::stop;
use crate::project::{Folders, Project};
use crate::report::sinks::{Labelled, Progress, Sink};
use crate::report::table::text_table;
use crate::session::{ExecutorChoice, RunOptions, Session};
use crate::shell::quoted;
use crate::sweep::json::{DryRunJson, SweepJson, to_do};
use crate::sweep::result::SweepResult;
use crate::sweep::{Course, Reached, Sweep, SweepFile, SweepListener, SweepOptions, TrialRun, summary};

/// Runs of a sweep at once on a cluster, unless `--parallel` says otherwise: enough to fill most queues, and few enough for one
/// process to watch.
const PARALLEL_ON_A_CLUSTER: usize = 16;

/// Arguments of `sweep`.
#[derive(Args)]
pub struct SweepArgs {
    /// Sweep: a TOML file that names the manifest, what varies, and how settings are chosen
    ///
    /// Every trial is a run of the manifest with other settings, once per seed. The run folders are the only state: the same call
    /// continues after any interruption, and repeats no run that has ended. Settings are chosen by a metric on validation classes.
    #[arg(value_name = "SWEEP")]
    file: PathBuf,
    /// Device for floating-point work: auto (the first GPU, else the CPU), cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Number of runs at once, which share threads, memory and GPUs of this machine [default: 1; with --executor slurm, 16]
    #[arg(long, value_name = "N", value_parser = parse_limit, allow_negative_numbers = true)]
    parallel: Option<NonZero<usize>>,
    /// Rerun trials that failed in an earlier call
    #[arg(long)]
    retry_failed: bool,
    /// List the trials that would run, without running them
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    execution: ExecutionArgs,
    #[command(flatten)]
    folders: Folders,
}

impl SweepArgs {
    /// Runs the sweep until its end and prints the result.
    pub(super) fn run(self) -> Result<(), Failure> {
        let file = SweepFile::load(&self.file).map_err(|problems| Failure::Manifest(Box::new(problems)))?;
        let project = Project::containing(&file.manifest, &self.folders)?;
        let session = Session::new(file.manifest.clone(), project, self.device);
        let sweep = Sweep::new(&file, session)?;
        let stop = stop::on_signals().context("Cannot listen to signals")?;
        let parallel = self.parallel();
        let course = sweep.run(&SweepOptions {
            configure: &|session, plan| self.execution.configure(session, RunOptions::new(plan, self.device)),
            parallel,
            retry_failed: self.retry_failed,
            dry_run: self.dry_run,
            listener: &Announcer { execution: &self.execution, label: file.objective.label(), parallel },
            stop: &stop,
        });
        let course = course.map_err(Failure::from).inspect_err(|failure| {
            if matches!(failure, Failure::Interrupted) {
                eprintln!("Interrupted; the same command continues the sweep");
            }
        })?;
        if self.dry_run {
            return self.print_dry_run(&file, &course);
        }
        let result = SweepResult::new(&file, &course)?;
        let command = result.best().map(|best| summary::command(&file, best, &self.options_of_a_run()));
        if self.json {
            write_json(&SweepJson::new(&file, &result, command))?;
        } else {
            print_line!("{}", summary::table(&file, &result));
            for trial in &result.trials {
                if let Some(reason) = &trial.reason {
                    print_line!("Trial {} failed: {reason}", trial.number);
                }
            }
            print_line!("{}", summary::sentence(&file, &result));
            for caveat in summary::caveats(&result) {
                print_line!("{caveat}");
            }
            if let Some(command) = command {
                print_line!("  {command}");
            }
        }
        if result.best().is_some() { Ok(()) } else { Err(Failure::Node) }
    }

    fn parallel(&self) -> usize {
        let default = if self.execution.executor == ExecutorChoice::Slurm { PARALLEL_ON_A_CLUSTER } else { 1 };
        self.parallel.map_or(default, NonZero::get)
    }

    /// Those of the options that a run needs to find what the sweep has computed.
    fn options_of_a_run(&self) -> String {
        let mut options = String::new();
        if self.device != DeviceChoice::Auto {
            options += &format!(" --device {}", self.device);
        }
        for (name, folder) in [("store", &self.folders.store), ("runs", &self.folders.runs)] {
            if let Some(folder) = folder {
                options += &format!(" --{name} {}", quoted(&folder.display().to_string()));
            }
        }
        options
    }

    fn print_dry_run(&self, file: &SweepFile, course: &Course) -> Result<(), Failure> {
        if self.json {
            return Ok(write_json(&DryRunJson::new(file, course))?);
        }
        let mut headings = vec!["trial"];
        headings.extend(file.space.dimensions.iter().map(|dimension| dimension.short_key()));
        headings.extend(["runs to make", "nodes cached", "nodes to run"]);
        let rows = course.trials.iter().map(|trial| {
            let (runs, hit, stale) = to_do(trial);
            let counts = [trial.number, runs, hit, stale].map(|count| count.to_string());
            let mut row = trial.texts.clone();
            row.insert(0, counts[0].clone());
            row.extend(counts.into_iter().skip(1));
            row
        });
        print_line!("{}", text_table(&headings, rows.collect()));
        if course.trials.len() < file.trials {
            eprintln!(
                "The settings of {} more trials depend on the results of these",
                file.trials - course.trials.len()
            );
        }
        if course.rungs.len() > 1 {
            eprintln!("Which trials go on after round {} depends on results", course.rungs[0].unwrap_or_default());
        }
        Ok(())
    }
}

/// Says on standard error which run starts and what it reached.
struct Announcer<'a> {
    execution: &'a ExecutionArgs,
    /// Name of the objective.
    label: String,
    parallel: usize,
}

impl Announcer<'_> {
    fn is_silent(&self) -> bool {
        self.execution.quiet || self.execution.progress == Some(Progress::Json)
    }
}

impl SweepListener for Announcer<'_> {
    fn sink(&self) -> Box<dyn Sink> {
        self.execution.sink()
    }

    fn starts(&self, run: &TrialRun) -> Box<dyn Sink> {
        if self.execution.quiet {
            return self.execution.sink();
        }
        if self.execution.progress == Some(Progress::Json) {
            let fields = [("trial", Value::from(run.trial)), ("seed", run.seed.into())];
            return Box::new(Labelled::json(Map::from_iter(fields.map(|(key, value)| (key.to_owned(), value)))));
        }
        let until = run.round.map_or_else(String::new, |round| format!(" until round {round}"));
        eprintln!("{}{until}: {}", named(run, &format!(" of {}", run.trials)), run.label);
        if self.parallel == 1 { self.execution.sink() } else { Box::new(Labelled::lines(name(run))) }
    }

    fn ended(&self, run: &TrialRun, reached: &Reached, was_known: bool) {
        if self.is_silent() {
            return;
        }
        let when = if was_known { ", run earlier" } else { "" };
        match reached {
            Reached::Value { metric, run: folder } => {
                eprintln!("{}: {} {:.4} in {}{when}", name(run), self.label, metric.value, folder.id());
            }
            Reached::Failed { reason, .. } => eprintln!("{} failed{when}: {reason}", name(run)),
            Reached::NotRun { .. } => {}
        }
    }
}

/// `Trial 3, seed 1`.
fn name(run: &TrialRun) -> String {
    named(run, "")
}

fn named(run: &TrialRun, of: &str) -> String {
    let seed = run.seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
    format!("Trial {}{of}{seed}", run.trial)
}
