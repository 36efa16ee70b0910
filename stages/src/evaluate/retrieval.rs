//! Retrieval metrics of a split, and a row of the table `queries` for each query.
//!
//! Queries are searched in blocks, so that only a block's neighbours are in memory: for Recall@1000 they are a thousand per
//! query.

use dnc_kernels::neighbours::{Gallery, Neighbours};
use dnc_learn::metrics::{PerQuery, Ranking, average_precision, cmc, map_at_r, r_precision, recall_at_k};
use dnc_tables::queries::QueryRow;

use super::parameters::Evaluate;
use super::results::Results;
use super::search::Search;
use crate::api::{Context, StageError};

/// Most queries that are searched at a time.
const BLOCK: usize = 4096;
/// Products of a block, about a second's: a stop is heeded between blocks. More than 4,096 queries × 60,000 images × 512 dimensions, so
/// that only long vectors, such as raw pixels, make blocks smaller.
const PRODUCTS: usize = 1 << 37;
/// Fewest queries that are searched at a time: with fewer, reading the gallery takes longer than the products.
const SMALLEST_BLOCK: usize = 64;

/// The metric that counts the queries without a match, which are left out of all others.
const UNMATCHED: &str = "unmatched_queries";

/// Adds every retrieval metric of a split and a row for each query; returns Recall@1, which exists if any query has a match.
pub(super) fn add_metrics(
    stage: &Evaluate,
    context: &Context<'_>,
    searches: &[Search],
    results: &mut Results,
) -> Result<Option<f64>, StageError> {
    let Some(first) = searches.first() else { return Ok(None) };
    let (split, cameras) = (first.split, first.uses_cameras());
    let mut scores = QueryScores::new(stage, cameras);
    for search in searches {
        let neighbours = |relevant: &[u32]| neighbours_needed(stage, search, relevant);
        search_in_blocks(context, search, neighbours, |block| scores.add(search, block, results))?;
    }
    let unmatched = scores.recall_at_1.0.iter().filter(|value| value.is_none()).count();
    if unmatched > 0 {
        results.add(split, UNMATCHED, None, unmatched as f64);
        context.log(format!("{split}: {unmatched} queries have no image of their class to find and are left out"));
    }
    if unmatched == scores.recall_at_1.0.len() {
        return Ok(None);
    }
    let recall = if cameras { "cmc" } else { "recall" };
    for (&k, values) in stage.recall.iter().zip(&scores.recall) {
        results.add(split, recall, Some(k), values.mean());
    }
    if cameras {
        results.add(split, "map", None, scores.precision.mean());
    } else {
        results.add(split, "map_at_r", None, scores.precision.mean());
        results.add(split, "r_precision", None, scores.r_precision.mean());
    }
    Ok(Some(scores.recall_at_1.mean()))
}

/// What a query finds first.
pub(super) struct Nearest {
    pub(super) id: u32,
    /// The nearest image and its Euclidean distance; `None` if the gallery has none for this query.
    pub(super) nearest: Option<(u32, f32)>,
    /// Whether that is of the query's class; `None` if there is no image of its class to find.
    pub(super) hit: Option<bool>,
}

/// Recall@1 alone; `None` if no query has a match.
pub(super) fn recall_at_1(found: &[Nearest]) -> Option<f64> {
    let hits = PerQuery(found.iter().map(|found| found.hit.map(f64::from)).collect());
    hits.0.iter().any(Option::is_some).then(|| hits.mean())
}

/// What each query of the searches finds first, in order.
pub(super) fn nearest(context: &Context<'_>, searches: &[Search]) -> Result<Vec<Nearest>, StageError> {
    let mut all = Vec::new();
    for search in searches {
        search_in_blocks(
            context,
            search,
            |_| 1,
            |block| {
                let hits = recall_at_k(&block.ranking, 1)?;
                all.extend(hits.0.iter().enumerate().map(|(index, hit)| {
                    let (found, distances) = block.neighbours.of(index);
                    let nearest = found.first().zip(distances.first());
                    Nearest {
                        id: search.queries.ids[block.start + index],
                        nearest: nearest.map(|(&row, squared)| (search.gallery().ids[row as usize], squared.sqrt())),
                        hit: hit.map(|hit| hit == 1.0),
                    }
                }));
                Ok(())
            },
        )?;
    }
    Ok(all)
}

/// Neighbours of a block of queries.
struct Block<'b> {
    /// The number of its first query.
    start: usize,
    neighbours: &'b Neighbours,
    ranking: Ranking<'b>,
}

/// Searches the queries block by block. `neighbours` gives the number of neighbours to search, from the number of relevant
/// gallery images of each query; `consume` gets each block.
fn search_in_blocks(
    context: &Context<'_>,
    search: &Search,
    neighbours: impl Fn(&[u32]) -> usize,
    mut consume: impl FnMut(Block<'_>) -> dnc_learn::error::Result<()>,
) -> Result<(), StageError> {
    let (queries, gallery) = (&search.queries, search.gallery());
    let metrics_failed =
        |source| StageError::compute(format!("compute the retrieval metrics of the split `{}`", search.split), source);
    let search_failed =
        |source| StageError::compute(format!("search the nearest neighbours in the split `{}`", search.split), source);
    let searched = Gallery::on(&gallery.vectors, gallery.dim, context.device()?).map_err(search_failed)?;
    let relevant = search.relevant();
    // A gallery has no more neighbours than images, however large the k of Recall@k is.
    let k = neighbours(&relevant).min(gallery.ids.len()).max(1);
    let count = queries.ids.len();
    let size = block_size(gallery.vectors.len());
    for start in (0..count).step_by(size) {
        context.check_cancelled()?;
        let block = start..(start + size).min(count);
        let vectors = &queries.vectors[block.start * queries.dim..block.end * queries.dim];
        let neighbours = searched
            .nearest(vectors, k, |query, row| search.ignores(start + query, row as usize))
            .map_err(search_failed)?;
        let (labels, relevant) = (&queries.labels[block.clone()], &relevant[block.clone()]);
        let ranking = Ranking::new(&neighbours, labels, &gallery.labels, relevant).map_err(metrics_failed)?;
        consume(Block { start, neighbours: &neighbours, ranking }).map_err(metrics_failed)?;
        context.progress(block.end as u64, count as u64, "queries");
    }
    Ok(())
}

/// The number of queries that are searched at a time in a gallery of `values` numbers.
fn block_size(values: usize) -> usize {
    (PRODUCTS / values.max(1)).clamp(SMALLEST_BLOCK, BLOCK)
}

/// The number of neighbours that the metrics and the table `queries` need.
fn neighbours_needed(stage: &Evaluate, search: &Search, relevant: &[u32]) -> usize {
    let most_relevant = relevant.iter().copied().max().unwrap_or(0);
    // Average precision needs the whole ranking.
    let full_ranking = if search.uses_cameras() { search.gallery().ids.len() as u32 } else { 1 };
    let needed = stage.recall.iter().copied().chain([stage.neighbours, most_relevant, full_ranking]);
    needed.max().unwrap_or(full_ranking) as usize
}

/// Value of each metric for every query of all searches.
struct QueryScores<'s> {
    stage: &'s Evaluate,
    cameras: bool,
    /// For each k of `recall`.
    recall: Vec<PerQuery>,
    recall_at_1: PerQuery,
    r_precision: PerQuery,
    /// MAP@R or, with cameras, average precision.
    precision: PerQuery,
}

impl<'s> QueryScores<'s> {
    fn new(stage: &'s Evaluate, cameras: bool) -> Self {
        let none = || PerQuery(Vec::new());
        let recall = stage.recall.iter().map(|_| none()).collect();
        Self { stage, cameras, recall, recall_at_1: none(), r_precision: none(), precision: none() }
    }

    fn add(&mut self, search: &Search, block: Block<'_>, results: &mut Results) -> dnc_learn::error::Result<()> {
        let Block { ranking, .. } = &block;
        for (&k, values) in self.stage.recall.iter().zip(&mut self.recall) {
            let k = k as usize;
            values.0.extend(if self.cameras { cmc(ranking, k)? } else { recall_at_k(ranking, k)? }.0);
        }
        let recall_at_1 = recall_at_k(ranking, 1)?;
        let r_precision = r_precision(ranking)?;
        let precision = if self.cameras { average_precision(ranking) } else { map_at_r(ranking)? };
        let kept = self.stage.neighbours;
        results.queries.extend(query_rows(search, &block, [&recall_at_1, &r_precision, &precision], kept));
        self.recall_at_1.0.extend(recall_at_1.0);
        self.r_precision.0.extend(r_precision.0);
        self.precision.0.extend(precision.0);
        Ok(())
    }
}

/// A row for each query of a block, with `kept` neighbours. No metric is defined for queries without relevant gallery images, but
/// their neighbours are.
fn query_rows(
    search: &Search,
    block: &Block<'_>,
    [hits, r_precisions, precisions]: [&PerQuery; 3],
    kept: u32,
) -> Vec<QueryRow> {
    let (queries, gallery) = (&search.queries, search.gallery());
    let row = |index: usize| {
        let query = block.start + index;
        let (found, distances) = block.neighbours.of(index);
        let kept = found.len().min(kept as usize);
        let is_hit = |&row: &u32| gallery.labels[row as usize] == queries.labels[query];
        QueryRow {
            id: queries.ids[query],
            label: queries.labels[query],
            split: search.split,
            neighbours: found[..kept].iter().map(|&row| gallery.ids[row as usize]).collect(),
            distances: distances[..kept].iter().map(|&squared| squared.sqrt()).collect(),
            hit: hits.0[index] == Some(1.0),
            first_hit: found.iter().position(is_hit).map(|rank| rank as u32 + 1),
            r_precision: r_precisions.0[index],
            average_precision: precisions.0[index],
        }
    };
    (0..hits.0.len()).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_vectors_make_small_blocks() {
        assert_eq!(block_size(0), BLOCK);
        assert_eq!(block_size(60_000 * 512), BLOCK);
        assert_eq!(block_size(60_000 * 48 * 48 * 3), 331);
        assert_eq!(block_size(1_000_000 * 224 * 224 * 3), SMALLEST_BLOCK);
    }
}
