//! Thumbnails: each image at most 96 pixels wide and high, as JPEG, derived once from the pixels of a table of images.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::types::UInt32Type;
use arrow::array::{ArrayRef, AsArray, LargeBinaryArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use dnc_cache::Digest;
use dnc_stages::tables::images::Images;
use dnc_stages::tables::pictures::{Picture, resize};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use rayon::prelude::*;
use serde_json::json;

use super::derived::OfImages;
use super::error::PagesError;
use super::evidence::Evidence;

/// Largest width and height in pixels.
const SIDE: usize = 96;
const QUALITY: u8 = 82;
/// Up to so many images, thumbnails are made of all of them, so that every report of the table finds them; of a larger table, only
/// of those that the report shows.
pub const ALL: usize = 20_000;

/// The thumbnails of a table of images, sorted by id.
#[derive(Debug)]
pub struct Thumbnails {
    ids: Vec<u32>,
    jpegs: LargeBinaryArray,
}

impl Thumbnails {
    /// The thumbnails of the images that a run evaluated: of all of them, or of those in `shown` (sorted) if there are many.
    /// `None` if the store no longer has their pixels.
    ///
    /// # Errors
    /// The store cannot be read or written, or a table is damaged.
    pub fn of(evidence: &Evidence, images: usize, shown: &[u32]) -> Result<Option<Self>, PagesError> {
        let shown = (images > ALL).then_some(shown);
        let digest = shown.map(|ids| {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            Digest::of(&bytes).to_string()
        });
        let derivation = OfImages {
            name: "thumbnails",
            version: 1,
            params: json!({ "side": SIDE, "quality": QUALITY, "ids": digest }),
            columns: &["id", "height", "width", "pixels"],
            has_arithmetic: false,
        };
        let files = derivation.files(evidence, |images, folder| make(images, shown, folder))?;
        let Some(files) = files else { return Ok(None) };
        let path = &files.first().ok_or_else(|| PagesError::deriving("thumbnails")("the record is empty"))?.path;
        Self::read(path).map(Some)
    }

    fn read(path: &Path) -> Result<Self, PagesError> {
        let failed = PagesError::deriving("thumbnails");
        let read = || -> Result<Option<RecordBatch>, Box<dyn std::error::Error + Send + Sync>> {
            Ok(FileReader::try_new(File::open(path)?, None)?.next().transpose()?)
        };
        match read() {
            Err(error) => Err(failed(error)),
            Ok(None) => Ok(Self { ids: Vec::new(), jpegs: LargeBinaryArray::from_vec(Vec::new()) }),
            Ok(Some(batch)) => {
                let ids = batch.column(0).as_primitive_opt::<UInt32Type>().map(|ids| ids.values().to_vec());
                let jpegs = batch.column(1).as_binary_opt::<i64>().cloned();
                let (ids, jpegs) = ids.zip(jpegs).ok_or_else(|| failed("its columns have other types".into()))?;
                Ok(Self { ids, jpegs })
            }
        }
    }

    /// The JPEG of an image.
    pub fn jpeg(&self, id: u32) -> Option<&[u8]> {
        let row = self.ids.binary_search(&id).ok()?;
        Some(self.jpegs.value(row))
    }
}

fn make(images: &Images, shown: Option<&[u32]>, folder: &Path) -> Result<(), PagesError> {
    let pixels = images.pixels()?;
    let mut ids = match shown {
        Some(shown) => shown.iter().copied().filter(|&id| images.row(id).is_some()).collect(),
        None => images.ids()?,
    };
    ids.sort_unstable();
    let jpeg = |&id: &u32| {
        let row = images.row(id).ok_or_else(|| "an id is not in the table".to_owned())?;
        encode(pixels.of(row)).map_err(|error| error.to_string())
    };
    let jpegs = ids.par_iter().map(jpeg).collect::<Result<Vec<Vec<u8>>, String>>();
    let jpegs = jpegs.map_err(PagesError::deriving("thumbnails"))?;
    let write = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let fields = vec![Field::new("id", DataType::UInt32, false), Field::new("jpeg", DataType::LargeBinary, false)];
        let schema = Arc::new(Schema::new(fields));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(UInt32Array::from(ids)), Arc::new(LargeBinaryArray::from_iter_values(jpegs))];
        let mut writer = FileWriter::try_new(File::create(folder.join("thumbnails.arrow"))?, &schema)?;
        writer.write(&RecordBatch::try_new(schema, columns)?)?;
        Ok(writer.finish()?)
    };
    write().map_err(PagesError::deriving("thumbnails"))
}

/// A picture as JPEG, scaled down to a thumbnail if it is larger.
pub(crate) fn encode(picture: Picture<'_>) -> Result<Vec<u8>, jpeg_encoder::EncodingError> {
    let longest = picture.height.max(picture.width).max(1);
    let (mut height, mut width, mut pixels) = (picture.height, picture.width, picture.pixels.to_vec());
    if longest > SIDE {
        [height, width] = [height, width].map(|length| (length * SIDE / longest).max(1));
        pixels = resize::resized(picture, height, width);
    }
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, QUALITY);
    // In a picture that is shown at its own size, colour at half the resolution would be visible.
    encoder.set_sampling_factor(if longest > SIDE { SamplingFactor::R_4_2_0 } else { SamplingFactor::R_4_4_4 });
    encoder.set_optimized_huffman_tables(true);
    encoder.encode(&pixels, width as u16, height as u16, ColorType::Rgb)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_made_smaller_and_never_larger() {
        let check = |height: usize, width: usize, expected: (u32, u32)| {
            let pixels: Vec<u8> = (0..height * width * 3).map(|at| (at % 251) as u8).collect();
            let jpeg = encode(Picture { height, width, pixels: &pixels }).unwrap();
            let decoded = image::load_from_memory(&jpeg).unwrap();
            assert_eq!((decoded.width(), decoded.height()), expected);
        };
        check(40, 60, (60, 40));
        check(300, 200, (64, 96));
        check(1, 1000, (96, 1));
    }
}
