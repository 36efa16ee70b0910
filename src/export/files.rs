//! Files of an export.

use std::fs;
use std::path::Path;

use super::error::ExportError;

/// Creates a folder and those above it.
pub(super) fn create(folder: &Path) -> Result<(), ExportError> {
    fs::create_dir_all(folder).map_err(|source| ExportError::Write { path: folder.to_owned(), source })
}

/// Removes the files of an earlier export to the folder whose names `are_leftovers`.
pub(super) fn remove(folder: &Path, are_leftovers: impl Fn(&str) -> bool) -> Result<(), ExportError> {
    let failed = |source| ExportError::Write { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(&are_leftovers) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|source| ExportError::Write { path, source })?;
        }
    }
    Ok(())
}

/// Removes what only some exports of a model write, if the folder's README says that it holds one.
pub(super) fn remove_model(folder: &Path) -> Result<(), ExportError> {
    let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    if !readme.starts_with("# Model exported by `dnc-run`") {
        return Ok(());
    }
    let names = ["model.safetensors", "timm.safetensors", "learners.safetensors", "model.py", "model.onnx"];
    remove(folder, |name| names.contains(&name))
}

/// Writes a file.
pub(super) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), ExportError> {
    fs::write(path, bytes).map_err(|source| ExportError::Write { path: path.to_owned(), source })
}
