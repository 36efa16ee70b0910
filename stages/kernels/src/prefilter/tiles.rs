//! Division of queries and rows into blocks and tiles.

/// Queries per block. Each block reads the gallery once, and its scores fit the second-level cache. A multiple of the 12 queries of
/// the integer kernel.
pub(crate) const BLOCK: usize = 240;

/// Rows per tile; limits are tightened between tiles.
pub(crate) const TILE: usize = 128;

/// The rows of a tile: `count` rows from `first` on, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    pub(crate) first: usize,
    pub(crate) stride: usize,
    pub(crate) count: usize,
}

impl Tile {
    /// The index of the row in `column` of the tile.
    #[inline(always)]
    pub(crate) fn row(&self, column: usize) -> usize {
        self.first + column * self.stride
    }
}

/// Divides `rows` rows into tiles: first rows 0, s, 2s, … for the stride s, then 1, s + 1, … and so on, so that every pass over the
/// rows is a sample of all of them.
pub(crate) fn tiles(rows: usize, stride: usize) -> Vec<Tile> {
    let pass = |first: usize| {
        let length = rows.saturating_sub(first).div_ceil(stride);
        (0..length).step_by(TILE).map(move |skip| Tile {
            first: first + skip * stride,
            stride,
            count: TILE.min(length - skip),
        })
    };
    (0..stride).flat_map(pass).collect()
}

/// The approximate mean of the rows of `[rows, dim]`: any vector near the mean serves as a centre.
pub(crate) fn centre(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; dim];
    // A sample is enough; reading everything would cost a tenth of the time of the prefilter.
    let step = (rows.len() / dim).div_ceil(4096).max(1);
    let sample = rows.chunks_exact(dim).step_by(step);
    let count = sample.len().max(1) as f64;
    for row in sample {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    sums.iter().map(|sum| (sum / count) as f32).collect()
}
