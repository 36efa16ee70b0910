//! Images with their vectors.

use dnc_tables::Split;

/// Images with their vectors.
#[derive(Clone, Default)]
pub(super) struct EmbeddedImages {
    pub(super) ids: Vec<u32>,
    pub(super) labels: Vec<u32>,
    pub(super) splits: Vec<Split>,
    /// Only if cameras are used; an image may have none.
    pub(super) cameras: Option<Vec<Option<u16>>>,
    /// `[images, dim]`.
    pub(super) vectors: Vec<f32>,
    pub(super) dim: usize,
}

impl EmbeddedImages {
    /// The rows of a split.
    pub(super) fn rows_of(&self, split: Split) -> Vec<usize> {
        (0..self.ids.len()).filter(|&row| self.splits[row] == split).collect()
    }

    /// Whether several rows are given and all of them have the same vector.
    pub(super) fn are_equal(&self, rows: &[usize]) -> bool {
        let vector = |row: usize| &self.vectors[row * self.dim..][..self.dim];
        rows.len() > 1 && rows.windows(2).all(|pair| vector(pair[0]) == vector(pair[1]))
    }

    /// Whether all of these rows have the same class.
    pub(super) fn have_one_class(&self, rows: &[usize]) -> bool {
        !rows.is_empty() && rows.windows(2).all(|pair| self.labels[pair[0]] == self.labels[pair[1]])
    }

    /// The images in these rows.
    pub(super) fn select(&self, rows: &[usize]) -> Self {
        Self {
            ids: rows.iter().map(|&row| self.ids[row]).collect(),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            splits: rows.iter().map(|&row| self.splits[row]).collect(),
            cameras: self.cameras.as_ref().map(|cameras| rows.iter().map(|&row| cameras[row]).collect()),
            vectors: rows.iter().flat_map(|&row| &self.vectors[row * self.dim..][..self.dim]).copied().collect(),
            dim: self.dim,
        }
    }

    /// The same images with other vectors.
    pub(super) fn with_vectors(&self, (vectors, dim): (Vec<f32>, usize)) -> Self {
        let Self { ids, labels, splits, cameras, .. } = self;
        Self {
            ids: ids.clone(),
            labels: labels.clone(),
            splits: splits.clone(),
            cameras: cameras.clone(),
            vectors,
            dim,
        }
    }
}
