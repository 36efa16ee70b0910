//! Columns that describe images, whatever kind of table they are in.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, UInt16Type};

use crate::error::StageError;
use crate::tables::Split;

/// What the columns are called.
pub(super) struct Names<'a> {
    pub(super) class: &'a str,
    pub(super) split: &'a str,
    pub(super) source: &'a str,
    pub(super) camera: &'a str,
}

/// The columns that describe the images of a batch, as plain text or numbers. Only the class must be there.
pub(super) struct Described<'a> {
    file: &'a Path,
    /// Rows of the file before this batch.
    before: usize,
    class: ArrayRef,
    split: Option<ArrayRef>,
    source: Option<ArrayRef>,
    camera: Option<ArrayRef>,
}

impl<'a> Described<'a> {
    pub(super) fn of(
        batch: &RecordBatch,
        names: &Names<'_>,
        file: &'a Path,
        before: usize,
    ) -> Result<Self, StageError> {
        // What cannot be read as a number is an error and not a missing one.
        let strictly = CastOptions { safe: false, ..CastOptions::default() };
        let column = |name: &str, to: &DataType| {
            let column = batch.column_by_name(name);
            column.map(|values| cast_with_options(values, to, &strictly)).transpose().map_err(|source| {
                StageError::table(format!("read the column `{name}` of `{}`", file.display()), source)
            })
        };
        let class = column(names.class, &DataType::Utf8)?.ok_or_else(|| {
            StageError::input(format!("`{}` has no column `{}` of classes", file.display(), names.class))
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

    pub(super) fn class(&self, row: usize) -> Result<&str, StageError> {
        text(&self.class, row).ok_or_else(|| self.wrong(row, "has no class"))
    }

    pub(super) fn split(&self, row: usize) -> Result<Option<Split>, StageError> {
        let split = self.split.as_ref().and_then(|column| text(column, row));
        split
            .map(str::parse)
            .transpose()
            .map_err(|problem: String| self.wrong(row, &format!("has a wrong split: {problem}")))
    }

    pub(super) fn source(&self, row: usize) -> Option<&str> {
        text(self.source.as_ref()?, row)
    }

    pub(super) fn camera(&self, row: usize) -> Option<u16> {
        let cameras = self.camera.as_ref()?.as_primitive::<UInt16Type>();
        cameras.is_valid(row).then(|| cameras.value(row))
    }

    /// An error that names a row; `problem` goes behind its number.
    pub(super) fn wrong(&self, row: usize, problem: &str) -> StageError {
        StageError::input(format!("Row {} of `{}` {problem}", self.before + row, self.file.display()))
    }
}

fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    let column = column.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}
