//! Writing a whole table at once.

use arrow::array::RecordBatch;

use crate::artifact::OutputArtifact;
use crate::error::TableError;
use crate::facets::Facets;
use crate::file::{Form, TableWriter};
use crate::schema::TableSchema;

/// Writes a table in one batch and adds the digests of its columns to the artifact.
pub(crate) fn write_table(
    output: &mut OutputArtifact,
    schema: &TableSchema,
    form: Form,
    batch: &RecordBatch,
) -> Result<(), TableError> {
    let path = output.folder.join(format!("{}.{}", schema.name, form.extension()));
    let mut writer = TableWriter::create(&path, form, &schema.columns)?;
    writer.write(batch)?;
    writer.finish()?;
    let mut facets = Facets::new(&schema.columns)?;
    facets.update(batch);
    output.facets.extend(facets.finish().map(|(column, digest)| (schema.facet(&column), digest)));
    Ok(())
}
