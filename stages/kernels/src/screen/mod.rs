//! Screening: bounds on all distances between a block of queries and a tile of rows, so that only the few pairs that may
//! matter get their exact distance.
//!
//! Nearest neighbours and k-means ask of nearly every pair only "is it nearer than this limit?". A screen answers for all pairs at
//! once with a cheap approximation and a proven bound on its error; the pairs that it cannot rule out are computed exactly
//! ([`crate::distance`]). The result is therefore exact and has the same bits whichever screen was used.
//!
//! **Formula** A screen replaces a query a by a′ and a row b by b′ and knows e = ‖a − a′‖ and E ≥ ‖b − b′‖ over a tile. From the
//! computed `value` v = ‖b‖² − 2a′·b′ follow two lower bounds on D = ‖a − b‖², of which the sharper counts:
//!
//! - D ≥ v + ‖a‖² − 2(‖a′‖E + e‖b‖)   (Cauchy–Schwarz; sharper for far pairs)
//! - √D ≥ √(v − δ + ‖a′‖²) − e − E with δ = ‖b‖² − ‖b′‖²   (triangle inequality; sharper for near pairs)
//!
//! and the same two with the signs turned as upper bounds. Both are monotone in v, so that a limit on D becomes one threshold on v
//! for a query and a tile.
//!
//! **Reading order** this file, [`int8`] (8-bit integers on AVX-512 VNNI), [`float`] (faer's product, everywhere else).

pub(crate) mod float;
pub(crate) mod int8;

use std::borrow::Cow;

use crate::distance;

/// Queries that are screened together: each block reads the gallery once; its scores fit the second-level cache. A multiple of the
/// integer kernel's 12 rows.
pub(crate) const BLOCK: usize = 240;

/// Rows that are screened together; limits are tightened between tiles.
pub(crate) const TILE: usize = 128;

/// A few roundings of the thresholds themselves.
const THRESHOLD_ROUNDING: f32 = 8.0 * f32::EPSILON;

/// Which rows a tile holds: `count` of them from `first` on, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    pub(crate) first: usize,
    pub(crate) stride: usize,
    pub(crate) count: usize,
}

impl Tile {
    /// The number of the row in `column` of the tile.
    #[inline(always)]
    pub(crate) fn row(&self, column: usize) -> usize {
        self.first + column * self.stride
    }
}

/// Cuts `rows` rows into tiles: first rows 0, s, 2s … for the stride s, then 1, s + 1 … , and so on, so that every pass over
/// the rows is a sample of them all.
pub(crate) fn tiles(rows: usize, stride: usize) -> Vec<Tile> {
    let pass = |first: usize| {
        let length = rows.saturating_sub(first).div_ceil(stride);
        (0..length).step_by(TILE).map(move |skip| Tile {
            first: first + skip * stride,
            stride,
            count: TILE.min(length - skip),
        })
    };
    (0..stride).flat_map(pass).collect()
}

/// Rows that are ready to be screened against blocks of queries.
pub(crate) trait Screen<'a>: Sized + Sync {
    /// Queries that are ready to be screened.
    type Block<'q>: Send + Sync;

    /// Prepares `rows`, `[rows, dim]`. Distances do not change when `centre` is taken from both sides, but errors shrink.
    fn new(rows: Cow<'a, [f32]>, dim: usize, centre: &[f32], tiles: &[Tile]) -> Self;

    /// Prepares at most [`BLOCK`] queries, `[queries, dim]`, with the same `centre` as the rows.
    fn block<'q>(queries: &'q [f32], dim: usize, centre: &[f32]) -> Self::Block<'q>;

    /// Writes v of every pair to `values`, `[BLOCK, TILE]`. Columns beyond the tile's rows are NaN, which passes no threshold.
    fn values(&self, block: &Self::Block<'_>, tile: usize, values: &mut [f32]);

    /// What is known of the queries of `block`.
    fn queries<'b>(block: &'b Self::Block<'_>) -> &'b QueryBounds;

    /// What is known of the rows of `tile`.
    fn tile(&self, tile: usize) -> &TileBounds;
}

/// What the bounds need to know of each query.
#[derive(Debug, Default)]
pub(crate) struct QueryBounds {
    /// ‖a‖².
    pub(crate) squared_norm: Vec<f32>,
    /// ‖a′‖.
    pub(crate) screened_norm: Vec<f32>,
    /// e = ‖a − a′‖, rounded up.
    pub(crate) error: Vec<f32>,
}

/// What the bounds need to know of a tile.
#[derive(Clone, Debug)]
pub(crate) struct TileBounds {
    /// The largest ‖b‖.
    pub(crate) norm: f32,
    /// E, the largest ‖b − b′‖, rounded up.
    pub(crate) error: f32,
    /// The least and the largest δ = ‖b‖² − ‖b′‖².
    pub(crate) excess: (f32, f32),
    /// Relative to (‖a‖ + ‖b‖)², how far `value` may be from v by rounding.
    pub(crate) rounding: f32,
    /// Relative error of an exact distance, see [`distance::rounding`].
    pub(crate) distance_rounding: f32,
}

impl TileBounds {
    /// The bounds of a tile before any row was added to it.
    pub(crate) fn empty(dim: usize, rounding: f32) -> Self {
        Self {
            norm: 0.0,
            error: 0.0,
            excess: (f32::INFINITY, f32::NEG_INFINITY),
            rounding: rounding + distance::rounding(dim) + THRESHOLD_ROUNDING,
            distance_rounding: distance::rounding(dim),
        }
    }

    /// Adds a row of this ‖b‖², ‖b′‖² and ‖b − b′‖.
    pub(crate) fn add(&mut self, squared_norm: f32, squared_screened_norm: f32, error: f32) {
        let excess = squared_norm - squared_screened_norm;
        self.norm = self.norm.max(squared_norm.sqrt());
        self.error = self.error.max(error);
        self.excess = (self.excess.0.min(excess), self.excess.1.max(excess));
    }

    /// The largest absolute error by rounding against a query of this ‖a‖².
    #[inline(always)]
    fn slack(&self, squared_norm: f32) -> f32 {
        let reach = squared_norm.sqrt() + self.norm;
        self.rounding * reach * reach + f32::MIN_POSITIVE
    }
}

/// For every query, the threshold on v above which no distance of the tile is at or below the query's limit.
#[inline(always)]
pub(crate) fn thresholds(queries: &QueryBounds, tile: &TileBounds, limits: &[f32], out: &mut [f32]) {
    let known = queries.squared_norm.iter().zip(&queries.screened_norm).zip(&queries.error);
    for (out, (limit, ((&squared_norm, &screened_norm), &error))) in out.iter_mut().zip(limits.iter().zip(known)) {
        let limit = limit * (1.0 + tile.distance_rounding);
        let far = limit + 2.0 * (screened_norm * tile.error + error * tile.norm) - squared_norm;
        let reach = limit.sqrt() + error + tile.error;
        let near = reach * reach - screened_norm * screened_norm + tile.excess.1;
        *out = far.min(near) + tile.slack(squared_norm) + reach * reach * THRESHOLD_ROUNDING;
    }
}

/// Lowers every query's limit to the least upper bound on its distances to the rows of the tile.
#[inline(always)]
pub(crate) fn tighten(queries: &QueryBounds, tile: &TileBounds, values: &[f32], limits: &mut [f32]) {
    let known = queries.squared_norm.iter().zip(&queries.screened_norm).zip(&queries.error);
    for ((limit, values), ((&squared_norm, &screened_norm), &error)) in
        limits.iter_mut().zip(values.chunks_exact(TILE)).zip(known)
    {
        let least = least(values) + tile.slack(squared_norm);
        let far = least + 2.0 * (screened_norm * tile.error + error * tile.norm) + squared_norm;
        let screened = least - tile.excess.0 + screened_norm * screened_norm;
        let reach = screened.max(0.0).sqrt() + error + tile.error;
        *limit = limit.min(far.min(reach * reach).max(0.0) * (1.0 + tile.distance_rounding + THRESHOLD_ROUNDING));
    }
}

/// The least value; NaN, which stands in columns beyond the tile, is passed over.
#[inline(always)]
fn least(values: &[f32]) -> f32 {
    let mut least = [f32::INFINITY; 16];
    for values in values.as_chunks::<16>().0 {
        for (least, &value) in least.iter_mut().zip(values) {
            *least = if value < *least { value } else { *least };
        }
    }
    least.into_iter().fold(f32::INFINITY, f32::min)
}

/// Calls `candidate(query, column)` for every pair whose value is at or below its query's threshold.
#[inline(always)]
pub(crate) fn candidates(values: &[f32], thresholds: &[f32], mut candidate: impl FnMut(usize, usize)) {
    const LANES: usize = 16;
    for (query, (values, &threshold)) in values.chunks_exact(TILE).zip(thresholds).enumerate() {
        for (chunk, values) in values.as_chunks::<LANES>().0.iter().enumerate() {
            let mut passing = 0u32;
            for (lane, value) in values.iter().enumerate() {
                passing |= u32::from(*value <= threshold) << lane;
            }
            while passing != 0 {
                candidate(query, chunk * LANES + passing.trailing_zeros() as usize);
                passing &= passing - 1;
            }
        }
    }
}

/// The mean of the rows of `[rows, dim]`, up to rounding: any vector near it serves as a centre.
pub(crate) fn centre(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; dim];
    // A sample is enough, and reading everything would cost as much as a tenth of the screening.
    let step = (rows.len() / dim).div_ceil(4096).max(1);
    let sample = rows.chunks_exact(dim).step_by(step);
    let count = sample.len().max(1) as f64;
    for row in sample {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    sums.iter().map(|sum| (sum / count) as f32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every bound of `S` holds for every pair, and `tighten` never goes below the nearest row.
    fn check<'a, S: Screen<'a>>(rows: &'a [f32], queries: &[f32], dim: usize) -> Result<(), TestCaseError> {
        let centre = centre(rows, dim);
        let tiles = tiles(rows.len() / dim, 3);
        let screen = S::new(rows.into(), dim, &centre, &tiles);
        let block = S::block(queries, dim, &centre);
        let count = queries.len() / dim;
        let mut values = vec![0.0; BLOCK * TILE];
        for (number, tile) in tiles.iter().enumerate() {
            screen.values(&block, number, &mut values);
            let (known, bounds) = (S::queries(&block), screen.tile(number));
            for column in 0..tile.count {
                let row = &rows[tile.row(column) * dim..][..dim];
                let exact: Vec<f32> = queries.chunks_exact(dim).map(|query| distance::squared(query, row)).collect();
                let mut limits = vec![0.0; count];
                thresholds(known, bounds, &exact, &mut limits);
                let mut passed = vec![false; count];
                candidates(&values, &limits, |query, hit| passed[query] |= hit == column);
                prop_assert!(passed.iter().all(|passed| *passed), "a pair at its limit was ruled out");
            }
            let mut limits = vec![f32::INFINITY; count];
            tighten(known, bounds, &values, &mut limits);
            for (query, limit) in queries.chunks_exact(dim).zip(limits) {
                let nearest = (0..tile.count)
                    .map(|column| distance::squared(query, &rows[tile.row(column) * dim..][..dim]))
                    .fold(f32::INFINITY, f32::min);
                prop_assert!(nearest <= limit, "{nearest} > {limit}");
            }
        }
        Ok(())
    }

    fn rows(most: usize) -> impl Strategy<Value = (usize, Vec<f32>, Vec<f32>)> {
        (1usize..90).prop_flat_map(move |dim| {
            let value = prop_oneof![-1.0f32..1.0, Just(0.0), 30.0f32..31.0, -1e-3f32..1e-3];
            let matrix = move |rows: std::ops::Range<usize>| {
                (rows, prop::collection::vec(value.clone(), dim * 4)).prop_map(move |(rows, pool)| {
                    // Long matrices out of a small pool, so that shrinking stays quick and equal rows occur.
                    (0..rows * dim).map(|i| pool[(i * 7 + i / dim) % pool.len()]).collect::<Vec<f32>>()
                })
            };
            (Just(dim), matrix(1..most), matrix(1..BLOCK))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn float_bounds_hold((dim, gallery, queries) in rows(300)) {
            check::<float::Float>(&gallery, &queries, dim)?;
        }

        #[test]
        fn int8_bounds_hold((dim, gallery, queries) in rows(300)) {
            if int8::available(dim) {
                check::<int8::Int8>(&gallery, &queries, dim)?;
            }
        }
    }

    #[test]
    fn tiles_hold_every_row_once() {
        for (rows, stride) in [(0, 1), (1, 1), (128, 1), (129, 1), (1000, 3), (5000, 16), (7, 16)] {
            let mut seen: Vec<usize> =
                tiles(rows, stride).iter().flat_map(|tile| (0..tile.count).map(|column| tile.row(column))).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..rows).collect::<Vec<_>>(), "{rows} rows, stride {stride}");
        }
    }
}
