//! The convolution with scale, shift, residual and activation, forward and backward.
//!
//! With `w' = s ∘ w`, `y = act(conv(x, w') + t + r)` and `g = dy ∘ act'(y)`:
//! - `dt = Σ g` over all pixels, `dr = g`, `dx` is the adjoint of the convolution with `w'`;
//! - with `d = Σ x ⊗ g`, the gradient of `w'`: `dw = s ∘ d` and `ds[o] = ⟨w[o], d[o]⟩`, both from the weight alone.
//!
//! Only x, y and the folded weight are kept.

use candle_core::{Result, Tensor};

use super::channels::{MaskRows, Masked};
use super::finish::{self, Layer, Nodes};
use super::passes::Pass;
use super::weights::{Scaling, Statistics, fold};
use crate::activation::Activation;
use crate::geometry::{Conv2d, ConvGeometry};
use crate::operands::{ConvOperands, FrozenNorm};
use crate::precision::Precision;
use crate::tape::Backward;
use crate::tape::walk::{Slot, add, record, watch};

/// `act(scale ∘ conv(x, weight) + shift + residual)`: `[batch, rows, columns, out]`.
pub(crate) fn convolution(operands: &ConvOperands, activation: Activation, geometry: &ConvGeometry) -> Result<Tensor> {
    let ConvOperands { x, weight, scale, shift, residual } = operands;
    let plain = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::detach);
    let scaling = Scaling::Given { scale: plain(scale), shift: plain(shift) };
    let [of_scale, of_shift] = [scale, shift].map(|tensor| tensor.as_ref().and_then(watch));
    let parameters = Nodes { weight: watch(weight), scale: of_scale, shift: of_shift, bias: None };
    run(x, weight, (scaling, parameters), residual.as_ref(), activation, *geometry, &geometry.out)
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
    let scaling = Scaling::Norm(Statistics::of(norm)?);
    let parameters = Nodes {
        weight: watch(weight),
        scale: watch(norm.weight),
        shift: watch(norm.bias),
        bias: norm.conv_bias.and_then(watch),
    };
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    run(&x, &weight, (scaling, parameters), residual.as_ref(), activation, *geometry, &geometry.out)
}

/// `x · weightᵀ + bias + residual` for contiguous `[…, k]`, `[out, k]`, `[out]` and `[…, out]` with at least one element each: a
/// convolution of images of one pixel.
pub(crate) fn linear(
    precision: Precision,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let (out, channels) = weight.dims2()?;
    let batch = x.elem_count() / channels;
    let options = Conv2d { precision, ..Conv2d::default() };
    let geometry =
        ConvGeometry { batch, height: 1, width: 1, channels, out: [batch, 1, 1, out], kernel: (1, 1), options };
    let mut dims = x.dims().to_vec();
    dims.pop();
    dims.push(out);
    let scaling = Scaling::Given { scale: None, shift: bias.map(Tensor::detach) };
    let parameters = Nodes { weight: watch(weight), scale: None, shift: bias.and_then(watch), bias: None };
    run(x, weight, (scaling, parameters), residual, Activation::None, geometry, &dims)
}

/// Runs the convolution and records its backward pass; `dims` is the shape of the returned tensor.
fn run(
    x: &Tensor,
    weight: &Tensor,
    (scaling, parameters): (Scaling, Nodes),
    residual: Option<&Tensor>,
    activation: Activation,
    geometry: ConvGeometry,
    dims: &[usize],
) -> Result<Tensor> {
    let pass = Pass::new(geometry, x.dtype());
    let folded = fold(weight, &scaling, pass.layout(), x.dtype())?;
    let output = pass.forward(x, &folded, residual, activation)?;
    let nodes = [watch(x), residual.and_then(watch)];
    let inputs: Vec<Slot> = nodes.iter().chain(parameters.all()).cloned().collect();
    record(&inputs, output.into_storage(), dims, x.device(), |y| {
        Box::new(ConvBackward {
            pass,
            x: x.detach(),
            y: (activation != Activation::None).then_some(y),
            folded: folded.weight,
            weight: weight.detach(),
            scaling,
            parameters,
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
    scaling: Scaling,
    parameters: Nodes,
    activation: Activation,
    /// Of x and residual.
    nodes: [Slot; 2],
}

impl Backward<Tensor> for ConvBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { pass, x, y, folded, weight, scaling, parameters, activation, nodes: [x_node, residual_node] } =
            *self;
        let dy = dy.contiguous()?;
        let Nodes { weight: weight_node, scale, shift, bias } = &parameters;
        let scaling_is_tracked = [scale, shift, bias].into_iter().any(Option::is_some);
        // Without an activation there is nothing to mask, and without a tracked shift nothing to sum.
        let (gradient, sums) = if y.is_some() || scaling_is_tracked {
            let wanted = MaskRows {
                y: y.as_ref(),
                activation,
                gradient: y.is_some(),
                sum: scaling_is_tracked,
                ..MaskRows::default()
            };
            let channels = pass.out()[3];
            let rows = dy.reshape((dy.elem_count() / channels, channels))?;
            let Masked { gradient, sum, .. } = wanted.run(&rows)?;
            (gradient.map_or(Ok(dy.clone()), |gradient| gradient.reshape(dy.shape()))?, sum)
        } else {
            (dy, None)
        };
        let pixels = gradient.reshape(&pass.out())?;
        let is_wanted = weight_node.is_some() || (scaling.has_scale() && (scale.is_some() || bias.is_some()));
        let of_folded = is_wanted.then(|| pass.weight_gradient(&x, &pixels)).transpose()?;
        if let Some(node) = x_node {
            let input = pass.for_input();
            let folded = match input.layout() == pass.layout() {
                true => folded,
                false => fold(&weight, &scaling, input.layout(), x.dtype())?.weight,
            };
            node.update(|other| input.input_gradient(&folded, &pixels, other)?.reshape(x.shape()))?;
        }
        if of_folded.is_some() || sums.is_some() {
            let layout = pass.layout();
            finish::later(Layer { gradient: of_folded, weight, scaling, layout, sums, nodes: parameters })?;
        }
        add(residual_node, Some(gradient))
    }
}
