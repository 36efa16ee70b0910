//! Metrics of a run: writes the tables in its folder, reads them back, prints them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dnc_cache::{Artifact, Blob, Store};
use dnc_stages::api::{ArtifactKind, Columns, InputArtifact, InputFile};
pub use dnc_stages::tables::metrics::label as metric_label;
use dnc_stages::tables::{main_table, table_of};
use parquet::arrow::ArrowWriter;

use super::error::{ReportError, TableFault};
use super::run_folder::RunFolder;
use super::run_table::visit_batches;
use super::table::text_table;
use crate::execute::NodeResult;
use crate::plan::Plan;

/// The columns of `metrics.parquet`.
const COLUMNS: [&str; 8] = ["run", "node", "round", "learners", "split", "metric", "k", "value"];

/// A value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The run, as `<name>/<n>`.
    pub run: String,
    /// The node that measured it.
    pub node: String,
    /// Round of the evaluated model.
    pub round: i32,
    /// Number of learners in that round.
    pub learners: i32,
    /// Split of the evaluated images.
    pub split: String,
    /// Name of the metric without its k, such as `recall` or `map_at_r`.
    pub metric: String,
    /// The k of the metric, if it has one.
    pub k: Option<i32>,
    /// The value.
    pub value: f64,
}

impl Metric {
    /// The name with its k, such as `recall@1`.
    pub fn label(&self) -> String {
        metric_label(&self.metric, self.k)
    }
}

/// Writes `metrics.parquet`, `queries.parquet` and `summary.parquet` of a run: the tables of all its nodes, with the columns `run`
/// and `node` in front. A file is written only if a node has such a table.
///
/// # Errors
/// A table cannot be read from the store or written to the folder.
pub fn write(folder: &RunFolder, plan: &Plan, results: &[NodeResult], store: &Store) -> Result<(), ReportError> {
    for kind in ArtifactKind::ALL.into_iter().filter(|kind| kind.is_reported() || kind.has_warnings()) {
        let mut table: Option<(SchemaRef, Vec<RecordBatch>)> = None;
        for (node, result) in plan.nodes.iter().zip(results) {
            let failed = |source| ReportError::ReadArtifact { kind, node: node.name.clone(), source };
            for output in plan.stage(node).ports.outputs.iter().filter(|output| output.kind == kind) {
                let Some(artifact) = result.outputs.get(&output.name) else { continue };
                let read = match read_artifact(store, artifact, kind, &node.name) {
                    // A summary whose bytes are gone is not made again for the sake of the run folder.
                    Err(TableFault::MissingBlob(_)) if kind.has_warnings() => continue,
                    read => read.map_err(failed)?,
                };
                for batch in read.into_iter().filter(|batch| batch.num_rows() > 0) {
                    let batch = with_origin(&batch, &folder.id(), &node.name).map_err(failed)?;
                    table.get_or_insert_with(|| (batch.schema(), Vec::new())).1.push(batch);
                }
            }
        }
        let Some((schema, batches)) = table else { continue };
        let name = format!("{kind}.parquet");
        let written = folder.replace(&name, |file| {
            let mut writer = ArrowWriter::try_new(file, schema, None).map_err(io::Error::other)?;
            for batch in &batches {
                writer.write(batch).map_err(io::Error::other)?;
            }
            writer.close().map_err(io::Error::other)?;
            Ok(())
        });
        written.map_err(|source| ReportError::WriteTable { path: folder.path.join(name), source })?;
    }
    Ok(())
}

/// Reads the metrics in a run folder. Without `metrics.parquet` there are none.
///
/// # Errors
/// The file cannot be read as such a table.
pub fn read(run: &Path) -> Result<Vec<Metric>, ReportError> {
    let mut metrics = Vec::new();
    visit_batches(&run.join("metrics.parquet"), &COLUMNS, |columns| {
        let (runs, nodes) = (columns.texts("run")?, columns.texts("node")?);
        let (splits, names) = (columns.texts("split")?, columns.texts("metric")?);
        let (rounds, learners, ks) = (columns.i32s("round")?, columns.i32s("learners")?, columns.i32s("k")?);
        let values = columns.f64s("value")?;
        for row in 0..runs.len() {
            metrics.push(Metric {
                run: runs[row].clone(),
                node: nodes[row].clone(),
                round: rounds.value(row),
                learners: learners.value(row),
                split: splits[row].clone(),
                metric: names[row].clone(),
                k: ks.is_valid(row).then(|| ks.value(row)),
                value: values.value(row),
            });
        }
        Ok(())
    })?;
    Ok(metrics)
}

/// A table of metrics for a terminal: a row for each node and split, a column for each metric.
pub fn table(metrics: &[Metric]) -> String {
    let mut labels: Vec<String> = Vec::new();
    let mut rows: Vec<NodeRow<'_>> = Vec::new();
    for metric in metrics {
        let label = metric.label();
        let column = labels.iter().position(|known| *known == label).unwrap_or_else(|| {
            labels.push(label);
            labels.len() - 1
        });
        let is_of = |row: &NodeRow<'_>| row.node == metric.node && row.split == metric.split;
        let row = rows.iter().rposition(is_of).unwrap_or_else(|| {
            let Metric { node, learners, split, .. } = metric;
            rows.push(NodeRow { node, learners: *learners, split, values: Vec::new() });
            rows.len() - 1
        });
        let values = &mut rows[row].values;
        values.resize(values.len().max(column + 1), None);
        values[column] = Some(metric.value);
    }
    let mut headings = vec!["node", "learners", "split"];
    headings.extend(labels.iter().map(String::as_str));
    text_table(&headings, rows.iter().map(|row| row.cells(labels.len())).collect())
}

/// A row of the table for a terminal.
struct NodeRow<'a> {
    node: &'a str,
    learners: i32,
    split: &'a str,
    /// The values of the metrics in the order of the columns; short if the last ones are missing.
    values: Vec<Option<f64>>,
}

impl NodeRow<'_> {
    fn cells(&self, metrics: usize) -> Vec<String> {
        let value = |column: usize| self.values.get(column).copied().flatten();
        let text = |column| value(column).map_or_else(String::new, |value| format!("{value:.4}"));
        let row = [self.node.to_owned(), self.learners.to_string(), self.split.to_owned()];
        row.into_iter().chain((0..metrics).map(text)).collect()
    }
}

/// The rows of an artifact's main table in the columns of its kind. A `command` may have written it as Arrow or Parquet, with other
/// columns beside them and in another order.
fn read_artifact(
    store: &Store,
    artifact: &Artifact,
    kind: ArtifactKind,
    node: &str,
) -> Result<Vec<RecordBatch>, TableFault> {
    let mut files = Vec::new();
    for file in artifact.files().iter().filter(|file| table_of(&file.path) == Some(kind.name())) {
        let Blob::Present(path) = store.blob(&file.digest)? else {
            return Err(TableFault::MissingBlob(file.digest.short()));
        };
        files.push(InputFile { name: file.path.clone(), path });
    }
    let artifact = InputArtifact { node: node.to_owned(), kind, files, columns: Columns::All };
    Ok(main_table(&artifact).map_err(Box::new)?)
}

/// The batch with the columns `run` and `node` in front.
fn with_origin(batch: &RecordBatch, run: &str, node: &str) -> Result<RecordBatch, TableFault> {
    let mut fields =
        vec![Arc::new(Field::new("run", DataType::Utf8, false)), Arc::new(Field::new("node", DataType::Utf8, false))];
    let constant = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; batch.num_rows()])) };
    let mut columns = vec![constant(run), constant(node)];
    fields.extend(batch.schema().fields().iter().cloned());
    columns.extend(batch.columns().iter().cloned());
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
