//! Pixels of images or of views, in files beside the table whose rows they belong to, in the order of its rows.
//!
//! They are stored in parts with content-defined boundaries: a part ends after an image whose digest, read as a fraction, is
//! below the image's share of [`PART_BYTES`]. Adding or removing an image in the middle of a data set therefore changes only
//! the part that contains it; all other parts are shared with the artifact before. Columns that change for every later row
//! (ids, labels, splits) are in the main table.
//!
//! The facet of the column is that of a column with the BLAKE3 digest of each row's pixels, so that it can be computed without
//! reading the parts that stay.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BinaryBuilder, FixedSizeBinaryArray};
use arrow::datatypes::{DataType, SchemaRef};

use crate::artifact::{InputArtifact, InputFile, OutputArtifact};
use crate::error::TableError;
use crate::facets::Facet;
use crate::file::{Form, TableWriter, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, column};
use crate::table::{Table, files, is_declared};

/// The name of the table and of its only column.
pub const PIXELS: &str = "pixels";

/// Average bytes of pixels per part: small, since a changed part is rewritten; not too small, since each part is a file.
const PART_BYTES: usize = 8 << 20;

/// Bytes of pixels after which a part always ends, which bounds memory.
const MOST_BYTES: usize = 4 * PART_BYTES;

/// BLAKE3 of the pixels of a row.
pub type PixelDigest = [u8; 32];

/// The schema of the table, in an artifact of `kind`.
pub fn schema(kind: ArtifactKind) -> TableSchema {
    let meaning = "red, green and blue values, row by row: [height, width, 3]";
    TableSchema::new(kind, PIXELS, vec![column(PIXELS, DataType::Binary, "0 to 255", meaning)])
}

/// The file name of the part with this number.
pub fn part_name(number: usize) -> String {
    format!("{PIXELS}-{number:05}.arrow")
}

/// Decides after which rows a part ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct PartBoundaries {
    /// Bytes of the current part so far.
    bytes: usize,
}

impl PartBoundaries {
    /// Adds the next row; returns whether the part ends with it.
    pub fn push(&mut self, digest: &PixelDigest, bytes: usize) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *digest;
        let drawn = u128::from(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        self.bytes += bytes;
        // drawn / 2⁶⁴ < bytes / PART_BYTES, in integers.
        let ends = drawn * (PART_BYTES as u128) < (bytes as u128) << 64 || self.bytes >= MOST_BYTES;
        if ends {
            self.bytes = 0;
        }
        ends
    }

    /// Whether the next row is the first of a part.
    pub fn at_start_of_part(&self) -> bool {
        self.bytes == 0
    }
}

/// Writes rows one by one and closes each part where it ends.
pub struct PixelsWriter {
    folder: PathBuf,
    schema: SchemaRef,
    boundaries: PartBoundaries,
    part: BinaryBuilder,
    parts: usize,
    /// Parts taken over from an earlier artifact: the name here and the name there.
    kept: Vec<(String, String)>,
    digests: Vec<PixelDigest>,
}

impl PixelsWriter {
    /// Begins the table in `output`, an artifact of `kind`.
    pub fn new(output: &OutputArtifact, kind: ArtifactKind) -> Self {
        Self {
            folder: output.folder.clone(),
            schema: schema(kind).columns,
            boundaries: PartBoundaries::default(),
            part: BinaryBuilder::new(),
            parts: 0,
            kept: Vec::new(),
            digests: Vec::new(),
        }
    }

    /// Appends a row, whose pixels have this digest.
    ///
    /// # Errors
    /// The part that ends with it cannot be written.
    pub fn push(&mut self, pixels: &[u8], digest: PixelDigest) -> Result<(), TableError> {
        self.digests.push(digest);
        self.part.append_value(pixels);
        if self.boundaries.push(&digest, pixels.len()) { self.close_part() } else { Ok(()) }
    }

    /// Appends the rows of the part called `name` of the earlier artifact, which have these digests, without reading it.
    ///
    /// # Panics
    /// The previous row does not end a part.
    pub fn keep(&mut self, name: &str, digests: &[PixelDigest]) {
        assert!(self.boundaries.at_start_of_part(), "a kept part begins after the end of another");
        self.kept.push((part_name(self.parts), name.to_owned()));
        self.parts += 1;
        self.digests.extend_from_slice(digests);
    }

    /// The digest of each row so far.
    pub fn digests(&self) -> &[PixelDigest] {
        &self.digests
    }

    /// Writes the last part and adds the kept parts and the column's digest to `output`.
    ///
    /// # Errors
    /// The part cannot be written.
    pub fn finish(mut self, output: &mut OutputArtifact) -> Result<(), TableError> {
        if !self.boundaries.at_start_of_part() || self.parts == 0 {
            self.close_part()?;
        }
        for (name, earlier) in self.kept {
            output.keep(name, earlier);
        }
        let mut facet = PixelsFacet::default();
        facet.push(&self.digests);
        output.set_facet(PIXELS, facet.finish());
        Ok(())
    }

    fn close_part(&mut self) -> Result<(), TableError> {
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
    /// The first row of each part, and at the end the number of rows.
    starts: Vec<usize>,
}

impl PixelParts {
    /// Opens the pixels of an artifact: the files of their own table or, if there are none, those of the table called
    /// `fallback`. `Ok(None)` if there is neither or the port did not declare them.
    ///
    /// # Errors
    /// A file is damaged or has no pixels, or their number is not `rows`.
    pub(crate) fn open(
        artifact: &InputArtifact,
        fallback: &'static str,
        rows: usize,
    ) -> Result<Option<Self>, TableError> {
        let own = files(artifact, PIXELS).next().is_some();
        let table = if own { PIXELS } else { fallback };
        let declared = is_declared(&artifact.columns, &schema(artifact.kind), PIXELS);
        if !declared || files(artifact, table).next().is_none() {
            return Ok(None);
        }
        let pixels = Self::of(artifact, files(artifact, table))?;
        if pixels.len() != rows {
            let (kind, node, table) = (artifact.kind, artifact.node.clone(), artifact.kind.name());
            return Err(TableError::RowCount { kind, node, table, expected: rows, other: PIXELS, found: pixels.len() });
        }
        Ok(Some(pixels))
    }

    fn of<'a>(artifact: &InputArtifact, files: impl Iterator<Item = &'a InputFile>) -> Result<Self, TableError> {
        let (mut parts, mut starts) = (Vec::new(), vec![0]);
        for file in files {
            let rows = Table::read(&file.path, &file.name, artifact.columns.clone(), schema(artifact.kind))?;
            let part = rows.array(PIXELS)?.as_binary::<i32>().clone();
            starts.push(starts[parts.len()] + rows.len());
            parts.push(part);
        }
        Ok(Self { parts, starts })
    }

    /// Opens an artifact all of whose files are parts.
    ///
    /// # Errors
    /// A file is damaged.
    pub fn of_files(artifact: &InputArtifact) -> Result<Self, TableError> {
        Self::of(artifact, artifact.files.iter())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts[self.parts.len()]
    }

    /// Whether there are no rows.
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

/// The facet of a column of pixels, computed from the digests of the rows.
pub(crate) struct PixelsFacet(Facet);

impl Default for PixelsFacet {
    fn default() -> Self {
        let digests = DataType::FixedSizeBinary(size_of::<PixelDigest>() as i32);
        Self(Facet::new(&digests).expect("bytes have an encoding"))
    }
}

impl PixelsFacet {
    pub(crate) fn push(&mut self, digests: &[PixelDigest]) {
        self.0.update(&digest_array(digests));
    }

    /// Appends the rows of a column.
    pub(crate) fn update(&mut self, pixels: &BinaryArray) {
        let digests: Vec<PixelDigest> =
            pixels.iter().flatten().map(|pixels| *blake3::hash(pixels).as_bytes()).collect();
        self.push(&digests);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finish()
    }
}

/// Digests as a column.
pub(crate) fn digest_array(digests: &[[u8; 32]]) -> FixedSizeBinaryArray {
    FixedSizeBinaryArray::new(size_of::<PixelDigest>() as i32, digests.as_flattened().to_vec().into(), None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The rows of each part, for images of `bytes` bytes with different digests.
    fn parts(images: &[u32], bytes: usize) -> Vec<Vec<u32>> {
        let (mut parts, mut boundaries) = (vec![Vec::new()], PartBoundaries::default());
        for image in images {
            parts.last_mut().unwrap().push(*image);
            if boundaries.push(blake3::hash(&image.to_le_bytes()).as_bytes(), bytes) {
                parts.push(Vec::new());
            }
        }
        parts
    }

    #[test]
    fn parts_have_about_the_intended_size() {
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
        fn an_added_image_changes_only_the_part_that_contains_it(place in 0_usize..20_000, count in 1_usize..10) {
            let mut images: Vec<u32> = (0..20_000).collect();
            let before: BTreeSet<Vec<u32>> = parts(&images, 30_000).into_iter().collect();
            images.splice(place..place, (0..count as u32).map(|n| 1_000_000 + n));
            let new = parts(&images, 30_000).into_iter().filter(|part| !before.contains(part)).count();
            // Two more if one of the new images ends a part, or a part became too large and the next begins later.
            prop_assert!((1..=count + 3).contains(&new), "{}", new);
        }
    }
}
