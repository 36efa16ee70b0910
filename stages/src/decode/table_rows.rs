//! Images that are rows of Parquet files.

use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use dnc_tables::{ColumnReader, TableError};

use super::encoded::{EncodedImage, ImageReader};
use super::entry::Entry;
use super::error::DecodeError;

/// Rows that are read at once: enough for all threads, and little memory even if images are large.
const ROWS: usize = 64;

/// Reads images from the rows of Parquet files, one after the other.
pub struct TableRows {
    files: Vec<PathBuf>,
    column: String,
    next_file: usize,
    reader: Option<ColumnReader>,
    /// The current batch of rows and the number of its first row.
    batch: Option<(usize, ArrayRef)>,
    /// Number of the row after the current batch.
    end: usize,
}

impl TableRows {
    /// The image at position `n` is row `n`, counted through all `files`, of the column called `column`.
    pub fn new(files: Vec<PathBuf>, column: &str) -> Self {
        Self { files, column: column.to_owned(), next_file: 0, reader: None, batch: None, end: 0 }
    }

    /// The bytes in a row that is not before the current batch.
    fn bytes(&mut self, row: usize) -> Result<Vec<u8>, DecodeError> {
        while row >= self.end {
            self.advance()?;
        }
        let (first, column) = self.batch.as_ref().expect("rows before `end` are in the current batch");
        let column = column.as_binary::<i64>();
        if column.is_null(row - first) {
            let file = self.files[self.next_file - 1].clone();
            let (unit, problem) = ("Row", format!("has no value in the column `{}`", self.column));
            return Err(DecodeError::Row { unit, number: row, file, problem });
        }
        Ok(column.value(row - first).to_vec())
    }

    fn advance(&mut self) -> Result<(), DecodeError> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(ColumnReader::next) {
                let batch = batch?;
                let file = &self.files[self.next_file - 1];
                self.batch = Some((self.end, bytes_of(&batch, &self.column, file)?));
                self.end += batch.num_rows();
                return Ok(());
            }
            let Some(file) = self.files.get(self.next_file) else {
                let last = self.files.last().cloned().unwrap_or_default();
                return Err(DecodeError::format(&last, "has fewer rows than when it was listed"));
            };
            self.reader = Some(ColumnReader::open(file, &self.column, ROWS)?);
            self.next_file += 1;
        }
    }
}

impl ImageReader for TableRows {
    fn fetch(&mut self, entries: &[Entry]) -> Result<Vec<EncodedImage<'_>>, DecodeError> {
        entries.iter().map(|entry| Ok(EncodedImage::Bytes(self.bytes(entry.position)?))).collect()
    }

    fn name(&self, entry: &Entry) -> String {
        match self.files.as_slice() {
            [file] => format!("{}#{}", file.display(), entry.position),
            _ => entry.source.clone(),
        }
    }
}

/// The column of encoded images, which may be the field `bytes` of a struct.
fn bytes_of(batch: &RecordBatch, name: &str, file: &Path) -> Result<ArrayRef, DecodeError> {
    let missing = || DecodeError::MissingColumn {
        file: file.to_owned(),
        column: name.to_owned(),
        contents: "the bytes of image files",
    };
    let column = batch.column_by_name(name).ok_or_else(missing)?;
    let column = match column.data_type() {
        DataType::Struct(_) => column.as_struct().column_by_name("bytes").ok_or_else(missing)?,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => column,
        _ => return Err(missing()),
    };
    let cast = cast(column, &DataType::LargeBinary);
    Ok(cast.map_err(|source| TableError::arrow(format!("read the column `{name}` of `{}`", file.display()), source))?)
}
