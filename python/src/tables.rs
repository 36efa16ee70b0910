//! Tables of a run: its metrics with their intervals, its queries, and what its nodes wrote.

use std::collections::BTreeSet;
use std::ffi::c_char;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use dnc_run::pages::evidence::Evidence;
use dnc_run::report::stored::StoredRun;
use dnc_run::report::{intervals, text_rows};
use dnc_stages::tables::{for_each_batch, schema_of, table_of};
use serde::Deserialize;
use serde_json::json;

use crate::arrow_c::ArrowArrayStream;
use crate::boundary::{Problem, free, handle, json, parsed};
use crate::opened::Opened;

/// Which table of a run.
#[derive(Deserialize)]
#[serde(tag = "table", rename_all = "snake_case")]
enum Request {
    Metrics,
    Queries,
    /// An output of a node, or of the nodes of a stage the one that the run is about.
    Output {
        node: String,
        output: String,
    },
}

/// A table in memory or in a mapped file; [`dnc_free_table`] frees it.
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Table {
    /// A table of these columns, in which `nullable` ones may have nulls.
    pub(crate) fn new(columns: Vec<(&str, ArrayRef)>, nullable: &[&str]) -> Result<Self, Problem> {
        let field =
            |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), nullable.contains(name));
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        let batches = vec![RecordBatch::try_new(Arc::clone(&schema), columns)?];
        Ok(Self { schema, batches })
    }

    fn read<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Self, Problem> {
        let files: Vec<&Path> = files.into_iter().collect();
        let schema = schema_of(files.iter().copied())?;
        let schema = schema.ok_or_else(|| Problem("There is no such table".to_owned()))?;
        let mut batches = Vec::new();
        for path in files {
            for_each_batch(path, |_| true, &mut |batch| -> Result<(), Problem> {
                batches.push(batch);
                Ok(())
            })?;
        }
        Ok(Self { schema: Arc::new(schema), batches })
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// A table of a run.
///
/// # Safety
/// `run` is a handle of this library, `request` is JSON that ends with a zero, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_table(run: *const Opened, request: *const c_char, error: *mut *mut c_char) -> *mut Table {
    // SAFETY: by the caller's promise.
    unsafe {
        handle(error, || {
            let run = &*run;
            match parsed(request)? {
                Request::Metrics => metrics(&run.evidence),
                Request::Queries => queries(&run.evidence),
                Request::Output { node, output } => an_output(run, &node, &output),
            }
        })
    }
}

/// The number of rows and the columns of a table.
///
/// # Safety
/// `table` is a handle of this library, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_describe_table(table: *const Table, error: *mut *mut c_char) -> *mut c_char {
    // SAFETY: by the caller's promise.
    unsafe {
        json(error, || {
            let table = &*table;
            let names: Vec<&String> = table.schema.fields().iter().map(|field| field.name()).collect();
            Ok(json!({ "rows": table.rows(), "columns": names }))
        })
    }
}

/// The first rows of a table, at most `count`: a text with a JSON object a line.
///
/// # Safety
/// `table` is a handle of this library, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_rows(table: *const Table, count: usize, error: *mut *mut c_char) -> *mut c_char {
    // SAFETY: by the caller's promise.
    unsafe {
        json(error, || {
            let (mut left, mut lines) = (count, Vec::new());
            for batch in &(*table).batches {
                let taken = left.min(batch.num_rows());
                text_rows::json(&batch.slice(0, taken), &mut lines)?;
                left -= taken;
            }
            Ok(String::from_utf8_lossy(&lines).into_owned())
        })
    }
}

/// The batches of a table, without a copy, for a capsule that `dnc_free_capsule` frees.
///
/// # Safety
/// `table` is a handle of this library, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_stream(table: *const Table, error: *mut *mut c_char) -> *mut ArrowArrayStream {
    // SAFETY: by the caller's promise.
    unsafe { handle(error, || Ok(ArrowArrayStream::new(Arc::clone(&(*table).schema), (*table).batches.clone()))) }
}

/// Frees a table. Streams and what was read from them stay valid.
///
/// # Safety
/// `table` is null or a handle of this library that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_free_table(table: *mut Table) {
    // SAFETY: by the caller's promise.
    unsafe { free(table) };
}

fn metrics(evidence: &Evidence) -> Result<Table, Problem> {
    let rows = &evidence.metrics;
    let ends: Vec<Option<(f64, f64)>> =
        rows.iter().map(|row| intervals::over_queries(row, &evidence.queries)).collect();
    let text = |value: fn(&dnc_run::report::metrics::Metric) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("run", text(|row| &row.run)),
        ("node", text(|row| &row.node)),
        ("round", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.round)))),
        ("learners", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.learners)))),
        ("split", text(|row| &row.split)),
        ("metric", text(|row| &row.metric)),
        ("k", Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.k)))),
        ("value", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value)))),
        ("low", Arc::new(Float64Array::from_iter(ends.iter().map(|ends| ends.map(|(low, _)| low))))),
        ("high", Arc::new(Float64Array::from_iter(ends.iter().map(|ends| ends.map(|(_, high)| high))))),
    ];
    Table::new(columns, &["k", "low", "high"])
}

fn queries(evidence: &Evidence) -> Result<Table, Problem> {
    let path = evidence.folder.path.join("queries.parquet");
    if !path.exists() {
        let run = evidence.folder.id();
        return Err(Problem(format!("Run `{run}` has no table of queries: no stage `evaluate` has finished in it")));
    }
    Table::read([path.as_path()])
}

fn an_output(run: &Opened, node: &str, output: &str) -> Result<Table, Problem> {
    let stored = StoredRun::open(run.evidence.folder.clone(), run.store.as_deref());
    let stored = stored.map_err(|error| Problem(dnc_run::error_chain::error_chain(&*error)))?;
    let node = stored.node(&node_named(&run.evidence, node, output))?;
    let files = stored.files(node, output)?;
    let names: BTreeSet<&str> = files.iter().filter_map(|file| table_of(&file.name)).collect();
    // An artifact may have other tables beside its own: pixels beside images.
    let wanted = names.get(output).or(names.first()).copied();
    let wanted = wanted.ok_or_else(|| {
        let node = &node.node;
        Problem(format!("The output `{output}` of `{node}` is no table; `dnc-run get` copies its files"))
    })?;
    Table::read(files.iter().filter(|file| table_of(&file.name) == Some(wanted)).map(|file| file.path.as_path()))
}

/// The node of this name; for the name of a stage with a node a round the evaluated node of the chosen round, else the last one
/// with such an output.
fn node_named(evidence: &Evidence, name: &str, output: &str) -> String {
    if evidence.node(name).is_some() {
        return name.to_owned();
    }
    let is_of_stage = |node: &str| node.split_once('@').is_some_and(|(stage, _)| stage == name);
    let chosen = evidence.subject.as_ref().map(|subject| subject.chosen().node.as_str());
    let last = || {
        let nodes = evidence.json.nodes.iter().rev();
        nodes
            .map(|node| (node.node.as_str(), node))
            .find(|(node, json)| is_of_stage(node) && json.outputs.contains_key(output))
    };
    let found = chosen.filter(|node| is_of_stage(node)).or_else(|| last().map(|(node, _)| node));
    found.unwrap_or(name).to_owned()
}
