//! What each image was decoded from and what it became, as digests, beside the table of images: a later `decode` takes the
//! pixels of known contents from here instead of decoding them again.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;

use super::file::{Form, batch};
use super::pixels::{PixelDigest, digest_array};
use super::rows::Rows;
use super::schema::{Description, column};
use super::write_table;
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;

/// BLAKE3 of the bytes of a file, of a row, or of grey pixels.
pub type Content = [u8; 32];

/// The table: a row for each image, in the same order.
pub fn description() -> Description {
    let digest = |name, meaning| column(name, DataType::FixedSizeBinary(32), "BLAKE3", meaning);
    let columns =
        vec![digest("content", "digest of the encoded image"), digest("decoded", "digest of the image's pixels")];
    Description::new(Kind::Images, "contents", columns)
}

/// Writes the table beside the images of the output called `output`.
///
/// # Errors
/// The file cannot be written.
pub fn write(
    context: &mut Context<'_>,
    output: &str,
    contents: &[Content],
    pixels: &[PixelDigest],
) -> Result<(), StageError> {
    let description = description();
    let columns = [contents, pixels].map(|digests| Arc::new(digest_array(digests)) as ArrayRef).to_vec();
    write_table(context, output, &description, Form::Arrow, &batch(&description.schema, columns)?)
}

/// The content of each image, and the digest of its pixels.
///
/// # Errors
/// The table is not there, or damaged.
pub fn read(artifact: &InputArtifact) -> Result<(Vec<Content>, Vec<PixelDigest>), StageError> {
    let rows = Rows::open(artifact, description())?;
    let column = |name| -> Result<Vec<[u8; 32]>, StageError> {
        let digests = rows.array(name)?.as_fixed_size_binary().iter().flatten();
        digests
            .map(|digest| digest.try_into().map_err(|_| StageError::input(format!("A `{name}` is no digest"))))
            .collect()
    };
    Ok((column("content")?, column("decoded")?))
}
