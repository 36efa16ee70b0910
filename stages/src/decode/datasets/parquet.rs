//! Parquet files that contain the bytes of image files: one file, or all files of a folder in the order of their names.
//!
//! The image column contains bytes, or a struct with a field `bytes` as in data sets on Hugging Face.

use std::path::{Path, PathBuf};

use dnc_tables::for_each_batch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::described_rows::{ColumnNames, DescribedRows};
use super::file_names::sorted_names;
use crate::decode::entry::{ClassNames, Entry};
use crate::decode::error::DecodeError;
use crate::decode::listing::Listing;
use crate::decode::table_rows::TableRows;

/// Parquet files that contain the bytes of image files. Columns other than image and class are optional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parquet {
    /// Column with the bytes of image files.
    pub image: String,
    /// Column with the class: text or whole numbers.
    pub class: String,
    /// Column with the split: `train`, `validation`, `test`, `query` or `gallery`.
    pub split: String,
    /// Column with the origin of each image, as text.
    pub source: String,
    /// Column with the number of the camera.
    pub camera: String,
}

impl Default for Parquet {
    fn default() -> Self {
        let [image, class, split, source, camera] = ["image", "class", "split", "source", "camera"].map(str::to_owned);
        Self { image, class, split, source, camera }
    }
}

impl Dataset for Parquet {
    fn list(&self, root: &Path) -> Result<Listing, DecodeError> {
        let files = files(root)?;
        let mut classes = ClassNames::default();
        let mut entries = Vec::new();
        let names = ColumnNames { class: &self.class, split: &self.split, source: &self.source, camera: &self.camera };
        let columns = [&self.class, &self.split, &self.source, &self.camera];
        for file in &files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let mut first = 0;
            for_each_batch(file, |column| columns.iter().any(|wanted| *wanted == column), &mut |batch| {
                let rows = DescribedRows::new(&batch, &names, file, first)?;
                for row in 0..batch.num_rows() {
                    entries.push(Entry {
                        class: classes.index(rows.class(row)?),
                        split: rows.split(row)?,
                        camera: rows.camera(row),
                        source: rows.source(row).map_or_else(|| format!("{name}#{}", first + row), str::to_owned),
                        position: entries.len(),
                    });
                }
                first += batch.num_rows();
                Ok::<_, DecodeError>(())
            })?;
        }
        let reader = Box::new(TableRows::new(files, &self.image));
        Ok(Listing { entries, classes: classes.into_names(), reader, expected: Vec::new() })
    }
}

/// The file itself, or the Parquet files in a folder.
fn files(root: &Path) -> Result<Vec<PathBuf>, DecodeError> {
    if !root.is_dir() {
        return Ok(vec![root.to_path_buf()]);
    }
    let names = sorted_names(root)?;
    let files: Vec<_> = names.iter().filter(|name| name.ends_with(".parquet")).map(|name| root.join(name)).collect();
    if files.is_empty() {
        return Err(DecodeError::format(root, "contains no file `*.parquet`"));
    }
    Ok(files)
}
