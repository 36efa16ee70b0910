//! The images that `decode` left out, with the reasons, beside the table of images.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;

use crate::artifact::OutputArtifact;
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, column};
use crate::write::write_table;

/// The schema of the table.
pub fn schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Images,
        "skipped",
        vec![
            column("source", DataType::Utf8, "none", "origin of the image, as in the table of images"),
            column("reason", DataType::Utf8, "none", "why it could not be decoded"),
        ],
    )
}

/// An image that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRow {
    /// Its origin.
    pub source: String,
    /// Why it could not be decoded.
    pub reason: String,
}

/// Writes the table.
///
/// # Errors
/// The file cannot be written.
pub fn write(output: &mut OutputArtifact, rows: &[SkippedRow]) -> Result<(), TableError> {
    let schema = schema();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.source))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.reason))),
    ];
    write_table(output, &schema, Form::Parquet, &batch(&schema.columns, columns)?)
}
