//! `init`: a new model, from published weights where there are some.
//!
//! Fed with images, it centres the embedding on them: the bias becomes b − mean(W f + b) over the first training images.
//! Features after a ReLU are all positive, so that without it every embedding of a new network points the same way, and
//! distances between normalised embeddings tell little. Source: data-dependent initialisation, Krähenbühl et al. 2016,
//! arXiv 1511.06856, of which this is the bias of the last layer.

use std::path::PathBuf;

use dnc_learn::backbones::{BACKBONES, Pooling};
use dnc_learn::model::{Architecture, Model};
use dnc_learn::parameters::Parameters;
use dnc_learn::weights::import;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::loader::{Loader, Look, Request};
use crate::stage::{Ambient, Input, Output, ParamError, Ports, Resources, Source, Stage, Threads};
use crate::tables::images::Images;
use crate::tables::{Split, model};

/// Training images that the embedding is centred on.
const CENTRED_ON: usize = 512;
/// Of which so many are computed at a time.
const BATCH: usize = 64;

/// Makes a new model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// The network that turns images into features.
    #[schemars(extend("enum" = BACKBONES.map(|(name, _)| name)))]
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
    /// Weights to begin with: safetensors, or a `state_dict` saved by PyTorch, relative to the manifest. Tensors that it
    /// does not hold outside the backbone, and without it all, are drawn from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
}

/// DC21's.
fn default_dropout() -> f64 {
    0.01
}

impl Stage for Init {
    const NAME: &'static str = "init";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Makes a new model, from published weights where there are some";

    fn ports(&self) -> Ports {
        let images = Input::new("images", Kind::Images, &["id", "split", "height", "width", "pixels"]).optional();
        Ports { inputs: vec![images], outputs: vec![Output::new("model", Kind::Model)] }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: true, arithmetic: true, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.dimension == 0 {
            return Err(ParamError::new("dimension", "An embedding has at least one coordinate"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(ParamError::new("dropout", "The share of features that is dropped is at least 0 and below 1"));
        }
        if self.stochastic_depth.is_some_and(|rate| !(0.0..1.0).contains(&rate)) {
            let message = "The share of images that skip a block is at least 0 and below 1";
            return Err(ParamError::new("stochastic_depth", message));
        }
        if !BACKBONES.iter().any(|(name, _)| *name == self.backbone) {
            let message = format!("There is no backbone `{}`", self.backbone);
            let known = BACKBONES.map(|(name, _)| format!("`{name}`")).join(", ");
            return Err(ParamError::new("backbone", message).hint(format!("there are {known}")));
        }
        let model =
            Model::build(&self.architecture()).map_err(|error| ParamError::new("backbone", error.to_string()))?;
        let (crop, resize) = (model.preprocessing.crop, model.preprocessing.resize);
        if crop == 0 || resize < crop {
            return Err(ParamError::new("crop", format!("{crop} pixels cannot be cut out of {resize}")));
        }
        Ok(())
    }

    fn sources(&self) -> Vec<Source> {
        self.weights.iter().map(|path| Source::file("weights", path)).collect()
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, device: true, ..Resources::default() }
    }

    fn embedding_dimension(&self) -> Option<usize> {
        Some(self.dimension)
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let failed = |source| StageError::compute("make the model", source);
        let architecture = self.architecture();
        let network = Model::build(&architecture).map_err(failed)?;
        let specs = network.specs();
        let streams = context.streams()?.named(Self::NAME);
        let mut parameters = Parameters::initialise(&specs, &streams, &candle_core::Device::Cpu).map_err(failed)?;
        if self.weights.is_some() {
            self.load(&mut parameters, context)?;
        }
        let architecture = serde_json::to_value(&architecture)
            .map_err(|source| StageError::compute("write down what the model is", source))?;
        if context.input_if_any("images").is_some() {
            centre(&network, &mut parameters, context)?;
        }
        let parameters = parameters.rows().map_err(failed)?;
        model::write(context, "model", &model::Model { architecture, parameters, moments: Vec::new(), step: 0 })
    }
}

impl Init {
    /// What is written beside the tensors.
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

    fn load(&self, parameters: &mut Parameters, context: &Context<'_>) -> Result<(), StageError> {
        let path = context.source("weights")?;
        let failed = |source| StageError::compute("load the weights", source);
        let fit = parameters.load(&import(path).map_err(failed)?).map_err(failed)?;
        if !fit.is_complete() {
            let (path, backbone) = (path.display(), &self.backbone);
            return Err(StageError::input(format!("The weights file `{path}` does not fit `{backbone}`: {fit}")));
        }
        if !fit.is_exact() {
            context.log(format!("The weights file `{}` holds more than the model: {fit}", path.display()));
        }
        Ok(())
    }
}

/// Moves the embedding's bias so that the embeddings of the first training images have the mean 0.
fn centre(network: &Model, parameters: &mut Parameters, context: &Context<'_>) -> Result<(), StageError> {
    let failed = |source| StageError::compute("centre the embedding", source);
    let images = Images::open(context.input("images")?)?;
    let rows = images.ids()?.into_iter().zip(images.splits()?);
    let ids: Vec<u32> = rows.filter(|(_, split)| *split == Split::Train).map(|(id, _)| id).take(CENTRED_ON).collect();
    if ids.is_empty() {
        return Err(StageError::input("There are no training images that the embedding could be centred on"));
    }
    let loader = Loader::new(&images, None, network.preprocessing)?;
    let mut sums = vec![0.0_f64; network.dimension];
    let requests = ids.chunks(BATCH).map(|ids| Request { ids: ids.to_vec(), look: Look::Evaluation });
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
    let mut rows = parameters.rows().map_err(failed)?;
    let bias = rows.iter_mut().find(|tensor| tensor.name == "embedding.bias").expect("every model has an embedding");
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
    use crate::stage::StageKind;
    use crate::testing::{Workshop, artifact, check_known_bytes, digest};

    fn init(params: serde_json::Value) -> Init {
        serde_json::from_value(params).unwrap()
    }

    fn tensors(workshop: &Workshop, stage: &Init) -> Vec<NamedTensor> {
        let outputs = workshop.run(stage, &[]).unwrap();
        model::Model::open(&artifact(Kind::Model, &outputs["model"].folder)).unwrap().parameters
    }

    #[test]
    fn a_model_is_a_function_of_the_seed() {
        let mut workshop = Workshop::new();
        let stage = init(json!({ "backbone": "small", "dimension": 8 }));
        let first = workshop.run(&stage, &[]).unwrap();
        assert_eq!(digest(&first), digest(&workshop.run(&stage, &[]).unwrap()));
        workshop.ambient.seed = Some(1);
        assert_ne!(digest(&first), digest(&workshop.run(&stage, &[]).unwrap()));
    }

    #[test]
    fn weights_fill_the_backbone_and_leave_the_embedding() {
        let workshop = Workshop::new();
        let stage = init(json!({ "backbone": "small", "dimension": 8 }));
        let drawn = tensors(&workshop, &stage);
        let mut file: Vec<_> = drawn.iter().filter(|tensor| !tensor.name.starts_with("embedding.")).cloned().collect();
        for tensor in &mut file {
            tensor.name.insert_str(0, "module.");
            tensor.bytes.fill(0);
        }
        file.push(NamedTensor { name: "fc.bias".into(), ..file[0].clone() });
        export(&workshop.path().join("w.safetensors"), &file).unwrap();
        let loading = Init { weights: Some("w.safetensors".into()), ..stage };
        for (loaded, drawn) in tensors(&workshop, &loading).iter().zip(&drawn) {
            let expected =
                if drawn.name.starts_with("embedding.") { drawn.bytes.clone() } else { vec![0; drawn.bytes.len()] };
            assert_eq!(loaded.bytes, expected, "`{}`", drawn.name);
        }
        assert!(workshop.log.0.lock().unwrap()[0].ends_with("holds more than the model: 1 superfluous (`fc.bias`)"));
        export(&workshop.path().join("w.safetensors"), &file[1..]).unwrap();
        let error = workshop.run(&loading, &[]).err().unwrap().to_string();
        assert!(error.contains("does not fit `small`: 1 missing ("), "{error}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let check = |params: serde_json::Value, expected: &str| {
            let error = StageKind::of::<Init>().parse(params).err().unwrap();
            assert_eq!(format!("{}: {error}", error.key), expected);
        };
        check(json!({ "backbone": "resnet", "dimension": 8 }), "backbone: There is no backbone `resnet`");
        check(json!({ "backbone": "small", "dimension": 0 }), "dimension: An embedding has at least one coordinate");
        check(
            json!({ "backbone": "small", "dimension": 8, "crop": 96, "resize": 64 }),
            "crop: 96 pixels cannot be cut out of 64",
        );
        check(
            json!({ "backbone": "small", "dimension": 8, "dropout": 1.0 }),
            "dropout: The share of features that is dropped is at least 0 and below 1",
        );
    }

    /// Law 3: whoever changes these bytes raises [`Init::VERSION`] in the same commit, and then this digest.
    #[test]
    fn the_version_stands_for_these_bytes() {
        let workshop = Workshop::new();
        let stage = init(json!({ "backbone": "small", "dimension": 8 }));
        check_known_bytes((Init::VERSION, &workshop.run(&stage, &[]).unwrap()), (1, "1ea22c23ad46e905"));
    }
}
