//! The result of a search.

/// The k nearest rows of each query.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Entries per query.
    pub k: usize,
    /// Gallery rows, nearest first, `[queries, k]`; [`Neighbours::NONE`] where a query has fewer than k.
    pub ids: Vec<u32>,
    /// Squared Euclidean distances, `[queries, k]`; infinite where a query has fewer than k.
    pub distances: Vec<f32>,
}

impl Neighbours {
    /// Placeholder where a query has no further neighbour.
    pub const NONE: u32 = u32::MAX;

    /// Empty lists for this many queries.
    pub(super) fn none(queries: usize, k: usize) -> Self {
        Self { k, ids: vec![Self::NONE; queries * k], distances: vec![f32::INFINITY; queries * k] }
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.ids.len() / self.k
    }

    /// Whether there are no queries.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The neighbours of one query and their distances, nearest first.
    pub fn of(&self, query: usize) -> (&[u32], &[f32]) {
        let ids = &self.ids[query * self.k..][..self.k];
        let found = ids.iter().position(|id| *id == Self::NONE).unwrap_or(self.k);
        (&ids[..found], &self.distances[query * self.k..][..found])
    }

    /// The neighbours of each query, in the order of the queries.
    pub fn lists(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|query| self.of(query).0)
    }
}
