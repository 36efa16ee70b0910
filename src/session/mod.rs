//! The engine as a library: reads a manifest, plans, forecasts and runs it, and reads what it measured.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::sync::atomic::AtomicBool;
//!
//! use dnc_run::report::sinks;
//! use dnc_run::session::{RunOptions, Session, SessionError};
//!
//! # fn main() -> Result<(), SessionError> {
//! let session = Session::open("pipelines/quickstart.toml")?.set("stage.train.loss.margin=0.1")?;
//! let plan = session.plan()?;
//! let options = RunOptions::new(&plan, session.device());
//! let stop = Arc::new(AtomicBool::new(false));
//! let run = session.run(&plan, &options, sinks::choose(None, true), &stop)?;
//! println!("{}: {} nodes ran, {} were cached", run.folder.id(), run.outcomes.ran, run.outcomes.hit);
//! for metric in run.metrics()? {
//!     println!("{} {} {} {:.4}", metric.node, metric.split, metric.label(), metric.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Commands parse arguments and print; everything else is here. A session keeps no state between calls but
//! its fields and the GPUs that it has opened.

mod costs;
mod detach;
mod error;
mod estimate;
mod history;
mod recorder;
mod remote;
mod run_options;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dnc_cache::{Digest, Hasher, Store};
use dnc_stages::api::{DeviceChoice, Devices};

pub use costs::Cost;
pub use error::SessionError;
pub use estimate::Estimate;
pub use history::History;
use recorder::{Origin, Recorder};
pub use remote::ProjectRemote;
use remote::Unsent;
pub use run_options::{ExecutorChoice, RunOptions};

use crate::error_chain::error_chain;
use crate::execute::driver::{Options, Run};
use crate::execute::executor::slurm::SlurmPlaces;
use crate::execute::executor::{Executor, Processes, Slurm, Threads};
use crate::execute::forecast::{Forecast, forecast};
use crate::execute::remote::RunRemote;
use crate::execute::sources::{OwnPaths, SourceError, ingredients};
use crate::execute::{Event, Host, Listener, NodeResult, Outcomes, Pusher, execute};
use crate::machine;
use crate::manifest::{Manifest, Override, ReadOptions, schema};
use crate::plan::Plan;
use crate::project::{Folders, Project};
use crate::project_file::ProjectFile;
use crate::report::kept_keys::{keys_of_last_runs, project_name};
use crate::report::metrics::{self, Metric};
use crate::report::reporter::Reporter;
use crate::report::run_folder::RunFolder;
use crate::report::sinks::Sink;
use crate::sync::lock;

/// A manifest with overrides, in a project, on a device.
#[derive(Clone, Debug)]
pub struct Session {
    manifest: PathBuf,
    overrides: Vec<Override>,
    project: Project,
    device: DeviceChoice,
    devices: Arc<Devices>,
}

/// A run that has ended, well or badly.
pub struct FinishedRun {
    /// Its folder.
    pub folder: RunFolder,
    /// What became of each node, in the plan's order.
    pub results: Vec<NodeResult>,
    /// Number of nodes per outcome.
    pub outcomes: Outcomes,
    /// Whether the user stopped it.
    pub interrupted: bool,
    /// Whether it asked its remote for anything or sent anything there, and the remote did not fail.
    pub used_remote: bool,
}

impl FinishedRun {
    /// The metrics that it measured.
    ///
    /// # Errors
    /// The table in its folder cannot be read.
    pub fn metrics(&self) -> Result<Vec<Metric>, SessionError> {
        metrics::read(&self.folder.path).map_err(SessionError::cannot("Cannot read the metrics of the run"))
    }
}

impl Session {
    /// A session for a manifest in the project that contains it, on the default device.
    ///
    /// # Errors
    /// The current folder does not exist.
    pub fn open(manifest: impl Into<PathBuf>) -> Result<Self, SessionError> {
        let manifest = manifest.into();
        let project = Project::containing(&manifest, &Folders::default())
            .map_err(SessionError::cannot("Cannot find the project's root"))?;
        Ok(Self::new(manifest, project, DeviceChoice::Auto))
    }

    /// A session for a manifest in a project that need not contain it.
    pub fn new(manifest: PathBuf, project: Project, device: DeviceChoice) -> Self {
        Self { manifest, overrides: Vec::new(), project, device, devices: Arc::default() }
    }

    /// The same session with one more override, such as `stage.train.loss.margin=0.1`.
    ///
    /// # Errors
    /// The override has no `=`, or its value is not TOML.
    pub fn set(self, text: &str) -> Result<Self, SessionError> {
        let text = Override::set(text)?;
        Ok(self.with([text]))
    }

    /// The same session with more overrides.
    #[must_use]
    pub fn with(mut self, overrides: impl IntoIterator<Item = Override>) -> Self {
        self.overrides.extend(overrides);
        self
    }

    /// The project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The device.
    pub fn device(&self) -> DeviceChoice {
        self.device
    }

    /// Reads the manifest and unrolls it into a plan.
    ///
    /// # Errors
    /// The manifest is wrong.
    pub fn plan(&self) -> Result<Plan, SessionError> {
        let reading = ReadOptions { overrides: &self.overrides, ..ReadOptions::default() };
        Ok(Plan::new(Manifest::load(&self.manifest, reading)?))
    }

    /// A digest of the manifest's text and of the files that it names; `None` while the manifest cannot be read. Of files that
    /// must be hashed, the `listener` hears.
    ///
    /// # Errors
    /// The store cannot be read, or `stop` was set meanwhile.
    pub fn inputs(&self, listener: &dyn Listener, stop: &AtomicBool) -> Result<Option<Digest>, SessionError> {
        let Ok(text) = fs::read(&self.manifest) else { return Ok(None) };
        let mut hasher = Hasher::new();
        hasher.update(&text);
        // A manifest that is wrong is waiting for its correction.
        if let Ok(plan) = self.plan() {
            let store = self.store()?;
            let own = self.own_paths(&store)?;
            let devices = (self.devices.as_ref(), self.device.resolve());
            match ingredients(&plan, (&store, &own), devices, listener, stop) {
                Ok(found) => {
                    for source in found.sources.iter().flatten() {
                        hasher.update_text(&source.digest.to_string());
                    }
                }
                Err(SourceError::Interrupted) => return Err(SessionError::Interrupted),
                Err(error) => {
                    hasher.update_text(&error_chain(&error));
                }
            }
        }
        Ok(Some(hasher.finish()))
    }

    /// Opens the store to look things up; without one, an empty store that is not kept.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn store_to_read(&self) -> Result<Store, SessionError> {
        Ok(Store::open_or_empty(&self.project.store)?)
    }

    /// Opens the store and creates it if it does not exist.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn store(&self) -> Result<Store, SessionError> {
        Ok(Store::open(&self.project.store)?)
    }

    /// What a run with these options would do with each node of `plan`, given the `history` of its runs.
    ///
    /// # Errors
    /// The store or a file outside of it cannot be read.
    pub fn forecast(
        &self,
        plan: &Plan,
        options: &Options,
        store: &Store,
        history: &History,
        listener: &dyn Listener,
    ) -> Result<Vec<Forecast>, SessionError> {
        let own = self.own_paths(store)?;
        let devices = (self.devices.as_ref(), options.device);
        let ingredients = ingredients(plan, (store, &own), devices, listener, &AtomicBool::new(false))?;
        Ok(forecast(plan, store, &ingredients, options, &|node| history.fingerprint(store, node))?)
    }

    /// How long a run of `plan` with these limits will probably take and how much it will write, given what it would do and the
    /// `history` of its runs.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn estimate(
        &self,
        plan: &Plan,
        forecasts: &[Forecast],
        options: &RunOptions,
        store: &Store,
        history: &History,
    ) -> Result<Estimate, SessionError> {
        let running = estimate::may_run(forecasts);
        // To find the nearest runs, their manifests are read, which a plan that runs nothing need not wait for.
        let runs = match running.contains(&true) {
            true => history.by_nearness(RunFolder::all(&self.project.runs).unwrap_or_default()),
            false => Vec::new(),
        };
        let costs = costs::costs(plan, &running, runs, store, options.options.device)?;
        Ok(Estimate::new(plan, &running, costs, &options.limits, machine::free_space(&self.project.store).ok()))
    }

    /// The runs of this manifest so far.
    pub fn history<'p>(&'p self, plan: &'p Plan) -> History<'p> {
        let mut runs = RunFolder::all(&self.project.runs).unwrap_or_default();
        runs.retain(|run| run.name == plan.manifest.name);
        History::new(runs.into_iter().rev(), plan, &self.project.root)
    }

    /// Runs `plan` and writes a run folder. Progress goes to `sink`; the run stops when `stop` is set. Failed nodes are not
    /// an error: see [`FinishedRun::outcomes`].
    ///
    /// # Errors
    /// The store, a file outside of it or the run folder cannot be read or written.
    pub fn run(
        &self,
        plan: &Plan,
        options: &RunOptions,
        sink: Box<dyn Sink>,
        stop: &Arc<AtomicBool>,
    ) -> Result<FinishedRun, SessionError> {
        let begun = Instant::now();
        let (manifest, store_path) = (recorded(&self.manifest)?, recorded(&self.project.store)?);
        let store = Arc::new(self.store()?);
        let reporter = Arc::new(Reporter::new(sink));
        let own = self.own_paths(&store)?;
        let devices = (self.devices.as_ref(), options.options.device);
        let ingredients = ingredients(plan, (&store, &own), devices, reporter.as_ref(), stop)?;
        options.check_gpus(&ingredients.device_arithmetic, &self.devices)?;
        let folder = RunFolder::create(&self.project.runs, &plan.manifest.name).map_err(SessionError::cannot(
            format!("Cannot create a run folder in `{}`", self.project.runs.display()),
        ))?;
        // Shows that the run goes on, also while the executor waits for its cluster. Without locks, it does not show.
        let _held = folder.hold().ok();
        let mut executor = self.executor(options, &folder, &store, &reporter, stop).inspect_err(|_| {
            // A run that could not start leaves no folder.
            let _ = fs::remove_dir_all(&folder.path);
        })?;
        reporter.write_logs_to(&folder.path);
        store.add_root(&self.project.runs)?;
        let origin = Origin { root: &self.project.root, manifest, store: store_path, overrides: &self.overrides };
        let recorder = Recorder::start(&folder, plan, options, &ingredients, origin, begun)?;
        reporter.event(&Event::RunStarted { run: folder.id(), nodes: recorder.nodes() });

        let history = History::new(folder.before(), plan, &self.project.root);
        let remote = options.remote.clone().map(|place| Arc::new(RunRemote::new(place, Arc::clone(&reporter) as _)));
        let receiver = remote.as_ref().filter(|_| options.push);
        let unsent = receiver
            .map(|_| Unsent::start(&folder))
            .transpose()
            .map_err(SessionError::cannot(format!("Cannot write the run folder `{}`", folder.path.display())))?;
        let pusher = receiver.map(|remote| Pusher::start(Arc::clone(remote), Arc::clone(&store)));
        let pusher = Mutex::new(pusher);
        let run = Run {
            plan,
            store: &store,
            remote: remote.as_deref(),
            ingredients: &ingredients,
            options: &options.options,
            previous: &|node| history.fingerprint(&store, node),
            listener: reporter.as_ref(),
            checkpoint: &|results| {
                recorder.checkpoint(results);
                if let Some(pusher) = lock(&pusher).as_mut() {
                    pusher.offer(results);
                }
            },
            stop,
        };
        let (results, ended) = execute(&run, executor.as_mut());
        // Waits for the work that a failed run has left.
        drop(executor);

        recorder.finish(&results, &store)?;
        if let Some(pusher) = lock(&pusher).take() {
            pusher.finish(&results);
        }
        if let (Some(unsent), Some(remote)) = (unsent, &remote) {
            unsent.finish(remote, &store, &results);
        }
        // A run that finds everything in the store sends no request at all.
        let used_remote = remote.filter(|remote| remote.was_used());
        if let Some(remote) = used_remote.as_ref().filter(|_| options.push && options.keep_in_remote) {
            self.keep_in_remote(remote, &store);
        }
        ended?;
        let outcomes: Outcomes = recorder.included(&results).map(|result| result.outcome).collect();
        reporter.event(&Event::RunFinished { outcomes, took: recorder.elapsed() });
        drop(recorder);
        let interrupted = stop.load(Ordering::Relaxed);
        Ok(FinishedRun { folder, results, outcomes, interrupted, used_remote: used_remote.is_some() })
    }

    /// Says in the remote which keys the runs of this project reference, so that `cache gc --remote` keeps what it has of them.
    pub(crate) fn keep_in_remote(&self, remote: &RunRemote, store: &Store) {
        let runs = RunFolder::all(&self.project.runs);
        match runs.and_then(|runs| keys_of_last_runs(runs, usize::MAX)) {
            Ok(keys) => remote.keep(store, &project_name(&self.project.runs), &keys),
            Err(error) => {
                remote.notice(format!("`cache gc --remote` does not know what this project needs: {error}"));
            }
        }
    }

    /// What this program writes, and the manifest with its schema: none of it is data.
    fn own_paths(&self, store: &Store) -> Result<OwnPaths, SessionError> {
        let mut folders = vec![self.project.store.clone(), self.project.runs.clone()];
        folders.extend(store.roots()?);
        // `dnc-run … > output.log` in the folder of the data would change it for ever.
        let streams = [1, 2].into_iter().filter_map(|stream| fs::read_link(format!("/proc/self/fd/{stream}")).ok());
        let mut files: Vec<PathBuf> = streams.filter(|path| path.is_file()).collect();
        files.push(located(self.manifest.clone()));
        files.push(located(self.manifest.with_file_name(schema::FILE)));
        Ok(OwnPaths { files, folders: folders.into_iter().map(located).collect() })
    }

    fn executor(
        &self,
        options: &RunOptions,
        folder: &RunFolder,
        store: &Arc<Store>,
        reporter: &Arc<Reporter>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Box<dyn Executor>, SessionError> {
        let limits = options.limits.clone();
        let listener: Arc<dyn Listener> = Arc::clone(reporter) as _;
        let host = || {
            let (store, devices, stop) = (Arc::clone(store), Arc::clone(&self.devices), Arc::clone(stop));
            Host { store, devices, listener: Arc::clone(&listener), stop }
        };
        Ok(match options.executor {
            ExecutorChoice::Local => Box::new(Threads::new(limits, host())),
            ExecutorChoice::Process => {
                let processes = std::env::current_exe()
                    .and_then(|program| Processes::new(limits, program, &self.project.store, listener));
                Box::new(processes.map_err(SessionError::cannot(
                    "Cannot create a folder for task files; set TMPDIR to a folder that can be written to",
                ))?)
            }
            ExecutorChoice::Slurm => {
                let file = ProjectFile::read(&self.project.root)?;
                let jobs = |run: &RunFolder| run.path.join("jobs");
                let places = SlurmPlaces {
                    run: folder.name.clone(),
                    folder: jobs(folder),
                    earlier: folder.before().iter().map(jobs).filter(|jobs| jobs.is_dir()).collect(),
                    program: std::env::current_exe().map_err(SessionError::cannot("Cannot find this program"))?,
                    store: self.project.store.clone(),
                };
                let slurm = Slurm::new(file.executor.slurm, places, limits, host());
                Box::new(slurm.map_err(SessionError::cannot("Cannot run nodes as jobs of Slurm"))?)
            }
        })
    }
}

/// The absolute path as `run.json` records it.
fn recorded(path: &Path) -> Result<PathBuf, SessionError> {
    let path =
        std::path::absolute(path).map_err(SessionError::cannot(format!("Cannot locate `{}`", path.display())))?;
    if path.to_str().is_none() {
        let message =
            format!("`{}` is not valid UTF-8, so that `run.json` cannot record it; rename it", path.display());
        return Err(SessionError::Call(message));
    }
    Ok(path)
}

/// The same path for processes with another current folder.
fn located(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use dnc_cache::RemoteOptions;

    use super::*;
    use crate::execute::remote::RemotePlace;
    use crate::report::sinks;

    #[test]
    fn a_look_at_the_inputs_ends_when_the_user_asks_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("one.toml");
        fs::create_dir(folder.path().join(".dnc")).unwrap();
        fs::write(folder.path().join("words.txt"), "a").unwrap();
        let stage = "run = \"cp {file.0} {out.x}/x\"\nfiles = [\"words.txt\"]\noutputs = { x = \"files\" }\n";
        fs::write(&manifest, format!("name = \"one\"\n[stage.a]\nkind = \"command\"\n{stage}")).unwrap();
        let session = Session::open(&manifest).unwrap();
        let quiet = Reporter::new(sinks::choose(None, true));
        let look = |stop| session.inputs(&quiet, &AtomicBool::new(stop));
        assert!(matches!(look(true), Err(SessionError::Interrupted)));
        assert!(matches!(look(false), Ok(Some(_))));
    }

    #[test]
    fn a_run_that_pushes_says_what_the_project_needs_unless_its_caller_will() {
        let folder = tempfile::tempdir().unwrap();
        let (manifest, remote) = (folder.path().join("one.toml"), folder.path().join("remote"));
        fs::create_dir(folder.path().join(".dnc")).unwrap();
        for (word, keep_in_remote) in [("one", false), ("two", true)] {
            let stage = format!("run = \"echo {word} > {{out.x}}/x\"\noutputs = {{ x = \"files\" }}\n");
            fs::write(&manifest, format!("name = \"one\"\n[stage.a]\nkind = \"command\"\n{stage}")).unwrap();
            let session = Session::open(&manifest).unwrap();
            let plan = session.plan().unwrap();
            let mut options = RunOptions::new(&plan, DeviceChoice::Cpu);
            let place = RemotePlace { url: remote.display().to_string(), options: RemoteOptions::default() };
            (options.remote, options.push, options.keep_in_remote) = (Some(place), true, keep_in_remote);
            let run = session.run(&plan, &options, sinks::choose(None, true), &Arc::default()).unwrap();
            assert_eq!((run.outcomes.ran, run.used_remote), (1, true));
            assert_eq!(remote.join("roots").is_dir(), keep_in_remote);
        }
    }
}
