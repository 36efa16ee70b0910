//! CSV and TSV files as tables of text.

use std::path::Path;
use std::sync::Arc;
use std::{fs, iter};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use csv_core::ReadRecordResult;
use dnc_tables::TableError;

use crate::decode::error::DecodeError;

/// Reads a CSV or TSV file as a table of text columns, of which only the `wanted` ones are kept. Empty values are nulls.
///
/// # Errors
/// The file cannot be read, is empty, is not UTF-8, or a row has more or fewer values than there are headings.
pub(super) fn text_table(
    file: &Path,
    delimiter: u8,
    wanted: impl Fn(&str) -> bool,
) -> Result<RecordBatch, DecodeError> {
    let bytes = fs::read(file).map_err(|source| DecodeError::file("read", file, source))?;
    let mut records = Records::new(&bytes, delimiter);
    let malformed = |problem: String| DecodeError::format(file, problem);
    let headings = records.next().ok_or_else(|| malformed("is empty".to_owned()))?.map_err(malformed)?;
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); headings.len()];
    for (row, record) in records.enumerate() {
        let record = record.map_err(|problem| malformed(format!("{problem} in row {row}")))?;
        if record.len() != headings.len() {
            let (found, expected) = (record.len(), headings.len());
            return Err(malformed(format!("has {found} values in row {row} but {expected} headings")));
        }
        for (column, value) in columns.iter_mut().zip(record) {
            column.push(Some(value).filter(|value| !value.is_empty()));
        }
    }
    let named = headings.into_iter().zip(columns).filter(|(name, _)| wanted(name));
    let arrays = named.map(|(name, values)| (name, Arc::new(StringArray::from(values)) as ArrayRef, true));
    let table = RecordBatch::try_from_iter_with_nullable(arrays);
    Ok(table.map_err(|source| TableError::arrow(format!("read `{}`", file.display()), source))?)
}

/// The records of a text: lists of trimmed values.
struct Records<'a> {
    reader: csv_core::Reader,
    left: &'a [u8],
    values: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Records<'a> {
    fn new(text: &'a [u8], delimiter: u8) -> Self {
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        // No record is longer than the text, or has more than one value more than the text has bytes.
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
                // At the end of the input, the next call returns the last record.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return None,
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    unreachable!("the buffers have room for the whole text")
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
