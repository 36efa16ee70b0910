//! The schema of a table: its columns, with unit and meaning in each field's metadata, and its format version.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::TableError;
use crate::facets::logical_type;
use crate::kind::ArtifactKind;

/// The metadata key of the format version.
const FORMAT_KEY: &str = "dnc.format";
/// The metadata key of the table's name.
const TABLE_KEY: &str = "dnc.table";
/// The format that is written. Raise it when columns change in a way that an older reader would misunderstand, and keep
/// reading the formats before it. Tables without a version have format 0, whose columns are the same.
const FORMAT: u32 = 1;

/// One table of an artifact.
#[derive(Clone, Debug)]
pub struct TableSchema {
    /// The kind of artifact that it belongs to.
    pub kind: ArtifactKind,
    /// Its name: that of its file without extension and without the number of a part.
    pub name: &'static str,
    /// Its columns.
    pub columns: SchemaRef,
}

impl TableSchema {
    pub(crate) fn new(kind: ArtifactKind, name: &'static str, columns: Vec<Field>) -> Self {
        let metadata = [(FORMAT_KEY, FORMAT.to_string()), (TABLE_KEY, name.to_owned())];
        Self { kind, name, columns: Arc::new(Schema::new(columns).with_metadata(metadata)) }
    }

    /// Whether it is the artifact's main table, whose columns are called by their plain names.
    pub fn is_main(&self) -> bool {
        self.name == self.kind.name()
    }

    /// The facet of `column`: `column` in the main table, `table.column` in a table beside it. A column with the name of
    /// its own table is an exception and keeps its plain name: it belongs to the rows of the main table and is stored
    /// apart only because of its size.
    pub fn facet(&self, column: &str) -> String {
        if self.is_main() || column == self.name {
            column.to_owned()
        } else {
            format!("{name}.{column}", name = self.name)
        }
    }

    /// Checks that `found`, the schema of the file called `file`, has a format that this program reads, and those columns
    /// of this table that are `wanted`.
    pub(crate) fn check(&self, found: &Schema, file: &str, wanted: impl Fn(&str) -> bool) -> Result<(), TableError> {
        self.check_format(found)?;
        for field in self.columns.fields().iter().filter(|field| wanted(field.name())) {
            let expected = type_name(field.data_type());
            let found = found.field_with_name(field.name()).ok().map(|field| type_name(field.data_type()));
            if found.as_ref() != Some(&expected) {
                let (kind, file, column) = (self.kind, file.to_owned(), field.name().clone());
                return Err(TableError::Column { kind, file, column, expected, found });
            }
        }
        Ok(())
    }

    /// Refuses a table of a later format, and a version that is not a number, which only a later format can have.
    fn check_format(&self, found: &Schema) -> Result<(), TableError> {
        match found.metadata.get(FORMAT_KEY) {
            Some(format) if format.parse::<u32>().is_ok_and(|format| format <= FORMAT) => Ok(()),
            None => Ok(()),
            Some(format) => {
                Err(TableError::NewerFormat { table: self.name.to_owned(), found: format.to_string(), known: FORMAT })
            }
        }
    }
}

/// A column without nulls.
pub(crate) fn column(name: &str, data_type: DataType, unit: &str, meaning: &str) -> Field {
    Field::new(name, data_type, false).with_metadata([("meaning", meaning), ("unit", unit)])
}

/// A column that may contain nulls.
pub(crate) fn optional(name: &str, data_type: DataType, unit: &str, meaning: &str) -> Field {
    column(name, data_type, unit, meaning).with_nullable(true)
}

/// Text with few distinct values.
pub(crate) fn category() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

/// A list of any length.
pub(crate) fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, false)))
}

/// A vector of `dim` coordinates.
pub(crate) fn vector(dim: usize) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, false)), dim as i32)
}

/// The logical type for messages, or the physical type if no logical one is defined.
fn type_name(data_type: &DataType) -> String {
    logical_type(data_type).unwrap_or_else(|| data_type.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn formats_up_to_the_current_one_are_read_and_later_ones_refused() {
        let schema = crate::queries::schema();
        let check = |format: Option<&str>| {
            let metadata: HashMap<String, String> =
                format.into_iter().map(|format| (FORMAT_KEY.to_owned(), format.to_owned())).collect();
            let found = Schema::new(schema.columns.fields().clone()).with_metadata(metadata);
            schema.check(&found, "queries.parquet", |_| true)
        };
        assert!(check(None).is_ok());
        assert!(check(Some("0")).is_ok() && check(Some("1")).is_ok());
        assert_eq!(schema.columns.metadata.get(FORMAT_KEY).map(|format| format.to_string()), Some(FORMAT.to_string()));
        insta::assert_snapshot!(
            check(Some("3")).unwrap_err(),
            @"The table `queries` has format 3; this program reads formats up to 1; upgrade dnc-run"
        );
        assert!(check(Some("2b")).is_err());
    }
}
