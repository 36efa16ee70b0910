//! The convolution with scale, shift, residual and activation, forward and backward.
//!
//! With `w' = s ∘ w`, `y = act(conv(x, w') + t + r)` and `g = dy ∘ act'(y)`:
//! - `dt = Σ g` over all pixels, `dr = g`, `dx` is the adjoint of the convolution with `w'`;
//! - with `d = Σ x ⊗ g`, the gradient of `w'`: `dw = s ∘ d` and `ds[o] = ⟨w[o], d[o]⟩`, both from the weight alone.
//!
//! Only x, y and the folded weight are kept.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::channels::{Epilogue, MaskRows, Masked, number, rows_per_chunk, sum_chunks};
use super::dnn::{Direction, Sizes, convolve};
use super::launch::{Argument, DEPTHWISE, Grid, Window, int, launch, packing, small, suffix, wide};
use super::memory::{Output, device, pointer, pointer_or_null};
use super::products::{Matrices, Product};
use super::weights::{self, Layout, Statistics, fold, unfold};
use crate::activation::Activation;
use crate::geometry::{Conv2d, ConvGeometry, Padding};
use crate::operands::{ConvOperands, FrozenNorm};
use crate::precision::Precision;
use crate::tape::Backward;
use crate::tape::walk::{Node, record, watch};

/// The node of an input; `None` if the input is not tracked.
type Slot = Option<Arc<Node>>;

/// What computes a convolution, by its sizes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// One matrix product over all pixels.
    Product,
    /// The depthwise kernels of this crate.
    Depthwise,
    /// cuDNN.
    Dnn,
}

impl Route {
    fn of(geometry: &ConvGeometry) -> Self {
        let Conv2d { stride, padding, groups, .. } = geometry.options;
        if geometry.kernel == (1, 1) && stride == 1 && padding == Padding::default() && groups == 1 {
            Self::Product
        } else if groups == geometry.channels && geometry.out[3] == groups {
            Self::Depthwise
        } else {
            Self::Dnn
        }
    }

    fn layout(self) -> Layout {
        if self == Self::Depthwise { Layout::Depthwise } else { Layout::Taps }
    }
}

/// `act(scale ∘ conv(x, weight) + shift + residual)`: `[batch, rows, columns, out]`.
pub(crate) fn convolution(operands: &ConvOperands, activation: Activation, geometry: &ConvGeometry) -> Result<Tensor> {
    let ConvOperands { x, weight, scale, shift, residual } = operands;
    let nodes = [scale.as_ref().and_then(watch), shift.as_ref().and_then(watch)];
    let scaling = Scaling { scale: scale.clone(), shift: shift.clone(), origin: Origin::Given(nodes) };
    run(x, weight, scaling, residual.as_ref(), activation, *geometry, &geometry.out)
}

/// `act(norm(conv(x, weight)) + residual)`: `[batch, rows, columns, out]`.
pub(crate) fn with_norm(
    x: &Tensor,
    weight: &Tensor,
    norm: &FrozenNorm,
    residual: Option<&Tensor>,
    activation: Activation,
    geometry: &ConvGeometry,
) -> Result<Tensor> {
    let (scale, shift, statistics) = weights::norm(norm)?;
    let nodes = [watch(norm.weight), watch(norm.bias), norm.conv_bias.and_then(watch)];
    let scaling = Scaling { scale: Some(scale), shift: Some(shift), origin: Origin::Norm(statistics, nodes) };
    let residual = residual.map(Tensor::contiguous).transpose()?;
    run(&x.contiguous()?, &weight.contiguous()?, scaling, residual.as_ref(), activation, *geometry, &geometry.out)
}

/// `x · weightᵀ + bias` for contiguous `[…, k]`, `[out, k]` and `[out]` with at least one element each: a convolution of images of one
/// pixel.
pub(crate) fn linear(precision: Precision, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out, channels) = weight.dims2()?;
    let batch = x.elem_count() / channels;
    let options = Conv2d { precision, ..Conv2d::default() };
    let geometry =
        ConvGeometry { batch, height: 1, width: 1, channels, out: [batch, 1, 1, out], kernel: (1, 1), options };
    let mut dims = x.dims().to_vec();
    dims.pop();
    dims.push(out);
    let origin = Origin::Given([None, bias.and_then(watch)]);
    let scaling = Scaling { scale: None, shift: bias.cloned(), origin };
    run(x, weight, scaling, None, Activation::None, geometry, &dims)
}

/// Scale and shift per channel, and where they come from.
struct Scaling {
    scale: Option<Tensor>,
    shift: Option<Tensor>,
    origin: Origin,
}

/// Where scale and shift come from.
enum Origin {
    /// They were given: the nodes of both.
    Given([Slot; 2]),
    /// They were made from a frozen batch normalisation: the nodes of γ, β and the convolution's bias.
    Norm(Statistics, [Slot; 3]),
}

impl Origin {
    fn nodes(&self) -> &[Slot] {
        match self {
            Self::Given(nodes) => nodes,
            Self::Norm(_, nodes) => nodes,
        }
    }

    fn is_tracked(&self) -> bool {
        self.nodes().iter().any(Option::is_some)
    }

    /// Adds to the gradients, given those of scale and shift.
    fn add(self, scale: Option<&Tensor>, d_scale: Option<Tensor>, d_shift: Option<Tensor>) -> Result<()> {
        let pairs = match self {
            Self::Given([scale_node, shift_node]) => vec![(scale_node, d_scale), (shift_node, d_shift)],
            Self::Norm(statistics, [weight, bias, conv_bias]) => {
                let (Some(scale), Some(d_scale), Some(d_shift)) = (scale, d_scale, d_shift) else { return Ok(()) };
                let (of_weight, of_conv_bias) = statistics.gradients(scale, &d_scale, &d_shift)?;
                vec![(weight, Some(of_weight)), (bias, Some(d_shift)), (conv_bias, of_conv_bias)]
            }
        };
        for (node, gradient) in pairs {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                node.add(gradient)?;
            }
        }
        Ok(())
    }
}

/// Runs the convolution and records its backward pass; `dims` is the shape of the returned tensor.
fn run(
    x: &Tensor,
    weight: &Tensor,
    scaling: Scaling,
    residual: Option<&Tensor>,
    activation: Activation,
    geometry: ConvGeometry,
    dims: &[usize],
) -> Result<Tensor> {
    let Scaling { scale, shift, origin } = scaling;
    let route = Route::of(&geometry);
    let folded = fold(weight, scale.as_ref(), route.layout(), x.dtype())?;
    let pass = Pass { geometry, route, dtype: x.dtype() };
    let epilogue = Epilogue { scale: None, shift: shift.as_ref(), residual, activation };
    let output = pass.forward(x, &folded, epilogue)?;
    let nodes = [watch(x), watch(weight), residual.and_then(watch)];
    let inputs: Vec<Slot> = nodes.iter().chain(origin.nodes()).cloned().collect();
    record(&inputs, output.into_storage(), dims, x.device(), |y| {
        Box::new(ConvBackward {
            pass,
            x: x.detach(),
            y: (activation != Activation::None).then_some(y),
            folded,
            weight: weight.detach(),
            scale: scale.map(|scale| scale.detach()),
            origin,
            activation,
            nodes,
        })
    })
}

struct ConvBackward {
    pass: Pass,
    x: Tensor,
    y: Option<Tensor>,
    folded: Tensor,
    weight: Tensor,
    scale: Option<Tensor>,
    origin: Origin,
    activation: Activation,
    /// Of x, weight and residual.
    nodes: [Slot; 3],
}

impl Backward<Tensor> for ConvBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { pass, x, y, folded, weight, scale, origin, activation, nodes } = *self;
        let [x_node, weight_node, residual_node] = nodes;
        let dy = dy.contiguous()?;
        // Without an activation there is nothing to mask, and without a tracked shift nothing to sum.
        let scaling_is_tracked = origin.is_tracked();
        let (gradient, d_shift) = if y.is_some() || scaling_is_tracked {
            let wanted = MaskRows {
                y: y.as_ref(),
                activation,
                factors: None,
                scale: None,
                gradient: y.is_some(),
                sum: scaling_is_tracked,
            };
            let channels = pass.geometry.out[3];
            let dy = dy.reshape((dy.elem_count() / channels, channels))?;
            let Masked { gradient, sum, .. } = wanted.run(&dy)?;
            (gradient.unwrap_or(dy), sum)
        } else {
            (dy, None)
        };
        let gradient = gradient.reshape(&pass.geometry.out)?;
        let mut d_scale = None;
        if weight_node.is_some() || (scaling_is_tracked && scale.is_some()) {
            let of_folded = pass.weight_gradient(&x, &gradient)?;
            let (of_weight, of_scale) = unfold(&of_folded, &weight, scale.as_ref(), pass.route.layout())?;
            if let Some(node) = weight_node {
                node.add(of_weight)?;
            }
            d_scale = of_scale;
        }
        origin.add(scale.as_ref(), d_scale, d_shift)?;
        if let Some(node) = x_node {
            node.add(pass.input_gradient(&folded, &gradient)?.reshape(x.shape())?)?;
        }
        match residual_node {
            Some(node) => node.add(gradient),
            None => Ok(()),
        }
    }
}

/// The three passes of a convolution with a folded weight.
#[derive(Clone, Copy)]
struct Pass {
    geometry: ConvGeometry,
    route: Route,
    /// Type of the activations.
    dtype: DType,
}

impl Pass {
    fn forward(self, x: &Tensor, folded: &Tensor, epilogue: Epilogue) -> Result<Output> {
        let ConvGeometry { out, channels, .. } = self.geometry;
        let output = match self.route {
            Route::Depthwise => return self.depthwise(x, folded, epilogue),
            Route::Dnn => self.dnn_forward(x, folded)?,
            Route::Product => {
                let device = device(x)?;
                let output = Output::new(&out, self.dtype, &device)?;
                let product = self.product(self.pixels(), out[3], channels, self.dtype);
                let (x, folded) = (Matrices::one(pointer(x)?, channels), Matrices::one(pointer(folded)?, channels));
                // SAFETY: x is `[pixels, channels]`, the weight `[out, channels]`, and the output `[pixels, out]`.
                unsafe { product.enqueue(&device, x, folded.transposed(), Matrices::one(output.pointer()?, out[3]))? };
                output
            }
        };
        if !epilogue.is_identity() {
            // SAFETY: it works in place.
            unsafe { epilogue.apply(x, output.pointer()?, &output, out[3])? };
        }
        Ok(output)
    }

    /// The gradient of x.
    fn input_gradient(self, folded: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let ConvGeometry { batch, height, width, channels, out, .. } = self.geometry;
        let device = device(gradient)?;
        match self.route {
            Route::Dnn => self.dnn_input_gradient(folded, gradient),
            Route::Product => {
                let output = Output::new((batch, height, width, channels), self.dtype, &device)?;
                let product = self.product(self.pixels(), channels, out[3], self.dtype);
                let result = Matrices::one(output.pointer()?, channels);
                let (gradient, folded) =
                    (Matrices::one(pointer(gradient)?, out[3]), Matrices::one(pointer(folded)?, channels));
                // SAFETY: the gradient is `[pixels, out]`, the weight `[out, channels]`, and the output `[pixels, channels]`.
                unsafe { product.enqueue(&device, gradient, folded, result)? };
                Ok(output.into_tensor())
            }
            Route::Depthwise => {
                let output = Output::new((batch, height, width, channels), self.dtype, &device)?;
                let pointers = [pointer(gradient)?, pointer(folded)?, output.pointer()?];
                let (pack, name) = packing(self.dtype, channels, &[pointers[0], pointers[2]])?;
                let count = output.elements() / pack;
                let [dy, weight, dx] = pointers.map(Argument::Pointer);
                let arguments = [dy, weight, dx, Argument::Window(self.window()?), wide(count)];
                // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
                unsafe {
                    launch(&device, DEPTHWISE, &format!("depthwise_input_{name}"), Grid::over(count), &arguments)?
                };
                Ok(output.into_tensor())
            }
        }
    }

    /// The gradient of the folded weight, in its layout.
    fn weight_gradient(self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let ConvGeometry { channels, out, kernel, .. } = self.geometry;
        let device = device(x)?;
        match self.route {
            Route::Dnn => self.dnn_weight_gradient(x, gradient),
            Route::Product => {
                let output = Output::new((out[3], channels), DType::F32, &device)?;
                let product = self.product(out[3], channels, self.pixels(), DType::F32);
                let result = Matrices::one(output.pointer()?, channels);
                let (gradient, x) = (Matrices::one(pointer(gradient)?, out[3]), Matrices::one(pointer(x)?, channels));
                // SAFETY: the gradient is `[pixels, out]`, x `[pixels, channels]`, and the output `[out, channels]`.
                unsafe { product.enqueue(&device, gradient.transposed(), x, result)? };
                Ok(output.into_tensor())
            }
            Route::Depthwise => {
                let (pixels, taps) = (out[0] * out[1] * out[2], kernel.0 * kernel.1);
                let tiles = channels.div_ceil(32);
                let pixels_per_chunk = rows_per_chunk(pixels, tiles * taps);
                let chunks = pixels.div_ceil(pixels_per_chunk);
                let partial = Output::new((chunks, taps, channels), DType::F32, &device)?;
                let [x, dy, to] = [pointer(x)?, pointer(gradient)?, partial.pointer()?].map(Argument::Pointer);
                let window = Argument::Window(self.window()?);
                let arguments = [x, dy, to, window, int(pixels)?, int(pixels_per_chunk)?];
                let grid = Grid { blocks: [tiles, chunks, taps], threads: [32, 8] };
                let name = format!("depthwise_weight_{}", suffix(self.dtype)?);
                // SAFETY: the arguments are those of the kernel, and the partial sums have one row of taps per chunk.
                unsafe { launch(&device, DEPTHWISE, &name, grid, &arguments)? };
                sum_chunks(partial, chunks, taps * channels, &[taps, channels])
            }
        }
    }

    /// The forward pass of a depthwise convolution, with its epilogue.
    fn depthwise(self, x: &Tensor, folded: &Tensor, epilogue: Epilogue) -> Result<Output> {
        let device = device(x)?;
        let channels = self.geometry.channels;
        let output = Output::new(&self.geometry.out, self.dtype, &device)?;
        let residual = pointer_or_null(epilogue.residual)?;
        let pointers = [pointer(x)?, pointer(folded)?, pointer_or_null(epilogue.shift)?, residual, output.pointer()?];
        let (pack, name) = packing(self.dtype, channels, &[pointers[0], residual, pointers[4]])?;
        let count = output.elements() / pack;
        let [x, weight, shift, residual, y] = pointers.map(Argument::Pointer);
        let (activation, window) = (number(epilogue.activation), Argument::Window(self.window()?));
        let arguments = [x, weight, shift, residual, y, activation, window, wide(count)];
        // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
        unsafe { launch(&device, DEPTHWISE, &format!("depthwise_{name}"), Grid::over(count), &arguments)? };
        Ok(output)
    }

    fn pixels(self) -> usize {
        self.geometry.batch * self.geometry.height * self.geometry.width
    }

    fn product(self, m: usize, n: usize, k: usize, result: DType) -> Product {
        Product { m, n, k, batch: 1, factors: self.dtype, result, precision: self.geometry.options.precision }
    }

    fn window(self) -> Result<Window> {
        let ConvGeometry { height, width, channels, out, kernel, options, .. } = self.geometry;
        Ok(Window {
            height: small(height)?,
            width: small(width)?,
            channels: small(channels)?,
            rows: small(out[1])?,
            columns: small(out[2])?,
            kernel_height: small(kernel.0)?,
            kernel_width: small(kernel.1)?,
            stride: small(options.stride)?,
            top: small(options.padding.top)?,
            left: small(options.padding.left)?,
        })
    }
}

/// cuDNN takes the same padding on opposite sides, and its `bf16` kernels want channels in multiples of eight. What does not fit is
/// padded with zeros first, which changes no sum, and cut off afterwards.
#[derive(Clone, Copy)]
struct Fitted {
    /// Rows above and below, columns left and right, and channels that are added to x.
    rows: (usize, usize),
    columns: (usize, usize),
    channels: usize,
    sizes: Sizes,
}

impl Pass {
    fn fitted(self) -> Fitted {
        let ConvGeometry { batch, height, width, channels, out, kernel, options } = self.geometry;
        let Conv2d { stride, padding, groups, precision } = options;
        let Padding { top, bottom, left, right } = padding;
        let is_symmetric = top == bottom && left == right;
        let rows = if is_symmetric { (0, 0) } else { (top, bottom) };
        let columns = if is_symmetric { (0, 0) } else { (left, right) };
        let added = match self.dtype {
            DType::BF16 if groups == 1 => channels.next_multiple_of(8) - channels,
            _ => 0,
        };
        let depth = channels / groups + added;
        let sizes = Sizes {
            x: [batch, height + rows.0 + rows.1, width + columns.0 + columns.1, channels + added],
            weight: [out[3], kernel.0, kernel.1, depth],
            y: out,
            stride,
            padding: if is_symmetric { [top, left] } else { [0, 0] },
            groups,
            dtype: self.dtype,
            precision,
        };
        Fitted { rows, columns, channels: added, sizes }
    }

    fn dnn_forward(self, x: &Tensor, folded: &Tensor) -> Result<Output> {
        let fitted = self.fitted();
        convolve(Direction::Forward, fitted.sizes, &fitted.input(x)?, &fitted.weight(folded)?)
    }

    fn dnn_input_gradient(self, folded: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let fitted = self.fitted();
        let output = convolve(Direction::Input, fitted.sizes, &fitted.weight(folded)?, gradient)?;
        let ConvGeometry { height, width, channels, .. } = self.geometry;
        let (top, left) = (fitted.rows.0, fitted.columns.0);
        output.into_tensor().narrow(1, top, height)?.narrow(2, left, width)?.narrow(3, 0, channels)?.contiguous()
    }

    fn dnn_weight_gradient(self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let fitted = self.fitted();
        let output = convolve(Direction::Weight, fitted.sizes, &fitted.input(x)?, gradient)?;
        let depth = fitted.sizes.weight[3] - fitted.channels;
        output.into_tensor().narrow(3, 0, depth)?.contiguous()
    }
}

impl Fitted {
    fn input(self, x: &Tensor) -> Result<Tensor> {
        let Self { rows, columns, channels, .. } = self;
        let x = if rows == (0, 0) { x.clone() } else { x.pad_with_zeros(1, rows.0, rows.1)? };
        let x = if columns == (0, 0) { x } else { x.pad_with_zeros(2, columns.0, columns.1)? };
        if channels == 0 { x.contiguous() } else { x.pad_with_zeros(3, 0, channels)?.contiguous() }
    }

    /// The folded weight, which has the shape of torchvision's, as `[out, height, width, depth]`.
    fn weight(self, folded: &Tensor) -> Result<Tensor> {
        let [out, height, width, depth] = self.sizes.weight;
        let weight = folded.reshape((out, height, width, depth - self.channels))?;
        if self.channels == 0 { Ok(weight) } else { weight.pad_with_zeros(3, 0, self.channels)?.contiguous() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(channels: usize, out: usize, kernel: usize, options: Conv2d) -> ConvGeometry {
        ConvGeometry::new("conv2d", (2, 9, 9, channels), (out, channels / options.groups, kernel, kernel), &options)
            .expect("the sizes match")
    }

    #[test]
    fn routes_follow_from_the_sizes() {
        let same = |kernel: usize, stride, groups| Conv2d {
            stride,
            padding: Padding::same(kernel / 2),
            groups,
            ..Conv2d::default()
        };
        for (channels, out, kernel, stride, groups, expected) in [
            (8, 16, 1, 1, 1, Route::Product),
            (8, 16, 1, 2, 1, Route::Dnn),
            (8, 16, 3, 1, 1, Route::Dnn),
            (8, 8, 3, 1, 8, Route::Depthwise),
            (8, 8, 5, 2, 8, Route::Depthwise),
            (8, 16, 3, 1, 8, Route::Dnn),
            (8, 8, 3, 1, 2, Route::Dnn),
        ] {
            assert_eq!(Route::of(&geometry(channels, out, kernel, same(kernel, stride, groups))), expected);
        }
    }

    #[test]
    fn what_cudnn_does_not_take_is_padded() {
        let options =
            Conv2d { stride: 2, padding: Padding { top: 0, bottom: 1, left: 0, right: 1 }, ..Conv2d::default() };
        let pass = |dtype| Pass { geometry: geometry(3, 8, 3, options), route: Route::Dnn, dtype };
        let fitted = pass(DType::BF16).fitted();
        assert_eq!((fitted.rows, fitted.columns, fitted.channels), ((0, 1), (0, 1), 5));
        assert_eq!(fitted.sizes.x, [2, 10, 10, 8]);
        assert_eq!(fitted.sizes.weight, [8, 3, 3, 8]);
        assert_eq!(fitted.sizes.padding, [0, 0]);
        assert_eq!(pass(DType::F32).fitted().sizes.x, [2, 10, 10, 3]);
    }
}
