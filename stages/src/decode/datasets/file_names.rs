//! Names in a folder.

use std::fs;
use std::path::Path;

use crate::decode::error::DecodeError;

/// Names of files and folders in `folder`, sorted by bytes, without hidden ones.
pub(crate) fn sorted_names(folder: &Path) -> Result<Vec<String>, DecodeError> {
    let read = |source| DecodeError::file("read the folder", folder, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let name = name.into_string().map_err(|name| DecodeError::FileName { path: folder.join(name) })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
