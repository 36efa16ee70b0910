//! CSV and TSV files as tables of text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, iter};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use csv_core::ReadRecordResult;
use dnc_tables::TableError;

use super::columns::ColumnNames;
use crate::decode::error::DecodeError;

/// What may stand between values, in the order in which it is tried.
pub const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A table of text columns.
pub(super) struct TextTable {
    /// The named columns, as far as the file has them, with its spelling. Empty values are nulls.
    pub(super) batch: RecordBatch,
    /// The names of the columns in the spelling of the file.
    pub(super) names: ColumnNames,
    /// The line of the file that each row ends on, counted from 1.
    pub(super) lines: Vec<usize>,
    /// What is wrong with rows whose values are not as many as the headings, by number; all of their values are nulls.
    pub(super) malformed: BTreeMap<usize, String>,
}

/// Reads the columns `names` of a CSV or TSV file. Values are separated by the first of commas, semicolons, tabs and vertical bars
/// with which the headings are those that are looked for; tabs come first if the file is called `.tsv`.
///
/// # Errors
/// The file cannot be read, is empty, is not UTF-8, or lacks the column of images or of classes.
pub(super) fn text_table(file: &Path, names: &ColumnNames) -> Result<TextTable, DecodeError> {
    let bytes = fs::read(file).map_err(|source| DecodeError::file("read", file, source))?;
    let malformed = |problem: String| DecodeError::format(file, problem);
    let text = str::from_utf8(&bytes).map_err(|error| {
        let hint =
            if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) { " but UTF-16" } else { "" };
        malformed(format!("is not UTF-8{hint} (byte {}); save it as UTF-8", error.valid_up_to()))
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let is_tsv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
    let mut delimiters = DELIMITERS;
    delimiters.sort_by_key(|&delimiter| is_tsv && delimiter != b'\t');
    let mut best: Option<(usize, DecodeError)> = None;
    for delimiter in delimiters {
        let mut records = Records::new(text.as_bytes(), delimiter);
        let (_, headings) = records.next().ok_or_else(|| malformed("is empty".to_owned()))?;
        let headings: Vec<String> = headings.into_iter().map(|heading| heading.trim().to_owned()).collect();
        match names.as_found(file, &headings) {
            Ok(names) => {
                check_quotes(file, text, delimiter)?;
                return read_rows(file, headings, names, records);
            }
            // The error to report is that of the delimiter that finds most headings.
            Err(error) if best.as_ref().is_none_or(|(count, _)| headings.len() > *count) => {
                best = Some((headings.len(), error));
            }
            Err(_) => {}
        }
    }
    Err(best.map_or_else(|| malformed("is empty".to_owned()), |(_, error)| error))
}

fn read_rows(
    file: &Path,
    headings: Vec<String>,
    names: ColumnNames,
    records: Records<'_>,
) -> Result<TextTable, DecodeError> {
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); headings.len()];
    let (mut lines, mut malformed) = (Vec::new(), BTreeMap::new());
    for (row, (line, record)) in records.enumerate() {
        lines.push(line);
        let is_complete = record.len() == headings.len();
        if !is_complete {
            malformed.insert(row, format!("has {} values, but there are {} headings", record.len(), headings.len()));
        }
        let values =
            record.into_iter().map(|value| Some(value).filter(|value| is_complete && !value.trim().is_empty()));
        for (column, value) in columns.iter_mut().zip(values.chain(iter::repeat(None))) {
            column.push(value);
        }
    }
    let named = headings.into_iter().zip(columns).filter(|(name, _)| names.contains(name));
    let arrays = named.map(|(name, values)| (name, Arc::new(StringArray::from(values)) as ArrayRef, true));
    let batch = RecordBatch::try_from_iter_with_nullable(arrays);
    let batch = batch.map_err(|source| TableError::arrow(format!("read `{}`", file.display()), source))?;
    Ok(TextTable { batch, names, lines, malformed })
}

/// Refuses a text that ends within quotes: what follows the quote is one long value, so that its rows would be lost.
///
/// # Errors
/// Names the line with the quote.
pub(in crate::decode) fn check_quotes(file: &Path, text: &str, delimiter: u8) -> Result<(), DecodeError> {
    /// Where a byte is read.
    #[derive(Clone, Copy)]
    enum At {
        Start,
        Plain,
        Quoted,
        /// Behind a quote in a quoted value, which ends it unless another quote follows.
        Closed,
    }
    let (mut at, mut line, mut opened) = (At::Start, 1, 1);
    for byte in text.bytes() {
        at = match (at, byte) {
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, _) | (At::Closed, b'"') => At::Quoted,
            (At::Start, b'"') => {
                opened = line;
                At::Quoted
            }
            (_, b'\n' | b'\r') => At::Start,
            (_, byte) if byte == delimiter => At::Start,
            _ => At::Plain,
        };
        line += usize::from(byte == b'\n');
    }
    match at {
        At::Quoted => {
            let problem = "has a value that begins with a quote and never ends; close the quote, or write `\"\"` for one \
                           that belongs to the value";
            Err(DecodeError::Row { unit: "Line", number: opened, file: file.to_owned(), problem: problem.to_owned() })
        }
        At::Start | At::Plain | At::Closed => Ok(()),
    }
}

/// The records of a text: lists of values.
pub fn records(text: &[u8], delimiter: u8) -> impl Iterator<Item = Vec<String>> {
    Records::new(text, delimiter).map(|(_, record)| record)
}

/// The records of a text, as they are read, each with the line that it ends on.
struct Records<'a> {
    reader: csv_core::Reader,
    text: &'a [u8],
    left: &'a [u8],
    /// The line that the last record ended on, and the position of its end in the text.
    line: usize,
    end: usize,
    values: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Records<'a> {
    fn new(text: &'a [u8], delimiter: u8) -> Self {
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        // No record is longer than the text, or has more than one value more than the text has bytes.
        let (values, ends) = (vec![0; text.len()], vec![0; text.len() + 1]);
        Self { reader, text, left: text, line: 1, end: 0, values, ends }
    }
}

impl Iterator for Records<'_> {
    type Item = (usize, Vec<String>);

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
        // What was read may include the end of the line, and blank lines before the record.
        let read = &self.text[self.end..self.text.len() - self.left.len()];
        let length = read.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        self.line += read[..length].iter().filter(|&&byte| byte == b'\n').count();
        self.end += length;
        let starts = iter::once(0).chain(self.ends.iter().copied());
        let values = starts.zip(&self.ends[..count]).map(|(start, &end)| {
            // Removing quotes and delimiters, which are ASCII, leaves UTF-8.
            String::from_utf8_lossy(&self.values[start..end]).into_owned()
        });
        Some((self.line, values.collect()))
    }
}
