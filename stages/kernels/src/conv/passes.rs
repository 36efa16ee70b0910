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
            if shape.is_depthwise() {
                let view = shape.view(x);
                let taps = depthwise::taps_first(weight.values, shape.channels, weight.scale, false);
                depthwise::convolve(level, shape.gather(&view), &taps, epilogue, out);
            } else if let Some(plane) = shape.winograd_forward(x) {
                let factors =
                    winograd::forward::factors(level, &weight.whole(&shape).pack_forward(level), shape.out[3]);
                winograd::forward::convolve(level, plane, &factors, shape.out[3], epilogue, out);
            } else {
                let view = shape.view(x);
                let packed: Vec<_> = weight.groups(&shape).map(|filters| filters.pack_forward(level)).collect();
                direct::product(level, shape.gather(&view), &packed, epilogue, out);
            }
        })
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
    let epilogue = Epilogue { residual, ..Epilogue::NONE };
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
    let mut gradient = vec![0.0; weight.values.len()];
    if shape.is_depthwise() {
        // The sums of all groups together are `[taps, 1, channels]`.
        let (taps, columns) = (shape.taps(), shape.channels);
        let filters = Filters { values: weight.values, taps, depth: 1, columns, scale: weight.scale };
        let scale = filters.gradients(&sums, &mut gradient);
        return (gradient, scale);
    }
    let length = gradient.len() / shape.options.groups;
    let scale = weight
        .groups(&shape)
        .zip(sums.chunks_exact(length))
        .zip(gradient.chunks_exact_mut(length))
        .flat_map(|((filters, sums), gradient)| filters.gradients(sums, gradient))
        .collect();
    (gradient, scale)
}
