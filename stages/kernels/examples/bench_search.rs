//! Exact neighbours and k-means at the names and sizes at which their peers are measured, one JSON object a line.
//!
//! `cargo run --release -p dnc-kernels --example bench_search [PATTERN] [REPETITIONS]`

use std::{ops::ControlFlow, time::Instant};

use dnc_kernels::{
    Result,
    kmeans::{Stop, lloyd, plus_plus},
    neighbours::Gallery,
};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let pattern = arguments.next().unwrap_or_default();
    let repetitions = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(5).max(1);
    for (n, d, k) in [(60_502, 128, 1001), (60_502, 512, 101)] {
        let name = format!("neighbours/n{n}/d{d}/k{k}/q6000");
        if name.contains(&pattern) {
            let mut rows = normals(1, n * d);
            for row in rows.chunks_exact_mut(d) {
                let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
                row.iter_mut().for_each(|value| *value /= norm);
            }
            report(&name, 6000, "queries", repetitions, || {
                Gallery::new(&rows, d)?.nearest(&rows[..6000 * d], k, |_, _| false).map(drop)
            })?;
        }
    }
    for (n, d, k, iterations) in [(60_000, 1280, 8, 20), (60_000, 1280, 32, 20), (60_502, 128, 11_316, 5)] {
        let name = format!("kmeans/lloyd/n{n}/d{d}/k{k}/i{iterations}");
        if name.contains(&pattern) {
            let groups = (4 * k).min(n);
            let centres = normals(2, groups * d);
            let mut points = normals(3, n * d);
            for (row, point) in points.chunks_exact_mut(d).enumerate() {
                let centre = &centres[row % groups * d..][..d];
                point.iter_mut().zip(centre).for_each(|(value, centre)| *value = 0.7 * *value + centre);
            }
            report(&name, n * iterations, "points", repetitions, || {
                let start = plus_plus(&points, d, k, 1)?;
                lloyd(&points, d, &start, Stop { iterations, tolerance: 0.0 }, |_, _| ControlFlow::Continue(()))
                    .map(drop)
            })?;
        }
    }
    Ok(())
}

/// The median time of `run` after one that warms up.
fn report(name: &str, work: usize, unit: &str, repetitions: usize, mut run: impl FnMut() -> Result<()>) -> Result<()> {
    run()?;
    let mut seconds = Vec::new();
    for _ in 0..repetitions {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    println!("{}", serde_json::json!({ "name": name, "seconds": median, "work": work, "unit": unit }));
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
