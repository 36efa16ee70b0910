//! Weights packed for [`crate::tile::RowTile`]: panels of columns, each contiguous over the inner dimension.
//!
//! Layout: `[panel][tap][depth][columns of the panel, filled up with zeros to whole vectors]`. Columns are shared out evenly, so
//! that five vectors become 3 + 2 and not 4 + 1: a narrow tile loads more for each product.

use rayon::prelude::*;

use crate::simd::Level;

/// The columns of one panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panel {
    /// First column.
    pub start: usize,
    /// Columns in use.
    pub columns: usize,
    /// Columns as stored, a whole number of vectors.
    pub width: usize,
}

/// How `columns` are cut into panels on an instruction set.
pub(crate) fn panels(level: Level, columns: usize) -> Vec<Panel> {
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

/// A packed weight of `taps` matrices `[depth, columns]`.
#[derive(Debug)]
pub(crate) struct Packed {
    values: Vec<f32>,
    panels: Vec<Panel>,
    inner: usize,
}

impl Packed {
    /// Packs a weight that lies in memory as `view` says.
    pub(crate) fn new(level: Level, taps: usize, depth: usize, columns: usize, view: WeightView) -> Self {
        let panels = panels(level, columns);
        let inner = taps * depth;
        let width: usize = panels.iter().map(|panel| panel.width).sum();
        let mut values = vec![0.0; inner * width];
        let mut parts = Vec::with_capacity(panels.len());
        let mut rest = values.as_mut_slice();
        for &panel in &panels {
            let (part, behind) = rest.split_at_mut(inner * panel.width);
            parts.push((panel, part));
            rest = behind;
        }
        parts.into_par_iter().for_each(|(panel, part)| view.pack(panel, taps, depth, part));
        Self { values, panels, inner }
    }

    /// A weight of `taps` matrices made from this one panel by panel: `map(width, from, to)` gets all taps of a panel.
    pub(crate) fn map_taps(
        &self,
        own_taps: usize,
        taps: usize,
        map: impl Fn(usize, &[f32], &mut [f32]) + Sync,
    ) -> Self {
        let inner = self.inner / own_taps * taps;
        let mut values = vec![0.0; self.values.len() / own_taps * taps];
        let mut parts = Vec::with_capacity(self.panels.len());
        let mut rest = values.as_mut_slice();
        for (panel, from) in self.panels() {
            let (part, behind) = rest.split_at_mut(inner * panel.width);
            parts.push((panel.width, from, part));
            rest = behind;
        }
        parts.into_par_iter().for_each(|(width, from, to)| map(width, from, to));
        Self { values, panels: self.panels.clone(), inner }
    }

    /// The panels, each with its weights.
    pub(crate) fn panels(&self) -> impl Iterator<Item = (Panel, &[f32])> {
        self.panels.iter().map(|&panel| {
            let start = panel.start * self.inner;
            (panel, &self.values[start..start + panel.width * self.inner])
        })
    }
}

/// Where the values of a weight lie, and what each is multiplied with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightView<'a> {
    /// The values.
    pub values: &'a [f32],
    /// Distance of two taps.
    pub tap: usize,
    /// Distance of two values along the inner dimension.
    pub depth: usize,
    /// Distance of two columns.
    pub column: usize,
    /// Whether the taps are packed in reverse order: the window turned by 180°.
    pub turned: bool,
    /// Factors per column or per inner index: a frozen batch-norm's scale folded into the weight.
    pub scale: Scale<'a>,
}

/// Factors folded into a weight.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scale<'a> {
    /// None.
    One,
    /// One per column.
    Columns(&'a [f32]),
    /// One per inner index.
    Depth(&'a [f32]),
}

impl WeightView<'_> {
    fn pack(&self, panel: Panel, taps: usize, depth: usize, part: &mut [f32]) {
        // Blocks of the inner dimension keep the written lines in the cache while the columns are walked.
        const BLOCK: usize = 64;
        for tap in 0..taps {
            let source_tap = if self.turned { taps - 1 - tap } else { tap };
            let rows = &mut part[tap * depth * panel.width..][..depth * panel.width];
            for (block, rows) in rows.chunks_mut(BLOCK * panel.width).enumerate() {
                let first = block * BLOCK;
                for o in 0..panel.columns {
                    let column = panel.start + o;
                    let from = source_tap * self.tap + column * self.column + first * self.depth;
                    let source = self.values[from..].iter().step_by(self.depth);
                    let targets = rows.iter_mut().skip(o).step_by(panel.width);
                    match self.scale {
                        Scale::One => targets.zip(source).for_each(|(to, &value)| *to = value),
                        Scale::Columns(scale) => {
                            let scale = scale[column];
                            targets.zip(source).for_each(|(to, &value)| *to = value * scale);
                        }
                        Scale::Depth(scale) => targets
                            .zip(source)
                            .zip(&scale[first..])
                            .for_each(|((to, &value), scale)| *to = value * scale),
                    }
                }
            }
        }
    }
}
