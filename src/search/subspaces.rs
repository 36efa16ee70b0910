//! Distances with a weight per learner.
//!
//! **Formula** D_w(a, b)² = Σₖ wₖ ‖aₖ − bₖ‖² / Σₖ wₖ, where xₖ = x ∘ mₖ / ‖x ∘ mₖ‖ is the vector in the subspace of learner k and mₖ its
//! mask. With the whole weight on one learner, it is the distance in that learner's subspace.
//!
//! **Shapes** masks `[learners, dim]`, rows `[n, dim]`.

use std::ops::Range;

use dnc_kernels::neighbours::squared_distance;

/// The space in which images are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Space {
    /// The whole embedding.
    #[default]
    Whole,
    /// The subspaces of the learners, each with its weight.
    Learners(Vec<f32>),
}

impl Space {
    /// The subspace of one of `learners`, counted from 0.
    pub fn of(learner: usize, learners: usize) -> Self {
        Self::Learners((0..learners).map(|other| if other == learner { 1.0 } else { 0.0 }).collect())
    }
}

/// The positive weights of a learner's mask, without the zeros before and after them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mask {
    coordinates: Range<usize>,
    weights: Vec<f32>,
}

impl Mask {
    /// A mask with this value per coordinate. Negative values count as 0, as in training.
    pub(super) fn new(values: impl IntoIterator<Item = f32>) -> Self {
        let values: Vec<f32> = values.into_iter().map(|value| value.max(0.0)).collect();
        let first = values.iter().position(|&value| value > 0.0).unwrap_or(0);
        let end = values.iter().rposition(|&value| value > 0.0).map_or(0, |last| last + 1);
        Self { coordinates: first..end, weights: values[first..end].to_vec() }
    }

    /// Writes the normalised vector of a row in this subspace.
    fn project(&self, row: &[f32], into: &mut [f32]) {
        let row = &row[self.coordinates.clone()];
        for ((into, value), weight) in into.iter_mut().zip(row).zip(&self.weights) {
            *into = value * weight;
        }
        let norm = into.iter().map(|value| value * value).sum::<f32>().sqrt();
        if norm > 0.0 {
            into.iter_mut().for_each(|value| *value /= norm);
        }
    }
}

/// A query in the subspaces that have a weight.
pub(super) struct WeightedQuery<'m> {
    parts: Vec<(&'m Mask, f32, Vec<f32>)>,
    longest: usize,
}

impl<'m> WeightedQuery<'m> {
    /// Prepares a query. The weights must be at least 0, and one of them more.
    pub(super) fn new(query: &[f32], masks: &'m [Mask], weights: &[f32]) -> Self {
        let sum: f32 = weights.iter().sum();
        let weighted = masks.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
        let part = |(mask, weight): (&'m Mask, &f32)| {
            let mut projected = vec![0.0; mask.weights.len()];
            mask.project(query, &mut projected);
            (mask, weight / sum, projected)
        };
        let parts: Vec<_> = weighted.map(part).collect();
        let longest = parts.iter().map(|(mask, ..)| mask.weights.len()).max().unwrap_or(0);
        Self { parts, longest }
    }

    /// D_w(query, row)².
    pub(super) fn squared_distance(&self, row: &[f32]) -> f32 {
        // Embeddings of usual size fit on the stack.
        let (mut short, mut long) = ([0.0f32; 1024], Vec::new());
        let buffer = match short.get_mut(..self.longest) {
            Some(buffer) => buffer,
            None => {
                long.resize(self.longest, 0.0);
                &mut long[..]
            }
        };
        let part = |(mask, weight, query): &(&Mask, f32, Vec<f32>)| {
            let projected = &mut buffer[..query.len()];
            mask.project(row, projected);
            weight * squared_distance(query, projected)
        };
        self.parts.iter().map(part).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(a: &[f32], b: &[f32], masks: &[Vec<f32>], weights: &[f32]) -> f64 {
        let subspace = |row: &[f32], mask: &[f32]| {
            let values: Vec<f64> = row.iter().zip(mask).map(|(x, m)| f64::from(*x) * f64::from(m.max(0.0))).collect();
            let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            values.into_iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        let terms = masks.iter().zip(weights).map(|(mask, weight)| {
            let (a, b) = (subspace(a, mask), subspace(b, mask));
            f64::from(*weight) * a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
        });
        terms.sum::<f64>() / weights.iter().map(|weight| f64::from(*weight)).sum::<f64>()
    }

    #[test]
    fn distances_are_those_of_the_formula() {
        let row = |seed: usize| (0..12).map(|at| ((at * 7 + seed * 5) % 11) as f32 - 4.0).collect::<Vec<f32>>();
        let masks: Vec<Vec<f32>> = vec![
            (0..12).map(|at| if at < 4 { 1.0 } else { 0.0 }).collect(),
            (0..12).map(|at| if at >= 4 { 0.5 } else { -1.0 }).collect(),
            (0..12).map(|at| at as f32 / 12.0).collect(),
        ];
        let prepared: Vec<Mask> = masks.iter().map(|mask| Mask::new(mask.iter().copied())).collect();
        assert_eq!(prepared[1].coordinates, 4..12);
        for weights in [[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0], [0.2, 0.0, 0.7]] {
            for (a, b) in [(0, 1), (2, 5)] {
                let (a, b) = (row(a), row(b));
                let query = WeightedQuery::new(&a, &prepared, &weights);
                let (found, expected) = (query.squared_distance(&b), slow(&a, &b, &masks, &weights));
                assert!((f64::from(found) - expected).abs() < 1e-5, "{found} {expected}");
                assert_eq!(query.squared_distance(&a), 0.0, "an image is at distance 0 of itself");
            }
        }
    }
}
