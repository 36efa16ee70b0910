//! Candidate search: cheap approximate scores for all pairs of a block of queries and a tile of rows, with proven error bounds, so
//! that only the few pairs that may matter get their exact distance.
//!
//! For nearly every pair, nearest neighbours and k-means only need to know whether it is nearer than a limit. A prefilter answers
//! for all pairs at once with a low-precision product and a bound on its error; the pairs that it cannot rule out are rescored
//! exactly ([`crate::distance`]). The result is therefore exact and has the same bits whichever prefilter was used.
//!
//! **Formula** A prefilter approximates a query a by a′ and a row b by b′ and knows e = ‖a − a′‖ and E ≥ ‖b − b′‖ over a tile. The
//! score v = ‖b‖² − 2a′·b′ gives two lower bounds on D = ‖a − b‖², of which the sharper counts:
//!
//! - D ≥ v + ‖a‖² − 2(‖a′‖E + e‖b‖)   (Cauchy–Schwarz; sharper for far pairs)
//! - √D ≥ √(v − δ + ‖a′‖²) − e − E with δ = ‖b‖² − ‖b′‖²   (triangle inequality; sharper for near pairs)
//!
//! and, with the signs of the errors reversed, two upper bounds. Both are monotone in v, so a limit on D becomes one threshold on v
//! for a query and a tile.
//!
//! **Reading order** this file, [`tiles`], [`bounds`]; [`int8`] (8-bit integers on AVX-512 VNNI), [`float`] (faer's product,
//! everywhere else).

pub(crate) mod bounds;
pub(crate) mod float;
pub(crate) mod int8;
#[cfg(test)]
mod tests;
pub(crate) mod tiles;

use std::borrow::Cow;

use bounds::{QueryBounds, TileBounds};
use tiles::Tile;

/// The name of the prefilter that this machine uses for the search of neighbours: `int8` or `float`. Results do not depend on it.
pub fn prefilter_name() -> &'static str {
    if int8::available(1) { "int8" } else { "float" }
}

/// Rows that are prepared for approximate scores against blocks of queries.
pub(crate) trait Prefilter<'a>: Sized + Sync {
    /// A block of prepared queries.
    type Queries<'q>: Send + Sync;

    /// Prepares `rows`, `[rows, dim]`. Subtracting `centre` from both sides leaves distances unchanged and reduces the errors.
    fn new(rows: Cow<'a, [f32]>, dim: usize, centre: &[f32], tiles: &[Tile]) -> Self;

    /// Prepares at most [`tiles::BLOCK`] queries, `[queries, dim]`, with the same `centre` as the rows.
    fn prepare<'q>(queries: &'q [f32], dim: usize, centre: &[f32]) -> Self::Queries<'q>;

    /// Writes the score v of every pair to `scores`, `[BLOCK, TILE]`. Columns beyond the tile's rows are NaN, which passes no
    /// threshold.
    fn scores(&self, queries: &Self::Queries<'_>, tile: usize, scores: &mut [f32]);

    /// Norms and errors of the queries.
    fn query_bounds<'b>(queries: &'b Self::Queries<'_>) -> &'b QueryBounds;

    /// Largest norms and errors of the rows of `tile`.
    fn tile_bounds(&self, tile: usize) -> &TileBounds;
}
