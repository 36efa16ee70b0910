//! Source of the vectors that are compared: a table of embeddings, a model that computes them, or the raw pixels of the
//! images, which are a baseline for every model.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use dnc_learn::subspaces::Merged;
use dnc_tables::embeddings::Embeddings;
use dnc_tables::images::Images;
use dnc_tables::pictures::Square;
use dnc_tables::pictures::nuisance::Changes;
use dnc_tables::pictures::resize::crop_resized;
use dnc_tables::views::Region;
use dnc_tables::{Split, model};

use super::embedded::EmbeddedImages;
use super::error::EvaluateError;
use super::parameters::Evaluate;
use crate::api::{Context, StageError};
use crate::embed::Embed;
use crate::loader::LoadError;

/// Images whose pixels are read between two reports of progress.
const PIXELS_PER_REPORT: usize = 256;

/// Source of the vectors that are compared.
pub(super) struct VectorSource<'s> {
    stage: &'s Evaluate,
    images: Option<Images>,
}

impl<'s> VectorSource<'s> {
    pub(super) fn open(stage: &'s Evaluate, context: &Context<'_>) -> Result<Self, StageError> {
        Ok(Self { stage, images: context.input_if_any("images").map(Images::open).transpose()? })
    }

    /// The images that are evaluated, with their vectors.
    pub(super) fn embedded(&self, context: &Context<'_>) -> Result<EmbeddedImages, StageError> {
        let mut embedded = match context.input_if_any("embeddings") {
            Some(table) => {
                let embedded = read(&Embeddings::open(table)?)?;
                check_rows(&embedded, self.images.as_ref())?;
                embedded
            }
            None => {
                let images = self.images("compute embeddings, since `embeddings` is not connected either")?;
                let rows = self.evaluated_rows(images)?;
                rows.with_vectors(self.vectors(context, images, &rows.ids, self.stage.merged, None)?)
            }
        };
        if self.stage.cameras != Some(false) {
            embedded.cameras = self.cameras(&embedded.ids)?;
        }
        Ok(embedded)
    }

    /// Number of learners: of the node's round, else of the model, which has a mask for each. Raw pixels have none.
    pub(super) fn learners(&self, context: &Context<'_>) -> Result<u32, StageError> {
        if let Some(learners) = context.ambient().learners {
            return Ok(learners);
        }
        let Some(model) = context.input_if_any("model") else { return Ok(0) };
        let model = model::Model::open(model)?;
        Ok(model.masks().and_then(|masks| masks.shape.first()).map_or(1, |&learners| learners as u32))
    }

    /// Whether the vectors are those of a model, rather than read from a table or raw pixels.
    pub(super) fn is_model(&self, context: &Context<'_>) -> bool {
        context.input_if_any("embeddings").is_none() && context.input_if_any("model").is_some()
    }

    /// Whether images have cameras that the manifest says to ignore.
    pub(super) fn ignores_cameras(&self) -> Result<bool, StageError> {
        let Some(images) = self.images.as_ref().filter(|_| self.stage.cameras == Some(false)) else { return Ok(false) };
        Ok(images.cameras()?.iter().any(Option::is_some))
    }

    /// The same images, each perturbed in its own way.
    pub(super) fn perturbed(
        &self,
        context: &Context<'_>,
        embedded: &EmbeddedImages,
        changes: &Changes,
    ) -> Result<EmbeddedImages, StageError> {
        let images = self.images("apply `nuisances`")?;
        let vectors = self.vectors(context, images, &embedded.ids, self.stage.merged, Some(changes))?;
        Ok(embedded.with_vectors(vectors))
    }

    /// The same images with the embedding of the linear layer, whatever `merged` is.
    pub(super) fn unmerged<'e>(
        &self,
        context: &Context<'_>,
        embedded: &'e EmbeddedImages,
    ) -> Result<Cow<'e, EmbeddedImages>, StageError> {
        if self.stage.merged == Merged::Plain {
            return Ok(Cow::Borrowed(embedded));
        }
        let images = self.images("evaluate `subspaces`")?;
        let vectors = self.vectors(context, images, &embedded.ids, Merged::Plain, None)?;
        Ok(Cow::Owned(embedded.with_vectors(vectors)))
    }

    /// The images, which are needed for `purpose`.
    fn images(&self, purpose: &str) -> Result<&Images, StageError> {
        let missing = || StageError::InputNotConnected { port: "images", purpose: purpose.to_owned() };
        self.images.as_ref().ok_or_else(missing)
    }

    /// The vectors of these images, by the model or, without a model, of raw pixels: `[ids, dim]` and dim.
    fn vectors(
        &self,
        context: &Context<'_>,
        images: &Images,
        ids: &[u32],
        merged: Merged,
        changes: Option<&Changes>,
    ) -> Result<(Vec<f32>, usize), StageError> {
        if context.input_if_any("model").is_some() {
            let Evaluate { batch, precision, .. } = *self.stage;
            Embed { merged, batch, precision, ..Embed::default() }.vectors(context, images, ids, changes)
        } else {
            pixels(context, images, ids, self.stage.thumbnail, changes)
        }
    }

    /// Ids, labels and splits of the images that are evaluated, without vectors.
    fn evaluated_rows(&self, images: &Images) -> Result<EmbeddedImages, StageError> {
        let mut rows = EmbeddedImages::default();
        for ((id, label), split) in images.ids()?.into_iter().zip(images.labels()?).zip(images.splits()?) {
            if self.stage.includes(split) || (split == Split::Gallery && self.stage.includes(Split::Query)) {
                rows.ids.push(id);
                rows.labels.push(label);
                rows.splits.push(split);
            }
        }
        Ok(rows)
    }

    /// The camera of each of these images; `None` if none of them has one, unless the manifest demands cameras.
    fn cameras(&self, ids: &[u32]) -> Result<Option<Vec<Option<u16>>>, StageError> {
        let are_demanded = self.stage.cameras == Some(true);
        let images = match &self.images {
            Some(images) => images,
            None if !are_demanded => return Ok(None),
            None => self.images("read the cameras for `cameras = true`")?,
        };
        let by_id: HashMap<u32, Option<u16>> = images.ids()?.into_iter().zip(images.cameras()?).collect();
        let cameras: Vec<Option<u16>> = ids.iter().map(|id| by_id.get(id).copied().flatten()).collect();
        if are_demanded && let Some(row) = cameras.iter().position(Option::is_none) {
            return Err(EvaluateError::NoCamera { id: ids[row] }.into());
        }
        Ok(cameras.iter().any(Option::is_some).then_some(cameras))
    }
}

fn read(table: &Embeddings) -> Result<EmbeddedImages, StageError> {
    Ok(EmbeddedImages {
        ids: table.ids()?.to_vec(),
        labels: table.labels()?.to_vec(),
        splits: table.splits()?,
        cameras: None,
        vectors: table.vectors()?.to_vec(),
        dim: table.dim()?,
    })
}

/// Checks that each image has one row and, if the images are connected, that label and split are theirs: another program may have
/// written the table.
fn check_rows(embedded: &EmbeddedImages, images: Option<&Images>) -> Result<(), StageError> {
    let mut seen = HashSet::with_capacity(embedded.ids.len());
    if let Some(&id) = embedded.ids.iter().find(|id| !seen.insert(**id)) {
        return Err(EvaluateError::RepeatedImage { id }.into());
    }
    let Some(images) = images else { return Ok(()) };
    let described = images.labels()?.into_iter().zip(images.splits()?);
    let known: HashMap<u32, (u32, Split)> = images.ids()?.into_iter().zip(described).collect();
    for ((&id, &label), &split) in embedded.ids.iter().zip(&embedded.labels).zip(&embedded.splits) {
        match known.get(&id) {
            None => return Err(EvaluateError::UnknownImage { id }.into()),
            Some(&found) if found != (label, split) => {
                return Err(EvaluateError::OtherDescription { id, given: (label, split), found }.into());
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Raw pixels as vectors of length 1, `[ids, height × width × 3]`.
fn pixels(
    context: &Context<'_>,
    images: &Images,
    ids: &[u32],
    thumbnail: Option<u16>,
    changes: Option<&Changes>,
) -> Result<(Vec<f32>, usize), StageError> {
    let pictures = images.pixels()?;
    let mut vectors = Vec::new();
    let mut size = None;
    for (done, &id) in ids.iter().enumerate() {
        context.check_cancelled()?;
        if done.is_multiple_of(PIXELS_PER_REPORT) {
            context.progress(done as u64, ids.len() as u64, "images");
        }
        let picture = pictures.of(images.row(id).ok_or(LoadError::UnknownImage { id })?);
        let (mut height, mut width) = (picture.height, picture.width);
        let mut values = Cow::Borrowed(picture.pixels);
        if let Some(side) = thumbnail.map(usize::from) {
            let whole = Region { top: 0, left: 0, height: height as u16, width: width as u16 };
            let mut small = vec![0; side * side * 3];
            crop_resized(picture, whole, side, &mut small);
            (height, width, values) = (side, side, Cow::Owned(small));
        }
        if *size.get_or_insert((height, width)) != (height, width) {
            return Err(EvaluateError::ImageSizesDiffer.into());
        }
        if let Some(changes) = changes {
            if height != width {
                return Err(EvaluateError::ImagesNotSquare.into());
            }
            changes.apply(id, &mut Square { side: width, pixels: values.to_mut() });
        }
        let squares: u64 = values.iter().map(|&value| u64::from(value).pow(2)).sum();
        // A black image has no direction; it stays the zero vector.
        let scale = if squares == 0 { 0.0 } else { 1.0 / (squares as f64).sqrt() };
        vectors.extend(values.iter().map(|&value| (f64::from(value) * scale) as f32));
    }
    let (height, width) = size.unwrap_or_default();
    Ok((vectors, height * width * 3))
}
