//! Windows as the rows of a matrix, with which a convolution is one product: windows that do not overlap, and all windows of images with
//! few channels, for which cuDNN's kernels are slow.

use candle_core::{Result, Tensor};

use super::launch::{
    Argument, Columns, Grid, PACK_BYTES, PADDING, Patches, Window, int, launch, packing, small, suffix,
};
use super::memory::{Output, device, pointer, pointer_or_null};
use crate::geometry::{Conv2d, ConvGeometry, Padding};

/// Whether the windows of a convolution do not overlap and lie within the image.
pub(super) fn are_apart(geometry: &ConvGeometry) -> bool {
    let Conv2d { stride, padding, groups, .. } = geometry.options;
    let (height, width) = geometry.kernel;
    padding == Padding::default() && groups == 1 && height <= stride && width <= stride
}

/// Most channels of images whose windows are copied.
const FEW_CHANNELS: usize = 4;

/// Whether the images of a convolution have few channels.
pub(super) fn are_thin(geometry: &ConvGeometry) -> bool {
    geometry.options.groups == 1 && geometry.channels <= FEW_CHANNELS
}

/// The length of a row of [`columns`]: whole packs of either type, as cuBLAS likes it.
pub(super) fn row(geometry: &ConvGeometry) -> usize {
    (geometry.kernel.0 * geometry.kernel.1 * geometry.channels).next_multiple_of(8)
}

/// All windows, `[batch · rows · columns, row]` with zeros behind the `kernel_height · kernel_width · channels` values of each.
pub(super) fn columns(geometry: &ConvGeometry, x: &Tensor) -> Result<Tensor> {
    let (device, [batch, rows, columns, _], row) = (device(x)?, geometry.out, row(geometry));
    let output = Output::new((batch * rows * columns, row), x.dtype(), &device)?;
    let count = output.elements() / (PACK_BYTES / x.dtype().size_in_bytes());
    let [from, to] = [pointer(x)?, output.pointer()?].map(Argument::Pointer);
    let sizes = Argument::Columns(Columns { window: Window::of_convolution(geometry)?, row: small(row)? });
    let name = format!("columns_{}", suffix(x.dtype())?);
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, PADDING, &name, Grid::over(count), &[from, to, sizes, int(count)?])? };
    Ok(output.into_tensor())
}

/// `[batch · rows · columns, kernel_height · kernel_width · channels]` from `[batch, height, width, channels]`.
pub(super) fn gather(geometry: &ConvGeometry, x: &Tensor) -> Result<Tensor> {
    let [batch, rows, columns, _] = geometry.out;
    let (kernel_height, kernel_width) = geometry.kernel;
    let width = kernel_height * kernel_width * geometry.channels;
    let output = Output::new((batch * rows * columns, width), x.dtype(), &device(x)?)?;
    copy("gather", geometry, x, None, &output)?;
    Ok(output.into_tensor())
}

/// The adjoint of [`gather`], zero where no window lies, added to another tensor if there is one.
pub(super) fn scatter(geometry: &ConvGeometry, x: &Tensor, other: Option<&Tensor>) -> Result<Tensor> {
    let ConvGeometry { batch, height, width, channels, .. } = *geometry;
    let output = Output::new((batch, height, width, channels), x.dtype(), &device(x)?)?;
    copy("scatter", geometry, x, Some(pointer_or_null(other)?), &output)?;
    Ok(output.into_tensor())
}

/// `other` is the second argument of kernels that have one.
fn copy(name: &str, geometry: &ConvGeometry, from: &Tensor, other: Option<u64>, to: &Output) -> Result<()> {
    let ConvGeometry { height, width, channels, out: [_, rows, columns, _], kernel, options, .. } = *geometry;
    let [line, step, width_line] = [kernel.1 * channels, options.stride * channels, width * channels];
    let pointers = [pointer(from)?, to.pointer()?];
    // Windows, steps and lines must consist of whole packs.
    let common = [line, step, width_line].into_iter().fold(0, gcd);
    let (pack, end) = packing(from.dtype(), common, &[pointers[0], pointers[1], other.unwrap_or_default()])?;
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
    let mut arguments = vec![from];
    arguments.extend(other.map(Argument::Pointer));
    arguments.extend([to, Argument::Patches(patches), int(count)?]);
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, PADDING, &format!("{name}_{end}"), Grid::over(count), &arguments) }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
