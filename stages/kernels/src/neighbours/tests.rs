use proptest::prelude::*;

use super::*;
use crate::distance;

/// The result by definition: all pairs, sorted.
fn slow(rows: &[f32], queries: &[f32], dim: usize, k: usize, excluded: impl Fn(usize, u32) -> bool) -> Neighbours {
    let (mut ids, mut distances) = (Vec::new(), Vec::new());
    for (number, query) in queries.chunks_exact(dim).enumerate() {
        let mut all: Vec<(f32, u32)> = rows
            .chunks_exact(dim)
            .zip(0..)
            .filter(|(_, id)| !excluded(number, *id))
            .map(|(row, id)| (distance::squared(query, row), id))
            .collect();
        all.sort_by(|a, b| a.partial_cmp(b).expect("distances of finite rows are ordered"));
        all.resize(k, (f32::INFINITY, Neighbours::NONE));
        ids.extend(all.iter().map(|(_, id)| *id));
        distances.extend(all.iter().map(|(distance, _)| *distance));
    }
    Neighbours { k, ids, distances }
}

/// Both prefilters, with one thread and with three, give the bits of the slow loop.
fn check_against_slow(
    rows: &[f32],
    queries: &[f32],
    dim: usize,
    k: usize,
    excluded: impl Fn(usize, u32) -> bool + Sync,
) {
    let expected = slow(rows, queries, dim, k, &excluded);
    for integers in [false, true].into_iter().filter(|integers| !integers || int8::available(dim)) {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            let found = pool.install(|| {
                let gallery = Gallery::with_prefilter(rows, dim, integers).expect("the rows are well formed");
                gallery.nearest(queries, k, &excluded).expect("the queries are well formed")
            });
            assert!(found == expected, "integers {integers}, {threads} threads, k {k}, dim {dim}");
        }
    }
}

/// A scan gives what a search in a gallery gives, also where there are fewer rows than neighbours asked for.
#[test]
fn a_scan_is_a_search_for_one_query() {
    let (dim, count) = (37, 3000);
    let mut rows = clustered(count, dim, 40, 0.3);
    rows.copy_within(0..dim, 5 * dim);
    for (count, k) in [(count, 25), (3, 8), (count, 1)] {
        let rows = &rows[..count * dim];
        for row in [0, count - 1] {
            let query = &rows[row * dim..][..dim];
            let found = scan(rows, dim, k, |row| squared_distance(query, row)).expect("the rows are well formed");
            assert!(found == slow(rows, query, dim, k, |_, _| false), "{count} rows, k {k}");
        }
    }
    assert!(scan(&rows, dim, 0, |_| 0.0).is_err() && scan(&rows[1..], dim, 1, |_| 0.0).is_err());
}

/// Rows around `classes` centres in the order of their classes, from a linear congruential generator.
pub(super) fn clustered(count: usize, dim: usize, classes: usize, spread: f32) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let centres: Vec<f32> = (0..classes * dim).map(|_| next()).collect();
    let per_class = count.div_ceil(classes);
    (0..count)
        .flat_map(|row| (0..dim).map(move |i| (row, i)))
        .map(|(row, i)| centres[row / per_class * dim + i] + spread * next())
        .collect()
}

#[test]
fn large_galleries_in_the_order_of_their_classes() {
    for (dim, classes, spread, k) in [(24, 1, 1.0, 5), (24, 40, 0.2, 150), (7, 1000, 0.01, 1), (64, 300, 0.5, 1001)] {
        let rows = clustered(5000, dim, classes, spread);
        check_against_slow(&rows, &rows[..130 * dim], dim, k, |query, row| query == row as usize);
    }
}

#[test]
fn an_unrepresentative_sample_costs_time_but_no_neighbours() {
    // All rows of the first pass lie near the queries, so that the estimate drops neighbours that must be found again.
    let dim = 8;
    let mut rows = clustered(4096, dim, 1, 1.0);
    for (row, values) in rows.chunks_exact_mut(dim).enumerate() {
        if row % PASSES == 0 {
            values.iter_mut().for_each(|value| *value *= 0.01);
        }
    }
    check_against_slow(&rows, &clustered(9, dim, 1, 0.01), dim, 300, |_, _| false);
}

#[test]
fn equal_rows_are_at_distance_zero_in_the_order_of_their_ids() {
    let rows = [1.5f32, -2.25, 0.1].repeat(3000);
    let gallery = Gallery::new(&rows, 3).expect("the rows are well formed");
    let found = gallery.nearest(&rows[..3], 700, |_, row| row == 1).expect("the query is well formed");
    assert_eq!(found.ids[..3], [0, 2, 3]);
    assert!(found.ids.is_sorted() && found.distances.iter().all(|distance| *distance == 0.0));
}

#[test]
fn fewer_rows_than_neighbours() {
    let rows = [0.0f32, 1.0, 3.0];
    let gallery = Gallery::new(&rows, 1).expect("the rows are well formed");
    let found = gallery.nearest(&rows, 4, |query, row| query == row as usize).expect("the queries are well formed");
    assert_eq!(found.of(1), (&[0, 2][..], &[1.0, 4.0][..]));
    assert_eq!(found.lists().map(<[u32]>::len).collect::<Vec<_>>(), [2, 2, 2]);
    let none = gallery.nearest(&[], 1, |_, _| false).expect("an empty matrix is well formed");
    assert!(none.is_empty() && none.lists().next().is_none());
}

#[test]
fn malformed_rows_are_refused() {
    let check = |rows: &[f32], dim: usize, expected: &str| {
        let error = Gallery::new(rows, dim).err().expect("the rows are malformed");
        assert_eq!(error.to_string(), format!("Cannot run `neighbours`: {expected}"));
    };
    check(&[0.0; 5], 2, "`gallery` has 5 values, which is not a whole number of rows of 2");
    check(&[0.0; 5], 0, "`gallery` has 5 values, which is not a whole number of rows of 0");
    check(&[0.0, 1.0, f32::NAN, 0.0], 2, "row 1 of `gallery` has a value that is not finite or whose square is not");
    check(&[1e30, 1.0], 2, "row 0 of `gallery` has a value that is not finite or whose square is not");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn agrees_with_a_loop_over_all_pairs(
        dim in 1usize..40,
        pool in prop::collection::vec(prop_oneof![-1.0f32..1.0, Just(0.0), 1e3f32..1e3 + 1.0], 64),
        count in 1usize..300,
        queries in 1usize..20,
        k in 1usize..40,
        modulus in 1usize..5,
    ) {
        let value = |i: usize| pool[(i * 11 + i / (dim + 3)) % pool.len()];
        let rows: Vec<f32> = (0..count * dim).map(value).collect();
        let asked: Vec<f32> = (0..queries * dim).map(|i| value(i + 5)).collect();
        check_against_slow(&rows, &asked, dim, k, |query, row| (query + row as usize) % modulus == 1);
    }
}
