//! The shape of an embedding: distances within and between classes, spectrum, alignment and uniformity, and Recall@1 against the
//! size of the class.

use std::collections::BTreeMap;

use dnc_learn::metrics::{alignment, spectrum, uniformity};

use crate::pages::error::PagesError;
use crate::pages::evidence::Embedded;
use crate::report::answers::Answer;

/// Number of pairs of each kind that are measured.
const PAIRS: usize = 40_000;
/// Rows beyond which uniformity, a sum over all pairs, is computed from a sample.
const MOST_ROWS: usize = 1_200;

/// The shape of an embedding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// Distances of pairs of one class.
    pub positive: Vec<f64>,
    /// Distances of pairs of different classes.
    pub negative: Vec<f64>,
    /// Singular values as shares of their sum, largest first.
    pub spectrum: Vec<f64>,
    /// Effective rank.
    pub effective_rank: f64,
    /// Mean squared distance within classes.
    pub alignment: f64,
    /// Logarithm of the mean Gaussian potential of all pairs.
    pub uniformity: f64,
}

/// The shape of the rows of a split.
///
/// # Errors
/// The vectors are not finite, or all equal.
pub fn shape(embedded: &Embedded, rows: &[usize]) -> Result<Shape, PagesError> {
    let failed = |error| PagesError::deriving("the shape of the embedding")(error);
    let vectors = embedded.gather(rows);
    let found = spectrum(&vectors, embedded.dim).map_err(failed)?;
    let step = rows.len().div_ceil(MOST_ROWS).max(1);
    let sample: Vec<usize> = rows.iter().copied().step_by(step).collect();
    let labels: Vec<u32> = rows.iter().map(|&row| embedded.labels[row]).collect();
    let (positive, negative) = distances(embedded, rows);
    Ok(Shape {
        positive,
        negative,
        spectrum: found.shares,
        effective_rank: found.effective_rank,
        alignment: alignment(&vectors, embedded.dim, &labels).map_err(failed)?,
        uniformity: uniformity(&embedded.gather(&sample), embedded.dim).map_err(failed)?,
    })
}

/// Distances of pairs of one class and of pairs of different classes: of all of them, or, if there are many, evenly spread.
fn distances(embedded: &Embedded, rows: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let distance = |a: usize, b: usize| {
        let squares = embedded.vector(a).iter().zip(embedded.vector(b)).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    rows.iter().for_each(|&row| classes.entry(embedded.labels[row]).or_default().push(row));
    let all: usize = classes.values().map(|members| members.len() * (members.len() - 1) / 2).sum();
    let step = all.div_ceil(PAIRS).max(1);
    let pairs = classes
        .values()
        .flat_map(|members| members.iter().enumerate().flat_map(|(at, &a)| members[..at].iter().map(move |&b| (a, b))));
    let positive = pairs.step_by(step).map(|(a, b)| distance(a, b)).collect();
    if rows.len() * rows.len().saturating_sub(1) / 2 <= PAIRS {
        let others = |(at, &a): (usize, &usize)| rows[..at].iter().map(move |&b| (a, b)).collect::<Vec<_>>();
        let pairs = rows.iter().enumerate().flat_map(others);
        let are_apart = |&(a, b): &(usize, usize)| embedded.labels[a] != embedded.labels[b];
        return (positive, pairs.filter(are_apart).map(|(a, b)| distance(a, b)).collect());
    }
    let mut negative = Vec::new();
    // Each row with some others, whose offsets grow, so that neither order nor grouping of rows matters.
    let per_row = PAIRS.div_ceil(rows.len().max(1));
    for (at, &a) in rows.iter().enumerate() {
        for draw in 0..per_row {
            let other = rows[(at + 1 + (draw + 1) * (at * 7 + 97)) % rows.len()];
            if embedded.labels[other] != embedded.labels[a] {
                negative.push(distance(a, other));
            }
        }
    }
    (positive, negative)
}

/// Recall@1 of the classes of one size: size, number of classes, Recall@1.
pub fn recall_by_size(answers: &[Answer]) -> Vec<(usize, usize, f64)> {
    let mut classes: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for answer in answers {
        let (size, right) = classes.entry(answer.label).or_default();
        *size += 1;
        *right += usize::from(answer.is_right());
    }
    let mut sizes: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (size, right) in classes.into_values() {
        let (count, sum) = sizes.entry(size).or_default();
        *count += 1;
        *sum += right;
    }
    sizes.into_iter().map(|(size, (count, right))| (size, count, right as f64 / (size * count) as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_two_tight_classes() {
        let rows: Vec<usize> = (0..20).collect();
        let embedded = Embedded {
            ids: (0..20).collect(),
            labels: (0..20).map(|row| row / 10).collect(),
            vectors: (0..20).flat_map(|row| if row < 10 { [1.0, 0.001 * row as f32] } else { [0.0, 1.0] }).collect(),
            dim: 2,
            ..Embedded::default()
        };
        let found = shape(&embedded, &rows).unwrap();
        assert_eq!(found.positive.len(), 90);
        assert!(found.positive.iter().all(|distance| *distance < 0.01));
        assert_eq!(found.negative.len(), 100, "each pair once");
        assert!(found.negative.iter().all(|distance| (1.39..1.42).contains(distance)));
        assert!((found.effective_rank - 1.0).abs() < 0.05, "{}", found.effective_rank);
    }

    #[test]
    fn classes_are_grouped_by_size() {
        let answer = |id: u32, label: u32, first_hit: u32| Answer {
            id,
            label,
            first_hit: Some(first_hit),
            average_precision: 0.0,
            neighbours: Vec::new(),
            distances: Vec::new(),
        };
        let answers = [answer(0, 0, 1), answer(1, 0, 1), answer(2, 1, 2), answer(3, 1, 1), answer(4, 2, 1)];
        assert_eq!(recall_by_size(&answers), [(1, 1, 1.0), (2, 2, 0.75)]);
    }
}
