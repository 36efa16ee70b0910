//! The selection of a miner, as triplets or as pairs, whichever a loss needs.

use std::borrow::Cow;

use crate::pairwise::PairwiseMatrix;

/// The pairs or triplets that a miner selected. Anchors are indices into the batch, the others into the references, of which the
/// first are the images of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every pair and every triplet within the batch.
    Everything,
    /// Anchor, positive and negative.
    Triplets(Vec<[u32; 3]>),
    /// Pairs of an anchor and a positive, and pairs of an anchor and a negative.
    Pairs(Pairs),
}

/// Pairs of an anchor and another image of the batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Pairs of the same class.
    pub positives: Vec<[u32; 2]>,
    /// Pairs of different classes.
    pub negatives: Vec<[u32; 2]>,
}

impl Selection {
    /// The selection as triplets; pairs with the same anchor are joined.
    pub fn triplets(&self, labels: &[u32]) -> Cow<'_, [[u32; 3]]> {
        if let Selection::Triplets(triplets) = self {
            return Cow::Borrowed(triplets);
        }
        let pairs = self.pairs(labels);
        let mut negatives_of = vec![Vec::new(); labels.len()];
        pairs.negatives.iter().for_each(|&[anchor, negative]| negatives_of[anchor as usize].push(negative));
        let joined = pairs.positives.iter().flat_map(|&[anchor, positive]| {
            negatives_of[anchor as usize].iter().map(move |&negative| [anchor, positive, negative])
        });
        Cow::Owned(joined.collect())
    }

    /// The selection as pairs; each triplet gives a positive and a negative pair. A pair that occurs in several triplets is
    /// repeated.
    pub fn pairs(&self, labels: &[u32]) -> Cow<'_, Pairs> {
        match self {
            Selection::Pairs(pairs) => Cow::Borrowed(pairs),
            Selection::Triplets(triplets) => Cow::Owned(Pairs {
                positives: triplets.iter().map(|&[anchor, positive, _]| [anchor, positive]).collect(),
                negatives: triplets.iter().map(|&[anchor, _, negative]| [anchor, negative]).collect(),
            }),
            Selection::Everything => {
                let all = (0..labels.len() as u32).flat_map(|a| (0..labels.len() as u32).map(move |b| [a, b]));
                let (positives, negatives) =
                    all.filter(|[a, b]| a != b).partition(|&[a, b]| labels[a as usize] == labels[b as usize]);
                Cow::Owned(Pairs { positives, negatives })
            }
        }
    }

    /// Mean distance of the selected negatives to their anchors, which shows how mining changes as training proceeds; `None` if
    /// there are none.
    pub fn mean_negative_distance(&self, distances: &PairwiseMatrix, labels: &[u32]) -> Option<f64> {
        let pairs = self.pairs(labels);
        let sum: f64 = pairs.negatives.iter().map(|&[a, n]| distances.at(a as usize, n as usize)).sum();
        (!pairs.negatives.is_empty()).then(|| sum / pairs.negatives.len() as f64)
    }
}

impl Pairs {
    /// Number of pairs of both kinds.
    pub fn len(&self) -> usize {
        self.positives.len() + self.negatives.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triplets_and_pairs_convert_into_each_other() {
        let labels = [0, 0, 1];
        assert_eq!(*Selection::Everything.triplets(&labels), [[0, 1, 2], [1, 0, 2]]);
        let pairs = Selection::Everything.pairs(&labels).into_owned();
        assert_eq!(pairs.positives, [[0, 1], [1, 0]]);
        assert_eq!(pairs.negatives, [[0, 2], [1, 2], [2, 0], [2, 1]]);
        assert_eq!(*Selection::Pairs(pairs).triplets(&labels), [[0, 1, 2], [1, 0, 2]]);
        let pairs = Selection::Triplets(vec![[0, 1, 2]]).pairs(&labels).into_owned();
        assert_eq!((pairs.positives, pairs.negatives), (vec![[0, 1]], vec![[0, 2]]));
    }
}
