//! From scores to candidates: error bounds, thresholds and limits.

use super::tiles::TILE;
use crate::distance;

/// Allowance for the rounding of the thresholds themselves.
const THRESHOLD_ROUNDING: f32 = 8.0 * f32::EPSILON;

/// Norms and errors of each query of a block.
#[derive(Debug, Default)]
pub(crate) struct QueryBounds {
    /// ‖a‖².
    pub(crate) squared_norm: Vec<f32>,
    /// ‖a′‖.
    pub(crate) approximate_norm: Vec<f32>,
    /// e = ‖a − a′‖, rounded up.
    pub(crate) error: Vec<f32>,
}

/// Largest norms and errors of the rows of a tile.
#[derive(Clone, Debug)]
pub(crate) struct TileBounds {
    /// The largest ‖b‖.
    pub(crate) norm: f32,
    /// E, the largest ‖b − b′‖, rounded up.
    pub(crate) error: f32,
    /// The least and the largest δ = ‖b‖² − ‖b′‖².
    pub(crate) excess: (f32, f32),
    /// Bound on the rounding error of a score, relative to (‖a‖ + ‖b‖)².
    pub(crate) rounding: f32,
    /// Bound on the relative error of an exact distance, see [`distance::rounding`].
    pub(crate) distance_rounding: f32,
}

impl TileBounds {
    /// The bounds of a tile without rows.
    pub(crate) fn empty(dim: usize, rounding: f32) -> Self {
        Self {
            norm: 0.0,
            error: 0.0,
            excess: (f32::INFINITY, f32::NEG_INFINITY),
            rounding: rounding + distance::rounding(dim) + THRESHOLD_ROUNDING,
            distance_rounding: distance::rounding(dim),
        }
    }

    /// Adds a row with this ‖b‖², ‖b′‖² and ‖b − b′‖.
    pub(crate) fn add(&mut self, squared_norm: f32, squared_approximate_norm: f32, error: f32) {
        let excess = squared_norm - squared_approximate_norm;
        self.norm = self.norm.max(squared_norm.sqrt());
        self.error = self.error.max(error);
        self.excess = (self.excess.0.min(excess), self.excess.1.max(excess));
    }

    /// The largest absolute rounding error of a score for a query with this ‖a‖².
    #[inline(always)]
    fn slack(&self, squared_norm: f32) -> f32 {
        let reach = squared_norm.sqrt() + self.norm;
        self.rounding * reach * reach + f32::MIN_POSITIVE
    }
}

/// For every query, the score above which no distance to a row of the tile is at or below the query's limit.
#[inline(always)]
pub(crate) fn thresholds(queries: &QueryBounds, tile: &TileBounds, limits: &[f32], out: &mut [f32]) {
    let bounds = queries.squared_norm.iter().zip(&queries.approximate_norm).zip(&queries.error);
    for (out, (limit, ((&squared_norm, &approximate_norm), &error))) in out.iter_mut().zip(limits.iter().zip(bounds)) {
        let limit = limit * (1.0 + tile.distance_rounding);
        let far = limit + 2.0 * (approximate_norm * tile.error + error * tile.norm) - squared_norm;
        let reach = limit.sqrt() + error + tile.error;
        let near = reach * reach - approximate_norm * approximate_norm + tile.excess.1;
        *out = far.min(near) + tile.slack(squared_norm) + reach * reach * THRESHOLD_ROUNDING;
    }
}

/// Lowers every query's limit to the least upper bound on its distances to the rows of the tile.
#[inline(always)]
pub(crate) fn tighten_limits(queries: &QueryBounds, tile: &TileBounds, scores: &[f32], limits: &mut [f32]) {
    let bounds = queries.squared_norm.iter().zip(&queries.approximate_norm).zip(&queries.error);
    for ((limit, scores), ((&squared_norm, &approximate_norm), &error)) in
        limits.iter_mut().zip(scores.chunks_exact(TILE)).zip(bounds)
    {
        let least = least(scores) + tile.slack(squared_norm);
        let far = least + 2.0 * (approximate_norm * tile.error + error * tile.norm) + squared_norm;
        let approximate = least - tile.excess.0 + approximate_norm * approximate_norm;
        let reach = approximate.max(0.0).sqrt() + error + tile.error;
        *limit = limit.min(far.min(reach * reach).max(0.0) * (1.0 + tile.distance_rounding + THRESHOLD_ROUNDING));
    }
}

/// The least score, ignoring the NaN in columns beyond the tile.
#[inline(always)]
fn least(scores: &[f32]) -> f32 {
    let mut least = [f32::INFINITY; 16];
    for scores in scores.as_chunks::<16>().0 {
        for (least, &score) in least.iter_mut().zip(scores) {
            *least = if score < *least { score } else { *least };
        }
    }
    least.into_iter().fold(f32::INFINITY, f32::min)
}

/// Calls `candidate(query, column)` for every pair whose score is at or below its query's threshold.
#[inline(always)]
pub(crate) fn candidates(scores: &[f32], thresholds: &[f32], mut candidate: impl FnMut(usize, usize)) {
    const LANES: usize = 16;
    for (query, (scores, &threshold)) in scores.chunks_exact(TILE).zip(thresholds).enumerate() {
        for (chunk, scores) in scores.as_chunks::<LANES>().0.iter().enumerate() {
            let mut passing = 0u32;
            for (lane, score) in scores.iter().enumerate() {
                passing |= u32::from(*score <= threshold) << lane;
            }
            while passing != 0 {
                candidate(query, chunk * LANES + passing.trailing_zeros() as usize);
                passing &= passing - 1;
            }
        }
    }
}
