//! Hubs: images that are a neighbour of many queries, and images that are a neighbour of none.
//!
//! **Formula** N_k(x) is the number of queries that have x among their k nearest images; its mean is k. The skewness of N_k over
//! the images tells how strong hubs are: 0 for none, above 1 for many.
//!
//! **Source** Radovanović et al., *Hubs in space*, 2010.

use std::collections::BTreeMap;

use crate::report::answers::Answer;

/// An image that is a neighbour of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hub {
    /// The image.
    pub id: u32,
    /// N_k.
    pub occurrences: usize,
    /// Number of those queries that are of its class.
    pub right: usize,
}

/// The hubs of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hubs {
    /// Images by decreasing N_k.
    pub images: Vec<Hub>,
    /// The k: number of neighbours that were kept per query.
    pub k: usize,
    /// Skewness of N_k.
    pub skewness: f64,
    /// Number of queries that are a neighbour of no other.
    pub never: usize,
}

/// Counts how often each image is a neighbour.
pub fn hubs(answers: &[Answer], label: impl Fn(u32) -> Option<u32>) -> Hubs {
    let mut counts: BTreeMap<u32, (usize, usize)> = answers.iter().map(|answer| (answer.id, (0, 0))).collect();
    for answer in answers {
        for &neighbour in &answer.neighbours {
            let (occurrences, right) = counts.entry(neighbour).or_default();
            *occurrences += 1;
            *right += usize::from(label(neighbour) == Some(answer.label));
        }
    }
    let n = counts.len().max(1) as f64;
    let mean = counts.values().map(|count| count.0 as f64).sum::<f64>() / n;
    let moment = |power: i32| counts.values().map(|count| (count.0 as f64 - mean).powi(power)).sum::<f64>() / n;
    let (variance, third) = (moment(2), moment(3));
    let skewness = if variance > 0.0 { third / variance.powf(1.5) } else { 0.0 };
    let never = counts.values().filter(|count| count.0 == 0).count();
    let mut images: Vec<Hub> =
        counts.into_iter().map(|(id, (occurrences, right))| Hub { id, occurrences, right }).collect();
    images.sort_by_key(|hub| (usize::MAX - hub.occurrences, hub.id));
    let k = answers.iter().map(|answer| answer.neighbours.len()).max().unwrap_or(0);
    Hubs { images, k, skewness, never }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_that_everyone_finds_comes_first() {
        let answer = |id, neighbours: &[u32]| Answer {
            id,
            label: id % 2,
            first_hit: None,
            average_precision: 0.0,
            neighbours: neighbours.to_vec(),
            distances: vec![0.1; neighbours.len()],
        };
        let answers = [answer(0, &[1]), answer(1, &[0]), answer(2, &[0]), answer(3, &[0])];
        let hubs = hubs(&answers, |id| Some(id % 2));
        assert_eq!(hubs.images[0], Hub { id: 0, occurrences: 3, right: 1 });
        assert_eq!((hubs.k, hubs.never), (1, 2));
        // N_k = 3, 1, 0, 0: mean 1, variance 1.5, third moment (8 + 0 − 1 − 1) / 4 = 1.5.
        assert!((hubs.skewness - 1.5 / 1.5f64.powf(1.5)).abs() < 1e-12);
    }
}
