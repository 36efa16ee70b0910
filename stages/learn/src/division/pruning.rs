//! Pruning: an image that is the only one of its class in its cluster has no positive there, so no learner trains on it.

use std::collections::BTreeMap;

/// Assignment of an image that no learner trains on.
pub const PRUNED: i32 = -1;

/// The assignments, with [`PRUNED`] for images that are the only one of their class in their cluster.
pub(super) fn prune(assignments: &[u32], labels: &[u32]) -> Vec<i32> {
    let mut images = BTreeMap::<(u32, u32), usize>::new();
    for key in assignments.iter().copied().zip(labels.iter().copied()) {
        *images.entry(key).or_default() += 1;
    }
    let pairs = assignments.iter().copied().zip(labels.iter().copied());
    pairs.map(|key| if images[&key] == 1 { PRUNED } else { key.0 as i32 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_image_of_a_class_in_a_cluster_is_pruned() {
        let found = prune(&[0, 0, 0, 1, 1, 1], &[5, 5, 6, 6, 7, 7]);
        assert_eq!(found, [0, 0, PRUNED, PRUNED, 1, 1]);
    }
}
