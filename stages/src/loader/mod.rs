//! From tables to batches: images are cropped, resized, augmented and normalised when a batch needs them.
//!
//! Shapes: a batch is `[batch, side, side, 3]` of floats, where side is the `crop` of the backbone's preprocessing. Each image is
//! made on one thread of the current rayon pool and depends only on its pixels and its view, so that a batch has the same bits
//! for any number of threads. A GPU gets the pixels, a quarter of the bytes, and normalises them, to the same bits as the CPU.

mod error;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use dnc_kernels::PixelBuffer;
use dnc_learn::backbones::{ChannelOrder, Preprocessing};
use dnc_tables::images::{Images, Pixels};
use dnc_tables::pictures::nuisance::Changes;
use dnc_tables::pictures::{Picture, Square, apply, contains, resize};
use dnc_tables::views::Views;
use rayon::prelude::*;

use crate::api::StageError;
pub use error::LoadError;

/// Which version of its images a batch contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageVariant {
    /// For evaluation: resized, then cropped at the centre.
    Evaluation,
    /// The augmented view with this number; numbers beyond an image's last view wrap around. Repetitions of an image within a
    /// request have consecutive views, from this number on.
    View(u64),
}

/// The images of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The ids of the images, in the order of the batch.
    pub ids: Vec<u32>,
    /// Which version of them.
    pub variant: ImageVariant,
}

impl Request {
    /// Each image with its variant.
    fn variants(&self) -> Vec<(u32, ImageVariant)> {
        let mut repetitions = BTreeMap::<u32, u64>::new();
        let variants = self.ids.iter().map(|&id| {
            let repetition = repetitions.entry(id).or_default();
            let variant = match self.variant {
                ImageVariant::Evaluation => ImageVariant::Evaluation,
                ImageVariant::View(number) => ImageVariant::View(number.wrapping_add(*repetition)),
            };
            *repetition += 1;
            (id, variant)
        });
        variants.collect()
    }
}

/// Makes batches of images.
pub struct Loader<'a> {
    images: &'a Images,
    pixels: Pixels<'a>,
    views: Option<&'a Views>,
    preprocessing: Preprocessing,
    changes: Option<&'a Changes>,
    dtype: DType,
}

/// A batch in the memory of the host.
enum Staged {
    /// Normalised by the threads that make the images.
    Values(Vec<f32>),
    /// For a GPU, which normalises.
    Pixels(PixelBuffer),
}

impl Staged {
    /// No batch yet, and the next is for `device`.
    fn empty(device: &Device) -> Self {
        if device.is_cuda() { Self::Pixels(PixelBuffer::new(device)) } else { Self::Values(Vec::new()) }
    }
}

impl<'a> Loader<'a> {
    /// A loader that prepares these images for a backbone. Their port must declare `height`, `width` and `pixels`, and `id` unless
    /// ids are row numbers. Without `views`, only [`ImageVariant::Evaluation`] is available.
    ///
    /// # Errors
    /// A column is not declared, or the pixels of an image do not have its size.
    pub fn new(images: &'a Images, views: Option<&'a Views>, preprocessing: Preprocessing) -> Result<Self, StageError> {
        if preprocessing.crop == 0 || preprocessing.crop > preprocessing.resize {
            let Preprocessing { crop, resize, .. } = preprocessing;
            return Err(LoadError::CropSize { crop, resize }.into());
        }
        Ok(Self { images, pixels: images.pixels()?, views, preprocessing, changes: None, dtype: DType::F32 })
    }

    /// The same loader, which applies `changes` to each image for evaluation.
    #[must_use]
    pub fn changed(self, changes: Option<&'a Changes>) -> Self {
        Self { changes, ..self }
    }

    /// The same loader, with batches of this type instead of `f32`.
    #[must_use]
    pub fn of_type(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// Height and width of the images in a batch.
    pub fn side(&self) -> usize {
        self.preprocessing.crop
    }

    /// Whether augmented views are available.
    pub fn has_views(&self) -> bool {
        self.views.is_some()
    }

    /// The images of a request, `[batch, side, side, 3]` row by row.
    ///
    /// # Errors
    /// An image does not exist or has no views.
    pub fn batch(&self, request: &Request) -> Result<Vec<f32>, StageError> {
        let size = self.side().pow(2) * 3;
        let mut values = vec![0.0; request.ids.len() * size];
        values.par_chunks_exact_mut(size).zip(&request.variants()).try_for_each_init(
            || vec![0; size],
            |pixels, (values, &(id, variant))| {
                self.image(id, variant, pixels)?;
                self.preprocessing.normalise(pixels, values);
                Ok::<_, StageError>(())
            },
        )?;
        Ok(values)
    }

    /// The images of a request as a tensor `[batch, side, side, 3]` on `device`.
    ///
    /// # Errors
    /// As [`batch`](Self::batch), or the device is out of memory.
    pub fn tensor(&self, request: &Request, device: &Device) -> Result<Tensor, StageError> {
        let mut staged = Staged::empty(device);
        self.stage(request, &mut staged)?;
        self.upload(request, &mut staged, device)
    }

    /// Makes the images of a request in the memory of the host.
    fn stage(&self, request: &Request, staged: &mut Staged) -> Result<(), StageError> {
        match staged {
            Staged::Values(values) => *values = self.batch(request)?,
            Staged::Pixels(buffer) => {
                let size = self.side().pow(2) * 3;
                let failed = |source| StageError::compute("make a batch for the GPU", source);
                let pixels = buffer.pixels(request.ids.len() * size).map_err(failed)?;
                let variants = request.variants();
                let images = pixels.par_chunks_exact_mut(size).zip(&variants);
                images.try_for_each(|(pixels, &(id, variant))| self.image(id, variant, pixels))?;
            }
        }
        Ok(())
    }

    /// Moves a staged batch to `device`. For a GPU, this is enqueued.
    fn upload(&self, request: &Request, staged: &mut Staged, device: &Device) -> Result<Tensor, StageError> {
        const ACTION: &str = "move a batch to the device";
        let shape = [request.ids.len(), self.side(), self.side(), 3];
        match staged {
            Staged::Values(values) => Tensor::from_vec(std::mem::take(values), &shape, device)
                .and_then(|batch| batch.to_dtype(self.dtype))
                .map_err(|source| StageError::compute(ACTION, source)),
            Staged::Pixels(buffer) => buffer
                .upload(shape, &self.preprocessing.norm(), self.dtype)
                .map_err(|source| StageError::compute(ACTION, source)),
        }
    }

    /// Calls `body` with the batch of each request, in order. While `body` runs, the next batch is prepared on other threads.
    /// Only the calling thread enqueues work on the device.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor), or the error of `body`.
    pub fn each(
        &self,
        requests: impl IntoIterator<Item = Request>,
        device: &Device,
        mut body: impl FnMut(&Request, Tensor) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let mut requests = requests.into_iter();
        let Some(mut current) = requests.next() else { return Ok(()) };
        // Two alternate, so that a GPU may still read one while the next batch is written to the other.
        let mut staged = [Staged::empty(device), Staged::empty(device)];
        self.stage(&current, &mut staged[0])?;
        let mut batch = self.upload(&current, &mut staged[0], device)?;
        loop {
            let Some(next) = requests.next() else { return body(&current, batch) };
            staged.swap(0, 1);
            let following = &mut staged[0];
            let mut made = None;
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| made = Some(self.stage(&next, following)));
                body(&current, batch)
            })?;
            made.expect("a scope ends after everything that it spawned")?;
            batch = self.upload(&next, &mut staged[0], device)?;
            current = next;
        }
    }

    /// Writes one image to `pixels`, `[side, side, 3]`.
    ///
    /// # Errors
    /// The image does not exist or has no views.
    pub fn image(&self, id: u32, variant: ImageVariant, pixels: &mut [u8]) -> Result<(), StageError> {
        let row = self.images.row(id).ok_or(LoadError::UnknownImage { id })?;
        let picture = self.pixels.of(row);
        let Preprocessing { resize, crop, .. } = self.preprocessing;
        match variant {
            ImageVariant::Evaluation => {
                resize::centre(picture, resize, crop, pixels);
                if let Some(changes) = self.changes {
                    changes.apply(id, &mut Square { side: crop, pixels });
                }
            }
            ImageVariant::View(number) => {
                let views = self.views.ok_or(LoadError::NoViews)?;
                if let Some(view) = views.materialised(id, number)? {
                    return Ok(self.copy(id, view, pixels)?);
                }
                let view = views.view(id, number)?;
                if !contains(picture, &view.crop) {
                    let (width, height, crop) = (picture.width, picture.height, view.crop);
                    return Err(LoadError::CropOutsideImage { id, width, height, crop }.into());
                }
                apply(picture, &view, fill(&self.preprocessing), crop, pixels);
            }
        }
        Ok(())
    }

    /// Copies the pixels of a materialised view.
    fn copy(&self, id: u32, view: &[u8], pixels: &mut [u8]) -> Result<(), LoadError> {
        if view.len() != pixels.len() {
            let (found, side) = ((view.len() / 3).isqrt(), self.side());
            return Err(LoadError::MaterialisedSize { id, found, side });
        }
        pixels.copy_from_slice(view);
        Ok(())
    }
}

/// Pictures as [`ImageVariant::Evaluation`] prepares images, `[pictures, side, side, 3]` row by row.
pub(crate) fn prepare(pictures: &[Picture<'_>], preprocessing: &Preprocessing) -> Vec<f32> {
    let Preprocessing { resize, crop, .. } = *preprocessing;
    let size = crop.pow(2) * 3;
    let mut values = vec![0.0; pictures.len() * size];
    values.par_chunks_exact_mut(size).zip(pictures).for_each_init(
        || vec![0; size],
        |pixels, (values, &picture)| {
            resize::centre(picture, resize, crop, pixels);
            preprocessing.normalise(pixels, values);
        },
    );
    values
}

/// The colour that normalisation maps to zero.
pub(crate) fn fill(preprocessing: &Preprocessing) -> [u8; 3] {
    let mean = preprocessing.mean.map(|value| value.round() as u8);
    match preprocessing.channels {
        ChannelOrder::Rgb => mean,
        ChannelOrder::Bgr => [mean[2], mean[1], mean[0]],
    }
}

#[cfg(test)]
mod tests;
