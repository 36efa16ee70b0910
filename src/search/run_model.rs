//! The model of a run's chosen round. It embeds pictures as the run embedded its own images: decoded as by its `decode` stage, then
//! resized, cropped and normalised as by its `evaluate` stage.

use dnc_cache::Artifact;
use dnc_learn::subspaces::Merged;
use dnc_stages::api::InputArtifact;
use dnc_stages::decode::PictureFile;
use dnc_stages::embedder::Embedder;
use dnc_stages::tables::pictures::{Limits, PictureError, Raster, is_drawing};
use serde_json::Value;

use super::error::SearchError;
use crate::pages::analysis::subspaces::open_model;
use crate::pages::evidence::Evidence;

/// A model with the preparation of its pictures.
pub struct RunModel {
    evaluation: String,
    embedder: Embedder,
    merged: Merged,
    picture: PictureFile,
    stored: Artifact,
    artifact: InputArtifact,
}

impl RunModel {
    /// Loads the model that the chosen round was evaluated with.
    ///
    /// # Errors
    /// The run evaluated no model, or the model is no longer in the store.
    pub fn open(evidence: &Evidence) -> Result<Self, SearchError> {
        let run = evidence.folder.id();
        let refuse = |reason: &str| SearchError::Unsearchable { run: run.clone(), reason: reason.to_owned() };
        let subject = evidence.subject.as_ref().ok_or_else(|| refuse("it evaluated nothing"))?;
        let plan = evidence.plan.as_ref().ok_or_else(|| refuse("this version cannot read its manifest"))?;
        let params_of = |name: &str| -> Value {
            let node = plan.nodes.iter().find(|node| node.name == name);
            node.map(|node| plan.stage(node).params.clone()).unwrap_or_default()
        };
        let evaluation = subject.chosen().node.clone();
        let (node, output) = evidence.feed(&evaluation, "model").ok_or_else(|| {
            refuse(&format!("`{evaluation}` evaluated no model, and only a model can embed other pictures"))
        })?;
        let gone = || refuse("its model's tensors are no longer in the store; run the manifest again");
        let stored = evidence.artifact(&node, &output)?.ok_or_else(gone)?;
        let artifact = open_model(evidence, &node, &output)?.ok_or_else(gone)?;
        let merged = params_of(&evaluation).get("merged").cloned();
        let merged: Merged = merged.and_then(|merged| serde_json::from_value(merged).ok()).unwrap_or(Merged::Plain);
        let (images, _) = evidence.images().ok_or_else(|| refuse("it has no images"))?;
        let picture = serde_json::from_value(params_of(&images))
            .map_err(|_| refuse(&format!("its images come from `{images}`, which is no `decode` stage")))?;
        Ok(Self { evaluation, embedder: Embedder::open(&artifact, merged)?, merged, picture, stored, artifact })
    }

    /// The node that evaluated the model.
    pub fn evaluation(&self) -> &str {
        &self.evaluation
    }

    /// Dimension of the embeddings.
    pub fn dim(&self) -> usize {
        self.embedder.dim()
    }

    /// Length of the sides of the square that the network takes, in pixels.
    pub fn side(&self) -> usize {
        self.embedder.preprocessing().crop
    }

    /// Decodes a picture as the run decodes its images.
    ///
    /// # Errors
    /// The bytes are not an image, damaged, or exceed the limits of the run's `decode` stage.
    pub fn decode(&self, bytes: &[u8]) -> Result<Raster, PictureError> {
        self.picture.decode(bytes)
    }

    /// Decodes a picture of a stranger as [`decode`](Self::decode) does, if it has no more pixels than that. SVG drawings are refused:
    /// a few lines can refer to each other so often that their rendering never ends.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode), or it is a drawing.
    pub fn decode_within(&self, bytes: &[u8], pixels: u64) -> Result<Raster, PictureError> {
        if is_drawing(bytes) {
            return Err(PictureError::ForeignDrawing);
        }
        let limits = Limits { pixels: self.picture.limits.pixels.min(pixels), ..self.picture.limits };
        PictureFile { limits, ..self.picture }.decode(bytes)
    }

    /// A picture that another program has decoded, resized as the run resizes its images.
    ///
    /// # Errors
    /// It exceeds the limits of the run's `decode` stage.
    pub fn accept(&self, picture: Raster) -> Result<Raster, PictureError> {
        self.picture.accept(picture)
    }

    /// The L2-normalised embeddings of pictures, `[pictures, dim]`.
    ///
    /// # Errors
    /// The network fails.
    pub fn embed(&self, pictures: &[Raster]) -> Result<Vec<f32>, SearchError> {
        Ok(self.embedder.vectors(pictures)?)
    }

    /// How the learners' subspaces are merged in the embedding.
    pub(super) fn merged(&self) -> Merged {
        self.merged
    }

    /// How files become pictures.
    pub(super) fn picture(&self) -> PictureFile {
        self.picture
    }

    /// The model as an artifact of the store.
    pub(super) fn stored(&self) -> &Artifact {
        &self.stored
    }

    /// The model's files.
    pub(super) fn artifact(&self) -> &InputArtifact {
        &self.artifact
    }
}
