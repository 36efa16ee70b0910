//! What a sliding window is: padding, stride, and the sizes that follow from them.

use crate::error::{Result, misfit};

/// Rows and columns added round an image: zeros for a convolution and an average, −∞ for a maximum.
///
/// The four sides are apart because TensorFlow's `SAME` pads one more at the bottom and the right, and because
/// a pooling in Caffe's ceiling mode is a floor-mode pooling with more padding at those sides.
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

/// A convolution's geometry; its kernel size is read off the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Step of the window along both axes, at least 1.
    pub stride: usize,
    /// Zeros round the image.
    pub padding: Padding,
    /// Number of groups that do not see each other; as many as channels makes it depthwise.
    pub groups: usize,
}

impl Default for Conv2d {
    fn default() -> Self {
        Self { stride: 1, padding: Padding::default(), groups: 1 }
    }
}

/// Number of window positions along one axis.
pub(crate) fn positions(
    operation: &'static str,
    size: usize,
    before: usize,
    after: usize,
    kernel: usize,
    stride: usize,
) -> Result<usize> {
    let padded = size + before + after;
    if stride == 0 || kernel == 0 || size == 0 {
        return Err(misfit(
            operation,
            format!("size {size}, window {kernel} and stride {stride} must all be at least 1"),
        ));
    }
    if padded < kernel {
        return Err(misfit(
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
