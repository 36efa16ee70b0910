//! The tensors that a model consists of: names, shapes, initial values, and whether they are trained.

use candle_core::{Device, Tensor};
use rand::Rng;

use crate::error::Result;
use crate::streams::Streams;

/// A tensor that a model needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Name, unique in the model.
    pub name: String,
    /// Length along each axis.
    pub shape: Vec<usize>,
    /// Initial values.
    pub init: Initialisation,
    /// Whether it is trained.
    pub role: Role,
}

/// Whether a tensor is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained, unless its group is frozen.
    Weight,
    /// Scale or shift of a batch-norm: trained, unless its group or all affine weights are frozen.
    Affine,
    /// Never trained, such as batch-norm statistics and fixed masks.
    Constant,
}

/// Distribution of the initial values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initialisation {
    /// The same value everywhere.
    Constant(f32),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean 0; values more than two standard deviations away are drawn again.
    TruncatedNormal {
        /// Standard deviation before the truncation.
        std: f64,
    },
    /// Uniform in `[-bound, bound)`.
    Uniform {
        /// Half the width of the interval.
        bound: f64,
    },
}

impl Initialisation {
    /// He initialisation by outputs, as in torchvision's ResNet: normal with variance `2 / fan_out`, for the weight
    /// `[out, in / groups, height, width]` of a convolution (He et al. 2015, arXiv 1502.01852, section 2.2).
    pub fn kaiming_fan_out(shape: &[usize]) -> Self {
        let fan_out = shape[0] * shape[2..].iter().product::<usize>();
        Self::Normal { std: (2.0 / fan_out as f64).sqrt() }
    }

    /// He initialisation by inputs: normal with variance `2 / fan_in`, which preserves the scale of the activations in the
    /// forward pass (He et al. 2015, arXiv 1502.01852, section 2.2).
    pub fn kaiming_fan_in(shape: &[usize]) -> Self {
        let fan_in = shape[1..].iter().product::<usize>();
        Self::Normal { std: (2.0 / fan_in as f64).sqrt() }
    }

    /// The default of `torch.nn.Linear` and `torch.nn.Conv2d`, for weight and bias alike: uniform within `1 / √fan_in`.
    pub fn torch_default(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }
}

impl Spec {
    /// A trained tensor.
    pub fn weight(name: impl Into<String>, shape: impl Into<Vec<usize>>, init: Initialisation) -> Self {
        Self { name: name.into(), shape: shape.into(), init, role: Role::Weight }
    }

    /// The linear layer from `features` features to an embedding of `dimension` coordinates, initialised like
    /// `torch.nn.Linear`.
    pub fn embedding(features: usize, dimension: usize) -> [Self; 2] {
        let init = Initialisation::torch_default(features);
        [
            Self::weight("embedding.weight", [dimension, features], init),
            Self::weight("embedding.bias", [dimension], init),
        ]
    }

    /// Draws the initial values; they depend on the seed and the name alone.
    pub(crate) fn draw(&self, streams: &Streams, device: &Device) -> Result<Tensor> {
        let mut rng = streams.named(&self.name).rng();
        let count = self.shape.iter().product();
        let values: Vec<f32> = match self.init {
            Initialisation::Constant(value) => vec![value; count],
            Initialisation::Normal { std } => (0..count).map(|_| (standard_normal(&mut rng) * std) as f32).collect(),
            Initialisation::TruncatedNormal { std } => {
                (0..count).map(|_| (truncated_normal(&mut rng) * std) as f32).collect()
            }
            Initialisation::Uniform { bound } => {
                (0..count).map(|_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32).collect()
            }
        };
        Ok(Tensor::from_vec(values, self.shape.clone(), device)?)
    }
}

/// A standard normal number by the Box–Muller transform, whose second number is discarded.
fn standard_normal(rng: &mut impl Rng) -> f64 {
    // `1 - u` lies in (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn truncated_normal(rng: &mut impl Rng) -> f64 {
    loop {
        let value = standard_normal(rng);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_moments_of_their_distribution() {
        let check = |init, variance: f64, largest: f64| {
            let spec = Spec::weight("x", [20_000], init);
            let values: Vec<f32> = spec.draw(&Streams::new(3), &Device::Cpu).unwrap().to_vec1().unwrap();
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 20_000.0;
            let second = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 20_000.0;
            assert!(mean.abs() < 0.02 * variance.sqrt() * 2.0, "{init:?}: mean {mean}");
            assert!((second / variance - 1.0).abs() < 0.05, "{init:?}: variance {second} for {variance}");
            assert!(values.iter().all(|v| f64::from(v.abs()) <= largest), "{init:?}");
        };
        check(Initialisation::Normal { std: 0.5 }, 0.25, 5.0);
        // A normal truncated at two standard deviations keeps 0.7737 of its variance.
        check(Initialisation::TruncatedNormal { std: 1.0 }, 0.7737, 2.0);
        check(Initialisation::Uniform { bound: 3.0 }, 3.0, 3.0);
    }
}
