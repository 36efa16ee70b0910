//! Windows that do not overlap as the rows of a matrix: with them, a convolution whose stride is at least its window is one product.

use candle_core::{Result, Tensor};

use super::launch::{Argument, Grid, PADDING, Patches, int, launch, packing, small};
use super::memory::{Output, device, pointer};
use crate::geometry::{Conv2d, ConvGeometry, Padding};

/// Whether the windows of a convolution do not overlap and lie within the image.
pub(super) fn are_apart(geometry: &ConvGeometry) -> bool {
    let Conv2d { stride, padding, groups, .. } = geometry.options;
    let (height, width) = geometry.kernel;
    padding == Padding::default() && groups == 1 && height <= stride && width <= stride
}

/// `[batch · rows · columns, kernel_height · kernel_width · channels]` from `[batch, height, width, channels]`.
pub(super) fn gather(geometry: &ConvGeometry, x: &Tensor) -> Result<Tensor> {
    let [batch, rows, columns, _] = geometry.out;
    let (kernel_height, kernel_width) = geometry.kernel;
    let width = kernel_height * kernel_width * geometry.channels;
    let output = Output::new((batch * rows * columns, width), x.dtype(), &device(x)?)?;
    copy("gather", geometry, x, &output)?;
    Ok(output.into_tensor())
}

/// The adjoint of [`gather`], zero where no window lies.
pub(super) fn scatter(geometry: &ConvGeometry, x: &Tensor) -> Result<Tensor> {
    let ConvGeometry { batch, height, width, channels, .. } = *geometry;
    let output = Output::new((batch, height, width, channels), x.dtype(), &device(x)?)?;
    copy("scatter", geometry, x, &output)?;
    Ok(output.into_tensor())
}

fn copy(name: &str, geometry: &ConvGeometry, from: &Tensor, to: &Output) -> Result<()> {
    let ConvGeometry { height, width, channels, out: [_, rows, columns, _], kernel, options, .. } = *geometry;
    let [line, step, width_line] = [kernel.1 * channels, options.stride * channels, width * channels];
    let pointers = [pointer(from)?, to.pointer()?];
    // Windows, steps and lines must consist of whole packs.
    let common = [line, step, width_line].into_iter().fold(0, gcd);
    let (pack, end) = packing(from.dtype(), common, &pointers)?;
    let patches = Patches {
        height: small(height)?,
        width_line: small(width_line / pack)?,
        rows: small(rows)?,
        columns: small(columns)?,
        kernel_height: small(kernel.0)?,
        stride: small(options.stride)?,
        line: small(line / pack)?,
        step: small(step / pack)?,
    };
    let (device, count) = (device(from)?, to.elements() / pack);
    let [from, to] = pointers.map(Argument::Pointer);
    let arguments = [from, to, Argument::Patches(patches), int(count)?];
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, PADDING, &format!("{name}_{end}"), Grid::over(count), &arguments) }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
