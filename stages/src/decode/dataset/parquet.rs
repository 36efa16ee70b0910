//! Parquet with the bytes of image files: one file, or a folder of them in the order of their names.
//!
//! The image column holds bytes, or a struct with a field `bytes` as the data sets on Hugging Face have it.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::described::{Described, Names};
use super::{Classes, Entry, Listing, Place, sorted_names};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::batches_of;

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
        let names = Names { class: &self.class, split: &self.split, source: &self.source, camera: &self.camera };
        let columns = [&self.class, &self.split, &self.source, &self.camera];
        for file in &files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let mut first = 0;
            batches_of(file, |column| columns.iter().any(|wanted| *wanted == column), &mut |batch| {
                let rows = Described::of(&batch, &names, file, first)?;
                for row in 0..batch.num_rows() {
                    entries.push(Entry {
                        class: classes.place(rows.class(row)?),
                        split: rows.split(row)?,
                        camera: rows.camera(row),
                        source: rows.source(row).map_or_else(|| format!("{name}#{}", first + row), str::to_owned),
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
