//! Files outside the store that a stage reads.

use std::env;
use std::path::{Path, PathBuf};

/// A file or folder outside the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The parameter that names it, dotted: `root`, `script.0`.
    pub param: String,
    /// The path as written, relative to the folder of the manifest.
    pub path: PathBuf,
    /// Whether it is a program to run: a name without a slash then means the first file of this name on the PATH.
    pub is_program: bool,
    /// Whether it is a collection of data: things that are no data may lie around in the folder.
    pub is_data: bool,
    /// Extensions, in lower case, of the files of such a folder that are read; of others, only the names are. Empty for all.
    pub extensions: &'static [&'static str],
}

impl Source {
    /// A file or folder to read.
    pub fn file(param: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { param: param.into(), path: path.into(), is_program: false, is_data: false, extensions: &[] }
    }

    /// A file or folder of data, of which files with these `extensions` are read (all if there are none). Neither the manifest nor
    /// the folders of the project belong to it.
    pub fn data(param: impl Into<String>, path: impl Into<PathBuf>, extensions: &'static [&'static str]) -> Self {
        Self { is_data: true, extensions, ..Self::file(param, path) }
    }

    /// A program to run.
    pub fn program(param: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { is_program: true, ..Self::file(param, path) }
    }

    /// Whether it is a program to search for on the PATH.
    pub fn is_on_path(&self) -> bool {
        self.is_program && !self.path.as_os_str().as_encoded_bytes().contains(&b'/')
    }

    /// Its path, resolved against the folder of the manifest; `None` if there is no such program on the PATH. Other files
    /// need not exist.
    pub fn find(&self, folder: &Path) -> Option<PathBuf> {
        if !self.is_on_path() {
            return Some(folder.join(&self.path));
        }
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|folder| folder.join(&self.path)).find(|path| path.is_file())
    }
}
