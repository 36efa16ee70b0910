//! One image of a data set before its bytes are read, and the names of classes.

use std::collections::HashMap;

use dnc_tables::Split;
use dnc_tables::split::UnknownSplit;

/// One image of a data set before its bytes are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index of its class in the list of classes.
    pub class: usize,
    /// Its split, if the data set assigns one.
    pub split: Option<Split>,
    /// Number of its camera, if the data set has cameras.
    pub camera: Option<u16>,
    /// Its origin: the file relative to the root, or as the data set names it.
    pub source: String,
    /// Its position in the reader of the data set: the number of a file or row.
    pub position: usize,
}

/// The number of images and classes that a split of a complete copy of the data set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedCount {
    /// The split.
    pub split: Split,
    /// Its number of images.
    pub images: usize,
    /// Its number of classes.
    pub classes: usize,
}

/// Names of classes, numbered by first appearance.
#[derive(Default)]
pub(super) struct ClassNames {
    names: Vec<String>,
    indices: HashMap<String, usize>,
}

impl ClassNames {
    /// The index of the class called `name`, which is added if it is new.
    pub(super) fn index(&mut self, name: &str) -> usize {
        if let Some(&index) = self.indices.get(name) {
            return index;
        }
        self.names.push(name.to_owned());
        self.indices.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// All names, by index.
    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

/// The split that a folder or list calls `name`, in any case, or by one of the other names that people give it.
///
/// # Errors
/// It is no name of a split.
pub fn split_named(name: &str) -> Result<Split, UnknownSplit> {
    match name.trim().to_lowercase().as_str() {
        "training" => Ok(Split::Train),
        "val" | "valid" | "dev" => Ok(Split::Validation),
        "testing" => Ok(Split::Test),
        "queries" | "probe" => Ok(Split::Query),
        other => other.parse().map_err(|_| UnknownSplit(name.to_owned())),
    }
}
