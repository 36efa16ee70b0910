//! What searches find: retrieval metrics, and a row for each query.
//!
//! Queries are searched in blocks, so that of the neighbours, which are a thousand for each query where Recall@1000 is wanted,
//! only those of a block are held.

use dnc_kernels::neighbours::{Gallery, Neighbours};
use dnc_learn::metrics::{PerQuery, Ranking, average_precision, cmc, map_at_r, r_precision, recall_at_k};

use super::Evaluate;
use super::rows::Rows;
use super::search::Search;
use crate::context::Context;
use crate::error::StageError;
use crate::tables::queries::QueryRow;

/// Queries that are searched at a time.
const BLOCK: usize = 4096;

/// Notes every retrieval metric of a split and what each query found, and gives the Recall@1.
pub(super) fn judge(
    stage: &Evaluate,
    context: &Context<'_>,
    searches: &[Search],
    rows: &mut Rows,
) -> Result<f64, StageError> {
    let Some(split) = searches.first().map(|search| search.split) else { return Ok(f64::NAN) };
    let mut found = Found::new(stage);
    for search in searches {
        in_blocks(context, search, |relevant| depth(stage, search, relevant), |block| found.take(search, block, rows))?;
    }
    let recall = if stage.cameras { "cmc" } else { "recall" };
    for (&k, values) in stage.recall.iter().zip(&found.recall) {
        rows.metric(split, recall, Some(k), values.mean());
    }
    if stage.cameras {
        rows.metric(split, "map", None, found.precision.mean());
    } else {
        rows.metric(split, "map_at_r", None, found.precision.mean());
        rows.metric(split, "r_precision", None, found.r_precision.mean());
    }
    Ok(found.first.mean())
}

/// Recall@1 alone.
pub(super) fn recall_at_1(context: &Context<'_>, searches: &[Search]) -> Result<f64, StageError> {
    let mut first = PerQuery(Vec::new());
    for search in searches {
        in_blocks(
            context,
            search,
            |_| 1,
            |block| {
                first.0.extend(recall_at_k(&block.ranking, 1)?.0);
                Ok(())
            },
        )?;
    }
    Ok(first.mean())
}

/// What a block of queries found.
struct Block<'b> {
    /// The number of its first query.
    start: usize,
    neighbours: &'b Neighbours,
    ranking: Ranking<'b>,
}

/// Searches block by block as many neighbours as `depth` says, given how many there are to be found of each query.
fn in_blocks(
    context: &Context<'_>,
    search: &Search,
    depth: impl Fn(&[u32]) -> usize,
    mut take: impl FnMut(Block<'_>) -> dnc_learn::error::Result<()>,
) -> Result<(), StageError> {
    let (queries, gallery) = (&search.queries, search.gallery());
    let failed = |source| StageError::compute(format!("judge the split `{}`", search.split), source);
    let not_searched =
        |source| StageError::compute(format!("search the neighbours of the split `{}`", search.split), source);
    let searched = Gallery::new(&gallery.vectors, gallery.dim).map_err(not_searched)?;
    let relevant = search.relevant();
    let k = depth(&relevant);
    let count = queries.ids.len();
    for start in (0..count).step_by(BLOCK) {
        context.check_cancelled()?;
        let block = start..(start + BLOCK).min(count);
        let vectors = &queries.vectors[block.start * queries.dim..block.end * queries.dim];
        let neighbours = searched
            .nearest(vectors, k, |query, row| search.skips(start + query, row as usize))
            .map_err(not_searched)?;
        let (labels, relevant) = (&queries.labels[block.clone()], &relevant[block.clone()]);
        let ranking = Ranking::new(&neighbours, labels, &gallery.labels, relevant).map_err(failed)?;
        take(Block { start, neighbours: &neighbours, ranking }).map_err(failed)?;
        context.progress(block.end as u64, count as u64, "queries");
    }
    Ok(())
}

/// How many neighbours the metrics look at.
fn depth(stage: &Evaluate, search: &Search, relevant: &[u32]) -> usize {
    let most_relevant = relevant.iter().copied().max().unwrap_or(0);
    // Average precision looks at the whole ranking.
    let whole = if stage.cameras { search.gallery().ids.len() as u32 } else { 1 };
    let looked_at = stage.recall.iter().copied().chain([stage.neighbours, most_relevant, whole]);
    looked_at.max().unwrap_or(whole) as usize
}

/// What the queries of all searches found, under each metric.
struct Found<'s> {
    stage: &'s Evaluate,
    recall: Vec<PerQuery>,
    first: PerQuery,
    r_precision: PerQuery,
    precision: PerQuery,
}

impl<'s> Found<'s> {
    fn new(stage: &'s Evaluate) -> Self {
        let none = || PerQuery(Vec::new());
        let recall = stage.recall.iter().map(|_| none()).collect();
        Self { stage, recall, first: none(), r_precision: none(), precision: none() }
    }

    fn take(&mut self, search: &Search, block: Block<'_>, rows: &mut Rows) -> dnc_learn::error::Result<()> {
        let Block { ranking, .. } = &block;
        for (&k, values) in self.stage.recall.iter().zip(&mut self.recall) {
            let k = k as usize;
            values.0.extend(if self.stage.cameras { cmc(ranking, k)? } else { recall_at_k(ranking, k)? }.0);
        }
        let first = recall_at_k(ranking, 1)?;
        let r_precision = r_precision(ranking)?;
        let precision = if self.stage.cameras { average_precision(ranking) } else { map_at_r(ranking)? };
        rows.queries.extend(query_rows(search, &block, [&first, &r_precision, &precision], self.stage.neighbours));
        self.first.0.extend(first.0);
        self.r_precision.0.extend(r_precision.0);
        self.precision.0.extend(precision.0);
        Ok(())
    }
}

/// A row for each query of a block. A query of whose class there is nothing to be found says nothing about a model and has none.
fn query_rows(
    search: &Search,
    block: &Block<'_>,
    [hits, r_precisions, precisions]: [&PerQuery; 3],
    kept: u32,
) -> Vec<QueryRow> {
    let (queries, gallery) = (&search.queries, search.gallery());
    let row = |place: usize| {
        let (hit, r_precision, average_precision) = (hits.0[place]?, r_precisions.0[place]?, precisions.0[place]?);
        let query = block.start + place;
        let (found, distances) = block.neighbours.of(place);
        let kept = found.len().min(kept as usize);
        let is_hit = |&row: &u32| gallery.labels[row as usize] == queries.labels[query];
        Some(QueryRow {
            id: queries.ids[query],
            label: queries.labels[query],
            split: search.split,
            neighbours: found[..kept].iter().map(|&row| gallery.ids[row as usize]).collect(),
            distances: distances[..kept].iter().map(|&squared| squared.sqrt()).collect(),
            hit: hit == 1.0,
            first_hit: found.iter().position(is_hit).map(|place| place as u32 + 1),
            r_precision,
            average_precision,
        })
    };
    (0..hits.0.len()).filter_map(row).collect()
}
