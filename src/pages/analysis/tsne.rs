//! t-SNE: places points in the plane so that neighbours stay neighbours. The result is the same for any number of threads.
//!
//! **Formula** p_{j|i} ∝ exp(−β_i ‖x_i − x_j‖²) over the k nearest of i, β_i such that the perplexity is the given one;
//! P = (p_{j|i} + p_{i|j}) / 2n; q_ij ∝ (1 + ‖y_i − y_j‖²)⁻¹; gradient descent with momentum and gains on KL(P ‖ Q), P exaggerated at
//! first. The start is the first two principal components, so that the overall arrangement is that of the data.
//!
//! **Source** van der Maaten and Hinton, *Visualizing data using t-SNE*, 2008; start and learning rate n / 12 as in Kobak and Berens,
//! *The art of using t-SNE*, 2019.
//!
//! Deviation: repulsion is computed exactly, over all pairs, instead of by a tree: with at most a few thousand points that takes
//! seconds, and the sums have a fixed order.

use rayon::prelude::*;

/// Perplexity: the effective number of neighbours.
pub const PERPLEXITY: f64 = 20.0;
/// Neighbours per point.
pub const NEIGHBOURS: usize = 60;
const ITERATIONS: usize = 500;
const EXAGGERATED: usize = 150;
const EXAGGERATION: f32 = 12.0;
/// Values that are summed side by side, which the compiler turns into SIMD.
const LANES: usize = 8;
/// Standard deviation of the start.
const START: f64 = 1e-4;

/// Points in the plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plane {
    /// Horizontal coordinates.
    pub x: Vec<f32>,
    /// Vertical coordinates.
    pub y: Vec<f32>,
}

/// Places points with these nearest neighbours (squared distances), starting from `start`.
pub fn place(neighbours: &[Vec<(u32, f32)>], start: &Plane) -> Plane {
    let n = neighbours.len();
    let affinities = affinities(neighbours);
    let mut plane = scaled(start);
    let rate = (n as f32 / EXAGGERATION).max(50.0);
    let mut velocity = vec![[0.0f32; 2]; n];
    let mut gains = vec![[1.0f32; 2]; n];
    for iteration in 0..ITERATIONS {
        let (exaggeration, momentum) = if iteration < EXAGGERATED { (EXAGGERATION, 0.5) } else { (1.0, 0.8) };
        let repulsions: Vec<[f32; 3]> = (0..n).into_par_iter().map(|point| repulsion(&plane, point)).collect();
        let z = repulsions.iter().map(|parts| f64::from(parts[2])).sum::<f64>().max(f64::MIN_POSITIVE) as f32;
        let gradients: Vec<[f32; 2]> = (0..n)
            .into_par_iter()
            .map(|point| {
                let [ax, ay] = attraction(&plane, point, &affinities[point]);
                let [rx, ry, _] = repulsions[point];
                [4.0 * (exaggeration * ax - rx / z), 4.0 * (exaggeration * ay - ry / z)]
            })
            .collect();
        for (point, gradient) in gradients.iter().enumerate() {
            for axis in 0..2 {
                let is_along = gradient[axis] * velocity[point][axis] < 0.0;
                let gain = &mut gains[point][axis];
                *gain = if is_along { *gain + 0.2 } else { (*gain * 0.8).max(0.01) };
                velocity[point][axis] = momentum * velocity[point][axis] - rate * *gain * gradient[axis];
            }
            plane.x[point] += velocity[point][0];
            plane.y[point] += velocity[point][1];
        }
    }
    plane
}

/// The start with its mean at 0 and a small spread, the same along both axes' larger one.
fn scaled(start: &Plane) -> Plane {
    let spread = |values: &[f32]| {
        let n = values.len().max(1) as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
        let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    };
    let ((mean_x, spread_x), (mean_y, spread_y)) = (spread(&start.x), spread(&start.y));
    let factor = START / spread_x.max(spread_y).max(f64::MIN_POSITIVE);
    let along = |values: &[f32], mean: f64| {
        values.iter().map(|&value| ((f64::from(value) - mean) * factor) as f32).collect::<Vec<f32>>()
    };
    Plane { x: along(&start.x, mean_x), y: along(&start.y, mean_y) }
}

/// Rows of P: the points that each point is drawn to, with their weights.
fn affinities(neighbours: &[Vec<(u32, f32)>]) -> Vec<Vec<(u32, f32)>> {
    let n = neighbours.len();
    let conditional: Vec<Vec<f64>> = neighbours.par_iter().map(|row| conditional(row)).collect();
    let mut rows: Vec<Vec<(u32, f64)>> = vec![Vec::new(); n];
    for (point, (row, weights)) in neighbours.iter().zip(&conditional).enumerate() {
        for (&(other, _), &weight) in row.iter().zip(weights) {
            rows[point].push((other, weight));
            rows[other as usize].push((point as u32, weight));
        }
    }
    let merged = |mut row: Vec<(u32, f64)>| {
        row.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let pairs = row.chunk_by(|a, b| a.0 == b.0);
        pairs.map(|pair| (pair[0].0, (pair.iter().map(|one| one.1).sum::<f64>() / (2 * n) as f64) as f32)).collect()
    };
    rows.into_par_iter().map(merged).collect()
}

/// p_{j|i} of one point, with β_i found by bisection.
fn conditional(row: &[(u32, f32)]) -> Vec<f64> {
    let nearest = row.first().map_or(0.0, |neighbour| f64::from(neighbour.1));
    let wanted = PERPLEXITY.min(row.len() as f64 * 0.8).max(1.0).ln();
    let (mut low, mut high, mut beta) = (0.0f64, f64::INFINITY, 1.0f64);
    let mut weights = vec![0.0; row.len()];
    for _ in 0..60 {
        let mut sum = 0.0;
        let mut weighted = 0.0;
        for (weight, &(_, distance)) in weights.iter_mut().zip(row) {
            let beyond = f64::from(distance) - nearest;
            *weight = (-beta * beyond).exp();
            sum += *weight;
            weighted += *weight * beyond;
        }
        let entropy = beta * weighted / sum + sum.ln();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        if (entropy - wanted).abs() < 1e-6 {
            break;
        }
        if entropy > wanted {
            low = beta
        } else {
            high = beta
        }
        beta = if high.is_finite() { f64::midpoint(low, high) } else { beta * 2.0 };
    }
    weights
}

/// Σ_j q² (y_i − y_j) along both axes, and Σ_j q, q = (1 + ‖y_i − y_j‖²)⁻¹ without normalisation.
fn repulsion(plane: &Plane, point: usize) -> [f32; 3] {
    let (x, y) = (plane.x[point], plane.y[point]);
    let mut sums = [[0.0f32; LANES]; 3];
    let (xs, rest_x) = plane.x.as_chunks::<LANES>();
    let (ys, rest_y) = plane.y.as_chunks::<LANES>();
    for (xs, ys) in xs.iter().zip(ys) {
        for lane in 0..LANES {
            let (dx, dy) = (x - xs[lane], y - ys[lane]);
            let q = 1.0 / (1.0 + dx * dx + dy * dy);
            sums[0][lane] += q * q * dx;
            sums[1][lane] += q * q * dy;
            sums[2][lane] += q;
        }
    }
    let mut totals = sums.map(|lanes| lanes.iter().sum::<f32>());
    for (&other_x, &other_y) in rest_x.iter().zip(rest_y) {
        let (dx, dy) = (x - other_x, y - other_y);
        let q = 1.0 / (1.0 + dx * dx + dy * dy);
        totals[0] += q * q * dx;
        totals[1] += q * q * dy;
        totals[2] += q;
    }
    // The point itself has q = 1.
    totals[2] -= 1.0;
    totals
}

/// Σ_j p_ij q (y_i − y_j).
fn attraction(plane: &Plane, point: usize, row: &[(u32, f32)]) -> [f32; 2] {
    let mut sum = [0.0f32; 2];
    for &(other, weight) in row {
        let (dx, dy) = (plane.x[point] - plane.x[other as usize], plane.y[point] - plane.y[other as usize]);
        let q = 1.0 / (1.0 + dx * dx + dy * dy);
        sum[0] += weight * q * dx;
        sum[1] += weight * q * dy;
    }
    sum
}

/// The first two principal components of `rows`, `[n, dim]`, by power iteration on their covariance.
pub fn principal_components(rows: &[f32], dim: usize) -> Plane {
    let n = rows.len() / dim.max(1);
    let mut mean = vec![0.0f64; dim];
    for row in rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value) / n as f64);
    }
    let covariance: Vec<Vec<f64>> = (0..dim)
        .into_par_iter()
        .map(|first| {
            let mut line = vec![0.0; dim];
            for row in rows.chunks_exact(dim) {
                let value = f64::from(row[first]) - mean[first];
                line.iter_mut()
                    .zip(row)
                    .zip(&mean)
                    .for_each(|((sum, &other), mean)| *sum += value * (f64::from(other) - mean));
            }
            line
        })
        .collect();
    let mut found: Vec<Vec<f64>> = Vec::new();
    for component in 0..2 {
        let mut vector: Vec<f64> = (0..dim).map(|at| 1.0 + ((at * 7 + component * 3) % 11) as f64 / 11.0).collect();
        for _ in 0..200 {
            let mut next: Vec<f64> =
                covariance.iter().map(|line| line.iter().zip(&vector).map(|(a, b)| a * b).sum()).collect();
            for known in &found {
                let along: f64 = next.iter().zip(known).map(|(a, b)| a * b).sum();
                next.iter_mut().zip(known).for_each(|(value, known)| *value -= along * known);
            }
            let length = next.iter().map(|value| value * value).sum::<f64>().sqrt();
            if length < 1e-30 {
                break;
            }
            vector = next.iter().map(|value| value / length).collect();
        }
        found.push(vector);
    }
    let along = |vector: &[f64]| {
        let value =
            |row: &[f32]| row.iter().zip(vector).zip(&mean).map(|((&x, v), m)| (f64::from(x) - m) * v).sum::<f64>();
        rows.chunks_exact(dim).map(|row| value(row) as f32).collect::<Vec<f32>>()
    };
    Plane { x: along(&found[0]), y: along(&found[1]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three groups of points far apart, in five dimensions.
    fn points() -> (Vec<f32>, usize) {
        let value = |row: usize, axis: usize| {
            let noise = ((row * 37 + axis * 101) % 97) as f32 / 970.0;
            if row % 3 == axis { 1.0 + noise } else { noise }
        };
        ((0..150).flat_map(|row| (0..5).map(move |axis| value(row, axis))).collect(), 5)
    }

    fn neighbours(rows: &[f32], dim: usize, k: usize) -> Vec<Vec<(u32, f32)>> {
        let n = rows.len() / dim;
        let row = |at: usize| &rows[at * dim..][..dim];
        let distance = |a: usize, b: usize| row(a).iter().zip(row(b)).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        (0..n)
            .map(|a| {
                let mut all: Vec<(u32, f32)> = (0..n).filter(|&b| b != a).map(|b| (b as u32, distance(a, b))).collect();
                all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
                all.truncate(k);
                all
            })
            .collect()
    }

    #[test]
    fn groups_stay_together_for_any_number_of_threads() {
        let (rows, dim) = points();
        let start = principal_components(&rows, dim);
        let lists = neighbours(&rows, dim, 30);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| place(&lists, &start))
        };
        let plane = with(1);
        assert_eq!(plane, with(3));
        let plane_rows: Vec<f32> = plane.x.iter().zip(&plane.y).flat_map(|(&x, &y)| [x, y]).collect();
        for (point, nearest) in neighbours(&plane_rows, 2, 10).iter().enumerate() {
            assert!(nearest.iter().all(|&(other, _)| other as usize % 3 == point % 3), "{point}: {nearest:?}");
        }
    }

    #[test]
    fn the_first_component_has_the_largest_variance() {
        let rows: Vec<f32> = (0..40).flat_map(|row| [0.01 * (row % 3) as f32, row as f32, (row % 7) as f32]).collect();
        let plane = principal_components(&rows, 3);
        assert!((plane.x[39] - plane.x[0]).abs() > 38.0);
        assert!(plane.y.iter().all(|value| value.abs() < 4.0));
    }
}
