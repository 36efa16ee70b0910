//! Why a stage failed.

use std::path::{Path, PathBuf};

use crate::kind::Kind;

/// Why a stage failed. The message says what was being done and to which file; the source says what the system or a
/// library answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The user asked to stop.
    #[error("Cancelled")]
    Cancelled,
    /// Reading or writing a file failed.
    #[error("Cannot {action} `{}`", path.display())]
    File {
        /// What was being done: `read`, `write`, `decode` …
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What an input holds cannot be worked on.
    #[error("{message}")]
    Input {
        /// What is wrong, naming the file, row or column.
        message: String,
    },
    /// A table lacks a column, or has it with another type.
    #[error("The file `{file}` of the {kind} has {}", difference(column, expected, found.as_deref()))]
    Column {
        /// Kind of the artifact.
        kind: Kind,
        /// The table's file.
        file: String,
        /// The column asked for.
        column: String,
        /// Its type in the schema.
        expected: String,
        /// Its type in the file, where it is there at all.
        found: Option<String>,
    },
    /// A stage asked for something that it did not declare. It is a defect of the stage.
    #[error("The stage asked for {what} without declaring it (a defect of the stage, please report it)")]
    Undeclared {
        /// What it asked for.
        what: String,
    },
    /// Arrow or Parquet refused.
    #[error("Cannot {action}")]
    Table {
        /// What was being done.
        action: String,
        /// What the library answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The computation failed.
    #[error("Cannot {action}")]
    Compute {
        /// What was being done.
        action: String,
        /// What the library answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StageError {
    /// An unusable input; `message` names the file, row or column.
    pub fn input(message: impl Into<String>) -> Self {
        StageError::Input { message: message.into() }
    }

    /// A failed `action` (an infinitive such as `read`) on the file at `path`.
    pub fn file(
        action: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        StageError::File { action, path: path.as_ref().to_path_buf(), source: source.into() }
    }

    /// A failed table operation; `action` is an infinitive with its object: `write the table of images`.
    pub fn table(action: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StageError::Table { action: action.into(), source: source.into() }
    }

    /// A failed computation; `action` is an infinitive with its object: `embed the images`.
    pub fn compute(action: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StageError::Compute { action: action.into(), source: source.into() }
    }
}

fn difference(column: &str, expected: &str, found: Option<&str>) -> String {
    match found {
        Some(found) => format!("the column `{column}` of type `{found}` instead of type `{expected}`"),
        None => format!("no column `{column}` of type `{expected}`"),
    }
}
