//! What every command that reads a manifest takes: which one, with which overrides, on which device.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use dnc_cache::{Index, Store};
use dnc_stages::device::DeviceChoice;
use dnc_stages::stage::Source;

use super::place::Place;
use super::{Cli, Failure, Folders};
use crate::execute::task::{Ingredients, SourceFile};
use crate::fingerprint::Fingerprint;
use crate::manifest::{Manifest, Override, Reading, suggest};
use crate::plan::Plan;
use crate::report::event::{Event, Sink};
use crate::report::run_folder::RunFolder;
use crate::report::sinks;

/// Which manifest, and how it is changed.
#[derive(Args, Clone, Debug, Default)]
pub struct ManifestArgs {
    /// The manifest [default: that of the last run]
    #[arg(value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Overrides a key, as in `stage.train.loss.margin=0.1`; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where floats are computed: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Where things are kept
    #[command(flatten)]
    pub folders: Folders,
}

/// A manifest that was chosen, before it is read.
#[derive(Clone)]
pub struct Chosen {
    /// Its path.
    pub manifest: PathBuf,
    /// What is laid over it.
    pub overrides: Vec<Override>,
    /// Where its store and runs lie.
    pub place: Place,
}

impl ManifestArgs {
    /// The manifest that was named, or that of the last run, with its overrides, which is then said.
    ///
    /// # Errors
    /// None was named and there was no run yet.
    pub fn choose(&self) -> Result<Chosen, Failure> {
        if let Some(manifest) = &self.manifest {
            if let Some(command) = command_meant(manifest) {
                return Err(Failure::Call(format!(
                    "There is no manifest `{}`; for the command, write `dnc-run {command}` with its options behind it",
                    manifest.display()
                )));
            }
            let place = Place::of(manifest, &self.folders)?;
            return Ok(Chosen { manifest: manifest.clone(), overrides: overrides(&self.set)?, place });
        }
        let place = Place::here(&self.folders)?;
        let last = place.last_run().ok_or_else(|| {
            Failure::Call(format!("There is no run in `{}` yet, so name a manifest", place.runs.display()))
        })?;
        let mut set = last.overrides;
        set.extend(self.set.iter().cloned());
        let with: String = set.iter().map(|one| format!(" --set {one}")).collect();
        eprintln!("Manifest of the last run, {}: {}{with}", last.run, last.manifest.display());
        Ok(Chosen { manifest: last.manifest, overrides: overrides(&set)?, place })
    }
}

/// The command that was meant by what was read as the manifest's name: misspelt, or behind an option.
fn command_meant(manifest: &Path) -> Option<String> {
    let name = manifest.to_str().filter(|_| manifest.extension().is_none() && !manifest.exists())?;
    let commands = Cli::command();
    suggest::nearest(name, commands.get_subcommands().map(clap::Command::get_name)).map(str::to_owned)
}

fn overrides(arguments: &[String]) -> Result<Vec<Override>, Failure> {
    let read = arguments.iter().map(|argument| Override::set(argument));
    read.collect::<Result<_, _>>().map_err(|problems| Failure::Manifest(Box::new(problems)))
}

impl Chosen {
    /// The same manifest with these changes as well.
    pub fn with(&self, overrides: impl IntoIterator<Item = Override>) -> Self {
        let mut chosen = self.clone();
        chosen.overrides.extend(overrides);
        chosen
    }

    /// Reads the manifest and unrolls it.
    ///
    /// # Errors
    /// It is wrong.
    pub fn plan(&self) -> Result<Plan, Failure> {
        let reading = Reading { overrides: &self.overrides, ..Reading::default() };
        let manifest =
            Manifest::load(&self.manifest, reading).map_err(|problems| Failure::Manifest(Box::new(problems)))?;
        Ok(Plan::new(manifest))
    }

    /// Opens the store.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.place.store)?)
    }

    /// A look-up of the fingerprint that a node had when it last ran, in the runs of this name before `run`.
    pub fn previous<'a>(
        &self,
        plan: &Plan,
        store: &'a Store,
        run: Option<&RunFolder>,
    ) -> impl Fn(&str) -> Option<Fingerprint> + Sync + use<'a> {
        let runs = match run {
            Some(run) => run.before(),
            None => {
                let mut runs = RunFolder::all(&self.place.runs).unwrap_or_default();
                runs.retain(|run| run.name == plan.manifest.name);
                runs.reverse();
                runs
            }
        };
        let earlier: Vec<Earlier> = runs.into_iter().take(RUNS_LOOKED_AT).map(Earlier::new).collect();
        move |node| earlier.iter().find_map(|run| run.fingerprint(store, node))
    }
}

/// How many runs back the last fingerprint of a node is looked for.
const RUNS_LOOKED_AT: usize = 10;

/// An earlier run, read when somebody asks.
struct Earlier {
    folder: RunFolder,
    keys: std::sync::OnceLock<HashMap<String, dnc_cache::Key>>,
}

impl Earlier {
    fn new(folder: RunFolder) -> Self {
        Self { folder, keys: std::sync::OnceLock::new() }
    }

    fn fingerprint(&self, store: &Store, node: &str) -> Option<Fingerprint> {
        let keys = self.keys.get_or_init(|| {
            let nodes = self.folder.read().map(|run| run.nodes).unwrap_or_default();
            nodes.into_iter().filter_map(|node| Some((node.node, node.key?))).collect()
        });
        let record = store.record(keys.get(node)?).ok()??;
        serde_json::from_value(record.fingerprint).ok()
    }
}

/// What enters the keys of all nodes: the device's arithmetic and the digests of the files that stages read from outside. If
/// these take long to read, `sink` is told.
///
/// # Errors
/// A file cannot be read, or the reading was `cancelled`.
pub fn ingredients(
    plan: &Plan,
    index: &Index,
    device: DeviceChoice,
    sink: &mut dyn Sink,
    cancelled: &AtomicBool,
) -> Result<Ingredients, Failure> {
    let sink = Mutex::new((sink, Instant::now()));
    // Thousands of stages may run the same program: it is looked for and hashed once.
    let mut known: HashMap<(bool, PathBuf), (PathBuf, dnc_cache::Digest)> = HashMap::new();
    let mut sources = Vec::with_capacity(plan.manifest.stages.len());
    for stage in &plan.manifest.stages {
        let mut files = Vec::new();
        for source in stage.job.sources() {
            let on_path = source.is_on_path();
            let key = (on_path, source.path.clone());
            let (path, digest) = match known.get(&key) {
                Some(found) => found.clone(),
                None => {
                    let path = absolute(&source, &plan.manifest.folder);
                    let found = index.digest_path_watched(&path, &|done, total| {
                        tell_source(&sink, &stage.name, &source.param, done, total);
                        if cancelled.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
                    });
                    if found.is_err() && cancelled.load(Ordering::Relaxed) {
                        return Err(Failure::Interrupted);
                    }
                    let context = || format!("Cannot hash the `{}` of the stage `{}`", source.param, stage.name);
                    let found = found.with_context(context)?;
                    known.entry(key).or_insert((path, found.digest)).clone()
                }
            };
            files.push(SourceFile { param: source.param, path, digest, on_path });
        }
        sources.push(files);
    }
    Ok(Ingredients { arithmetic: device.arithmetic(), sources })
}

/// As [`ingredients`], for commands that run nothing, so that a signal may end them at once.
///
/// # Errors
/// A file cannot be read.
pub fn ingredients_to_show(plan: &Plan, index: &Index, device: DeviceChoice) -> Result<Ingredients, Failure> {
    ingredients(plan, index, device, sinks::choose(None, false).as_mut(), &AtomicBool::new(false))
}

/// How often it is told how far the reading of sources is; what takes less is not told at all.
const SOURCES_TOLD_EVERY: Duration = Duration::from_millis(500);

fn tell_source(sink: &Mutex<(&mut dyn Sink, Instant)>, stage: &str, param: &str, done: u64, total: u64) {
    // Whoever comes while another tells has nothing to add.
    let Ok(mut sink) = sink.try_lock() else { return };
    let (sink, told) = &mut *sink;
    if told.elapsed() > SOURCES_TOLD_EVERY {
        *told = Instant::now();
        sink.tell(&Event::SourceProgress { stage: stage.to_owned(), param: param.to_owned(), done, total });
    }
}

fn absolute(source: &Source, folder: &Path) -> PathBuf {
    // What the PATH does not lead to is missed by whoever opens it, under the name that was written.
    let path = source.find(folder).unwrap_or_else(|| source.path.clone());
    std::path::absolute(&path).unwrap_or(path)
}
