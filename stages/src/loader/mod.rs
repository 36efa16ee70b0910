//! From tables to batches: images are cut, resized, augmented and normalised when a batch asks for them.
//!
//! Shapes: a batch is `[batch, side, side, 3]` of `f32`, side being the `crop` of the backbone's preprocessing.
//! Every image is made on one thread of the current rayon pool and depends on nothing but its pixels and its view, so a
//! batch has the same bits for any number of threads.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use dnc_learn::backbones::{ChannelOrder, Preprocessing};
use rayon::prelude::*;

use crate::error::StageError;
use crate::tables::images::{Images, Pixels};
use crate::tables::views::Views;
use crate::views::nuisance::Changes;
use crate::views::{Square, apply, contains, resize};

/// How a batch shows its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As for evaluation: resized, and the middle cut out.
    Evaluation,
    /// As the view of this number is planned; numbers beyond an image's last view start again at the first. An image that
    /// comes several times in a request is shown in one view after the other, from this number on.
    View(u64),
}

/// Images by id and how to show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The images, in the order of the batch.
    pub ids: Vec<u32>,
    /// How to show them.
    pub look: Look,
}

impl Request {
    /// Each image with how it is shown.
    fn shown(&self) -> Vec<(u32, Look)> {
        let mut times = BTreeMap::<u32, u64>::new();
        let shown = self.ids.iter().map(|&id| {
            let time = times.entry(id).or_default();
            let look = match self.look {
                Look::Evaluation => Look::Evaluation,
                Look::View(number) => Look::View(number.wrapping_add(*time)),
            };
            *time += 1;
            (id, look)
        });
        shown.collect()
    }
}

/// Makes batches.
pub struct Loader<'a> {
    images: &'a Images,
    pixels: Pixels<'a>,
    views: Option<&'a Views>,
    preprocessing: Preprocessing,
    changes: Option<&'a Changes>,
}

impl<'a> Loader<'a> {
    /// A loader of these images that prepares them for a backbone. The port of the images must have declared `height`,
    /// `width` and `pixels`, and `id` where ids are not row numbers. Without `views` only [`Look::Evaluation`] is there.
    ///
    /// # Errors
    /// A column is not declared, or an image has another number of pixels than its size says.
    pub fn new(images: &'a Images, views: Option<&'a Views>, preprocessing: Preprocessing) -> Result<Self, StageError> {
        if preprocessing.crop == 0 || preprocessing.crop > preprocessing.resize {
            let Preprocessing { crop, resize, .. } = preprocessing;
            return Err(StageError::input(format!("A crop of {crop} pixels cannot be cut from {resize}")));
        }
        Ok(Self { images, pixels: images.pixels()?, views, preprocessing, changes: None })
    }

    /// The same loader, which changes each image that is shown for evaluation.
    #[must_use]
    pub fn changed(self, changes: Option<&'a Changes>) -> Self {
        Self { changes, ..self }
    }

    /// Pixels along each side of an image of a batch.
    pub fn side(&self) -> usize {
        self.preprocessing.crop
    }

    /// Whether there are views to show.
    pub fn has_views(&self) -> bool {
        self.views.is_some()
    }

    /// The images of a request, `[batch, side, side, 3]` row by row.
    ///
    /// # Errors
    /// There is no image of an id, or it has no such view.
    pub fn batch(&self, request: &Request) -> Result<Vec<f32>, StageError> {
        let shown = self.side().pow(2) * 3;
        let mut values = vec![0.0; request.ids.len() * shown];
        values.par_chunks_exact_mut(shown).zip(&request.shown()).try_for_each_init(
            || vec![0; shown],
            |pixels, (values, &(id, look))| {
                self.show(id, look, pixels)?;
                self.preprocessing.normalise(pixels, values);
                Ok(())
            },
        )?;
        Ok(values)
    }

    /// The images of a request as a tensor `[batch, side, side, 3]` on `device`.
    ///
    /// # Errors
    /// As [`batch`](Self::batch), or the device is out of memory.
    pub fn tensor(&self, request: &Request, device: &Device) -> Result<Tensor, StageError> {
        let side = self.side();
        Tensor::from_vec(self.batch(request)?, (request.ids.len(), side, side, 3), device)
            .map_err(|source| StageError::compute("move a batch to the device", source))
    }

    /// Hands the batch of each request to `body`, in order; while `body` works on one, the next is made.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor), or what `body` says.
    pub fn each(
        &self,
        requests: impl IntoIterator<Item = Request>,
        device: &Device,
        mut body: impl FnMut(&Request, Tensor) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let mut requests = requests.into_iter();
        let Some(mut current) = requests.next() else { return Ok(()) };
        let mut batch = self.tensor(&current, device)?;
        loop {
            let Some(next) = requests.next() else { return body(&current, batch) };
            let mut made = None;
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| made = Some(self.tensor(&next, device)));
                body(&current, batch)
            })?;
            batch = made.expect("a scope ends after all that it spawned")?;
            current = next;
        }
    }

    /// Writes one image, `[side, side, 3]`, as it is to be shown.
    ///
    /// # Errors
    /// There is no image of this id, or it has no such view.
    pub fn show(&self, id: u32, look: Look, pixels: &mut [u8]) -> Result<(), StageError> {
        let row = self.images.row(id).ok_or_else(|| StageError::input(format!("There is no image {id}")))?;
        let picture = self.pixels.of(row);
        let Preprocessing { resize, crop, .. } = self.preprocessing;
        match look {
            Look::Evaluation => {
                resize::centre(picture, resize, crop, pixels);
                if let Some(changes) = self.changes {
                    changes.apply(id, &mut Square { side: crop, pixels });
                }
            }
            Look::View(number) => {
                let views = self
                    .views
                    .ok_or_else(|| StageError::input("The images are to be augmented but no views are given"))?;
                if let Some(made) = views.made(id, number)? {
                    return self.copy(id, made, pixels);
                }
                let view = views.view(id, number)?;
                if !contains(picture, &view.crop) {
                    let (height, width) = (picture.height, picture.width);
                    let message = format!("A view of image {id}, {width} × {height}, crops {:?}", view.crop);
                    return Err(StageError::input(message));
                }
                apply(picture, &view, fill(&self.preprocessing), crop, pixels);
            }
        }
        Ok(())
    }

    /// Shows a view that was made before.
    fn copy(&self, id: u32, made: &[u8], pixels: &mut [u8]) -> Result<(), StageError> {
        if made.len() != pixels.len() {
            let (found, side) = ((made.len() / 3).isqrt(), self.side());
            return Err(StageError::input(format!(
                "The views of image {id} were materialised for a backbone that takes {found} × {found} pixels, but this one \
                 takes {side} × {side}"
            )));
        }
        pixels.copy_from_slice(made);
        Ok(())
    }
}

/// The colour that normalisation takes to zero.
pub(crate) fn fill(preprocessing: &Preprocessing) -> [u8; 3] {
    let mean = preprocessing.mean.map(|value| value.round() as u8);
    match preprocessing.channels {
        ChannelOrder::Rgb => mean,
        ChannelOrder::Bgr => [mean[2], mean[1], mean[0]],
    }
}

#[cfg(test)]
mod tests;
