//! Where the bytes of images come from: files, rows of Parquet, or one array of pixels.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use rayon::prelude::*;

use super::dataset::{Entry, Place};
use super::picture::{Limits, PictureError, Raster, decode};
use crate::context::KnownDigest;
use crate::error::StageError;
use crate::tables::RowReader;
use crate::tables::contents::Content;

/// Rows of Parquet that are read at a time: enough for all threads, and little memory even where images are large.
const ROWS: usize = 64;

/// Where the bytes of a data set's images come from.
pub enum Encoded {
    /// Each image is a file below this folder.
    Files(PathBuf),
    /// Each image is a row of these tables.
    Rows(Rows),
    /// Each image is `height × width` grey pixels of this array.
    Grey {
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
        /// `[images, height, width]`.
        pixels: Vec<u8>,
    },
}

/// Rows of tables, read one after the other.
pub struct Rows {
    files: Vec<PathBuf>,
    column: String,
    next_file: usize,
    reader: Option<RowReader>,
    /// The rows at hand and the number of the first of them.
    batch: Option<(usize, ArrayRef)>,
    /// Number of the row after those at hand.
    end: usize,
}

/// The bytes of one image, fetched or ready to be fetched by whoever decodes it.
pub enum Payload<'a> {
    /// The path of a file.
    File(PathBuf),
    /// An image file's bytes.
    Bytes(Vec<u8>),
    /// Grey pixels.
    Grey(usize, usize, &'a [u8]),
}

impl Encoded {
    /// Each image is a file below `root`.
    pub fn files(root: &Path) -> Self {
        Encoded::Files(root.to_path_buf())
    }

    /// Each image is a row of these Parquet files, in the column called `column`.
    pub fn rows(files: Vec<PathBuf>, column: &str) -> Self {
        let column = column.to_owned();
        Encoded::Rows(Rows { files, column, next_file: 0, reader: None, batch: None, end: 0 })
    }

    /// What is needed to decode these entries, which lie behind those asked for before.
    ///
    /// # Errors
    /// A table cannot be read, or a row has no image.
    pub fn fetch(&mut self, entries: &[Entry]) -> Result<Vec<Payload<'_>>, StageError> {
        match self {
            Encoded::Files(root) => Ok(entries.iter().map(|entry| Payload::File(root.join(file_of(entry)))).collect()),
            Encoded::Rows(rows) => entries.iter().map(|entry| Ok(Payload::Bytes(rows.get(row_of(entry))?))).collect(),
            Encoded::Grey { height, width, pixels } => {
                let size = *height * *width;
                let grey = |entry| Payload::Grey(*height, *width, &pixels[row_of(entry) * size..][..size]);
                Ok(entries.iter().map(grey).collect())
            }
        }
    }

    /// The digest of each entry's bytes, where they lie in a file of their own; only files whose digest is not `known` are
    /// read. `None` also where a file cannot be read, which whoever decodes it will tell.
    pub fn contents(&self, entries: &[Entry], known: KnownDigest<'_>, limits: Limits) -> Vec<Option<Content>> {
        let Encoded::Files(root) = self else { return vec![None; entries.len()] };
        let content = |entry: &Entry| {
            let path = root.join(file_of(entry));
            known(&path).or_else(|| Some(Payload::File(path).read(limits).ok()?.content()))
        };
        entries.par_iter().map(content).collect()
    }

    /// What messages call the image of an entry.
    pub fn name(&self, entry: &Entry) -> String {
        match (self, &entry.place) {
            (Encoded::Files(root), Place::File(path)) => root.join(path).display().to_string(),
            (Encoded::Rows(rows), Place::Row(row)) if rows.files.len() == 1 => {
                format!("{}#{row}", rows.files[0].display())
            }
            _ => entry.source.clone(),
        }
    }
}

impl Payload<'_> {
    /// The same with its bytes in memory.
    ///
    /// # Errors
    /// The file cannot be read, or is larger than the limits allow.
    pub fn read(self, limits: Limits) -> Result<Self, Undecoded> {
        let Payload::File(path) = self else { return Ok(self) };
        let length = fs::metadata(&path)?.len();
        if length > limits.bytes {
            return Err(PictureError::Limit { found: length, unit: "bytes", limit: limits.bytes }.into());
        }
        Ok(Payload::Bytes(fs::read(&path)?))
    }

    /// The digest of the bytes that were read.
    pub fn content(&self) -> [u8; 32] {
        let bytes = match self {
            Payload::File(_) => &[],
            Payload::Bytes(bytes) => bytes.as_slice(),
            Payload::Grey(_, _, pixels) => pixels,
        };
        *blake3::hash(bytes).as_bytes()
    }

    /// The picture. The memory of `spare` may be used again for it.
    ///
    /// # Errors
    /// The file cannot be read, or its bytes are no picture.
    pub fn decode(self, background: [u8; 3], limits: Limits, spare: Vec<u8>) -> Result<Raster, Undecoded> {
        match self.read(limits)? {
            Payload::File(_) => unreachable!("a file's bytes were just read"),
            Payload::Bytes(bytes) => Ok(decode(&bytes, background, limits, spare)?),
            Payload::Grey(height, width, pixels) => {
                let pixels = pixels.iter().flat_map(|&value| [value; 3]).collect();
                Ok(Raster { height, width, pixels })
            }
        }
    }
}

/// Why an image has no pixels; the message goes behind its name.
#[derive(Debug, thiserror::Error)]
pub enum Undecoded {
    /// Its file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// Its bytes are no picture.
    #[error(transparent)]
    NoPicture(#[from] PictureError),
}

impl Rows {
    /// The bytes in a row at or behind the last one asked for.
    fn get(&mut self, row: usize) -> Result<Vec<u8>, StageError> {
        while row >= self.end {
            self.advance()?;
        }
        let (first, column) = self.batch.as_ref().expect("rows before `end` are at hand");
        let column = column.as_binary::<i64>();
        if column.is_null(row - first) {
            return Err(StageError::input(format!("Row {row} has no image")));
        }
        Ok(column.value(row - first).to_vec())
    }

    fn advance(&mut self) -> Result<(), StageError> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(RowReader::next) {
                let batch = batch?;
                let file = &self.files[self.next_file - 1];
                self.batch = Some((self.end, bytes_of(&batch, &self.column, file)?));
                self.end += batch.num_rows();
                return Ok(());
            }
            let file = self
                .files
                .get(self.next_file)
                .ok_or_else(|| StageError::input("The tables have fewer rows than before"))?;
            self.reader = Some(RowReader::open(file, &self.column, ROWS)?);
            self.next_file += 1;
        }
    }
}

/// The column of image files' bytes, which may lie in a struct.
fn bytes_of(batch: &RecordBatch, name: &str, file: &Path) -> Result<ArrayRef, StageError> {
    let missing = || StageError::input(format!("`{}` has no column `{name}` of images' bytes", file.display()));
    let column = batch.column_by_name(name).ok_or_else(missing)?;
    let column = match column.data_type() {
        DataType::Struct(_) => column.as_struct().column_by_name("bytes").ok_or_else(missing)?,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => column,
        _ => return Err(missing()),
    };
    cast(column, &DataType::LargeBinary)
        .map_err(|source| StageError::table(format!("read the column `{name}` of `{}`", file.display()), source))
}

fn file_of(entry: &Entry) -> &Path {
    match &entry.place {
        Place::File(path) => path,
        Place::Row(_) => unreachable!("a data set of files lists files"),
    }
}

fn row_of(entry: &Entry) -> usize {
    match entry.place {
        Place::Row(row) => row,
        Place::File(_) => unreachable!("a data set of rows lists rows"),
    }
}
