//! Files of an export.

use std::fs;
use std::path::Path;

use super::error::ExportError;

/// Creates a folder and those above it.
pub(super) fn create(folder: &Path) -> Result<(), ExportError> {
    fs::create_dir_all(folder).map_err(|source| ExportError::Write { path: folder.to_owned(), source })
}

/// Writes a file.
pub(super) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), ExportError> {
    fs::write(path, bytes).map_err(|source| ExportError::Write { path: path.to_owned(), source })
}
