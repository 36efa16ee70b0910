//! A place to run stages in tests: a temporary folder that plays the executor.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use crate::context::{
    AmbientValues, Context, EarlierArtifact, InputArtifact, InputFile, Observer, Surroundings, Written,
};
use crate::device::DeviceChoice;
use crate::error::StageError;
use crate::stage::{Columns, Stage};

/// A temporary folder in which stages run one after the other.
pub(crate) struct Workshop {
    folder: TempDir,
    /// What every stage gets of the values that it declared.
    pub(crate) ambient: AmbientValues,
    /// What a stage finds of an earlier run.
    pub(crate) earlier: BTreeMap<String, InputArtifact>,
    /// Whether digests of files are known before they are read.
    pub(crate) knows_digests: bool,
    /// Lines that stages wrote to their logs.
    pub(crate) log: Lines,
}

/// An observer that keeps the lines of logs.
#[derive(Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<String>>);

impl Observer for Lines {
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn log(&self, line: &str) {
        self.0.lock().expect("no test panics while it logs").push(line.to_owned());
    }
    fn measured(&self, _: &str, _: f64) {}
}

/// What a stage wrote.
pub(crate) type Outputs = BTreeMap<String, Written>;

impl Workshop {
    pub(crate) fn new() -> Self {
        let ambient =
            AmbientValues { seed: Some(0), round: Some(0), learners: Some(1), previous_learners: None, learner: None };
        let folder = TempDir::new().expect("a temporary folder can be made");
        Self { folder, ambient, earlier: BTreeMap::new(), knows_digests: false, log: Lines::default() }
    }

    /// The folder, for files that a stage reads from outside the store.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `stage` with these inputs, each narrowed to the columns that its port declares.
    pub(crate) fn run<S: Stage>(&self, stage: &S, inputs: &[(&str, &InputArtifact)]) -> Result<Outputs, StageError> {
        let ports = stage.ports();
        let mut fed: BTreeMap<String, Vec<InputArtifact>> = BTreeMap::new();
        for (port, artifact) in inputs {
            let columns =
                ports.inputs.iter().find(|input| input.name == *port).expect("the port is declared").columns.clone();
            fed.entry((*port).to_owned()).or_default().push(InputArtifact { columns, ..(*artifact).clone() });
        }
        let sources = stage.sources().into_iter().filter_map(|source| Some((source.find(self.path())?, source.param)));
        let sources = sources.map(|(path, param)| (param, path)).collect();
        let declared = stage.ambient();
        let ambient = AmbientValues {
            seed: self.ambient.seed.filter(|_| declared.seed),
            round: self.ambient.round.filter(|_| declared.round),
            learners: self.ambient.learners.filter(|_| declared.learners),
            previous_learners: self.ambient.previous_learners.filter(|_| declared.learners),
            learner: self.ambient.learner.filter(|_| declared.learner),
        };
        let home =
            tempfile::Builder::new().prefix(S::NAME).tempdir_in(self.path()).expect("a folder can be made").keep();
        let folder = || Ok(tempfile::tempdir_in(&home)?.keep());
        let cancelled = AtomicBool::new(false);
        let known_digest = |path: &Path| {
            let bytes = self.knows_digests.then(|| fs::read(path).expect("a listed file can be read"))?;
            Some(*blake3::hash(&bytes).as_bytes())
        };
        let mut context = Context::new(Surroundings {
            inputs: fed,
            sources,
            ambient,
            device: DeviceChoice::Cpu,
            earlier: self.earlier.iter().map(|(name, artifact)| (name.clone(), earlier(artifact.clone()))).collect(),
            known_digest: &known_digest,
            output: &folder,
            folder: &folder,
            scratch: &folder,
            observer: &self.log,
            cancelled: &cancelled,
        });
        stage.run(&mut context)?;
        let outputs = context.finish();
        for (output, written) in &outputs {
            for (name, kept) in &written.kept {
                let there = self.earlier[output].file(kept).expect("only what was there can be kept");
                fs::copy(there, written.folder.join(name)).expect("it can be copied");
            }
        }
        Ok(outputs)
    }

    /// Runs `write` with a context of its own and gives the output called `output` as an input.
    pub(crate) fn write(
        &self,
        kind: crate::Kind,
        output: &str,
        write: impl FnOnce(&mut Context<'_>) -> Result<(), StageError>,
    ) -> Result<(InputArtifact, Written), StageError> {
        let folder = || Ok(tempfile::tempdir_in(self.path())?.keep());
        let cancelled = AtomicBool::new(false);
        let mut context = Context::new(Surroundings {
            inputs: BTreeMap::new(),
            sources: BTreeMap::new(),
            ambient: self.ambient,
            device: DeviceChoice::Cpu,
            earlier: BTreeMap::new(),
            known_digest: &|_| None,
            output: &folder,
            folder: &folder,
            scratch: &folder,
            observer: &self.log,
            cancelled: &cancelled,
        });
        write(&mut context)?;
        let written = context.finish().remove(output).expect("the output was written");
        Ok((artifact(kind, &written.folder), written))
    }
}

fn earlier(artifact: InputArtifact) -> EarlierArtifact<'static> {
    let names = artifact.files.iter().map(|file| file.name.clone()).collect();
    let kind = artifact.kind;
    let verified = move |name: &str| Ok(artifact.file(name).ok().map(Path::to_path_buf).filter(|path| path.exists()));
    EarlierArtifact { kind, names, verified: std::sync::Arc::new(verified) }
}

/// The files of `folder` as an input of which all columns are declared.
pub(crate) fn artifact(kind: crate::Kind, folder: &Path) -> InputArtifact {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().expect("it is a file").to_string_lossy().into_owned();
    let files = paths.into_iter().map(|path| InputFile { name: name(&path), path }).collect();
    InputArtifact { node: kind.name().to_owned(), kind, files, columns: Columns::All }
}

/// Digest of everything that a stage wrote: names of outputs and files, their bytes, and the facets.
pub(crate) fn digest(outputs: &Outputs) -> String {
    let mut all = blake3::Hasher::new();
    for (name, written) in outputs {
        all.update(name.as_bytes());
        for file in artifact(crate::Kind::Files, &written.folder).files {
            all.update(file.name.as_bytes()).update(&fs::read(&file.path).expect("the file can be read"));
        }
        for (facet, digest) in &written.facets {
            all.update(facet.as_bytes()).update(digest);
        }
    }
    all.finalize().to_hex()[..16].to_owned()
}

/// Compares a stage's version and the [`digest`] of what it writes with what is known of both. What floats come to follows from
/// the instruction set and the C library, so they are compared where both are those that the digests were taken with.
pub(crate) fn check_known_bytes(now: (u32, &Outputs), expected: (u32, &str)) {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
    if std::arch::is_x86_feature_detected!("avx512f") {
        assert_eq!((now.0, digest(now.1).as_str()), expected);
        return;
    }
    let (version, bytes) = expected;
    eprintln!(
        "skipped: version {version} stands for {bytes} with AVX-512 and glibc only; here it is {}",
        digest(now.1)
    );
}

/// Runs `work` on `threads` threads.
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool can be made").install(work)
}
