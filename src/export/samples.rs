//! Eight images with their embeddings, against which an exported model is checked.

use std::io::Cursor;
use std::path::Path;

use dnc_learn::subspaces::Merged;
use dnc_stages::embedder::Embedder;
use dnc_stages::tables::images::Images;
use dnc_stages::tables::pictures::{Raster, resize};
use image::{ImageFormat, RgbImage};

use super::error::ExportError;
use super::files;
use super::npy_file::npy;
use super::subject::Subject;

/// Number of images.
const COUNT: usize = 8;

/// The images, as the network takes them, and their embeddings.
pub(super) struct Samples {
    pictures: Vec<Raster>,
    /// Whether they are images of the run, and not patterns.
    pub(super) of_run: bool,
    /// `[COUNT, side, side, 3]`.
    inputs: Vec<u8>,
    side: usize,
    /// `[COUNT, dimension]`.
    embeddings: Vec<f32>,
    dimension: usize,
}

impl Samples {
    /// Images of the run, spread over those that it evaluated, or patterns if the store no longer has the images.
    pub(super) fn new(subject: &Subject, merged: Merged) -> Result<Self, ExportError> {
        let embedder = Embedder::open(&subject.model()?, merged)?;
        let found = of_run(subject)?;
        let of_run = found.is_some();
        let pictures = found.unwrap_or_else(|| (0..COUNT).map(pattern).collect());
        let embeddings = embedder.vectors(&pictures)?;
        let preprocessing = embedder.preprocessing();
        let side = preprocessing.crop;
        let mut inputs = vec![0; pictures.len() * side * side * 3];
        for (picture, input) in pictures.iter().zip(inputs.chunks_exact_mut(side * side * 3)) {
            resize::centre(picture.as_picture(), preprocessing.resize, side, input);
        }
        Ok(Self { pictures, of_run, inputs, side, embeddings, dimension: embedder.dim() })
    }

    /// Writes the folder `test`: the pictures, the pixels that the network takes, and the embeddings.
    pub(super) fn write(&self, folder: &Path) -> Result<(), ExportError> {
        let folder = folder.join("test");
        files::create(&folder)?;
        for (number, picture) in self.pictures.iter().enumerate() {
            let path = folder.join(format!("{number}.png"));
            let image = RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.pixels.clone())
                .expect("a raster has as many pixels as its size says");
            let mut bytes = Cursor::new(Vec::new());
            image.write_to(&mut bytes, ImageFormat::Png).expect("an image in memory can be written to memory");
            files::write(&path, bytes.into_inner())?;
        }
        let count = self.pictures.len();
        files::write(&folder.join("inputs.npy"), npy(&[count, self.side, self.side, 3], &self.inputs))?;
        files::write(&folder.join("embeddings.npy"), npy(&[count, self.dimension], &self.embeddings))
    }

    /// A sentence for the README.
    pub(super) fn sentence(&self) -> &'static str {
        if self.of_run {
            "`test` holds eight images of the run, as PNG and as the network takes them (`inputs.npy`), with the embeddings that \
             `dnc-run` computed (`embeddings.npy`)."
        } else {
            "`test` holds eight patterns, as PNG and as the network takes them (`inputs.npy`), with the embeddings that `dnc-run` \
             computed (`embeddings.npy`); the images of the run are no longer in the store."
        }
    }
}

/// Images of the run, evenly spread over the evaluated split.
fn of_run(subject: &Subject) -> Result<Option<Vec<Raster>>, ExportError> {
    let Some(artifact) = subject.images()? else { return Ok(None) };
    let images = Images::open(&artifact)?;
    let (splits, pixels) = (images.splits()?, images.pixels()?);
    let evaluated = subject.evidence.subject.as_ref().map(|subject| subject.split.clone());
    let mut rows: Vec<usize> =
        (0..images.len()).filter(|&row| evaluated.as_deref().is_none_or(|split| splits[row].name() == split)).collect();
    if rows.is_empty() {
        rows = (0..images.len()).collect();
    }
    let picture = |row: usize| {
        let picture = pixels.of(row);
        Raster { height: picture.height, width: picture.width, pixels: picture.pixels.to_vec() }
    };
    let count = COUNT.min(rows.len());
    let chosen = (0..count).map(|at| picture(rows[at * rows.len() / count]));
    Ok((count > 0).then(|| chosen.collect()))
}

/// Stripes and gradients, of another size and frequency for each number.
fn pattern(number: usize) -> Raster {
    let (height, width) = (240 + 16 * number, 320 - 12 * number);
    let mut pixels = Vec::with_capacity(height * width * 3);
    for y in 0..height {
        for x in 0..width {
            let stripe = (x * (number + 1) + y * 3) / 24 % 2 * 160;
            pixels.extend([(x * 255 / width) as u8, (y * 255 / height) as u8, (stripe + number * 10) as u8]);
        }
    }
    Raster { height, width, pixels }
}
