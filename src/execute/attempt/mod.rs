//! One attempt at a task on this machine: claim the key, open the inputs, run the stage, commit the outputs.
//!
//! Reading order: this file, then [`inputs`] (verified input files, and what an earlier run left) and [`outputs`] (from the
//! stage's folders into the store).

mod failure;
mod inputs;
mod outputs;

use std::collections::BTreeMap;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use dnc_cache::{CacheError, Claim, Outputs, Record, Store, TaskFolder};
use dnc_stages::StageError;
use dnc_stages::api::Job;
use dnc_stages::api::{Context, Environment, Observer, OutputArtifact};
use dnc_stages::command::ran_out_of_memory;

use failure::Failure;
pub use inputs::verified_files;
use inputs::{EarlierOutputs, Inputs, KnownDigests, open_inputs};
use outputs::{first_difference, take_in};

use super::host::Host;
use super::panics;
use super::task::SourceFile;
use super::thread_share::ThreadShare;
use super::work::{Attempt, Work};
use super::workers::NodePool;
use crate::error_chain::error_chain;

/// Attempts the task once, in `pool`, with the threads of `share`. `begin` is called once it is certain that the stage must run.
pub fn attempt(
    work: &Work,
    share: &Arc<ThreadShare>,
    host: &Host,
    observer: &dyn Observer,
    pool: &mut NodePool,
    begin: &dyn Fn(),
) -> Attempt {
    let failed = |message| Attempt::Failed { message };
    match try_attempt(work, share, host, observer, pool, begin) {
        Ok(attempt) => attempt,
        Err(Failure::Cache(CacheError::Cancelled { .. }) | Failure::Stage(StageError::Cancelled)) => Attempt::Cancelled,
        Err(Failure::Cache(error)) => failed(error_chain(&error)),
        Err(Failure::Stage(error)) => {
            let remedy = work.memory_remedy.as_ref().filter(|_| ran_out_of_memory(&error));
            failed(error_chain(&error) + &remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default())
        }
        Err(Failure::Message(message)) => failed(message),
    }
}

/// Whether the bytes of all outputs are present, judging by file metadata only.
pub(super) fn all_present(store: &Store, outputs: &Outputs) -> Result<bool, CacheError> {
    for artifact in outputs.values() {
        if !store.present(artifact)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn try_attempt(
    work: &Work,
    share: &Arc<ThreadShare>,
    host: &Host,
    observer: &dyn Observer,
    pool: &mut NodePool,
    begin: &dyn Fn(),
) -> Result<Attempt, Failure> {
    let store = host.store.as_ref();
    let Some(claim) = store.try_claim(&work.task.key)? else {
        return Ok(Attempt::Claimed { holder: store.holder(&work.task.key) });
    };
    // The previous holder of the claim may have finished the task.
    let recorded = store.outputs(&work.task.key)?;
    if let Some(outputs) = &recorded
        && !work.forced
        && all_present(store, outputs)?
    {
        return Ok(Attempt::Found { outputs: outputs.clone() });
    }
    begin();
    let job = job_of(work)?;
    let Inputs::Open(inputs) = open_inputs(store, &work.inputs)? else { return Ok(Attempt::InputLost) };
    let stage_run = StageRun {
        work,
        job: job.as_ref(),
        host,
        observer,
        earlier: EarlierOutputs::find(store, work, job.as_ref())?,
        inputs,
    };
    if work.verify {
        let outputs = stage_run.run_twice(share, pool)?;
        return commit(store, claim, work, outputs, recorded);
    }
    let ran = stage_run.run(share, pool);
    match (open_inputs(store, &work.inputs)?, ran) {
        // The input was verified when the node started. Restoring it and trying again would never end.
        (Inputs::Damaged(port), _) => Err(Failure::Message(format!(
            "Its input `{port}` was modified while the node ran; inputs are the store's own files and must only be read. \
             The damaged file was moved to quarantine; the next run restores it"
        ))),
        // A file that was there at the start may have been dropped by another run or by `cache gc`.
        (Inputs::Missing, Err(Failure::Stage(_))) => Ok(Attempt::InputLost),
        (_, Ok(outputs)) => commit(store, claim, work, outputs, recorded),
        (_, Err(failure)) => Err(failure),
    }
}

/// The stage with its parameters.
fn job_of(work: &Work) -> Result<Box<dyn Job>, Failure> {
    let fingerprint = &work.task.fingerprint;
    let refuse = |reason: String| Failure::Message(format!("Cannot run the stage `{}`: {reason}", fingerprint.stage));
    let kind = dnc_stages::registry::find(&fingerprint.stage)
        .ok_or_else(|| refuse("this program has no such stage".into()))?;
    if kind.version != fingerprint.version {
        let (ours, theirs) = (kind.version, fingerprint.version);
        return Err(refuse(format!(
            "this program has its version {ours}, but the task was planned with version {theirs}"
        )));
    }
    kind.parse(work.params.clone()).map_err(|error| refuse(error.to_string()))
}

fn commit(
    store: &Store,
    claim: Claim,
    work: &Work,
    outputs: Outputs,
    recorded: Option<Outputs>,
) -> Result<Attempt, Failure> {
    let differs = recorded.and_then(|recorded| first_difference(&recorded, &outputs));
    let fingerprint = serde_json::to_value(&work.task.fingerprint).expect("a fingerprint has string keys");
    store.commit(claim, Record { key: work.task.key, fingerprint, outputs: outputs.clone() })?;
    Ok(Attempt::Ran { outputs, differs })
}

/// A stage that is ready to run: parameters parsed and inputs verified.
struct StageRun<'run> {
    work: &'run Work,
    job: &'run dyn Job,
    host: &'run Host,
    observer: &'run dyn Observer,
    inputs: inputs::OpenInputs,
    earlier: EarlierOutputs,
}

impl StageRun<'_> {
    /// Runs the stage and takes its outputs into the store.
    fn run(&self, share: &Arc<ThreadShare>, pool: &mut NodePool) -> Result<Outputs, Failure> {
        let Host { store, devices, stop, .. } = self.host;
        let digests = LazyLock::new(|| KnownDigests::below(store, &self.work.sources));
        let known_digest = |path: &Path| digests.find(path);
        let scratch = || store.scratch(&self.work.task.key).map_err(io::Error::other);
        // Task folders are removed when they are dropped: after the outputs were taken in.
        let folders: Mutex<Vec<TaskFolder>> = Mutex::default();
        let keep = |folder: Result<TaskFolder, CacheError>| {
            let folder = folder.map_err(io::Error::other)?;
            let path = folder.path().to_path_buf();
            crate::sync::lock(&folders).push(folder);
            Ok(path)
        };
        let environment = Environment {
            inputs: self.inputs.clone(),
            sources: self.work.sources.iter().map(|source| (source.param.clone(), source.path.clone())).collect(),
            own: self.work.sources.iter().flat_map(|source| source.rules.excluded.clone()).collect(),
            ambient: self.work.ambient(),
            device: self.work.device,
            devices,
            earlier: self.earlier.open(store),
            known_digest: &known_digest,
            output: &|| keep(store.task_folder()),
            folder: &|| keep(store.work_folder()),
            scratch: &scratch,
            observer: self.observer,
            cancelled: stop,
        };
        let written = run_stage(pool, share, self.job, environment)?;
        check_unchanged(store, &self.work.sources)?;
        // A worker's own thread hashes alone; outputs that took many threads to compute are worth as many to hash.
        pool.run(share, || take_in(store, self.job, written, &self.earlier)).map_err(no_threads)?
    }

    /// Runs the stage with one thread and with several, and compares the outputs.
    fn run_twice(&self, share: &Arc<ThreadShare>, pool: &mut NodePool) -> Result<Outputs, Failure> {
        let threads = share.most().max(2);
        let mut run_afresh = |threads| {
            empty(&self.host.store.scratch(&self.work.task.key)?)?;
            self.run(&Arc::new(ThreadShare::fixed(threads)), pool)
        };
        let (with_one, with_several) = (run_afresh(1)?, run_afresh(threads)?);
        match first_difference(&with_one, &with_several) {
            None => Ok(with_several),
            Some(location) => Err(Failure::Message(format!(
                "It is not reproducible: `{location}` differs between a run with one thread and one with {threads}"
            ))),
        }
    }
}

/// Runs the stage in a rayon pool of its own. A panic becomes an error that says where it happened.
fn run_stage(
    pool: &mut NodePool,
    share: &Arc<ThreadShare>,
    job: &dyn Job,
    environment: Environment<'_>,
) -> Result<BTreeMap<String, OutputArtifact>, Failure> {
    panics::remember();
    let run = || {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::new(environment);
            job.run(&mut context).map(|()| context.finish())
        }));
        ended.map_err(|payload| {
            let message = panics::take(payload.as_ref());
            Failure::Message(format!("It panicked (this is a bug, please report it): {message}"))
        })
    };
    pool.run(share, run).map_err(no_threads)??.map_err(Failure::from)
}

fn no_threads(error: rayon::ThreadPoolBuildError) -> Failure {
    Failure::Message(format!("Cannot start the node's threads: {error}"))
}

/// Fails if a file outside the store changed while the stage ran. Programs found on the PATH are not checked again, since a
/// thousand nodes may run the same one.
fn check_unchanged(store: &Store, sources: &[SourceFile]) -> Result<(), Failure> {
    for SourceFile { param, path, digest, rules, .. } in sources.iter().filter(|source| !source.on_path) {
        if store.index().digest_path_with_progress(path, rules, &|_, _| Ok(()))?.digest != *digest {
            let path = path.display();
            return Err(Failure::Message(format!(
                "`{path}` (`{param}`) changed while the node ran; start the run again"
            )));
        }
    }
    Ok(())
}

fn empty(folder: &Path) -> Result<(), StageError> {
    std::fs::remove_dir_all(folder)
        .and_then(|()| std::fs::create_dir_all(folder))
        .map_err(|source| StageError::file("empty", folder, source))
}
