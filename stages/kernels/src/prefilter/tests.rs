use proptest::prelude::*;

use super::Prefilter;
use super::bounds::{candidates, thresholds, tighten_limits};
use super::float::FloatPrefilter;
use super::int8::{self, Int8Prefilter};
use super::tiles::{BLOCK, TILE, centre, tiles};
use crate::distance;

/// Every bound of `P` holds for every pair, and `tighten_limits` never goes below the nearest row.
fn check<'a, P: Prefilter<'a>>(rows: &'a [f32], queries: &[f32], dim: usize) -> Result<(), TestCaseError> {
    let centre = centre(rows, dim);
    let tiles = tiles(rows.len() / dim, 3);
    let prefilter = P::new(rows.into(), dim, &centre, &tiles);
    let block = P::prepare(queries, dim, &centre);
    let count = queries.len() / dim;
    let mut scores = vec![0.0; BLOCK * TILE];
    for (number, tile) in tiles.iter().enumerate() {
        prefilter.scores(&block, number, &mut scores);
        let (query_bounds, tile_bounds) = (P::query_bounds(&block), prefilter.tile_bounds(number));
        for column in 0..tile.count {
            let row = &rows[tile.row(column) * dim..][..dim];
            let exact: Vec<f32> = queries.chunks_exact(dim).map(|query| distance::squared(query, row)).collect();
            let mut limits = vec![0.0; count];
            thresholds(query_bounds, tile_bounds, &exact, &mut limits);
            let mut passed = vec![false; count];
            candidates(&scores, &limits, |query, hit| passed[query] |= hit == column);
            prop_assert!(passed.iter().all(|passed| *passed), "a pair at its limit was ruled out");
        }
        let mut limits = vec![f32::INFINITY; count];
        tighten_limits(query_bounds, tile_bounds, &scores, &mut limits);
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
                // Long matrices from a small pool, so that shrinking stays fast and equal rows occur.
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
        check::<FloatPrefilter>(&gallery, &queries, dim)?;
    }

    #[test]
    fn int8_bounds_hold((dim, gallery, queries) in rows(300)) {
        if int8::available(dim) {
            check::<Int8Prefilter>(&gallery, &queries, dim)?;
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
