//! A place to run stages in tests: a temporary folder in the role of the engine.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use dnc_tables::TableError;
use tempfile::TempDir;

use crate::api::{
    AmbientValues, ArtifactKind, Columns, Context, DeviceChoice, Devices, EarlierArtifact, Environment, InputArtifact,
    InputFile, Observer, OutputArtifact, Stage, StageError, cpu_arithmetic,
};

/// A temporary folder in which stages run one after the other.
pub(crate) struct Workshop {
    folder: TempDir,
    /// Ambient values; each stage is given those that it declared.
    pub(crate) ambient: AmbientValues,
    /// Outputs of an earlier run.
    pub(crate) earlier: BTreeMap<String, InputArtifact>,
    /// Files and folders in the role of those that the program writes.
    pub(crate) own: Vec<PathBuf>,
    /// Whether digests of files are known without reading them.
    pub(crate) knows_digests: bool,
    /// Lines that stages wrote to their logs.
    pub(crate) log: Lines,
    devices: Devices,
}

/// An observer that keeps log lines.
#[derive(Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<String>>);

impl Observer for Lines {
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn log(&self, line: &str) {
        self.0.lock().expect("no test panics while it logs").push(line.to_owned());
    }
    fn warn(&self, message: &str) {
        self.log(&format!("Warning: {message}"));
    }
    fn measured(&self, _: &str, _: f64) {}
}

/// The outputs of a stage, by name.
pub(crate) type Outputs = BTreeMap<String, OutputArtifact>;

impl Workshop {
    pub(crate) fn new() -> Self {
        let ambient =
            AmbientValues { seed: Some(0), round: Some(0), learners: Some(1), previous_learners: None, learner: None };
        let folder = TempDir::new().expect("a temporary folder can be created");
        Self {
            folder,
            ambient,
            earlier: BTreeMap::new(),
            own: Vec::new(),
            knows_digests: false,
            log: Lines::default(),
            devices: Devices::default(),
        }
    }

    /// The warnings in the logs, a line each.
    pub(crate) fn warnings(&self) -> String {
        let lines = self.log.0.lock().expect("no test panics while it logs");
        lines.iter().filter(|line| line.starts_with("Warning: ")).cloned().collect::<Vec<_>>().join("\n")
    }

    /// The folder, for files that a stage reads from outside the store.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `stage` with these inputs, each restricted to the columns that its port declares.
    pub(crate) fn run<S: Stage>(&self, stage: &S, inputs: &[(&str, &InputArtifact)]) -> Result<Outputs, StageError> {
        let ports = stage.ports();
        let mut connected: BTreeMap<String, Vec<InputArtifact>> = BTreeMap::new();
        for (port, artifact) in inputs {
            let columns =
                ports.inputs.iter().find(|input| input.name == *port).expect("the port is declared").columns.clone();
            connected.entry((*port).to_owned()).or_default().push(InputArtifact { columns, ..(*artifact).clone() });
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
        let home = tempfile::Builder::new().prefix(S::NAME).tempdir_in(self.path());
        let home = home.expect("a folder can be created").keep();
        let folder = || Ok(tempfile::tempdir_in(&home)?.keep());
        let cancelled = AtomicBool::new(false);
        let known_digest = |path: &Path| {
            let bytes = self.knows_digests.then(|| fs::read(path).expect("a listed file can be read"))?;
            Some(*blake3::hash(&bytes).as_bytes())
        };
        let mut context = Context::new(Environment {
            inputs: connected,
            sources,
            own: self.own.clone(),
            ambient,
            device: DeviceChoice::Cpu,
            devices: &self.devices,
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
                let source = self.earlier[output].file(kept).expect("only files of the earlier run can be kept");
                fs::copy(source, written.folder.join(name)).expect("the file can be copied");
            }
        }
        Ok(outputs)
    }

    /// Writes an artifact of `kind` with `write`; returns it as an input and as it was written.
    pub(crate) fn write(
        &self,
        kind: ArtifactKind,
        write: impl FnOnce(&mut OutputArtifact) -> Result<(), TableError>,
    ) -> Result<(InputArtifact, OutputArtifact), TableError> {
        let folder = tempfile::tempdir_in(self.path()).expect("a folder can be created").keep();
        let mut output = OutputArtifact::new(folder);
        write(&mut output)?;
        Ok((artifact(kind, &output.folder), output))
    }
}

fn earlier(artifact: InputArtifact) -> EarlierArtifact<'static> {
    let names = artifact.files.iter().map(|file| file.name.clone()).collect();
    let kind = artifact.kind;
    let verified = move |name: &str| Ok(artifact.file(name).ok().map(Path::to_path_buf).filter(|path| path.exists()));
    EarlierArtifact { kind, names, verified: std::sync::Arc::new(verified) }
}

/// The files of `folder` as an input all of whose columns are declared.
pub(crate) fn artifact(kind: ArtifactKind, folder: &Path) -> InputArtifact {
    let entries = fs::read_dir(folder).expect("the folder exists");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the entry can be read").path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().expect("it is a file").to_string_lossy().into_owned();
    let files = paths.into_iter().map(|path| InputFile { name: name(&path), path }).collect();
    InputArtifact { node: kind.name().to_owned(), kind, files, columns: Columns::All }
}

/// The digest of everything that a stage wrote: names of outputs and files, their bytes, and the facets.
pub(crate) fn digest(outputs: &Outputs) -> String {
    let mut all = blake3::Hasher::new();
    for (name, written) in outputs {
        all.update(name.as_bytes());
        for file in artifact(ArtifactKind::Files, &written.folder).files {
            all.update(file.name.as_bytes()).update(&fs::read(&file.path).expect("the file can be read"));
        }
        for (facet, digest) in &written.facets {
            all.update(facet.as_bytes()).update(digest);
        }
    }
    all.finalize().to_hex()[..16].to_owned()
}

/// Compares a stage's version and the [`digest`] of what it writes with the recorded ones. `digests` has one for each
/// arithmetic that was recorded. On a machine with another arithmetic the comparison is skipped, except under CI (if the
/// environment variable `CI` is set), where it fails: every machine of CI must be recorded.
pub(crate) fn check_known_bytes((version, outputs): (u32, &Outputs), (recorded, digests): (u32, &[(&str, &str)])) {
    let (arithmetic, found) = (arithmetic(), digest(outputs));
    assert_eq!(version, recorded, "the version was raised: record the new digest, `{arithmetic}` has {found}");
    match digests.iter().find(|(name, _)| *name == arithmetic) {
        Some((_, expected)) => assert_eq!(
            found, *expected,
            "the bytes changed under `{arithmetic}`: raise the VERSION of the stage and record the new digests"
        ),
        None if env::var_os("CI").is_some() => panic!(
            "no digest is recorded for the arithmetic `{arithmetic}` of this machine; if the bytes of version {version} are \
             correct here, add `(\"{arithmetic}\", \"{found}\")` to this test"
        ),
        None => eprintln!("skipped: no digest is recorded for `{arithmetic}`; here it is {found}"),
    }
}

/// What the bits of floats depend on: the instruction set, and the C library with its functions such as `exp`.
fn arithmetic() -> String {
    let c_library = match () {
        () if cfg!(target_env = "gnu") => "gnu",
        () if cfg!(target_env = "musl") => "musl",
        () => env::consts::OS,
    };
    format!("{}/{c_library}", cpu_arithmetic())
}

/// Runs `work` on `threads` threads.
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool can be created").install(work)
}
