//! The convolution as an operation with gradients: which kernel computes what, and what is kept for the way back.
//!
//! With `z = conv(x, w)`, `y = act(s ∘ z + t + r)` and `dz = dy ∘ act'(y)`:
//! - forward and the gradient of x use the weight with `s` folded in, so `z` itself is never needed;
//! - `g = Σ x ⊗ dz` gives both `dw[o] = s[o] · g[o]` and `ds[o] = ⟨w[o], g[o]⟩`, so `z` is not kept either;
//! - `dt = Σ dz`, `dr = dz`.
//!
//! What stays alive for the way back is x and, for an activation, y: half of what a convolution and a batch-norm apart keep.

use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use super::weight_gradient::weight_gradient;
use super::{depthwise, direct};
use crate::affine::Activation;
use crate::gate::{Gate, gate};
use crate::geometry::Conv2d;
use crate::panel::{Packed, Scale, WeightView};
use crate::share::{Shared, filled};
use crate::simd::Level;
use crate::tape::{self, Backward, Slot, slot_of};
use crate::tile::Epilogue;
use crate::values::with_values;
use crate::window::{self, Axis, Gather};
use crate::winograd::{self, Plane};

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub out: [usize; 4],
    pub kernel: (usize, usize),
    pub options: Conv2d,
}

impl Geometry {
    pub(crate) fn new(x: &Tensor, weight: &Tensor, out: [usize; 4], options: &Conv2d) -> Self {
        let dims = x.dims();
        Self {
            batch: dims[0],
            height: dims[1],
            width: dims[2],
            channels: dims[3],
            out,
            kernel: (weight.dims()[2], weight.dims()[3]),
            options: *options,
        }
    }

    fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Inner dimension of one group's product.
    fn depth(&self) -> usize {
        self.channels / self.options.groups
    }

    /// Output channels of one group.
    fn columns(&self) -> usize {
        self.out[3] / self.options.groups
    }

    fn is_depthwise(&self) -> bool {
        self.depth() == 1 && self.columns() == 1 && self.options.groups > 1
    }

    /// The plane of the convolution for Winograd's products, if they pay.
    fn winograd_forward<'a>(&self, x: &'a [f32]) -> Option<Plane<'a>> {
        let padding = self.options.padding;
        let [batch, rows, columns, _] = self.out;
        let plane = Plane {
            source: x,
            batch,
            height: self.height,
            width: self.width,
            channels: self.channels,
            before: (padding.top, padding.left),
            out: (rows, columns),
        };
        self.winograd_pays(&plane).then_some(plane)
    }

    /// The plane of the gradient of the input: the window turned, over the gradient of the output.
    fn winograd_backward<'a>(&self, dz: &'a [f32]) -> Option<Plane<'a>> {
        let padding = self.options.padding;
        let [batch, rows, columns, channels] = self.out;
        let plane = Plane {
            source: dz,
            batch,
            height: rows,
            width: columns,
            channels,
            before: (2usize.checked_sub(padding.top)?, 2usize.checked_sub(padding.left)?),
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

    fn output_len(&self) -> usize {
        self.out.iter().product()
    }

    fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    fn forward_axes(&self) -> (Axis, Axis) {
        let Conv2d { stride, padding, .. } = self.options;
        let [_, rows, columns, _] = self.out;
        (
            Axis::forward(self.height, rows, self.kernel.0, stride, padding.top),
            Axis::forward(self.width, columns, self.kernel.1, stride, padding.left),
        )
    }

    fn backward_axes(&self) -> (Axis, Axis) {
        let Conv2d { stride, padding, .. } = self.options;
        let [_, rows, columns, _] = self.out;
        (
            Axis::backward(self.height, rows, self.kernel.0, stride, padding.top),
            Axis::backward(self.width, columns, self.kernel.1, stride, padding.left),
        )
    }
}

/// `act(scale ∘ conv(x, weight) + shift + residual)` over slices; `scale`, `shift` and `residual` may be left out.
pub(crate) fn forward(
    level: Level,
    geometry: Geometry,
    x: &[f32],
    weight: &[f32],
    (scale, shift, residual): (Option<&[f32]>, Option<&[f32]>, Option<&[f32]>),
    activation: Activation,
) -> Vec<f32> {
    let null = std::ptr::null();
    let epilogue = Epilogue {
        shift: shift.map_or(null, <[f32]>::as_ptr),
        residual: residual.map_or(null, <[f32]>::as_ptr),
        activation,
    };
    let (vertical, horizontal) = geometry.forward_axes();
    let gather = Gather {
        source: x,
        batch: geometry.batch,
        channels: geometry.channels,
        columns: geometry.out[3],
        vertical: &vertical,
        horizontal: &horizontal,
    };
    // SAFETY: the kernels write every output pixel; shift and residual have the lengths that were checked at the door.
    unsafe {
        filled(geometry.output_len(), |out| {
            if geometry.is_depthwise() {
                let weight = depthwise::taps_first(weight, geometry.channels, scale, false);
                depthwise::convolve(level, gather, &weight, epilogue, out);
            } else if let Some(plane) = geometry.winograd_forward(x) {
                let taps = &pack_forward(level, geometry, weight, scale)[0];
                let factors = winograd::forward::factors(level, taps);
                let columns = geometry.out[3];
                winograd::forward::convolve(level, plane, &factors, columns, epilogue, out);
            } else {
                let packed = pack_forward(level, geometry, weight, scale);
                direct::product(level, gather, &packed, epilogue, out);
            }
        })
    }
}

/// One matrix a group, `[tap, channel, out]`.
fn pack_forward(level: Level, geometry: Geometry, weight: &[f32], scale: Option<&[f32]>) -> Vec<Packed> {
    let (taps, depth, columns) = (geometry.taps(), geometry.depth(), geometry.columns());
    (0..geometry.options.groups)
        .map(|group| {
            let view = WeightView {
                values: &weight[group * columns * depth * taps..],
                tap: 1,
                depth: taps,
                column: depth * taps,
                turned: false,
                scale: scale.map_or(Scale::One, |s| Scale::Columns(&s[group * columns..])),
            };
            Packed::new(level, taps, depth, columns, view)
        })
        .collect()
}

/// One matrix a group, `[tap, out, channel]`.
fn pack_backward(level: Level, geometry: Geometry, weight: &[f32], scale: Option<&[f32]>, turned: bool) -> Vec<Packed> {
    let (taps, depth, columns) = (geometry.taps(), geometry.depth(), geometry.columns());
    (0..geometry.options.groups)
        .map(|group| {
            let view = WeightView {
                values: &weight[group * columns * depth * taps..],
                tap: 1,
                depth: depth * taps,
                column: taps,
                turned,
                scale: scale.map_or(Scale::One, |s| Scale::Depth(&s[group * columns..])),
            };
            Packed::new(level, taps, columns, depth, view)
        })
        .collect()
}

/// Adds the gradient of x to `sum`, or begins it.
fn input_gradient(
    level: Level,
    geometry: Geometry,
    dz: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
    sum: Option<Vec<f32>>,
) -> Vec<f32> {
    let write = |out: Shared, residual: *const f32| {
        let epilogue = Epilogue { residual, ..Epilogue::NONE };
        let (mut vertical, mut horizontal) = geometry.backward_axes();
        let flipped = geometry.is_depthwise() && window::flip(&mut vertical, &mut horizontal);
        let gather = Gather {
            source: dz,
            batch: geometry.batch,
            channels: geometry.out[3],
            columns: geometry.channels,
            vertical: &vertical,
            horizontal: &horizontal,
        };
        // SAFETY: `out` holds the whole input, and so does the residual, which is either null or `out` itself.
        unsafe {
            if geometry.is_depthwise() {
                let weight = depthwise::taps_first(weight, geometry.channels, scale, flipped);
                depthwise::convolve(level, gather, &weight, epilogue, out);
            } else if let Some(plane) = geometry.winograd_backward(dz) {
                let taps = &pack_backward(level, geometry, weight, scale, true)[0];
                let factors = winograd::forward::factors(level, taps);
                let columns = geometry.channels;
                winograd::forward::convolve(level, plane, &factors, columns, epilogue, out);
            } else {
                let packed = pack_backward(level, geometry, weight, scale, false);
                direct::product(level, gather, &packed, epilogue, out);
            }
        }
    };
    match sum {
        Some(mut sum) => {
            let out = Shared::new(&mut sum);
            write(out, out.pointer());
            sum
        }
        // SAFETY: the kernels write every input pixel.
        None => unsafe { filled(geometry.input_len(), |out| write(out, std::ptr::null())) },
    }
}

/// `g = Σ x ⊗ dz` in torchvision's layout, before any scale.
fn raw_weight_gradient(level: Level, geometry: Geometry, x: &[f32], dz: &[f32]) -> Vec<f32> {
    let (vertical, horizontal) = geometry.forward_axes();
    let gather = Gather {
        source: x,
        batch: geometry.batch,
        channels: geometry.channels,
        columns: geometry.out[3],
        vertical: &vertical,
        horizontal: &horizontal,
    };
    let (taps, depth, columns) = (geometry.taps(), geometry.depth(), geometry.columns());
    let (sums, groups, depth, columns) = if geometry.is_depthwise() {
        // [tap, channel] is one group's [tap, 1, channel].
        let sums = depthwise::weight_gradient(level, gather, dz);
        (sums, 1, 1, geometry.channels)
    } else if let Some(plane) = geometry.winograd_forward(x) {
        let sums = winograd::weight_gradient::weight_gradient(level, plane, dz, columns);
        (sums, 1, depth, columns)
    } else {
        let groups = geometry.options.groups;
        (weight_gradient(level, gather, groups, dz), groups, depth, columns)
    };
    outputs_first(&sums, groups, taps, depth, columns)
}

/// `[groups, taps, depth, columns]` to `[groups · columns, depth, taps]`.
fn outputs_first(sums: &[f32], groups: usize, taps: usize, depth: usize, columns: usize) -> Vec<f32> {
    // A block of outputs keeps the lines that are read in the cache.
    const BLOCK: usize = 16;
    let filter = depth * taps;
    let mut weight = vec![0.0; sums.len()];
    for group in 0..groups {
        let sums = &sums[group * filter * columns..][..filter * columns];
        weight[group * filter * columns..][..filter * columns].par_chunks_mut(BLOCK * filter).enumerate().for_each(
            |(block, filters)| {
                for tap in 0..taps {
                    for c in 0..depth {
                        let from = (tap * depth + c) * columns + block * BLOCK;
                        let values = &sums[from..];
                        for (filter, &value) in filters.chunks_exact_mut(filter).zip(values) {
                            filter[c * taps + tap] = value;
                        }
                    }
                }
            },
        );
    }
    weight
}

/// A convolution with its gradients.
pub(crate) struct Arguments<'a> {
    pub x: &'a Tensor,
    pub weight: &'a Tensor,
    pub scale: Option<&'a Tensor>,
    pub shift: Option<&'a Tensor>,
    pub residual: Option<&'a Tensor>,
}

/// Runs the convolution and records what its gradients need.
pub(crate) fn run(
    arguments: Arguments,
    activation: Activation,
    options: &Conv2d,
    out: [usize; 4],
) -> candle_core::Result<Tensor> {
    let level = Level::detected();
    let contiguous = |tensor: Option<&Tensor>| tensor.map(Tensor::contiguous).transpose();
    let x = &arguments.x.contiguous()?;
    let weight = &arguments.weight.contiguous()?;
    let scale = &contiguous(arguments.scale)?;
    let shift = &contiguous(arguments.shift)?;
    let residual = &contiguous(arguments.residual)?;
    let geometry = Geometry::new(x, weight, out, options);
    let output = with_values!(
        x = x, w = weight,
        s = scale.as_ref().unwrap_or(weight),
        t = shift.as_ref().unwrap_or(weight),
        r = residual.as_ref().unwrap_or(weight);
        forward(
            level,
            geometry,
            x,
            w,
            (
                scale.is_some().then_some(s),
                shift.is_some().then_some(t),
                residual.is_some().then_some(r),
            ),
            activation,
        )
    );
    let enter = |tensor: &Option<Tensor>| match tensor {
        Some(tensor) => tape::enter(tensor),
        None => Ok(None),
    };
    let inputs = [tape::enter(x)?, tape::enter(weight)?, enter(scale)?, enter(shift)?, enter(residual)?];
    tape::record(&inputs, output, &out, |y| {
        Box::new(ConvBackward {
            level,
            geometry,
            x: x.detach(),
            y: (activation != Activation::None).then_some(y),
            weight: weight.detach(),
            scale: scale.as_ref().map(Tensor::detach),
            activation,
            slots: inputs.each_ref().map(slot_of),
        })
    })
}

struct ConvBackward {
    level: Level,
    geometry: Geometry,
    x: Tensor,
    y: Option<Tensor>,
    weight: Tensor,
    scale: Option<Tensor>,
    activation: Activation,
    slots: [Option<Arc<Slot>>; 5],
}

impl Backward for ConvBackward {
    fn backward(self: Box<Self>, mut gradient: Vec<f32>) -> candle_core::Result<()> {
        let Self {
            level,
            geometry,
            x,
            y,
            weight,
            scale,
            activation,
            slots: [x_slot, weight_slot, scale_slot, shift_slot, residual_slot],
        } = *self;
        with_values!(
            y_values = y.as_ref().unwrap_or(&x),
            s = scale.as_ref().unwrap_or(&weight),
            x = x, w = weight;
            {
                let s = scale.is_some().then_some(s);
                let sums = gate(
                    level,
                    Gate {
                        y: y.is_some().then_some(y_values),
                        activation,
                        channels: geometry.out[3],
                        sum: shift_slot.is_some(),
                        weighted: None,
                    },
                    &mut gradient,
                );
                if let (Some(slot), Some(sum)) = (shift_slot, sums.plain) {
                    slot.add(sum);
                }
                if weight_slot.is_some() || scale_slot.is_some() {
                    let mut g = raw_weight_gradient(level, geometry, x, &gradient);
                    if let Some(slot) = scale_slot {
                        slot.add(inner_products(w, &g, geometry.out[3]));
                    }
                    if let Some(slot) = weight_slot {
                        if let Some(s) = s {
                            scale_filters(&mut g, s);
                        }
                        slot.add(g);
                    }
                }
                if let Some(slot) = x_slot {
                    slot.update(|sum| input_gradient(level, geometry, &gradient, w, s, sum));
                }
            }
        );
        if let Some(slot) = residual_slot {
            slot.add(gradient);
        }
        Ok(())
    }
}

/// `⟨w[o], g[o]⟩` for each output channel.
fn inner_products(weight: &[f32], gradient: &[f32], outputs: usize) -> Vec<f32> {
    let filter = weight.len() / outputs;
    weight
        .chunks_exact(filter)
        .zip(gradient.chunks_exact(filter))
        .map(|(w, g)| w.iter().zip(g).map(|(w, g)| w * g).sum())
        .collect()
}

fn scale_filters(gradient: &mut [f32], scale: &[f32]) {
    let filter = gradient.len() / scale.len();
    for (filter, scale) in gradient.chunks_exact_mut(filter).zip(scale) {
        filter.iter_mut().for_each(|value| *value *= scale);
    }
}
