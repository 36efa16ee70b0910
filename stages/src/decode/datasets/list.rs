//! A list of image files with their classes: CSV, TSV, Parquet or Arrow.
//!
//! The list and the files are below the root; each row names its file, relative to the root or absolute. Messages name the line of a text,
//! counted from 1, or the row of a table, counted from 0. Headings are found in any case, and values may be separated by commas,
//! semicolons, tabs or vertical bars. Outer blanks belong to a name.

use std::path::{Component, PathBuf};

use arrow::array::RecordBatch;
use dnc_tables::{for_each_batch, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::ColumnNames;
use super::csv::{TextTable, text_table};
use super::dataset::Dataset;
use super::described_rows::DescribedRows;
use crate::decode::data_folder::DataFolder;
use crate::decode::error::DecodeError;
use crate::decode::listing::{FileListing, Listing};

/// A list of image files. Columns other than image and class are optional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// File of the list, relative to the root: Parquet, Arrow, or text such as CSV and TSV.
    pub file: PathBuf,
    /// Column with the image files, relative to the root or absolute, with `/` between folders.
    #[serde(default = "image")]
    pub image: String,
    /// Column with the class: text or whole numbers.
    #[serde(default = "class")]
    pub class: String,
    /// Column with the split: `train`, `validation`, `test`, `query` or `gallery`.
    #[serde(default = "split")]
    pub split: String,
    /// Column with the number of the camera.
    #[serde(default = "camera")]
    pub camera: String,
}

impl Dataset for List {
    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        if !self.file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            let path = self.file.display().to_string();
            return Err(DecodeError::OutsideRoot { what: "list", path, root: root.path().to_owned() });
        }
        let file = root.join(&self.file);
        let names = ColumnNames {
            image: self.image.clone(),
            class: self.class.clone(),
            split: self.split.clone(),
            source: self.image.clone(),
            camera: self.camera.clone(),
        };
        let mut images = FileListing::new(root);
        let mut before = 0;
        let mut add = |batch: &RecordBatch, names: &ColumnNames, text: Option<&TextTable>| {
            let rows = DescribedRows::new(batch, names, &file, before)?;
            for row in 0..batch.num_rows() {
                let path = rows.source(row);
                let found = match (text.and_then(|text| text.malformed.get(&row)), path) {
                    (Some(problem), _) => Err(problem.clone()),
                    (None, None) => Err("names no file".to_owned()),
                    (None, Some(path)) => rows.description(row).map(|found| (path, found)),
                };
                match found {
                    Ok((path, found)) => images.add(path, found.class, found.split, found.camera),
                    Err(problem) => {
                        let name = match text {
                            Some(text) => format!("Line {} of `{}`", text.lines[row], file.display()),
                            None => rows.name(row),
                        };
                        images.strays.add_broken(name, path.unwrap_or_default(), problem);
                    }
                }
            }
            before += batch.num_rows();
            Ok::<_, DecodeError>(())
        };
        match schema_of([file.as_path()])? {
            Some(schema) => {
                let found: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
                let names = names.as_found(&file, &found)?;
                for_each_batch(&file, |column| names.contains(column), &mut |batch| add(&batch, &names, None))?;
            }
            None => {
                let table = text_table(&file, &names)?;
                add(&table.batch, &table.names, Some(&table))?;
            }
        }
        if before == 0 {
            return Err(DecodeError::format(&file, "has headings but no rows, each of which names an image"));
        }
        Ok(images.finish(&[]))
    }
}

fn image() -> String {
    "image".to_owned()
}

fn class() -> String {
    "class".to_owned()
}

fn split() -> String {
    "split".to_owned()
}

fn camera() -> String {
    "camera".to_owned()
}
