//! `init`: creates a model, optionally from pretrained weights.
//!
//! With the input `images`, it centres the embedding on them: the bias becomes b − mean(W f + b) over the first training
//! images. Features after a ReLU are never negative, so without centring all embeddings of a new network point in about the
//! same direction, and distances between normalised embeddings carry little information.
//!
//! **Source** Krähenbühl et al. 2016, arXiv 1511.06856 (data-dependent initialisation), applied to the bias of the last layer
//! only.

use std::path::PathBuf;

use dnc_learn::backbones::{BACKBONES, Pooling};
use dnc_learn::model::{Architecture, Model};
use dnc_learn::parameters::Parameters;
use dnc_learn::weights::import;
use dnc_tables::images::Images;
use dnc_tables::{Split, model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    Ambient, Arithmetic, ArtifactKind, Context, Input, Output, ParamError, Ports, Resources, Source, Stage, StageError,
    Threads,
};
use crate::loader::{ImageVariant, Loader, Request};
use crate::pretrained;

/// Number of training images whose mean embedding is subtracted.
const CENTRING_IMAGES: usize = 512;
/// Batch size while their embeddings are computed.
const BATCH: usize = 64;
/// Most dimensions of an embedding. A larger number is a slip, and would fill the memory.
const MOST_DIMENSIONS: usize = 1 << 16;
/// Largest side of the images that a network takes, for the same reason.
const LARGEST_CROP: usize = 1 << 12;

/// Creates a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// Network that computes features from images; in brackets millions of parameters and number of features. With published
    /// weights for 224 × 224 pixels and published PyTorch code: `resnet18` (11.2, 512), `resnet34` (21.3, 512), `resnet50` (23.6,
    /// 2048), `efficientnet_lite0` (3.4, 1280), `bn_inception` (10.3, 1024), `vit_small_patch16` (21.7, 384),
    /// `vit_small_patch14_dinov2` (21.6, 384). Without either, to be trained from scratch on small images: `plain` (1.2, 384), made for
    /// 48 × 48 pixels, and `small` (1.2, 256), for any size.
    #[schemars(extend("enum" = BACKBONES.map(|(name, _)| name)))]
    pub backbone: String,
    /// Embedding dimension.
    pub dimension: usize,
    /// Pooling of the backbone's feature map into one vector. Without it, the backbone's published pooling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Dropout probability of the features during training.
    #[serde(default = "default_dropout")]
    pub dropout: f64,
    /// Stochastic depth: during training, residual block l of L is skipped for an image with probability
    /// stochastic_depth · l / L. Without it, the backbone's published value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stochastic_depth: Option<f64>,
    /// Side in pixels of the square images that the network takes. Without it, the backbone's published size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<usize>,
    /// Length in pixels that an image's shorter side is resized to before the centre crop. Without it, the backbone's
    /// published ratio to `crop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
    /// Pretrained weights: a published name such as `"imagenet"`, `"dino"` or `"dinov2"` (`dnc-run weights ls` lists them), or
    /// a file relative to the manifest's folder: safetensors, or a `state_dict` saved by PyTorch. It must hold all tensors of
    /// the backbone and no others, except for a classifier head, which is left out. The embedding layer is drawn from the
    /// seed if the file holds neither its weight nor its bias; the file that `dnc-run export` writes holds both. Without
    /// `weights`, all tensors are drawn from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
}

/// Value of DC21.
fn default_dropout() -> f64 {
    0.01
}

impl Stage for Init {
    const NAME: &'static str = "init";
    const VERSION: u32 = 4;
    const SUMMARY: &'static str = "Create a model, optionally from pretrained weights";

    fn ports(&self) -> Ports {
        let images =
            Input::new("images", ArtifactKind::Images, &["id", "split", "height", "width", "pixels"]).optional();
        Ports { inputs: vec![images], outputs: vec![Output::new("model", ArtifactKind::Model)] }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: true, arithmetic: Arithmetic::Cpu, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if !(1..=MOST_DIMENSIONS).contains(&self.dimension) {
            return Err(ParamError::new("dimension", format!("`dimension` must be between 1 and {MOST_DIMENSIONS}")));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(ParamError::new("dropout", "`dropout` must be at least 0 and below 1"));
        }
        if self.stochastic_depth.is_some_and(|rate| !(0.0..1.0).contains(&rate)) {
            let message = "`stochastic_depth` must be at least 0 and below 1";
            return Err(ParamError::new("stochastic_depth", message));
        }
        if !BACKBONES.iter().any(|(name, _)| *name == self.backbone) {
            let message = format!("Unknown backbone `{}`", self.backbone);
            let known = BACKBONES.map(|(name, _)| format!("`{name}`")).join(", ");
            return Err(ParamError::new("backbone", message).hint(format!("the backbones are {known}")));
        }
        if let Some(weights) = &self.weights {
            pretrained::check("weights", &self.backbone, weights)?;
        }
        let model =
            Model::build(&self.architecture()).map_err(|error| ParamError::new("backbone", error.to_string()))?;
        model.check_crop().map_err(|error| ParamError::new("crop", error.to_string()))?;
        let (crop, resize) = (model.preprocessing.crop, model.preprocessing.resize);
        if crop > LARGEST_CROP {
            return Err(ParamError::new("crop", format!("`crop` must be at most {LARGEST_CROP}, but is {crop}")));
        }
        if crop == 0 || resize < crop {
            return Err(ParamError::new(
                "crop",
                format!("`crop` must be between 1 and `resize`, but `crop` is {crop} and `resize` is {resize}"),
            ));
        }
        Ok(())
    }

    fn sources(&self) -> Vec<Source> {
        self.weights.iter().map(|path| pretrained::source("weights", &self.backbone, path)).collect()
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, ..Resources::default() }
    }

    fn embedding_dimension(&self) -> Option<usize> {
        Some(self.dimension)
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let failed = |source| StageError::compute("create the model", source);
        let architecture = self.architecture();
        let network = Model::build(&architecture).map_err(failed)?;
        let specs = network.specs();
        let streams = context.streams()?.named(Self::NAME);
        let mut parameters = Parameters::initialise(&specs, &streams, &candle_core::Device::Cpu).map_err(failed)?;
        let has_embedding = match &self.weights {
            Some(_) => self.load(&network, &mut parameters, context)?,
            None => false,
        };
        let architecture = serde_json::to_value(&architecture)
            .map_err(|source| StageError::compute("write the model's architecture", source))?;
        // An embedding from a file is used as it is.
        if context.input_if_any("images").is_some() && !has_embedding {
            centre(&network, &mut parameters, context)?;
        }
        let parameters = parameters.named_tensors().map_err(failed)?;
        let model = model::Model { architecture, parameters, moments: Vec::new(), step: 0 };
        Ok(model::write(context.output("model")?, &model)?)
    }
}

impl Init {
    /// The architecture, which is stored with the tensors.
    fn architecture(&self) -> Architecture {
        Architecture {
            backbone: self.backbone.clone(),
            dimension: self.dimension,
            pooling: self.pooling,
            dropout: self.dropout,
            stochastic_depth: self.stochastic_depth,
            crop: self.crop,
            resize: self.resize,
        }
    }

    /// Loads the weights file, and returns whether it holds the embedding.
    fn load(&self, network: &Model, parameters: &mut Parameters, context: &Context<'_>) -> Result<bool, StageError> {
        let path = context.source("weights")?;
        let failed = |source| StageError::compute("load the weights", source);
        let tensors =
            network.backbone.for_crop(import(path).map_err(failed)?, network.preprocessing.crop).map_err(failed)?;
        let fit = parameters.load(&tensors).map_err(failed)?;
        if !fit.is_exact() {
            let (path, backbone) = (path.to_path_buf(), self.backbone.clone());
            return Err(StageError::WeightsMismatch { path, backbone, fit: Box::new(fit) });
        }
        if !fit.left_out.is_empty() {
            let names = fit.left_out.join("`, `");
            context.warn(format!("The classifier head in `{}` is left out: `{names}`", path.display()));
        }
        Ok(tensors.iter().any(|tensor| tensor.name.ends_with("embedding.weight")))
    }
}

/// Shifts the bias of the embedding layer so that the embeddings of the first training images have mean 0.
fn centre(network: &Model, parameters: &mut Parameters, context: &Context<'_>) -> Result<(), StageError> {
    let failed = |source| StageError::compute("centre the embedding", source);
    let images = Images::open(context.input("images")?)?;
    let rows = images.ids()?.into_iter().zip(images.splits()?);
    let ids: Vec<u32> =
        rows.filter(|(_, split)| *split == Split::Train).map(|(id, _)| id).take(CENTRING_IMAGES).collect();
    if ids.is_empty() {
        return Err(StageError::NoTrainingImages { purpose: "centre the embedding on" });
    }
    let loader = Loader::new(&images, None, network.preprocessing)?;
    let mut sums = vec![0.0_f64; network.dimension];
    let requests = ids.chunks(BATCH).map(|ids| Request { ids: ids.to_vec(), variant: ImageVariant::Evaluation });
    loader.each(requests, &candle_core::Device::Cpu, |_, images| {
        context.check_cancelled()?;
        let features = network.features(parameters, &images, None).map_err(failed)?;
        let embeddings = network.embed(parameters, &features, None).map_err(failed)?; // [batch, dim]
        let rows = embeddings.to_vec2::<f32>().map_err(|source| failed(source.into()))?;
        for row in rows {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(value));
        }
        Ok(())
    })?;
    let mut rows = parameters.named_tensors().map_err(failed)?;
    let bias = rows
        .iter_mut()
        .find(|tensor| tensor.name == "embedding.bias")
        .expect("every model has an embedding layer with a bias");
    for (bytes, sum) in bias.bytes.chunks_exact_mut(4).zip(sums) {
        let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let centred = f64::from(value) - sum / ids.len() as f64;
        bytes.copy_from_slice(&(centred as f32).to_le_bytes());
    }
    parameters.load(&rows).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use dnc_learn::weights::{NamedTensor, export};
    use serde_json::json;

    use super::*;
    use crate::api::StageKind;
    use crate::testing::{Workshop, artifact, check_known_bytes, digest};

    fn init(params: serde_json::Value) -> Init {
        serde_json::from_value(params).unwrap()
    }

    fn tensors(workshop: &Workshop, stage: &Init) -> Vec<NamedTensor> {
        let outputs = workshop.run(stage, &[]).unwrap();
        model::Model::open(&artifact(ArtifactKind::Model, &outputs["model"].folder)).unwrap().parameters
    }

    #[test]
    fn the_seed_determines_the_model() {
        let mut workshop = Workshop::new();
        let stage = init(json!({ "backbone": "small", "dimension": 8 }));
        let first = workshop.run(&stage, &[]).unwrap();
        assert_eq!(digest(&first), digest(&workshop.run(&stage, &[]).unwrap()));
        workshop.ambient.seed = Some(1);
        assert_ne!(digest(&first), digest(&workshop.run(&stage, &[]).unwrap()));
    }

    #[test]
    fn weights_replace_the_backbone_and_not_the_embedding() {
        let workshop = Workshop::new();
        let stage = init(json!({ "backbone": "small", "dimension": 8 }));
        let drawn = tensors(&workshop, &stage);
        let mut file: Vec<_> = drawn.iter().filter(|tensor| !tensor.name.starts_with("embedding.")).cloned().collect();
        for tensor in &mut file {
            tensor.name.insert_str(0, "module.");
            tensor.bytes.fill(0);
        }
        file.push(NamedTensor { name: "fc.bias".into(), ..file[0].clone() });
        export(&workshop.path().join("w.safetensors"), &file, None).unwrap();
        let loading = Init { weights: Some("w.safetensors".into()), ..stage };
        for (loaded, drawn) in tensors(&workshop, &loading).iter().zip(&drawn) {
            let expected =
                if drawn.name.starts_with("embedding.") { drawn.bytes.clone() } else { vec![0; drawn.bytes.len()] };
            assert_eq!(loaded.bytes, expected, "`{}`", drawn.name);
        }
        assert!(workshop.log.0.lock().unwrap()[0].ends_with("is left out: `fc.bias`"));
        export(&workshop.path().join("w.safetensors"), &file[1..], None).unwrap();
        let error = workshop.run(&loading, &[]).err().unwrap().to_string();
        assert!(error.contains("does not fit `small`: 1 missing ("), "{error}");
        file.push(NamedTensor { name: "layer9.weight".into(), ..file[0].clone() });
        export(&workshop.path().join("w.safetensors"), &file, None).unwrap();
        let error = workshop.run(&loading, &[]).err().unwrap().to_string();
        assert!(error.contains("does not fit `small`: 1 unexpected (`layer9.weight`)"), "{error}");
    }

    #[test]
    fn invalid_values_are_refused() {
        let check = |params: serde_json::Value, expected: &str| {
            let error = StageKind::of::<Init>().parse(params).err().unwrap();
            assert_eq!(format!("{}: {error}", error.key), expected);
        };
        check(json!({ "backbone": "resnet", "dimension": 8 }), "backbone: Unknown backbone `resnet`");
        let dimension = "dimension: `dimension` must be between 1 and 65536";
        check(json!({ "backbone": "small", "dimension": 0 }), dimension);
        check(json!({ "backbone": "small", "dimension": 1_000_000_000_000_u64 }), dimension);
        check(
            json!({ "backbone": "small", "dimension": 8, "crop": 100_000, "resize": 100_000 }),
            "crop: `crop` must be at most 4096, but is 100000",
        );
        check(
            json!({ "backbone": "small", "dimension": 8, "crop": 96, "resize": 64 }),
            "crop: `crop` must be between 1 and `resize`, but `crop` is 96 and `resize` is 64",
        );
        check(
            json!({ "backbone": "small", "dimension": 8, "dropout": 1.0 }),
            "dropout: `dropout` must be at least 0 and below 1",
        );
        check(
            json!({ "backbone": "resnet50", "dimension": 8, "weights": "dinov2" }),
            "weights: `resnet50` has no published weights `dinov2`; they exist for `vit_small_patch14_dinov2`",
        );
    }

    #[test]
    fn every_backbone_is_described() {
        let mut generator = schemars::SchemaGenerator::default();
        let schema = serde_json::to_string(&StageKind::of::<Init>().schema(&mut generator)).unwrap();
        let definitions = serde_json::to_string(generator.definitions()).unwrap();
        let text = (schema + &definitions).replace("\\n", " ");
        for (name, build) in BACKBONES {
            let backbone = build();
            let specs = backbone.specs_for(backbone.preprocessing().crop, &[]);
            let parameters: usize = specs.iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
            let expected = format!("`{name}` ({:.1}, {})", parameters as f64 / 1e6, backbone.feature_dim());
            assert!(text.contains(&expected), "{expected}");
        }
    }

    #[test]
    fn a_crop_that_the_backbone_does_not_take_is_refused_with_the_manifest() {
        let check = |backbone: &str, crop: usize| {
            let params = json!({ "backbone": backbone, "dimension": 8, "crop": crop, "resize": crop });
            let error = StageKind::of::<Init>().parse(params).err().unwrap();
            format!("{}: {error}", error.key)
        };
        insta::assert_snapshot!(check("plain", 32), @"crop: `crop` cannot be 32: it must be at least 33");
        insta::assert_snapshot!(check("vit_small_patch14_dinov2", 225), @"crop: `crop` cannot be 225: its images are cut into patches, so that it must be a multiple of 14");
        insta::assert_snapshot!(check("bn_inception", 48), @"crop: `crop` cannot be 48: it must be a multiple of 32, from 1 less to 6 more");
    }

    #[test]
    fn positions_of_another_image_size_are_interpolated() {
        let workshop = Workshop::new();
        let stage = |crop: usize, weights: Option<&str>| {
            let params = json!({ "backbone": "vit_small_patch16", "dimension": 4, "crop": crop, "resize": crop });
            Init { weights: weights.map(Into::into), ..init(params) }
        };
        let small = tensors(&workshop, &stage(32, None));
        let backbone: Vec<_> = small.iter().filter(|tensor| !tensor.name.starts_with("embedding.")).cloned().collect();
        export(&workshop.path().join("w.safetensors"), &backbone, None).unwrap();
        let positions =
            |tensors: &[NamedTensor]| tensors.iter().find(|tensor| tensor.name == "pos_embed").unwrap().clone();
        assert_eq!(positions(&tensors(&workshop, &stage(32, Some("w.safetensors")))), positions(&small));
        let large = positions(&tensors(&workshop, &stage(64, Some("w.safetensors"))));
        assert_eq!(large.shape, [1, 1 + 4 * 4, 384]);
        assert_eq!(large.bytes[..384 * 4], positions(&small).bytes[..384 * 4], "the class token has its own position");
    }

    /// Law 3: a commit that changes these bytes also raises [`Init::VERSION`], and updates the digest.
    #[test]
    fn the_version_matches_the_bytes() {
        let workshop = Workshop::new();
        let stage = init(json!({ "backbone": "small", "dimension": 8 }));
        check_known_bytes(
            (Init::VERSION, &workshop.run(&stage, &[]).unwrap()),
            (
                4,
                &[
                    ("cpu/avx512/gnu", "fd126a2972c6defc"),
                    ("cpu/avx2/gnu", "fd126a2972c6defc"),
                    ("cpu/portable/gnu", "fd126a2972c6defc"),
                ],
            ),
        );
    }
}
