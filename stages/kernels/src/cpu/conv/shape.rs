//! Sizes that follow from a convolution's geometry, and how its kernels read the input.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::cpu::window::{Axis, Gather};
use crate::cpu::winograd::tiles::{TiledImages, is_faster_than_direct};
use crate::geometry::{Conv2d, ConvGeometry, Padding};

/// Largest number of channels for which a row of the window is read as one piece; with more, the channels of one pixel fill the
/// register tile.
const FEW_CHANNELS: usize = 4;

impl ConvGeometry {
    pub(super) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Channels of one group.
    pub(super) fn depth(&self) -> usize {
        self.channels / self.options.groups
    }

    /// Output channels of one group.
    pub(super) fn columns(&self) -> usize {
        self.out[3] / self.options.groups
    }

    pub(super) fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    pub(super) fn output_len(&self) -> usize {
        self.out.iter().product()
    }

    pub(super) fn is_depthwise(&self) -> bool {
        self.depth() == 1 && self.columns() == 1 && self.options.groups > 1
    }

    /// How each output pixel reads the input.
    pub(super) fn forward_axes(&self) -> (Axis, Axis) {
        let Conv2d { stride, padding, .. } = self.options;
        (
            Axis::forward(self.height, self.out[1], self.kernel.0, stride, padding.top),
            Axis::forward(self.width, self.out[2], self.kernel.1, stride, padding.left),
        )
    }

    /// How each input pixel reads the gradient of the output.
    pub(super) fn backward_axes(&self) -> (Axis, Axis) {
        let Conv2d { stride, padding, .. } = self.options;
        (
            Axis::backward(self.height, self.out[1], self.kernel.0, stride, padding.top),
            Axis::backward(self.width, self.out[2], self.kernel.1, stride, padding.left),
        )
    }

    /// The input of the Winograd kernel, if that is faster than the direct one.
    pub(super) fn winograd_forward<'a>(&self, x: &'a [f32]) -> Option<TiledImages<'a>> {
        let padding = self.options.padding;
        let images = TiledImages {
            source: x,
            batch: self.batch,
            height: self.height,
            width: self.width,
            channels: self.channels,
            before: (padding.top, padding.left),
            out: (self.out[1], self.out[2]),
        };
        self.winograd_is_faster(&images).then_some(images)
    }

    /// The input of the Winograd kernel for the gradient of the input, if that is faster: the output's gradient under the rotated
    /// window.
    pub(super) fn winograd_backward<'a>(&self, dz: &'a [f32]) -> Option<TiledImages<'a>> {
        let Padding { top, left, .. } = self.options.padding;
        let images = TiledImages {
            source: dz,
            batch: self.batch,
            height: self.out[1],
            width: self.out[2],
            channels: self.out[3],
            before: (2usize.checked_sub(top)?, 2usize.checked_sub(left)?),
            out: (self.height, self.width),
        };
        self.winograd_is_faster(&images).then_some(images)
    }

    fn winograd_is_faster(&self, images: &TiledImages) -> bool {
        let fits = self.kernel == (3, 3) && self.options.stride == 1 && self.options.groups == 1;
        let (vertical, horizontal) = self.forward_axes();
        let direct = self.batch * vertical.reads() * horizontal.reads();
        fits && is_faster_than_direct(direct, images.tiles(), self.channels, self.out[3])
    }

    /// The input of the direct and the depthwise kernel.
    pub(super) fn input<'a>(&self, x: &'a [f32]) -> ConvInput<'a> {
        if self.channels <= FEW_CHANNELS && self.kernel.1 > 1 && self.options.groups == 1 {
            return self.input_of_rows(x);
        }
        let (vertical, horizontal) = self.forward_axes();
        ConvInput { source: Cow::Borrowed(x), vertical, horizontal, depth: self.depth() }
    }

    /// The padded image, of which each tap reads a whole row of the window. With few channels a row is contiguous and a longer inner
    /// dimension than the channels of one pixel.
    fn input_of_rows<'a>(&self, x: &[f32]) -> ConvInput<'a> {
        let Conv2d { stride, padding, .. } = self.options;
        let reach = |out: usize, kernel: usize| (out - 1) * stride + kernel;
        let (rows, columns) = (reach(self.out[1], self.kernel.0), reach(self.out[2], self.kernel.1));
        let (line, padded_line) = (self.width * self.channels, columns * self.channels);
        let left = padding.left * self.channels;
        let length = line.min(padded_line.saturating_sub(left));
        let plane = rows * padded_line;
        let mut padded = Vec::with_capacity(self.batch * plane);
        let unwritten = &mut padded.spare_capacity_mut()[..self.batch * plane];
        x.par_chunks_exact(self.height * line).zip(unwritten.par_chunks_exact_mut(plane)).for_each(
            |(image, padded)| {
                padded.fill(MaybeUninit::new(0.0));
                let inside = padded.chunks_exact_mut(padded_line).skip(padding.top);
                for (from, to) in image.chunks_exact(line).zip(inside) {
                    to[left..left + length].write_copy_of_slice(&from[..length]);
                }
            },
        );
        // SAFETY: every image was filled with zeros.
        unsafe { padded.set_len(self.batch * plane) };
        ConvInput {
            source: Cow::Owned(padded),
            vertical: Axis::forward(rows, self.out[1], self.kernel.0, stride, 0),
            horizontal: Axis::forward(columns, self.out[2], 1, stride, 0),
            depth: self.kernel.1 * self.channels,
        }
    }

    /// How the output's pixels gather an input.
    pub(super) fn gather<'a>(&self, input: &'a ConvInput) -> Gather<'a> {
        Gather {
            source: &input.source,
            batch: self.batch,
            channels: self.channels,
            depth: input.depth,
            columns: self.out[3],
            vertical: &input.vertical,
            horizontal: &input.horizontal,
        }
    }
}

/// An input and the axes along which it is gathered.
#[derive(Debug)]
pub(super) struct ConvInput<'a> {
    source: Cow<'a, [f32]>,
    vertical: Axis,
    horizontal: Axis,
    /// Values that each tap reads.
    depth: usize,
}
