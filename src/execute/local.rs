//! One task on this machine: claimed, given its inputs, run, taken into the store.

use std::any::Any;
use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex, Once};

use dnc_cache::{Artifact, Blob, CacheError, Claim, Digest, FileEntry, KnownFiles, Outputs, Record, Store, TaskFolder};
use dnc_stages::context::{
    AmbientValues, Context, EarlierArtifact, InputArtifact, InputFile, Observer, Surroundings, Written,
};
use dnc_stages::device::DeviceChoice;
use dnc_stages::stage::{Job, Output};
use dnc_stages::{Kind, StageError};

use super::share::Share;
use super::task::{SourceFile, Task};
use super::whole_message;
use super::workers::{NodePool, current_pool};
use crate::fingerprint::Fingerprint;

/// What running one node takes, gathered by the driver.
pub struct Work<'run> {
    /// Its name.
    pub node: &'run str,
    /// The stage with its parameters.
    pub job: &'run dyn Job,
    /// The task.
    pub task: Task,
    /// Its inputs by port.
    pub inputs: BTreeMap<String, Vec<Incoming>>,
    /// The files outside the store.
    pub sources: &'run [SourceFile],
    /// What the stage may know of round and learners.
    pub ambient: AmbientValues,
    /// Where floats are computed.
    pub device: DeviceChoice,
    /// The threads of its pool.
    pub share: Arc<Share>,
    /// The fingerprint that the node had in the last run that knew it.
    pub previous: Option<Fingerprint>,
    /// Whether to run even if a record is there.
    pub forced: bool,
    /// Whether to run twice, with one thread and with all, and compare.
    pub verify: bool,
}

/// An artifact on its way into a node.
pub struct Incoming {
    /// What the stage will see, still without files.
    pub artifact: InputArtifact,
    /// The artifact as its record names it.
    pub stored: Artifact,
}

/// How one try at a task ended.
pub enum Attempt {
    /// It ran and left these outputs. `differs` names the first output and facet that are not as an older record says.
    Ran {
        /// The outputs by name.
        outputs: BTreeMap<String, Artifact>,
        /// `output.facet`, where the task had a record and gave other bytes.
        differs: Option<String>,
    },
    /// Another process finished it first.
    Found(BTreeMap<String, Artifact>),
    /// Another process, of this number if that can be told, is at it.
    Held(Option<u32>),
    /// An input's bytes are gone or rotten: whoever made it must run first.
    InputLost,
    /// It failed, and why.
    Failed(String),
    /// The run was stopped.
    Cancelled,
}

/// What all tries of a run share.
pub struct Around<'run> {
    /// Where records and blobs are.
    pub store: &'run Store,
    /// Who listens to the node.
    pub observer: &'run dyn Observer,
    /// Set when the user wants to stop.
    pub cancelled: &'run AtomicBool,
}

/// Tries the task once, in `pool`. `begin` is called when it is known that it must run.
pub fn attempt(work: Work<'_>, around: &Around<'_>, pool: &mut NodePool, begin: &dyn Fn()) -> Attempt {
    match try_attempt(work, around, pool, begin) {
        Ok(attempt) => attempt,
        Err(Failure::Cache(CacheError::Cancelled { .. }) | Failure::Stage(StageError::Cancelled)) => Attempt::Cancelled,
        Err(Failure::Cache(error)) => Attempt::Failed(whole_message(&error)),
        Err(Failure::Stage(error)) => Attempt::Failed(whole_message(&error)),
        Err(Failure::Message(message)) => Attempt::Failed(message),
    }
}

enum Failure {
    Cache(CacheError),
    Stage(StageError),
    Message(String),
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        Failure::Cache(error)
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        Failure::Stage(error)
    }
}

fn try_attempt(work: Work<'_>, around: &Around<'_>, pool: &mut NodePool, begin: &dyn Fn()) -> Result<Attempt, Failure> {
    let &Around { store, observer, cancelled } = around;
    let Some(claim) = store.try_claim(&work.task.key)? else {
        return Ok(Attempt::Held(store.holder(&work.task.key)));
    };
    // Whoever held the claim before may have finished the task.
    let recorded = store.outputs(&work.task.key)?;
    if let Some(outputs) = &recorded
        && !work.forced
        && all_present(store, outputs)?
    {
        return Ok(Attempt::Found(outputs.clone()));
    }
    begin();
    let Inputs::Open(inputs) = open_inputs(store, &work.inputs)? else { return Ok(Attempt::InputLost) };

    let earlier = find_earlier(store, &work)?;
    let digests = LazyLock::new(|| known_digests(store, work.sources));
    let known_digest = |path: &Path| digest_among(&digests, path);
    let scratch = || store.scratch(&work.task.key).map_err(io::Error::other);
    let mut run = |share: &Arc<Share>| -> Result<Outputs, Failure> {
        let folders: Mutex<Vec<TaskFolder>> = Mutex::default();
        let kept = |folder: Result<TaskFolder, CacheError>| {
            let folder = folder.map_err(io::Error::other)?;
            let path = folder.path().to_path_buf();
            folders.lock().expect("nothing panics while it holds this lock").push(folder);
            Ok(path)
        };
        let surroundings = Surroundings {
            inputs: inputs.clone(),
            sources: work.sources.iter().map(|source| (source.param.clone(), source.path.clone())).collect(),
            ambient: work.ambient,
            device: work.device,
            earlier: earlier.iter().map(|(name, stored)| (name.clone(), opened(store, stored))).collect(),
            known_digest: &known_digest,
            output: &|| kept(store.task_folder()),
            folder: &|| kept(store.work_folder()),
            scratch: &scratch,
            observer,
            cancelled,
        };
        let written = run_caught(pool, share, work.job, surroundings)?;
        check_unchanged(store, work.sources)?;
        // A worker's own thread hashes alone; what took many threads to make is worth as many to hash.
        pool.run(share, || take_in(store, work.job, written, &earlier)).map_err(no_threads)?
    };
    if work.verify {
        empty(&store.scratch(&work.task.key)?)?;
        let alone = run(&Arc::new(Share::fixed(1)))?;
        empty(&store.scratch(&work.task.key)?)?;
        let threads = work.share.most().max(2);
        let together = run(&Arc::new(Share::fixed(threads)))?;
        if let Some(place) = first_difference(&alone, &together) {
            return Err(Failure::Message(format!(
                "It is not reproducible: with one thread and with {threads} its output differs in `{place}`"
            )));
        }
        return finish(store, claim, work.task, together, recorded);
    }
    let ran = run(&work.share);
    match (open_inputs(store, &work.inputs)?, ran) {
        // It was verified when the node began. To make it again and to go on would never end.
        (Inputs::Rotten(port), _) => Err(Failure::Message(format!(
            "Its input `{port}` was written to while it ran; inputs are the store's own files and must only be read. \
             What was damaged is in quarantine, and the next run makes it again"
        ))),
        // What was there when it began may have gone meanwhile: dropped by another run, or by gc.
        (Inputs::Missing, Err(Failure::Stage(_))) => Ok(Attempt::InputLost),
        (_, Ok(outputs)) => finish(store, claim, work.task, outputs, recorded),
        (_, Err(failure)) => Err(failure),
    }
}

/// Whether the files outside the store still are what the task's key says. The system's own programs are not looked at
/// again: a thousand nodes may run the same.
fn check_unchanged(store: &Store, sources: &[SourceFile]) -> Result<(), Failure> {
    for SourceFile { param, path, digest, .. } in sources.iter().filter(|source| !source.on_path) {
        if store.index().digest_path(path)?.digest != *digest {
            let message = format!("`{}` (`{param}`) changed while it ran, so run again", path.display());
            return Err(Failure::Message(message));
        }
    }
    Ok(())
}

fn finish(
    store: &Store,
    claim: Claim,
    task: Task,
    outputs: Outputs,
    recorded: Option<Outputs>,
) -> Result<Attempt, Failure> {
    let differs = recorded.and_then(|recorded| first_difference(&recorded, &outputs));
    let fingerprint = serde_json::to_value(&task.fingerprint).expect("a fingerprint has string keys");
    store.commit(claim, Record { key: task.key, fingerprint, outputs: outputs.clone() })?;
    Ok(Attempt::Ran { outputs, differs })
}

/// Whether the bytes of all outputs are there, as far as a look from outside tells.
pub(super) fn all_present(store: &Store, outputs: &Outputs) -> Result<bool, CacheError> {
    for artifact in outputs.values() {
        if !store.present(artifact)? {
            return Ok(false);
        }
    }
    Ok(true)
}

type OpenInputs = BTreeMap<String, Vec<InputArtifact>>;

/// The inputs of a node, as far as their bytes are there.
enum Inputs {
    /// With the paths of their verified files.
    Open(OpenInputs),
    /// Some bytes are gone.
    Missing,
    /// Some bytes of this port were not what they should be.
    Rotten(String),
}

fn open_inputs(store: &Store, inputs: &BTreeMap<String, Vec<Incoming>>) -> Result<Inputs, CacheError> {
    let mut open = OpenInputs::new();
    for (port, incoming) in inputs {
        let mut artifacts = Vec::with_capacity(incoming.len());
        for Incoming { artifact, stored } in incoming {
            let files = match verified_files(store, stored)? {
                Ok(files) => files,
                Err(Blob::Rotten) => return Ok(Inputs::Rotten(port.clone())),
                Err(_) => return Ok(Inputs::Missing),
            };
            artifacts.push(InputArtifact { files, ..artifact.clone() });
        }
        open.insert(port.clone(), artifacts);
    }
    Ok(Inputs::Open(open))
}

/// The files of an artifact, verified, or what there is instead of the first that cannot be.
pub(crate) fn verified_files(store: &Store, artifact: &Artifact) -> Result<Result<Vec<InputFile>, Blob>, CacheError> {
    let mut files = Vec::with_capacity(artifact.files().len());
    for file in artifact.files() {
        match store.blob(&file.digest)? {
            Blob::Present(path) => files.push(InputFile { name: file.path.clone(), path }),
            lost => return Ok(Err(lost)),
        }
    }
    Ok(Ok(files))
}

/// What the node left when only its files outside the store were others, by output, if its stage wants that and all of it
/// is there, as far as a look from outside tells. A node that is forced to run, or run to be compared, has to do without.
fn find_earlier(store: &Store, work: &Work<'_>) -> Result<BTreeMap<String, (Kind, Artifact)>, CacheError> {
    let fitting = |previous: &&Fingerprint| previous.only_sources_differ(&work.task.fingerprint);
    let wanted = work.job.resources().earlier && !work.forced && !work.verify;
    let Some(previous) = work.previous.as_ref().filter(|_| wanted).filter(fitting) else { return Ok(BTreeMap::new()) };
    let Some(mut record) = store.record(&previous.key())? else { return Ok(BTreeMap::new()) };
    let mut earlier = BTreeMap::new();
    for Output { name, kind } in work.job.ports().outputs {
        if let Some(stored) = record.outputs.remove(&name)
            && store.present(&stored)?
        {
            earlier.insert(name, (kind, stored));
        }
    }
    Ok(earlier)
}

fn opened<'run>(store: &'run Store, (kind, stored): &'run (Kind, Artifact)) -> EarlierArtifact<'run> {
    let verified = move |name: &str| {
        let Some(entry) = entry_of(stored, name) else { return Ok(None) };
        match store.blob(&entry.digest).map_err(io::Error::other)? {
            Blob::Present(path) => Ok(Some(path)),
            Blob::Missing | Blob::Rotten => Ok(None),
        }
    };
    let names = stored.files().iter().map(|file| file.path.clone()).collect();
    EarlierArtifact { kind: *kind, names, verified: Arc::new(verified) }
}

fn entry_of<'a>(artifact: &'a Artifact, name: &str) -> Option<&'a FileEntry> {
    let files = artifact.files();
    files.binary_search_by(|file| file.path.as_str().cmp(name)).ok().map(|place| &files[place])
}

/// What the index knows of the files below each source. It spares reading and nothing else: without it, files are read.
fn known_digests(store: &Store, sources: &[SourceFile]) -> Vec<(PathBuf, KnownFiles)> {
    let index = store.index();
    sources.iter().filter_map(|source| Some((source.path.clone(), index.known_files(&source.path).ok()?))).collect()
}

fn digest_among(known: &[(PathBuf, KnownFiles)], path: &Path) -> Option<[u8; 32]> {
    let digest = known.iter().find_map(|(root, files)| files.digest(path.strip_prefix(root).ok()?));
    digest.map(|digest| *digest.as_bytes())
}

/// Takes every declared output into the store.
fn take_in(
    store: &Store,
    job: &dyn Job,
    mut written: BTreeMap<String, Written>,
    earlier: &BTreeMap<String, (Kind, Artifact)>,
) -> Result<BTreeMap<String, Artifact>, Failure> {
    let mut outputs = BTreeMap::new();
    for output in job.ports().outputs {
        let Some(written) = written.remove(&output.name) else {
            return Err(Failure::Message(format!("It did not write its output `{}`", output.name)));
        };
        let facets = written.facets.into_iter().map(|(name, bytes)| (name, Digest::from_bytes(bytes))).collect();
        let mut kept = Vec::with_capacity(written.kept.len());
        for (name, there) in written.kept {
            let entry = earlier.get(&output.name).and_then(|(_, stored)| entry_of(stored, &there));
            let Some(entry) = entry else {
                let message = format!("It kept `{there}`, which was not there (a defect, please report it)");
                return Err(Failure::Message(message));
            };
            kept.push(FileEntry { path: name, ..entry.clone() });
        }
        outputs.insert(output.name, store.ingest_beside(&written.folder, kept, facets)?);
    }
    Ok(outputs)
}

/// The first output, and facet of it, in which two results of one task differ.
fn first_difference(old: &BTreeMap<String, Artifact>, new: &BTreeMap<String, Artifact>) -> Option<String> {
    for (name, new) in new {
        let Some(old) = old.get(name) else { return Some(name.clone()) };
        let facets = old.facets().keys().chain(new.facets().keys());
        if let Some(facet) = facets.filter(|&facet| old.facets().get(facet) != new.facets().get(facet)).min() {
            return Some(format!("{name}.{facet}"));
        }
        if old.digest() != new.digest() {
            let file = new.files().iter().find(|&file| !old.files().contains(file));
            return Some(file.map_or_else(|| name.clone(), |file| format!("{name}/{}", file.path)));
        }
    }
    None
}

fn empty(folder: &Path) -> Result<(), StageError> {
    std::fs::remove_dir_all(folder)
        .and_then(|()| std::fs::create_dir_all(folder))
        .map_err(|source| StageError::file("empty", folder, source))
}

/// Runs the job in a rayon pool of its own. A panic becomes an error that says where it happened.
fn run_caught(
    pool: &mut NodePool,
    share: &Arc<Share>,
    job: &dyn Job,
    surroundings: Surroundings<'_>,
) -> Result<BTreeMap<String, Written>, Failure> {
    remember_panics();
    let run = || {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::new(surroundings);
            job.run(&mut context).map(|()| context.finish())
        }));
        ended.map_err(|payload| {
            let told = current_pool().and_then(|pool| PANICS.lock().expect("the hook does not panic").remove(&pool));
            let told = told.unwrap_or_else(|| text_of(payload.as_ref()));
            Failure::Message(format!("It panicked (a defect, please report it): {told}"))
        })
    };
    pool.run(share, run).map_err(no_threads)??.map_err(Failure::from)
}

fn no_threads(error: rayon::ThreadPoolBuildError) -> Failure {
    Failure::Message(format!("Cannot start the node's threads: {error}"))
}

/// Message, place and backtrace of the last panic in each pool in which a node runs.
static PANICS: Mutex<BTreeMap<usize, String>> = Mutex::new(BTreeMap::new());

/// Makes a panic of a node be remembered with its place instead of being printed between the lines of the others.
fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let Some(pool) = current_pool() else { return default(info) };
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let told = format!("{} at {place}\n{}", text_of(info.payload()), Backtrace::capture());
            PANICS.lock().expect("this hook does not panic").insert(pool, told);
        }));
    });
}

/// The message of a panic.
pub(super) fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|&text| text.to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
