//! Named values of a model, sorted: what a run prints and what runs are compared by.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use arrow::array::types::{Int32Type, UInt32Type};
use arrow::array::{ArrayRef, Float64Array, Int32Array, StringDictionaryBuilder};
use arrow::datatypes::DataType;

use super::file::{Form, batch};
use super::rows::Rows;
use super::schema::{Description, category, column, optional};
use super::split::{self, Split};
use super::write_table;
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;

/// The table.
pub fn description() -> Description {
    Description::new(
        Kind::Metrics,
        "metrics",
        vec![
            column("round", DataType::Int32, "none", "the round whose model was evaluated, from 0"),
            column("learners", DataType::Int32, "none", "how many learners that round had"),
            column("split", split::data_type(), "none", "the images that were evaluated"),
            column("metric", category(), "none", "`recall`, `map_at_r`, `r_precision`, `nmi` …"),
            optional("k", DataType::Int32, "none", "how many neighbours, or which variant, where the metric has such"),
            column("value", DataType::Float64, "as the metric says", "its value; shares are from 0 to 1"),
        ],
    )
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    /// The round whose model was evaluated, from 0.
    pub round: i32,
    /// How many learners that round had.
    pub learners: i32,
    /// The images that were evaluated.
    pub split: Split,
    /// Its name.
    pub metric: String,
    /// How many neighbours, where the metric has such.
    pub k: Option<i32>,
    /// Its value.
    pub value: f64,
}

/// Whether a larger value of the metric called `metric` is the better one.
pub fn more_is_better(metric: &str) -> bool {
    let less = metric.starts_with("drop_") || metric.ends_with("_half_width");
    !(less || ["alignment", "uniformity", "spectral_decay"].contains(&metric))
}

/// Writes the table, sorted, as the output called `output`.
///
/// # Errors
/// The file cannot be written.
pub fn write(context: &mut Context<'_>, output: &str, mut rows: Vec<MetricRow>) -> Result<(), StageError> {
    rows.sort_by(order);
    let description = description();
    let mut metrics = StringDictionaryBuilder::<UInt32Type>::new();
    rows.iter().for_each(|row| metrics.append_value(&row.metric));
    let splits: Vec<_> = rows.iter().map(|row| row.split).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.round))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.learners))),
        Arc::new(split::array(&splits)),
        Arc::new(metrics.finish()),
        Arc::new(rows.iter().map(|row| row.k).collect::<Int32Array>()),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
    ];
    write_table(context, output, &description, Form::Parquet, &batch(&description.schema, columns)?)
}

/// Reads the table of a port, which takes it whole.
///
/// # Errors
/// The file is damaged, or a column is not there or not declared.
pub fn open(artifact: &InputArtifact) -> Result<Vec<MetricRow>, StageError> {
    rows_of(&Rows::open(artifact, description())?)
}

/// Reads the table in the file at `path`.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<Vec<MetricRow>, StageError> {
    rows_of(&super::read_file(path, description())?)
}

/// The order of rows: round, learners, split, metric, k.
fn order(left: &MetricRow, right: &MetricRow) -> Ordering {
    let key = |row: &MetricRow| (row.round, row.learners, row.split, row.metric.clone(), row.k);
    key(left).cmp(&key(right))
}

fn rows_of(rows: &Rows) -> Result<Vec<MetricRow>, StageError> {
    let rounds = rows.numbers::<Int32Type>("round")?.values();
    let learners = rows.numbers::<Int32Type>("learners")?.values();
    let splits = split::parse_all(rows.texts("split")?)?;
    let (ks, values) = (rows.numbers::<Int32Type>("k")?, rows.f64s("value")?);
    let row = |((row, metric), k): ((usize, &str), Option<i32>)| MetricRow {
        round: rounds[row],
        learners: learners[row],
        split: splits[row],
        metric: metric.to_owned(),
        k,
        value: values[row],
    };
    Ok(rows.texts("metric")?.enumerate().zip(ks.iter()).map(row).collect())
}
