//! Initial centroids: k-means++ in batches.
//!
//! A drawn point must have its exact weight, but a point that would not be drawn with a larger weight is not drawn with a smaller
//! one. Weights are therefore upper bounds from the prefilter, and only the few points that might be drawn get exact distances. With
//! a GPU, which computes the exact distances to each batch, all weights are exact, and the same points are drawn.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use rayon::prelude::*;

use super::assignment::{Nearest, PreparedPoints};
use crate::{error::Result, prefilter::Prefilter};

/// Draws `k` of the points, `[k, dim]`, unless `stopped` between two batches.
pub(super) fn seed_plus_plus<P: Prefilter<'static>>(
    points: &PreparedPoints<'_, P>,
    k: usize,
    seed: u64,
    stopped: impl Fn() -> bool,
) -> Result<Option<Vec<f32>>> {
    const BATCHES: usize = 64;
    let dim = points.dim();
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    let mut seeds = Seeds { points, drawn: Vec::new(), centroids: Vec::with_capacity(k * dim), are_exact: true };
    // Before the first draw, all points have the same weight.
    let mut limits = vec![f32::INFINITY; points.len()];
    while seeds.drawn.len() < k {
        if stopped() {
            return Ok(None);
        }
        let batch = if seeds.drawn.is_empty() { 1 } else { k.div_ceil(BATCHES).min(k - seeds.drawn.len()) };
        let first = seeds.centroids.len();
        seeds.draw(batch, &mut limits, &mut stream);
        seeds.are_exact &= points.tighten_limits(&seeds.centroids[first..], &mut limits)?;
    }
    Ok(Some(seeds.centroids))
}

/// The points drawn so far.
struct Seeds<'s, 'p, P: Prefilter<'static>> {
    points: &'s PreparedPoints<'p, P>,
    drawn: Vec<usize>,
    centroids: Vec<f32>,
    /// Whether the limits of all points are their weights.
    are_exact: bool,
}

/// The time at which a point arrives, and the point.
type Arrival = (f64, usize);

impl<P: Prefilter<'static>> Seeds<'_, '_, P> {
    /// Draws `count` points without replacement, with probabilities proportional to their weights: each point has an exponential
    /// waiting time with its weight as the rate, and the first arrivals are drawn (Efraimidis and Spirakis, 2006). Points of weight
    /// 0 come last, by index. `limits` are upper bounds of the weights; they become exact where that matters.
    fn draw(&mut self, count: usize, limits: &mut [f32], stream: &mut ChaCha8Rng) {
        let mut waits: Vec<f64> = limits.iter().map(|_| 0.0).collect();
        let numbers: Vec<u64> = waits.iter().map(|_| stream.next_u64()).collect();
        // In (0, 1], so that the logarithm is finite.
        let wait = |number: &u64| -(((number >> 11) + 1) as f64 / (1u64 << 53) as f64).ln();
        numbers.par_iter().map(wait).collect_into_vec(&mut waits);
        self.drawn.iter().for_each(|point| waits[*point] = f64::NAN);

        let mut exact = vec![self.are_exact; limits.len()];
        // Number of first arrivals that are examined: doubled whenever one of them was early because of its bound.
        let mut examined = count + count / 8 + 4;
        loop {
            let arrivals = first_arrivals(&waits, limits, examined.min(limits.len()));
            if arrivals[..count].iter().all(|(_, point)| exact[*point]) {
                for (_, point) in &arrivals[..count] {
                    self.drawn.push(*point);
                    self.centroids.extend_from_slice(self.points.row(*point));
                }
                return;
            }
            let early: Vec<usize> =
                arrivals.into_iter().map(|(_, point)| point).filter(|point| !exact[*point]).collect();
            for (point, weight) in early.iter().zip(self.weights(&early)) {
                limits[*point] = weight;
                exact[*point] = true;
            }
            examined *= 2;
        }
    }

    /// The squared distance of each of `points` to the nearest drawn point.
    fn weights(&self, points: &[usize]) -> Vec<f32> {
        let rows: Vec<f32> = points.iter().flat_map(|point| self.points.row(*point)).copied().collect();
        let mut nearest = Nearest::unknown(points.len());
        PreparedPoints::<P>::new(&rows, self.points.dim()).update_nearest(&self.centroids, 0, true, &mut nearest);
        nearest.limits
    }
}

/// The `count` points that arrive first, in order.
fn first_arrivals(waits: &[f64], weights: &[f32], count: usize) -> Vec<Arrival> {
    let arrival = |(point, (wait, weight)): (usize, (&f64, &f32))| {
        let time = wait / f64::from(weight.min(f32::MAX));
        // Weight 0 and waiting time 0 give NaN, which becomes infinite. A point drawn before stays NaN, which sorts after infinity.
        (if time.is_nan() && !wait.is_nan() { f64::INFINITY } else { time }, point)
    };
    let mut arrivals: Vec<Arrival> = waits.par_iter().zip(weights).enumerate().map(arrival).collect();
    let order = |a: &Arrival, b: &Arrival| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    arrivals.select_nth_unstable_by(count - 1, order);
    arrivals.truncate(count);
    arrivals.sort_unstable_by(order);
    arrivals
}
