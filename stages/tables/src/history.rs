//! Training history, one row per step and term: each part of the loss, the learning rate, and whatever else a loss reports.
//!
//! The value of an epoch is the mean over its steps, `SELECT epoch, avg(value) FROM 'history.parquet' WHERE term = 'informative'
//! GROUP BY epoch`, which training also writes to its log ([`mean_of_epoch`]).

use std::path::Path;
use std::sync::Arc;

use arrow::array::types::UInt32Type;
use arrow::array::{ArrayRef, Float64Array, StringDictionaryBuilder, UInt32Array};
use arrow::datatypes::DataType;

use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, category, column};
use crate::table::Table;
use crate::write::write_table;

/// The schema of the table.
pub fn schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::History,
        "history",
        vec![
            column("step", DataType::UInt32, "steps", "optimiser step within the node, from 0"),
            column("epoch", DataType::UInt32, "epochs", "epoch within the node, from 0"),
            column("learner", DataType::UInt32, "none", "the learner that the batch belongs to"),
            column("term", category(), "none", "the quantity: `loss`, a term of it, `lr` …"),
            column("value", DataType::Float64, "depends on the term", "value of the term"),
        ],
    )
}

/// One value of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    /// Optimiser step within the node, from 0.
    pub step: u32,
    /// Epoch within the node, from 0.
    pub epoch: u32,
    /// The learner that the batch belongs to.
    pub learner: u32,
    /// The quantity: `loss`, a term of it, `lr` …
    pub term: String,
    /// Its value.
    pub value: f64,
}

/// The mean of a term over the steps of an epoch; `None` if no step has it.
pub fn mean_of_epoch(rows: &[HistoryRow], epoch: u32, term: &str) -> Option<f64> {
    let values: Vec<f64> =
        rows.iter().filter(|row| row.epoch == epoch && row.term == term).map(|row| row.value).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Writes the table.
///
/// # Errors
/// The file cannot be written.
pub fn write(output: &mut OutputArtifact, rows: &[HistoryRow]) -> Result<(), TableError> {
    let schema = schema();
    let mut terms = StringDictionaryBuilder::<UInt32Type>::new();
    rows.iter().for_each(|row| terms.append_value(&row.term));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.step))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.epoch))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.learner))),
        Arc::new(terms.finish()),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
    ];
    write_table(output, &schema, Form::Parquet, &batch(&schema.columns, columns)?)
}

/// Reads the table of an artifact all of whose columns are declared.
///
/// # Errors
/// The file is damaged, or a column is missing or not declared.
pub fn open(artifact: &InputArtifact) -> Result<Vec<HistoryRow>, TableError> {
    rows_of(&Table::open(artifact, schema())?)
}

/// Reads the table in the file at `path`.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<Vec<HistoryRow>, TableError> {
    rows_of(&Table::read_file(path, schema())?)
}

fn rows_of(rows: &Table) -> Result<Vec<HistoryRow>, TableError> {
    let (steps, epochs, learners) = (rows.u32s("step")?, rows.u32s("epoch")?, rows.u32s("learner")?);
    let (terms, values) = (rows.texts("term")?, rows.f64s("value")?);
    let row = |(row, term): (usize, &str)| HistoryRow {
        step: steps[row],
        epoch: epochs[row],
        learner: learners[row],
        term: term.to_owned(),
        value: values[row],
    };
    Ok(terms.enumerate().map(row).collect())
}
