//! Points to start from: k-means++ in batches.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::points::{Nearest, Points};
use crate::screen::Screen;

pub(super) fn spread<S: Screen<'static>>(points: &[f32], dim: usize, k: usize, seed: u64) -> Vec<f32> {
    const BATCHES: usize = 64;
    let points = Points::<S>::new(points, dim);
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    let mut nearest = Nearest::unknown(points.len());
    let mut drawn: Vec<usize> = Vec::new();
    let mut centroids = Vec::with_capacity(k * dim);
    while drawn.len() < k {
        // Before the first all are equally far.
        let batch = if drawn.is_empty() { 1 } else { k.div_ceil(BATCHES).min(k - drawn.len()) };
        let first = drawn.len();
        drawn.extend(race(&nearest.limits, batch, &drawn, &mut stream));
        drawn[first..].iter().for_each(|point| centroids.extend_from_slice(points.row(*point)));
        points.approach(&centroids[first * dim..], first, true, &mut nearest);
    }
    centroids
}

/// Draws `count` points without replacement, with probabilities proportional to their weights: each gets an exponential waiting
/// time at the rate of its weight, and the first win (Efraimidis and Spirakis, 2006). Those of weight 0 come last, by number.
fn race(weights: &[f32], count: usize, drawn: &[usize], stream: &mut ChaCha8Rng) -> Vec<usize> {
    let mut times: Vec<(f64, usize)> = weights
        .iter()
        .enumerate()
        .map(|(point, weight)| {
            // In (0, 1], so that the logarithm is finite.
            let uniform = ((stream.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
            let time = -uniform.ln() / f64::from(weight.min(f32::MAX));
            (if time.is_nan() { f64::INFINITY } else { time }, point)
        })
        .collect();
    drawn.iter().for_each(|point| times[*point].0 = f64::NAN);
    // NaN sorts behind infinity, and `count` is at most the number of points that are left.
    let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    times.select_nth_unstable_by(count - 1, order);
    times.truncate(count);
    times.sort_unstable_by(order);
    times.into_iter().map(|(_, point)| point).collect()
}
