//! A list of image files with their classes: CSV, TSV, Parquet or Arrow.
//!
//! The list and the files lie below the root; a row names its file relative to the root. Rows are counted from 0, behind
//! the line of names that a CSV or TSV file begins with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, iter};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use csv_core::ReadRecordResult;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::described::{Described, Names};
use super::{Classes, Entry, Listing, leads_outside};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::batches_of;

/// A list of image files. A column besides image and class is read where it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The list's own file, relative to the root: `.csv`, `.tsv`, or else Parquet or Arrow.
    pub file: PathBuf,
    /// The column of the files, relative to the root, with `/` between folders.
    #[serde(default = "image")]
    pub image: String,
    /// The column of the class: text or whole numbers.
    #[serde(default = "class")]
    pub class: String,
    /// The column of the split.
    #[serde(default = "split")]
    pub split: String,
    /// The column of the camera's number.
    #[serde(default = "camera")]
    pub camera: String,
}

impl List {
    pub(super) fn list(&self, root: &Path) -> Result<Listing, StageError> {
        if leads_outside(&self.file) {
            let (file, root) = (self.file.display(), root.display());
            return Err(StageError::input(format!("The list `{file}` lies outside `{root}`")));
        }
        let file = root.join(&self.file);
        let names = Names { class: &self.class, split: &self.split, source: &self.image, camera: &self.camera };
        let columns = [&self.class, &self.split, &self.image, &self.camera];
        let mut classes = Classes::default();
        let mut entries = Vec::new();
        rows_of(&file, |column| columns.iter().any(|wanted| *wanted == column), &mut |batch| {
            if batch.column_by_name(&self.image).is_none() {
                let message = format!("`{}` has no column `{}` of files", file.display(), self.image);
                return Err(StageError::input(message));
            }
            let rows = Described::of(&batch, &names, &file, entries.len())?;
            for row in 0..batch.num_rows() {
                let path = rows.source(row).ok_or_else(|| rows.wrong(row, "names no file"))?;
                let class = classes.place(rows.class(row)?);
                entries.push(Entry::file(class, rows.split(row)?, rows.camera(row), path));
            }
            Ok(())
        })?;
        Ok(Listing { entries, classes: classes.into_names(), encoded: Encoded::files(root), expected: Vec::new() })
    }
}

/// Hands the rows of a list to `each`, a batch at a time, with only the `wanted` columns.
fn rows_of(
    file: &Path,
    wanted: impl Fn(&str) -> bool,
    each: &mut dyn FnMut(RecordBatch) -> Result<(), StageError>,
) -> Result<(), StageError> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => each(text_table(file, b',', wanted)?),
        Some("tsv") => each(text_table(file, b'\t', wanted)?),
        _ => batches_of(file, wanted, each),
    }
}

/// A CSV or TSV file as a table of texts, in which what is empty is missing.
fn text_table(file: &Path, delimiter: u8, wanted: impl Fn(&str) -> bool) -> Result<RecordBatch, StageError> {
    let bytes = fs::read(file).map_err(|source| StageError::file("read", file, source))?;
    let mut records = Records::new(&bytes, delimiter);
    let wrong = |problem: String| StageError::input(format!("`{}` {problem}", file.display()));
    let heads = records.next().ok_or_else(|| wrong("is empty".to_owned()))?.map_err(wrong)?;
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); heads.len()];
    for (row, record) in records.enumerate() {
        let record = record.map_err(|problem| wrong(format!("{problem} in row {row}")))?;
        if record.len() != heads.len() {
            let (found, expected) = (record.len(), heads.len());
            return Err(wrong(format!("has {found} values in row {row} but {expected} names of columns")));
        }
        for (column, value) in columns.iter_mut().zip(record) {
            column.push(Some(value).filter(|value| !value.is_empty()));
        }
    }
    let named = heads.into_iter().zip(columns).filter(|(name, _)| wanted(name));
    let arrays = named.map(|(name, values)| (name, Arc::new(StringArray::from(values)) as ArrayRef, true));
    RecordBatch::try_from_iter_with_nullable(arrays)
        .map_err(|source| StageError::table(format!("read `{}`", file.display()), source))
}

/// The records of a text, each a list of trimmed values.
struct Records<'a> {
    reader: csv_core::Reader,
    left: &'a [u8],
    values: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Records<'a> {
    fn new(text: &'a [u8], delimiter: u8) -> Self {
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        // No record is longer than the text, nor has more values than bytes and one.
        Self { reader, left: text, values: vec![0; text.len()], ends: vec![0; text.len() + 1] }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<String>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut written, mut count) = (0, 0);
        loop {
            let (result, read, wrote, ended) =
                self.reader.read_record(self.left, &mut self.values[written..], &mut self.ends[count..]);
            self.left = &self.left[read..];
            (written, count) = (written + wrote, count + ended);
            match result {
                // An empty input says that there is no more; then the last record is told.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return None,
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    unreachable!("there is room for the whole text")
                }
            }
        }
        let starts = iter::once(0).chain(self.ends.iter().copied());
        let values = starts.zip(&self.ends[..count]).map(|(start, &end)| {
            let value = str::from_utf8(&self.values[start..end]).map_err(|_| "is not UTF-8".to_owned())?;
            Ok(value.trim().to_owned())
        });
        Some(values.collect())
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
