//! One convolution's sizes, and which kernel computes it.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::geometry::{Conv2d, Padding};
use crate::window::{Axis, Gather};
use crate::winograd::{self, Plane};

/// Most channels for which a row of the window is read as one piece; more fill the register tile by themselves.
const FEW_CHANNELS: usize = 4;

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// `[batch, rows, columns, out channels]`.
    pub out: [usize; 4],
    pub kernel: (usize, usize),
    pub options: Conv2d,
}

impl Shape {
    pub(crate) fn new(x: &Tensor, weight: &Tensor, out: [usize; 4], options: &Conv2d) -> Self {
        let (x, weight) = (x.dims(), weight.dims());
        Self {
            batch: x[0],
            height: x[1],
            width: x[2],
            channels: x[3],
            out,
            kernel: (weight[2], weight[3]),
            options: *options,
        }
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Channels of one group.
    pub(crate) fn depth(&self) -> usize {
        self.channels / self.options.groups
    }

    /// Output channels of one group.
    pub(crate) fn columns(&self) -> usize {
        self.out[3] / self.options.groups
    }

    pub(crate) fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    pub(crate) fn output_len(&self) -> usize {
        self.out.iter().product()
    }

    pub(crate) fn is_depthwise(&self) -> bool {
        self.depth() == 1 && self.columns() == 1 && self.options.groups > 1
    }

    /// How each output pixel reads the input.
    pub(crate) fn forward_axes(&self) -> (Axis, Axis) {
        let Conv2d { stride, padding, .. } = self.options;
        (
            Axis::forward(self.height, self.out[1], self.kernel.0, stride, padding.top),
            Axis::forward(self.width, self.out[2], self.kernel.1, stride, padding.left),
        )
    }

    /// How each input pixel reads the gradient of the output.
    pub(crate) fn backward_axes(&self) -> (Axis, Axis) {
        let Conv2d { stride, padding, .. } = self.options;
        (
            Axis::backward(self.height, self.out[1], self.kernel.0, stride, padding.top),
            Axis::backward(self.width, self.out[2], self.kernel.1, stride, padding.left),
        )
    }

    /// The convolution as Winograd's products see it, if they pay.
    pub(crate) fn winograd_forward<'a>(&self, x: &'a [f32]) -> Option<Plane<'a>> {
        let padding = self.options.padding;
        let plane = Plane {
            source: x,
            batch: self.batch,
            height: self.height,
            width: self.width,
            channels: self.channels,
            before: (padding.top, padding.left),
            out: (self.out[1], self.out[2]),
        };
        self.winograd_pays(&plane).then_some(plane)
    }

    /// The gradient of the input as Winograd's products see it, if they pay: the window turned, over the output's gradient.
    pub(crate) fn winograd_backward<'a>(&self, dz: &'a [f32]) -> Option<Plane<'a>> {
        let Padding { top, left, .. } = self.options.padding;
        let plane = Plane {
            source: dz,
            batch: self.batch,
            height: self.out[1],
            width: self.out[2],
            channels: self.out[3],
            before: (2usize.checked_sub(top)?, 2usize.checked_sub(left)?),
            out: (self.height, self.width),
        };
        self.winograd_pays(&plane).then_some(plane)
    }

    fn winograd_pays(&self, plane: &Plane) -> bool {
        let fits = self.kernel == (3, 3) && self.options.stride == 1 && self.options.groups == 1;
        let (vertical, horizontal) = self.forward_axes();
        let direct = self.batch * vertical.reads() * horizontal.reads();
        fits && winograd::pays(direct, plane.tiles(), self.channels, self.out[3])
    }

    /// The input as the direct product sees it.
    pub(crate) fn view<'a>(&self, x: &'a [f32]) -> View<'a> {
        if self.channels <= FEW_CHANNELS && self.kernel.1 > 1 && self.options.groups == 1 {
            return self.view_of_rows(x);
        }
        let (vertical, horizontal) = self.forward_axes();
        View { source: Cow::Borrowed(x), vertical, horizontal, depth: self.depth() }
    }

    /// The padded image, of which a tap reads a whole row of the window: with few channels a row lies in one piece, and is a
    /// longer inner dimension than the channels of one pixel.
    fn view_of_rows<'a>(&self, x: &[f32]) -> View<'a> {
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
        View {
            source: Cow::Owned(padded),
            vertical: Axis::forward(rows, self.out[1], self.kernel.0, stride, 0),
            horizontal: Axis::forward(columns, self.out[2], 1, stride, 0),
            depth: self.kernel.1 * self.channels,
        }
    }

    /// How the output's pixels gather a view.
    pub(crate) fn gather<'a>(&self, view: &'a View) -> Gather<'a> {
        Gather {
            source: &view.source,
            batch: self.batch,
            channels: self.channels,
            depth: view.depth,
            columns: self.out[3],
            vertical: &view.vertical,
            horizontal: &view.horizontal,
        }
    }
}

/// An input with the axes along which it is gathered.
#[derive(Debug)]
pub(crate) struct View<'a> {
    source: Cow<'a, [f32]>,
    vertical: Axis,
    horizontal: Axis,
    /// Values that each tap reads.
    depth: usize,
}
