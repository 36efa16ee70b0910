//! Corrected labels: a CSV file with the columns `source` and `class`, and any others, which names images and their right classes.
//!
//! An image whose class is empty belongs to none, and is left out. Images are named as in the column `source` of the table of images.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::datasets::{check_quotes, csv_records};
use super::entry::Entry;
use super::error::DecodeError;

/// The columns of a file that this program writes. Only the first two are read by `decode`.
const COLUMNS: [&str; 4] = ["source", "class", "was", "id"];

/// A corrected label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correction {
    /// Origin of the image, as in the table of images.
    pub source: String,
    /// Its right class; empty if it belongs to none.
    pub class: String,
    /// The class that the data set gives it; empty if the file does not say.
    pub was: String,
    /// Its id in the table of images that was looked at; 0 if the file does not say.
    pub id: u32,
}

/// Reads the corrections in a file.
///
/// # Errors
/// The file cannot be read, is no CSV file with the columns `source` and `class`, or corrects an image twice.
pub fn read(file: &Path) -> Result<Vec<Correction>, DecodeError> {
    let bytes = fs::read(file).map_err(|source| DecodeError::file("read", file, source))?;
    let text = str::from_utf8(&bytes).map_err(|_| DecodeError::format(file, "is not UTF-8; save it as UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}');
    check_quotes(file, text, b',')?;
    let mut records = csv_records(text.as_bytes(), b',');
    let headings = records.next().unwrap_or_default();
    let find = |name: &str| headings.iter().position(|heading| heading.trim().eq_ignore_ascii_case(name));
    let needed = |name: &str| {
        let missing =
            || DecodeError::format(file, format!("has no column `{name}`; corrections have `source` and `class`"));
        find(name).ok_or_else(missing)
    };
    let (source, class) = (needed("source")?, needed("class")?);
    let (was, id) = (find("was"), find("id"));
    let mut corrections = Vec::new();
    let mut first: HashMap<String, usize> = HashMap::new();
    for (row, record) in records.enumerate() {
        let number = row + 1;
        let wrong = |problem: String| DecodeError::Row { unit: "Row", number, file: file.to_owned(), problem };
        if record.len() != headings.len() {
            return Err(wrong(format!("has {} values, but there are {} headings", record.len(), headings.len())));
        }
        let value = |column: Option<usize>| column.map(|column| record[column].clone()).unwrap_or_default();
        let correction = Correction {
            source: value(Some(source)),
            class: value(Some(class)).trim().to_owned(),
            was: value(was),
            id: value(id).trim().parse().unwrap_or_default(),
        };
        if let Some(earlier) = first.insert(correction.source.clone(), number) {
            return Err(wrong(format!(
                "corrects `{}` again, which row {earlier} corrects; keep one of them",
                correction.source
            )));
        }
        corrections.push(correction);
    }
    Ok(corrections)
}

/// The text of a file with these corrections.
pub fn to_csv(corrections: &[Correction]) -> String {
    let quoted = |text: &str| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let mut text = format!("{}\n", COLUMNS.join(","));
    for Correction { source, class, was, id } in corrections {
        text.push_str(&format!("{},{},{},{id}\n", quoted(source), quoted(class), quoted(was)));
    }
    text
}

/// Gives the images their right classes. New classes are added to `classes`; images of no class are removed.
pub(super) fn apply(
    file: &Path,
    corrections: &[Correction],
    entries: &mut Vec<Entry>,
    classes: &mut Vec<String>,
) -> Result<(), DecodeError> {
    let mut indices: HashMap<String, usize> = classes.iter().cloned().zip(0..).collect();
    let mut wanted: HashMap<&str, Option<usize>> = HashMap::new();
    for Correction { source, class, .. } in corrections {
        let index = (!class.is_empty()).then(|| {
            *indices.entry(class.clone()).or_insert_with(|| {
                classes.push(class.clone());
                classes.len() - 1
            })
        });
        wanted.insert(source, index);
    }
    let mut met = HashSet::new();
    entries.retain_mut(|entry| match wanted.get(entry.source.as_str()) {
        None => true,
        Some(index) => {
            met.insert(entry.source.clone());
            entry.class = index.unwrap_or(entry.class);
            index.is_some()
        }
    });
    match corrections.iter().position(|correction| !met.contains(&correction.source)) {
        None => Ok(()),
        Some(row) => {
            let problem = format!(
                "corrects `{}`, which is not among the images of the data set; remove the row, or name the image as the column \
                 `source` of the table of images does",
                corrections[row].source
            );
            Err(DecodeError::Row { unit: "Row", number: row + 1, file: file.to_owned(), problem })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.csv");
        let correction = |source: &str, class: &str| Correction {
            source: source.to_owned(),
            class: class.to_owned(),
            was: "a \"quoted\", name".to_owned(),
            id: 7,
        };
        let all = [correction("a/1.png", "b"), correction("odd, name\nof a file", "say \"b\""), correction("c", "")];
        fs::write(&file, to_csv(&all)).unwrap();
        assert_eq!(read(&file).unwrap(), all);
        let refused = |text: &str| {
            fs::write(&file, text).unwrap();
            read(&file).unwrap_err().to_string().replace(&folder.path().display().to_string(), "HERE")
        };
        insta::assert_snapshot!(refused(""), @"`HERE/labels.csv` has no column `source`; corrections have `source` and `class`");
        insta::assert_snapshot!(refused("source,klass\n"), @"`HERE/labels.csv` has no column `class`; corrections have `source` and `class`");
        insta::assert_snapshot!(refused("source,class\na\n"), @"Row 1 of `HERE/labels.csv` has 1 values, but there are 2 headings");
        insta::assert_snapshot!(refused("source,class\na,b\na,c\n"), @"Row 2 of `HERE/labels.csv` corrects `a` again, which row 1 corrects; keep one of them");
        insta::assert_snapshot!(refused("source,class\na,b\nb,\"c\nd,e\n"), @r#"Line 3 of `HERE/labels.csv` has a value that begins with a quote and never ends; close the quote, or write `""` for one that belongs to the value"#);
        fs::write(&file, "Class, SOURCE\nb,a\n").unwrap();
        assert_eq!(read(&file).unwrap()[0].class, "b");
    }
}
