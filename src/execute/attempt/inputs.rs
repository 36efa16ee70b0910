//! What a node reads: verified files of its input artifacts, and outputs that an earlier run left.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dnc_cache::{Artifact, Blob, CacheError, FileEntry, IndexedFiles, Store};
use dnc_stages::ArtifactKind;
use dnc_stages::api::Job;
use dnc_stages::api::Output;
use dnc_stages::api::{EarlierArtifact, InputArtifact, InputFile};

use crate::execute::task::SourceFile;
use crate::execute::work::{Work, WorkInput};
use crate::fingerprint::Fingerprint;

/// Input artifacts by port, with the paths of their files.
pub(super) type OpenInputs = BTreeMap<String, Vec<InputArtifact>>;

/// The inputs of a node, as far as their bytes are there.
pub(super) enum Inputs {
    /// All files are there and verified.
    Open(OpenInputs),
    /// Some files are missing.
    Missing,
    /// A file on this port is damaged.
    Damaged(String),
}

/// Verifies and opens the inputs of a node.
pub(super) fn open_inputs(store: &Store, inputs: &BTreeMap<String, Vec<WorkInput>>) -> Result<Inputs, CacheError> {
    let mut open = OpenInputs::new();
    for (port, inputs) in inputs {
        let mut artifacts = Vec::with_capacity(inputs.len());
        for WorkInput { node, kind, columns, artifact } in inputs {
            let files = match verified_files(store, artifact)? {
                Ok(files) => files,
                Err(Blob::Damaged) => return Ok(Inputs::Damaged(port.clone())),
                Err(_) => return Ok(Inputs::Missing),
            };
            artifacts.push(InputArtifact { node: node.clone(), kind: *kind, columns: columns.clone(), files });
        }
        open.insert(port.clone(), artifacts);
    }
    Ok(Inputs::Open(open))
}

/// The verified files of an artifact, or the state of the first that is missing or damaged.
///
/// # Errors
/// The store cannot be read.
pub fn verified_files(store: &Store, artifact: &Artifact) -> Result<Result<Vec<InputFile>, Blob>, CacheError> {
    let mut files = Vec::with_capacity(artifact.files().len());
    for file in artifact.files() {
        match store.blob(&file.digest)? {
            Blob::Present(path) => files.push(InputFile { name: file.path.clone(), path }),
            lost => return Ok(Err(lost)),
        }
    }
    Ok(Ok(files))
}

/// The outputs that the node had when only its files outside the store were different, by name. Empty unless the stage asks
/// for them and all of their bytes are there, judging by file metadata only. A node that is forced to run, or runs to be
/// compared, does not get them.
pub(super) struct EarlierOutputs(BTreeMap<String, (ArtifactKind, Artifact)>);

impl EarlierOutputs {
    pub(super) fn find(store: &Store, work: &Work, job: &dyn Job) -> Result<Self, CacheError> {
        let mut earlier = Self(BTreeMap::new());
        let is_usable = |previous: &&Fingerprint| previous.only_sources_differ(&work.task.fingerprint);
        let is_wanted = job.resources().earlier && !work.forced && !work.verify;
        let Some(previous) = work.previous.as_ref().filter(|_| is_wanted).filter(is_usable) else { return Ok(earlier) };
        let Some(mut outputs) = store.outputs(&previous.key())? else { return Ok(earlier) };
        for Output { name, kind, .. } in job.ports().outputs {
            if let Some(artifact) = outputs.remove(&name)
                && store.present(&artifact)?
            {
                earlier.0.insert(name, (kind, artifact));
            }
        }
        Ok(earlier)
    }

    /// The artifacts as the stage sees them: files are verified when it asks for them.
    pub(super) fn open<'run>(&'run self, store: &'run Store) -> BTreeMap<String, EarlierArtifact<'run>> {
        let open = |(kind, artifact): &'run (ArtifactKind, Artifact)| {
            let verified = move |name: &str| {
                let Some(entry) = entry_of(artifact, name) else { return Ok(None) };
                match store.blob(&entry.digest).map_err(io::Error::other)? {
                    Blob::Present(path) => Ok(Some(path)),
                    Blob::Missing | Blob::Damaged => Ok(None),
                }
            };
            let names = artifact.files().iter().map(|file| file.path.clone()).collect();
            EarlierArtifact { kind: *kind, names, verified: Arc::new(verified) }
        };
        self.0.iter().map(|(name, earlier)| (name.clone(), open(earlier))).collect()
    }

    /// The file called `file` of the output called `output`.
    pub(super) fn entry(&self, output: &str, file: &str) -> Option<&FileEntry> {
        self.0.get(output).and_then(|(_, artifact)| entry_of(artifact, file))
    }
}

fn entry_of<'a>(artifact: &'a Artifact, name: &str) -> Option<&'a FileEntry> {
    let files = artifact.files();
    files.binary_search_by(|file| file.path.as_str().cmp(name)).ok().map(|position| &files[position])
}

/// Digests of the files below each source, as far as the store's index has them. They only save reading: without them,
/// files are read.
pub(super) struct KnownDigests(Vec<(PathBuf, IndexedFiles)>);

impl KnownDigests {
    pub(super) fn below(store: &Store, sources: &[SourceFile]) -> Self {
        let index = store.index();
        let known = |source: &SourceFile| Some((source.path.clone(), index.indexed_files(&source.path).ok()?));
        Self(sources.iter().filter_map(known).collect())
    }

    pub(super) fn find(&self, path: &Path) -> Option<[u8; 32]> {
        let digest = self.0.iter().find_map(|(root, files)| files.digest(path.strip_prefix(root).ok()?));
        digest.map(|digest| *digest.as_bytes())
    }
}
