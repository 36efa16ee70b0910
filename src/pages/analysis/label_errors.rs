//! Probable label errors: images whose neighbours speak for another class than their own.
//!
//! **Formula** The support of class c for a query is Σ s(d_n) over its neighbours n of class c, divided by min(k, members of c
//! other than the query), where s(d) is the share of right neighbours at distance d ([`super::calibration`]): 1 if all images of
//! c that can be near are near. The suspicion is the largest support of another class minus that of the query's own class.

use std::collections::BTreeMap;

use super::calibration::Calibration;
use crate::pages::evidence::Catalogue;
use crate::report::answers::Answer;

/// An image that may have a wrong label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suspect {
    /// Position of the query among the answers.
    pub query: usize,
    /// The class that its neighbours speak for.
    pub proposed: u32,
    /// Support of the proposed class minus support of its own.
    pub suspicion: f64,
}

/// Images by decreasing suspicion, as far as it is above 0.
pub fn suspects(answers: &[Answer], catalogue: &Catalogue, calibration: &Calibration) -> Vec<Suspect> {
    let mut members: BTreeMap<u32, usize> = BTreeMap::new();
    answers.iter().for_each(|answer| *members.entry(answer.label).or_default() += 1);
    let mut suspects = Vec::new();
    for (query, answer) in answers.iter().enumerate() {
        let mut support: BTreeMap<u32, f64> = BTreeMap::new();
        for (&neighbour, &distance) in answer.neighbours.iter().zip(&answer.distances) {
            if let Some(label) = catalogue.label(neighbour) {
                *support.entry(label).or_default() += calibration.share_at(distance).unwrap_or(0.0);
            }
        }
        let possible = |label: u32| {
            let others = members.get(&label).copied().unwrap_or(1) - usize::from(label == answer.label);
            others.min(answer.neighbours.len()).max(1) as f64
        };
        let share = |label: u32| support.get(&label).map_or(0.0, |sum| sum / possible(label));
        let others = support.keys().filter(|&&label| label != answer.label);
        let Some(&proposed) = others.max_by(|a, b| share(**a).total_cmp(&share(**b))) else { continue };
        // A class with a single image supports nothing.
        if members.get(&proposed).is_none_or(|&members| members < 2) {
            continue;
        }
        let suspicion = share(proposed) - share(answer.label);
        if suspicion > 0.0 {
            suspects.push(Suspect { query, proposed, suspicion });
        }
    }
    suspects.sort_by(|a, b| b.suspicion.total_cmp(&a.suspicion).then(a.query.cmp(&b.query)));
    suspects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_among_those_of_another_class_is_found() {
        // Ids 0 to 4 are of class 0 and 10 to 14 of class 1; 4 lies among the latter.
        let answer = |id: u32, neighbours: [u32; 4]| Answer {
            id,
            label: id / 10,
            first_hit: None,
            average_precision: 0.0,
            neighbours: neighbours.into(),
            distances: vec![0.1, 0.2, 0.3, 0.4],
        };
        let answers = [
            answer(0, [1, 2, 3, 4]),
            answer(1, [0, 2, 3, 10]),
            answer(2, [1, 0, 3, 10]),
            answer(3, [1, 2, 0, 10]),
            answer(4, [10, 11, 12, 13]),
            answer(10, [11, 12, 13, 14]),
            answer(11, [10, 12, 13, 14]),
            answer(12, [11, 10, 13, 14]),
            answer(13, [11, 12, 10, 14]),
            answer(14, [11, 12, 13, 10]),
        ];
        let catalogue = Catalogue::of_answers(&answers);
        let found = suspects(&answers, &catalogue, &Calibration::new(&answers, &catalogue));
        assert_eq!(found.iter().map(|suspect| (suspect.query, suspect.proposed)).collect::<Vec<_>>(), [(4, 1)]);
    }
}
