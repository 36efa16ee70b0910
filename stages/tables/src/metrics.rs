//! Metrics of a model, sorted: what a run prints and what runs are compared by.

use std::cmp::Ordering;
use std::fmt::Display;
use std::iter;
use std::path::Path;
use std::sync::Arc;

use arrow::array::types::{Int32Type, UInt32Type};
use arrow::array::{ArrayRef, Float64Array, Int32Array, StringDictionaryBuilder};
use arrow::datatypes::DataType;

use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, category, column, optional};
use crate::split::{self, Split};
use crate::table::Table;
use crate::write::write_table;

/// The schema of the table.
pub fn schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Metrics,
        "metrics",
        vec![
            column("round", DataType::Int32, "none", "round of the evaluated model, from 0"),
            column("learners", DataType::Int32, "none", "number of learners of that round"),
            column("split", split::data_type(), "none", "split of the evaluated images"),
            column("metric", category(), "none", "name of the metric: `recall`, `map_at_r`, `r_precision`, `nmi` …"),
            optional(
                "k",
                DataType::Int32,
                "none",
                "number of neighbours, or variant of the metric; null if it has neither",
            ),
            column(
                "value",
                DataType::Float64,
                "depends on the metric",
                "value of the metric; fractions are from 0 to 1",
            ),
        ],
    )
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    /// Round of the evaluated model, from 0.
    pub round: i32,
    /// Number of learners of that round.
    pub learners: i32,
    /// Split of the evaluated images.
    pub split: Split,
    /// Its name.
    pub metric: String,
    /// Number of neighbours, or variant of the metric, if it has one.
    pub k: Option<i32>,
    /// Its value.
    pub value: f64,
}

/// The metric that models are chosen by, unless another is named.
pub const MAP_AT_R: &str = "map_at_r";

/// What takes the place of [`MAP_AT_R`] where images have cameras.
const MAP: &str = "map";

/// The metric called `metric`, and the one that takes its place where images have cameras, if there is one.
pub fn with_substitute(metric: &str) -> impl Iterator<Item = &str> {
    iter::once(metric).chain((metric == MAP_AT_R).then_some(MAP))
}

/// The name of a metric with its k, such as `recall@1`.
pub fn label(metric: &str, k: Option<impl Display>) -> String {
    k.map_or_else(|| metric.to_owned(), |k| format!("{metric}@{k}"))
}

/// Whether larger values of the metric called `metric` are better.
pub fn more_is_better(metric: &str) -> bool {
    let less = metric.starts_with("drop_") || metric.ends_with("_half_width");
    !(less || ["alignment", "uniformity", "spectral_decay", "unmatched_queries"].contains(&metric))
}

/// Writes the table, sorted.
///
/// # Errors
/// The file cannot be written.
pub fn write(output: &mut OutputArtifact, mut rows: Vec<MetricRow>) -> Result<(), TableError> {
    rows.sort_by(order);
    let schema = schema();
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
    write_table(output, &schema, Form::Parquet, &batch(&schema.columns, columns)?)
}

/// The least and the greatest value that a metric can have, if it has both: shares lie between 0 and 1, what is subtracted from a
/// share between −1 and 1.
pub fn bounds(metric: &str) -> Option<(f64, f64)> {
    match metric {
        "recall" | "cmc" | "map" | "map_at_r" | "r_precision" | "subspace_recall" | "nmi" => Some((0.0, 1.0)),
        "ami" => Some((-1.0, 1.0)),
        _ if metric.starts_with("few_shot_") => Some((0.0, 1.0)),
        _ if metric.starts_with("drop_") => Some((-1.0, 1.0)),
        _ => None,
    }
}

/// Reads the table of an artifact all of whose columns are declared.
///
/// # Errors
/// The file is damaged, or a column is missing or not declared.
pub fn open(artifact: &InputArtifact) -> Result<Vec<MetricRow>, TableError> {
    rows_of(&Table::open(artifact, schema())?)
}

/// Reads the table in the file at `path`.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<Vec<MetricRow>, TableError> {
    rows_of(&Table::read_file(path, schema())?)
}

/// The order of rows: round, learners, split, metric, k.
fn order(left: &MetricRow, right: &MetricRow) -> Ordering {
    fn key(row: &MetricRow) -> (i32, i32, Split, &str, Option<i32>) {
        (row.round, row.learners, row.split, &row.metric, row.k)
    }
    key(left).cmp(&key(right))
}

fn rows_of(rows: &Table) -> Result<Vec<MetricRow>, TableError> {
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
