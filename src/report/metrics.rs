//! The metric and query tables of a whole run: those of its nodes one below the other, with `run` and `node` in front.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Schema, SchemaRef};
use dnc_cache::{Artifact, Blob, Store};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::run_folder::{HELD, RunFolder};
use super::text_table;
use crate::execute::NodeResult;
use crate::plan::Plan;

/// A value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The run.
    pub run: String,
    /// The node that measured it.
    pub node: String,
    /// The round.
    pub round: i32,
    /// How many learners the round had.
    pub learners: i32,
    /// On which images.
    pub split: String,
    /// Which metric: `recall`, `map_at_r` …
    pub metric: String,
    /// Its k, if it has one.
    pub k: Option<i32>,
    /// The value.
    pub value: f64,
}

impl Metric {
    /// The name with its k, as in `recall@1`.
    pub fn label(&self) -> String {
        self.k.map_or_else(|| self.metric.clone(), |k| format!("{}@{k}", self.metric))
    }
}

/// Writes `metrics.parquet` and `queries.parquet` of a run from the tables of its nodes; each only if a node has one.
///
/// # Errors
/// A table cannot be read from the store or written to the folder.
pub fn write(folder: &RunFolder, plan: &Plan, results: &[NodeResult], store: &Store) -> anyhow::Result<()> {
    for kind in HELD {
        let mut table: Option<(SchemaRef, Vec<RecordBatch>)> = None;
        for (node, result) in plan.nodes.iter().zip(results) {
            for output in plan.stage(node).ports.outputs.iter().filter(|output| output.kind == kind) {
                let Some(artifact) = result.outputs.get(&output.name) else { continue };
                for batch in read_artifact(store, artifact)
                    .with_context(|| format!("Cannot read the {kind} of `{}`", node.name))?
                {
                    let batch = with_origin(&batch, &folder.id(), &node.name)?;
                    table.get_or_insert_with(|| (batch.schema(), Vec::new())).1.push(batch);
                }
            }
        }
        let Some((schema, batches)) = table else { continue };
        folder.replace(&format!("{kind}.parquet"), |file| {
            let mut writer = ArrowWriter::try_new(file, schema, None).map_err(io::Error::other)?;
            for batch in &batches {
                writer.write(batch).map_err(io::Error::other)?;
            }
            writer.close().map_err(io::Error::other)?;
            Ok(())
        })?;
    }
    Ok(())
}

/// The rows of the `metrics.parquet` in a run's folder; none where there is no such file.
///
/// # Errors
/// The file is not such a table.
pub fn read(run: &Path) -> anyhow::Result<Vec<Metric>> {
    let path = run.join("metrics.parquet");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let read = || -> anyhow::Result<Vec<Metric>> {
        let mut rows = Vec::new();
        for batch in batches(&path)? {
            let column = |name: &str| batch.column_by_name(name).ok_or_else(|| anyhow!("It has no column `{name}`"));
            let text = |name| column(name).and_then(texts);
            let (runs, nodes, splits, metrics) = (text("run")?, text("node")?, text("split")?, text("metric")?);
            let int = |name| {
                column(name).and_then(|column| {
                    column
                        .as_primitive_opt::<Int32Type>()
                        .ok_or_else(|| anyhow!("Its column `{name}` is not of type i32"))
                })
            };
            let (rounds, learners, ks) = (int("round")?, int("learners")?, int("k")?);
            let values = column("value")?.as_primitive_opt::<Float64Type>();
            let values = values.ok_or_else(|| anyhow!("Its column `value` is not of type f64"))?;
            for row in 0..batch.num_rows() {
                rows.push(Metric {
                    run: runs[row].clone(),
                    node: nodes[row].clone(),
                    round: rounds.value(row),
                    learners: learners.value(row),
                    split: splits[row].clone(),
                    metric: metrics[row].clone(),
                    k: ks.is_valid(row).then(|| ks.value(row)),
                    value: values.value(row),
                });
            }
        }
        Ok(rows)
    };
    read().with_context(|| format!("Cannot read `{}`", path.display()))
}

/// The metrics as a table for people: a row for each node and split, a column for each metric.
pub fn table(rows: &[Metric]) -> String {
    let mut labels: Vec<String> = Vec::new();
    let mut lines: Vec<(String, String, String, Vec<Option<f64>>)> = Vec::new();
    for row in rows {
        let label = row.label();
        let column = labels.iter().position(|known| *known == label).unwrap_or_else(|| {
            labels.push(label);
            labels.len() - 1
        });
        let is_of = |line: &(String, String, String, Vec<Option<f64>>)| line.0 == row.node && line.2 == row.split;
        let line = lines.iter().rposition(is_of).unwrap_or_else(|| {
            lines.push((row.node.clone(), row.learners.to_string(), row.split.clone(), Vec::new()));
            lines.len() - 1
        });
        let values = &mut lines[line].3;
        values.resize(values.len().max(column + 1), None);
        values[column] = Some(row.value);
    }
    let mut heads = vec!["node", "learners", "split"];
    heads.extend(labels.iter().map(String::as_str));
    let cells = lines.into_iter().map(|(node, learners, split, values)| {
        let value = |column: usize| values.get(column).copied().flatten();
        let mut cells = vec![node, learners, split];
        cells.extend(
            (0..labels.len()).map(|column| value(column).map_or_else(String::new, |value| format!("{value:.4}"))),
        );
        cells
    });
    text_table(&heads, cells.collect())
}

fn read_artifact(store: &Store, artifact: &Artifact) -> anyhow::Result<Vec<RecordBatch>> {
    let mut all = Vec::new();
    for file in artifact.files().iter().filter(|file| file.path.ends_with(".parquet")) {
        let Blob::Present(path) = store.blob(&file.digest)? else {
            bail!("The blob {} is gone from the store or damaged; run again to restore it", file.digest.short());
        };
        all.extend(batches(&path)?);
    }
    Ok(all)
}

fn batches(path: &Path) -> anyhow::Result<Vec<RecordBatch>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()?;
    Ok(reader.collect::<Result<_, _>>()?)
}

fn with_origin(batch: &RecordBatch, run: &str, node: &str) -> anyhow::Result<RecordBatch> {
    let mut fields =
        vec![Arc::new(Field::new("run", DataType::Utf8, false)), Arc::new(Field::new("node", DataType::Utf8, false))];
    let constant = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; batch.num_rows()])) };
    let mut columns = vec![constant(run), constant(node)];
    fields.extend(batch.schema().fields().iter().cloned());
    columns.extend(batch.columns().iter().cloned());
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The values of a text column, dictionary-encoded or not.
pub(super) fn texts(column: &ArrayRef) -> anyhow::Result<Vec<String>> {
    let plain = match column.data_type() {
        DataType::Utf8 => Arc::clone(column),
        _ => arrow::compute::cast(column, &DataType::Utf8)?,
    };
    Ok(plain.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect())
}
