//! Images that are rows of Parquet files.

use std::path::{Path, PathBuf};

use arrow::array::types::UInt8Type;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use dnc_tables::{ColumnReader, TableError};

use super::encoded::{EncodedImage, ImageReader};
use super::entry::Entry;
use super::error::DecodeError;

/// Rows that are read at once: enough for all threads, and little memory even if images are large.
const ROWS: usize = 64;

/// Reads images from the rows of Parquet files, one after the other.
pub struct TableRows {
    /// The files, each with the name of its column of images.
    files: Vec<(PathBuf, String)>,
    next_file: usize,
    reader: Option<ColumnReader>,
    /// The current batch of rows and the number of its first row.
    batch: Option<(usize, ArrayRef)>,
    /// Number of the row after the current batch.
    end: usize,
}

impl TableRows {
    /// The image at position `n` is row `n`, counted through all `files`, of the column that is named with the file.
    pub fn new(files: Vec<(PathBuf, String)>) -> Self {
        Self { files, next_file: 0, reader: None, batch: None, end: 0 }
    }

    /// The image in a row that is not before the current batch.
    fn image(&mut self, row: usize) -> Result<EncodedImage<'static>, DecodeError> {
        while row >= self.end {
            self.advance()?;
        }
        let (first, column) = self.batch.as_ref().expect("rows before `end` are in the current batch");
        let bytes = bytes_in(column, row - first);
        let column = &self.files[self.next_file - 1].1;
        Ok(bytes.map_or_else(
            || EncodedImage::Missing(format!("has no bytes in the column `{column}`")),
            EncodedImage::Bytes,
        ))
    }

    fn advance(&mut self) -> Result<(), DecodeError> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(ColumnReader::next) {
                let batch = batch?;
                let (file, column) = &self.files[self.next_file - 1];
                self.batch = Some((self.end, images_of(&batch, column, file)?));
                self.end += batch.num_rows();
                return Ok(());
            }
            let Some((file, column)) = self.files.get(self.next_file) else {
                let last = self.files.last().map(|(file, _)| file.clone()).unwrap_or_default();
                return Err(DecodeError::format(&last, "has fewer rows than when it was listed"));
            };
            self.reader = Some(ColumnReader::open(file, column, ROWS)?);
            self.next_file += 1;
        }
    }
}

impl ImageReader for TableRows {
    fn fetch(&mut self, entries: &[Entry]) -> Result<Vec<EncodedImage<'_>>, DecodeError> {
        entries.iter().map(|entry| self.image(entry.position)).collect()
    }

    fn name(&self, entry: &Entry) -> String {
        match self.files.as_slice() {
            [(file, _)] => format!("{}#{}", file.display(), entry.position),
            _ => entry.source.clone(),
        }
    }
}

/// Checks that the column can hold encoded images.
///
/// # Errors
/// It cannot; the message says what it holds.
pub(super) fn check_type(schema: &Schema, column: &str, file: &Path) -> Result<(), DecodeError> {
    let Ok(field) = schema.field_with_name(column) else { return Ok(()) };
    if encoded(field).is_some() {
        return Ok(());
    }
    let values = match field.data_type() {
        DataType::Dictionary(_, values) => values,
        plain => plain,
    };
    let is_text = matches!(values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let advice = if is_text {
        "; if it names image files, use `dataset = { kind = \"list\", file = … }`"
    } else {
        "; name the column of image bytes as `image` in `dataset`"
    };
    let problem = format!(
        "has a column `{column}` of type {}, but the bytes of image files are expected: binary, a list of `u8`, or a struct \
         with such a field `bytes`{advice}",
        field.data_type()
    );
    Err(DecodeError::format(file, problem))
}

/// The type of the encoded images in a column, if it can hold any.
fn encoded(field: &Field) -> Option<&DataType> {
    let is_bytes = |data_type: &DataType| match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::List(item) | DataType::LargeList(item) => item.data_type() == &DataType::UInt8,
        _ => false,
    };
    match field.data_type() {
        DataType::Struct(fields) => fields
            .iter()
            .find(|field| field.name() == "bytes")
            .map(|field| field.data_type())
            .filter(|data| is_bytes(data)),
        DataType::Dictionary(_, values) => Some(&**values).filter(|values| is_bytes(values)),
        data_type => is_bytes(data_type).then_some(data_type),
    }
}

/// The column of encoded images: `binary` or a list of `u8`.
fn images_of(batch: &RecordBatch, name: &str, file: &Path) -> Result<ArrayRef, DecodeError> {
    check_type(&batch.schema(), name, file)?;
    let failed = |source| TableError::arrow(format!("read the column `{name}` of `{}`", file.display()), source);
    let column =
        batch.column_by_name(name).ok_or_else(|| DecodeError::format(file, format!("has lost its column `{name}`")))?;
    let inner = match column.data_type() {
        DataType::Struct(_) => column.as_struct().column_by_name("bytes").unwrap_or(column),
        _ => column,
    };
    Ok(match inner.data_type() {
        DataType::List(item) => cast(inner, &DataType::LargeList(item.clone())).map_err(failed)?,
        DataType::LargeList(_) => inner.clone(),
        _ => cast(inner, &DataType::LargeBinary).map_err(failed)?,
    })
}

/// The bytes in a row of such a column, unless it is null.
fn bytes_in(column: &ArrayRef, row: usize) -> Option<Vec<u8>> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::LargeList(_) => column.as_list::<i64>().value(row).as_primitive::<UInt8Type>().values().to_vec(),
        _ => column.as_binary::<i64>().value(row).to_vec(),
    })
}
