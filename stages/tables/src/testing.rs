//! Artifacts in temporary folders, for tests.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::artifact::{Columns, InputArtifact, InputFile, OutputArtifact};
use crate::error::TableError;
use crate::kind::ArtifactKind;

/// An artifact as it was written and as it is read, and the folder that both refer to.
pub(crate) struct Written {
    pub(crate) input: InputArtifact,
    pub(crate) output: OutputArtifact,
    _folder: TempDir,
}

/// Calls `write` with an empty artifact.
pub(crate) fn written(
    kind: ArtifactKind,
    write: impl FnOnce(&mut OutputArtifact) -> Result<(), TableError>,
) -> Result<Written, TableError> {
    let folder = TempDir::new().expect("a temporary folder can be created");
    let mut output = OutputArtifact::new(folder.path().to_owned());
    write(&mut output)?;
    Ok(Written { input: artifact(kind, folder.path()), output, _folder: folder })
}

/// The files of `folder` as an artifact whose columns may all be read.
pub(crate) fn artifact(kind: ArtifactKind, folder: &Path) -> InputArtifact {
    let entries = fs::read_dir(folder).expect("the folder exists");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the entry can be read").path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().expect("it is a file").to_string_lossy().into_owned();
    let files = paths.into_iter().map(|path| InputFile { name: name(&path), path }).collect();
    InputArtifact { node: kind.name().to_owned(), kind, files, columns: Columns::All }
}
