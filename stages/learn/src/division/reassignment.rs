//! Re-assignment: each learner gets the new cluster that is most similar to its previous one.
//!
//! Formula: of all one-to-one matchings π of new to previous clusters, the one with the most images i for which
//! `π(new_i) = previous_i` (the assignment problem, solved by the Hungarian algorithm).
//! Source: DC19; Kuhn 1955 and Munkres 1957 for the algorithm.
//!
//! The rows of the matrix are the *new* clusters and the columns the previous ones, so that the solution for a row is the
//! previous cluster whose number the new one takes. Transposed, the matching would be inverted. This does not show with two
//! clusters, since swapping them is its own inverse, but for a cycle of three clusters no image would keep its learner.

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

/// The number that each of `clusters` new clusters takes: that of the previous cluster matched with it. Images that were pruned
/// in the previous round do not count.
pub fn reassignment(new: &[u32], previous: &[i32], clusters: usize) -> Vec<usize> {
    let mut shared = Matrix::new(clusters, clusters, 0i64);
    for (&new, &previous) in new.iter().zip(previous) {
        if let Ok(previous) = usize::try_from(previous) {
            shared[(new as usize, previous)] += 1;
        }
    }
    kuhn_munkres(&shared).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Number of images that keep their learner.
    fn kept(new: &[u32], last: &[i32], names: &[usize]) -> usize {
        new.iter().zip(last).filter(|&(&new, &last)| names[new as usize] as i32 == last).count()
    }

    #[test]
    fn a_cycle_of_three_keeps_all_sixty_images() {
        let last: Vec<i32> = (0..60).map(|image| image / 20).collect();
        let new: Vec<u32> = last.iter().map(|&cluster| (cluster as u32 + 1) % 3).collect();
        let names = reassignment(&new, &last, 3);
        assert_eq!(kept(&new, &last, &names), 60);
        let mut transposed = [0; 3];
        names.iter().enumerate().for_each(|(new, &last)| transposed[last] = new);
        assert_eq!(kept(&new, &last, &transposed), 0, "the published code, which transposes the matrix, keeps none");
    }

    fn permutations(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![vec![]];
        }
        let shorter = permutations(n - 1);
        let insert = |at: usize| {
            shorter.iter().map(move |rest| {
                let mut longer = rest.clone();
                longer.insert(at, n - 1);
                longer
            })
        };
        (0..n).flat_map(insert).collect()
    }

    proptest! {
        #[test]
        fn no_other_matching_keeps_more(pairs in prop::collection::vec((0u32..5, -1i32..5), 0..60)) {
            let (new, last): (Vec<u32>, Vec<i32>) = pairs.into_iter().unzip();
            let names = reassignment(&new, &last, 5);
            let mut sorted = names.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, [0, 1, 2, 3, 4]);
            let best = permutations(5).iter().map(|names| kept(&new, &last, names)).max();
            prop_assert_eq!(Some(kept(&new, &last, &names)), best);
        }
    }
}
