//! Weights packed for [`super::microkernel::RowTiles`]: panels of columns, each contiguous over the inner dimension.
//!
//! Layout: `[panel][inner][columns of the panel, padded with zeros to whole vectors]`. Columns are distributed evenly, so that
//! five vectors become 3 + 2 and not 4 + 1: a narrow tile has more loads per product.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::simd::Level;

/// The columns of one panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panel {
    /// First column.
    pub start: usize,
    /// Columns in use.
    pub columns: usize,
    /// Stored columns, a whole number of vectors.
    pub width: usize,
}

/// The panels that `columns` are divided into on an instruction set.
pub(super) fn panels(level: Level, columns: usize) -> Vec<Panel> {
    let lanes = level.lanes();
    let vectors = columns.div_ceil(lanes);
    let count = vectors.div_ceil(level.tile_vectors());
    (0..count)
        .map(|index| {
            let first = index * vectors / count;
            let end = (index + 1) * vectors / count;
            let start = first * lanes;
            Panel { start, columns: (end * lanes).min(columns) - start, width: (end - first) * lanes }
        })
        .collect()
}

/// A packed matrix `[inner, columns]`.
#[derive(Debug)]
pub(super) struct PackedMatrix {
    values: Vec<f32>,
    panels: Vec<Panel>,
    inner: usize,
}

impl PackedMatrix {
    /// Packs what `fill` writes. It receives each panel with its `[inner, width]` values, uninitialised except for the zeros
    /// after the columns in use.
    ///
    /// # Safety
    /// `fill` writes the columns in use of every row.
    pub(super) unsafe fn new(
        level: Level,
        inner: usize,
        columns: usize,
        fill: impl Fn(Panel, &mut [MaybeUninit<f32>]) + Sync,
    ) -> Self {
        let panels = panels(level, columns);
        let width: usize = panels.iter().map(|panel| panel.width).sum();
        let mut values = Vec::with_capacity(inner * width);
        let mut parts = Vec::with_capacity(panels.len());
        let mut rest = &mut values.spare_capacity_mut()[..inner * width];
        for &panel in &panels {
            let (part, remaining) = rest.split_at_mut(inner * panel.width);
            parts.push((panel, part));
            rest = remaining;
        }
        parts.into_par_iter().for_each(|(panel, part)| {
            for row in part.chunks_exact_mut(panel.width) {
                row[panel.columns..].fill(MaybeUninit::new(0.0));
            }
            fill(panel, part);
        });
        // SAFETY: the parts cover all values, and of each the zeros and `fill` together write every value.
        unsafe { values.set_len(inner * width) };
        Self { values, panels, inner }
    }

    /// Rows of the matrix.
    pub(super) fn inner(&self) -> usize {
        self.inner
    }

    /// The values of one panel.
    pub(super) fn panel(&self, panel: Panel) -> &[f32] {
        &self.values[panel.start * self.inner..][..panel.width * self.inner]
    }

    /// The panels, each with its values.
    pub(super) fn panels(&self) -> impl Iterator<Item = (Panel, &[f32])> {
        self.panels.iter().map(|&panel| (panel, self.panel(panel)))
    }
}
