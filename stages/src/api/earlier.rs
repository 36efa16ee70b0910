//! Outputs of an earlier run of the same node, which a stage may reuse.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dnc_tables::{ArtifactKind, Columns, InputArtifact, InputFile};

use super::error::StageError;

/// An output of an earlier run of the same node. Its files are verified when they are asked for, so that files that are only
/// kept are not read.
#[derive(Clone)]
pub struct EarlierArtifact<'run> {
    /// What it holds.
    pub kind: ArtifactKind,
    /// The names of its files, sorted. They exist, judging by file metadata only.
    pub names: Vec<String>,
    /// Returns the path of the verified bytes of the file with this name; `None` if it is missing or damaged.
    pub verified: Verified<'run>,
}

/// Verifies a file of an artifact, by name.
pub type Verified<'run> = Arc<dyn Fn(&str) -> io::Result<Option<PathBuf>> + Send + Sync + 'run>;

impl EarlierArtifact<'_> {
    /// The files with these names only, verified; `None` if one of them is missing or damaged.
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
