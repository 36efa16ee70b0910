//! A model: a backbone and the linear layer that embeds its features.
//!
//! Formula: `e = W · dropout(f(x)) + b`. It is not normalised here, because the projection onto a subspace comes first.
//! Shapes: images `[batch, height, width, 3]`, f `[batch, F]`, W `[d, F]`, b `[d]`, e `[batch, d]`.
//! Source: DC21, section 3.1; dropout from Srivastava et al. 2014.

use candle_core::{DType, Tensor};
use dnc_kernels::linear;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backbones::{Backbone, Pooling, Preprocessing, StochasticDepth, backbone};
use crate::error::{LearnError, Result};
use crate::parameters::{Group, Parameters};
use crate::spec::Spec;
use crate::streams::Streams;
use crate::weights::NamedTensor;

/// Description of a model, in a manifest and beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Backbone network; `dnc-run stages init` lists them.
    pub backbone: String,
    /// Dimension of the embedding.
    pub dimension: usize,
    /// How the backbone's feature map is reduced to one vector. Default: that of the published backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Dropout probability of the features during training.
    #[serde(default = "default_dropout")]
    pub dropout: f64,
    /// Probability with which the last residual blocks are skipped for an image during training (stochastic depth). Default: that
    /// of the published backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stochastic_depth: Option<f64>,
    /// Side length in pixels of the network's input. Default: that of the published backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<usize>,
    /// Length in pixels to which an image's shorter side is resized before the centre crop. Default: in the same proportion to `crop`
    /// as for the published backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
}

/// The value of DC21.
fn default_dropout() -> f64 {
    0.01
}

/// A backbone with its embedding layer, apart from the weights.
pub struct Model {
    /// The network before the pooling.
    pub backbone: Box<dyn Backbone>,
    /// How its feature map is reduced to one vector.
    pub pooling: Pooling,
    /// Dimension d of the embedding.
    pub dimension: usize,
    /// Dropout probability of the features during training.
    pub dropout: f64,
    /// Rate of [`StochasticDepth`] during training.
    pub stochastic_depth: f64,
    /// The preprocessing of images that the network expects.
    pub preprocessing: Preprocessing,
}

impl Model {
    /// The published backbone called `name`, without dropout or stochastic depth.
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
    /// If there is no such backbone, or it has no residual blocks to skip although `stochastic_depth` is set.
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
            (configured, published) => configured.or(published).unwrap_or(0.0),
        };
        Ok(Self {
            stochastic_depth,
            pooling: architecture.pooling.unwrap_or(published.pooling),
            dropout: architecture.dropout,
            preprocessing: Preprocessing { resize, crop, ..own },
            ..published
        })
    }

    /// All tensors of the model: those of the backbone and the embedding layer.
    pub fn specs(&self) -> Vec<Spec> {
        self.specs_for(&[])
    }

    /// All tensors of the model, of which `given` are to be used: a tensor that may have several shapes has that of the given one.
    pub fn specs_for(&self, given: &[NamedTensor]) -> Vec<Spec> {
        let mut specs = self.backbone.specs_for(self.preprocessing.crop, given);
        specs.extend(Spec::embedding(self.backbone.feature_dim(), self.dimension));
        specs
    }

    /// Checks that the network takes images of `crop` × `crop` pixels.
    ///
    /// # Errors
    /// It does not: they are too small, or cannot be halved as often as the network does.
    pub fn check_crop(&self) -> Result<()> {
        let crop = self.preprocessing.crop;
        match self.backbone.refuses(crop) {
            None => Ok(()),
            Some(reason) => Err(LearnError::Config { parameter: "crop", value: crop.to_string(), reason }),
        }
    }

    /// Features of preprocessed `images`, `[batch, height, width, 3]`: `[batch, F]`, in `f32` whatever the precision of the
    /// `parameters`. During training, `training` is the random stream of the step, from which the skipped blocks are drawn.
    ///
    /// # Errors
    /// If `parameters` are not those of this model, or the images are too small.
    pub fn features(&self, parameters: &Parameters, images: &Tensor, training: Option<&Streams>) -> Result<Tensor> {
        let depth = training.filter(|_| self.stochastic_depth > 0.0);
        let depth = depth.map(|streams| StochasticDepth { rate: self.stochastic_depth, streams });
        let images = images.to_dtype(parameters.precision().activations())?;
        Ok(self.backbone.forward(parameters, &images, self.pooling, depth)?.to_dtype(DType::F32)?)
    }

    /// Embeddings of `features` `[batch, F]`, neither masked nor normalised: `[batch, d]`. During training, `training` is the random
    /// stream of the step, from which the dropped features are drawn.
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

    /// The parameters for inference, with every batch-norm folded into its convolution and without gradients.
    ///
    /// # Errors
    /// If `parameters` are not those of this model.
    pub fn fold(&self, parameters: &Parameters) -> Result<Parameters> {
        let mut folded = self.backbone.fold(parameters)?;
        for (name, role, value) in parameters.iter() {
            if Group::of(name) != Group::Backbone {
                folded.insert(name, role, &value)?;
            }
        }
        Ok(folded.with_precision(parameters.precision()).without_gradients())
    }
}

/// Sets each value to zero with probability `rate` and multiplies the others by `1 / (1 − rate)`, so that the mean is unchanged.
fn dropout(x: &Tensor, rate: f64, streams: &Streams) -> Result<Tensor> {
    let mut rng = streams.named("dropout").rng();
    let kept = (1.0 / (1.0 - rate)) as f32;
    let mask = (0..x.elem_count()).map(|_| if rng.random::<f64>() < rate { 0.0 } else { kept }).collect::<Vec<_>>();
    Ok((x * Tensor::from_vec(mask, x.shape(), x.device())?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::spec::Role;

    #[test]
    fn an_architecture_overrides_the_published_values() {
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
    fn dropout_preserves_the_mean_and_depends_on_its_stream_alone() {
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

    /// The sizes around those at which one network or another stops working.
    #[test]
    fn a_network_takes_the_sizes_that_it_does_not_refuse() {
        for (name, _) in
            crate::backbones::BACKBONES.into_iter().filter(|(name, _)| !["resnet34", "resnet50"].contains(name))
        {
            let mut model = Model::new(name, 2).unwrap();
            for crop in [1, 13, 14, 16, 28, 30, 31, 32, 33, 38, 39, 62, 63, 70, 71] {
                model.preprocessing.crop = crop;
                let mut parameters = Parameters::empty(&Device::Cpu);
                for spec in model.specs() {
                    let zeros = Tensor::zeros(spec.shape.as_slice(), DType::F32, &Device::Cpu).unwrap();
                    parameters.insert(&spec.name, spec.role, &zeros).unwrap();
                }
                let images = Tensor::zeros((1, crop, crop, 3), DType::F32, &Device::Cpu).unwrap();
                let features = model.features(&parameters, &images, None);
                assert_eq!(features.is_ok(), model.check_crop().is_ok(), "{name}, {crop}");
            }
        }
        let mut model = Model::new("vit_small_patch16", 2).unwrap();
        model.preprocessing.crop = 100;
        insta::assert_snapshot!(model.check_crop().unwrap_err(), @"`crop` cannot be 100: its images are cut into patches, so that it must be a multiple of 16");
    }

    #[test]
    fn dropout_applies_only_in_training() {
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
    fn blocks_are_skipped_only_in_training_and_only_by_residual_networks() {
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

        assert_eq!(build("efficientnet_lite0", None).unwrap().stochastic_depth, 0.2, "the published value");
        assert_eq!(build("efficientnet_lite0", Some(0.0)).unwrap().stochastic_depth, 0.0);
        assert_eq!(build("bn_inception", Some(0.0)).unwrap().stochastic_depth, 0.0);
        insta::assert_snapshot!(build("vit_small_patch16", Some(0.1)).err().unwrap(), @"`stochastic_depth` cannot be 0.1: `vit_small_patch16` has no residual blocks to skip");
    }

    #[test]
    fn the_nearest_backbone_is_suggested_for_an_unknown_one() {
        let error = Model::new("resnet_18", 2).err().unwrap();
        insta::assert_snapshot!(error, @"There is no backbone `resnet_18`; choose one of `bn_inception`, `efficientnet_lite0`, `plain`, `resnet18`, `resnet34`, `resnet50`, `small`, `vit_small_patch14_dinov2`, `vit_small_patch16`; did you mean `resnet18`?");
    }
}
