//! Embeds pictures outside of a run, as `evaluate` embeds the images of a data set: for image search.

use candle_core::{Device, Tensor};
use dnc_learn::backbones::Preprocessing;
use dnc_learn::subspaces::Merged;
use dnc_tables::InputArtifact;
use dnc_tables::pictures::{Picture, Raster};

use crate::api::StageError;
use crate::embed::{Embed, Network};
use crate::loader::prepare;

/// Pictures that are embedded at a time.
const BATCH: usize = 64;

/// A model that embeds pictures on the CPU.
pub struct Embedder {
    network: Network,
    stage: Embed,
}

impl Embedder {
    /// Loads the model.
    ///
    /// # Errors
    /// It cannot be read, or `merged` needs masks that it does not have.
    pub fn open(model: &InputArtifact, merged: Merged) -> Result<Self, StageError> {
        let stage = Embed { merged, ..Embed::default() };
        Ok(Self { network: Network::open(model, &Device::Cpu, &stage)?, stage })
    }

    /// How pictures are prepared.
    pub fn preprocessing(&self) -> Preprocessing {
        self.network.preprocessing()
    }

    /// Dimension of an embedding.
    pub fn dim(&self) -> usize {
        self.network.width(self.stage.vector)
    }

    /// The L2-normalised embeddings of the pictures, `[pictures, dim]` row by row.
    ///
    /// # Errors
    /// The network fails.
    pub fn vectors(&self, pictures: &[Raster]) -> Result<Vec<f32>, StageError> {
        let failed = |source| StageError::compute("embed images", source);
        let preprocessing = self.network.preprocessing();
        let side = preprocessing.crop;
        let mut vectors = Vec::with_capacity(pictures.len() * self.dim());
        for batch in pictures.chunks(BATCH) {
            let pictures: Vec<Picture<'_>> = batch.iter().map(Raster::as_picture).collect();
            let values = prepare(&pictures, &preprocessing);
            let images = Tensor::from_vec(values, (batch.len(), side, side, 3), &Device::Cpu);
            let images = images.map_err(|source| failed(source.into()))?;
            vectors.extend(self.network.vectors(&images, &self.stage).map_err(failed)?);
        }
        Ok(vectors)
    }
}
