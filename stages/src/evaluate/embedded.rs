//! What is compared: images with their vectors, of a model, of a table of embeddings, or the images' own pixels.

use std::borrow::Cow;
use std::collections::HashMap;

use dnc_learn::subspaces::Merged;

use super::Evaluate;
use crate::context::Context;
use crate::embed::Embed;
use crate::error::StageError;
use crate::tables::Split;
use crate::tables::embeddings::Embeddings;
use crate::tables::images::Images;
use crate::tables::views::Region;
use crate::views::Square;
use crate::views::nuisance::Changes;
use crate::views::resize::crop_resized;

/// Images with their vectors.
#[derive(Clone, Default)]
pub(super) struct Embedded {
    pub(super) ids: Vec<u32>,
    pub(super) labels: Vec<u32>,
    splits: Vec<Split>,
    pub(super) cameras: Option<Vec<u16>>,
    /// `[images, dim]`.
    pub(super) vectors: Vec<f32>,
    pub(super) dim: usize,
}

impl Embedded {
    /// The rows of a split.
    pub(super) fn rows(&self, split: Split) -> Vec<usize> {
        (0..self.ids.len()).filter(|&row| self.splits[row] == split).collect()
    }

    /// These rows alone.
    pub(super) fn only(&self, rows: &[usize]) -> Self {
        Self {
            ids: rows.iter().map(|&row| self.ids[row]).collect(),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            splits: rows.iter().map(|&row| self.splits[row]).collect(),
            cameras: self.cameras.as_ref().map(|cameras| rows.iter().map(|&row| cameras[row]).collect()),
            vectors: rows.iter().flat_map(|&row| &self.vectors[row * self.dim..][..self.dim]).copied().collect(),
            dim: self.dim,
        }
    }

    /// The same images with other vectors.
    pub(super) fn with_vectors(&self, (vectors, dim): (Vec<f32>, usize)) -> Self {
        let Self { ids, labels, splits, cameras, .. } = self;
        Self {
            ids: ids.clone(),
            labels: labels.clone(),
            splits: splits.clone(),
            cameras: cameras.clone(),
            vectors,
            dim,
        }
    }
}

/// Where vectors come from.
pub(super) struct Compared<'s> {
    stage: &'s Evaluate,
    images: Option<Images>,
}

impl<'s> Compared<'s> {
    pub(super) fn open(stage: &'s Evaluate, context: &Context<'_>) -> Result<Self, StageError> {
        Ok(Self { stage, images: context.input_if_any("images").map(Images::open).transpose()? })
    }

    /// The vectors of whatever is to be judged.
    pub(super) fn embedded(&self, context: &Context<'_>) -> Result<Embedded, StageError> {
        let mut embedded = match context.input_if_any("embeddings") {
            Some(table) => read(&Embeddings::open(table)?)?,
            None => {
                let images = self.images("The stage needs `embeddings`, or `images` to compute them")?;
                let rows = self.judged_rows(images)?;
                rows.with_vectors(self.vectors(context, images, &rows.ids, self.stage.merged, None)?)
            }
        };
        if self.stage.cameras {
            embedded.cameras = Some(self.cameras(&embedded.ids)?);
        }
        Ok(embedded)
    }

    /// The same images, each changed in its own way.
    pub(super) fn changed(
        &self,
        context: &Context<'_>,
        embedded: &Embedded,
        changes: &Changes,
    ) -> Result<Embedded, StageError> {
        let images = self.images("`nuisances` change `images`, and there are none")?;
        let vectors = self.vectors(context, images, &embedded.ids, self.stage.merged, Some(changes))?;
        Ok(embedded.with_vectors(vectors))
    }

    /// The embedding as the linear layer gives it, whatever `merged` says.
    pub(super) fn plain(&self, context: &Context<'_>, embedded: &Embedded) -> Result<Embedded, StageError> {
        if self.stage.merged == Merged::Plain {
            return Ok(embedded.clone());
        }
        let images = self.images("`subspaces` are of a model, which needs `images`, and there are none")?;
        Ok(embedded.with_vectors(self.vectors(context, images, &embedded.ids, Merged::Plain, None)?))
    }

    fn images(&self, without: &str) -> Result<&Images, StageError> {
        self.images.as_ref().ok_or_else(|| StageError::input(without))
    }

    /// The vectors of these images by the model, or without one their own pixels: `[ids, dim]` and dim.
    fn vectors(
        &self,
        context: &Context<'_>,
        images: &Images,
        ids: &[u32],
        merged: Merged,
        changes: Option<&Changes>,
    ) -> Result<(Vec<f32>, usize), StageError> {
        if context.input_if_any("model").is_some() {
            Embed { merged, batch: self.stage.batch, ..Embed::default() }.vectors(context, images, ids, changes)
        } else {
            pixels(images, ids, self.stage.thumbnail, changes)
        }
    }

    /// Ids, labels and splits of the images that are judged, still without vectors.
    fn judged_rows(&self, images: &Images) -> Result<Embedded, StageError> {
        let mut rows = Embedded::default();
        for ((id, label), split) in images.ids()?.into_iter().zip(images.labels()?).zip(images.splits()?) {
            if self.stage.judges(split) || (split == Split::Gallery && self.stage.judges(Split::Query)) {
                rows.ids.push(id);
                rows.labels.push(label);
                rows.splits.push(split);
            }
        }
        Ok(rows)
    }

    fn cameras(&self, ids: &[u32]) -> Result<Vec<u16>, StageError> {
        let images = self.images("`cameras = true` needs `images` for the cameras")?;
        let known: HashMap<u32, Option<u16>> = images.ids()?.into_iter().zip(images.cameras()?).collect();
        let camera = |id: &u32| known.get(id).copied().flatten();
        ids.iter()
            .map(|id| camera(id).ok_or_else(|| StageError::input(format!("The image {id} has no camera"))))
            .collect()
    }
}

fn read(table: &Embeddings) -> Result<Embedded, StageError> {
    Ok(Embedded {
        ids: table.ids()?.to_vec(),
        labels: table.labels()?.to_vec(),
        splits: table.splits()?,
        cameras: None,
        vectors: table.vectors()?.to_vec(),
        dim: table.dim()?,
    })
}

/// The images' own pixels as vectors of length 1, `[ids, height × width × 3]`.
fn pixels(
    images: &Images,
    ids: &[u32],
    thumbnail: Option<u16>,
    changes: Option<&Changes>,
) -> Result<(Vec<f32>, usize), StageError> {
    let pictures = images.pixels()?;
    let mut vectors = Vec::new();
    let mut size = None;
    for &id in ids {
        let row = images.row(id).ok_or_else(|| StageError::input(format!("There is no image {id}")))?;
        let picture = pictures.of(row);
        let (mut height, mut width) = (picture.height, picture.width);
        let mut values = Cow::Borrowed(picture.pixels);
        if let Some(side) = thumbnail.map(usize::from) {
            let whole = Region { top: 0, left: 0, height: height as u16, width: width as u16 };
            let mut small = vec![0; side * side * 3];
            crop_resized(picture, whole, side, &mut small);
            (height, width, values) = (side, side, Cow::Owned(small));
        }
        if *size.get_or_insert((height, width)) != (height, width) {
            let message = "The images' own pixels can only be compared where all images have one size; say `thumbnail = 32`, or \
                           give a model";
            return Err(StageError::input(message));
        }
        if let Some(changes) = changes {
            if height != width {
                let message = "The images' own pixels can only be changed by nuisances where they are square; say `thumbnail = 32`";
                return Err(StageError::input(message));
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
