//! `embed`: computes an embedding vector for each image.

use std::time::Instant;

use candle_core::{Device, Tensor};
use dnc_learn::backbones::Preprocessing;
use dnc_learn::checks::finite_values;
use dnc_learn::model::Model;
use dnc_learn::parameters::{Group, Parameters};
use dnc_learn::subspaces::Merged;
use dnc_learn::weights::NamedTensor;
use dnc_tables::embeddings::{self, EmbeddingRows};
use dnc_tables::images::Images;
use dnc_tables::pictures::nuisance::Changes;
use dnc_tables::{InputArtifact, Split, model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    Ambient, Arithmetic, ArtifactKind, Context, Input, Output, ParamError, Ports, Resources, Stage, StageError, Threads,
};
use crate::loader::{ImageVariant, Loader, Request};
use crate::precision::Precision;

/// Computes an embedding vector for each image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Embed {
    /// Which vector to compute.
    pub vector: Vector,
    /// How the learners' subspaces are combined into one embedding.
    pub merged: Merged,
    /// Splits to embed. Without it, all splits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splits: Option<Vec<Split>>,
    /// Batch size. It does not affect the vectors.
    pub batch: usize,
    /// Precision of the network. A CPU has "f32" only.
    #[serde(skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
}

/// What to do when a GPU has too little memory for a batch; `evaluate` has the same parameters.
const MEMORY_REMEDY: &str = "lower `batch`, or choose `precision = \"bf16\"`";

impl Default for Embed {
    fn default() -> Self {
        Self { vector: Vector::Embedding, merged: Merged::Plain, splits: None, batch: 80, precision: Precision::F32 }
    }
}

/// Vector of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vector {
    /// The embedding that images are compared by, L2-normalised.
    #[default]
    Embedding,
    /// The backbone's pooled features before the embedding layer, L2-normalised. The divide-and-conquer papers cluster these.
    Features,
}

impl Stage for Embed {
    const NAME: &'static str = "embed";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Compute an embedding vector for each image";

    fn ports(&self) -> Ports {
        let columns = ["id", "label", "split", "height", "width", "pixels"];
        Ports {
            inputs: vec![
                Input::new("images", ArtifactKind::Images, &columns),
                Input::new("model", ArtifactKind::Model, &[model::PARAMETERS]),
            ],
            outputs: vec![Output::new("embeddings", ArtifactKind::Embeddings)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { arithmetic: Arithmetic::Device, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.batch == 0 {
            return Err(ParamError::new("batch", "`batch` must be at least 1"));
        }
        Ok(())
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, device: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let images = Images::open(context.input("images")?)?;
        let (ids, labels, splits) = self.selected(&images)?;
        let (vectors, dim) = self.vectors(context, &images, &ids, None)?;
        let rows = EmbeddingRows { ids: &ids, labels: &labels, splits: &splits, vectors: &vectors, dim };
        Ok(embeddings::write(context.output("embeddings")?, rows)?)
    }
}

impl Embed {
    /// Vectors of these images by the model on the input `model`, `[ids, dim]`, and their dimension. With `changes`, the
    /// images are modified first.
    pub(crate) fn vectors(
        &self,
        context: &Context<'_>,
        images: &Images,
        ids: &[u32],
        changes: Option<&Changes>,
    ) -> Result<(Vec<f32>, usize), StageError> {
        self.computed(context, images, ids, changes).map_err(|error| error.with_memory_remedy(MEMORY_REMEDY))
    }

    fn computed(
        &self,
        context: &Context<'_>,
        images: &Images,
        ids: &[u32],
        changes: Option<&Changes>,
    ) -> Result<(Vec<f32>, usize), StageError> {
        let device = context.device()?.clone();
        let network = Network::open(context.input("model")?, &device, self)?;
        let activations = network.parameters.precision().activations();
        let loader = Loader::new(images, None, network.model.preprocessing)?.changed(changes).of_type(activations);
        let dim = network.width(self.vector);

        let _weights = dnc_kernels::KeptWeights::new();
        let start = Instant::now();
        let mut vectors: Vec<f32> = Vec::with_capacity(ids.len() * dim);
        let mut done = 0;
        let requests =
            ids.chunks(self.batch).map(|ids| Request { ids: ids.to_vec(), variant: ImageVariant::Evaluation });
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

    /// Ids, labels and splits of the images to embed, in the table's order.
    fn selected(&self, images: &Images) -> Result<(Vec<u32>, Vec<u32>, Vec<Split>), StageError> {
        let rows = images.ids()?.into_iter().zip(images.labels()?).zip(images.splits()?);
        let selected = rows.filter(|(_, split)| self.splits.as_ref().is_none_or(|splits| splits.contains(split)));
        let (pairs, splits): (Vec<_>, Vec<_>) = selected.unzip();
        let (ids, labels) = pairs.into_iter().unzip();
        Ok((ids, labels, splits))
    }
}

/// Model in inference mode.
pub(crate) struct Network {
    model: Model,
    parameters: Parameters,
    masks: Option<Tensor>,
}

impl Network {
    /// Loads the model on the input `model` and folds its batch-norms into the convolutions.
    pub(crate) fn open(model: &InputArtifact, device: &Device, stage: &Embed) -> Result<Self, StageError> {
        let stored = model::Model::open(model)?;
        let model = stored.network()?;
        let precision = stage.precision.on(device)?;
        let failed = |source| StageError::compute("load the model", source);
        let masks = stored.masks().map(|masks| masks.to_tensor(device)).transpose().map_err(failed)?;
        let of_network = |tensor: &NamedTensor| matches!(Group::of(&tensor.name), Group::Backbone | Group::Embedding);
        let tensors: Vec<NamedTensor> = stored.parameters.into_iter().filter(of_network).collect();
        let parameters = Parameters::restore(&model.specs_for(&tensors), &tensors, device).map_err(failed)?;
        let parameters = model.fold(&parameters).map_err(failed)?.with_precision(precision);
        if masks.is_none() && stage.merged != Merged::Plain && stage.vector == Vector::Embedding {
            return Err(StageError::NoMasks);
        }
        Ok(Self { model, parameters, masks })
    }

    /// How images are prepared for it.
    pub(crate) fn preprocessing(&self) -> Preprocessing {
        self.model.preprocessing
    }

    /// Dimension of a vector.
    pub(crate) fn width(&self, vector: Vector) -> usize {
        match vector {
            Vector::Embedding => self.model.dimension,
            Vector::Features => self.model.backbone.feature_dim(),
        }
    }

    /// L2-normalised vectors of `images`, `[batch, dim]`, row by row.
    pub(crate) fn vectors(&self, images: &Tensor, stage: &Embed) -> dnc_learn::error::Result<Vec<f32>> {
        let features = self.model.features(&self.parameters, images, None)?;
        let vectors = match stage.vector {
            Vector::Features => dnc_kernels::l2_normalise(&features)?,
            Vector::Embedding => {
                let embeddings = self.model.embed(&self.parameters, &features, None)?;
                match &self.masks {
                    Some(masks) => stage.merged.embedding(&embeddings, masks)?,
                    None => dnc_kernels::l2_normalise(&embeddings)?,
                }
            }
        };
        finite_values(&vectors, "embeddings")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::InputArtifact;
    use crate::init::Init;
    use crate::testing::{Workshop, artifact, check_known_bytes, digest, on_threads};
    use dnc_tables::images::{ImageRow, ImagesWriter};

    /// Ten noise images of two sizes, and a model.
    fn inputs(workshop: &Workshop) -> (InputArtifact, InputArtifact) {
        let (images, _) = workshop
            .write(ArtifactKind::Images, |output| {
                let mut writer = ImagesWriter::new(output);
                for index in 0..10_u32 {
                    let (height, width) = if index % 3 == 0 { (40, 36) } else { (32, 32) };
                    let noise = |at: u32| (at.wrapping_mul(2_654_435_761).wrapping_add(index * 97) >> 13) as u8;
                    let pixels: Vec<u8> = (0..height * width * 3).map(|at| noise(u32::from(at))).collect();
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
                writer.finish(output)
            })
            .unwrap();
        let init: Init =
            serde_json::from_value(json!({ "backbone": "small", "dimension": 6, "crop": 32, "resize": 32 })).unwrap();
        let outputs = workshop.run(&init, &[]).unwrap();
        (images, artifact(ArtifactKind::Model, &outputs["model"].folder))
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
    fn vectors_are_normalised_and_independent_of_batch_and_threads() {
        let workshop = Workshop::new();
        let (images, model) = inputs(&workshop);
        let whole = embed(&workshop, &Embed::default(), &images, &model);
        let table =
            embeddings::Embeddings::open(&artifact(ArtifactKind::Embeddings, &whole["embeddings"].folder)).unwrap();
        assert_eq!((table.len(), table.dim().unwrap()), (10, 6));
        assert_eq!(table.labels().unwrap(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        for vector in table.vectors().unwrap().chunks_exact(6) {
            assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let small_batches = Embed { batch: 3, ..Embed::default() };
        let again = on_threads(3, || digest(&embed(&workshop, &small_batches, &images, &model)));
        assert_eq!(again, digest(&whole), "neither the batch size nor the thread count changes a bit");
    }

    #[test]
    fn embeddings_that_explode_are_an_error() {
        let workshop = Workshop::new();
        let (images, model) = inputs(&workshop);
        let mut model = model::Model::open(&model).unwrap();
        let weight = model.parameters.iter_mut().find(|tensor| tensor.name == "embedding.weight").unwrap();
        weight.bytes.chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&1e30_f32.to_le_bytes()));
        let (model, _) = workshop.write(ArtifactKind::Model, |output| model::write(output, &model)).unwrap();
        let error = workshop.run(&Embed::default(), &[("images", &images), ("model", &model)]).err().unwrap();
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let message = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert_eq!(message, "Cannot embed images: The embeddings are not all finite; try a lower learning rate");
    }

    #[test]
    fn features_of_one_split_are_computed() {
        let workshop = Workshop::new();
        let (images, model) = inputs(&workshop);
        let stage = Embed { vector: Vector::Features, splits: Some(vec![Split::Test]), ..Embed::default() };
        let outputs = embed(&workshop, &stage, &images, &model);
        let table =
            embeddings::Embeddings::open(&artifact(ArtifactKind::Embeddings, &outputs["embeddings"].folder)).unwrap();
        assert_eq!(table.ids().unwrap(), [6, 7, 8, 9]);
        assert!(table.dim().unwrap() > 6);
    }

    #[test]
    fn unsupported_combinations_are_errors() {
        let workshop = Workshop::new();
        let (images, model) = inputs(&workshop);
        let check = |stage: Embed, expected: &str| {
            let error = workshop.run(&stage, &[("images", &images), ("model", &model)]).err().unwrap();
            assert_eq!(error.to_string(), expected);
        };
        check(
            Embed { precision: Precision::Bf16, ..Embed::default() },
            "`precision = \"bf16\"` needs a GPU; on a CPU use \"f32\", the default, or leave it out",
        );
        check(
            Embed { merged: Merged::Masks, ..Embed::default() },
            "The model has no masks, which `merged = \"masks\"` and `merged = \"normalised_masks\"` need",
        );
    }

    #[test]
    fn only_a_precision_that_was_chosen_is_part_of_the_key() {
        let params = |precision| serde_json::to_value(Embed { precision, ..Embed::default() }).unwrap();
        assert_eq!(params(Precision::F32).get("precision"), None);
        assert_eq!(params(Precision::Tf32)["precision"], "tf32");
        assert_eq!(params(Precision::Bf16)["precision"], "bf16");
    }

    /// Law 3: a commit that changes these bytes also raises [`Embed::VERSION`], and updates the digest.
    #[test]
    fn the_version_matches_the_bytes() {
        let workshop = Workshop::new();
        let (images, model) = inputs(&workshop);
        let outputs = embed(&workshop, &Embed::default(), &images, &model);
        check_known_bytes(
            (Embed::VERSION, &outputs),
            (
                2,
                &[
                    ("cpu/avx512/gnu", "ba3f26f9df8eff9d"),
                    ("cpu/avx2/gnu", "ba3f26f9df8eff9d"),
                    ("cpu/portable/gnu", "8254e99b67b83fd2"),
                ],
            ),
        );
    }
}
