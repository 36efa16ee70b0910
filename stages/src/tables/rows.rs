//! The rows of a table as a stage may see them: only the columns that its port declared, each with the type of the schema.

use std::path::Path;

use arrow::array::types::{Float32Type, Float64Type, UInt32Type};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, PrimitiveArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Schema, SchemaRef};

use super::file::TableFile;
use super::schema::Description;
use crate::context::{InputArtifact, InputFile};
use crate::error::StageError;
use crate::stage::Columns;

/// The declared columns of one table file, as one batch. A table of one record batch stays where it is mapped.
pub(crate) struct Rows {
    description: Description,
    declared: Columns,
    batch: RecordBatch,
}

impl Rows {
    /// Reads the table that `description` means from `artifact`.
    pub(super) fn open(artifact: &InputArtifact, description: Description) -> Result<Self, StageError> {
        let mut files = files(artifact, description.name);
        let file = files.next().ok_or_else(|| no_table(artifact, description.name))?;
        Self::read(&file.path, &file.name, artifact.columns.clone(), description)
    }

    /// Reads the table in the file at `path`, which the artifact calls `name`.
    pub(super) fn read(
        path: &Path,
        name: &str,
        declared: Columns,
        description: Description,
    ) -> Result<Self, StageError> {
        let file = TableFile::open(path)?.ok_or_else(|| {
            StageError::input(format!("The file `{name}` of the {} is neither Arrow nor Parquet", description.kind))
        })?;
        let wanted = |column: &str| is_declared(&declared, &description, column);
        description.check(&file.schema, name, wanted)?;
        let mut batches = Vec::new();
        file.batches(wanted_of(&description, &declared), &mut |batch| {
            batches.push(conform(&batch, &description, name)?);
            Ok(())
        })?;
        let batch = match batches.as_slice() {
            [batch] => batch.clone(),
            [] => empty(&description, &declared),
            several => concat_batches(several[0].schema_ref(), several)
                .map_err(|source| StageError::table(format!("join the batches of `{name}`"), source))?,
        };
        Ok(Self { description, declared, batch })
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether the port declared `column`.
    pub(super) fn is_declared(&self, column: &str) -> bool {
        is_declared(&self.declared, &self.description, column)
    }

    /// The column called `column`.
    pub(super) fn array(&self, column: &str) -> Result<&ArrayRef, StageError> {
        self.batch.column_by_name(column).ok_or_else(|| StageError::Undeclared {
            what: format!("the column `{}` of the {}", self.description.facet(column), self.description.kind),
        })
    }

    /// A column of numbers, with its nulls.
    pub(super) fn numbers<T: ArrowPrimitiveType>(&self, column: &str) -> Result<&PrimitiveArray<T>, StageError> {
        Ok(self.array(column)?.as_primitive::<T>())
    }

    /// A column of `u32` without nulls.
    pub(super) fn u32s(&self, column: &str) -> Result<&[u32], StageError> {
        Ok(self.numbers::<UInt32Type>(column)?.values())
    }

    /// A column of `f32` without nulls.
    pub(super) fn f32s(&self, column: &str) -> Result<&[f32], StageError> {
        Ok(self.numbers::<Float32Type>(column)?.values())
    }

    /// A column of `f64` without nulls.
    pub(super) fn f64s(&self, column: &str) -> Result<&[f64], StageError> {
        Ok(self.numbers::<Float64Type>(column)?.values())
    }

    /// A column of vectors, `[rows, dim]` row by row, and their length.
    pub(super) fn vectors(&self, column: &str) -> Result<(&[f32], usize), StageError> {
        let list = self.array(column)?.as_fixed_size_list();
        let dim = list.value_length() as usize;
        let values = list.values().as_primitive::<Float32Type>().values();
        Ok((&values[..list.len() * dim], dim))
    }

    /// The text in each row of a column without nulls.
    pub(super) fn texts(&self, column: &str) -> Result<impl Iterator<Item = &str>, StageError> {
        let categories = self.array(column)?.as_dictionary::<UInt32Type>();
        let values = categories.values().as_string::<i32>();
        Ok(categories.keys().values().iter().map(|&key| values.value(key as usize)))
    }
}

/// The files of the table called `table`: `table.arrow`, `table-00003.parquet` …, in the order of their names.
pub(super) fn files<'a>(artifact: &'a InputArtifact, table: &'a str) -> impl Iterator<Item = &'a InputFile> {
    artifact.files.iter().filter(move |file| table_of(&file.name) == Some(table))
}

/// The table that a file of this name is of, or is a part of.
pub(super) fn table_of(file: &str) -> Option<&str> {
    let stem = file.strip_suffix(".arrow").or_else(|| file.strip_suffix(".parquet"))?;
    let part = stem.rsplit_once('-').filter(|(_, part)| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    Some(part.map_or(stem, |(table, _)| table))
}

pub(super) fn no_table(artifact: &InputArtifact, table: &str) -> StageError {
    let InputArtifact { kind, node, .. } = artifact;
    StageError::input(format!("The {kind} of `{node}` have no file `{table}.arrow` or `{table}.parquet`"))
}

/// Whether `declared` has `column` of the table that `description` means.
pub(super) fn is_declared(declared: &Columns, description: &Description, column: &str) -> bool {
    match declared {
        Columns::All => true,
        Columns::Named(names) => names.contains(&description.facet(column)),
    }
}

/// Whether to read a column of the file: it is one of ours, and declared.
pub(super) fn wanted_of<'a>(description: &'a Description, declared: &'a Columns) -> impl Fn(&str) -> bool + 'a {
    move |column| description.schema.field_with_name(column).is_ok() && is_declared(declared, description, column)
}

/// The batch with each column in the type of the schema, in the schema's order, without nulls where none may be.
pub(super) fn conform(batch: &RecordBatch, description: &Description, file: &str) -> Result<RecordBatch, StageError> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for field in description.schema.fields() {
        let Some(array) = batch.column_by_name(field.name()) else { continue };
        if !field.is_nullable() && has_nulls(array.as_ref()) {
            return Err(StageError::input(format!("The column `{}` of `{file}` has nulls", field.name())));
        }
        let array = retype(array, field.data_type())
            .map_err(|source| StageError::table(format!("read the column `{}` of `{file}`", field.name()), source))?;
        fields.push(field.as_ref().clone().with_data_type(array.data_type().clone()).into());
        arrays.push(array);
    }
    let schema = SchemaRef::new(Schema::new(fields));
    RecordBatch::try_new(schema, arrays).map_err(|source| StageError::table(format!("read `{file}`"), source))
}

fn has_nulls(array: &dyn Array) -> bool {
    let inside = match array.data_type() {
        DataType::FixedSizeList(..) => array.as_fixed_size_list().values().null_count(),
        DataType::List(_) => array.as_list::<i32>().values().null_count(),
        DataType::LargeList(_) => array.as_list::<i64>().values().null_count(),
        _ => 0,
    };
    array.logical_null_count() + inside > 0
}

/// The same values as `expected`, whose logical type they have; a vector column takes any dimension.
fn retype(array: &ArrayRef, expected: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    let DataType::FixedSizeList(item, 0) = expected else {
        return if array.data_type() == expected { Ok(array.clone()) } else { cast(array, expected) };
    };
    let dim = match array.data_type() {
        DataType::FixedSizeList(_, dim) => *dim,
        DataType::List(_) => array.as_list::<i32>().iter().flatten().next().map_or(0, |row| row.len() as i32),
        _ => array.as_list::<i64>().iter().flatten().next().map_or(0, |row| row.len() as i32),
    };
    let array = cast(array, &DataType::FixedSizeList(item.clone(), dim))?;
    let list = array.as_fixed_size_list();
    Ok(std::sync::Arc::new(FixedSizeListArray::try_new(item.clone(), dim, list.values().clone(), None)?))
}

fn empty(description: &Description, declared: &Columns) -> RecordBatch {
    let wanted = wanted_of(description, declared);
    let fields: Vec<_> = description.schema.fields().iter().filter(|field| wanted(field.name())).cloned().collect();
    RecordBatch::new_empty(SchemaRef::new(Schema::new(fields)))
}
