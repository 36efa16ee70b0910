//! What a running stage may see: its inputs, its ambient values, its device and folders, and nothing else.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use dnc_learn::streams::Streams;

use crate::device::DeviceChoice;
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::Columns;

/// Who listens to a running stage.
pub trait Observer: Sync {
    /// `done` of `total` units are done; `total` may be 0 where it is not known.
    fn progress(&self, done: u64, total: u64, unit: &str);
    /// A line for the node's log.
    fn log(&self, line: &str);
    /// A measured value that is not deterministic and so belongs to the run, not to an artifact: images per second.
    fn measured(&self, name: &str, value: f64);
}

/// An observer that listens to nothing.
pub struct Deaf;

impl Observer for Deaf {
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn log(&self, _: &str) {}
    fn measured(&self, _: &str, _: f64) {}
}

/// Everything that a context is made of, filled in by whoever runs the stage.
pub struct Surroundings<'run> {
    /// The artifacts on each port, in the learners' order.
    pub inputs: BTreeMap<String, Vec<InputArtifact>>,
    /// Files and folders outside the store, by the parameter that names them, resolved.
    pub sources: BTreeMap<String, PathBuf>,
    /// What the stage declared in [`Ambient`](crate::stage::Ambient); the rest is `None`.
    pub ambient: AmbientValues,
    /// Where floats are computed.
    pub device: DeviceChoice,
    /// What this node left when only its files outside the store were others, where the stage asked for that
    /// ([`Resources::earlier`](crate::stage::Resources)) and it is still there.
    pub earlier: BTreeMap<String, EarlierArtifact<'run>>,
    /// The BLAKE3 digest of a file below a source, where it is known without reading the file.
    pub known_digest: KnownDigest<'run>,
    /// Makes a private, empty folder for an output. It goes when the node is done.
    pub output: MakeFolder<'run>,
    /// Makes one to work in.
    pub folder: MakeFolder<'run>,
    /// Gives the folder that outlives a kill and is there again when the same task is tried anew.
    pub scratch: MakeFolder<'run>,
    /// Who listens.
    pub observer: &'run dyn Observer,
    /// Set when the user wants to stop.
    pub cancelled: &'run AtomicBool,
}

/// Makes a folder, or finds it.
pub type MakeFolder<'run> = &'run (dyn Fn() -> io::Result<PathBuf> + Sync);

/// Tells the digest of a file's bytes, where they are known and unchanged.
pub type KnownDigest<'run> = &'run (dyn Fn(&Path) -> Option<[u8; 32]> + Sync);

/// The ambient values that a stage declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AmbientValues {
    /// The manifest's seed.
    pub seed: Option<u64>,
    /// The round, from 0.
    pub round: Option<u32>,
    /// How many learners this round has.
    pub learners: Option<u32>,
    /// How many learners the last round had; `None` in the first.
    pub previous_learners: Option<u32>,
    /// Which learner this node trains; `None` where one node trains all.
    pub learner: Option<u32>,
}

/// An artifact that a stage reads. Its files are verified and must not be written to.
#[derive(Clone, Debug)]
pub struct InputArtifact {
    /// The node that wrote it, for messages.
    pub node: String,
    /// What it holds.
    pub kind: Kind,
    /// Its files, sorted by name.
    pub files: Vec<InputFile>,
    /// What the port declared; a table reader shows no other columns.
    pub columns: Columns,
}

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Its name in the artifact.
    pub name: String,
    /// Where its bytes lie. The path's name says nothing: blobs are called by their digests.
    pub path: PathBuf,
}

impl InputArtifact {
    /// The path of the file called `name`.
    ///
    /// # Errors
    /// The artifact has no such file.
    pub fn file(&self, name: &str) -> Result<&Path, StageError> {
        self.files.iter().find(|file| file.name == name).map(|file| file.path.as_path()).ok_or_else(|| {
            StageError::input(format!(
                "The {kind} of `{node}` have no file `{name}`",
                kind = self.kind,
                node = self.node
            ))
        })
    }
}

/// An output as the node left it before. Its files are verified when they are asked for, so that those which are only
/// kept are not read.
#[derive(Clone)]
pub struct EarlierArtifact<'run> {
    /// What it holds.
    pub kind: Kind,
    /// The names of its files, sorted. They are there, as far as a look from outside tells.
    pub names: Vec<String>,
    /// Where the verified bytes of the file of this name lie; `None` where they are not what they were.
    pub verified: Verified<'run>,
}

/// Verifies a file of an artifact, by name.
pub type Verified<'run> = Arc<dyn Fn(&str) -> io::Result<Option<PathBuf>> + Send + Sync + 'run>;

impl EarlierArtifact<'_> {
    /// The files with these names alone, verified; `None` where one of them is not there or not what it was.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn input(&self, names: &[&str]) -> Result<Option<InputArtifact>, StageError> {
        let mut files = Vec::with_capacity(names.len());
        for &name in names {
            let verified = (self.verified)(name).map_err(|source| StageError::file("read", Path::new(name), source))?;
            let Some(path) = verified else { return Ok(None) };
            files.push(InputFile { name: name.to_owned(), path });
        }
        let node = "an earlier run".to_owned();
        Ok(Some(InputArtifact { node, kind: self.kind, files, columns: Columns::All }))
    }
}

/// An output as the stage left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The folder that holds its files.
    pub folder: PathBuf,
    /// Files that are also part of the output although they are not in the folder: by name, the file of the same output of
    /// the earlier run that each is.
    pub kept: BTreeMap<String, String>,
    /// Logical digests of its parts: for a table, BLAKE3 of each column's decoded values.
    pub facets: BTreeMap<String, [u8; 32]>,
}

/// What a running stage may see.
pub struct Context<'run> {
    surroundings: Surroundings<'run>,
    device: OnceCell<Device>,
    scratch: OnceCell<PathBuf>,
    written: BTreeMap<String, Written>,
}

impl<'run> Context<'run> {
    /// The context of a node in these surroundings.
    pub fn new(surroundings: Surroundings<'run>) -> Self {
        Self { surroundings, device: OnceCell::new(), scratch: OnceCell::new(), written: BTreeMap::new() }
    }

    /// The artifact on a port that takes exactly one.
    ///
    /// # Errors
    /// The port is not declared or is empty.
    pub fn input(&self, port: &str) -> Result<&InputArtifact, StageError> {
        self.input_if_any(port).ok_or_else(|| undeclared(format!("the input `{port}`")))
    }

    /// The artifact on a port that may be empty.
    pub fn input_if_any(&self, port: &str) -> Option<&InputArtifact> {
        self.inputs(port).first()
    }

    /// The artifacts on a port that takes many, in the learners' order.
    pub fn inputs(&self, port: &str) -> &[InputArtifact] {
        self.surroundings.inputs.get(port).map_or(&[], Vec::as_slice)
    }

    /// All ports that are fed, by name.
    pub fn ports(&self) -> &BTreeMap<String, Vec<InputArtifact>> {
        &self.surroundings.inputs
    }

    /// The output called `output` as this node left it when only its files outside the store were others. It may save
    /// work but must not change what is written.
    pub fn earlier(&self, output: &str) -> Option<&EarlierArtifact<'run>> {
        self.surroundings.earlier.get(output)
    }

    /// Takes the file called `earlier` of [`earlier`](Self::earlier) into the output called `output` as its file `name`.
    ///
    /// # Errors
    /// The output's folder cannot be made.
    pub fn keep(&mut self, output: &str, name: &str, earlier: &str) -> Result<(), StageError> {
        self.output(output)?;
        let written = self.written.get_mut(output).expect("the line above made it");
        written.kept.insert(name.to_owned(), earlier.to_owned());
        Ok(())
    }

    /// What tells the digest of a file below a source without reading it, where that is known.
    pub fn known_digest(&self) -> KnownDigest<'run> {
        self.surroundings.known_digest
    }

    /// The resolved path of the file or folder that the parameter `param` names.
    ///
    /// # Errors
    /// The stage did not list it among its sources.
    pub fn source(&self, param: &str) -> Result<&Path, StageError> {
        let path = self.surroundings.sources.get(param);
        path.map(PathBuf::as_path).ok_or_else(|| undeclared(format!("the source `{param}`")))
    }

    /// The root of this run's random streams.
    ///
    /// # Errors
    /// The stage did not declare that it uses the seed.
    pub fn streams(&self) -> Result<Streams, StageError> {
        self.ambient().seed.map(Streams::new).ok_or_else(|| undeclared("the seed"))
    }

    /// The number of this round, from 0.
    ///
    /// # Errors
    /// The stage did not declare it.
    pub fn round(&self) -> Result<u32, StageError> {
        self.ambient().round.ok_or_else(|| undeclared("the round"))
    }

    /// How many learners this round has.
    ///
    /// # Errors
    /// The stage did not declare it.
    pub fn learners(&self) -> Result<u32, StageError> {
        self.ambient().learners.ok_or_else(|| undeclared("the number of learners"))
    }

    /// All ambient values; `None` where not declared or not there.
    pub fn ambient(&self) -> AmbientValues {
        self.surroundings.ambient
    }

    /// Which device the node was given.
    pub fn device_choice(&self) -> DeviceChoice {
        self.surroundings.device
    }

    /// The device, opened at the first call.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn device(&self) -> Result<&Device, StageError> {
        if let Some(device) = self.device.get() {
            return Ok(device);
        }
        let device = self.surroundings.device.open()?;
        Ok(self.device.get_or_init(|| device))
    }

    /// A folder that outlives a kill: what is found here was left by an interrupted try at this very task.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn scratch(&self) -> Result<&Path, StageError> {
        if let Some(scratch) = self.scratch.get() {
            return Ok(scratch);
        }
        let scratch = (self.surroundings.scratch)().map_err(no_folder)?;
        Ok(self.scratch.get_or_init(|| scratch))
    }

    /// A new private, empty folder to work in. It goes when the node is done.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn folder(&self) -> Result<PathBuf, StageError> {
        (self.surroundings.folder)().map_err(no_folder)
    }

    /// The folder of the output called `name`, made at the first call. Whatever lies in it at the end is the artifact.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn output(&mut self, name: &str) -> Result<PathBuf, StageError> {
        if let Some(written) = self.written.get(name) {
            return Ok(written.folder.clone());
        }
        let folder = (self.surroundings.output)().map_err(no_folder)?;
        self.written.insert(
            name.to_owned(),
            Written { folder: folder.clone(), kept: BTreeMap::new(), facets: BTreeMap::new() },
        );
        Ok(folder)
    }

    /// Notes the logical digest of a part of the output called `name`.
    ///
    /// # Errors
    /// The output's folder cannot be made.
    pub fn facet(&mut self, name: &str, facet: &str, digest: [u8; 32]) -> Result<(), StageError> {
        self.output(name)?;
        let written = self.written.get_mut(name).expect("the line above made it");
        written.facets.insert(facet.to_owned(), digest);
        Ok(())
    }

    /// Tells that `done` of `total` units are done.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        self.surroundings.observer.progress(done, total, unit);
    }

    /// Who listens, for code that tells progress from several threads.
    pub fn observer(&self) -> &'run dyn Observer {
        self.surroundings.observer
    }

    /// Writes a line to the node's log.
    pub fn log(&self, line: impl AsRef<str>) {
        self.surroundings.observer.log(line.as_ref());
    }

    /// Notes a value that is not deterministic, such as images per second; it goes to the run's `run.json`.
    pub fn measured(&self, name: &str, value: f64) {
        self.surroundings.observer.measured(name, value);
    }

    /// The flag that is set when the user wants to stop, for code that is not handed a context.
    pub fn cancelled(&self) -> &'run AtomicBool {
        self.surroundings.cancelled
    }

    /// Returns early when the user wants to stop; long loops call it often.
    ///
    /// # Errors
    /// [`StageError::Cancelled`].
    pub fn check_cancelled(&self) -> Result<(), StageError> {
        if self.surroundings.cancelled.load(Ordering::Relaxed) { Err(StageError::Cancelled) } else { Ok(()) }
    }

    /// What was written, by output name.
    pub fn finish(self) -> BTreeMap<String, Written> {
        self.written
    }
}

fn no_folder(source: io::Error) -> StageError {
    StageError::file("create a folder in", Path::new("the store"), source)
}

fn undeclared(what: impl Into<String>) -> StageError {
    StageError::Undeclared { what: what.into() }
}
