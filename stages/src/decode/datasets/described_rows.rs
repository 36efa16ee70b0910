//! Rows that describe images, in any kind of table.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use dnc_tables::split::UnknownSplit;
use dnc_tables::{Split, TableError};

use super::columns::ColumnNames;
use crate::decode::entry::split_named;
use crate::decode::error::DecodeError;

/// The descriptions of the images in a batch, as text. All columns but the class are optional.
pub(super) struct DescribedRows<'a> {
    file: &'a Path,
    /// Number of rows of the file before this batch.
    before: usize,
    class: ArrayRef,
    /// Whether classes are floats, among which a missing one is written as `NaN`.
    has_float_classes: bool,
    split: Option<ArrayRef>,
    source: Option<ArrayRef>,
    camera: Option<ArrayRef>,
}

/// A description of an image; the error says what is wrong with it, a predicate.
pub(super) struct Description<'a> {
    pub(super) class: &'a str,
    pub(super) split: Option<Split>,
    pub(super) camera: Option<u16>,
}

impl<'a> DescribedRows<'a> {
    pub(super) fn new(
        batch: &RecordBatch,
        names: &ColumnNames,
        file: &'a Path,
        before: usize,
    ) -> Result<Self, DecodeError> {
        let column = |name: &str| -> Result<Option<ArrayRef>, TableError> {
            let column = batch.column_by_name(name).map(|values| cast(values, &DataType::Utf8)).transpose();
            column.map_err(|source| {
                TableError::arrow(format!("read the column `{name}` of `{}` as text", file.display()), source)
            })
        };
        let class = column(&names.class)?.ok_or_else(|| DecodeError::MissingColumn {
            file: file.to_owned(),
            column: names.class.clone(),
            key: "class",
            contents: "the classes",
            found: batch.schema().fields().iter().map(|field| field.name().clone()).collect(),
        })?;
        let has_float_classes = batch.column_by_name(&names.class).is_some_and(|column| is_float(column.data_type()));
        let (split, source, camera) = (column(&names.split)?, column(&names.source)?, column(&names.camera)?);
        Ok(Self { file, before, class, has_float_classes, split, source, camera })
    }

    /// The description in a row, or what is wrong with it, a predicate.
    pub(super) fn description(&self, row: usize) -> Result<Description<'_>, String> {
        let is_number = |class: &&str| class.parse::<f64>().is_ok_and(f64::is_finite);
        let class = text(&self.class, row).filter(|class| !self.has_float_classes || is_number(class));
        let class = class.filter(|class| !class.is_empty()).ok_or("has no class")?;
        let split = self.split.as_ref().and_then(|column| text(column, row)).map(split_named).transpose();
        let split = split.map_err(|UnknownSplit(name)| {
            format!("has the split `{name}`; it must be `train`, `validation`, `test`, `query` or `gallery`")
        })?;
        let camera = self.camera.as_ref().and_then(|column| text(column, row)).map(camera).transpose()?.flatten();
        Ok(Description { class, split, camera })
    }

    pub(super) fn source(&self, row: usize) -> Option<&str> {
        text(self.source.as_ref()?, row)
    }

    /// What a row is called in messages.
    pub(super) fn name(&self, row: usize) -> String {
        format!("Row {} of `{}`", self.before + row, self.file.display())
    }
}

fn is_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_float(values),
        other => other.is_floating(),
    }
}

/// The number of a camera. Programs that have no missing numbers write `3.0` for 3 and `NaN` for a missing one.
fn camera(written: &str) -> Result<Option<u16>, String> {
    let number = written.trim();
    let number = number.strip_suffix(".0").unwrap_or(number);
    match number.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) if number.eq_ignore_ascii_case("nan") => Ok(None),
        Err(_) => Err(format!("has the camera `{written}`; it must be a whole number from 0 to 65535")),
    }
}

fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    let column = column.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}
