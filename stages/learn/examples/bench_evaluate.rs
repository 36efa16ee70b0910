//! A whole evaluation of the size of Stanford Online Products (60,502 images of 11,316 classes, d = 512), and the bootstrap over as
//! many queries, one JSON object a line.
//!
//! usage: `bench_evaluate [PATTERN] [--threads N] [--reps N] [--cpu] [--memory]`

use std::{ops::ControlFlow, time::Instant};

use dnc_bench::{Bench, Work};
use dnc_kernels::{
    kmeans::{Stop, lloyd, plus_plus},
    neighbours::Gallery,
};
use dnc_learn::{
    error::Result,
    metrics::{Ranking, map_at_r, nmi, recall_at_k, relevant_within},
    statistics::paired_bootstrap,
    streams::Streams,
};
use rand::Rng;

const IMAGES: usize = 60_502;
const CLASSES: u32 = 11_316;
const DIM: usize = 512;

/// Queries that are searched at once: their neighbours are all that is held of them.
const QUERIES: usize = 6000;

fn main() -> Result<()> {
    let bench = Bench::from_args(&[]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(bench.threads).build().expect("a pool of a few threads");
    pool.install(|| evaluate(&bench).and_then(|()| bootstrap(&bench)))
}

/// Search, metrics, k-means and NMI: once and not a median, as it takes minutes.
fn evaluate(bench: &Bench) -> Result<()> {
    if !bench.wants("evaluate/sop") {
        return Ok(());
    }
    let labels: Vec<u32> = (0..IMAGES as u32).map(|image| image % CLASSES).collect();
    let embeddings = embeddings(&labels);
    let start = Instant::now();
    let gallery = Gallery::new(&embeddings, DIM)?;
    let relevant = relevant_within(&labels);
    let mut sums = [0.0; 5];
    for first in (0..IMAGES).step_by(QUERIES) {
        let queries = first..(first + QUERIES).min(IMAGES);
        let rows = &embeddings[queries.start * DIM..queries.end * DIM];
        let neighbours = gallery.nearest(rows, 1000, |query, row| first + query == row as usize)?;
        let ranking = Ranking::new(&neighbours, &labels[queries.clone()], &labels, &relevant[queries])?;
        let [recalls @ .., map] = &mut sums;
        for (sum, k) in recalls.iter_mut().zip([1, 10, 100, 1000]) {
            *sum += recall_at_k(&ranking, k)?.0.iter().flatten().sum::<f64>();
        }
        *map += map_at_r(&ranking)?.0.iter().flatten().sum::<f64>();
    }
    let searched = start.elapsed().as_secs_f64();
    let seeds = plus_plus(&embeddings, DIM, CLASSES as usize, 1)?;
    let stop = Stop { iterations: 20, tolerance: 0.0 };
    let clustering = lloyd(&embeddings, DIM, &seeds, stop, |_, _| ControlFlow::Continue(()))?;
    let nmi = nmi(&clustering.assignments, &labels)?;
    let seconds = start.elapsed().as_secs_f64();
    let means = sums.map(|sum| sum / IMAGES as f64);
    bench.print("evaluate/sop", seconds, Work::new(IMAGES, "images"));
    eprintln!("search {searched:.1} s; Recall@1, 10, 100, 1000 and MAP@R {means:?}; NMI {nmi}");
    Ok(())
}

fn bootstrap(bench: &Bench) -> Result<()> {
    let mut rng = Streams::new(1).rng();
    let differences: Vec<f64> = (0..IMAGES).map(|_| rng.random::<f64>() - 0.5).collect();
    bench.row("bootstrap/n60502/draws10000", Work::new(10_000, "draws"), || {
        Ok(paired_bootstrap(&differences, 10_000, &Streams::new(2)))
    })
}

/// Normalised rows around the centres of their classes, about as far apart as a trained model has them.
fn embeddings(labels: &[u32]) -> Vec<f32> {
    let row = |seed: Streams| {
        let mut rng = seed.rng();
        // A sum of four uniform numbers is near enough to a normal one.
        let normal = move |_| (0..4).map(|_| rng.random::<f32>() - 0.5).sum::<f32>() * 3.0f32.sqrt();
        (0..DIM).map(normal).collect::<Vec<f32>>()
    };
    let streams = Streams::new(0);
    let centres: Vec<Vec<f32>> = (0..CLASSES).map(|class| row(streams.named("class").at(u64::from(class)))).collect();
    let mut embeddings = Vec::with_capacity(labels.len() * DIM);
    for (image, label) in labels.iter().enumerate() {
        let noise = row(streams.named("image").at(image as u64));
        let sum: Vec<f32> =
            centres[*label as usize].iter().zip(noise).map(|(centre, noise)| centre + 1.2 * noise).collect();
        let norm = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        embeddings.extend(sum.iter().map(|value| value / norm));
    }
    embeddings
}
