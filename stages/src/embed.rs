//! `embed`: a vector for each image.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use dnc_learn::model::{Architecture, Model};
use dnc_learn::parameters::{Group, Parameters};
use dnc_learn::subspaces::{MASKS, Merged};
use dnc_learn::weights::NamedTensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::loader::{Loader, Look, Request};
use crate::stage::{Ambient, Input, Output, ParamError, Ports, Resources, Stage, Threads};
use crate::tables::embeddings::{self, EmbeddingRows};
use crate::tables::images::Images;
use crate::tables::{Split, model};
use crate::views::nuisance::Changes;

/// Computes a vector for each image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Embed {
    /// Which vector.
    pub vector: Vector,
    /// How the learners' parts become one embedding.
    pub merged: Merged,
    /// The splits whose images are embedded; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splits: Option<Vec<Split>>,
    /// Images that are computed at a time.
    pub batch: usize,
    /// The numbers that the network computes with.
    pub dtype: Precision,
}

impl Default for Embed {
    fn default() -> Self {
        Self { vector: Vector::Embedding, merged: Merged::Plain, splits: None, batch: 80, dtype: Precision::F32 }
    }
}

/// Which vector of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vector {
    /// The embedding, which is what is compared.
    #[default]
    Embedding,
    /// The backbone's features before it, which is what DC19 and DC21 cluster.
    Features,
}

/// The numbers that a network computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of 32, on a GPU only.
    Bf16,
}

impl Stage for Embed {
    const NAME: &'static str = "embed";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Computes a vector for each image";

    fn ports(&self) -> Ports {
        let columns = ["id", "label", "split", "height", "width", "pixels"];
        Ports {
            inputs: vec![
                Input::new("images", Kind::Images, &columns),
                Input::new("model", Kind::Model, &[model::PARAMETERS]),
            ],
            outputs: vec![Output::new("embeddings", Kind::Embeddings)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { arithmetic: true, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.batch == 0 {
            return Err(ParamError::new("batch", "A batch has at least one image"));
        }
        Ok(())
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, device: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let images = Images::open(context.input("images")?)?;
        let (ids, labels, splits) = self.chosen(&images)?;
        let (vectors, dim) = self.vectors(context, &images, &ids, None)?;
        let rows = EmbeddingRows { ids: &ids, labels: &labels, splits: &splits, vectors: &vectors, dim };
        embeddings::write(context, "embeddings", rows)
    }
}

impl Embed {
    /// The vectors of these images, changed if so asked, by the model of the port `model`, `[ids, dim]`, and their dim.
    pub(crate) fn vectors(
        &self,
        context: &Context<'_>,
        images: &Images,
        ids: &[u32],
        changes: Option<&Changes>,
    ) -> Result<(Vec<f32>, usize), StageError> {
        let device = context.device()?.clone();
        let network = Network::open(context, &device, self)?;
        let loader = Loader::new(images, None, network.model.preprocessing)?.changed(changes);
        let dim = network.width(self.vector);

        let start = Instant::now();
        let mut vectors: Vec<f32> = Vec::with_capacity(ids.len() * dim);
        let mut done = 0;
        let requests = ids.chunks(self.batch).map(|ids| Request { ids: ids.to_vec(), look: Look::Evaluation });
        loader.each(requests, &device, |request, images| {
            context.check_cancelled()?;
            vectors
                .extend(network.vectors(&images, self).map_err(|source| StageError::compute("embed images", source))?);
            done += request.ids.len();
            context.progress(done as u64, ids.len() as u64, "images");
            Ok(())
        })?;
        context.measured("images per second", ids.len() as f64 / start.elapsed().as_secs_f64());
        Ok((vectors, dim))
    }

    /// Ids, labels and splits of the images that are embedded, in the table's order.
    fn chosen(&self, images: &Images) -> Result<(Vec<u32>, Vec<u32>, Vec<Split>), StageError> {
        let rows = images.ids()?.into_iter().zip(images.labels()?).zip(images.splits()?);
        let chosen = rows.filter(|(_, split)| self.splits.as_ref().is_none_or(|splits| splits.contains(split)));
        let (pairs, splits): (Vec<_>, Vec<_>) = chosen.unzip();
        let (ids, labels) = pairs.into_iter().unzip();
        Ok((ids, labels, splits))
    }
}

/// A model that is ready to embed.
struct Network {
    model: Model,
    parameters: Parameters,
    masks: Option<Tensor>,
    dtype: DType,
}

impl Network {
    /// The model of the port `model`, its batch-norms folded away.
    fn open(context: &Context<'_>, device: &Device, stage: &Embed) -> Result<Self, StageError> {
        let stored = model::Model::open(context.input("model")?)?;
        let architecture: Architecture = serde_json::from_value(stored.architecture)
            .map_err(|source| StageError::compute("read what the model is", source))?;
        let dtype = match stage.dtype {
            Precision::F32 => DType::F32,
            Precision::Bf16 if device.is_cuda() => DType::BF16,
            Precision::Bf16 => {
                return Err(StageError::input("`dtype = \"bf16\"` is for GPUs; on this device embed with \"f32\""));
            }
        };
        let failed = |source| StageError::compute("load the model", source);
        let model = Model::build(&architecture).map_err(failed)?;
        let (network, others): (Vec<NamedTensor>, Vec<_>) = stored
            .parameters
            .into_iter()
            .partition(|tensor| matches!(Group::of(&tensor.name), Group::Backbone | Group::Embedding));
        let parameters = Parameters::restore(&model.specs(), &network, device).map_err(failed)?;
        let folded = model.fold(&parameters).map_err(failed)?;
        let parameters = if dtype == DType::F32 { folded } else { folded.cast(dtype).map_err(failed)? };
        let masks = others.iter().find(|tensor| tensor.name == MASKS).map(|masks| masks.to_tensor(device));
        let masks = masks.transpose().map_err(failed)?;
        if masks.is_none() && stage.merged != Merged::Plain && stage.vector == Vector::Embedding {
            return Err(StageError::input("The model has no masks that its embedding could be weighted with"));
        }
        Ok(Self { model, parameters, masks, dtype })
    }

    /// Coordinates of a vector.
    fn width(&self, vector: Vector) -> usize {
        match vector {
            Vector::Embedding => self.model.dimension,
            Vector::Features => self.model.backbone.feature_dim(),
        }
    }

    /// L2-normalised vectors of `images`, row by row.
    fn vectors(&self, images: &Tensor, stage: &Embed) -> dnc_learn::error::Result<Vec<f32>> {
        let features = self.model.features(&self.parameters, &images.to_dtype(self.dtype)?, None)?;
        let vectors = match stage.vector {
            Vector::Features => dnc_kernels::l2_normalise(&features.to_dtype(DType::F32)?)?,
            Vector::Embedding => {
                let embeddings = self.model.embed(&self.parameters, &features, None)?.to_dtype(DType::F32)?;
                match &self.masks {
                    Some(masks) => stage.merged.embedding(&embeddings, masks)?,
                    None => dnc_kernels::l2_normalise(&embeddings)?,
                }
            }
        };
        Ok(vectors.flatten_all()?.to_vec1()?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::context::InputArtifact;
    use crate::init::Init;
    use crate::tables::images::{ImageRow, ImagesWriter};
    use crate::testing::{Workshop, artifact, check_known_bytes, digest, on_threads};

    /// Ten images of noise, of two sizes, and a model.
    fn inputs(workshop: &Workshop) -> (InputArtifact, InputArtifact) {
        let (images, _) = workshop
            .write(Kind::Images, "images", |context| {
                let mut writer = ImagesWriter::create(context, "images")?;
                for index in 0..10_u32 {
                    let (height, width) = if index % 3 == 0 { (40, 36) } else { (32, 32) };
                    let noise = |place: u32| (place.wrapping_mul(2_654_435_761).wrapping_add(index * 97) >> 13) as u8;
                    let pixels: Vec<u8> = (0..height * width * 3).map(|place| noise(u32::from(place))).collect();
                    let split = if index < 6 { Split::Train } else { Split::Test };
                    let row = ImageRow {
                        label: index / 2,
                        class: "a",
                        split,
                        camera: None,
                        source: "noise",
                        height,
                        width,
                        pixels: &pixels,
                    };
                    writer.push(&row)?;
                }
                writer.finish(context)
            })
            .unwrap();
        let init: Init =
            serde_json::from_value(json!({ "backbone": "small", "dimension": 6, "crop": 32, "resize": 32 })).unwrap();
        let outputs = workshop.run(&init, &[]).unwrap();
        (images, artifact(Kind::Model, &outputs["model"].folder))
    }

    fn embed(
        workshop: &Workshop,
        stage: &Embed,
        images: &InputArtifact,
        model: &InputArtifact,
    ) -> crate::testing::Outputs {
        workshop.run(stage, &[("images", images), ("model", model)]).unwrap()
    }

    #[test]
    fn vectors_are_normalised_and_depend_on_their_image_alone() {
        let workshop = Workshop::new();
        let (images, model) = inputs(&workshop);
        let whole = embed(&workshop, &Embed::default(), &images, &model);
        let table = embeddings::Embeddings::open(&artifact(Kind::Embeddings, &whole["embeddings"].folder)).unwrap();
        assert_eq!((table.len(), table.dim().unwrap()), (10, 6));
        assert_eq!(table.labels().unwrap(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        for vector in table.vectors().unwrap().chunks_exact(6) {
            assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let small_batches = Embed { batch: 3, ..Embed::default() };
        let again = on_threads(3, || digest(&embed(&workshop, &small_batches, &images, &model)));
        assert_eq!(again, digest(&whole), "neither batch nor threads change a bit");
    }

    #[test]
    fn features_of_one_split() {
        let workshop = Workshop::new();
        let (images, model) = inputs(&workshop);
        let stage = Embed { vector: Vector::Features, splits: Some(vec![Split::Test]), ..Embed::default() };
        let outputs = embed(&workshop, &stage, &images, &model);
        let table = embeddings::Embeddings::open(&artifact(Kind::Embeddings, &outputs["embeddings"].folder)).unwrap();
        assert_eq!(table.ids().unwrap(), [6, 7, 8, 9]);
        assert!(table.dim().unwrap() > 6);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let workshop = Workshop::new();
        let (images, model) = inputs(&workshop);
        let check = |stage: Embed, expected: &str| {
            let error = workshop.run(&stage, &[("images", &images), ("model", &model)]).err().unwrap();
            assert_eq!(error.to_string(), expected);
        };
        check(
            Embed { dtype: Precision::Bf16, ..Embed::default() },
            "`dtype = \"bf16\"` is for GPUs; on this device embed with \"f32\"",
        );
        check(
            Embed { merged: Merged::Masks, ..Embed::default() },
            "The model has no masks that its embedding could be weighted with",
        );
    }

    /// Law 3: whoever changes these bytes raises [`Embed::VERSION`] in the same commit, and then this digest.
    #[test]
    fn the_version_stands_for_these_bytes() {
        let workshop = Workshop::new();
        let (images, model) = inputs(&workshop);
        let outputs = embed(&workshop, &Embed::default(), &images, &model);
        check_known_bytes((Embed::VERSION, &outputs), (1, "98367c288b83c0e7"));
    }
}
