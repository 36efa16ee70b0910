//! A convolution with its frozen batch-norm and activation: the layer of the convolutional backbones.
//!
//! Formula: `y = act(scale ∘ conv(x, w) + shift + residual)` with `scale = γ / √(var + ε)` and
//! `shift = β + (bias − mean) · scale`. The stored mean and var are never updated, so the normalisation is one scale and one
//! shift per channel. For inference both are folded into the convolution: `w' = scale · w`, `bias' = shift`.
//! Source: Ioffe and Szegedy 2015, arXiv 1502.03167, section 3.1; frozen as in DC19 and DC21.

use candle_core::Tensor;
use dnc_kernels::{Activation, Conv2d, FrozenNorm, Padding, Precision, conv2d_affine, conv2d_norm};

use crate::error::{LearnError, Result};
use crate::onnx::graph::{Conv, Graph, Value};
use crate::parameters::Parameters;
use crate::spec::{Initialisation, Role, Spec};

/// Padding of the feature map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Border {
    /// This number of zeros on all sides.
    Zeros(usize),
    /// TensorFlow's SAME padding: zeros such that the output has the size `⌈size / stride⌉`, with an odd one at the bottom and right.
    TensorflowSame,
}

/// Origin of the scale and shift of each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Norm {
    /// Batch-norm with stored statistics; ε is added to the variance.
    Frozen { epsilon: f64 },
    /// Scale and shift are parameters themselves; `scale` is the initial scale.
    Plain { scale: f32 },
}

/// Description of one layer.
#[derive(Clone, Debug)]
pub(super) struct ConvNorm {
    /// The convolution's tensors are `{conv}.weight` and, if it has one, `{conv}.bias`.
    pub(super) conv: String,
    /// The normalisation's tensors are `{norm}.weight`, `{norm}.bias`, `{norm}.running_mean`, `{norm}.running_var`.
    pub(super) norm: String,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) border: Border,
    pub(super) groups: usize,
    pub(super) bias: bool,
    pub(super) normalisation: Norm,
    pub(super) activation: Activation,
}

impl ConvNorm {
    /// The most common layer, from which the others differ in some fields: a square kernel padded by half its size, stride 1, one
    /// group, no bias, batch-norm with PyTorch's ε, and a ReLU.
    pub(super) fn new(conv: impl Into<String>, norm: impl Into<String>, kernel: usize, channels: [usize; 2]) -> Self {
        Self {
            conv: conv.into(),
            norm: norm.into(),
            inputs: channels[0],
            outputs: channels[1],
            kernel,
            stride: 1,
            border: Border::Zeros(kernel / 2),
            groups: 1,
            bias: false,
            normalisation: Norm::Frozen { epsilon: 1e-5 },
            activation: Activation::Relu,
        }
    }

    /// The tensors of this layer.
    pub(super) fn specs(&self) -> Vec<Spec> {
        let shape = [self.outputs, self.inputs / self.groups, self.kernel, self.kernel];
        // In a grouped convolution, an input channel only reaches the outputs of its group.
        let fan_out = [self.outputs / self.groups, shape[1], self.kernel, self.kernel];
        let init = match self.normalisation {
            Norm::Frozen { .. } => Initialisation::kaiming_fan_out(&fan_out),
            // Nothing normalises the scale of the features, so each layer has to preserve that of its inputs.
            Norm::Plain { .. } => Initialisation::kaiming_fan_in(&shape),
        };
        let mut specs = vec![Spec::weight(self.name("weight"), shape, init)];
        if self.bias {
            specs.push(Spec::weight(self.name("bias"), [self.outputs], Initialisation::Constant(0.0)));
        }
        let mut channelwise = |name: &str, value: f32, role| {
            let (name, init) = (format!("{}.{name}", self.norm), Initialisation::Constant(value));
            specs.push(Spec { name, shape: vec![self.outputs], init, role });
        };
        match self.normalisation {
            Norm::Frozen { .. } => {
                channelwise("weight", 1.0, Role::Affine);
                channelwise("bias", 0.0, Role::Affine);
                channelwise("running_mean", 0.0, Role::Constant);
                channelwise("running_var", 1.0, Role::Constant);
            }
            Norm::Plain { scale } => {
                channelwise("weight", scale, Role::Weight);
                channelwise("bias", 0.0, Role::Weight);
            }
        }
        specs
    }

    /// `x` `[batch, height, width, inputs]` to `[batch, height', width', outputs]`; `residual` has the result's shape.
    pub(super) fn forward(&self, parameters: &Parameters, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let weight = parameters.tensor(&self.name("weight"))?;
        let geometry = self.geometry(x, parameters.precision())?;
        let result = match self.normalisation {
            Norm::Frozen { epsilon } if !parameters.contains(&self.folded("shift")) => {
                self.with_norm(parameters, epsilon, |norm| {
                    conv2d_norm(x, &weight, norm, residual, self.activation, &geometry)
                })?
            }
            _ => {
                let (scale, shift) = self.scale_and_shift(parameters)?;
                conv2d_affine(x, &weight, &scale, &shift, residual, self.activation, &geometry)
            }
        };
        result.map_err(|source| LearnError::Layer { layer: self.conv.clone(), source })
    }

    /// The layer with folded `parameters` as nodes of a graph.
    pub(super) fn trace(
        &self,
        parameters: &Parameters,
        graph: &mut Graph,
        x: &Value,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let (weight, bias) = (parameters.tensor(&self.name("weight"))?, parameters.tensor(&self.folded("shift"))?);
        let [_, height, width] = x.shape[..] else {
            let wanted = "[channels, height, width]".to_owned();
            return Err(LearnError::Shape { name: self.conv.clone(), wanted, found: x.shape.clone() });
        };
        let padding = self.padding(height, width);
        let layer = Conv { weight: &weight, bias: &bias, stride: self.stride, padding, groups: self.groups };
        let mut y = graph.conv(&self.conv, x, &layer)?;
        if let Some(residual) = residual {
            y = graph.elementwise("Add", &y, residual.name());
        }
        Ok(graph.activation(&y, self.activation))
    }

    /// The convolution's bias, if it has one.
    fn conv_bias(&self, parameters: &Parameters) -> Result<Option<Tensor>> {
        if self.bias { Ok(Some(parameters.tensor(&self.name("bias"))?)) } else { Ok(None) }
    }

    /// This layer's tensors with the normalisation folded into the convolution, for inference.
    pub(super) fn fold(&self, parameters: &Parameters, folded: &mut Parameters) -> Result<()> {
        let (scale, shift) = self.scale_and_shift(parameters)?;
        let weight =
            parameters.tensor(&self.name("weight"))?.broadcast_mul(&scale.reshape((self.outputs, 1, 1, 1))?)?;
        folded.insert(&self.name("weight"), Role::Constant, &weight)?;
        folded.insert(&self.folded("scale"), Role::Constant, &scale.ones_like()?)?;
        folded.insert(&self.folded("shift"), Role::Constant, &shift)
    }

    /// Scale and shift, both `[outputs]`, with gradients to the tensors that are trained.
    fn scale_and_shift(&self, parameters: &Parameters) -> Result<(Tensor, Tensor)> {
        if parameters.contains(&self.folded("shift")) {
            return Ok((parameters.tensor(&self.folded("scale"))?, parameters.tensor(&self.folded("shift"))?));
        }
        if let Norm::Frozen { epsilon } = self.normalisation {
            return Ok(self.with_norm(parameters, epsilon, |norm| norm.scale_and_shift())??);
        }
        let (scale, shift) = (self.channelwise(parameters, "weight")?, self.channelwise(parameters, "bias")?);
        match self.conv_bias(parameters)? {
            Some(bias) => {
                let shift = (shift + (bias * &scale)?)?;
                Ok((scale, shift))
            }
            None => Ok((scale, shift)),
        }
    }

    /// Calls `work` with the tensors of a frozen batch-norm.
    fn with_norm<T>(
        &self,
        parameters: &Parameters,
        epsilon: f64,
        work: impl FnOnce(&FrozenNorm<'_>) -> T,
    ) -> Result<T> {
        let channelwise = |name: &str| self.channelwise(parameters, name);
        let conv_bias = self.conv_bias(parameters)?;
        Ok(work(&FrozenNorm {
            weight: &channelwise("weight")?,
            bias: &channelwise("bias")?,
            mean: &channelwise("running_mean")?,
            variance: &channelwise("running_var")?,
            conv_bias: conv_bias.as_ref(),
            epsilon,
        }))
    }

    /// A tensor of the normalisation, `[outputs]`.
    fn channelwise(&self, parameters: &Parameters, name: &str) -> Result<Tensor> {
        parameters.tensor(&format!("{}.{name}", self.norm))
    }

    fn geometry(&self, x: &Tensor, precision: Precision) -> Result<Conv2d> {
        let (_, height, width, _) = x.dims4()?;
        let padding = self.padding(height, width);
        Ok(Conv2d { stride: self.stride, padding, groups: self.groups, precision })
    }

    fn padding(&self, height: usize, width: usize) -> Padding {
        match self.border {
            Border::Zeros(size) => Padding::same(size),
            Border::TensorflowSame => Padding::tensorflow_same_2d(height, width, self.kernel, self.stride),
        }
    }

    fn name(&self, tensor: &str) -> String {
        format!("{}.{tensor}", self.conv)
    }

    /// Name of a tensor that only a folded model has.
    fn folded(&self, tensor: &str) -> String {
        format!("{}.folded.{tensor}", self.conv)
    }
}
