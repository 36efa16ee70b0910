//! Differences of two runs on the same queries, as the tests over queries read them: under up to [`LANES`] metrics at once, so that
//! one draw of queries serves them all and is one vector addition a query.

/// Metrics that are looked at together.
pub(super) const LANES: usize = 8;

/// Queries whose differences are added up in single precision before the sum is carried on in double precision.
pub(super) const CHUNK: usize = 1024;

/// A mean difference and what chance has to do with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The mean of the differences.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: (f64, f64),
    /// How often chance alone would give as much, on both sides.
    pub p: f64,
}

/// Differences under some of the metrics, `[queries that differ, LANES]`.
pub(super) struct Block {
    /// Queries on which both runs agree under all of these metrics add nothing and are left out.
    pub(super) rows: Vec<[f32; LANES]>,
    /// How many queries there are with those left out.
    pub(super) queries: usize,
    /// Metrics of the block; the other lanes are zero.
    pub(super) metrics: usize,
}

/// `differences`, `[metrics, queries]`, in blocks of metrics.
///
/// # Panics
/// If there is no query, or the metrics are not about the same number of queries.
pub(super) fn blocks(differences: &[Vec<f64>]) -> Vec<Block> {
    let block = |metrics: &[Vec<f64>]| {
        let queries = metrics[0].len();
        assert!(queries > 0, "a comparison of queries needs some");
        assert!(metrics.iter().all(|metric| metric.len() == queries), "every metric is about every query");
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

/// `sums` more by `more`.
pub(super) fn add<const WIDTH: usize>(sums: &mut [f64; WIDTH], more: [f32; WIDTH]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += f64::from(more));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_lie_side_by_side_and_ties_are_left_out() {
        let metric = |number: usize| vec![0.0, number as f64, 0.0, -1.0];
        let differences: Vec<Vec<f64>> = (0..LANES + 1).map(metric).collect();
        let blocks = blocks(&differences);
        assert_eq!(blocks.iter().map(|block| (block.metrics, block.queries)).collect::<Vec<_>>(), [(LANES, 4), (1, 4)]);
        assert_eq!(blocks[0].rows, [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [-1.0; LANES]]);
        assert_eq!(blocks[1].rows[0], [8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
