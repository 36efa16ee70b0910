//! The three passes of a convolution over slices: forward, gradient of the input, gradients of weight and scale.

use super::weights::Filters;
use super::{depthwise, direct, weight_gradient};
use crate::cpu::disjoint::{SharedMut, written_by};
use crate::cpu::epilogue::Epilogue;
use crate::cpu::window::{self, Gather};
use crate::cpu::winograd;
use crate::geometry::ConvGeometry;
use crate::simd::Level;

/// A weight `[out, channels / groups, taps]` and the scale that is folded into it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScaledWeight<'a> {
    pub values: &'a [f32],
    pub scale: Option<&'a [f32]>,
}

impl<'a> ScaledWeight<'a> {
    /// The filters of each group.
    fn groups(self, geometry: &ConvGeometry) -> impl Iterator<Item = Filters<'a>> {
        let (taps, depth, columns) = (geometry.taps(), geometry.depth(), geometry.columns());
        (0..geometry.options.groups).map(move |group| Filters {
            values: &self.values[group * columns * depth * taps..],
            taps,
            depth,
            columns,
            scale: self.scale.map(|scale| &scale[group * columns..]),
        })
    }

    /// The filters of a convolution without groups.
    fn whole(self, geometry: &ConvGeometry) -> Filters<'a> {
        self.groups(geometry).next().expect("there is at least one group")
    }
}

/// The forward pass: the output.
///
/// # Safety
/// Unless null, the epilogue's shift is valid for the output's channels and its residual for the whole output.
pub(super) unsafe fn forward(
    level: Level,
    geometry: ConvGeometry,
    x: &[f32],
    weight: ScaledWeight,
    epilogue: Epilogue,
) -> Vec<f32> {
    // SAFETY: each kernel writes every output pixel; the caller guarantees the epilogue.
    unsafe {
        written_by(geometry.output_len(), |out| {
            let row = if geometry.is_depthwise() { geometry.out[3] } else { geometry.columns() };
            let epilogue = epilogue.for_output(out.pointer(), geometry.output_len(), row);
            write_output(level, geometry, x, weight, epilogue, out);
        })
    }
}

unsafe fn write_output(
    level: Level,
    geometry: ConvGeometry,
    x: &[f32],
    weight: ScaledWeight,
    epilogue: Epilogue,
    out: SharedMut,
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        if geometry.is_depthwise() {
            let input = geometry.input(x);
            let taps = depthwise::taps_first(weight.values, geometry.channels, weight.scale, false);
            depthwise::convolve(level, geometry.gather(&input), &taps, epilogue, out);
        } else if let Some(images) = geometry.winograd_forward(x) {
            let factors =
                winograd::forward::factors(level, &weight.whole(&geometry).pack_forward(level), geometry.out[3]);
            winograd::forward::convolve(level, images, &factors, geometry.out[3], epilogue, out);
        } else {
            let input = geometry.input(x);
            let packed: Vec<_> = weight.groups(&geometry).map(|filters| filters.pack_forward(level)).collect();
            direct::product(level, geometry.gather(&input), &packed, epilogue, out);
        }
    }
}

/// The gradient of the input, added to `sum` if there is one.
pub(super) fn input_gradient(
    level: Level,
    geometry: ConvGeometry,
    dz: &[f32],
    weight: ScaledWeight,
    sum: Option<Vec<f32>>,
) -> Vec<f32> {
    match sum {
        Some(mut sum) => {
            let out = SharedMut::new(&mut sum);
            // SAFETY: `sum` has the input's length, and each task reads and writes its own part.
            unsafe { write_input_gradient(level, geometry, dz, weight, out, out.pointer()) };
            sum
        }
        // SAFETY: each kernel writes every input pixel.
        None => unsafe {
            written_by(geometry.input_len(), |out| {
                write_input_gradient(level, geometry, dz, weight, out, std::ptr::null());
            })
        },
    }
}

unsafe fn write_input_gradient(
    level: Level,
    geometry: ConvGeometry,
    dz: &[f32],
    weight: ScaledWeight,
    out: SharedMut,
    residual: *const f32,
) {
    let epilogue =
        Epilogue { residual, ..Epilogue::NONE }.for_output(out.pointer(), geometry.input_len(), geometry.channels);
    let (mut vertical, mut horizontal) = geometry.backward_axes();
    let rotated = geometry.is_depthwise() && window::rotate_window(&mut vertical, &mut horizontal);
    let gather = Gather {
        source: dz,
        batch: geometry.batch,
        channels: geometry.out[3],
        depth: geometry.columns(),
        columns: geometry.channels,
        vertical: &vertical,
        horizontal: &horizontal,
    };
    // SAFETY: guaranteed by the caller.
    unsafe {
        if geometry.is_depthwise() {
            let taps = depthwise::taps_first(weight.values, geometry.channels, weight.scale, rotated);
            depthwise::convolve(level, gather, &taps, epilogue, out);
        } else if let Some(images) = geometry.winograd_backward(dz) {
            let factors = winograd::forward::factors(
                level,
                &weight.whole(&geometry).pack_backward(level, true),
                geometry.channels,
            );
            winograd::forward::convolve(level, images, &factors, geometry.channels, epilogue, out);
        } else {
            let packed: Vec<_> = weight.groups(&geometry).map(|filters| filters.pack_backward(level, false)).collect();
            direct::product(level, gather, &packed, epilogue, out);
        }
    }
}

/// The gradients of the weight, in its layout, and of the scale.
pub(super) fn weight_gradients(
    level: Level,
    geometry: ConvGeometry,
    x: &[f32],
    dz: &[f32],
    weight: ScaledWeight,
) -> (Vec<f32>, Vec<f32>) {
    let sums = if geometry.is_depthwise() {
        depthwise::weight_gradient(level, geometry.gather(&geometry.input(x)), dz)
    } else if let Some(images) = geometry.winograd_forward(x) {
        winograd::weight_gradient::weight_gradient(level, images, dz, geometry.out[3])
    } else {
        weight_gradient::weight_gradient(level, geometry.gather(&geometry.input(x)), geometry.options.groups, dz)
    };
    let length = weight.values.len();
    let mut gradient = Vec::with_capacity(length);
    let unwritten = &mut gradient.spare_capacity_mut()[..length];
    let scale = if geometry.is_depthwise() {
        // The sums of all groups together are `[taps, 1, channels]`.
        let (taps, columns) = (geometry.taps(), geometry.channels);
        let filters = Filters { values: weight.values, taps, depth: 1, columns, scale: weight.scale };
        filters.gradients(&sums, unwritten)
    } else {
        let length = length / geometry.options.groups;
        weight
            .groups(&geometry)
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
    use crate::activation::Activation;
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

    /// The output and the gradients of input, weight and scale.
    fn all(level: Level, geometry: ConvGeometry) -> [Vec<f32>; 4] {
        let x = noise(geometry.input_len(), 1);
        let values = noise(geometry.out[3] * geometry.depth() * geometry.taps(), 2);
        let (scale, shift) = (noise(geometry.out[3], 3), noise(geometry.out[3], 4));
        let (residual, dz) = (noise(geometry.output_len(), 5), noise(geometry.output_len(), 6));
        let weight = ScaledWeight { values: &values, scale: Some(&scale) };
        let epilogue = Epilogue {
            shift: shift.as_ptr(),
            residual: residual.as_ptr(),
            activation: Activation::Relu6,
            ..Epilogue::NONE
        };
        // SAFETY: shift has the length of the channels, the residual that of the output.
        let y = unsafe { forward(level, geometry, &x, weight, epilogue) };
        let first = input_gradient(level, geometry, &dz, weight, None);
        let dx = input_gradient(level, geometry, &dz, weight, Some(first)); // twice the gradient
        let (dw, ds) = weight_gradients(level, geometry, &x, &dz, weight);
        [y, dx, dw, ds]
    }

    #[test]
    fn an_output_stored_past_the_cache_is_the_same() {
        for (kernel, groups) in [((1, 1), 1), ((3, 3), 1), ((3, 3), 32), ((1, 1), 2)] {
            let options = Conv2d { padding: Padding::same(kernel.0 / 2), groups, ..Conv2d::default() };
            let geometry =
                ConvGeometry { batch: 2, height: 9, width: 11, channels: 32, out: [2, 9, 11, 32], kernel, options };
            let (x, shift) = (noise(geometry.input_len(), 1), noise(32, 2));
            let values = noise(32 * geometry.depth() * geometry.taps(), 3);
            let weight = ScaledWeight { values: &values, scale: None };
            let epilogue = Epilogue { shift: shift.as_ptr(), ..Epilogue::NONE };
            for level in Level::supported() {
                // SAFETY: shift has the length of the channels.
                let expected = unsafe { forward(level, geometry, &x, weight, epilogue) };
                let mut room = vec![0f32; geometry.output_len() + 16];
                let before = room.as_ptr().align_offset(64);
                let out = SharedMut::new(&mut room[before..]);
                // SAFETY: as above; there is room for the output, and it begins at a cache line.
                unsafe { write_output(level, geometry, &x, weight, Epilogue { past_cache: true, ..epilogue }, out) };
                assert!(room[before..][..expected.len()] == expected, "{} {geometry:?}", level.name());
            }
        }
    }

    #[test]
    fn all_instruction_sets_agree() {
        let padding = Padding { top: 1, bottom: 2, left: 0, right: 1 };
        for (channels, out, kernel, stride, groups) in [
            (3, 21, (7, 7), 2, 1),   // windows read row by row
            (19, 37, (1, 1), 1, 1),  // the plain product, rows and columns not multiples of the tile
            (20, 70, (3, 3), 2, 1),  // the direct product
            (18, 67, (3, 3), 1, 1),  // Winograd
            (21, 21, (3, 3), 1, 21), // depthwise, regular windows
            (21, 21, (5, 5), 2, 21),
            (9, 9, (2, 4), 1, 9), // depthwise, other windows
            (12, 8, (3, 3), 1, 4),
        ] {
            let (batch, height, width) = (2, 11, 13);
            let size = |size: usize, kernel: usize, sides: usize| (size + sides - kernel) / stride + 1;
            let rows = size(height, kernel.0, padding.top + padding.bottom);
            let columns = size(width, kernel.1, padding.left + padding.right);
            let options = Conv2d { stride, padding, groups, ..Conv2d::default() };
            let geometry =
                ConvGeometry { batch, height, width, channels, out: [batch, rows, columns, out], kernel, options };
            let levels = Level::supported();
            let expected = all(Level::supported()[levels.len() - 1], geometry);
            for &level in &levels {
                for (name, (a, b)) in ["y", "dx", "dw", "ds"].iter().zip(all(level, geometry).iter().zip(&expected)) {
                    let largest = b.iter().fold(0f32, |largest, value| largest.max(value.abs()));
                    let difference = a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                    assert!(
                        a.len() == b.len() && difference <= TOLERANCE * largest,
                        "{} {name} of {geometry:?}",
                        level.name()
                    );
                }
            }
        }
    }
}
