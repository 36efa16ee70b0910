//! Pixels of images or of views, beside the table whose rows they belong to, in the order of its rows.
//!
//! They lie in parts that are cut where the pixels say: after an image whose digest, as a fraction, is below its share of
//! [`PART_BYTES`]. Images that come or go in the middle of a data set then change the parts that they lie in and no
//! others, so that all others are shared with the artifact before. What is numbered or named anew whenever an image comes
//! (ids, labels, splits) is in the table beside.
//!
//! The facet of the column is the one of a column with the BLAKE3 digest of each row's pixels, so that it is known of
//! parts that are not read.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BinaryBuilder, FixedSizeBinaryArray};
use arrow::datatypes::{DataType, SchemaRef};

use super::facets::Facet;
use super::file::{Form, TableWriter, batch};
use super::rows::{Rows, files, is_declared};
use super::schema::{Description, column};
use crate::context::{Context, InputArtifact, InputFile};
use crate::error::StageError;
use crate::kind::Kind;

/// The table and its only column.
pub const PIXELS: &str = "pixels";

/// Bytes of pixels of an average part: small, since one that changes is written anew; not too small, since each is a file.
const PART_BYTES: usize = 8 << 20;

/// Bytes of pixels after which a part ends in any case, so that memory stays bounded.
const MOST_BYTES: usize = 4 * PART_BYTES;

/// BLAKE3 of the pixels of a row.
pub type PixelDigest = [u8; 32];

/// The table.
pub fn description(kind: Kind) -> Description {
    let meaning = "red, green and blue, row by row [height, width, 3]";
    Description::new(kind, PIXELS, vec![column(PIXELS, DataType::Binary, "grey levels of 255", meaning)])
}

/// The name of the part of this number.
pub fn part_name(number: usize) -> String {
    format!("{PIXELS}-{number:05}.arrow")
}

/// Where parts end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cutter {
    /// Bytes of the part in hand.
    bytes: usize,
}

impl Cutter {
    /// Takes note of the next row; whether the part ends with it.
    pub fn push(&mut self, digest: &PixelDigest, bytes: usize) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *digest;
        let drawn = u128::from(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        self.bytes += bytes;
        // A draw from [0, 1) below bytes / PART_BYTES, in whole numbers.
        let ends = drawn * (PART_BYTES as u128) < (bytes as u128) << 64 || self.bytes >= MOST_BYTES;
        if ends {
            self.bytes = 0;
        }
        ends
    }

    /// Whether the next row is the first of a part.
    pub fn is_between_parts(&self) -> bool {
        self.bytes == 0
    }
}

/// Writes rows one by one, and closes a part wherever it ends.
pub struct PixelsWriter {
    output: String,
    folder: PathBuf,
    schema: SchemaRef,
    cutter: Cutter,
    part: BinaryBuilder,
    parts: usize,
    /// Parts that an earlier artifact has, by their names here and there.
    kept: Vec<(String, String)>,
    digests: Vec<PixelDigest>,
}

impl PixelsWriter {
    /// Begins the table in the output called `output`, which holds `kind`.
    ///
    /// # Errors
    /// The output's folder cannot be made.
    pub fn create(context: &mut Context<'_>, output: &str, kind: Kind) -> Result<Self, StageError> {
        Ok(Self {
            output: output.to_owned(),
            folder: context.output(output)?,
            schema: description(kind).schema,
            cutter: Cutter::default(),
            part: BinaryBuilder::new(),
            parts: 0,
            kept: Vec::new(),
            digests: Vec::new(),
        })
    }

    /// Appends a row and the digest of its pixels.
    ///
    /// # Errors
    /// The part that ends with it cannot be written.
    pub fn push(&mut self, pixels: &[u8], digest: PixelDigest) -> Result<(), StageError> {
        self.digests.push(digest);
        self.part.append_value(pixels);
        if self.cutter.push(&digest, pixels.len()) { self.close_part() } else { Ok(()) }
    }

    /// Appends the rows of the earlier artifact's part called `name`, which have these digests, without reading it.
    ///
    /// # Panics
    /// The row before does not end a part.
    pub fn keep(&mut self, name: &str, digests: &[PixelDigest]) {
        assert!(self.cutter.is_between_parts(), "a part is kept whole");
        self.kept.push((part_name(self.parts), name.to_owned()));
        self.parts += 1;
        self.digests.extend_from_slice(digests);
    }

    /// The digest of each row so far.
    pub fn digests(&self) -> &[PixelDigest] {
        &self.digests
    }

    /// Writes the last part and notes the column's digest.
    ///
    /// # Errors
    /// The part cannot be written.
    pub fn finish(mut self, context: &mut Context<'_>) -> Result<(), StageError> {
        if !self.cutter.is_between_parts() || self.parts == 0 {
            self.close_part()?;
        }
        for (name, earlier) in &self.kept {
            context.keep(&self.output, name, earlier)?;
        }
        let mut facet = PixelsFacet::default();
        facet.push(&self.digests);
        context.facet(&self.output, PIXELS, facet.finish())
    }

    fn close_part(&mut self) -> Result<(), StageError> {
        let path = self.folder.join(part_name(self.parts));
        let pixels: ArrayRef = Arc::new(self.part.finish());
        let mut writer = TableWriter::create(&path, Form::Arrow, &self.schema)?;
        writer.write(&batch(&self.schema, vec![pixels])?)?;
        writer.finish()?;
        self.parts += 1;
        Ok(())
    }
}

/// The pixels of all rows, in the mapped files.
pub struct PixelParts {
    parts: Vec<BinaryArray>,
    /// Row at which each part begins, and at the end the number of rows.
    starts: Vec<usize>,
}

impl PixelParts {
    /// Opens the pixels of a port's artifact: the files of their own table, or, where there are none, those of the table
    /// called `otherwise`. `Ok(None)` where there is neither or the port did not declare them.
    ///
    /// # Errors
    /// A file is damaged or has no pixels, or there are not as many as `rows`.
    pub(super) fn open(artifact: &InputArtifact, otherwise: &str, rows: usize) -> Result<Option<Self>, StageError> {
        let own = files(artifact, PIXELS).next().is_some();
        let table = if own { PIXELS } else { otherwise };
        let declared = is_declared(&artifact.columns, &description(artifact.kind), PIXELS);
        if !declared || files(artifact, table).next().is_none() {
            return Ok(None);
        }
        let pixels = Self::of(artifact, files(artifact, table))?;
        if pixels.len() != rows {
            let (kind, node, found) = (artifact.kind, &artifact.node, pixels.len());
            let message = format!("The {kind} of `{node}` are {rows}, but there are {found} pictures");
            return Err(StageError::input(message));
        }
        Ok(Some(pixels))
    }

    fn of<'a>(artifact: &InputArtifact, files: impl Iterator<Item = &'a InputFile>) -> Result<Self, StageError> {
        let (mut parts, mut starts) = (Vec::new(), vec![0]);
        for file in files {
            let rows = Rows::read(&file.path, &file.name, artifact.columns.clone(), description(artifact.kind))?;
            let part = rows.array(PIXELS)?.as_binary::<i32>().clone();
            starts.push(starts[parts.len()] + rows.len());
            parts.push(part);
        }
        Ok(Self { parts, starts })
    }

    /// Opens all files of an artifact that holds nothing but parts.
    ///
    /// # Errors
    /// A file is damaged.
    pub fn of_files(artifact: &InputArtifact) -> Result<Self, StageError> {
        Self::of(artifact, artifact.files.iter())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.starts[self.parts.len()]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in row `row`.
    ///
    /// # Panics
    /// There is no such row.
    pub fn row(&self, row: usize) -> &[u8] {
        let part = self.starts.partition_point(|&start| start <= row) - 1;
        self.parts[part].value(row - self.starts[part])
    }
}

/// The facet of a column of pixels, of which only the digests need to be known.
pub(super) struct PixelsFacet(Facet);

impl Default for PixelsFacet {
    fn default() -> Self {
        let digests = DataType::FixedSizeBinary(size_of::<PixelDigest>() as i32);
        Self(Facet::new(&digests).expect("bytes have an encoding"))
    }
}

impl PixelsFacet {
    pub(super) fn push(&mut self, digests: &[PixelDigest]) {
        self.0.update(&digest_array(digests));
    }

    /// Appends the rows of a column.
    pub(super) fn update(&mut self, pixels: &BinaryArray) {
        let digests: Vec<PixelDigest> =
            pixels.iter().flatten().map(|pixels| *blake3::hash(pixels).as_bytes()).collect();
        self.push(&digests);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finish()
    }
}

/// Digests as a column.
pub(super) fn digest_array(digests: &[[u8; 32]]) -> FixedSizeBinaryArray {
    FixedSizeBinaryArray::new(size_of::<PixelDigest>() as i32, digests.as_flattened().to_vec().into(), None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The rows of each part, of images of `bytes` bytes that are told apart by number.
    fn parts(images: &[u32], bytes: usize) -> Vec<Vec<u32>> {
        let (mut parts, mut cutter) = (vec![Vec::new()], Cutter::default());
        for image in images {
            parts.last_mut().unwrap().push(*image);
            if cutter.push(blake3::hash(&image.to_le_bytes()).as_bytes(), bytes) {
                parts.push(Vec::new());
            }
        }
        parts
    }

    #[test]
    fn parts_have_about_the_size_that_is_wanted() {
        let images: Vec<u32> = (0..30_000).collect();
        for bytes in [96 * 96 * 3, 500 * 500 * 3] {
            let parts = parts(&images, bytes);
            let mean = images.len() * bytes / parts.len();
            assert!((PART_BYTES * 9 / 10..PART_BYTES * 11 / 10).contains(&mean), "{mean}");
            assert!(parts.iter().all(|part| part.len() * bytes < MOST_BYTES + bytes));
        }
    }

    proptest! {
        #[test]
        fn an_image_more_changes_the_part_that_it_lies_in(place in 0_usize..20_000, count in 1_usize..10) {
            let mut images: Vec<u32> = (0..20_000).collect();
            let before: BTreeSet<Vec<u32>> = parts(&images, 30_000).into_iter().collect();
            images.splice(place..place, (0..count as u32).map(|n| 1_000_000 + n));
            let new = parts(&images, 30_000).into_iter().filter(|part| !before.contains(part)).count();
            // Two more where one of the new images ends a part, or a part became too large and the next begins later.
            prop_assert!((1..=count + 3).contains(&new), "{}", new);
        }
    }
}
