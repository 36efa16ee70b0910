//! Digests of each image's encoded bytes and of its pixels, beside the table of images. A later `decode` copies the pixels
//! of known contents from the earlier artifact instead of decoding them again.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;

use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::pixels::{PixelDigest, digest_array};
use crate::schema::{TableSchema, column};
use crate::table::Table;
use crate::write::write_table;

/// BLAKE3 of the bytes of an image file, of a row, or of grey pixels.
pub type ContentDigest = [u8; 32];

/// The schema of the table: a row for each image, in the same order.
pub fn schema() -> TableSchema {
    let digest = |name, meaning| column(name, DataType::FixedSizeBinary(32), "BLAKE3", meaning);
    let columns =
        vec![digest("content", "digest of the encoded image"), digest("decoded", "digest of the decoded pixels")];
    TableSchema::new(ArtifactKind::Images, "contents", columns)
}

/// Writes the table.
///
/// # Errors
/// The file cannot be written.
pub fn write(
    output: &mut OutputArtifact,
    contents: &[ContentDigest],
    pixels: &[PixelDigest],
) -> Result<(), TableError> {
    let schema = schema();
    let columns = [contents, pixels].map(|digests| Arc::new(digest_array(digests)) as ArrayRef).to_vec();
    write_table(output, &schema, Form::Arrow, &batch(&schema.columns, columns)?)
}

/// The content digest of each image, and the digest of its pixels.
///
/// # Errors
/// The table is missing or damaged.
pub fn read(artifact: &InputArtifact) -> Result<(Vec<ContentDigest>, Vec<PixelDigest>), TableError> {
    let table = Table::open(artifact, schema())?;
    let column = |name| -> Result<Vec<[u8; 32]>, TableError> {
        let digests = table.array(name)?.as_fixed_size_binary().iter().flatten();
        let checked = digests.map(|digest| {
            digest.try_into().map_err(|_| TableError::Length {
                item: format!("A digest in the column `contents.{name}`"),
                found: digest.len(),
                expected: 32,
            })
        });
        checked.collect()
    };
    Ok((column("content")?, column("decoded")?))
}
