//! Artifacts as tables see them: the files to read and the columns to show, or the folder to write to and the digests of
//! what was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::TableError;
use crate::kind::ArtifactKind;

/// An artifact to read. Its files are verified and must not be written to.
#[derive(Clone, Debug)]
pub struct InputArtifact {
    /// The name of what wrote it, for messages.
    pub node: String,
    /// What it holds.
    pub kind: ArtifactKind,
    /// Its files, sorted by name.
    pub files: Vec<InputFile>,
    /// The columns that the reader may see.
    pub columns: Columns,
}

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Its name in the artifact.
    pub name: String,
    /// The path of its bytes. The name of this path means nothing: files in the store are named by their digests.
    pub path: PathBuf,
}

impl InputArtifact {
    /// The path of the file called `name`.
    ///
    /// # Errors
    /// The artifact has no such file.
    pub fn file(&self, name: &str) -> Result<&Path, TableError> {
        self.files
            .iter()
            .find(|file| file.name == name)
            .map(|file| file.path.as_path())
            .ok_or_else(|| TableError::MissingFile { kind: self.kind, node: self.node.clone(), file: name.to_owned() })
    }
}

/// The columns of an artifact that a reader may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Columns {
    /// All of them.
    All,
    /// Only these. A column of a table beside the main one is written `table.column`.
    Named(Vec<String>),
}

impl Columns {
    /// Whether the column with this facet name may be seen.
    pub fn contains(&self, facet: &str) -> bool {
        match self {
            Columns::All => true,
            Columns::Named(names) => names.iter().any(|name| name == facet),
        }
    }
}

/// Logical digests of the parts of an artifact, by name: of a table, BLAKE3 of each column's decoded values.
pub type FacetDigests = BTreeMap<String, [u8; 32]>;

/// An artifact that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputArtifact {
    /// The folder of its files. Every file in it at the end belongs to the artifact.
    pub folder: PathBuf,
    /// Files that belong to the artifact although they are not in the folder: for each name, the file of the earlier
    /// artifact that it is a copy of.
    pub kept: BTreeMap<String, String>,
    /// Digests of what was written.
    pub facets: FacetDigests,
}

impl OutputArtifact {
    /// An artifact without files so far, to be written to `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, kept: BTreeMap::new(), facets: FacetDigests::new() }
    }

    /// Sets the logical digest of a part of the artifact.
    pub fn set_facet(&mut self, facet: impl Into<String>, digest: [u8; 32]) {
        self.facets.insert(facet.into(), digest);
    }

    /// Takes the file called `earlier` of the earlier artifact over as the file `name`.
    pub fn keep(&mut self, name: impl Into<String>, earlier: impl Into<String>) {
        self.kept.insert(name.into(), earlier.into());
    }
}
