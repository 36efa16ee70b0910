//! Tables that another program wrote: checked against the schema of their kind, and their facets computed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::facets::Facets;
use super::file::TableFile;
use super::rows::{conform, table_of};
use super::schema::Description;
use super::{assignments, embeddings, history, images, metrics, model, queries, skipped, views};
use crate::error::StageError;
use crate::kind::Kind;

/// Digests of the logical parts of an artifact, by name.
pub type FacetDigests = BTreeMap<String, [u8; 32]>;

/// The tables of an artifact of this kind, the main one first.
pub fn descriptions(kind: Kind) -> Vec<Description> {
    match kind {
        Kind::Images => vec![images::description(), skipped::description()],
        Kind::Views => vec![views::description()],
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
/// [`Kind::Files`] each file that is a table gives a facet for each column, `file stem.column`; other files give none.
///
/// # Errors
/// The folder cannot be read, the main table is missing, or a table is damaged, lacks a column or has it with another
/// type; the message names file, column and types.
pub fn facets_of_folder(kind: Kind, folder: &Path) -> Result<FacetDigests, StageError> {
    let names = file_names(folder)?;
    match kind {
        Kind::Files => facets_of_files(folder, &names),
        Kind::Model => model::facets_of_folder(folder),
        _ => {
            let mut digests = FacetDigests::new();
            for description in descriptions(kind) {
                let parts: Vec<&str> =
                    names.iter().map(String::as_str).filter(|name| table_of(name) == Some(description.name)).collect();
                if parts.is_empty() && description.is_main() {
                    let table = description.name;
                    let message = format!(
                        "There is no file `{table}.arrow` or `{table}.parquet` in `{}`, which is to hold {kind}",
                        folder.display()
                    );
                    return Err(StageError::input(message));
                }
                for (column, digest) in facets_of_parts(folder, &parts, &description)? {
                    digests.insert(description.facet(&column), digest);
                }
            }
            Ok(digests)
        }
    }
}

/// The facets of one table, whose rows lie in `parts` one after the other.
fn facets_of_parts(folder: &Path, parts: &[&str], description: &Description) -> Result<FacetDigests, StageError> {
    let mut facets = Facets::new(&description.schema)?;
    for name in parts {
        let path = folder.join(name);
        let file = TableFile::open(&path)?
            .ok_or_else(|| StageError::input(format!("The file `{}` is neither Arrow nor Parquet", path.display())))?;
        description.check(&file.schema, name, |_| true)?;
        let ours = |column: &str| description.schema.field_with_name(column).is_ok();
        file.batches(ours, &mut |batch| {
            facets.update(&conform(&batch, description, name)?);
            Ok(())
        })?;
    }
    Ok(if parts.is_empty() { FacetDigests::new() } else { facets.finish().collect() })
}

/// The facets of whatever files there are.
fn facets_of_files(folder: &Path, names: &BTreeSet<String>) -> Result<FacetDigests, StageError> {
    let mut digests = FacetDigests::new();
    for name in names {
        let Some((stem, "arrow" | "parquet")) = name.rsplit_once('.') else { continue };
        let Some(file) = TableFile::open(&folder.join(name))? else { continue };
        // A column of a type without an encoding takes the facets from the whole file: its bytes then decide.
        let Ok(mut facets) = Facets::new(&file.schema) else { continue };
        file.batches(|_| true, &mut |batch| {
            facets.update(&batch);
            Ok(())
        })?;
        digests.extend(facets.finish().map(|(column, digest)| (format!("{stem}.{column}"), digest)));
    }
    Ok(digests)
}

/// The names of the files below `folder`, sorted, with `/` between folders.
fn file_names(folder: &Path) -> Result<BTreeSet<String>, StageError> {
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
