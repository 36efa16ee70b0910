//! Comparison as a Parquet table with a row per metric and group.

use std::io::Write;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{ArrayRef, Float64Array, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};

use super::comparison::{ComparedMetric, Comparison, GroupValues};
use super::group::Group;
use crate::report::error::{ReportError, TableFault};

/// A row: a metric in a group.
struct Row<'a> {
    metric: &'a ComparedMetric,
    group: &'a Group,
    values: &'a GroupValues,
}

/// Writes the table.
///
/// # Errors
/// The output cannot be written.
pub fn write(groups: &[Group], metrics: &[ComparedMetric], out: impl Write + Send) -> Result<(), ReportError> {
    let mut rows = Vec::with_capacity(metrics.len() * groups.len());
    for metric in metrics {
        rows.extend(groups.iter().zip(&metric.groups).map(|(group, values)| Row { metric, group, values }));
    }
    write_rows(&rows, out).map_err(ReportError::WriteComparison)
}

fn write_rows(rows: &[Row<'_>], out: impl Write + Send) -> Result<(), TableFault> {
    let columns = columns(rows).into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let mut writer = ArrowWriter::try_new(out, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

fn columns(rows: &[Row<'_>]) -> Vec<(&'static str, ArrayRef)> {
    let text = |of: &dyn Fn(&Row<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let number =
        |of: &dyn Fn(&Row<'_>) -> Option<f64>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Float64Array>()) };
    let compared = |of: &dyn Fn(&Comparison) -> Option<f64>| number(&|row| row.values.comparison.as_ref().and_then(of));
    let seeds = ListArray::from_iter_primitive::<Int64Type, _, _>(rows.iter().map(|row| list(&row.values.seeds)));
    let values = ListArray::from_iter_primitive::<Float64Type, _, _>(rows.iter().map(|row| list(&row.values.values)));
    vec![
        ("node", text(&|row| Some(row.metric.node.clone()))),
        ("split", text(&|row| Some(row.metric.split.clone()))),
        ("metric", text(&|row| Some(row.metric.metric.clone()))),
        ("k", Arc::new(rows.iter().map(|row| row.metric.k).collect::<Int32Array>())),
        ("runs", text(&|row| Some(row.group.name.to_string()))),
        ("seeds", Arc::new(seeds)),
        ("values", Arc::new(values)),
        ("value", number(&|row| row.values.mean())),
        ("half_width", number(&|row| row.values.interval(&row.metric.metric)?.half_width)),
        ("interval_low", number(&|row| Some(row.values.interval(&row.metric.metric)?.low))),
        ("interval_high", number(&|row| Some(row.values.interval(&row.metric.metric)?.high))),
        ("difference", compared(&|comparison| Some(comparison.difference.mean))),
        ("low", compared(&|comparison| Some(comparison.difference.interval.0))),
        ("high", compared(&|comparison| Some(comparison.difference.interval.1))),
        ("p", compared(&|comparison| Some(comparison.difference.p))),
        ("p_sign_flip", compared(&|comparison| comparison.sign_flip)),
        ("over", text(&|row| row.values.comparison.map(|comparison| comparison.basis.name().to_owned()))),
        ("verdict", text(&|row| row.values.comparison.map(|comparison| comparison.verdict.name().to_owned()))),
    ]
}

/// A list in a column of lists.
fn list<T: Copy>(items: &[T]) -> Option<impl Iterator<Item = Option<T>>> {
    Some(items.iter().copied().map(Some))
}
