//! How training went, a row a step and term: each part of the loss, the learning rate, whatever a loss reports.
//!
//! What an epoch came to is the mean over its steps, `SELECT epoch, avg(value) FROM 'history.parquet' WHERE term = 'informative'
//! GROUP BY epoch`, which a training writes into its log as well ([`mean_of_epoch`]).

use std::path::Path;
use std::sync::Arc;

use arrow::array::types::UInt32Type;
use arrow::array::{ArrayRef, Float64Array, StringDictionaryBuilder, UInt32Array};
use arrow::datatypes::DataType;

use super::file::{Form, batch};
use super::rows::Rows;
use super::schema::{Description, category, column};
use super::write_table;
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;

/// The table.
pub fn description() -> Description {
    Description::new(
        Kind::History,
        "history",
        vec![
            column("step", DataType::UInt32, "steps", "the optimiser's step within the node, from 0"),
            column("epoch", DataType::UInt32, "epochs", "the epoch within the node, from 0"),
            column("learner", DataType::UInt32, "none", "the learner whose batch it was"),
            column("term", category(), "none", "what was measured: `loss`, a term of it, `lr` …"),
            column("value", DataType::Float64, "as the term", "its value"),
        ],
    )
}

/// One value of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    /// The optimiser's step within the node, from 0.
    pub step: u32,
    /// The epoch within the node, from 0.
    pub epoch: u32,
    /// The learner whose batch it was.
    pub learner: u32,
    /// What was measured: `loss`, a term of it, `lr` …
    pub term: String,
    /// Its value.
    pub value: f64,
}

/// The mean of a term over the steps of an epoch; `None` where no step has it.
pub fn mean_of_epoch(rows: &[HistoryRow], epoch: u32, term: &str) -> Option<f64> {
    let values: Vec<f64> =
        rows.iter().filter(|row| row.epoch == epoch && row.term == term).map(|row| row.value).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Writes the table as the output called `output`.
///
/// # Errors
/// The file cannot be written.
pub fn write(context: &mut Context<'_>, output: &str, rows: &[HistoryRow]) -> Result<(), StageError> {
    let description = description();
    let mut terms = StringDictionaryBuilder::<UInt32Type>::new();
    rows.iter().for_each(|row| terms.append_value(&row.term));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.step))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.epoch))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.learner))),
        Arc::new(terms.finish()),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
    ];
    write_table(context, output, &description, Form::Parquet, &batch(&description.schema, columns)?)
}

/// Reads the table of a port, which takes it whole.
///
/// # Errors
/// The file is damaged, or a column is not there or not declared.
pub fn open(artifact: &InputArtifact) -> Result<Vec<HistoryRow>, StageError> {
    rows_of(&Rows::open(artifact, description())?)
}

/// Reads the table in the file at `path`.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<Vec<HistoryRow>, StageError> {
    rows_of(&super::read_file(path, description())?)
}

fn rows_of(rows: &Rows) -> Result<Vec<HistoryRow>, StageError> {
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
