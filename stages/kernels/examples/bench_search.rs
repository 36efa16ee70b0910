//! Exact neighbours and k-means at the names and sizes at which their peers are measured, one JSON object a line.
//!
//! usage: `bench_search [PATTERN] [--threads N] [--reps N] [--cpu] [--memory]`

use std::ops::ControlFlow;

use dnc_bench::{Bench, Work};
use dnc_kernels::{
    Result,
    kmeans::{Stop, lloyd, plus_plus},
    neighbours::Gallery,
};

fn main() -> Result<()> {
    let bench = Bench::from_args(&[]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(bench.threads).build().expect("a pool of a few threads");
    pool.install(|| rows(&bench))
}

fn rows(bench: &Bench) -> Result<()> {
    for (n, d, k) in [(60_502, 128, 1001), (60_502, 512, 101)] {
        let name = format!("neighbours/n{n}/d{d}/k{k}/q6000");
        if bench.wants(&name) {
            let mut rows = normals(1, n * d);
            for row in rows.chunks_exact_mut(d) {
                let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
                row.iter_mut().for_each(|value| *value /= norm);
            }
            bench.row(&name, Work::new(6000, "queries"), || {
                Gallery::new(&rows, d)?.nearest(&rows[..6000 * d], k, |_, _| false).map(drop)
            })?;
        }
    }
    for (n, d, k, iterations) in [(60_000, 1280, 8, 20), (60_000, 1280, 32, 20), (60_502, 128, 11_316, 5)] {
        let name = format!("kmeans/lloyd/n{n}/d{d}/k{k}/i{iterations}");
        if bench.wants(&name) {
            let groups = (4 * k).min(n);
            let centres = normals(2, groups * d);
            let mut points = normals(3, n * d);
            for (row, point) in points.chunks_exact_mut(d).enumerate() {
                let centre = &centres[row % groups * d..][..d];
                point.iter_mut().zip(centre).for_each(|(value, centre)| *value = 0.7 * *value + centre);
            }
            bench.row(&name, Work::new(n * iterations, "points"), || {
                let start = plus_plus(&points, d, k, 1)?;
                lloyd(&points, d, &start, Stop { iterations, tolerance: 0.0 }, |_, _| ControlFlow::Continue(()))
                    .map(drop)
            })?;
        }
    }
    Ok(())
}

/// Standard normal numbers by Box and Muller's method from a multiplicative generator: noise, not randomness, is wanted.
fn normals(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 + 0.5) / (1u32 << 24) as f32
    };
    (0..count).map(|_| (-2.0 * uniform().ln()).sqrt() * (std::f32::consts::TAU * uniform()).cos()).collect()
}
