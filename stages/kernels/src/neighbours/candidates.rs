//! Lists of neighbours from candidates, where these are proved to hold all neighbours.

use rayon::prelude::*;

use super::lists::Neighbours;

/// Rows that may be near each query.
pub(crate) struct Candidates {
    /// Candidates of each query, at least one.
    pub(crate) per_query: usize,
    /// For each query, its candidates by distance, then by id, `[queries, per_query, 2]`: the id, and the bits of the squared distance.
    pub(crate) pairs: Vec<u32>,
    /// For each query, a squared distance that no other row is below; infinite if there is no other row.
    pub(crate) radii: Vec<f64>,
}

impl Candidates {
    /// The `k` nearest rows of each query without those that are `excluded`, and the queries whose lists may not be right, in
    /// their order: those where a row that is no candidate may be as near as the last one found.
    pub(crate) fn nearest(
        &self,
        k: usize,
        excluded: &(impl Fn(usize, u32) -> bool + Sync),
    ) -> (Neighbours, Vec<usize>) {
        let mut found = Neighbours::none(self.radii.len(), k);
        let queries = self.pairs.par_chunks(2 * self.per_query).zip(&self.radii);
        let lists = found.ids.par_chunks_mut(k).zip(found.distances.par_chunks_mut(k));
        let in_doubt = queries.zip(lists).enumerate().filter_map(|(query, ((pairs, &radius), (ids, distances)))| {
            let pairs = pairs.as_chunks::<2>().0.iter().filter(|[id, _]| !excluded(query, *id));
            let mut last = f32::INFINITY;
            let mut count = 0;
            for ((to_id, to_distance), [id, bits]) in ids.iter_mut().zip(distances).zip(pairs) {
                last = f32::from_bits(*bits);
                (*to_id, *to_distance) = (*id, last);
                count += 1;
            }
            let is_complete = count == k && f64::from(last) < radius;
            (radius.is_finite() && !is_complete).then_some(query)
        });
        let in_doubt = in_doubt.collect();
        (found, in_doubt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_doubt_where_another_row_may_be_as_near() {
        let pairs = |list: [(u32, f32); 3]| list.into_iter().flat_map(|(id, distance)| [id, distance.to_bits()]);
        let lists = [[(4, 0.0), (7, 1.0), (2, 1.5)], [(1, 0.5), (0, 2.0), (3, 2.0)], [(5, 1.0), (6, 2.0), (8, 3.0)]];
        let candidates = Candidates {
            per_query: 3,
            pairs: lists.into_iter().flat_map(pairs).collect(),
            radii: vec![1.25, 2.0, 9.0],
        };
        let (found, in_doubt) = candidates.nearest(2, &|query, row| query == 2 && row == 5);
        assert_eq!(found.ids, [4, 7, 1, 0, 6, 8]);
        assert_eq!(found.distances, [0.0, 1.0, 0.5, 2.0, 2.0, 3.0]);
        assert_eq!(in_doubt, [1], "the second list ends at the radius");

        let (found, in_doubt) = candidates.nearest(3, &|query, row| query == 2 && row == 5);
        assert_eq!(found.of(2), (&[6, 8][..], &[2.0, 3.0][..]));
        assert_eq!(in_doubt, [0, 1, 2], "one list is too short, two are longer than their radii");

        let (_, in_doubt) = Candidates { radii: vec![f64::INFINITY; 3], ..candidates }.nearest(3, &|_, row| row == 5);
        assert!(in_doubt.is_empty(), "there is no other row");
    }
}
