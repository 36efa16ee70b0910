//! Precision and recall of the question whether two images are of the same class, for all pairs of a split.
//!
//! **Formula** The similarity of a pair is `(1 + cosine) / 2`; at threshold t, pairs of at least t count as alike.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::pages::evidence::Embedded;

/// Number of thresholds, from 0 to 1 in equal steps.
pub(super) const THRESHOLDS: usize = 201;
/// Most images of a split whose pairs are counted.
const MOST: usize = 5_000;

/// By threshold: true positives, false positives, true negatives, false negatives, precision and recall.
pub(super) type Curve = [Vec<f64>; 6];

/// The curve of each split that has pairs of both kinds. Of a large split, an even sample is taken.
pub(super) fn curves(embedded: &Embedded) -> BTreeMap<&'static str, Curve> {
    let mut rows: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
    for (row, split) in embedded.splits.iter().enumerate() {
        rows.entry(split.name()).or_default().push(row);
    }
    let curve = |(split, rows): (&'static str, Vec<usize>)| {
        let step = rows.len().div_ceil(MOST).max(1);
        let rows: Vec<usize> = rows.into_iter().step_by(step).collect();
        let counts = counts(embedded, &rows);
        let has = |kind: usize| counts.iter().any(|count| count[kind] > 0);
        (has(0) && has(1)).then(|| (split, of_counts(&counts)))
    };
    rows.into_iter().filter_map(curve).collect()
}

/// Pairs of different and of the same class by the largest threshold that they reach.
fn counts(embedded: &Embedded, rows: &[usize]) -> Vec<[u64; 2]> {
    let zero = || vec![[0u64; 2]; THRESHOLDS];
    let of_row = |mut counts: Vec<[u64; 2]>, at: usize| {
        let (row, vector) = (rows[at], embedded.vector(rows[at]));
        for &other in &rows[at + 1..] {
            let cosine: f32 = vector.iter().zip(embedded.vector(other)).map(|(a, b)| a * b).sum();
            let similarity = (f64::from(cosine) + 1.0) / 2.0;
            let bin = (similarity.clamp(0.0, 1.0) * (THRESHOLDS - 1) as f64) as usize;
            counts[bin][usize::from(embedded.labels[row] == embedded.labels[other])] += 1;
        }
        counts
    };
    let add = |mut a: Vec<[u64; 2]>, b: Vec<[u64; 2]>| {
        a.iter_mut().zip(b).for_each(|(a, b)| (0..2).for_each(|kind| a[kind] += b[kind]));
        a
    };
    (0..rows.len()).into_par_iter().fold(zero, of_row).reduce(zero, add)
}

fn of_counts(counts: &[[u64; 2]]) -> Curve {
    let total = |kind: usize| counts.iter().map(|count| count[kind]).sum::<u64>();
    let (different, same) = (total(0), total(1));
    let mut curve: Curve = Default::default();
    // Pairs that reach each threshold, from the highest down.
    let mut reached = [0; 2];
    for count in counts.iter().rev() {
        (0..2).for_each(|kind| reached[kind] += count[kind]);
        let [false_positives, true_positives] = reached;
        let precision = true_positives as f64 / (true_positives + false_positives).max(1) as f64;
        let recall = true_positives as f64 / same as f64;
        let whole = [true_positives, false_positives, different - false_positives, same - true_positives];
        let values = whole.map(|count| count as f64).into_iter().chain([precision, recall]);
        curve.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    curve.iter_mut().for_each(|column| column.reverse());
    curve
}

#[cfg(test)]
mod tests {
    use dnc_stages::tables::Split;

    use super::*;

    #[test]
    fn pairs_are_counted_at_each_threshold() {
        // Two of one class at right angles, and one of another class opposite to the first.
        let embedded = Embedded {
            ids: vec![0, 1, 2, 3],
            labels: vec![0, 0, 1, 1],
            splits: vec![Split::Test, Split::Test, Split::Test, Split::Train],
            vectors: vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 1.0, 0.0],
            dim: 2,
            ..Embedded::default()
        };
        let curves = curves(&embedded);
        assert_eq!(curves.keys().collect::<Vec<_>>(), [&"test"], "a single training image has no pairs");
        let at = |threshold: usize| curves["test"].each_ref().map(|column| column[threshold]);
        assert_eq!(at(0), [1.0, 2.0, 0.0, 0.0, 1.0 / 3.0, 1.0]);
        assert_eq!(at(50), [1.0, 1.0, 1.0, 0.0, 0.5, 1.0]);
        assert_eq!(at(100), [1.0, 1.0, 1.0, 0.0, 0.5, 1.0]);
        assert_eq!(at(101), [0.0, 0.0, 2.0, 1.0, 0.0, 0.0]);
    }
}
