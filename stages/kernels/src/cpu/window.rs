//! Which source pixel each position of a sliding window reads, for the convolution and for the gradient of its input.
//!
//! Both are gathers: for each tap of the window, an output pixel reads one source pixel or none (padding, or, with a stride, a
//! pixel that no window was centred on). The two axes are independent. Positions that read through the same taps form a
//! [`Region`]; inside one, no tap is wasted on padding, and the gradient of a strided convolution needs no special case.

/// The regular pattern of a forward axis: position `i` reads `i · stride + tap − before`.
#[derive(Debug, Clone, Copy)]
pub(super) struct RegularStep {
    pub stride: usize,
    pub before: usize,
}

/// One axis of a gather: the source index of each position and tap.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    regular_step: Option<RegularStep>,
    rotated_before: Option<usize>,
    /// Number of source indices.
    pub size: usize,
    /// Number of positions.
    pub positions: usize,
    taps: usize,
    sources: Vec<Option<usize>>, // [positions, taps]
}

impl Axis {
    /// The gather of the convolution itself: position `i`, tap `a` reads `i · stride + a − before`.
    pub(super) fn forward(size: usize, positions: usize, taps: usize, stride: usize, before: usize) -> Self {
        let step = RegularStep { stride, before };
        Self {
            regular_step: Some(step),
            ..Self::new(size, positions, taps, |position, tap| (position * stride + tap).checked_sub(before))
        }
    }

    /// The gather of the input's gradient: input `i`, tap `a` reads output position `(i + before − a) / stride` if
    /// that is a whole number.
    pub(super) fn backward(size: usize, positions: usize, taps: usize, stride: usize, before: usize) -> Self {
        Self {
            rotated_before: (taps - 1).checked_sub(before).filter(|_| stride == 1),
            ..Self::new(positions, size, taps, |input, tap| {
                let reach = (input + before).checked_sub(tap)?;
                reach.is_multiple_of(stride).then_some(reach / stride)
            })
        }
    }

    fn new(size: usize, positions: usize, taps: usize, source: impl Fn(usize, usize) -> Option<usize>) -> Self {
        let sources = (0..positions)
            .flat_map(|position| (0..taps).map(move |tap| (position, tap)))
            .map(|(position, tap)| source(position, tap).filter(|&source| source < size))
            .collect();
        Self { regular_step: None, rotated_before: None, size, positions, taps, sources }
    }

    /// The pattern of a forward axis; `None` for a backward axis.
    pub(super) fn regular_step(&self) -> Option<RegularStep> {
        self.regular_step
    }

    /// Number of taps.
    pub(super) fn taps(&self) -> usize {
        self.taps
    }

    /// The source index of a position and tap.
    pub(super) fn source(&self, position: usize, tap: usize) -> Option<usize> {
        self.sources[position * self.taps + tap]
    }

    /// Number of pairs of a position and a tap that have a source.
    pub(super) fn reads(&self) -> usize {
        self.sources.iter().flatten().count()
    }

    /// Positions grouped by the taps that they read through, in order of first appearance.
    fn classes(&self) -> Vec<PositionClass> {
        let mut classes: Vec<PositionClass> = Vec::new();
        for position in 0..self.positions {
            let taps: Vec<usize> = (0..self.taps).filter(|&tap| self.source(position, tap).is_some()).collect();
            let class = classes.iter_mut().find(|class| class.taps == taps);
            match class {
                Some(class) => class.positions.push(position),
                None => classes.push(PositionClass { taps, positions: vec![position] }),
            }
        }
        classes
    }
}

/// A batch of images and how its pixels are gathered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gather<'a> {
    /// `[batch, vertical.size, horizontal.size, channels]`.
    pub source: &'a [f32],
    /// Number of images.
    pub batch: usize,
    /// Channels of the source, over all groups: the distance between two pixels.
    pub channels: usize,
    /// Values that each tap reads: the channels of one group.
    pub depth: usize,
    /// Columns of the output, over all groups.
    pub columns: usize,
    /// Rows of the plane.
    pub vertical: &'a Axis,
    /// Columns of the plane.
    pub horizontal: &'a Axis,
}

impl Gather<'_> {
    /// Index of the first value that a tap reads at a position of an image.
    ///
    /// # Panics
    /// If the tap has no source there.
    pub(super) fn source_of(&self, image: usize, (i, j): (usize, usize), (a, b): (usize, usize)) -> usize {
        match (self.vertical.source(i, a), self.horizontal.source(j, b)) {
            (Some(y), Some(x)) => ((image * self.vertical.size + y) * self.horizontal.size + x) * self.channels,
            _ => unreachable!("a tap is read only where it has a source"),
        }
    }
}

/// Replaces the backward gather of stride 1 by the forward gather of the window rotated by 180°, which is regular. Returns
/// whether that was possible: padding larger than the window has no such form.
pub(super) fn rotate_window(vertical: &mut Axis, horizontal: &mut Axis) -> bool {
    let rotated = |axis: &Axis| {
        let before = axis.rotated_before?;
        Some(Axis::forward(axis.size, axis.positions, axis.taps, 1, before))
    };
    let (Some(down), Some(across)) = (rotated(vertical), rotated(horizontal)) else {
        return false;
    };
    (*vertical, *horizontal) = (down, across);
    true
}

/// Positions of one axis that read through the same taps.
#[derive(Debug, Clone)]
struct PositionClass {
    taps: Vec<usize>,
    positions: Vec<usize>,
}

/// Positions of the output plane that all read through the same taps.
#[derive(Debug, Clone)]
pub(super) struct Region {
    /// Rows of the plane.
    pub rows: Vec<usize>,
    /// Columns of the plane.
    pub columns: Vec<usize>,
    /// The taps, as (vertical, horizontal); none if the positions read nothing.
    pub taps: Vec<(usize, usize)>,
}

/// Divides the output plane of a gather into its regions.
pub(super) fn regions(vertical: &Axis, horizontal: &Axis) -> Vec<Region> {
    let across = horizontal.classes();
    let mut regions = Vec::new();
    for down in vertical.classes() {
        for across in &across {
            let taps = down.taps.iter().flat_map(|&a| across.taps.iter().map(move |&b| (a, b))).collect();
            regions.push(Region { rows: down.positions.clone(), columns: across.positions.clone(), taps });
        }
    }
    regions
}

/// The reads of each output pixel of row `i` as (source pixel, tap), and the end of each output pixel's reads in that list.
pub(super) fn reads(gather: &Gather, image: usize, i: usize) -> (Vec<(*const f32, usize)>, Vec<usize>) {
    let (vertical, horizontal) = (gather.vertical, gather.horizontal);
    let (mut reads, mut ends) = (Vec::new(), Vec::new());
    for j in 0..horizontal.positions {
        for a in 0..vertical.taps() {
            let Some(y) = vertical.source(i, a) else {
                continue;
            };
            for b in 0..horizontal.taps() {
                if let Some(x) = horizontal.source(j, b) {
                    let at = ((image * vertical.size + y) * horizontal.size + x) * gather.channels;
                    let tap = a * horizontal.taps() + b;
                    reads.push((gather.source[at..].as_ptr(), tap));
                }
            }
        }
        ends.push(reads.len());
    }
    (reads, ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backward_axis_is_the_transpose_of_the_forward_axis() {
        for (size, taps, stride, before, after) in
            [(7, 3, 1, 1, 1), (8, 3, 2, 0, 1), (9, 7, 2, 3, 3), (5, 1, 2, 0, 0), (2, 5, 1, 2, 2)]
        {
            let positions = (size + before + after - taps) / stride + 1;
            let forward = Axis::forward(size, positions, taps, stride, before);
            let backward = Axis::backward(size, positions, taps, stride, before);
            for tap in 0..taps {
                for position in 0..positions {
                    for input in 0..size {
                        assert_eq!(
                            forward.source(position, tap) == Some(input),
                            backward.source(input, tap) == Some(position)
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn regions_cover_the_plane_once() {
        let axis = Axis::forward(9, 5, 7, 2, 3);
        let regions = regions(&axis, &axis);
        let mut seen = vec![0; 25];
        for region in &regions {
            for &i in &region.rows {
                for &j in &region.columns {
                    seen[i * 5 + j] += 1;
                    for &(a, b) in &region.taps {
                        assert!(axis.source(i, a).is_some() && axis.source(j, b).is_some());
                    }
                }
            }
        }
        assert_eq!(seen, vec![1; 25]);
    }
}
