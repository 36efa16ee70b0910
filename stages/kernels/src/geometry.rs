//! Geometry of sliding windows: padding, stride, and the output sizes that follow from them.

use crate::error::{Result, shape_error};
use crate::precision::Precision;

/// Rows and columns added around an image: zeros for a convolution and an average, −∞ for a maximum.
///
/// The four sides are separate because TensorFlow's `SAME` adds one more row and column at the bottom and the right, and
/// because pooling in Caffe's ceiling mode equals pooling in floor mode with more padding at those sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Padding {
    /// Rows above the first.
    pub top: usize,
    /// Rows below the last.
    pub bottom: usize,
    /// Columns left of the first.
    pub left: usize,
    /// Columns right of the last.
    pub right: usize,
}

impl Padding {
    /// The same padding on all four sides.
    pub const fn same(size: usize) -> Self {
        Self { top: size, bottom: size, left: size, right: size }
    }

    /// TensorFlow's `SAME` along one axis: `(before, after)` such that the output has `⌈size / stride⌉` positions.
    pub const fn tensorflow_same(size: usize, kernel: usize, stride: usize) -> (usize, usize) {
        let reach = (size.div_ceil(stride) - 1) * stride + kernel;
        let total = reach.saturating_sub(size);
        (total / 2, total - total / 2)
    }

    /// TensorFlow's `SAME` for an image of `height` × `width` under a square window.
    pub const fn tensorflow_same_2d(height: usize, width: usize, kernel: usize, stride: usize) -> Self {
        let (top, bottom) = Self::tensorflow_same(height, kernel, stride);
        let (left, right) = Self::tensorflow_same(width, kernel, stride);
        Self { top, bottom, left, right }
    }
}

impl From<usize> for Padding {
    fn from(size: usize) -> Self {
        Self::same(size)
    }
}

/// Options of a convolution; the kernel size is that of the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Step of the window along both axes, at least 1.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: Padding,
    /// Number of channel groups that are convolved separately; equal to the number of channels, the convolution is depthwise.
    pub groups: usize,
    /// What a GPU computes with; the CPU always computes with the type of its input.
    pub precision: Precision,
}

impl Default for Conv2d {
    fn default() -> Self {
        Self { stride: 1, padding: Padding::default(), groups: 1, precision: Precision::default() }
    }
}

/// All sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvGeometry {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// `[batch, rows, columns, out channels]`.
    pub out: [usize; 4],
    /// Height and width of the window.
    pub kernel: (usize, usize),
    pub options: Conv2d,
}

impl ConvGeometry {
    /// Checks the sizes of an input `[batch, height, width, channels]` and a weight `[out, channels / groups, height, width]`.
    pub(crate) fn new(
        operation: &'static str,
        x: (usize, usize, usize, usize),
        weight: (usize, usize, usize, usize),
        options: &Conv2d,
    ) -> Result<Self> {
        let (batch, height, width, channels) = x;
        let (out, per_group, kernel_height, kernel_width) = weight;
        let Conv2d { stride, padding, groups, .. } = *options;
        let (x, weight) = ([batch, height, width, channels], [out, per_group, kernel_height, kernel_width]);
        if x.contains(&0) || weight.contains(&0) {
            return Err(shape_error(operation, format!("the input {x:?} or the weight {weight:?} has no elements")));
        }
        if groups == 0 || per_group * groups != channels || out % groups != 0 {
            return Err(shape_error(
                operation,
                format!("a weight {weight:?} in {groups} groups does not match an input {x:?}"),
            ));
        }
        let rows = positions(operation, height, padding.top, padding.bottom, kernel_height, stride)?;
        let columns = positions(operation, width, padding.left, padding.right, kernel_width, stride)?;
        let out = [batch, rows, columns, out];
        Ok(Self { batch, height, width, channels, out, kernel: (kernel_height, kernel_width), options: *options })
    }
}

/// How the values under a pooling window are reduced to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    /// The maximum; padding is −∞.
    Max,
    /// The sum divided by the size of the window; padding is zero.
    Average,
}

/// All sizes of one pooling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolWindow {
    /// `[batch, height, width, channels]`.
    pub dims: [usize; 4],
    /// Height and width of the window.
    pub kernel: (usize, usize),
    pub stride: usize,
    pub padding: Padding,
    /// Rows and columns of the output.
    pub out: (usize, usize),
}

impl PoolWindow {
    /// A square window that slides over an input `[batch, height, width, channels]`.
    pub(crate) fn sliding(
        operation: &'static str,
        (batch, height, width, channels): (usize, usize, usize, usize),
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Result<Self> {
        let Padding { top, bottom, left, right } = padding;
        Ok(Self {
            dims: [batch, height, width, channels],
            kernel: (kernel, kernel),
            stride,
            padding,
            out: (
                positions(operation, height, top, bottom, kernel, stride)?,
                positions(operation, width, left, right, kernel, stride)?,
            ),
        })
    }

    /// The window that covers the whole image of an input `[batch, height, width, channels]`.
    pub(crate) fn global(
        operation: &'static str,
        (batch, height, width, channels): (usize, usize, usize, usize),
    ) -> Result<Self> {
        positions(operation, height.min(width), 0, 0, 1, 1)?;
        Ok(Self {
            dims: [batch, height, width, channels],
            kernel: (height, width),
            stride: 1,
            padding: Padding::default(),
            out: (1, 1),
        })
    }
}

/// Number of window positions along one axis.
fn positions(
    operation: &'static str,
    size: usize,
    before: usize,
    after: usize,
    kernel: usize,
    stride: usize,
) -> Result<usize> {
    let padded = size + before + after;
    if stride == 0 || kernel == 0 || size == 0 {
        return Err(shape_error(
            operation,
            format!("size {size}, window {kernel} and stride {stride} must all be at least 1"),
        ));
    }
    if padded < kernel {
        return Err(shape_error(
            operation,
            format!("a window of {kernel} does not fit into {size} with padding {before} + {after}"),
        ));
    }
    Ok((padded - kernel) / stride + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensorflow_same_pads_more_after_than_before() {
        for (size, kernel, stride, expected) in
            [(96, 3, 2, (0, 1)), (97, 3, 2, (1, 1)), (7, 5, 1, (2, 2)), (6, 5, 2, (1, 2)), (5, 1, 2, (0, 0))]
        {
            assert_eq!(Padding::tensorflow_same(size, kernel, stride), expected);
        }
    }
}
