//! What each query of a run found, as the paired tests read it from the run's `queries.parquet`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use arrow::array::types::{Float64Type, UInt32Type};
use arrow::array::{Array, AsArray, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::metrics::texts;

/// The columns that are read; neighbours and their distances are most of the table and not among them.
const COLUMNS: [&str; 7] = ["node", "split", "id", "label", "first_hit", "r_precision", "average_precision"];

/// The queries of a run, by node and split.
pub type Queries = BTreeMap<(String, String), Vec<Query>>;

/// What a query found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Query {
    /// The image that was searched for.
    pub id: u32,
    /// Its class.
    pub label: u32,
    /// Rank from 1 of the nearest of the same class, if one was found.
    pub first_hit: Option<u32>,
    /// Its share of the R-precision.
    pub r_precision: f64,
    /// Its share of MAP@R or mAP.
    pub average_precision: f64,
}

impl Query {
    /// Its share of a metric that is a mean over queries; `None` for any other metric.
    pub fn share(&self, metric: &str, k: Option<i32>) -> Option<f64> {
        match (metric, k) {
            ("recall" | "cmc", Some(k)) => {
                Some(f64::from(self.first_hit.is_some_and(|rank| i64::from(rank) <= k.into())))
            }
            ("r_precision", None) => Some(self.r_precision),
            ("map_at_r" | "map", None) => Some(self.average_precision),
            _ => None,
        }
    }
}

/// Reads the queries in a run's folder; none where it has no such table.
///
/// # Errors
/// The file is not such a table.
pub fn read(run: &Path) -> anyhow::Result<Queries> {
    let path = run.join("queries.parquet");
    if !path.exists() {
        return Ok(Queries::new());
    }
    let read = || -> anyhow::Result<Queries> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?;
        let wanted = ProjectionMask::columns(reader.parquet_schema(), COLUMNS);
        let mut queries = Queries::new();
        for batch in reader.with_projection(wanted).build()? {
            push(&batch?, &mut queries)?;
        }
        Ok(queries)
    };
    read().with_context(|| format!("Cannot read `{}`", path.display()))
}

fn push(batch: &RecordBatch, queries: &mut Queries) -> anyhow::Result<()> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| anyhow!("It has no column `{name}`"));
    let u32s = |name: &str| {
        let column = column(name)?.as_primitive_opt::<UInt32Type>();
        column.ok_or_else(|| anyhow!("Its column `{name}` is not of type u32"))
    };
    let f64s = |name: &str| {
        let column = column(name)?.as_primitive_opt::<Float64Type>();
        column.ok_or_else(|| anyhow!("Its column `{name}` is not of type f64"))
    };
    let (nodes, splits) = (texts(column("node")?)?, texts(column("split")?)?);
    let (ids, labels, first_hits) = (u32s("id")?, u32s("label")?, u32s("first_hit")?);
    let (r_precisions, average_precisions) = (f64s("r_precision")?, f64s("average_precision")?);
    for (row, place) in nodes.into_iter().zip(splits).enumerate() {
        queries.entry(place).or_default().push(Query {
            id: ids.value(row),
            label: labels.value(row),
            first_hit: first_hits.is_valid(row).then(|| first_hits.value(row)),
            r_precision: r_precisions.value(row),
            average_precision: average_precisions.value(row),
        });
    }
    Ok(())
}
