//! Exact neighbours and k-means at the names and sizes of `shared/peers/bench_torch.py`, one JSON object a line.
//!
//! `cargo run --release -p dnc-kernels --example bench_search [PATTERN] [REPETITIONS]`

use std::time::Instant;

use dnc_kernels::neighbours::Gallery;

fn main() -> dnc_kernels::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let pattern = arguments.next().unwrap_or_default();
    let repetitions = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(5);
    for (n, d, k) in [(60_502, 128, 1001), (60_502, 512, 101)] {
        let name = format!("neighbours/n{n}/d{d}/k{k}/q6000");
        if name.contains(&pattern) {
            let mut rows = normals(1, n * d);
            for row in rows.chunks_exact_mut(d) {
                let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
                row.iter_mut().for_each(|value| *value /= norm);
            }
            report(&name, 6000, "queries", repetitions, || {
                let gallery = Gallery::new(&rows, d)?;
                gallery.nearest(&rows[..6000 * d], k, |_, _| false).map(drop)
            })?;
        }
    }
    Ok(())
}

fn report(
    name: &str,
    work: usize,
    unit: &str,
    repetitions: usize,
    mut run: impl FnMut() -> dnc_kernels::Result<()>,
) -> dnc_kernels::Result<()> {
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
