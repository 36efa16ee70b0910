//! `dnc-run MANIFEST`: plans, runs what is stale, prints the metric table, writes a run folder.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use dnc_stages::device::DeviceChoice;

use super::manifest_args::{Chosen, ManifestArgs, ingredients};
use super::{Failure, plan};
use crate::execute::budget::Limits;
use crate::execute::driver::{Options, Run};
use crate::execute::{NodeResult, execute, stop};
use crate::manifest::overrides::vary;
use crate::plan::{Plan, Selection};
use crate::report::event::{Event, Outcomes};
use crate::report::run_folder::{HELD, NodeJson, RunFolder, RunJson, now};
use crate::report::sinks::{self, Progress};
use crate::report::{Reporter, metrics};

/// How often at most `run.json` is written while nodes end.
const NOTED_EVERY: Duration = Duration::from_secs(5);

/// Arguments of a run.
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Makes one run for each value, and for each combination of several; may be given several times
    #[arg(long, value_name = "KEY=A,B,…")]
    vary: Vec<String>,
    /// Runs this stage and all below it even if cached: `cluster`, `cluster@2`, `train@2[3]`
    #[arg(long, value_name = "STAGE[@ROUND]")]
    from: Option<String>,
    /// Brings only this stage up to date, with all above it
    #[arg(long, value_name = "STAGE[@ROUND]")]
    until: Option<String>,
    /// Shows what would run, and runs nothing
    #[arg(long)]
    dry_run: bool,
    /// Nodes at once, of which small ones need no thread of --threads [default: --threads, or two more than cores]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Threads of all nodes together [default: the number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// GPUs to hand out, by number [default: that of --device]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    gpus: Vec<usize>,
    /// After a run with a failed node, goes on with the other runs of --vary
    #[arg(long)]
    keep_going: bool,
    /// Runs each stale node twice, with one thread and with all, and compares what they wrote
    #[arg(long)]
    verify: bool,
    /// Tells nothing but failures
    #[arg(long, short)]
    quiet: bool,
    /// How progress is told [default: bars on a terminal, lines elsewhere]
    #[arg(long, value_name = "HOW")]
    progress: Option<Progress>,
    /// Where nodes run
    #[arg(long, value_name = "WHERE", default_value = "local")]
    executor: ExecutorChoice,
}

/// What `--executor` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExecutorChoice {
    /// On this machine.
    Local,
}

impl RunArgs {
    /// Runs the manifest once, or once for each combination of `--vary`.
    pub(super) fn run(self) -> Result<(), Failure> {
        let chosen = self.manifest.choose()?;
        let variations = vary(&self.vary).map_err(|problems| Failure::Manifest(Box::new(problems)))?;
        let cancelled = stop::on_signals().context("Cannot listen to signals")?;
        let chosen: Vec<Chosen> = variations.into_iter().map(|variation| chosen.with(variation.overrides)).collect();
        // What is wrong with the last is not to be found out when the others have run.
        if chosen.len() > 1 {
            chosen.iter().try_for_each(|chosen| self.options(&chosen.plan()?).map(drop))?;
        }
        let mut end = Ok(());
        for chosen in chosen {
            match self.run_one(&chosen, &cancelled) {
                Err(Failure::Node) if self.keep_going => end = Err(Failure::Node),
                Err(failure) => return Err(failure),
                Ok(()) => {}
            }
        }
        end
    }

    fn run_one(&self, chosen: &Chosen, cancelled: &Arc<AtomicBool>) -> Result<(), Failure> {
        let begun = Instant::now();
        let started = now();
        let plan = chosen.plan()?;
        let options = self.options(&plan)?;
        if self.dry_run {
            return plan::show(chosen, &plan, &options);
        }
        let store = chosen.store()?;
        let mut sink = sinks::choose(self.progress, self.quiet);
        let ingredients = ingredients(&plan, &store.index(), options.device, sink.as_mut(), cancelled)?;
        let folder = RunFolder::create(&chosen.place.runs, &plan.manifest.name)
            .with_context(|| format!("Cannot make a run folder in `{}`", chosen.place.runs.display()))?;
        store.add_root(&chosen.place.runs)?;
        let wanted = plan.above(&options.targets);
        let nodes = wanted.iter().filter(|&&wanted| wanted).count();
        let reporter = Reporter::new(sink, folder.path.join("logs"), nodes);
        reporter.tell(&Event::RunStarted { run: folder.id(), nodes });

        let json = |results: &[NodeResult], unfinished| -> anyhow::Result<RunJson> {
            Ok(RunJson {
                run: folder.id(),
                unfinished,
                manifest: std::path::absolute(&chosen.manifest)?,
                store: std::path::absolute(&chosen.place.store)?,
                started,
                seconds: begun.elapsed().as_secs_f64(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                device: options.device.to_string(),
                arithmetic: ingredients.arithmetic.clone(),
                threads: options.limits.threads,
                jobs: options.limits.jobs,
                overrides: chosen.overrides.iter().map(ToString::to_string).collect(),
                nodes: NodeJson::all(&plan, results, |node| wanted[node]),
            })
        };
        let unwritten = || format!("Cannot write the run folder `{}`", folder.path.display());
        json(&[], true).and_then(|json| Ok(folder.write(&json)?)).with_context(unwritten)?;
        // Whatever ends this process, its finished nodes are known to `cache gc` and to the next run.
        let noted = Mutex::new((Instant::now(), 0));
        let note = |results: &[NodeResult]| {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.0.elapsed() > NOTED_EVERY {
                let ended =
                    results.iter().filter(|result| !result.outputs.is_empty() || result.error.is_some()).count();
                if noted.1 == ended {
                    return;
                }
                *noted = (Instant::now(), ended);
                // The end writes it again and tells why it cannot.
                let _ = json(results, true).map(|json| folder.write(&json));
            }
        };

        let previous = chosen.previous(&plan, &store, Some(&folder));
        let run = Run {
            plan: &plan,
            store: &store,
            ingredients: &ingredients,
            options: &options,
            previous: &previous,
            reporter: &reporter,
            note: &note,
            cancelled,
        };
        let (results, ended) = execute(&run);

        let write_manifest = || {
            folder.replace("manifest.toml", |mut file| {
                std::io::Write::write_all(&mut file, plan.manifest.to_toml_for_any_folder().as_bytes())
            })
        };
        let write_rest = || -> anyhow::Result<()> {
            let metrics = metrics::write(&folder, &plan, &results, &store);
            folder.write(&json(&results, false)?)?;
            metrics
        };
        let (manifest, rest) = rayon::join(write_manifest, write_rest);
        let written = manifest.map_err(anyhow::Error::from).and(rest);
        written.with_context(unwritten)?;
        ended?;
        let outcomes = count(&results, &wanted);
        reporter.tell(&Event::RunFinished { outcomes, took: begun.elapsed() });
        print_metrics(&folder.path)?;
        // Taking thousands of nodes apart takes longer than the process has left; the next run of --vary need not wait.
        thread::spawn(move || drop((plan, ingredients, results)));
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        if outcomes.failed > 0 { Err(Failure::Node) } else { Ok(()) }
    }

    fn options(&self, plan: &Plan) -> Result<Options, Failure> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let device = self.manifest.device.resolve();
        let gpus = match device {
            DeviceChoice::Cuda(_) if !self.gpus.is_empty() => self.gpus.clone(),
            DeviceChoice::Cuda(ordinal) => vec![ordinal],
            _ if !self.gpus.is_empty() => {
                return Err(Failure::Call(
                    "`--gpus` hands out GPUs, but the device is the CPU; say `--device cuda`".into(),
                ));
            }
            _ => Vec::new(),
        };
        // As ninja does: programs wait for the disk and for one another.
        let jobs = self.jobs.or(self.threads).map_or(cores + 2, NonZero::get);
        let limits =
            Limits { jobs, threads: self.threads.map_or(cores, NonZero::get), memory: memory_of_this_machine(), gpus };
        let selected = |text: &Option<String>| text.as_ref().map(|text| Selection::new(text).nodes(plan)).transpose();
        let goals = plan.goals(&HELD);
        let targets = match selected(&self.until).map_err(Failure::Call)? {
            // The run's own tables are made of what lies above as well.
            Some(targets) => {
                let above = plan.above(&targets);
                let held = goals.into_iter().filter(|&goal| above[goal] && !targets.contains(&goal));
                held.chain(targets.iter().copied()).collect()
            }
            None => goals,
        };
        let origins = selected(&self.from).map_err(Failure::Call)?.unwrap_or_default();
        Ok(Options { limits, device, targets, forced: plan.below(&origins), verify: self.verify })
    }
}

fn count(results: &[NodeResult], wanted: &[bool]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (result, _) in results.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
        outcomes.add(result.outcome);
    }
    outcomes
}

/// Prints the run's metric table on standard output, if it has one.
fn print_metrics(run: &Path) -> Result<(), Failure> {
    let rows = metrics::read(run)?;
    if !rows.is_empty() {
        say!("{}", metrics::table(&rows));
    }
    Ok(())
}

/// Bytes of memory, as the kernel tells; without an answer, no limit.
fn memory_of_this_machine() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).map_or(u64::MAX, |kib| kib * 1024)
}
