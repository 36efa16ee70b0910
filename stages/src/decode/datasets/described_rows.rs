//! Rows that describe images, in any kind of table.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, UInt16Type};
use dnc_tables::split::UnknownSplit;
use dnc_tables::{Split, TableError};

use crate::decode::error::DecodeError;

/// The names of the columns.
pub(super) struct ColumnNames<'a> {
    pub(super) class: &'a str,
    pub(super) split: &'a str,
    pub(super) source: &'a str,
    pub(super) camera: &'a str,
}

/// The descriptions of the images in a batch, as plain text or numbers. All columns but the class are optional.
pub(super) struct DescribedRows<'a> {
    file: &'a Path,
    /// Number of rows of the file before this batch.
    before: usize,
    class: ArrayRef,
    split: Option<ArrayRef>,
    source: Option<ArrayRef>,
    camera: Option<ArrayRef>,
}

impl<'a> DescribedRows<'a> {
    pub(super) fn new(
        batch: &RecordBatch,
        names: &ColumnNames<'_>,
        file: &'a Path,
        before: usize,
    ) -> Result<Self, DecodeError> {
        // A text that is not a number is an error, not a missing number.
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let column = |name: &str, to: &DataType| -> Result<Option<ArrayRef>, TableError> {
            let column = batch.column_by_name(name).map(|values| cast_with_options(values, to, &strict)).transpose();
            column.map_err(|source| {
                TableError::arrow(format!("read the column `{name}` of `{}`", file.display()), source)
            })
        };
        let class = column(names.class, &DataType::Utf8)?.ok_or_else(|| DecodeError::MissingColumn {
            file: file.to_owned(),
            column: names.class.to_owned(),
            contents: "the classes",
        })?;
        Ok(Self {
            file,
            before,
            class,
            split: column(names.split, &DataType::Utf8)?,
            source: column(names.source, &DataType::Utf8)?,
            camera: column(names.camera, &DataType::UInt16)?,
        })
    }

    pub(super) fn class(&self, row: usize) -> Result<&str, DecodeError> {
        text(&self.class, row).ok_or_else(|| self.error(row, "has no class"))
    }

    pub(super) fn split(&self, row: usize) -> Result<Option<Split>, DecodeError> {
        let split = self.split.as_ref().and_then(|column| text(column, row));
        let unknown = |UnknownSplit(name)| {
            let problem =
                format!("has the split `{name}`; it must be `train`, `validation`, `test`, `query` or `gallery`");
            self.error(row, problem)
        };
        split.map(str::parse).transpose().map_err(unknown)
    }

    pub(super) fn source(&self, row: usize) -> Option<&str> {
        text(self.source.as_ref()?, row)
    }

    pub(super) fn camera(&self, row: usize) -> Option<u16> {
        let cameras = self.camera.as_ref()?.as_primitive::<UInt16Type>();
        cameras.is_valid(row).then(|| cameras.value(row))
    }

    /// An error about a row; `problem` is a predicate.
    pub(super) fn error(&self, row: usize, problem: impl Into<String>) -> DecodeError {
        let (number, file) = (self.before + row, self.file.to_owned());
        DecodeError::Row { unit: "Row", number, file, problem: problem.into() }
    }
}

fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    let column = column.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}
