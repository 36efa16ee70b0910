//! Results of each query of a run, read from its `queries.parquet`: what the paired tests over queries need.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::Array;

use super::error::ReportError;
use super::run_table::visit_batches;

/// The columns that are read. The neighbours and their distances, which are most of the table, are not among them.
const COLUMNS: [&str; 7] = ["node", "split", "id", "label", "first_hit", "r_precision", "average_precision"];

/// The queries of a run by node and split.
pub type Queries = BTreeMap<NodeSplit, Vec<Query>>;

/// A node and the split that it evaluated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeSplit {
    /// Name of the node.
    pub node: String,
    /// Name of the split.
    pub split: String,
}

/// The result of one query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Query {
    /// Id of the query image.
    pub id: u32,
    /// Class of the query image.
    pub label: u32,
    /// Rank from 1 of the nearest image of the same class, if one was found.
    pub first_hit: Option<u32>,
    /// R-precision of this query.
    pub r_precision: f64,
    /// Average precision of this query: its term of MAP@R or mAP.
    pub average_precision: f64,
}

impl Query {
    /// The value of a metric for this query alone; `None` for a metric that is not a mean over queries.
    pub fn score(&self, metric: &str, k: Option<i32>) -> Option<f64> {
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

/// The queries of one node. Its name is left empty, so that it can be compared with a node of another name.
pub fn unnamed(queries: Queries, node: &str) -> Queries {
    let of_node = queries.into_iter().filter(|(place, _)| place.node == node);
    of_node.map(|(place, queries)| (NodeSplit { node: String::new(), ..place }, queries)).collect()
}

/// Reads the queries in a run folder that have a match. Without `queries.parquet` there are none.
///
/// # Errors
/// The file cannot be read as such a table.
pub fn read(run: &Path) -> Result<Queries, ReportError> {
    let mut queries = Queries::new();
    visit_batches(&run.join("queries.parquet"), &COLUMNS, |columns| {
        let (nodes, splits) = (columns.texts("node")?, columns.texts("split")?);
        let (ids, labels, first_hits) = (columns.u32s("id")?, columns.u32s("label")?, columns.u32s("first_hit")?);
        let (r_precisions, average_precisions) = (columns.f64s("r_precision")?, columns.f64s("average_precision")?);
        for (row, (node, split)) in nodes.into_iter().zip(splits).enumerate() {
            // A query without a match has no score.
            if r_precisions.is_null(row) {
                continue;
            }
            queries.entry(NodeSplit { node, split }).or_default().push(Query {
                id: ids.value(row),
                label: labels.value(row),
                first_hit: first_hits.is_valid(row).then(|| first_hits.value(row)),
                r_precision: r_precisions.value(row),
                average_precision: average_precisions.value(row),
            });
        }
        Ok(())
    })?;
    Ok(queries)
}
