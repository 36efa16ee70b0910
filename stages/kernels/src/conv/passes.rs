//! The three passes of a convolution over slices: forward, the gradient of the input, the gradients of weight and scale.

use super::shape::Shape;
use super::weights::Filters;
use super::{depthwise, direct, weight_gradient};
use crate::share::{Shared, filled};
use crate::simd::Level;
use crate::tile::Epilogue;
use crate::window::{self, Gather};
use crate::winograd;

/// A weight `[out, channels / groups, taps]` and the scale that is folded into it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub values: &'a [f32],
    pub scale: Option<&'a [f32]>,
}

impl<'a> Weight<'a> {
    /// The filters of each group.
    fn groups(self, shape: &Shape) -> impl Iterator<Item = Filters<'a>> {
        let (taps, depth, columns) = (shape.taps(), shape.depth(), shape.columns());
        (0..shape.options.groups).map(move |group| Filters {
            values: &self.values[group * columns * depth * taps..],
            taps,
            depth,
            columns,
            scale: self.scale.map(|scale| &scale[group * columns..]),
        })
    }

    /// The filters of a convolution without groups.
    fn whole(self, shape: &Shape) -> Filters<'a> {
        self.groups(shape).next().expect("there is at least one group")
    }
}

/// The output: the epilogue's pointers are null or hold a shift per channel and a residual like the output.
///
/// # Safety
/// The epilogue's pointers are valid for that.
pub(crate) unsafe fn forward(level: Level, shape: Shape, x: &[f32], weight: Weight, epilogue: Epilogue) -> Vec<f32> {
    // SAFETY: each kernel writes every output pixel; the epilogue is the caller's.
    unsafe {
        filled(shape.output_len(), |out| {
            let row = if shape.is_depthwise() { shape.out[3] } else { shape.columns() };
            let epilogue = epilogue.for_output(out.pointer(), shape.output_len(), row);
            write_output(level, shape, x, weight, epilogue, out);
        })
    }
}

unsafe fn write_output(level: Level, shape: Shape, x: &[f32], weight: Weight, epilogue: Epilogue, out: Shared) {
    // SAFETY: the caller's.
    unsafe {
        if shape.is_depthwise() {
            let view = shape.view(x);
            let taps = depthwise::taps_first(weight.values, shape.channels, weight.scale, false);
            depthwise::convolve(level, shape.gather(&view), &taps, epilogue, out);
        } else if let Some(plane) = shape.winograd_forward(x) {
            let factors = winograd::forward::factors(level, &weight.whole(&shape).pack_forward(level), shape.out[3]);
            winograd::forward::convolve(level, plane, &factors, shape.out[3], epilogue, out);
        } else {
            let view = shape.view(x);
            let packed: Vec<_> = weight.groups(&shape).map(|filters| filters.pack_forward(level)).collect();
            direct::product(level, shape.gather(&view), &packed, epilogue, out);
        }
    }
}

/// The gradient of the input, added to `sum` if there is one.
pub(crate) fn input_gradient(
    level: Level,
    shape: Shape,
    dz: &[f32],
    weight: Weight,
    sum: Option<Vec<f32>>,
) -> Vec<f32> {
    match sum {
        Some(mut sum) => {
            let out = Shared::new(&mut sum);
            // SAFETY: `sum` has the input's length, and each task reads and writes its own part.
            unsafe { write_input_gradient(level, shape, dz, weight, out, out.pointer()) };
            sum
        }
        // SAFETY: each kernel writes every input pixel.
        None => unsafe {
            filled(shape.input_len(), |out| {
                write_input_gradient(level, shape, dz, weight, out, std::ptr::null());
            })
        },
    }
}

unsafe fn write_input_gradient(
    level: Level,
    shape: Shape,
    dz: &[f32],
    weight: Weight,
    out: Shared,
    residual: *const f32,
) {
    let epilogue = Epilogue { residual, ..Epilogue::NONE }.for_output(out.pointer(), shape.input_len(), shape.channels);
    let (mut vertical, mut horizontal) = shape.backward_axes();
    let flipped = shape.is_depthwise() && window::flip(&mut vertical, &mut horizontal);
    let gather = Gather {
        source: dz,
        batch: shape.batch,
        channels: shape.out[3],
        depth: shape.columns(),
        columns: shape.channels,
        vertical: &vertical,
        horizontal: &horizontal,
    };
    // SAFETY: the caller's.
    unsafe {
        if shape.is_depthwise() {
            let taps = depthwise::taps_first(weight.values, shape.channels, weight.scale, flipped);
            depthwise::convolve(level, gather, &taps, epilogue, out);
        } else if let Some(plane) = shape.winograd_backward(dz) {
            let factors =
                winograd::forward::factors(level, &weight.whole(&shape).pack_backward(level, true), shape.channels);
            winograd::forward::convolve(level, plane, &factors, shape.channels, epilogue, out);
        } else {
            let packed: Vec<_> = weight.groups(&shape).map(|filters| filters.pack_backward(level, false)).collect();
            direct::product(level, gather, &packed, epilogue, out);
        }
    }
}

/// The gradients of the weight, in its layout, and of the scale.
pub(crate) fn weight_gradients(
    level: Level,
    shape: Shape,
    x: &[f32],
    dz: &[f32],
    weight: Weight,
) -> (Vec<f32>, Vec<f32>) {
    let sums = if shape.is_depthwise() {
        depthwise::weight_gradient(level, shape.gather(&shape.view(x)), dz)
    } else if let Some(plane) = shape.winograd_forward(x) {
        winograd::weight_gradient::weight_gradient(level, plane, dz, shape.out[3])
    } else {
        weight_gradient::weight_gradient(level, shape.gather(&shape.view(x)), shape.options.groups, dz)
    };
    let length = weight.values.len();
    let mut gradient = Vec::with_capacity(length);
    let unwritten = &mut gradient.spare_capacity_mut()[..length];
    let scale = if shape.is_depthwise() {
        // The sums of all groups together are `[taps, 1, channels]`.
        let (taps, columns) = (shape.taps(), shape.channels);
        let filters = Filters { values: weight.values, taps, depth: 1, columns, scale: weight.scale };
        filters.gradients(&sums, unwritten)
    } else {
        let length = length / shape.options.groups;
        weight
            .groups(&shape)
            .zip(sums.chunks_exact(length))
            .zip(unwritten.chunks_exact_mut(length))
            .flat_map(|((filters, sums), gradient)| filters.gradients(sums, gradient))
            .collect()
    };
    // SAFETY: the groups cover the weight, and of each every value was written.
    unsafe { gradient.set_len(length) };
    (gradient, scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affine::Activation;
    use crate::geometry::{Conv2d, Padding};

    /// Largest difference between two instruction sets, relative to the largest value.
    const TOLERANCE: f32 = 1e-5;

    /// Values in `-1..1` without a pattern that a wrong index could preserve.
    fn noise(length: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// The output and the gradients of input, weight and scale, one after the other.
    fn all(level: Level, shape: Shape) -> [Vec<f32>; 4] {
        let x = noise(shape.input_len(), 1);
        let values = noise(shape.out[3] * shape.depth() * shape.taps(), 2);
        let (scale, shift) = (noise(shape.out[3], 3), noise(shape.out[3], 4));
        let (residual, dz) = (noise(shape.output_len(), 5), noise(shape.output_len(), 6));
        let weight = Weight { values: &values, scale: Some(&scale) };
        let epilogue = Epilogue {
            shift: shift.as_ptr(),
            residual: residual.as_ptr(),
            activation: Activation::Relu6,
            ..Epilogue::NONE
        };
        // SAFETY: shift has the length of the channels, the residual that of the output.
        let y = unsafe { forward(level, shape, &x, weight, epilogue) };
        let first = input_gradient(level, shape, &dz, weight, None);
        let dx = input_gradient(level, shape, &dz, weight, Some(first)); // twice the gradient
        let (dw, ds) = weight_gradients(level, shape, &x, &dz, weight);
        [y, dx, dw, ds]
    }

    #[test]
    fn an_output_stored_past_the_cache_is_the_same() {
        for (kernel, groups) in [((1, 1), 1), ((3, 3), 1), ((3, 3), 32), ((1, 1), 2)] {
            let options = Conv2d { padding: Padding::same(kernel.0 / 2), groups, ..Conv2d::default() };
            let shape = Shape { batch: 2, height: 9, width: 11, channels: 32, out: [2, 9, 11, 32], kernel, options };
            let (x, shift) = (noise(shape.input_len(), 1), noise(32, 2));
            let values = noise(32 * shape.depth() * shape.taps(), 3);
            let weight = Weight { values: &values, scale: None };
            let epilogue = Epilogue { shift: shift.as_ptr(), ..Epilogue::NONE };
            for level in Level::supported() {
                // SAFETY: shift has the length of the channels.
                let expected = unsafe { forward(level, shape, &x, weight, epilogue) };
                let mut room = vec![0f32; shape.output_len() + 16];
                let before = room.as_ptr().align_offset(64);
                let out = Shared::new(&mut room[before..]);
                // SAFETY: as above; there is room for the output, and it begins at a cache line.
                unsafe { write_output(level, shape, &x, weight, Epilogue { past_cache: true, ..epilogue }, out) };
                assert!(room[before..][..expected.len()] == expected, "{} {shape:?}", level.name());
            }
        }
    }

    #[test]
    fn all_instruction_sets_agree() {
        let padding = Padding { top: 1, bottom: 2, left: 0, right: 1 };
        for (channels, out, kernel, stride, groups) in [
            (3, 21, (7, 7), 2, 1),   // read row by row
            (19, 37, (1, 1), 1, 1),  // the plain product, with a rest in rows and columns
            (20, 70, (3, 3), 2, 1),  // the direct product
            (18, 67, (3, 3), 1, 1),  // Winograd's products
            (21, 21, (3, 3), 1, 21), // depthwise, windows that step evenly
            (21, 21, (5, 5), 2, 21),
            (9, 9, (2, 4), 1, 9), // depthwise, any window
            (12, 8, (3, 3), 1, 4),
        ] {
            let (batch, height, width) = (2, 11, 13);
            let size = |size: usize, kernel: usize, sides: usize| (size + sides - kernel) / stride + 1;
            let rows = size(height, kernel.0, padding.top + padding.bottom);
            let columns = size(width, kernel.1, padding.left + padding.right);
            let options = Conv2d { stride, padding, groups };
            let shape = Shape { batch, height, width, channels, out: [batch, rows, columns, out], kernel, options };
            let levels = Level::supported();
            let expected = all(Level::supported()[levels.len() - 1], shape);
            for &level in &levels {
                for (name, (a, b)) in ["y", "dx", "dw", "ds"].iter().zip(all(level, shape).iter().zip(&expected)) {
                    let largest = b.iter().fold(0f32, |largest, value| largest.max(value.abs()));
                    let difference = a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                    assert!(
                        a.len() == b.len() && difference <= TOLERANCE * largest,
                        "{} {name} of {shape:?}",
                        level.name()
                    );
                }
            }
        }
    }
}
