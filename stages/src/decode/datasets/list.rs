//! A list of image files with their classes: CSV, TSV, Parquet or Arrow.
//!
//! The list and the files are below the root; each row names its file relative to the root. Rows are counted from 0, without
//! the line of headings of a CSV or TSV file.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use dnc_tables::for_each_batch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::csv::text_table;
use super::dataset::Dataset;
use super::described_rows::{ColumnNames, DescribedRows};
use crate::decode::error::DecodeError;
use crate::decode::listing::{FileListing, Listing, leads_outside};

/// A list of image files. Columns other than image and class are optional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// File of the list, relative to the root: `.csv`, `.tsv`, or else Parquet or Arrow.
    pub file: PathBuf,
    /// Column with the image files, relative to the root, with `/` between folders.
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
    fn list(&self, root: &Path) -> Result<Listing, DecodeError> {
        if leads_outside(&self.file) {
            let path = self.file.display().to_string();
            return Err(DecodeError::OutsideRoot { what: "list", path, root: root.to_owned() });
        }
        let file = root.join(&self.file);
        let names = ColumnNames { class: &self.class, split: &self.split, source: &self.image, camera: &self.camera };
        let columns = [&self.class, &self.split, &self.image, &self.camera];
        let mut images = FileListing::new(root);
        for_each_part(&file, |column| columns.iter().any(|wanted| *wanted == column), &mut |batch| {
            if batch.column_by_name(&self.image).is_none() {
                let (file, column) = (file.clone(), self.image.clone());
                return Err(DecodeError::MissingColumn { file, column, contents: "the image files" });
            }
            let rows = DescribedRows::new(&batch, &names, &file, images.len())?;
            for row in 0..batch.num_rows() {
                let path = rows.source(row).ok_or_else(|| rows.error(row, "names no file"))?;
                images.add(path, rows.class(row)?, rows.split(row)?, rows.camera(row));
            }
            Ok(())
        })?;
        images.finish(&[])
    }
}

/// Calls `each` with the rows of a list, batch by batch, in only the `wanted` columns.
fn for_each_part(
    file: &Path,
    wanted: impl Fn(&str) -> bool,
    each: &mut dyn FnMut(RecordBatch) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => each(text_table(file, b',', wanted)?),
        Some("tsv") => each(text_table(file, b'\t', wanted)?),
        _ => for_each_batch(file, wanted, each),
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
