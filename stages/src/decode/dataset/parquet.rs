//! Parquet with the bytes of image files: one file, or a folder of them in the order of their names.
//!
//! The image column holds bytes, or a struct with a field `bytes` as the data sets on Hugging Face have it.

use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt16Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Classes, Entry, Listing, Place, sorted_names};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::{Split, batches_of};

/// Parquet with the bytes of image files. A column besides image and class is read where it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parquet {
    /// The column of the bytes.
    pub image: String,
    /// The column of the class: text or whole numbers.
    pub class: String,
    /// The column of the split.
    pub split: String,
    /// The column that says where an image is from.
    pub source: String,
    /// The column of the camera's number.
    pub camera: String,
}

impl Default for Parquet {
    fn default() -> Self {
        let [image, class, split, source, camera] = ["image", "class", "split", "source", "camera"].map(str::to_owned);
        Self { image, class, split, source, camera }
    }
}

impl Parquet {
    pub(super) fn list(&self, root: &Path) -> Result<Listing, StageError> {
        let files = files(root)?;
        let mut classes = Classes::default();
        let mut entries = Vec::new();
        for file in &files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let columns = [&self.class, &self.split, &self.source, &self.camera];
            let mut first = 0;
            batches_of(file, |column| columns.iter().any(|wanted| *wanted == column), &mut |batch| {
                let rows = Described::of(&batch, self, file)?;
                for row in 0..batch.num_rows() {
                    let class = rows.class.as_string::<i32>();
                    if class.is_null(row) {
                        return Err(StageError::input(format!("Row {} of `{name}` has no class", first + row)));
                    }
                    let split = rows
                        .split(row)
                        .map_err(|problem| StageError::input(format!("Row {} of `{name}`: {problem}", first + row)))?;
                    entries.push(Entry {
                        class: classes.place(class.value(row)),
                        split,
                        camera: rows.camera(row),
                        source: rows.source(row).unwrap_or_else(|| format!("{name}#{}", first + row)),
                        place: Place::Row(entries.len()),
                    });
                }
                first += batch.num_rows();
                Ok(())
            })?;
        }
        let encoded = Encoded::rows(files, &self.image);
        Ok(Listing { entries, classes: classes.into_names(), encoded, expected: Vec::new() })
    }
}

/// The file itself, or the Parquet files of a folder.
fn files(root: &Path) -> Result<Vec<PathBuf>, StageError> {
    if !root.is_dir() {
        return Ok(vec![root.to_path_buf()]);
    }
    let names = sorted_names(root)?;
    let files: Vec<_> = names.iter().filter(|name| name.ends_with(".parquet")).map(|name| root.join(name)).collect();
    if files.is_empty() {
        return Err(StageError::input(format!("There is no Parquet file in `{}`", root.display())));
    }
    Ok(files)
}

/// The columns that describe the images of a batch, as plain text or numbers.
struct Described {
    class: arrow::array::ArrayRef,
    split: Option<arrow::array::ArrayRef>,
    source: Option<arrow::array::ArrayRef>,
    camera: Option<arrow::array::ArrayRef>,
}

impl Described {
    fn of(batch: &RecordBatch, columns: &Parquet, file: &Path) -> Result<Self, StageError> {
        let column = |name: &str, to: &DataType| {
            let column = batch.column_by_name(name);
            column.map(|values| cast(values, to)).transpose().map_err(|source| {
                StageError::table(format!("read the column `{name}` of `{}`", file.display()), source)
            })
        };
        let class = column(&columns.class, &DataType::Utf8)?.ok_or_else(|| {
            StageError::input(format!("`{}` has no column `{}` of classes", file.display(), columns.class))
        })?;
        Ok(Self {
            class,
            split: column(&columns.split, &DataType::Utf8)?,
            source: column(&columns.source, &DataType::Utf8)?,
            camera: column(&columns.camera, &DataType::UInt16)?,
        })
    }

    fn split(&self, row: usize) -> Result<Option<Split>, String> {
        text(self.split.as_ref(), row).map(|split| split.parse()).transpose()
    }

    fn source(&self, row: usize) -> Option<String> {
        text(self.source.as_ref(), row).map(str::to_owned)
    }

    fn camera(&self, row: usize) -> Option<u16> {
        let cameras = self.camera.as_ref()?.as_primitive::<UInt16Type>();
        cameras.is_valid(row).then(|| cameras.value(row))
    }
}

fn text(column: Option<&arrow::array::ArrayRef>, row: usize) -> Option<&str> {
    let column = column?.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}
