//! Parquet files that contain the bytes of image files: one file, or all files of a folder in the order of their names.
//!
//! The image column contains bytes, or a struct with a field `bytes` as in data sets on Hugging Face.

use std::path::PathBuf;

use dnc_tables::{for_each_batch, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::ColumnNames;
use super::dataset::Dataset;
use super::described_rows::DescribedRows;
use crate::decode::data_folder::{DataFolder, EntryKind};
use crate::decode::entry::{ClassNames, Entry};
use crate::decode::error::DecodeError;
use crate::decode::listing::{Listing, Strays};
use crate::decode::table_rows::{TableRows, check_type};

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
    fn extensions(&self) -> &'static [&'static str] {
        &["parquet"]
    }

    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        let mut strays = Strays::default();
        let files = files(root, &mut strays)?;
        let mut classes = ClassNames::default();
        let mut entries = Vec::new();
        let names = ColumnNames {
            image: self.image.clone(),
            class: self.class.clone(),
            split: self.split.clone(),
            source: self.source.clone(),
            camera: self.camera.clone(),
        };
        let (mut images, mut position) = (Vec::with_capacity(files.len()), 0);
        for file in files {
            let schema =
                schema_of([file.as_path()])?.ok_or_else(|| DecodeError::format(&file, "is not a Parquet file"))?;
            let found: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
            let names = names.as_found(&file, &found)?;
            check_type(&schema, &names.image, &file)?;
            let described = |column: &str| column != names.image && names.contains(column);
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let mut first = 0;
            for_each_batch(&file, described, &mut |batch| {
                let rows = DescribedRows::new(&batch, &names, &file, first)?;
                for row in 0..batch.num_rows() {
                    let source = rows.source(row).map_or_else(|| format!("{name}#{}", first + row), str::to_owned);
                    match rows.description(row) {
                        Ok(found) => entries.push(Entry {
                            class: classes.index(found.class),
                            split: found.split,
                            camera: found.camera,
                            source,
                            position,
                        }),
                        Err(problem) => strays.add_broken(rows.name(row), source, problem),
                    }
                    position += 1;
                }
                first += batch.num_rows();
                Ok::<_, DecodeError>(())
            })?;
            images.push((file, names.image));
        }
        if position == 0 {
            return Err(DecodeError::format(root.path(), "has the columns of a table of images but no rows"));
        }
        let reader = Box::new(TableRows::new(images));
        Ok(Listing { entries, classes: classes.into_names(), reader, expected: Vec::new(), strays })
    }
}

/// The file itself, or the Parquet files in a folder.
fn files(root: &DataFolder, strays: &mut Strays) -> Result<Vec<PathBuf>, DecodeError> {
    if !root.path().is_dir() {
        return Ok(vec![root.path().to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in root.entries("")? {
        match entry.kind {
            EntryKind::File if entry.name.ends_with(".parquet") => files.push(root.join(entry.name)),
            EntryKind::Junk => strays.pass_over_junk(entry.name),
            EntryKind::Folder(_) => strays.pass_over(entry.name, "is a folder beside the Parquet files"),
            EntryKind::Unreadable(reason) => strays.pass_over(entry.name, reason),
            EntryKind::File => strays.pass_over(entry.name, "does not end in `.parquet`"),
        }
    }
    if files.is_empty() {
        return Err(DecodeError::format(root.path(), "contains no file `*.parquet`"));
    }
    Ok(files)
}
