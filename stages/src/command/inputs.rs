//! Input artifacts of a `command` stage, laid out under their own file names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::api::{InputArtifact, StageError};

/// Links the files of the artifacts of one input into `folder` and returns the path for `{in.NAME}`: the file if there is
/// one, the folder if there are more. With several artifacts, artifact i is in the subfolder `i`.
pub(super) fn link(folder: &Path, artifacts: &[InputArtifact]) -> Result<PathBuf, StageError> {
    let mut last = folder.to_path_buf();
    for (index, artifact) in artifacts.iter().enumerate() {
        let own = if artifacts.len() > 1 { folder.join(index.to_string()) } else { folder.to_path_buf() };
        for file in &artifact.files {
            last = own.join(&file.name);
            let parent = last.parent().unwrap_or(&own);
            // Removing a folder takes milliseconds on some file systems, so only folders that are needed are created.
            if parent != folder {
                fs::create_dir_all(parent).map_err(|source| StageError::file("create", parent, source))?;
            }
            // Hard links first: a symbolic link is a new file, which ext4 creates and removes slowly. Some file systems
            // have symbolic links only.
            fs::hard_link(&file.path, &last)
                .or_else(|_| std::os::unix::fs::symlink(&file.path, &last))
                .map_err(|source| StageError::file("link", &last, source))?;
        }
    }
    let is_one_file = artifacts.len() == 1 && artifacts[0].files.len() == 1;
    Ok(if is_one_file { last } else { folder.to_path_buf() })
}
