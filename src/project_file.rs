//! `dnc.toml`: settings of a project that change where and how its runs are computed, and never what they compute.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

use crate::execute::executor::slurm::SlurmSettings;

/// Name of the file, in the project's root.
pub const NAME: &str = "dnc.toml";

/// What the file holds. Without a file, everything has its default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectFile {
    /// `[executor]`.
    pub executor: ExecutorSettings,
}

/// `[executor]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutorSettings {
    /// `[executor.slurm]`.
    pub slurm: SlurmSettings,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectFileError {
    /// It cannot be read.
    #[error("Cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or has a key or value that it must not have.
    #[error("`{}` is wrong: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        message: String,
    },
}

impl ProjectFile {
    /// Reads the file in the folder `root`.
    ///
    /// # Errors
    /// The file cannot be read, or is wrong.
    pub fn read(root: &Path) -> Result<Self, ProjectFileError> {
        let path = root.join(NAME);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(ProjectFileError::Read { path, source }),
            Ok(text) => text,
        };
        let wrong = |message: String| ProjectFileError::Wrong { path: path.clone(), message };
        let file: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        file.executor.slurm.check().map_err(wrong)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_has_defaults_and_a_wrong_one_says_where() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(ProjectFile::read(root.path()).unwrap(), ProjectFile::default());
        let check = |text: &str, expected: &[&str]| {
            fs::write(root.path().join(NAME), text).unwrap();
            let message = ProjectFile::read(root.path()).unwrap_err().to_string();
            expected.iter().for_each(|part| assert!(message.contains(part), "{message}"));
        };
        check("[executor.slurm]\njobs = 0", &["`executor.slurm.jobs` must be at least 1"]);
        check("[executor.slurm]\npartitoin = \"x\"", &["line 2", "unknown field `partitoin`"]);
        check("[executor.slum]", &["line 1", "unknown field `slum`, expected `slurm`"]);
        fs::write(root.path().join(NAME), "[executor.slurm]\ncheck = 60").unwrap();
        assert_eq!(ProjectFile::read(root.path()).unwrap().executor.slurm.check, 60);
    }
}
