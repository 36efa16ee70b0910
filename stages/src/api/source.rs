//! Files outside the store that a stage reads.

use std::env;
use std::path::{Path, PathBuf};

/// A file or folder outside the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The parameter that names it, dotted: `root`, `script.0`.
    pub param: String,
    /// The path or name as written.
    pub path: PathBuf,
    /// Where it is looked for.
    pub lookup: Lookup,
    /// What to do if it does not exist: a sentence or two.
    pub advice: Option<String>,
    /// Whether it is a collection of data: things that are no data may lie around in the folder.
    pub is_data: bool,
    /// Extensions, in lower case, of the files of such a folder that are read; of others, only the names are. Empty for all.
    pub extensions: &'static [&'static str],
}

/// Where a file outside the store is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// At its path, relative to the folder of the manifest.
    Folder,
    /// A program: a name without a slash means the first file of this name on the PATH.
    Program,
    /// A published file: the first of these that exists.
    Among(Vec<PathBuf>),
}

impl Source {
    /// A file or folder to read.
    pub fn file(param: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        let (param, path) = (param.into(), path.into());
        Self { param, path, lookup: Lookup::Folder, advice: None, is_data: false, extensions: &[] }
    }

    /// A file or folder of data, of which files with these `extensions` are read (all if there are none). Neither the manifest nor
    /// the folders of the project belong to it.
    pub fn data(param: impl Into<String>, path: impl Into<PathBuf>, extensions: &'static [&'static str]) -> Self {
        Self { is_data: true, extensions, ..Self::file(param, path) }
    }

    /// A program to run.
    pub fn program(param: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { lookup: Lookup::Program, ..Self::file(param, path) }
    }

    /// A published file under its name: the first of `places` that exists.
    pub fn published(param: impl Into<String>, name: impl Into<PathBuf>, places: Vec<PathBuf>) -> Self {
        Self { lookup: Lookup::Among(places), ..Self::file(param, name) }
    }

    /// The same source with advice for the case that it does not exist.
    #[must_use]
    pub fn advise(self, advice: impl Into<Option<String>>) -> Self {
        Self { advice: advice.into(), ..self }
    }

    /// Whether it is a program to search for on the PATH.
    pub fn is_on_path(&self) -> bool {
        self.lookup == Lookup::Program && !self.path.as_os_str().as_encoded_bytes().contains(&b'/')
    }

    /// Whether its path is relative to the folder of the manifest.
    pub fn is_relative(&self) -> bool {
        let is_path = self.lookup == Lookup::Folder || (self.lookup == Lookup::Program && !self.is_on_path());
        is_path && self.path.is_relative()
    }

    /// Its path, resolved against the folder of the manifest; `None` if there is no such program on the PATH, or the published
    /// file is in none of its places. Other files need not exist.
    pub fn find(&self, folder: &Path) -> Option<PathBuf> {
        match &self.lookup {
            Lookup::Among(places) => places.iter().find(|place| place.is_file()).cloned(),
            Lookup::Program if self.is_on_path() => {
                let path = env::var_os("PATH")?;
                env::split_paths(&path).map(|folder| folder.join(&self.path)).find(|path| path.is_file())
            }
            Lookup::Folder | Lookup::Program => Some(folder.join(&self.path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_file_is_the_first_that_exists() {
        let folder = tempfile::tempdir().unwrap();
        let places = ["a", "b", "c"].map(|name| folder.path().join(name)).to_vec();
        let source = Source::published("weights", "imagenet", places.clone());
        assert_eq!((source.find(folder.path()), source.is_relative(), source.is_on_path()), (None, false, false));
        std::fs::write(&places[2], "").unwrap();
        std::fs::write(&places[1], "").unwrap();
        assert_eq!(source.find(folder.path()).as_ref(), Some(&places[1]));
    }

    #[test]
    fn only_files_are_relative_to_the_manifest() {
        assert!(Source::file("root", "images").is_relative() && Source::program("run.0", "./x").is_relative());
        assert!(!Source::file("root", "/images").is_relative() && !Source::program("run.0", "x").is_relative());
    }
}
