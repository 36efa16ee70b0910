//! Writing the table of images.

use std::sync::Arc;

use arrow::array::types::UInt32Type;
use arrow::array::{ArrayRef, StringArray, StringDictionaryBuilder, UInt16Array, UInt32Array};

use super::schema::schema;
use crate::artifact::OutputArtifact;
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::pixels::{PixelDigest, PixelsWriter};
use crate::split::{self, Split};
use crate::write::write_table;

/// One image to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow<'a> {
    /// Number of its class.
    pub label: u32,
    /// Name of its class.
    pub class: &'a str,
    /// Its split.
    pub split: Split,
    /// The camera, if known.
    pub camera: Option<u16>,
    /// Its origin.
    pub source: &'a str,
    /// Height in pixels.
    pub height: u16,
    /// Width in pixels.
    pub width: u16,
    /// `[height, width, 3]`.
    pub pixels: &'a [u8],
}

/// Writes images one by one and numbers them.
pub struct ImagesWriter {
    rows: ImageColumns,
    pixels: PixelsWriter,
}

/// The columns without pixels, in memory: a few hundred bytes per image.
#[derive(Default)]
struct ImageColumns {
    ids: Vec<u32>,
    labels: Vec<u32>,
    classes: StringDictionaryBuilder<UInt32Type>,
    splits: Vec<Split>,
    cameras: Vec<Option<u16>>,
    sources: Vec<String>,
    heights: Vec<u16>,
    widths: Vec<u16>,
}

impl ImagesWriter {
    /// Begins the table in `output`.
    pub fn new(output: &OutputArtifact) -> Self {
        Self { rows: ImageColumns::default(), pixels: PixelsWriter::new(output, ArtifactKind::Images) }
    }

    /// Appends an image and returns its id: the number of images written before it.
    ///
    /// # Errors
    /// The pixels are not `height × width × 3`, or the part that ends with it cannot be written.
    pub fn push(&mut self, row: &ImageRow<'_>) -> Result<u32, TableError> {
        self.push_hashed(row, *blake3::hash(row.pixels).as_bytes())
    }

    /// As [`push`](Self::push), for pixels whose digest is known.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_hashed(&mut self, row: &ImageRow<'_>, digest: PixelDigest) -> Result<u32, TableError> {
        let expected = usize::from(row.height) * usize::from(row.width) * 3;
        if row.pixels.len() != expected {
            let item = format!("The image `{}`", row.source);
            return Err(TableError::Length { item, found: row.pixels.len(), expected });
        }
        self.pixels.push(row.pixels, digest)?;
        Ok(self.rows.push(row))
    }

    /// Appends images whose pixels are the part called `name` of the earlier artifact, as [`PixelsWriter::keep`] does. The
    /// pixels in `rows` are ignored.
    pub fn keep(&mut self, name: &str, rows: &[ImageRow<'_>], digests: &[PixelDigest]) {
        self.pixels.keep(name, digests);
        for row in rows {
            self.rows.push(row);
        }
    }

    /// The digest of each image's pixels so far.
    pub fn pixel_digests(&self) -> &[PixelDigest] {
        self.pixels.digests()
    }

    /// Writes the rest and adds the digests of the columns to `output`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(self, output: &mut OutputArtifact) -> Result<(), TableError> {
        let Self { mut rows, pixels } = self;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(rows.ids)),
            Arc::new(UInt32Array::from(rows.labels)),
            Arc::new(rows.classes.finish()),
            Arc::new(split::array(&rows.splits)),
            Arc::new(UInt16Array::from(rows.cameras)),
            Arc::new(StringArray::from(rows.sources)),
            Arc::new(UInt16Array::from(rows.heights)),
            Arc::new(UInt16Array::from(rows.widths)),
        ];
        let schema = schema();
        write_table(output, &schema, Form::Arrow, &batch(&schema.columns, columns)?)?;
        pixels.finish(output)
    }
}

impl ImageColumns {
    fn push(&mut self, row: &ImageRow<'_>) -> u32 {
        let id = self.ids.len() as u32;
        self.ids.push(id);
        self.labels.push(row.label);
        self.classes.append_value(row.class);
        self.splits.push(row.split);
        self.cameras.push(row.camera);
        self.sources.push(row.source.to_owned());
        self.heights.push(row.height);
        self.widths.push(row.width);
        id
    }
}
