//! Differences between two runs on the same queries, the input of the tests over queries: for up to [`LANES`] metrics at once, so
//! that one draw of queries serves all of them and costs one vector addition per query.

/// Number of metrics that are processed together.
pub(super) const LANES: usize = 8;

/// Number of queries whose differences are summed in single precision before they are added to a sum in double precision.
pub(super) const CHUNK: usize = 1024;

/// A mean difference with its confidence interval and p-value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Mean of the differences.
    pub mean: f64,
    /// 95 % confidence interval of the mean.
    pub interval: (f64, f64),
    /// Two-sided p-value.
    pub p: f64,
}

/// Differences for some of the metrics, `[queries that differ, LANES]`.
pub(super) struct Block {
    /// Queries on which both runs agree for all of these metrics add nothing and are left out.
    pub(super) rows: Vec<[f32; LANES]>,
    /// Number of queries, including those left out.
    pub(super) queries: usize,
    /// Number of metrics of the block; the other lanes are zero.
    pub(super) metrics: usize,
}

/// Arranges `differences`, `[metrics, queries]`, in blocks of metrics.
///
/// # Panics
/// If there is no query, or the metrics have different numbers of queries.
pub(super) fn blocks(differences: &[Vec<f64>]) -> Vec<Block> {
    let block = |metrics: &[Vec<f64>]| {
        let queries = metrics[0].len();
        assert!(queries > 0, "a comparison needs at least one query");
        assert!(metrics.iter().all(|metric| metric.len() == queries), "every metric has a value for every query");
        let row = |query: usize| {
            let mut row = [0.0; LANES];
            row.iter_mut().zip(metrics).for_each(|(value, metric)| *value = metric[query] as f32);
            row
        };
        let rows = (0..queries).map(row).filter(|row| *row != [0.0; LANES]).collect();
        Block { rows, queries, metrics: metrics.len() }
    };
    differences.chunks(LANES).map(block).collect()
}

/// Adds `more` to `sums`.
pub(super) fn add<const WIDTH: usize>(sums: &mut [f64; WIDTH], more: [f32; WIDTH]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += f64::from(more));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_side_by_side_and_ties_are_left_out() {
        let metric = |number: usize| vec![0.0, number as f64, 0.0, -1.0];
        let differences: Vec<Vec<f64>> = (0..LANES + 1).map(metric).collect();
        let blocks = blocks(&differences);
        assert_eq!(blocks.iter().map(|block| (block.metrics, block.queries)).collect::<Vec<_>>(), [(LANES, 4), (1, 4)]);
        assert_eq!(blocks[0].rows, [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [-1.0; LANES]]);
        assert_eq!(blocks[1].rows[0], [8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
