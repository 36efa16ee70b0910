use linfa::{DatasetBase, traits::Fit};
use linfa_clustering::{KMeans, KMeansInit};
use ndarray::Array2;
use proptest::prelude::*;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::*;
use crate::distance;

const UNTIL_CONVERGED: Stop = Stop { iterations: 300, tolerance: 0.0 };

fn go_on(_: usize, _: f64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn prepared(points: &[f32], dim: usize) -> Points<'_> {
    Points::new(points, dim).expect("well formed")
}

/// Points around `groups` centres.
fn clouds(count: usize, dim: usize, groups: usize, spread: f32, seed: u64) -> Vec<f32> {
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    let mut next = move || (stream.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
    let centres: Vec<f32> = (0..groups * dim).map(|_| next()).collect();
    (0..count * dim).map(|i| centres[i / dim % groups * dim + i % dim] + spread * next()).collect()
}

/// Lloyd's algorithm by definition, in double precision; no cluster may become empty.
fn slow(points: &[f32], dim: usize, start: &[f32], iterations: usize) -> (Vec<i32>, f64) {
    let mut centroids: Vec<f64> = start.iter().map(|value| f64::from(*value)).collect();
    let nearest = |centroids: &[f64], point: &[f32]| {
        let distance =
            |centroid: &[f64]| -> f64 { centroid.iter().zip(point).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum() };
        let distances = centroids.chunks_exact(dim).map(distance).zip(0..);
        distances.fold((f64::INFINITY, 0), |best, next| if next.0 < best.0 { next } else { best })
    };
    for _ in 0..iterations {
        let (mut sums, mut sizes) = (vec![0.0; centroids.len()], vec![0.0; centroids.len() / dim]);
        for point in points.chunks_exact(dim) {
            let (_, cluster) = nearest(&centroids, point);
            sizes[cluster as usize] += 1.0;
            for (sum, value) in sums[cluster as usize * dim..].iter_mut().zip(point) {
                *sum += f64::from(*value);
            }
        }
        centroids = sums.iter().enumerate().map(|(i, sum)| sum / sizes[i / dim]).collect();
    }
    let found: Vec<(f64, i32)> = points.chunks_exact(dim).map(|point| nearest(&centroids, point)).collect();
    (found.iter().map(|(_, cluster)| *cluster).collect(), found.iter().map(|(distance, _)| distance).sum())
}

#[test]
fn agrees_with_a_loop_in_double_precision() {
    for (count, dim, k, iterations) in [(900, 5, 3, 4), (700, 33, 20, 7), (2000, 16, 150, 3), (400, 70, 400, 1)] {
        let points = clouds(count, dim, 12, 0.3, 1);
        let start = &points[..k * dim];
        let found =
            prepared(&points, dim).lloyd(start, Stop { iterations, tolerance: 0.0 }, go_on).expect("well formed");
        let (assignments, inertia) = slow(&points, dim, start, iterations);
        let different = assignments.iter().zip(&found.assignments).filter(|(a, b)| a != b).count();
        assert!(different <= count / 500, "{different} of {count} assignments differ");
        assert!((found.inertia - inertia).abs() <= 1e-5 * inertia.max(1e-3), "{} is not {inertia}", found.inertia);
    }
}

#[test]
fn reaches_the_inertia_of_linfa_from_the_same_start() {
    for (dim, k, spread) in [(8, 4, 0.4), (24, 12, 0.5), (16, 30, 0.2)] {
        let points = clouds(1500, dim, k, spread, 2);
        let start = prepared(&points, dim).plus_plus(k, 3).expect("well formed");
        let found = prepared(&points, dim).lloyd(&start, UNTIL_CONVERGED, go_on).expect("well formed");
        let matrix = |rows: &[f32]| {
            Array2::from_shape_vec((rows.len() / dim, dim), rows.to_vec()).expect("a whole number of rows")
        };
        let theirs = KMeans::params(k)
            .init_method(KMeansInit::Precomputed(matrix(&start)))
            .n_runs(1)
            .max_n_iterations(3000)
            .tolerance(1e-7)
            .fit(&DatasetBase::from(matrix(&points)))
            .expect("linfa clusters finite points");
        let inertia = f64::from(theirs.inertia()) * 1500.0;
        assert!(found.converged && (found.inertia - inertia).abs() < 1e-4 * inertia, "{} {inertia}", found.inertia);
    }
}

#[test]
fn results_do_not_depend_on_threads_or_prefilter() {
    for (dim, k) in [(40, 6), (9, 300)] {
        let points = clouds(3000, dim, 25, 0.6, 4);
        let results = [1, 2, 5].into_iter().flat_map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            pool.install(|| {
                let prefilters = if int8::available(dim) { &[false, true][..] } else { &[false] };
                let results = prefilters.iter().map(|integers| {
                    let points = Points::with_prefilter(&points, dim, *integers).expect("well formed");
                    let seeds = points.plus_plus(k, 5).expect("well formed");
                    points.lloyd(&seeds, UNTIL_CONVERGED, go_on).expect("well formed")
                });
                results.collect::<Vec<Clustering>>()
            })
        });
        let results: Vec<Clustering> = results.collect();
        assert!(results.iter().all(|result| *result == results[0]));
    }
}

#[test]
fn an_empty_cluster_receives_the_farthest_point_and_is_reported() {
    // No point is nearest to the centroid at 100; 9 is farthest from its own centroid.
    let points = [0.0f32, 1.0, 2.0, 9.0];
    let found = prepared(&points, 1).lloyd(&[1.0, 100.0], UNTIL_CONVERGED, go_on).expect("well formed");
    assert_eq!(found.reseeded, [Reseeded { iteration: 1, cluster: 1, point: 3 }]);
    assert_eq!((found.assignments, found.centroids), (vec![0, 0, 0, 1], vec![1.0, 9.0]));
    assert_eq!((found.sizes, found.inertia), (vec![3, 1], 2.0));
}

#[test]
fn fewer_distinct_points_than_clusters_leave_clusters_empty() {
    let points = [1.0f32, 1.0, 1.0, 5.0];
    let start = prepared(&points, 1).plus_plus(3, 0).expect("well formed");
    let found = prepared(&points, 1).lloyd(&start, UNTIL_CONVERGED, go_on).expect("well formed");
    assert_eq!(found.inertia, 0.0);
    assert!(found.converged && found.sizes.contains(&0) && found.sizes.iter().sum::<u32>() == 4);
}

#[test]
fn progress_can_stop_the_run() {
    let points = clouds(500, 4, 9, 1.0, 6);
    let stop_at_two = |iteration, _| if iteration == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let stopped = prepared(&points, 4).lloyd(&points[..36], UNTIL_CONVERGED, stop_at_two).expect("well formed");
    let two = Stop { iterations: 2, tolerance: 0.0 };
    assert_eq!(stopped, prepared(&points, 4).lloyd(&points[..36], two, go_on).expect("well formed"));
}

#[test]
fn seeds_are_distinct_and_spread_over_the_groups() {
    let points = clouds(4000, 12, 40, 0.05, 7);
    let seeds = prepared(&points, 12).plus_plus(40, 8).expect("well formed");
    let groups: std::collections::BTreeSet<usize> = seeds
        .chunks_exact(12)
        .map(|seed| points.chunks_exact(12).position(|point| point == seed).expect("a seed is a point") % 40)
        .collect();
    // Uniform draws would reach about 25 of 40 groups.
    assert!(groups.len() >= 36, "{} of 40 groups", groups.len());
    let stopped = prepared(&points, 12).plus_plus_unless(40, 8, || true).expect("well formed");
    assert_eq!(stopped, None);
    let all = prepared(&points, 12).plus_plus(4000, 9).expect("well formed");
    let mut rows: Vec<&[f32]> = all.chunks_exact(12).collect();
    rows.sort_by(|a, b| a.partial_cmp(b).expect("finite"));
    rows.dedup();
    assert_eq!(rows.len(), 4000);
}

#[test]
fn malformed_arguments_are_refused() {
    let check = |points: &[f32], centroids: &[f32], expected: &str| {
        let run = || Points::new(points, 1)?.lloyd(centroids, UNTIL_CONVERGED, go_on);
        assert_eq!(run().expect_err("malformed").to_string(), format!("Cannot run `k-means`: {expected}"));
    };
    check(&[0.0], &[], "0 clusters of 1 points: expected at least 1 and at most one per point");
    check(&[0.0], &[0.0, 1.0], "2 clusters of 1 points: expected at least 1 and at most one per point");
    check(&[0.0, f32::INFINITY], &[0.0], "row 1 of `points` has a value that is not finite or whose square is not");
    assert_eq!(
        prepared(&[0.0], 1).plus_plus(2, 0).expect_err("malformed").to_string(),
        "Cannot run `k-means`: 2 clusters of 1 points: expected at least 1 and at most one per point"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_point_is_with_its_nearest_centroid(
        dim in 1usize..20, count in 1usize..400, share in 0.0f64..1.0, spread in 0.0f32..1.0, seed: u64
    ) {
        let k = ((count as f64 * share) as usize).max(1);
        let points = clouds(count, dim, 10, spread, seed);
        let start = prepared(&points, dim).plus_plus(k, seed).expect("well formed");
        let found = prepared(&points, dim).lloyd(&start, Stop { iterations: 3, tolerance: 0.0 }, go_on).expect("well formed");
        for (point, (cluster, distance)) in
            points.chunks_exact(dim).zip(found.assignments.iter().zip(&found.distances))
        {
            let all = found.centroids.chunks_exact(dim).map(|centroid| distance::squared(point, centroid));
            let nearest = all.zip(0..).fold((f32::INFINITY, -1), |best, next| if next.0 < best.0 { next } else { best });
            prop_assert_eq!(nearest, (*distance, *cluster));
        }
    }
}
