//! Benchmark of exact nearest neighbours and k-means under the names and sizes of the peers' benchmarks, and of approximate search with
//! inverted lists. Prints one JSON object per line.
//!
//! usage: `bench_search [PATTERN] [--device DEVICE] [--points FILE] [--seed N] [--threads N] [--reps N] [--cpu] [--memory]`
//!
//! `--device cuda:0` searches exact neighbours and clusters on a GPU, and compares the results with the CPU's. Rows that end in
//! `/search` leave out the preparation of the gallery, which a GPU then holds; those that end in `/iterations`, for a GPU only, leave
//! out the preparation of the points and the seeding.
//!
//! `--points` names a file of little-endian `f32` rows for k-means to cluster or for inverted lists to search, so that inertia and
//! recall can be compared with a peer's on the same points (`scripts/kmeans_inertia.py`, `scripts/index_faiss.py`).

use std::{error::Error, fs, ops::ControlFlow};

use candle_core::Device;
use dnc_bench::{Bench, Work};
use dnc_kernels::{
    kmeans::{Points, Stop},
    neighbours::{
        Gallery,
        inverted::{InvertedLists, divide},
    },
    open_gpu,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let bench = Bench::from_args(&["--device", "--points", "--seed"]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(bench.threads).build().expect("a pool of a few threads");
    pool.install(|| rows(&bench)).map_err(|error| error as Box<dyn Error>)
}

fn rows(bench: &Bench) -> Result<()> {
    let device = match bench.option("--device").and_then(|name| name.strip_prefix("cuda:")) {
        Some(ordinal) => open_gpu(ordinal.parse()?)?,
        None => Device::Cpu,
    };
    for (n, d, k) in [(60_502, 128, 1001), (60_502, 512, 101)] {
        let name = format!("neighbours/n{n}/d{d}/k{k}/q6000");
        let search = format!("{name}/search");
        if bench.wants(&name) || bench.wants(&search) {
            let mut rows = normals(1, n * d);
            for row in rows.chunks_exact_mut(d) {
                let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
                row.iter_mut().for_each(|value| *value /= norm);
            }
            bench.row(&name, Work::new(6000, "queries"), || {
                Gallery::on(&rows, d, &device)?.nearest(&rows[..6000 * d], k, |_, _| false)
            })?;
            let gallery = Gallery::on(&rows, d, &device)?;
            if !device.is_cpu() {
                let found = gallery.nearest(&rows[..6000 * d], k, |_, _| false)?;
                if found != Gallery::new(&rows, d)?.nearest(&rows[..6000 * d], k, |_, _| false)? {
                    return Err(format!("{name}: the lists of the GPU are not those of the CPU").into());
                }
            }
            bench.row(&search, Work::new(6000, "queries"), || gallery.nearest(&rows[..6000 * d], k, |_, _| false))?;
        }
    }
    for (n, d, k, iterations) in [(60_000, 1280, 8, 20), (60_000, 1280, 32, 20), (60_502, 128, 11_316, 5)] {
        let name = format!("kmeans/lloyd/n{n}/d{d}/k{k}/i{iterations}");
        let alone = format!("{name}/iterations");
        if bench.wants(&name) || (!device.is_cpu() && bench.wants(&alone)) {
            let points = points(bench, n, d, (4 * k).min(n))?;
            let seed = bench.option("--seed").map_or(Ok(1), str::parse)?;
            let stop = Stop { iterations, tolerance: 0.0 };
            let cluster =
                |prepared: &Points<'_>, start: &[f32]| prepared.lloyd(start, stop, |_, _| ControlFlow::Continue(()));
            let mut inertia = 0.0;
            let seconds = bench.median(|| -> Result<()> {
                let prepared = Points::on(&points, d, &device)?;
                inertia = cluster(&prepared, &prepared.plus_plus(k, seed)?)?.inertia;
                Ok(())
            })?;
            bench.print(&name, seconds, Work::new(n * iterations, "points").also("inertia", inertia));
            if !device.is_cpu() {
                let (prepared, on_cpu) = (Points::on(&points, d, &device)?, Points::new(&points, d)?);
                let start = on_cpu.plus_plus(k, seed)?;
                if prepared.plus_plus(k, seed)? != start || cluster(&prepared, &start)? != cluster(&on_cpu, &start)? {
                    return Err(format!("{name}: the clusters of the GPU are not those of the CPU").into());
                }
                bench.row(&alone, Work::new(n * iterations, "points"), || cluster(&prepared, &start))?;
            }
        }
    }
    for (n, d, lists, probes) in [(500_000, 128, 2_828, 16), (200_000, 512, 1_788, 16)] {
        let [build, batch, single] =
            ["build", "q6000", "q1"].map(|part| format!("index/n{n}/d{d}/l{lists}/p{probes}/{part}"));
        if [&build, &batch, &single].into_iter().any(|name| bench.wants(name)) {
            let points = points(bench, n, d, n / 50)?;
            let stop = Stop { iterations: 10, tolerance: 0.0 };
            let mut built = None;
            let seconds = bench.median(|| -> Result<()> {
                let layout = divide(&points, d, lists, stop, 1)?;
                built = Some((layout.ordered(&points, d), layout));
                Ok(())
            })?;
            bench.print(&build, seconds, Work::new(n, "points"));
            let (ordered, layout) = built.ok_or("no repetition")?;
            let index = InvertedLists::new(&ordered, d, &layout.rows, &layout.ends, &layout.centroids)?;
            // Between two points of a group each, so that no query is a point.
            let queries: Vec<f32> =
                points.iter().zip(&points[n / 50 * d..]).take(6000 * d).map(|(a, b)| (a + b) / 2.0).collect();
            let exact = Gallery::new(&points, d)?.nearest(&queries, 10, |_, _| false)?;
            let mut recall = 0.0;
            let seconds = bench.median(|| -> Result<()> {
                let found = index.nearest(&queries, 10, probes, |_, _| false)?;
                let common = exact
                    .lists()
                    .zip(found.lists())
                    .flat_map(|(exact, found)| exact.iter().filter(|id| found.contains(id)));
                recall = common.count() as f64 / exact.ids.len() as f64;
                Ok(())
            })?;
            bench.print(&batch, seconds, Work::new(6000, "queries").also("recall", recall));
            // A different query each time: a single one would stay in the caches.
            let seconds = bench.median(|| -> Result<()> {
                for query in queries.chunks_exact(d).take(100) {
                    index.nearest(query, 10, probes, |_, _| false)?;
                }
                Ok(())
            })?;
            bench.print(&single, seconds / 100.0, Work::new(1, "queries"));
        }
    }
    Ok(())
}

/// The points of `--points`, else points around `groups` centres, `[n, d]`.
fn points(bench: &Bench, n: usize, d: usize, groups: usize) -> Result<Vec<f32>> {
    Ok(match bench.option("--points") {
        Some(file) => fs::read(file)?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        None => clouds(n, d, groups),
    })
}

/// Points with normal noise around `groups` centres, `[n, d]`.
fn clouds(n: usize, d: usize, groups: usize) -> Vec<f32> {
    let centres = normals(2, groups * d);
    let mut points = normals(3, n * d);
    for (row, point) in points.chunks_exact_mut(d).enumerate() {
        let centre = &centres[row % groups * d..][..d];
        point.iter_mut().zip(centre).for_each(|(value, centre)| *value = 0.7 * *value + centre);
    }
    points
}

/// Standard normal numbers by the Box–Muller method from a linear congruential generator, which is good enough for a benchmark.
fn normals(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 + 0.5) / (1u32 << 24) as f32
    };
    (0..count).map(|_| (-2.0 * uniform().ln()).sqrt() * (std::f32::consts::TAU * uniform()).cos()).collect()
}
