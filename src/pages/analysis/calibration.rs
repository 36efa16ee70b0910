//! What a distance means in this run: the share of right neighbours at that distance.
//!
//! **Formula** All neighbours of all queries are sorted by distance and cut into bins of equal size; the share of right ones is
//! interpolated between the mean distances of the bins. It need not decrease: near-duplicates of different classes are closest.

use crate::pages::evidence::Catalogue;
use crate::report::answers::Answer;

/// Number of bins, if there are enough neighbours.
const BINS: usize = 50;
/// Neighbours per bin below which there are fewer bins.
const SMALLEST_BIN: usize = 20;

/// The share of right neighbours at each distance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// Mean distance and share, by increasing distance.
    points: Vec<(f64, f64)>,
}

impl Calibration {
    /// The calibration of these answers.
    pub fn new(answers: &[Answer], catalogue: &Catalogue) -> Self {
        let mut pairs: Vec<(f32, bool)> = Vec::new();
        for answer in answers {
            for (&neighbour, &distance) in answer.neighbours.iter().zip(&answer.distances) {
                if let Some(label) = catalogue.label(neighbour) {
                    pairs.push((distance, label == answer.label));
                }
            }
        }
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let bins = (pairs.len() / SMALLEST_BIN).clamp(1, BINS);
        let point = |bin: usize| {
            let members = &pairs[bin * pairs.len() / bins..(bin + 1) * pairs.len() / bins];
            let count = members.len() as f64;
            let distance = members.iter().map(|pair| f64::from(pair.0)).sum::<f64>() / count;
            (distance, members.iter().filter(|pair| pair.1).count() as f64 / count)
        };
        Self { points: if pairs.is_empty() { Vec::new() } else { (0..bins).map(point).collect() } }
    }

    /// The share of right neighbours at `distance`; `None` if nothing is known.
    pub fn share_at(&self, distance: f32) -> Option<f64> {
        let distance = f64::from(distance);
        let after = self.points.partition_point(|point| point.0 < distance);
        match (after.checked_sub(1).and_then(|before| self.points.get(before)), self.points.get(after)) {
            (Some(a), Some(b)) => Some(a.1 + (b.1 - a.1) * (distance - a.0) / (b.0 - a.0)),
            (Some(end), None) | (None, Some(end)) => Some(end.1),
            (None, None) => None,
        }
    }

    /// Mean distance and share of each bin.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(right_until: f32) -> Vec<Answer> {
        (0..100)
            .map(|query| {
                let distance = |rank: u32| (query + rank * 100) as f32 / 1000.0;
                Answer {
                    id: query,
                    label: 0,
                    first_hit: None,
                    average_precision: 0.0,
                    neighbours: (0..10).map(|rank| if distance(rank) < right_until { 0 } else { 200 }).collect(),
                    distances: (0..10).map(distance).collect(),
                }
            })
            .collect()
    }

    #[test]
    fn a_clear_limit_is_found() {
        let answers = answers(0.4);
        let mut all = answers.clone();
        all.push(Answer { id: 200, label: 1, ..answers[0].clone() });
        all.last_mut().unwrap().neighbours.clear();
        let calibration = Calibration::new(&all, &Catalogue::of_answers(&all));
        assert_eq!(calibration.share_at(0.1), Some(1.0));
        assert_eq!(calibration.share_at(0.0), Some(1.0));
        assert_eq!(calibration.share_at(0.9), Some(0.0));
        let middle = calibration.share_at(0.4).unwrap();
        assert!((0.2..0.8).contains(&middle), "{middle}");
        assert!(calibration.points().is_sorted_by(|a, b| a.0 <= b.0));
        assert_eq!(Calibration::new(&[], &Catalogue::default()).share_at(1.0), None);
    }
}
