//! What a running stage may see: its inputs, ambient values, device and folders, and nothing else.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use dnc_learn::streams::Streams;
use dnc_tables::{InputArtifact, OutputArtifact};

use super::ambient::AmbientValues;
use super::device::DeviceChoice;
use super::devices::Devices;
use super::earlier::EarlierArtifact;
use super::error::StageError;
use super::observer::Observer;

/// Everything that a running node is given by the engine.
pub struct Environment<'run> {
    /// The artifacts on each port, in the order of learners.
    pub inputs: BTreeMap<String, Vec<InputArtifact>>,
    /// Resolved paths of files and folders outside the store, by the parameter that names them.
    pub sources: BTreeMap<String, PathBuf>,
    /// Files and folders that the program itself writes, which are never data: the store and the folders of runs.
    pub own: Vec<PathBuf>,
    /// The values that the stage declared in [`Ambient`](super::ambient::Ambient); the rest is `None`.
    pub ambient: AmbientValues,
    /// Where floats are computed.
    pub device: DeviceChoice,
    /// The open devices.
    pub devices: &'run Devices,
    /// The outputs of an earlier run of this node that differs only in the contents of its sources, by name; empty unless the
    /// stage can reuse them ([`Resources::earlier`](super::resources::Resources)) and they still exist.
    pub earlier: BTreeMap<String, EarlierArtifact<'run>>,
    /// Returns the BLAKE3 digest of a file in a source, if it is known without reading the file.
    pub known_digest: KnownDigest<'run>,
    /// Creates a private, empty folder for an output. It is removed after the node has finished.
    pub output: MakeFolder<'run>,
    /// Creates a private, empty folder for temporary files.
    pub folder: MakeFolder<'run>,
    /// Creates or finds the folder that survives a kill, for the next attempt at the same task.
    pub scratch: MakeFolder<'run>,
    /// Receives progress, log lines and measurements.
    pub observer: &'run dyn Observer,
    /// Set when the user wants to stop.
    pub cancelled: &'run AtomicBool,
}

/// Creates or finds a folder.
pub type MakeFolder<'run> = &'run (dyn Fn() -> io::Result<PathBuf> + Sync);

/// Returns the digest of a file's bytes if it is known and the file is unchanged.
pub type KnownDigest<'run> = &'run (dyn Fn(&Path) -> Option<[u8; 32]> + Sync);

/// What a running stage may see.
pub struct Context<'run> {
    environment: Environment<'run>,
    device: OnceCell<Device>,
    scratch: OnceCell<PathBuf>,
    outputs: BTreeMap<String, OutputArtifact>,
}

impl<'run> Context<'run> {
    /// The context of a node.
    pub fn new(environment: Environment<'run>) -> Self {
        Self { environment, device: OnceCell::new(), scratch: OnceCell::new(), outputs: BTreeMap::new() }
    }

    /// The artifact on a port that takes exactly one.
    ///
    /// # Errors
    /// The port is not declared or not connected.
    pub fn input(&self, port: &str) -> Result<&InputArtifact, StageError> {
        self.input_if_any(port).ok_or_else(|| undeclared(format!("the input `{port}`")))
    }

    /// The artifact on an optional port, if it is connected.
    pub fn input_if_any(&self, port: &str) -> Option<&InputArtifact> {
        self.inputs(port).first()
    }

    /// The artifacts on a port that takes many, in the order of learners.
    pub fn inputs(&self, port: &str) -> &[InputArtifact] {
        self.environment.inputs.get(port).map_or(&[], Vec::as_slice)
    }

    /// All connected ports, by name.
    pub fn ports(&self) -> &BTreeMap<String, Vec<InputArtifact>> {
        &self.environment.inputs
    }

    /// The output called `output` of an earlier run of this node that differs only in the contents of its sources. It may save
    /// work but must not change what is written.
    pub fn earlier(&self, output: &str) -> Option<&EarlierArtifact<'run>> {
        self.environment.earlier.get(output)
    }

    /// Returns the digest of a file in a source, if it is known without reading the file.
    pub fn known_digest(&self) -> KnownDigest<'run> {
        self.environment.known_digest
    }

    /// The resolved path of the file or folder that the parameter `param` names.
    ///
    /// # Errors
    /// The stage did not list it among its sources.
    pub fn source(&self, param: &str) -> Result<&Path, StageError> {
        let path = self.environment.sources.get(param);
        path.map(PathBuf::as_path).ok_or_else(|| undeclared(format!("the source `{param}`")))
    }

    /// Files and folders that the program itself writes, which are never data.
    pub fn own(&self) -> &[PathBuf] {
        &self.environment.own
    }

    /// The root of this run's random streams.
    ///
    /// # Errors
    /// The stage did not declare the seed.
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

    /// The number of learners of this round.
    ///
    /// # Errors
    /// The stage did not declare it.
    pub fn learners(&self) -> Result<u32, StageError> {
        self.ambient().learners.ok_or_else(|| undeclared("the number of learners"))
    }

    /// All ambient values; `None` for those that are not declared or do not exist.
    pub fn ambient(&self) -> AmbientValues {
        self.environment.ambient
    }

    /// The device that the node was given.
    pub fn device_choice(&self) -> DeviceChoice {
        self.environment.device
    }

    /// The device, opened at the first call.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn device(&self) -> Result<&Device, StageError> {
        if let Some(device) = self.device.get() {
            return Ok(device);
        }
        let device = self.environment.devices.get(self.environment.device)?;
        Ok(self.device.get_or_init(|| device))
    }

    /// A folder that survives a kill. Files in it were written by an interrupted attempt at this very task.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn scratch(&self) -> Result<&Path, StageError> {
        if let Some(scratch) = self.scratch.get() {
            return Ok(scratch);
        }
        let scratch = (self.environment.scratch)().map_err(no_folder)?;
        Ok(self.scratch.get_or_init(|| scratch))
    }

    /// A new private, empty folder for temporary files. It is removed after the node has finished.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn folder(&self) -> Result<PathBuf, StageError> {
        (self.environment.folder)().map_err(no_folder)
    }

    /// The output called `name`, whose folder is created at the first call. Every file in the folder at the end belongs to the
    /// artifact.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn output(&mut self, name: &str) -> Result<&mut OutputArtifact, StageError> {
        if !self.outputs.contains_key(name) {
            let folder = (self.environment.output)().map_err(no_folder)?;
            self.outputs.insert(name.to_owned(), OutputArtifact::new(folder));
        }
        Ok(self.outputs.get_mut(name).expect("it was inserted above"))
    }

    /// Reports that `done` of `total` units are done.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        self.environment.observer.progress(done, total, unit);
    }

    /// The observer, for code that reports progress from several threads.
    pub fn observer(&self) -> &'run dyn Observer {
        self.environment.observer
    }

    /// Writes a line to the node's log.
    pub fn log(&self, line: impl AsRef<str>) {
        self.environment.observer.log(line.as_ref());
    }

    /// Warns of something suspicious about data or parameters, a sentence without its full stop. It is shown and logged.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.environment.observer.warn(message.as_ref());
    }

    /// Reports a value that is not deterministic, such as images per second; it is stored in the run's `run.json`.
    pub fn measured(&self, name: &str, value: f64) {
        self.environment.observer.measured(name, value);
    }

    /// The flag that is set when the user wants to stop, for code that has no context.
    pub fn cancelled(&self) -> &'run AtomicBool {
        self.environment.cancelled
    }

    /// Returns an error when the user wants to stop. Long loops call it often.
    ///
    /// # Errors
    /// [`StageError::Cancelled`].
    pub fn check_cancelled(&self) -> Result<(), StageError> {
        if self.environment.cancelled.load(Ordering::Relaxed) { Err(StageError::Cancelled) } else { Ok(()) }
    }

    /// The outputs as the stage left them, by name.
    pub fn finish(self) -> BTreeMap<String, OutputArtifact> {
        self.outputs
    }
}

fn no_folder(source: io::Error) -> StageError {
    StageError::Folder { source }
}

fn undeclared(what: impl Into<String>) -> StageError {
    StageError::Undeclared { what: what.into() }
}
