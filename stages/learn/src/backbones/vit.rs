//! Small vision transformers: ViT-S/16 (DINO's weights) and ViT-S/14 with layer scale (DINOv2's), with timm's tensor names.
//!
//! Formula: `z₀ = [class; patches] + positions`; twelve blocks `z ← z + γ₁ ∘ attention(norm z)`, `z ← z + γ₂ ∘ mlp(norm z)`; a
//! final norm. γ = 1 without layer scale.
//! Shapes: images `[batch, height, width, 3]` to features `[batch, 384]`; tokens `[batch, 1 + patches, 384]`.
//! Source: Dosovitskiy et al., "An Image is Worth 16×16 Words", ICLR 2021, arXiv 2010.11929, equations 1–4; Touvron et al.,
//! arXiv 2103.17239 (layer scale); Caron et al., arXiv 2104.14294 (DINO); Oquab et al., arXiv 2304.07193 (DINOv2).

use candle_core::{DType, Device, Tensor};
use dnc_kernels::{
    Conv2d, Padding, attention, conv2d, embed_tokens, gelu, layer_norm, linear_in, linear_sum, residual_sum,
};

use super::backbone::{Backbone, InPython};
use super::pooling::Pooling;
use super::preprocessing::Preprocessing;
use super::stochastic_depth::StochasticDepth;
use crate::error::{LearnError, Result};
use crate::onnx::graph::{Attribute, Conv, Graph, Value};
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
    /// Number of patches along a side of the images for which the published file stores positions.
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
        InPython { source: None, build: self.python, pool: None, linear: "head" }
    }

    /// The positions of a model that holds those of another image size are interpolated, so that timm need not do it.
    fn for_python(&self, tensor: NamedTensor, crop: usize) -> Result<NamedTensor> {
        if tensor.name != POSITIONS {
            return Ok(tensor);
        }
        let side = crop / self.patch;
        NamedTensor::from_tensor(POSITIONS, &self.positions(&tensor.to_tensor(&Device::Cpu)?, side, side)?)
    }

    fn specs(&self) -> Vec<Spec> {
        self.specs_of_grid(self.grid)
    }

    /// A model holds the positions of its own image size. A file may hold those of another.
    fn specs_for(&self, crop: usize, given: &[NamedTensor]) -> Vec<Spec> {
        let given = given.iter().filter(|tensor| is_positions(tensor)).find_map(|tensor| grid_of(&tensor.shape));
        self.specs_of_grid(given.unwrap_or((crop / self.patch).max(1)))
    }

    /// As timm does (`resample_abs_pos_embed`): bicubic with antialiasing.
    fn for_crop(&self, given: Vec<NamedTensor>, crop: usize) -> Result<Vec<NamedTensor>> {
        let to = crop / self.patch;
        let convert = |tensor: NamedTensor| match grid_of(&tensor.shape).filter(|_| is_positions(&tensor)) {
            Some(from) if from != to && to > 0 => {
                let stored = tensor.to_tensor(&Device::Cpu)?;
                let weights = bicubic_antialiased(from, to);
                NamedTensor::from_tensor(&tensor.name, &resampled(&stored, from, (&weights, to), (&weights, to))?)
            }
            _ => Ok(tensor),
        };
        given.into_iter().map(convert).collect()
    }

    fn refuses(&self, crop: usize) -> Option<String> {
        let is_whole = crop >= self.patch && crop.is_multiple_of(self.patch);
        (!is_whole).then(|| format!("its images are cut into patches, so that it must be a multiple of {}", self.patch))
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
            let y = dense(parameters, &name("attn.qkv"), &norm(parameters, &name("norm1"), &tokens)?)?;
            let y = attention(&y, HEADS, parameters.precision())?;
            tokens = self.dense_sum(parameters, &name("ls1"), &name("attn.proj"), &tokens, &y)?;
            let y = dense(parameters, &name("mlp.fc1"), &norm(parameters, &name("norm2"), &tokens)?)?;
            tokens = self.dense_sum(parameters, &name("ls2"), &name("mlp.fc2"), &tokens, &gelu(&y)?)?;
        }
        let tokens = norm(parameters, "norm", &tokens)?; // [batch, 1 + patches, WIDTH]
        let patches = tokens.dim(1)? - 1;
        Ok(match pooling {
            Pooling::ClassToken => tokens.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Average => tokens.narrow(1, 1, patches)?.mean(1)?,
            Pooling::Max => tokens.narrow(1, 1, patches)?.max(1)?,
        })
    }

    fn trace(&self, parameters: &Parameters, graph: &mut Graph, images: &Value, pooling: Pooling) -> Result<Value> {
        let mut tokens = self.trace_tokens(parameters, graph, images)?;
        for block in 0..DEPTH {
            let name = |part: &str| format!("blocks.{block}.{part}");
            let y = trace_norm(parameters, graph, &name("norm1"), &tokens)?;
            let y = trace_attention(parameters, graph, &name("attn"), &y)?;
            tokens = self.trace_sum(parameters, graph, &name("ls1"), &tokens, &y)?;
            let y = trace_norm(parameters, graph, &name("norm2"), &tokens)?;
            let y = trace_dense(parameters, graph, &name("mlp.fc1"), &y)?;
            let y = graph.node("Gelu", &[y.name()], [], y.shape.clone());
            let y = trace_dense(parameters, graph, &name("mlp.fc2"), &y)?;
            tokens = self.trace_sum(parameters, graph, &name("ls2"), &tokens, &y)?;
        }
        let tokens = trace_norm(parameters, graph, "norm", &tokens)?;
        let axis = graph.integers("token_axis", &[1]);
        let [first, end] = match pooling {
            Pooling::ClassToken => [0, 1],
            Pooling::Average | Pooling::Max => [1, tokens.shape[0]],
        };
        let [from, to] = [("first_token", first), ("end_token", end)]
            .map(|(name, position)| graph.integers(name, &[position as i64]));
        let inputs = [tokens.name(), &from, &to, &axis];
        let chosen = graph.node("Slice", &inputs, [], vec![end - first, WIDTH]);
        // The mean over a single token is that token.
        let operation = if pooling == Pooling::Max { "ReduceMax" } else { "ReduceMean" };
        Ok(graph.node(operation, &[chosen.name(), &axis], [Attribute::Int("keepdims", 0)], vec![WIDTH]))
    }

    fn fold(&self, parameters: &Parameters) -> Result<Parameters> {
        parameters.duplicate() // Layer-norm depends on its input: there is nothing to fold.
    }
}

impl Vit {
    /// All tensors, with positions for `grid` × `grid` patches.
    fn specs_of_grid(&self, grid: usize) -> Vec<Spec> {
        let mut specs = vec![
            Spec::weight("cls_token", [1, 1, WIDTH], INIT),
            Spec::weight(POSITIONS, [1, 1 + grid * grid, WIDTH], INIT),
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
        let positions = self.positions(&parameters.tensor(POSITIONS)?, rows, columns)?;
        Ok(embed_tokens(&patches, &parameters.tensor("cls_token")?, &positions)?)
    }

    /// The tokens before the first block, as nodes of a graph.
    fn trace_tokens(&self, parameters: &Parameters, graph: &mut Graph, images: &Value) -> Result<Value> {
        let (weight, bias) = weight_and_bias(parameters, "patch_embed.proj")?;
        let layer = Conv { weight: &weight, bias: &bias, stride: self.patch, padding: Padding::default(), groups: 1 };
        let map = graph.conv("patch_embed.proj", images, &layer)?;
        let (rows, columns) = (map.shape[1], map.shape[2]);
        let patches = graph.reshape(&map, vec![WIDTH, rows * columns]);
        let patches = graph.transpose(&patches, &[0, 2, 1]);
        // A row of zeros in place of the class token, which is added with the positions.
        let pads = graph.integers("class_token_pads", &[0, 1, 0, 0, 0, 0]);
        let tokens = graph.node("Pad", &[patches.name(), &pads], [], vec![1 + rows * columns, WIDTH]);
        let positions = self.positions(&parameters.tensor(POSITIONS)?, rows, columns)?;
        let first = (positions.narrow(1, 0, 1)? + parameters.tensor("cls_token")?)?;
        let positions = Tensor::cat(&[first, positions.narrow(1, 1, rows * columns)?], 1)?;
        let positions = graph.constant("class_token_and_positions", &positions)?;
        Ok(graph.elementwise("Add", &tokens, &positions))
    }

    fn trace_sum(&self, parameters: &Parameters, graph: &mut Graph, name: &str, x: &Value, y: &Value) -> Result<Value> {
        if !self.layer_scale {
            return Ok(graph.elementwise("Add", x, y.name()));
        }
        let name = format!("{name}.gamma");
        let gamma = graph.constant(&name, &parameters.tensor(&name)?)?;
        let scaled = graph.elementwise("Mul", y, &gamma);
        Ok(graph.elementwise("Add", x, scaled.name()))
    }

    /// Positions of `rows` × `columns` patches, interpolated from the `stored` ones like `torch.nn.functional.interpolate` in
    /// bicubic mode: `[1, 1 + rows · columns, WIDTH]`, of the same type.
    fn positions(&self, stored: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
        let grid = grid_of(stored.dims()).ok_or_else(|| LearnError::Shape {
            name: POSITIONS.into(),
            wanted: format!("[1, 1 + a square number, {WIDTH}]"),
            found: stored.dims().to_vec(),
        })?;
        if (rows, columns) == (grid, grid) {
            return Ok(stored.clone());
        }
        resampled(stored, grid, (&bicubic(grid, rows), rows), (&bicubic(grid, columns), columns))
    }

    /// `tokens` and a linear layer of `y`, scaled where the architecture has a scale per channel.
    fn dense_sum(
        &self,
        parameters: &Parameters,
        scale: &str,
        name: &str,
        tokens: &Tensor,
        y: &Tensor,
    ) -> Result<Tensor> {
        if self.layer_scale {
            let gamma = parameters.tensor(&format!("{scale}.gamma"))?;
            return Ok(residual_sum(tokens, &dense(parameters, name, y)?, Some(&gamma))?);
        }
        let (weight, bias) = weight_and_bias(parameters, name)?;
        linear_sum(parameters.precision(), y, &weight, Some(&bias), tokens)
            .map_err(|source| LearnError::Layer { layer: name.to_owned(), source })
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

fn trace_norm(parameters: &Parameters, graph: &mut Graph, name: &str, x: &Value) -> Result<Value> {
    let (weight, bias) = weight_and_bias(parameters, name)?;
    let weight = graph.constant(&format!("{name}.weight"), &weight)?;
    let bias = graph.constant(&format!("{name}.bias"), &bias)?;
    let attributes = [Attribute::Int("axis", -1), Attribute::Float("epsilon", NORM_EPSILON as f32)];
    Ok(graph.node("LayerNormalization", &[x.name(), &weight, &bias], attributes, x.shape.clone()))
}

fn trace_dense(parameters: &Parameters, graph: &mut Graph, name: &str, x: &Value) -> Result<Value> {
    let (weight, bias) = weight_and_bias(parameters, name)?;
    graph.linear(name, x, &weight, &bias)
}

fn trace_attention(parameters: &Parameters, graph: &mut Graph, name: &str, x: &Value) -> Result<Value> {
    let (tokens, channels) = (x.shape[0], WIDTH / HEADS);
    let qkv = trace_dense(parameters, graph, &format!("{name}.qkv"), x)?;
    // Queries and values become [batch, heads, tokens, channels], keys [batch, heads, channels, tokens].
    let heads = |graph: &mut Graph, part: &Value, order: &[usize]| {
        let split = graph.reshape(part, vec![tokens, HEADS, channels]);
        graph.transpose(&split, order)
    };
    let parts = graph.split(&qkv, 3);
    let queries = heads(graph, &parts[0], &[0, 2, 1, 3]);
    let keys = heads(graph, &parts[1], &[0, 2, 3, 1]);
    let values = heads(graph, &parts[2], &[0, 2, 1, 3]);
    let scores = graph.node("MatMul", &[queries.name(), keys.name()], [], vec![HEADS, tokens, tokens]);
    let factor = graph.scalar("attention_factor", (1.0 / (channels as f64).sqrt()) as f32);
    let scores = graph.elementwise("Mul", &scores, &factor);
    let shares = graph.node("Softmax", &[scores.name()], [Attribute::Int("axis", -1)], scores.shape.clone());
    let sums = graph.node("MatMul", &[shares.name(), values.name()], [], vec![HEADS, tokens, channels]);
    let sums = graph.transpose(&sums, &[0, 2, 1, 3]);
    let merged = graph.reshape(&sums, vec![tokens, WIDTH]);
    trace_dense(parameters, graph, &format!("{name}.proj"), &merged)
}

/// Whether the tensor holds positions, under whatever wrappers.
fn is_positions(tensor: &NamedTensor) -> bool {
    tensor.name.rsplit('.').next() == Some(POSITIONS)
}

/// The number of patches along a side of the images that positions of this shape are for.
fn grid_of(shape: &[usize]) -> Option<usize> {
    let &[1, tokens, WIDTH] = shape else { return None };
    let grid = tokens.checked_sub(1)?.isqrt();
    (grid > 0 && grid * grid + 1 == tokens).then_some(grid)
}

/// Positions of another number of patches, by the weights `[rows, grid]` and `[columns, grid]` of the stored ones:
/// `[1, 1 + rows · columns, WIDTH]`, of the same type.
fn resampled(
    stored: &Tensor,
    grid: usize,
    (vertical, rows): (&[f32], usize),
    (horizontal, columns): (&[f32], usize),
) -> Result<Tensor> {
    let (dtype, stored) = (stored.dtype(), stored.to_dtype(DType::F32)?);
    let class = stored.narrow(1, 0, 1)?;
    let vertical = Tensor::from_slice(vertical, (rows, grid), stored.device())?;
    let horizontal = Tensor::from_slice(horizontal, (columns, grid), stored.device())?;
    let patches = stored.narrow(1, 1, grid * grid)?.reshape((grid, grid * WIDTH))?;
    let patches = vertical.matmul(&patches)?.reshape((rows, grid, WIDTH))?;
    let patches = horizontal.broadcast_left(rows)?.matmul(&patches)?; // [rows, columns, WIDTH]
    Ok(Tensor::cat(&[class, patches.reshape((1, rows * columns, WIDTH))?], 1)?.to_dtype(dtype)?)
}

/// The cubic convolution kernel with parameter `a` (Keys, 1981).
fn cubic(x: f64, a: f64) -> f64 {
    match x.abs() {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

/// Weights of a bicubic interpolation with antialiasing from `from` to `to` positions, row-major `[to, from]`: PyTorch's, which are
/// Pillow's: parameter −0.5, the kernel widened by the factor of a reduction, and cut off at the border.
fn bicubic_antialiased(from: usize, to: usize) -> Vec<f32> {
    const A: f64 = -0.5;
    let scale = from as f64 / to as f64;
    let width = scale.max(1.0);
    let mut weights = vec![0.0; to * from];
    for (index, row) in weights.chunks_exact_mut(from).enumerate() {
        let centre = (index as f64 + 0.5) * scale;
        let first = (centre - 2.0 * width + 0.5).max(0.0) as usize;
        let end = ((centre + 2.0 * width + 0.5) as usize).min(from);
        let raw: Vec<f64> = (first..end).map(|position| cubic((position as f64 + 0.5 - centre) / width, A)).collect();
        let sum: f64 = raw.iter().sum();
        row[first..end].iter_mut().zip(raw).for_each(|(weight, raw)| *weight = (raw / sum) as f32);
    }
    weights
}

/// Weights of a bicubic interpolation from `from` to `to` positions, row-major `[to, from]`: PyTorch's kernel with parameter
/// −0.75, pixel centres aligned at half integers, the border repeated.
fn bicubic(from: usize, to: usize) -> Vec<f32> {
    const A: f64 = -0.75;
    let mut weights = vec![0.0; to * from];
    for (index, row) in weights.chunks_exact_mut(from).enumerate() {
        let centre = (index as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        for position in centre.floor() as i64 - 1..=centre.floor() as i64 + 2 {
            let source = position.clamp(0, from as i64 - 1) as usize;
            row[source] += cubic(centre - position as f64, A) as f32;
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

    /// The weights of `Image.resize(…, BICUBIC)` of Pillow 12, which are those of `interpolate(…, antialias=True)`.
    #[test]
    fn antialiasing_is_that_of_pillow_and_pytorch() {
        let check = |from: usize, to: usize, row: usize, first: usize, expected: &[f32]| {
            let found = &bicubic_antialiased(from, to)[row * from..][..from];
            for (position, &found) in found.iter().enumerate() {
                let expected = position.checked_sub(first).and_then(|at| expected.get(at)).copied().unwrap_or(0.0);
                assert!(
                    (found - expected).abs() < 2e-6,
                    "{from} to {to}, {row}, {position}: {found} is not {expected}"
                );
            }
        };
        check(5, 2, 0, 0, &[0.347095, 0.41562, 0.239413, 0.029155, -0.031283]);
        check(5, 2, 1, 0, &[-0.031283, 0.029155, 0.239413, 0.41562, 0.347095]);
        check(3, 4, 0, 0, &[1.052239, -0.052239, 0.0]);
        check(3, 4, 2, 0, &[-0.070159, 0.696913, 0.373246]);
        check(37, 16, 0, 0, &[0.387186, 0.441451, 0.209256, -0.003056, -0.031817, -0.00302]);
        let middle = [-0.016364, -0.029513, 0.074068, 0.320481, 0.428314, 0.243594, 0.018384, -0.03187, -0.007093];
        check(37, 16, 7, 13, &middle);
    }

    /// Positions of 4 × 4 patches become those of 2 × 2: the class token stays, and each channel is resized like a picture.
    #[test]
    fn positions_of_another_size_are_loaded_as_timm_does() {
        let vit = vit_small_patch16();
        let values: Vec<f32> = (0..17 * WIDTH).map(|index| ((index * 7919) % 1000) as f32 / 1000.0).collect();
        let stored = Tensor::from_vec(values.clone(), (1, 17, WIDTH), &Device::Cpu).unwrap();
        let tensor = |name: &str| NamedTensor::from_tensor(name, &stored).unwrap();
        let given = vec![tensor("module.pos_embed"), tensor("pos_embedding")];
        let found = vit.for_crop(given.clone(), 32).unwrap();
        assert_eq!(found[1], given[1]);
        assert_eq!((found[0].name.as_str(), found[0].shape.as_slice()), ("module.pos_embed", &[1, 5, WIDTH][..]));
        let found = found[0].to_tensor(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(found[..WIDTH], values[..WIDTH]);
        let weights = bicubic_antialiased(4, 2);
        for (row, column, channel) in [(0, 0, 0), (0, 1, 17), (1, 0, 383), (1, 1, 200)] {
            let of = |y: usize, x: usize| {
                values[(1 + y * 4 + x) * WIDTH + channel] * weights[row * 4 + y] * weights[column * 4 + x]
            };
            let expected: f32 = (0..16).map(|patch| of(patch / 4, patch % 4)).sum();
            let found = found[(1 + row * 2 + column) * WIDTH + channel];
            assert!((found - expected).abs() < 1e-6, "{row} {column} {channel}: {found} is not {expected}");
        }
        let same = vit.for_crop(given.clone(), 64).unwrap();
        assert_eq!(same, given);
        assert_eq!(vit.specs_for(32, &[]).iter().find(|spec| spec.name == POSITIONS).unwrap().shape, [1, 5, WIDTH]);
        let wanted = vit.specs_for(32, &given).into_iter().find(|spec| spec.name == POSITIONS).unwrap();
        assert_eq!(wanted.shape, [1, 17, WIDTH]);
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
