//! Corrected labels: a CSV file with the columns `source` and `class`, and any others, which names images and their right classes.
//!
//! An image whose class is empty belongs to none, and is left out. Images are named as in the column `source` of the table of images. A
//! source that images of different classes share, such as the name of their photographer, names none of them and is refused.

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
    // The classes of the images that each correction names.
    let mut met: HashMap<&str, HashSet<usize>> = HashMap::new();
    for entry in entries.iter() {
        if let Some((source, _)) = wanted.get_key_value(entry.source.as_str()) {
            met.entry(*source).or_default().insert(entry.class);
        }
    }
    for (row, Correction { source, .. }) in corrections.iter().enumerate() {
        let problem = match met.get(source.as_str()).map_or(0, HashSet::len) {
            1 => continue,
            0 => format!(
                "corrects `{source}`, which is not among the images of the data set; remove the row, or name the image as the column \
                 `source` of the table of images does"
            ),
            several => format!(
                "corrects `{source}`, which images of {several} classes have as their source, so that it names none of them; remove the \
                 row, or give each image a source of its own"
            ),
        };
        return Err(DecodeError::Row { unit: "Row", number: row + 1, file: file.to_owned(), problem });
    }
    entries.retain_mut(|entry| match wanted.get(entry.source.as_str()) {
        None => true,
        Some(index) => {
            entry.class = index.unwrap_or(entry.class);
            index.is_some()
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_several_classes_share_names_no_image() {
        let entry = |class: usize, source: &str| Entry {
            class,
            split: None,
            camera: None,
            source: source.to_owned(),
            position: 0,
        };
        let apply = |sources: [&str; 3]| {
            let mut entries = vec![entry(0, sources[0]), entry(1, sources[1]), entry(1, sources[2])];
            let mut classes = vec!["cat".to_owned(), "dog".to_owned()];
            let correction = Correction { source: "a".to_owned(), class: "fox".to_owned(), ..Correction::default() };
            super::apply(Path::new("labels.csv"), &[correction], &mut entries, &mut classes)
                .map(|()| entries.iter().map(|entry| entry.class).collect::<Vec<usize>>())
                .map_err(|error| error.to_string())
        };
        assert_eq!(apply(["a", "b", "c"]), Ok(vec![2, 1, 1]));
        assert_eq!(apply(["b", "a", "a"]), Ok(vec![0, 2, 2]), "an image that is listed twice");
        insta::assert_snapshot!(apply(["a", "a", "b"]).unwrap_err(), @"Row 1 of `labels.csv` corrects `a`, which images of 2 classes have as their source, so that it names none of them; remove the row, or give each image a source of its own");
    }

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
