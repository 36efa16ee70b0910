//! Tables that another program wrote: checked against the schema of their kind, and their facets computed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};

use super::facets::Facets;
use super::file::TableFile;
use super::pixels::{PIXELS, PixelsFacet};
use super::rows::{conform, table_of};
use super::schema::Description;
use super::{assignments, contents, embeddings, history, images, metrics, model, pixels, queries, skipped, views};
use crate::error::StageError;
use crate::kind::Kind;

/// Digests of the logical parts of an artifact, by name.
pub type FacetDigests = BTreeMap<String, [u8; 32]>;

/// The tables of an artifact of this kind, the main one first.
pub fn descriptions(kind: Kind) -> Vec<Description> {
    match kind {
        Kind::Images => {
            vec![images::description(), pixels::description(kind), contents::description(), skipped::description()]
        }
        Kind::Views => vec![views::description(), pixels::description(kind)],
        Kind::Embeddings => vec![embeddings::description()],
        Kind::Assignments => vec![assignments::description(), assignments::centroids(), assignments::agreement()],
        Kind::Model => vec![model::description(), model::moments(), model::state()],
        Kind::History => vec![history::description()],
        Kind::Metrics => vec![metrics::description()],
        Kind::Queries => vec![queries::description()],
        Kind::Files => Vec::new(),
    }
}

/// The facets of an artifact of `kind` that another program wrote into `folder`.
///
/// Its main table must be there with every column of the schema; the tables beside it may be missing. Of plain
/// [`Kind::Files`] each file that is a table gives a facet for each column, `file.column`. Where there is such a facet, what
/// no column covers has one as well, `bytes of file`, so that the facets always speak for the whole artifact.
///
/// # Errors
/// The folder cannot be read, the main table is missing, or a table is damaged, lacks a column or has it with another
/// type; the message names file, column and types.
pub fn facets_of_folder(kind: Kind, folder: &Path) -> Result<FacetDigests, StageError> {
    facets_of_named(kind, folder, &file_names(folder)?)
}

/// As [`facets_of_folder`], where `names` are those of all files.
pub(super) fn facets_of_named(kind: Kind, folder: &Path, names: &BTreeSet<String>) -> Result<FacetDigests, StageError> {
    let mut uncovered: Uncovered = names.iter().map(|name| (name.clone(), None)).collect();
    let mut digests = match kind {
        Kind::Files => facets_of_files(folder, &mut uncovered)?,
        Kind::Model => {
            uncovered.retain(|name, _| descriptions(kind).iter().all(|table| table_of(name) != Some(table.name)));
            model::facets_of_folder(folder)?
        }
        _ => {
            let mut digests = FacetDigests::new();
            for description in descriptions(kind) {
                let parts_of = |table: &str| -> Vec<&str> {
                    names.iter().map(String::as_str).filter(|name| table_of(name) == Some(table)).collect()
                };
                let mut parts = parts_of(description.name);
                if parts.is_empty() && (kind, description.name) == (Kind::Images, PIXELS) {
                    // Images are nothing without pixels: they must be among the other columns.
                    parts = parts_of(kind.name());
                }
                if parts.is_empty() && description.is_main() {
                    let table = description.name;
                    let message = format!(
                        "There is no file `{table}.arrow` or `{table}.parquet` in `{}`, which is to hold {kind}",
                        folder.display()
                    );
                    return Err(StageError::input(message));
                }
                for (column, digest) in facets_of_parts(folder, &parts, &description, &mut uncovered)? {
                    digests.insert(description.facet(&column), digest);
                }
            }
            digests
        }
    };
    if !digests.is_empty() {
        uncovered.retain(|_, columns| columns.as_ref().is_none_or(|columns| !columns.is_empty()));
        for name in uncovered.into_keys() {
            let path = folder.join(&name);
            let mut hasher = blake3::Hasher::new();
            hasher.update_mmap_rayon(&path).map_err(|source| StageError::file("read", &path, source))?;
            digests.insert(format!("bytes of {name}"), *hasher.finalize().as_bytes());
        }
    }
    Ok(digests)
}

/// What no facet of a column covers: by file, the names of its columns, or `None` where it was not read as a table.
type Uncovered = BTreeMap<String, Option<BTreeSet<String>>>;

/// The facets of one table, whose rows lie in `parts` one after the other.
fn facets_of_parts(
    folder: &Path,
    parts: &[&str],
    description: &Description,
    uncovered: &mut Uncovered,
) -> Result<FacetDigests, StageError> {
    if parts.is_empty() {
        return Ok(FacetDigests::new());
    }
    if description.name == PIXELS {
        let mut facet = PixelsFacet::default();
        read_parts(folder, parts, description, uncovered, |batch| facet.update(batch.column(0).as_binary::<i32>()))?;
        return Ok([(PIXELS.to_owned(), facet.finish())].into());
    }
    let mut facets = Facets::new(&description.schema)?;
    read_parts(folder, parts, description, uncovered, |batch| facets.update(&batch))?;
    Ok(facets.finish().collect())
}

/// Hands the rows of `parts` to `each`, in the columns of `description`.
fn read_parts(
    folder: &Path,
    parts: &[&str],
    description: &Description,
    uncovered: &mut Uncovered,
    mut each: impl FnMut(RecordBatch),
) -> Result<(), StageError> {
    for name in parts {
        let path = folder.join(name);
        let file = TableFile::open(&path)?
            .ok_or_else(|| StageError::input(format!("The file `{}` is neither Arrow nor Parquet", path.display())))?;
        description.check(&file.schema, name, |_| true)?;
        let ours = |column: &str| description.schema.field_with_name(column).is_ok();
        let all = || file.schema.fields().iter().map(|field| field.name().clone()).collect();
        uncovered.entry((*name).to_owned()).or_default().get_or_insert_with(all).retain(|column| !ours(column));
        file.batches(ours, &mut |batch| {
            each(conform(&batch, description, name)?);
            Ok(())
        })?;
    }
    Ok(())
}

/// The facets of the tables among whatever files there are; these are taken out of the `uncovered`.
fn facets_of_files(folder: &Path, uncovered: &mut Uncovered) -> Result<FacetDigests, StageError> {
    let mut digests = FacetDigests::new();
    for name in uncovered.keys().cloned().collect::<Vec<_>>() {
        let Some((_, "arrow" | "parquet")) = name.rsplit_once('.') else { continue };
        let Some(file) = TableFile::open(&folder.join(&name))? else { continue };
        // A column of a type without an encoding takes the facets from the whole file: its bytes then decide.
        let Ok(mut facets) = Facets::new(&file.schema) else { continue };
        file.batches(|_| true, &mut |batch| {
            facets.update(&batch);
            Ok(())
        })?;
        digests.extend(facets.finish().map(|(column, digest)| (format!("{name}.{column}"), digest)));
        uncovered.remove(&name);
    }
    Ok(digests)
}

/// The names of the files below `folder`, sorted, with `/` between folders.
pub(super) fn file_names(folder: &Path) -> Result<BTreeSet<String>, StageError> {
    let mut names = BTreeSet::new();
    let read = |source| StageError::file("read", folder, source);
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().map_err(read)?.is_dir() {
            names.extend(file_names(&entry.path())?.into_iter().map(|below| format!("{name}/{below}")));
        } else {
            names.insert(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray, UInt32Array};
    use arrow::datatypes::{Field, Schema};

    use super::super::file::{Form, TableWriter, batch};
    use super::*;

    /// Writes a table of these columns to `folder/name`.
    fn table(folder: &Path, name: &str, columns: &[(&str, ArrayRef)]) {
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let form = if name.ends_with("arrow") { Form::Arrow } else { Form::Parquet };
        let mut writer = TableWriter::create(&folder.join(name), form, &schema).unwrap();
        writer.write(&batch(&schema, columns.iter().map(|(_, array)| array.clone()).collect()).unwrap()).unwrap();
        writer.finish().unwrap();
    }

    fn ids() -> ArrayRef {
        Arc::new(UInt32Array::from(vec![3, 1]))
    }

    fn history(folder: &Path, name: &str, value: ArrayRef) {
        let terms: ArrayRef = Arc::new(StringArray::from(vec!["loss", "lr"]));
        let columns = [("value", value), ("term", terms), ("learner", ids()), ("epoch", ids()), ("step", ids())];
        table(folder, name, &columns);
    }

    #[test]
    fn arrow_and_parquet_of_another_program_have_the_same_facets() {
        let (arrow, parquet) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let values: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.25]));
        history(arrow.path(), "history.arrow", values.clone());
        history(parquet.path(), "history.parquet", values);
        let facets = facets_of_folder(Kind::History, arrow.path()).unwrap();
        assert_eq!(facets, facets_of_folder(Kind::History, parquet.path()).unwrap());
        assert_eq!(facets.keys().collect::<Vec<_>>(), ["epoch", "learner", "step", "term", "value"]);
    }

    #[test]
    fn what_does_not_fit_the_schema_is_named() {
        let check = |write: &dyn Fn(&Path)| {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path());
            let message = facets_of_folder(Kind::History, folder.path()).unwrap_err().to_string();
            message.replace(&folder.path().display().to_string(), "FOLDER")
        };
        insta::assert_snapshot!(check(&|_| {}), @"There is no file `history.arrow` or `history.parquet` in `FOLDER`, which is to hold history");
        insta::assert_snapshot!(
            check(&|folder| history(folder, "history.arrow", Arc::new(StringArray::from(vec!["a", "b"])))),
            @"The file `history.arrow` of the history has the column `value` of type `utf8` instead of type `f64`"
        );
        insta::assert_snapshot!(
            check(&|folder| table(folder, "history.parquet", &[("step", ids())])),
            @"The file `history.parquet` of the history has no column `epoch` of type `u32`"
        );
        insta::assert_snapshot!(
            check(&|folder| history(folder, "history.arrow", Arc::new(Float64Array::from(vec![None, Some(1.0)])))),
            @"The column `value` of `history.arrow` has nulls"
        );
        insta::assert_snapshot!(
            check(&|folder| fs::write(folder.join("history.parquet"), "no table").unwrap()),
            @"The file `FOLDER/history.parquet` is neither Arrow nor Parquet"
        );
    }

    #[test]
    fn a_damaged_table_is_an_error_and_no_panic() {
        for form in ["history.arrow", "history.parquet"] {
            let folder = tempfile::tempdir().unwrap();
            history(folder.path(), form, Arc::new(Float64Array::from(vec![0.5, 0.25])));
            let path = folder.path().join(form);
            let whole = fs::read(&path).unwrap();
            let facets = facets_of_folder(Kind::History, folder.path()).unwrap();
            for length in (0..whole.len()).step_by(7) {
                fs::write(&path, &whole[..length]).unwrap();
                assert!(facets_of_folder(Kind::History, folder.path()).is_err(), "{form} cut to {length} bytes");
            }
            for place in (0..whole.len()).step_by(3) {
                let mut flipped = whole.clone();
                flipped[place] ^= 0x10;
                fs::write(&path, &flipped).unwrap();
                // A flipped bit of a value is another table; the store's own digests notice it. Here it must not panic.
                let _ = facets_of_folder(Kind::History, folder.path()).is_ok_and(|found| found == facets);
            }
        }
    }

    #[test]
    fn any_table_among_plain_files_has_facets() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        table(folder.path(), "deep/points.parquet", &[("x", Arc::new(Int32Array::from(vec![1]))), ("id", ids_of(1))]);
        fs::write(folder.path().join("notes.txt"), "hello").unwrap();
        fs::write(folder.path().join("broken.parquet"), "hello").unwrap();
        let facets = facets_of_folder(Kind::Files, folder.path()).unwrap();
        let expected =
            ["bytes of broken.parquet", "bytes of notes.txt", "deep/points.parquet.id", "deep/points.parquet.x"];
        assert_eq!(facets.keys().collect::<Vec<_>>(), expected);
        fs::remove_dir_all(folder.path().join("deep")).unwrap();
        assert!(
            facets_of_folder(Kind::Files, folder.path()).unwrap().is_empty(),
            "the bytes of all files speak for themselves"
        );
    }

    #[test]
    fn what_no_column_of_the_schema_covers_counts_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        history(folder.path(), "history.arrow", Arc::new(Float64Array::from(vec![0.5, 0.25])));
        let keys = || facets_of_folder(Kind::History, folder.path()).unwrap().into_keys().collect::<Vec<_>>();
        let own = keys();
        fs::write(folder.path().join("notes.txt"), "hello").unwrap();
        assert_eq!(keys()[0], "bytes of notes.txt");
        fs::remove_file(folder.path().join("notes.txt")).unwrap();
        assert_eq!(keys(), own);
        let terms: ArrayRef = Arc::new(StringArray::from(vec!["loss", "lr"]));
        let values: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.25]));
        let columns = [
            ("value", values),
            ("term", terms),
            ("learner", ids()),
            ("epoch", ids()),
            ("step", ids()),
            ("more", ids()),
        ];
        table(folder.path(), "history.arrow", &columns);
        assert_eq!(keys()[0], "bytes of history.arrow");
    }

    fn ids_of(count: u32) -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(0..count))
    }

    #[test]
    fn every_column_of_every_table_has_a_unit_and_a_meaning() {
        for description in Kind::ALL.into_iter().flat_map(descriptions) {
            for field in description.schema.fields() {
                assert!(Facets::new(&Schema::new(vec![field.clone()])).is_ok(), "{field}");
                for key in ["unit", "meaning"] {
                    assert!(field.metadata().get(key).is_some_and(|text| !text.is_empty()), "{field}");
                }
            }
        }
    }
}
