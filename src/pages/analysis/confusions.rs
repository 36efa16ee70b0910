//! Classes that are mistaken for each other.
//!
//! A *confusion* is a query whose nearest image is of another class. A pair of classes counts confusions in both directions; its
//! rate is their share of the queries of both classes.

use std::collections::{BTreeMap, BTreeSet};

use crate::pages::evidence::Catalogue;
use crate::report::answers::Answer;

/// Two classes that are mistaken for each other.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfusedPair {
    /// The classes; more confusions go from the first to the second than back.
    pub labels: [u32; 2],
    /// Confusions from the first to the second, and from the second to the first.
    pub counts: [usize; 2],
    /// Confusions as a share of the queries of both classes.
    pub rate: f64,
    /// The confusion with the smallest distance: position of the query among the answers.
    pub example: usize,
}

/// Confusions among some classes, as a matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfusionMatrix {
    /// The classes, those that are confused side by side.
    pub labels: Vec<u32>,
    /// Share of the queries of the row's class whose nearest image is of the column's class, row by row.
    pub shares: Vec<f64>,
}

/// All confused pairs, the strongest first.
pub fn pairs(answers: &[Answer], catalogue: &Catalogue) -> Vec<ConfusedPair> {
    let mut queries: BTreeMap<u32, usize> = BTreeMap::new();
    // By pair, the smaller label first: counts in both directions and the example.
    let mut found: BTreeMap<[u32; 2], ([usize; 2], usize)> = BTreeMap::new();
    for (position, answer) in answers.iter().enumerate() {
        *queries.entry(answer.label).or_default() += 1;
        let Some(other) = answer.neighbours.first().and_then(|&id| catalogue.label(id)) else { continue };
        if other == answer.label {
            continue;
        }
        let is_forward = answer.label < other;
        let key = if is_forward { [answer.label, other] } else { [other, answer.label] };
        let (counts, example) = found.entry(key).or_insert(([0; 2], position));
        counts[usize::from(!is_forward)] += 1;
        if answer.distances.first() < answers[*example].distances.first() {
            *example = position;
        }
    }
    let mut pairs: Vec<ConfusedPair> = found
        .into_iter()
        .map(|(mut labels, (mut counts, example))| {
            let total: usize = labels.iter().map(|label| queries.get(label).copied().unwrap_or(0)).sum();
            let rate = (counts[0] + counts[1]) as f64 / total.max(1) as f64;
            if counts[1] > counts[0] {
                labels.reverse();
                counts.reverse();
            }
            ConfusedPair { labels, counts, rate, example }
        })
        .collect();
    let total = |pair: &ConfusedPair| pair.counts[0] + pair.counts[1];
    pairs.sort_by(|a, b| {
        (total(b).cmp(&total(a))).then(b.rate.total_cmp(&a.rate)).then_with(|| {
            let distance =
                |pair: &ConfusedPair| answers[pair.example].distances.first().copied().unwrap_or(f32::INFINITY);
            distance(a).total_cmp(&distance(b)).then(a.labels.cmp(&b.labels))
        })
    });
    pairs
}

/// The matrix of at most `most` classes: those of the strongest pairs. Classes that are confused stand side by side: each class
/// is followed by the one that it is confused with most among those left.
pub fn matrix(answers: &[Answer], catalogue: &Catalogue, pairs: &[ConfusedPair], most: usize) -> ConfusionMatrix {
    let mut chosen: BTreeSet<u32> = BTreeSet::new();
    for pair in pairs {
        let new = pair.labels.iter().filter(|label| !chosen.contains(label)).count();
        if chosen.len() + new <= most {
            chosen.extend(pair.labels);
        }
    }
    let mut strength: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| pair.labels.iter().all(|label| chosen.contains(label))) {
        let [a, b] = pair.labels;
        strength.insert((a, b), pair.counts[0] + pair.counts[1]);
        strength.insert((b, a), pair.counts[0] + pair.counts[1]);
    }
    let mut labels: Vec<u32> = Vec::with_capacity(chosen.len());
    while let Some(&first) = chosen.first() {
        let next = labels.last().and_then(|last| {
            let to = |label: &&u32| strength.get(&(*last, **label)).copied().unwrap_or(0);
            chosen.iter().max_by_key(to).filter(|label| to(label) > 0).copied()
        });
        let next = next.unwrap_or(first);
        chosen.remove(&next);
        labels.push(next);
    }
    let position: BTreeMap<u32, usize> = labels.iter().enumerate().map(|(at, &label)| (label, at)).collect();
    let side = labels.len();
    let mut shares = vec![0.0; side * side];
    let mut queries = vec![0usize; side];
    for answer in answers {
        let Some(&row) = position.get(&answer.label) else { continue };
        queries[row] += 1;
        let nearest = answer.neighbours.first().and_then(|&id| catalogue.label(id));
        if let Some(&column) = nearest.as_ref().and_then(|label| position.get(label)) {
            shares[row * side + column] += 1.0;
        }
    }
    for (row, &count) in queries.iter().enumerate() {
        shares[row * side..][..side].iter_mut().for_each(|share| *share /= count.max(1) as f64);
    }
    ConfusionMatrix { labels, shares }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids 0 to 3 are of class 0, 10 to 13 of class 1, 20 to 23 of class 2.
    fn answer(id: u32, nearest: u32, distance: f32) -> Answer {
        let label = id / 10;
        let first_hit = (nearest / 10 == label).then_some(1);
        Answer { id, label, first_hit, average_precision: 0.0, neighbours: vec![nearest], distances: vec![distance] }
    }

    #[test]
    fn pairs_count_both_directions_and_show_the_nearest() {
        let answers = [
            answer(0, 10, 0.3),
            answer(1, 2, 0.1),
            answer(2, 20, 0.2),
            answer(10, 11, 0.1),
            answer(11, 0, 0.5),
            answer(12, 1, 0.1),
            answer(20, 21, 0.1),
            answer(21, 20, 0.1),
        ];
        let catalogue = Catalogue::of_answers(&answers);
        let pairs = pairs(&answers, &catalogue);
        assert_eq!(pairs[0], ConfusedPair { labels: [1, 0], counts: [2, 1], rate: 0.5, example: 5 });
        assert_eq!(pairs[1], ConfusedPair { labels: [0, 2], counts: [1, 0], rate: 0.2, example: 2 });
        let matrix = matrix(&answers, &catalogue, &pairs, 3);
        assert_eq!(matrix.labels, [0, 1, 2]);
        let third = 1.0 / 3.0;
        assert_eq!(matrix.shares, [third, third, third, 2.0 * third, third, 0.0, 0.0, 0.0, 1.0]);
    }
}
