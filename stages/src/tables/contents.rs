//! What each image was decoded from, beside the table of images: a later `decode` takes the pixels of known contents from
//! here instead of decoding them again.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeBinaryArray};
use arrow::datatypes::DataType;

use super::file::{Form, batch};
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
    let content = DataType::FixedSizeBinary(size_of::<Content>() as i32);
    let meaning = "digest of the encoded image, a row for each image in their order";
    Description::new(Kind::Images, "contents", vec![column("content", content, "BLAKE3", meaning)])
}

/// Writes the table beside the images of the output called `output`.
///
/// # Errors
/// The file cannot be written.
pub fn write(context: &mut Context<'_>, output: &str, contents: &[Content]) -> Result<(), StageError> {
    let description = description();
    let values = contents.as_flattened().to_vec().into();
    let column: ArrayRef = Arc::new(FixedSizeBinaryArray::new(size_of::<Content>() as i32, values, None));
    write_table(context, output, &description, Form::Arrow, &batch(&description.schema, vec![column])?)
}

/// The content of each image.
///
/// # Errors
/// The table is not there, or damaged.
pub fn read(artifact: &InputArtifact) -> Result<Vec<Content>, StageError> {
    let rows = Rows::open(artifact, description())?;
    let contents = rows.array("content")?.as_fixed_size_binary().iter().flatten();
    Ok(contents.map(|content| content.try_into().expect("the column has that width")).collect())
}
