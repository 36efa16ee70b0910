//! What `decode` left out and why, beside the table of images.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;

use super::file::{Form, batch};
use super::schema::{Description, column};
use super::write_table;
use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;

/// The table.
pub fn description() -> Description {
    Description::new(
        Kind::Images,
        "skipped",
        vec![
            column("source", DataType::Utf8, "none", "where the image was from"),
            column("reason", DataType::Utf8, "none", "why it could not be decoded"),
        ],
    )
}

/// An image that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRow {
    /// Where it was from.
    pub source: String,
    /// Why it could not be decoded.
    pub reason: String,
}

/// Writes the table beside the images of the output called `output`.
///
/// # Errors
/// The file cannot be written.
pub fn write(context: &mut Context<'_>, output: &str, rows: &[SkippedRow]) -> Result<(), StageError> {
    let description = description();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.source))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.reason))),
    ];
    write_table(context, output, &description, Form::Parquet, &batch(&description.schema, columns)?)
}
