//! Why a data set could not be read.

use std::path::{Path, PathBuf};

use dnc_tables::TableError;
use dnc_tables::pictures::PictureError;
use dnc_tables::split::UnknownSplit;

use super::distribution::Distribution;
use crate::api::StageError;

/// Why a data set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A file or folder cannot be read.
    #[error("Cannot {action} `{}`", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The answer of the system.
        #[source]
        source: std::io::Error,
    },
    /// A file of a published data set is missing.
    #[error("`{}` is not complete: `{}` does not exist. {distribution}", root.display(), path.display())]
    Incomplete {
        /// The data set's folder.
        root: PathBuf,
        /// The missing file or folder.
        path: PathBuf,
        /// Where the data set comes from.
        distribution: &'static Distribution,
    },
    /// A table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The data set is empty.
    #[error(
        "There are no images in `{}`{passed_over}; `dnc-run stages decode` describes the layout that each data set expects",
        root.display()
    )]
    NoImages {
        /// Its folder or file.
        root: PathBuf,
        /// What there is instead, as it continues the sentence; empty if there is nothing.
        passed_over: String,
    },
    /// A path in a list leads out of the data set's folder, whose contents alone are in the key.
    #[error("The {what} `{path}` is outside the folder `{}`", root.display())]
    OutsideRoot {
        /// `image` or `list`.
        what: &'static str,
        /// The path as written.
        path: String,
        /// The folder.
        root: PathBuf,
    },
    /// The images lie in the root itself instead of in class folders.
    #[error(
        "Images in `{}`: {images}, but there are no class folders; expected `{}/CLASS/IMAGE`, or a list that names the class of each \
         image (`dataset = {{ kind = \"list\", file = \"…\" }}`)",
        root.display(),
        root.display()
    )]
    NoClassFolders {
        /// The root of the data set.
        root: PathBuf,
        /// Number of images in it.
        images: usize,
    },
    /// The folders of a data set that is read by split are not named after splits.
    #[error("The folder `{}` cannot be read with `by_split = true`, which needs a folder for each split: {source}", root.display())]
    SplitFolder {
        /// The data set's folder.
        root: PathBuf,
        /// The name that is not a split.
        source: UnknownSplit,
    },
    /// A table lacks a column.
    #[error("`{}` has no column `{column}` with {contents}{}", file.display(), columns_found(found, key))]
    MissingColumn {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// The parameter that names it.
        key: &'static str,
        /// What it should contain: `the classes`.
        contents: &'static str,
        /// The columns that there are.
        found: Vec<String>,
    },
    /// A line of a list is malformed.
    #[error("{unit} {number} of `{}` {problem}", file.display())]
    Row {
        /// `Line`, counted from 1.
        unit: &'static str,
        /// Its number.
        number: usize,
        /// The file.
        file: PathBuf,
        /// What is wrong, a predicate: `has no class`.
        problem: String,
    },
    /// A file is not in the format that its data set has.
    #[error("`{}` {problem}", file.display())]
    Format {
        /// The file or folder.
        file: PathBuf,
        /// What is wrong, a predicate: `is truncated`.
        problem: String,
    },
    /// A name follows another scheme than the data set's.
    #[error("The name `{name}` does not have the form that {dataset} uses: {form}")]
    NamingScheme {
        /// The file or folder.
        name: String,
        /// The data set.
        dataset: &'static str,
        /// What names look like.
        form: &'static str,
    },
    /// A label has no name.
    #[error("Image {number} of the split {split} has the label {label}, but `classes` has only {names} names")]
    UnnamedLabel {
        /// The image's number in its file.
        number: usize,
        /// The split.
        split: dnc_tables::Split,
        /// The label.
        label: u8,
        /// The number of names.
        names: usize,
    },
    /// The split rule asks for more classes than there are, or for none.
    #[error("`split.{key}` selects {count} of {classes} classes; it must select at least one and at most all")]
    ClassCount {
        /// `train` or `validation`.
        key: &'static str,
        /// The number of classes it selects.
        count: usize,
        /// The number of classes to select from.
        classes: usize,
    },
    /// A selection of classes leaves none over.
    #[error("`split.{key}` selects all {classes} classes, so that none are left for {rest}")]
    NoClassLeft {
        /// `train` or `validation`.
        key: &'static str,
        /// The number of classes.
        classes: usize,
        /// What would be left without classes: `testing`.
        rest: &'static str,
    },
    /// The validation images cannot tell a good model from a bad one.
    #[error(
        "The split `validation` cannot choose a model: of its {classes} class{}, {answerable} have at least two images{}; at \
         least two such classes are needed. Hold out more classes (`split.validation`), or give them more images",
        if *classes == 1 { "" } else { "es" },
        if *across_cameras { " under different cameras" } else { "" }
    )]
    Validation {
        /// The number of its classes.
        classes: usize,
        /// The number of classes in which an image can be found by another one.
        answerable: usize,
        /// Whether images have cameras.
        across_cameras: bool,
    },
    /// Neither the data set nor the split rule assigns a split.
    #[error(
        "The data set assigns no split to `{source_name}`; set, for example, `split = {{ train = 0.5 }}` to train on half of the classes"
    )]
    NoSplit {
        /// The image.
        source_name: String,
    },
    /// An image cannot be read.
    #[error("{what} {reason}; `on_error = \"skip\"` leaves out such images and lists them")]
    Image {
        /// What it is called: `The image …`, `Row 3 of …`.
        what: String,
        /// Why it cannot be read, a predicate.
        reason: String,
    },
    /// No image could be decoded.
    #[error("None of the {count} images in `{}` could be read; {first}", root.display())]
    NothingDecoded {
        /// The data set's folder or file.
        root: PathBuf,
        /// The number of images.
        count: usize,
        /// The first image and its reason.
        first: String,
    },
    /// The tables of an earlier run disagree about the number of images.
    #[error("The earlier run has {contents} content digests for {images} images")]
    EarlierRun {
        /// Number of content digests.
        contents: usize,
        /// Number of images.
        images: usize,
    },
}

impl DecodeError {
    /// A file or folder that cannot be read; `action` is an infinitive.
    pub(super) fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        DecodeError::File { action, path: path.to_owned(), source }
    }

    /// A file in another format; `problem` is a predicate.
    pub(super) fn format(file: &Path, problem: impl Into<String>) -> Self {
        DecodeError::Format { file: file.to_owned(), problem: problem.into() }
    }
}

impl From<DecodeError> for StageError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Table(error) => StageError::Table(error),
            error => StageError::Other(Box::new(error)),
        }
    }
}

/// Why an image has no pixels. The message follows its name.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Its file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// Its file does not exist.
    #[error("does not exist")]
    NotFound,
    /// There is no image, for this reason, a predicate.
    #[error("{0}")]
    Missing(String),
    /// Its bytes cannot be decoded.
    #[error(transparent)]
    Undecodable(#[from] PictureError),
}

/// What follows the message about a missing column: what there is, and what to set.
fn columns_found(found: &[String], key: &str) -> String {
    let names = found.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    match names.as_slice() {
        [] => String::new(),
        names => {
            format!(", but {}; name the column that has them in `dataset`, as in `{key} = \"…\"`", names.join(", "))
        }
    }
}
