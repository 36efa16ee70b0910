//! A model: a backbone, and the linear layer that embeds its features.
//!
//! Formula: `e = W · dropout(f(x)) + b`; it is not normalised here, because subspaces come before the norm.
//! Shapes: images `[batch, height, width, 3]`, f `[batch, F]`, W `[d, F]`, b `[d]`, e `[batch, d]`.
//! Source: DC21, section 3.1; dropout from Srivastava et al. 2014.

use candle_core::Tensor;
use dnc_kernels::linear;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backbones::{Backbone, Pooling, Preprocessing, StochasticDepth, backbone};
use crate::error::{LearnError, Result};
use crate::parameters::{Group, Parameters, Spec};
use crate::streams::Streams;

/// What a model is, in a manifest and beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The network that turns images into features; `dnc-run stages` lists them.
    pub backbone: String,
    /// Number of coordinates of an embedding.
    pub dimension: usize,
    /// How the backbone's map of features becomes one vector; without it, as the backbone was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Share of the features that is dropped while training.
    #[serde(default = "default_dropout")]
    pub dropout: f64,
    /// Share of the images for which the network's last residual blocks are skipped while training; without it, as the
    /// backbone was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stochastic_depth: Option<f64>,
    /// Side in pixels of the images that the network sees; without it, as the backbone was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<usize>,
    /// Length in pixels of an image's shorter side before its middle is cut out; without it, in the backbone's published
    /// proportion to the crop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
}

/// DC21's.
fn default_dropout() -> f64 {
    0.01
}

/// A backbone and the size of the embedding of its features.
pub struct Model {
    /// The network before the pooling.
    pub backbone: Box<dyn Backbone>,
    /// How its map of features becomes one vector.
    pub pooling: Pooling,
    /// Number d of coordinates of an embedding.
    pub dimension: usize,
    /// Share of the features that is dropped while training.
    pub dropout: f64,
    /// The rate of [`StochasticDepth`] while training.
    pub stochastic_depth: f64,
    /// What the network expects of an image.
    pub preprocessing: Preprocessing,
}

impl Model {
    /// The backbone called `name` as it was published, with nothing dropped while training.
    ///
    /// # Errors
    /// If there is no such backbone.
    pub fn new(name: &str, dimension: usize) -> Result<Self> {
        let backbone = backbone(name)?;
        let (pooling, preprocessing) = (backbone.pooling(), backbone.preprocessing());
        Ok(Self { backbone, pooling, dimension, dropout: 0.0, stochastic_depth: 0.0, preprocessing })
    }

    /// The model that `architecture` describes.
    ///
    /// # Errors
    /// If there is no such backbone, or it has no blocks to skip where some are to be.
    pub fn build(architecture: &Architecture) -> Result<Self> {
        let published = Self::new(&architecture.backbone, architecture.dimension)?;
        let own = published.preprocessing;
        let crop = architecture.crop.unwrap_or(own.crop);
        let resize = architecture.resize.unwrap_or_else(|| (crop * own.resize).div_ceil(own.crop));
        let stochastic_depth = match (architecture.stochastic_depth, published.backbone.stochastic_depth()) {
            (Some(rate), None) if rate > 0.0 => {
                let reason = format!("`{}` has no residual blocks to skip", architecture.backbone);
                return Err(LearnError::Config { parameter: "stochastic_depth", value: rate.to_string(), reason });
            }
            (said, published) => said.or(published).unwrap_or(0.0),
        };
        Ok(Self {
            stochastic_depth,
            pooling: architecture.pooling.unwrap_or(published.pooling),
            dropout: architecture.dropout,
            preprocessing: Preprocessing { resize, crop, ..own },
            ..published
        })
    }

    /// All tensors of the model: the backbone's and the embedding layer's.
    pub fn specs(&self) -> Vec<Spec> {
        let mut specs = self.backbone.specs();
        specs.extend(Spec::embedding(self.backbone.feature_dim(), self.dimension));
        specs
    }

    /// Features of `images`, `[batch, height, width, 3]` as the backbone's preprocessing gives them: `[batch, F]`. While
    /// training, `training` is the stream of this step, from which the skipped blocks are drawn.
    ///
    /// # Errors
    /// If `parameters` are not this model's or the images are too small.
    pub fn features(&self, parameters: &Parameters, images: &Tensor, training: Option<&Streams>) -> Result<Tensor> {
        let depth = training.filter(|_| self.stochastic_depth > 0.0);
        let depth = depth.map(|streams| StochasticDepth { rate: self.stochastic_depth, streams });
        self.backbone.forward(parameters, images, self.pooling, depth)
    }

    /// Embeddings of `features` `[batch, F]`, neither masked nor normalised: `[batch, d]`. While training, `training` is
    /// the stream of this step, from which the dropped features are drawn.
    ///
    /// # Errors
    /// If `features` are not `[batch, F]`.
    pub fn embed(&self, parameters: &Parameters, features: &Tensor, training: Option<&Streams>) -> Result<Tensor> {
        let (weight, bias) = (parameters.tensor("embedding.weight")?, parameters.tensor("embedding.bias")?);
        let features = match training {
            Some(streams) if self.dropout > 0.0 => dropout(features, self.dropout, streams)?,
            _ => features.clone(),
        };
        linear(&features, &weight, Some(&bias))
            .map_err(|source| LearnError::Layer { layer: "embedding".into(), source })
    }

    /// The parameters to embed with: every batch-norm folded into its convolution, nothing trained.
    ///
    /// # Errors
    /// If `parameters` are not this model's.
    pub fn fold(&self, parameters: &Parameters) -> Result<Parameters> {
        let mut folded = self.backbone.fold(parameters)?;
        for (name, role, value) in parameters.iter() {
            if Group::of(name) != Group::Backbone {
                folded.insert(name, role, &value)?;
            }
        }
        Ok(folded)
    }
}

/// Drops each number with probability `rate` and scales the others by `1 / (1 − rate)`, so that the mean stays.
fn dropout(x: &Tensor, rate: f64, streams: &Streams) -> Result<Tensor> {
    let mut rng = streams.named("dropout").rng();
    let kept = (1.0 / (1.0 - rate)) as f32;
    let mask = (0..x.elem_count()).map(|_| if rng.random::<f64>() < rate { 0.0 } else { kept }).collect::<Vec<_>>();
    Ok((x * Tensor::from_vec(mask, x.shape(), x.device())?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::parameters::Role;

    #[test]
    fn an_architecture_overrides_what_was_published() {
        let check = |text: &str, expected: [usize; 2], pooling: Pooling| {
            let model = Model::build(&serde_json::from_str(text).unwrap()).unwrap();
            assert_eq!([model.preprocessing.resize, model.preprocessing.crop], expected);
            assert_eq!(model.pooling, pooling);
        };
        check(r#"{ "backbone": "resnet18", "dimension": 8 }"#, [256, 224], Pooling::Average);
        check(r#"{ "backbone": "resnet18", "dimension": 8, "crop": 112, "pooling": "max" }"#, [128, 112], Pooling::Max);
        check(r#"{ "backbone": "resnet18", "dimension": 8, "crop": 96, "resize": 96 }"#, [96, 96], Pooling::Average);
        check(r#"{ "backbone": "vit_small_patch16", "dimension": 8 }"#, [256, 224], Pooling::ClassToken);
    }

    #[test]
    fn dropout_keeps_the_mean_and_follows_its_stream() {
        let x = Tensor::ones((50, 400), DType::F32, &Device::Cpu).unwrap();
        let drop = |seed| dropout(&x, 0.25, &Streams::new(seed)).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f32> = drop(1);
        let dropped = values.iter().filter(|value| **value == 0.0).count() as f64 / values.len() as f64;
        assert!((dropped - 0.25).abs() < 0.01, "{dropped}");
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_eq!(values, drop(1));
        assert_ne!(values, drop(2));
    }

    #[test]
    fn nothing_is_dropped_but_in_training() {
        let mut model = Model::new("small", 2).unwrap();
        model.dropout = 0.5;
        let mut parameters = Parameters::empty(&Device::Cpu);
        let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        parameters.insert("embedding.weight", Role::Weight, &ones(&[2, 16])).unwrap();
        parameters.insert("embedding.bias", Role::Weight, &ones(&[2])).unwrap();
        let embed = |training: Option<&Streams>| -> Vec<f32> {
            model.embed(&parameters, &ones(&[1, 16]), training).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(embed(None), [17.0; 2]);
        assert_ne!(embed(Some(&Streams::new(0))), [17.0; 2]);
    }

    #[test]
    fn blocks_are_skipped_only_in_training_and_where_there_are_some() {
        let build = |backbone: &str, rate: Option<f64>| {
            let text = serde_json::json!({ "backbone": backbone, "dimension": 2, "stochastic_depth": rate });
            Model::build(&serde_json::from_value(text).unwrap())
        };
        let model = build("resnet18", Some(0.5)).unwrap();
        let parameters = Parameters::initialise(&model.specs(), &Streams::new(0), &Device::Cpu).unwrap();
        let images = Tensor::rand(-1f32, 1.0, (4, 32, 32, 3), &Device::Cpu).unwrap();
        let features = |training: Option<&Streams>| -> Vec<f32> {
            model.features(&parameters, &images, training).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let streams = Streams::new(3);
        assert!(features(None) == features(None));
        assert!(features(Some(&streams)) != features(None));
        assert!(features(Some(&streams)) == features(Some(&streams)));

        assert_eq!(build("efficientnet_lite0", None).unwrap().stochastic_depth, 0.2, "as it was published");
        assert_eq!(build("efficientnet_lite0", Some(0.0)).unwrap().stochastic_depth, 0.0);
        assert_eq!(build("bn_inception", Some(0.0)).unwrap().stochastic_depth, 0.0);
        insta::assert_snapshot!(build("vit_small_patch16", Some(0.1)).err().unwrap(), @"`stochastic_depth` cannot be 0.1: `vit_small_patch16` has no residual blocks to skip");
    }

    #[test]
    fn an_unknown_backbone_is_answered_with_the_nearest() {
        let error = Model::new("resnet_18", 2).err().unwrap();
        insta::assert_snapshot!(error, @"There is no backbone `resnet_18`; there are `bn_inception`, `efficientnet_lite0`, `plain`, `resnet18`, `resnet34`, `resnet50`, `small`, `vit_small_patch14_dinov2`, `vit_small_patch16`; did you mean `resnet18`?");
    }
}
