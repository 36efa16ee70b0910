//! `dnc.toml`: settings of a project that change where and how its runs are computed, and never what they compute.
//!
//! ```toml
//! [remote]
//! url = "s3://bucket/prefix"          # or a folder, relative to this file
//! push = "done"                       # send what a run computes while it goes on
//!
//! [executor.slurm]
//! partition = "gpu"
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use dnc_cache::RemoteOptions;
use serde::Deserialize;

use crate::execute::executor::slurm::SlurmSettings;

/// Name of the file, in the project's root.
pub const NAME: &str = "dnc.toml";

/// What the file holds. Without a file, everything has its default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectFile {
    /// `[remote]`.
    pub remote: RemoteSettings,
    /// `[executor]`.
    pub executor: ExecutorSettings,
}

/// `[remote]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteSettings {
    /// A URL, or a folder relative to the project's root.
    pub url: Option<String>,
    /// When a run sends its results.
    pub push: Push,
    /// The server of a bucket that is not Amazon's.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// Whether requests are sent without credentials.
    pub anonymous: bool,
    /// How many seconds a failing request is repeated.
    pub patience: Option<u64>,
}

/// When a run sends its results to the remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Push {
    /// Only when asked to.
    #[default]
    Never,
    /// Nodes are sent when they are done, while the run goes on.
    Done,
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
        let mut file: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        file.executor.slurm.check().map_err(wrong)?;
        if let Some(folder) = file.remote.url.as_mut().filter(|url| !url.is_empty() && !url.contains("://")) {
            *folder = root.join(&*folder).to_string_lossy().into_owned();
        }
        Ok(file)
    }
}

impl RemoteSettings {
    /// What opening the remote needs besides its URL.
    pub fn options(&self) -> RemoteOptions {
        let default = RemoteOptions::default();
        RemoteOptions {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            anonymous: self.anonymous,
            patience: self.patience.map_or(default.patience, Duration::from_secs),
        }
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
        check("[remote]\nulr = \"x\"", &["line 2", "unknown field `ulr`"]);
        fs::write(root.path().join(NAME), "[executor.slurm]\ncheck = 60").unwrap();
        assert_eq!(ProjectFile::read(root.path()).unwrap().executor.slurm.check, 60);
    }

    #[test]
    fn a_remote_folder_is_relative_to_the_file_and_a_url_is_not() {
        let root = tempfile::tempdir().unwrap();
        let url_of = |text: &str| {
            fs::write(root.path().join(NAME), text).unwrap();
            ProjectFile::read(root.path()).unwrap().remote.url.unwrap()
        };
        assert_eq!(url_of("[remote]\nurl = \"s3://b/p\"\npush = \"done\"\n"), "s3://b/p");
        assert_eq!(url_of("[remote]\nurl = \"share\"\n"), root.path().join("share").to_str().unwrap());
    }
}
