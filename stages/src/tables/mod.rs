//! The tables that flow between stages, one file each.
//!
//! Read [`embeddings`] first, its siblings look alike: a `description` of the columns with unit and meaning, what is
//! written, and what is read. A writer hands the logical digest of each column ([`facets`]) to the context; a reader
//! shows the columns that its port declared and no others. A table may be Arrow IPC ([`Form::Arrow`]: memory-mapped and
//! not copied) or Parquet; readers take both, so that a `command` may write either.

pub mod assignments;
pub mod contents;
pub mod embeddings;
pub mod facets;
mod file;
pub mod history;
pub mod images;
pub mod metrics;
pub mod model;
pub mod pixels;
pub mod queries;
#[cfg(test)]
mod round_trips;
mod rows;
mod schema;
pub mod skipped;
pub mod split;
pub mod views;
mod written;

use std::path::Path;

use arrow::array::RecordBatch;

pub use file::{Form, schema_of};
pub(crate) use file::{RowReader, batches_of};
pub use schema::Description;
pub use split::Split;
pub use written::{FacetDigests, descriptions, facets_of_folder};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::Columns;
use facets::Facets;
use file::TableWriter;
use rows::Rows;

/// Writes a table of the output called `output` in one batch and notes its columns' digests.
fn write_table(
    context: &mut Context<'_>,
    output: &str,
    description: &Description,
    form: Form,
    batch: &RecordBatch,
) -> Result<(), StageError> {
    let path = context.output(output)?.join(format!("{}.{}", description.name, form.extension()));
    let mut writer = TableWriter::create(&path, form, &description.schema)?;
    writer.write(batch)?;
    writer.finish()?;
    let mut facets = Facets::new(&description.schema)?;
    facets.update(batch);
    facets.note(context, output, (!description.is_main()).then_some(description.name))
}

/// Checks what another program wrote into the output called `output`, which is to hold `kind`, and notes its facets; `false`
/// if it wrote no file.
///
/// # Errors
/// As [`facets_of_folder`].
pub fn note_facets(context: &mut Context<'_>, output: &str, kind: Kind) -> Result<bool, StageError> {
    let folder = context.output(output)?;
    let names = written::file_names(&folder)?;
    if names.is_empty() {
        return Ok(false);
    }
    for (facet, digest) in written::facets_of_named(kind, &folder, &names)? {
        context.facet(output, &facet, digest)?;
    }
    Ok(true)
}

/// The whole table in the file at `path`.
fn read_file(path: &Path, description: Description) -> Result<Rows, StageError> {
    Rows::read(path, &path.display().to_string(), Columns::All, description)
}
