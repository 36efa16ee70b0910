//! Data summary: what a data set contains, what was left out of it and why, and what in it is suspicious.
//!
//! A row is a count ([`Subject::Split`], [`Subject::Class`]), a single finding with the file that it is about, or a warning. A
//! warning is a sentence about all findings of a subject, which every run shows: its row has no `source`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::types::{UInt32Type, UInt64Type};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray, StringDictionaryBuilder, UInt64Array};
use arrow::datatypes::DataType;

use crate::artifact::OutputArtifact;
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, category, column, optional};
use crate::split::Split;
use crate::table::Table;
use crate::write::write_table;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The images of a split; `class` is null.
    Split,
    /// The classes of a split: `count` is their number.
    Classes,
    /// The images of a class in a split.
    Class,
    /// An image that could not be read.
    Skipped,
    /// A file or folder that is no image of the data set.
    PassedOver,
    /// Images with the same pixels, of one class and not divided between training and evaluation.
    Duplicate,
    /// Images with the same pixels in several classes.
    Conflict,
    /// Images with the same pixels in training and in evaluation.
    Leak,
    /// A class in training and in evaluation.
    SharedClass,
    /// Queries for which there is no image of the same class to find.
    Unmatched,
    /// A split whose numbers are not those that were published.
    Published,
    /// Classes whose names differ only in case or outer blanks.
    SimilarClasses,
    /// Images without a camera among images with one.
    NoCamera,
    /// A split on which every model scores the same.
    Degenerate,
}

impl Subject {
    /// All subjects, in the order of the table.
    pub const ALL: [Subject; 14] = [
        Subject::Split,
        Subject::Classes,
        Subject::Class,
        Subject::Skipped,
        Subject::PassedOver,
        Subject::Duplicate,
        Subject::Conflict,
        Subject::Leak,
        Subject::SharedClass,
        Subject::Unmatched,
        Subject::Published,
        Subject::SimilarClasses,
        Subject::NoCamera,
        Subject::Degenerate,
    ];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Split => "split",
            Subject::Classes => "classes",
            Subject::Class => "class",
            Subject::Skipped => "skipped",
            Subject::PassedOver => "passed_over",
            Subject::Duplicate => "duplicate",
            Subject::Conflict => "conflict",
            Subject::Leak => "leak",
            Subject::SharedClass => "shared_class",
            Subject::Unmatched => "unmatched",
            Subject::Published => "published",
            Subject::SimilarClasses => "similar_classes",
            Subject::NoCamera => "no_camera",
            Subject::Degenerate => "degenerate",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The schema of the table.
pub fn schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Summary,
        "summary",
        vec![
            column("subject", category(), "none", "what the row is about: `split`, `class`, `skipped`, `leak` …"),
            column("warning", DataType::Boolean, "none", "whether every run shows the message"),
            optional("split", category(), "none", "the split concerned; null if none or several"),
            optional("class", DataType::Utf8, "none", "name of the class concerned; null if none or several"),
            column("count", DataType::UInt64, "depends on the subject", "number of images, classes or files"),
            optional("source", DataType::Utf8, "none", "the first file or image concerned, as in the table of images"),
            optional("message", DataType::Utf8, "none", "reason, other files concerned, or the text of the warning"),
        ],
    )
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// What the row is about.
    pub subject: Subject,
    /// Whether every run shows the message.
    pub is_warning: bool,
    /// The split concerned.
    pub split: Option<Split>,
    /// The class concerned.
    pub class: Option<String>,
    /// Number of images, classes or files.
    pub count: u64,
    /// The first file or image concerned.
    pub source: Option<String>,
    /// Reason, other files concerned, or the text of the warning.
    pub message: Option<String>,
}

impl SummaryRow {
    /// A count or a finding.
    pub fn new(subject: Subject, count: usize) -> Self {
        Self { subject, is_warning: false, split: None, class: None, count: count as u64, source: None, message: None }
    }

    /// A warning.
    pub fn warning(subject: Subject, count: usize, message: String) -> Self {
        Self { is_warning: true, message: Some(message), ..Self::new(subject, count) }
    }
}

/// Writes the table.
///
/// # Errors
/// The file cannot be written.
pub fn write(output: &mut OutputArtifact, rows: &[SummaryRow]) -> Result<(), TableError> {
    let schema = schema();
    let (mut subjects, mut splits) =
        (StringDictionaryBuilder::<UInt32Type>::new(), StringDictionaryBuilder::<UInt32Type>::new());
    for row in rows {
        subjects.append_value(row.subject.name());
        splits.append_option(row.split.map(Split::name));
    }
    let texts = |text: fn(&SummaryRow) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(text).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(subjects.finish()),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.is_warning)))),
        Arc::new(splits.finish()),
        texts(|row| row.class.as_deref()),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.count))),
        texts(|row| row.source.as_deref()),
        texts(|row| row.message.as_deref()),
    ];
    write_table(output, &schema, Form::Parquet, &batch(&schema.columns, columns)?)
}

/// Reads the table in the file at `path`. Rows about a subject that a later version added are left out.
///
/// # Errors
/// The file is damaged or is not such a table.
pub fn read(path: &Path) -> Result<Vec<SummaryRow>, TableError> {
    let table = Table::read_file(path, schema())?;
    let subjects = table.texts("subject")?;
    let warnings = table.array("warning")?.as_boolean();
    let splits = table.array("split")?.as_dictionary::<UInt32Type>();
    let split_names = splits.values().as_string::<i32>();
    let counts = table.numbers::<UInt64Type>("count")?;
    let text = |name: &str| table.array(name).map(|column| column.as_string::<i32>());
    let (classes, sources, messages) = (text("class")?, text("source")?, text("message")?);
    let owned = |column: &StringArray, row: usize| column.is_valid(row).then(|| column.value(row).to_owned());
    let mut rows = Vec::with_capacity(table.len());
    for (row, name) in subjects.enumerate() {
        let Some(subject) = Subject::ALL.into_iter().find(|subject| subject.name() == name) else { continue };
        let split = splits.is_valid(row).then(|| split_names.value(splits.keys().value(row) as usize).parse());
        rows.push(SummaryRow {
            subject,
            is_warning: warnings.value(row),
            split: split.transpose()?,
            class: owned(classes, row),
            count: counts.value(row),
            source: owned(sources, row),
            message: owned(messages, row),
        });
    }
    Ok(rows)
}

/// The warnings in the table in the file at `path`.
///
/// # Errors
/// The file is damaged or is not such a table.
pub fn warnings(path: &Path) -> Result<Vec<String>, TableError> {
    let warnings = read(path)?.into_iter().filter(|row| row.is_warning);
    Ok(warnings.filter_map(|row| row.message).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = OutputArtifact::new(folder.path().to_owned());
        let rows = [
            SummaryRow { split: Some(Split::Train), ..SummaryRow::new(Subject::Split, 7) },
            SummaryRow {
                split: Some(Split::Query),
                class: Some("cat".into()),
                source: Some("cat/1.png".into()),
                ..SummaryRow::new(Subject::Class, 1)
            },
            SummaryRow::warning(Subject::Leak, 2, "2 pictures …".into()),
        ];
        write(&mut output, &rows).unwrap();
        let path = folder.path().join("summary.parquet");
        assert_eq!(read(&path).unwrap(), rows);
        assert_eq!(warnings(&path).unwrap(), ["2 pictures …"]);
        write(&mut output, &[]).unwrap();
        assert!(read(&path).unwrap().is_empty());
    }
}
