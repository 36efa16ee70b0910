//! Small vision transformers: ViT-S/16 (DINO's weights) and ViT-S/14 with layer scale (DINOv2's), with timm's tensor names.
//!
//! Formula: `z₀ = [class; patches] + positions`; twelve blocks `z ← z + γ₁ ∘ attention(norm z)`, `z ← z + γ₂ ∘ mlp(norm z)`; a
//! final norm. γ = 1 without layer scale.
//! Shapes: images `[batch, height, width, 3]` to features `[batch, 384]`; tokens `[batch, 1 + patches, 384]`.
//! Source: Dosovitskiy et al., "An Image is Worth 16×16 Words", ICLR 2021, arXiv 2010.11929, equations 1–4; Touvron et al.,
//! arXiv 2103.17239 (layer scale); Caron et al., arXiv 2104.14294 (DINO); Oquab et al., arXiv 2304.07193 (DINOv2).

use candle_core::{DType, Device, Tensor};
use dnc_kernels::{Conv2d, attention, conv2d, gelu, layer_norm, linear_in, residual_sum};

use super::backbone::{Backbone, InPython, Pooling};
use super::preprocessing::Preprocessing;
use super::stochastic_depth::StochasticDepth;
use crate::error::{LearnError, Result};
use crate::parameters::Parameters;
use crate::spec::{Initialisation, Spec};
use crate::weights::NamedTensor;

/// Length of a token.
const WIDTH: usize = 384;
const DEPTH: usize = 12;
const HEADS: usize = 6;
const HIDDEN: usize = 4 * WIDTH;
/// Name of the tensor of position embeddings.
const POSITIONS: &str = "pos_embed";
/// ε of the layer-norms, as in the training of all these weights.
const NORM_EPSILON: f64 = 1e-6;
/// timm's truncated normal initialisation.
const INIT: Initialisation = Initialisation::TruncatedNormal { std: 0.02 };

/// A transformer over square patches.
pub(super) struct Vit {
    patch: usize,
    /// Number of patches along a side of the images for which positions are stored.
    grid: usize,
    layer_scale: bool,
    /// Python expression that builds it with timm.
    python: &'static str,
}

/// Python expression that builds a transformer with timm. Without the last argument, timm would move the final norm behind a pooling
/// over patches.
macro_rules! in_timm {
    ($name:literal) => {
        concat!(
            "timm.create_model('",
            $name,
            "', num_classes={dimension}, img_size={crop}, global_pool='{pooling}', fc_norm=False)"
        )
    };
}

/// ViT-S/16 for 224 × 224 pixels.
pub(super) fn vit_small_patch16() -> Vit {
    Vit { patch: 16, grid: 14, layer_scale: false, python: in_timm!("vit_small_patch16_224") }
}

/// ViT-S/14 with layer scale; its stored positions are those of 518 × 518 pixels.
pub(super) fn vit_small_patch14_dinov2() -> Vit {
    Vit { patch: 14, grid: 37, layer_scale: true, python: in_timm!("vit_small_patch14_dinov2") }
}

impl Backbone for Vit {
    fn feature_dim(&self) -> usize {
        WIDTH
    }

    fn preprocessing(&self) -> Preprocessing {
        Preprocessing::IMAGENET
    }

    fn pooling(&self) -> Pooling {
        Pooling::ClassToken
    }

    fn in_python(&self) -> InPython {
        InPython { build: Some(self.python), pool: None, linear: "head" }
    }

    /// timm resamples positions differently, so the exported model holds the positions for its own image size.
    fn for_python(&self, tensor: NamedTensor, crop: usize) -> Result<NamedTensor> {
        if tensor.name != POSITIONS {
            return Ok(tensor);
        }
        let side = crop / self.patch;
        NamedTensor::from_tensor(POSITIONS, &self.positions(&tensor.to_tensor(&Device::Cpu)?, side, side)?)
    }

    fn specs(&self) -> Vec<Spec> {
        let mut specs = vec![
            Spec::weight("cls_token", [1, 1, WIDTH], INIT),
            Spec::weight(POSITIONS, [1, 1 + self.grid * self.grid, WIDTH], INIT),
            Spec::weight("patch_embed.proj.weight", [WIDTH, 3, self.patch, self.patch], INIT),
            Spec::weight("patch_embed.proj.bias", [WIDTH], Initialisation::Constant(0.0)),
        ];
        for block in 0..DEPTH {
            let name = |part: &str| format!("blocks.{block}.{part}");
            specs.extend(norm_specs(&name("norm1")));
            specs.extend(linear_specs(&name("attn.qkv"), 3 * WIDTH, WIDTH));
            specs.extend(linear_specs(&name("attn.proj"), WIDTH, WIDTH));
            specs.extend(norm_specs(&name("norm2")));
            specs.extend(linear_specs(&name("mlp.fc1"), HIDDEN, WIDTH));
            specs.extend(linear_specs(&name("mlp.fc2"), WIDTH, HIDDEN));
            if self.layer_scale {
                // DINOv2's initial value 1e-5 makes a deep network start close to the identity.
                specs.push(Spec::weight(name("ls1.gamma"), [WIDTH], Initialisation::Constant(1e-5)));
                specs.push(Spec::weight(name("ls2.gamma"), [WIDTH], Initialisation::Constant(1e-5)));
            }
        }
        specs.extend(norm_specs("norm"));
        specs
    }

    fn forward(
        &self,
        parameters: &Parameters,
        images: &Tensor,
        pooling: Pooling,
        _: Option<StochasticDepth<'_>>,
    ) -> Result<Tensor> {
        let mut tokens = self.embed(parameters, images)?;
        for block in 0..DEPTH {
            let name = |part: &str| format!("blocks.{block}.{part}");
            let y = self_attention(parameters, &name("attn"), &norm(parameters, &name("norm1"), &tokens)?)?;
            tokens = self.sum(parameters, &name("ls1"), &tokens, &y)?;
            let y = mlp(parameters, &name("mlp"), &norm(parameters, &name("norm2"), &tokens)?)?;
            tokens = self.sum(parameters, &name("ls2"), &tokens, &y)?;
        }
        let tokens = norm(parameters, "norm", &tokens)?; // [batch, 1 + patches, WIDTH]
        let patches = tokens.dim(1)? - 1;
        Ok(match pooling {
            Pooling::ClassToken => tokens.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Average => tokens.narrow(1, 1, patches)?.mean(1)?,
            Pooling::Max => tokens.narrow(1, 1, patches)?.max(1)?,
        })
    }

    fn fold(&self, parameters: &Parameters) -> Result<Parameters> {
        parameters.duplicate() // Layer-norm depends on its input: there is nothing to fold.
    }
}

impl Vit {
    /// The tokens before the first block.
    fn embed(&self, parameters: &Parameters, images: &Tensor) -> Result<Tensor> {
        let (batch, height, width, _) = images.dims4()?;
        let (rows, columns) = (height / self.patch, width / self.patch);
        if (rows * self.patch, columns * self.patch) != (height, width) {
            return Err(LearnError::Shape {
                name: "images".into(),
                wanted: format!("[batch, multiple of {0}, multiple of {0}, 3]", self.patch),
                found: images.dims().to_vec(),
            });
        }
        let (weight, bias) = weight_and_bias(parameters, "patch_embed.proj")?;
        let geometry = Conv2d { stride: self.patch, precision: parameters.precision(), ..Conv2d::default() };
        let patches = conv2d(images, &weight, Some(&bias), &geometry)
            .map_err(|source| LearnError::Layer { layer: "patch_embed.proj".into(), source })?
            .reshape((batch, rows * columns, WIDTH))?;
        let dtype = patches.dtype();
        let class = parameters.tensor("cls_token")?.to_dtype(dtype)?.broadcast_as((batch, 1, WIDTH))?;
        let tokens = Tensor::cat(&[&class, &patches], 1)?; // [batch, 1 + patches, WIDTH]
        let positions = self.positions(&parameters.tensor(POSITIONS)?, rows, columns)?;
        Ok(tokens.broadcast_add(&positions.to_dtype(dtype)?)?)
    }

    /// Positions of `rows` × `columns` patches, interpolated from the `stored` ones like `torch.nn.functional.interpolate` in
    /// bicubic mode: `[1, 1 + rows · columns, WIDTH]`, of the same type.
    fn positions(&self, stored: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
        if (rows, columns) == (self.grid, self.grid) {
            return Ok(stored.clone());
        }
        let (dtype, stored) = (stored.dtype(), stored.to_dtype(DType::F32)?);
        let class = stored.narrow(1, 0, 1)?;
        let vertical = Tensor::from_vec(bicubic(self.grid, rows), (rows, self.grid), stored.device())?;
        let horizontal = Tensor::from_vec(bicubic(self.grid, columns), (columns, self.grid), stored.device())?;
        let grid = stored.narrow(1, 1, self.grid * self.grid)?.reshape((self.grid, self.grid * WIDTH))?;
        let grid = vertical.matmul(&grid)?.reshape((rows, self.grid, WIDTH))?;
        let grid = horizontal.broadcast_left(rows)?.matmul(&grid)?; // [rows, columns, WIDTH]
        Ok(Tensor::cat(&[class, grid.reshape((1, rows * columns, WIDTH))?], 1)?.to_dtype(dtype)?)
    }

    /// `x + γ ∘ y`.
    fn sum(&self, parameters: &Parameters, name: &str, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let gamma = if self.layer_scale { Some(parameters.tensor(&format!("{name}.gamma"))?) } else { None };
        Ok(residual_sum(x, y, gamma.as_ref())?)
    }
}

fn norm_specs(name: &str) -> [Spec; 2] {
    [
        Spec::weight(format!("{name}.weight"), [WIDTH], Initialisation::Constant(1.0)),
        Spec::weight(format!("{name}.bias"), [WIDTH], Initialisation::Constant(0.0)),
    ]
}

fn linear_specs(name: &str, outputs: usize, inputs: usize) -> [Spec; 2] {
    [
        Spec::weight(format!("{name}.weight"), [outputs, inputs], INIT),
        Spec::weight(format!("{name}.bias"), [outputs], Initialisation::Constant(0.0)),
    ]
}

fn weight_and_bias(parameters: &Parameters, name: &str) -> Result<(Tensor, Tensor)> {
    Ok((parameters.tensor(&format!("{name}.weight"))?, parameters.tensor(&format!("{name}.bias"))?))
}

/// Layer-norm over the last axis, computed in `f32` and returned in the type of `x`.
fn norm(parameters: &Parameters, name: &str, x: &Tensor) -> Result<Tensor> {
    let (weight, bias) = weight_and_bias(parameters, name)?;
    Ok(layer_norm(x, &weight, &bias, NORM_EPSILON)?)
}

/// A linear layer over the last axis of `[batch, tokens, inputs]`.
fn dense(parameters: &Parameters, name: &str, x: &Tensor) -> Result<Tensor> {
    let (weight, bias) = weight_and_bias(parameters, name)?;
    linear_in(parameters.precision(), x, &weight, Some(&bias))
        .map_err(|source| LearnError::Layer { layer: name.to_owned(), source })
}

/// `softmax(q kᵀ / √(WIDTH / HEADS)) v` in each head, between two linear layers.
fn self_attention(parameters: &Parameters, name: &str, x: &Tensor) -> Result<Tensor> {
    let qkv = dense(parameters, &format!("{name}.qkv"), x)?; // [batch, tokens, 3 · WIDTH]
    dense(parameters, &format!("{name}.proj"), &attention(&qkv, HEADS, parameters.precision())?)
}

fn mlp(parameters: &Parameters, name: &str, x: &Tensor) -> Result<Tensor> {
    let hidden = gelu(&dense(parameters, &format!("{name}.fc1"), x)?)?;
    dense(parameters, &format!("{name}.fc2"), &hidden)
}

/// Weights of a bicubic interpolation from `from` to `to` positions, row-major `[to, from]`: PyTorch's kernel with parameter
/// −0.75, pixel centres aligned at half integers, the border repeated.
fn bicubic(from: usize, to: usize) -> Vec<f32> {
    const A: f64 = -0.75;
    let kernel = |x: f64| match x.abs() {
        x if x <= 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A,
        _ => 0.0,
    };
    let mut weights = vec![0.0; to * from];
    for (index, row) in weights.chunks_exact_mut(from).enumerate() {
        let centre = (index as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        for position in centre.floor() as i64 - 1..=centre.floor() as i64 + 2 {
            let source = position.clamp(0, from as i64 - 1) as usize;
            row[source] += kernel(centre - position as f64) as f32;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_preserves_constants_and_the_identity() {
        for (from, to) in [(14, 6), (37, 16), (3, 8), (1, 2)] {
            for row in bicubic(from, to).chunks_exact(from) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
        assert_eq!(bicubic(2, 2), [1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn positions_are_interpolated_in_any_type() {
        let vit = vit_small_patch16();
        let stored = Tensor::randn(0f32, 1.0, (1, 1 + 14 * 14, WIDTH), &Device::Cpu).unwrap();
        let exact = vit.positions(&stored, 6, 9).unwrap();
        assert_eq!(exact.dims(), [1, 1 + 6 * 9, WIDTH]);
        let rounded = vit.positions(&stored.to_dtype(DType::BF16).unwrap(), 6, 9).unwrap();
        assert_eq!(rounded.dtype(), DType::BF16);
        let difference = (exact - rounded.to_dtype(DType::F32).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 0.05); // two roundings of numbers up to 4 to eight bits
    }
}
