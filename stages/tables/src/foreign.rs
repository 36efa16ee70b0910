//! Tables that another program wrote: they are checked against the schema of their kind and their facets computed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use arrow::array::types::{UInt16Type, UInt32Type};
use arrow::array::{AsArray, RecordBatch};

use crate::artifact::{FacetDigests, OutputArtifact};
use crate::error::TableError;
use crate::facets::Facets;
use crate::file::TableFile;
use crate::finite::check_batch;
use crate::kind::ArtifactKind;
use crate::model;
use crate::pixels::{PIXELS, PixelsFacet};
use crate::schema::TableSchema;
use crate::table::{conform, table_of};

/// Checks the files that another program wrote into `output`, an artifact of `kind`, and sets their facets. Returns `false`
/// if there is no file.
///
/// # Errors
/// As [`facets_of_folder`].
pub fn add_facets(output: &mut OutputArtifact, kind: ArtifactKind) -> Result<bool, TableError> {
    let names = file_names(&output.folder)?;
    if names.is_empty() {
        return Ok(false);
    }
    output.facets.extend(facets_of_files(kind, &output.folder, &names)?);
    Ok(true)
}

/// The facets of an artifact of `kind` that another program wrote into `folder`.
///
/// The main table must exist with every column of its schema; the tables beside it are optional. In plain
/// [`ArtifactKind::Files`], each file that is a table has a facet for each column, `file.column`. If the artifact has a
/// facet at all, everything that no column covers has a facet `bytes of file`, so that the facets always cover the whole
/// artifact.
///
/// # Errors
/// The folder cannot be read, the main table is missing, or a table is damaged, lacks a column or has it with another
/// type; the message names file, column and types. An image has several rows where it must have one, or no pixels.
pub fn facets_of_folder(kind: ArtifactKind, folder: &Path) -> Result<FacetDigests, TableError> {
    facets_of_files(kind, folder, &file_names(folder)?)
}

/// As [`facets_of_folder`], with the names of all files.
fn facets_of_files(kind: ArtifactKind, folder: &Path, names: &BTreeSet<String>) -> Result<FacetDigests, TableError> {
    let mut uncovered: Uncovered = names.iter().map(|name| (name.clone(), None)).collect();
    let mut digests = match kind {
        ArtifactKind::Files => facets_of_any_tables(folder, &mut uncovered)?,
        ArtifactKind::Model => {
            uncovered.retain(|name, _| kind.tables().iter().all(|table| table_of(name) != Some(table.name)));
            model::facets_of_folder(folder)?
        }
        _ => {
            let mut digests = FacetDigests::new();
            for schema in kind.tables() {
                let parts_of = |table: &str| -> Vec<&str> {
                    names.iter().map(String::as_str).filter(|name| table_of(name) == Some(table)).collect()
                };
                let mut parts = parts_of(schema.name);
                if parts.is_empty() && (kind, schema.name) == (ArtifactKind::Images, PIXELS) {
                    // Without a table of their own, the pixels must be a column of the main table.
                    parts = parts_of(kind.name());
                }
                if parts.is_empty() && schema.is_main() {
                    return Err(TableError::MissingOutput { kind, folder: folder.to_owned() });
                }
                for (column, digest) in facets_of_parts(folder, &parts, &schema, &mut uncovered)? {
                    digests.insert(schema.facet(&column), digest);
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
            hasher.update_mmap_rayon(&path).map_err(|source| TableError::file("read", &path, source))?;
            digests.insert(format!("bytes of {name}"), *hasher.finalize().as_bytes());
        }
    }
    Ok(digests)
}

/// The parts of an artifact that no column's facet covers yet: for each file the names of its columns, or `None` if it was
/// not read as a table.
type Uncovered = BTreeMap<String, Option<BTreeSet<String>>>;

/// The facets of one table, whose rows are in `parts` one after the other.
fn facets_of_parts(
    folder: &Path,
    parts: &[&str],
    schema: &TableSchema,
    uncovered: &mut Uncovered,
) -> Result<FacetDigests, TableError> {
    if parts.is_empty() {
        return Ok(FacetDigests::new());
    }
    if schema.name == PIXELS {
        let mut facet = PixelsFacet::default();
        read_parts(folder, parts, schema, uncovered, |batch, _| {
            facet.update(batch.column(0).as_binary::<i32>());
            Ok(())
        })?;
        return Ok([(PIXELS.to_owned(), facet.finish())].into());
    }
    let mut facets = Facets::new(&schema.columns)?;
    let mut images = HashSet::new();
    read_parts(folder, parts, schema, uncovered, |batch, file| {
        check_images(&batch, schema, file, &mut images)?;
        facets.update(&batch);
        Ok(())
    })?;
    Ok(facets.finish().collect())
}

/// Checks what the types of columns do not say: a table with a row for each image has one for each, and images have pixels. `images`
/// are those of the rows before this batch.
fn check_images(
    batch: &RecordBatch,
    schema: &TableSchema,
    file: &str,
    images: &mut HashSet<u32>,
) -> Result<(), TableError> {
    let has_row_per_image =
        matches!(schema.kind, ArtifactKind::Images | ArtifactKind::Embeddings | ArtifactKind::Assignments);
    if !(has_row_per_image && schema.is_main()) {
        return Ok(());
    }
    let Some(ids) = batch.column_by_name("id").and_then(|column| column.as_primitive_opt::<UInt32Type>()) else {
        return Ok(());
    };
    if let Some(id) = ids.values().iter().copied().find(|&id| !images.insert(id)) {
        return Err(TableError::RepeatedImage { file: file.to_owned(), id });
    }
    for side in ["height", "width"] {
        let sizes = batch.column_by_name(side).and_then(|column| column.as_primitive_opt::<UInt16Type>());
        if let Some(row) = sizes.and_then(|sizes| sizes.values().iter().position(|&size| size == 0)) {
            return Err(TableError::NoPixels { file: file.to_owned(), id: ids.value(row), side });
        }
    }
    Ok(())
}

/// Calls `each` with the rows of `parts`, converted to the columns of `schema`, and the name of their file.
fn read_parts(
    folder: &Path,
    parts: &[&str],
    schema: &TableSchema,
    uncovered: &mut Uncovered,
    mut each: impl FnMut(RecordBatch, &str) -> Result<(), TableError>,
) -> Result<(), TableError> {
    for name in parts {
        let path = folder.join(name);
        let file = TableFile::open(&path)?.ok_or_else(|| TableError::NotATable { file: path.display().to_string() })?;
        schema.check(&file.schema, name, |_| true)?;
        let is_ours = |column: &str| schema.columns.field_with_name(column).is_ok();
        let all = || file.schema.fields().iter().map(|field| field.name().clone()).collect();
        uncovered.entry((*name).to_owned()).or_default().get_or_insert_with(all).retain(|column| !is_ours(column));
        file.batches(is_ours, &mut |batch| {
            let batch = conform(&batch, schema, name)?;
            check_batch(&batch, name)?;
            each(batch, name)
        })?;
    }
    Ok(())
}

/// The facets of all files that happen to be tables; these are removed from `uncovered`.
fn facets_of_any_tables(folder: &Path, uncovered: &mut Uncovered) -> Result<FacetDigests, TableError> {
    let mut digests = FacetDigests::new();
    for name in uncovered.keys().cloned().collect::<Vec<_>>() {
        let Some((_, "arrow" | "parquet")) = name.rsplit_once('.') else { continue };
        let Some(file) = TableFile::open(&folder.join(&name))? else { continue };
        // If one column has a type without an encoding, the file counts by its bytes instead.
        let Ok(mut facets) = Facets::new(&file.schema) else { continue };
        file.batches(|_| true, &mut |batch| {
            facets.update(&batch);
            Ok::<_, TableError>(())
        })?;
        digests.extend(facets.finish().map(|(column, digest)| (format!("{name}.{column}"), digest)));
        uncovered.remove(&name);
    }
    Ok(digests)
}

/// The names of the files below `folder`, sorted, with `/` between folders.
fn file_names(folder: &Path) -> Result<BTreeSet<String>, TableError> {
    let mut names = BTreeSet::new();
    let read = |source| TableError::file("read", folder, source);
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

    use std::error::Error as _;

    use arrow::array::types::Float32Type;
    use arrow::array::{ArrayRef, Float32Array, Float64Array, Int32Array, ListArray, StringArray, UInt32Array};
    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::assignments::Assignments;
    use crate::file::{Form, TableWriter, batch};
    use crate::testing::artifact;

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
        let facets = facets_of_folder(ArtifactKind::History, arrow.path()).unwrap();
        assert_eq!(facets, facets_of_folder(ArtifactKind::History, parquet.path()).unwrap());
        assert_eq!(facets.keys().collect::<Vec<_>>(), ["epoch", "learner", "step", "term", "value"]);
    }

    #[test]
    fn mismatches_with_the_schema_are_named() {
        let check = |write: &dyn Fn(&Path)| {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path());
            let message = facets_of_folder(ArtifactKind::History, folder.path()).unwrap_err().to_string();
            message.replace(&folder.path().display().to_string(), "FOLDER")
        };
        insta::assert_snapshot!(check(&|_| {}), @"The output folder `FOLDER` has kind history and so must contain `history.arrow` or `history.parquet`");
        insta::assert_snapshot!(
            check(&|folder| history(folder, "history.arrow", Arc::new(StringArray::from(vec!["a", "b"])))),
            @"The file `history.arrow` (history) has the column `value` of type `utf8` instead of `f64`"
        );
        insta::assert_snapshot!(
            check(&|folder| table(folder, "history.parquet", &[("step", ids())])),
            @"The file `history.parquet` (history) has no column `epoch` (of type `u32`)"
        );
        insta::assert_snapshot!(
            check(&|folder| history(folder, "history.arrow", Arc::new(Float64Array::from(vec![None, Some(1.0)])))),
            @"The column `value` of `history.arrow` must not contain nulls"
        );
        insta::assert_snapshot!(
            check(&|folder| fs::write(folder.join("history.parquet"), "no table").unwrap()),
            @"The file `FOLDER/history.parquet` is neither an Arrow nor a Parquet file"
        );
    }

    #[test]
    fn each_image_has_one_row_and_a_vector_like_the_others() {
        let check = |ids: Vec<u32>, vectors: Vec<Vec<f32>>| {
            let folder = tempfile::tempdir().unwrap();
            let rows = ids.len();
            let splits: ArrayRef = Arc::new(StringArray::from(vec!["test"; rows]));
            let vectors = vectors.into_iter().map(|vector| Some(vector.into_iter().map(Some)));
            let vectors: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors));
            let ids: ArrayRef = Arc::new(UInt32Array::from(ids));
            let columns = [("id", ids.clone()), ("label", ids), ("split", splits), ("vector", vectors)];
            table(folder.path(), "embeddings.arrow", &columns);
            let found = facets_of_folder(ArtifactKind::Embeddings, folder.path());
            let Err(error) = found else { return String::new() };
            match error.source() {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            }
        };
        assert_eq!(check(vec![7, 3], vec![vec![1.0, 0.0], vec![0.0, 1.0]]), "");
        insta::assert_snapshot!(
            check(vec![7, 7], vec![vec![1.0, 0.0], vec![0.0, 1.0]]),
            @"The file `embeddings.arrow` has several rows for image 7; each image must have one"
        );
        insta::assert_snapshot!(
            check(vec![7, 3], vec![vec![1.0, 0.0], vec![0.0]]),
            @"Cannot read the column `vector` of `embeddings.arrow`: Invalid argument error: its vectors have different lengths"
        );
        insta::assert_snapshot!(
            check(vec![7], vec![vec![]]),
            @"Cannot read the column `vector` of `embeddings.arrow`: Invalid argument error: its vectors have no coordinates"
        );
    }

    /// A program may write a table in several parts.
    #[test]
    fn all_parts_of_a_table_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let part = |name: &str, id: u32| {
            let number: ArrayRef = Arc::new(UInt32Array::from(vec![id]));
            let clusters: ArrayRef = Arc::new(Int32Array::from(vec![id as i32]));
            let distances: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
            table(folder.path(), name, &[("id", number), ("cluster", clusters), ("distance", distances)]);
        };
        part("assignments-00000.parquet", 4);
        part("assignments-00001.arrow", 9);
        facets_of_folder(ArtifactKind::Assignments, folder.path()).unwrap();
        let rows = Assignments::open(&artifact(ArtifactKind::Assignments, folder.path())).unwrap();
        assert_eq!((rows.ids().unwrap(), rows.clusters().unwrap()), (&[4, 9][..], &[4, 9][..]));
    }

    #[test]
    fn a_damaged_table_is_an_error_and_no_panic() {
        for form in ["history.arrow", "history.parquet"] {
            let folder = tempfile::tempdir().unwrap();
            history(folder.path(), form, Arc::new(Float64Array::from(vec![0.5, 0.25])));
            let path = folder.path().join(form);
            let whole = fs::read(&path).unwrap();
            let facets = facets_of_folder(ArtifactKind::History, folder.path()).unwrap();
            for length in (0..whole.len()).step_by(7) {
                fs::write(&path, &whole[..length]).unwrap();
                assert!(
                    facets_of_folder(ArtifactKind::History, folder.path()).is_err(),
                    "{form} cut to {length} bytes"
                );
            }
            for place in (0..whole.len()).step_by(3) {
                let mut flipped = whole.clone();
                flipped[place] ^= 0x10;
                fs::write(&path, &flipped).unwrap();
                // A flipped bit may make another valid table, which the store's digests detect; here it must only not panic.
                let _ = facets_of_folder(ArtifactKind::History, folder.path()).is_ok_and(|found| found == facets);
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
        let facets = facets_of_folder(ArtifactKind::Files, folder.path()).unwrap();
        let expected =
            ["bytes of broken.parquet", "bytes of notes.txt", "deep/points.parquet.id", "deep/points.parquet.x"];
        assert_eq!(facets.keys().collect::<Vec<_>>(), expected);
        fs::remove_dir_all(folder.path().join("deep")).unwrap();
        assert!(
            facets_of_folder(ArtifactKind::Files, folder.path()).unwrap().is_empty(),
            "an artifact without tables needs no facets"
        );
    }

    #[test]
    fn files_and_columns_outside_the_schema_count_by_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        history(folder.path(), "history.arrow", Arc::new(Float64Array::from(vec![0.5, 0.25])));
        let keys = || facets_of_folder(ArtifactKind::History, folder.path()).unwrap().into_keys().collect::<Vec<_>>();
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
}
