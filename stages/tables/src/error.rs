//! Why a table could not be read or written.

use std::path::{Path, PathBuf};

use crate::kind::ArtifactKind;

/// Any error of a library, boxed.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a table could not be read or written. The message says what was being done and to which file; the source is the
/// answer of the system or a library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Reading or writing a file failed.
    #[error("Cannot {action} `{}`", path.display())]
    File {
        /// What was being done: `read`, `write` …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The answer of the system or library.
        #[source]
        source: Cause,
    },
    /// Arrow or Parquet refused an operation on values in memory.
    #[error("Cannot {action}")]
    Arrow {
        /// What was being done, an infinitive with its object: `join the batches of …`.
        action: String,
        /// The answer of the library.
        #[source]
        source: Cause,
    },
    /// The first bytes of the file are not those of a table.
    #[error("The file `{file}` is neither an Arrow nor a Parquet file")]
    NotATable {
        /// The file.
        file: String,
    },
    /// A value is infinite or NaN.
    #[error(
        "The {what} contains {value}: every value must be finite. A training that diverged needs a lower learning rate; weights \
         or data that contain such values must be replaced"
    )]
    NotFinite {
        /// The column or tensor, with its table.
        what: String,
        /// The value.
        value: f64,
    },
    /// An artifact lacks a file.
    #[error("The artifact `{node}` ({kind}) has no file `{file}`")]
    MissingFile {
        /// What the artifact holds.
        kind: ArtifactKind,
        /// What wrote it.
        node: String,
        /// The file.
        file: String,
    },
    /// An artifact lacks a table.
    #[error("The artifact `{node}` ({kind}) has neither `{table}.arrow` nor `{table}.parquet`")]
    MissingTable {
        /// What the artifact holds.
        kind: ArtifactKind,
        /// What wrote it.
        node: String,
        /// The table.
        table: &'static str,
    },
    /// A folder that another program filled lacks the main table of its kind.
    #[error("The output folder `{}` has kind {kind} and so must contain `{kind}.arrow` or `{kind}.parquet`", folder.display())]
    MissingOutput {
        /// What the folder must hold.
        kind: ArtifactKind,
        /// The folder.
        folder: PathBuf,
    },
    /// A table lacks a column, or has it with another type.
    #[error("The file `{file}` ({kind}) {}", column_problem(column, expected, found.as_deref()))]
    Column {
        /// What the artifact holds.
        kind: ArtifactKind,
        /// The table's file.
        file: String,
        /// The column.
        column: String,
        /// Its type in the schema.
        expected: String,
        /// Its type in the file; `None` if it is missing.
        found: Option<String>,
    },
    /// A column that must have a value in every row has nulls.
    #[error("The column `{column}` of `{file}` must not contain nulls")]
    Nulls {
        /// The table's file.
        file: String,
        /// The column.
        column: String,
    },
    /// An image has several rows in a table that has one for each.
    #[error("The file `{file}` has several rows for image {id}; each image must have one")]
    RepeatedImage {
        /// The table's file.
        file: String,
        /// The image's id.
        id: u32,
    },
    /// An image has no pixels.
    #[error("Image {id} in the file `{file}` has the {side} 0; every image must have pixels")]
    NoPixels {
        /// The table's file.
        file: String,
        /// The image's id.
        id: u32,
        /// `height` or `width`.
        side: &'static str,
    },
    /// A column has a type whose values cannot be digested.
    #[error("The column `{column}` has type {data_type}, for which no digest is defined")]
    NoDigest {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// The table was written by a later version of this program.
    #[error("The table `{table}` has format {found}; this program reads formats up to {known}; upgrade dnc-run")]
    NewerFormat {
        /// The table.
        table: String,
        /// Its format.
        found: String,
        /// The latest format that this program reads.
        known: u32,
    },
    /// A reader asked for a column that its port does not declare. It is a defect of the reader.
    #[error("The stage read {what} without declaring it (a defect of the stage; please report it)")]
    Undeclared {
        /// What was asked for.
        what: String,
    },
    /// Two tables of an artifact, or a table and its pixels, differ in their number of rows.
    #[error("The artifact `{node}` ({kind}) has {expected} rows in `{table}` but {found} in `{other}`")]
    RowCount {
        /// What the artifact holds.
        kind: ArtifactKind,
        /// What wrote it.
        node: String,
        /// The table whose rows count.
        table: &'static str,
        /// Its number of rows.
        expected: usize,
        /// The table that must have as many rows.
        other: &'static str,
        /// Its number of rows.
        found: usize,
    },
    /// The bytes of a value are not as many as its shape needs.
    #[error("{item} has {found} bytes instead of {expected}")]
    Length {
        /// The image, tensor or digest.
        item: String,
        /// Its bytes.
        found: usize,
        /// The bytes that its shape needs.
        expected: usize,
    },
    /// A value in a column of splits is not a split.
    #[error("{0}")]
    Split(#[from] crate::split::UnknownSplit),
    /// The rows of the views of an image are not numbered 0, 1, 2 … for every image.
    #[error(
        "The views of `{node}` must be numbered 0 to {last} for each image, with the rows of an image together; row {row} is view {view} of image {id}"
    )]
    ViewOrder {
        /// What wrote the views.
        node: String,
        /// The number of an image's last view.
        last: usize,
        /// The first row that is wrong.
        row: usize,
        /// Its view.
        view: u32,
        /// Its image.
        id: u32,
    },
    /// The architecture of a model cannot be read, or no such model can be built.
    #[error("Cannot {action} the architecture of the model")]
    Architecture {
        /// What was being done.
        action: &'static str,
        /// The reason.
        #[source]
        source: Cause,
    },
    /// The state of a model does not have exactly one row.
    #[error("The file `state.arrow` of a model has {found} rows instead of one")]
    ModelState {
        /// Its number of rows.
        found: usize,
    },
    /// An image has no views.
    #[error("The image {id} has no views")]
    NoViews {
        /// The image.
        id: u32,
    },
}

impl TableError {
    /// A failed `action` (an infinitive such as `read`) on the file at `path`.
    pub fn file(action: &'static str, path: impl AsRef<Path>, source: impl Into<Cause>) -> Self {
        TableError::File { action, path: path.as_ref().to_path_buf(), source: source.into() }
    }

    /// A failed operation on values in memory; `action` is an infinitive with its object.
    pub fn arrow(action: impl Into<String>, source: impl Into<Cause>) -> Self {
        TableError::Arrow { action: action.into(), source: source.into() }
    }
}

fn column_problem(column: &str, expected: &str, found: Option<&str>) -> String {
    match found {
        Some(found) => format!("has the column `{column}` of type `{found}` instead of `{expected}`"),
        None => format!("has no column `{column}` (of type `{expected}`)"),
    }
}
