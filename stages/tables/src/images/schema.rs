//! The columns of the table of images.

use arrow::datatypes::DataType;

use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, category, column, optional};
use crate::split;

/// The schema of the table, without the pixels beside it.
pub fn schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Images,
        "images",
        vec![
            column("id", DataType::UInt32, "none", "number of the image in the order of the data set, from 0"),
            column("label", DataType::UInt32, "none", "number of the class, by first appearance"),
            column("class", category(), "none", "name of the class"),
            column("split", split::data_type(), "none", "train, validation, test, query or gallery"),
            optional("camera", DataType::UInt16, "none", "number of the camera; null if unknown"),
            column("source", DataType::Utf8, "none", "origin of the image: a file, a row, or as the data set names it"),
            column("height", DataType::UInt16, "pixels", "height of the image"),
            column("width", DataType::UInt16, "pixels", "width of the image"),
        ],
    )
}
