//! How a table is described: its columns, with unit and meaning in each field's metadata.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::facets::logical_type;
use crate::error::StageError;
use crate::kind::Kind;

/// One table of an artifact.
#[derive(Clone, Debug)]
pub struct Description {
    /// The artifact that it belongs to.
    pub kind: Kind,
    /// Its name: that of its file without `.arrow` or `.parquet`, and without the part's number.
    pub name: &'static str,
    /// Its columns.
    pub schema: SchemaRef,
}

impl Description {
    pub(super) fn new(kind: Kind, name: &'static str, columns: Vec<Field>) -> Self {
        Self { kind, name, schema: Arc::new(Schema::new(columns)) }
    }

    /// Whether it is the artifact's main table, whose columns are called by their plain names.
    pub fn is_main(&self) -> bool {
        self.name == self.kind.name()
    }

    /// The facet of `column`: `column` in the main table, `table.column` beside it. The column that a table is named after
    /// belongs to the main table's rows and lies apart only because of its size: it keeps its plain name.
    pub fn facet(&self, column: &str) -> String {
        if self.is_main() || column == self.name {
            column.to_owned()
        } else {
            format!("{name}.{column}", name = self.name)
        }
    }

    /// Checks that `found`, the schema of the file called `file` that `node` wrote, has this table's columns.
    pub(super) fn check(&self, found: &Schema, file: &str, wanted: impl Fn(&str) -> bool) -> Result<(), StageError> {
        for field in self.schema.fields().iter().filter(|field| wanted(field.name())) {
            let expected = type_name(field.data_type());
            let found = found.field_with_name(field.name()).ok().map(|field| type_name(field.data_type()));
            if found.as_ref() != Some(&expected) {
                let (kind, file, column) = (self.kind, file.to_owned(), field.name().clone());
                return Err(StageError::Column { kind, file, column, expected, found });
            }
        }
        Ok(())
    }
}

/// A column that always has a value.
pub(super) fn column(name: &str, data_type: DataType, unit: &str, meaning: &str) -> Field {
    Field::new(name, data_type, false).with_metadata([("meaning", meaning), ("unit", unit)])
}

/// A column whose value may be missing.
pub(super) fn optional(name: &str, data_type: DataType, unit: &str, meaning: &str) -> Field {
    column(name, data_type, unit, meaning).with_nullable(true)
}

/// Text with few distinct values.
pub(super) fn category() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

/// A list of any length.
pub(super) fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, false)))
}

/// A vector of `dim` coordinates.
pub(super) fn vector(dim: usize) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, false)), dim as i32)
}

/// The logical type for messages; the physical one where none is defined.
fn type_name(data_type: &DataType) -> String {
    logical_type(data_type).unwrap_or_else(|| data_type.to_string())
}
