//! The rows of a table as a reader may see them: only the columns that its port declared, each in the type of the schema.

use std::path::Path;

use arrow::array::types::{Float32Type, Float64Type, UInt32Type};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, PrimitiveArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::artifact::{Columns, InputArtifact, InputFile};
use crate::error::TableError;
use crate::file::TableFile;
use crate::schema::TableSchema;

/// The declared columns of one table file, as one batch. A table of one record batch is not copied out of the mapped file.
pub(crate) struct Table {
    schema: TableSchema,
    declared: Columns,
    batch: RecordBatch,
}

impl Table {
    /// Reads the table described by `schema` from `artifact`: one file, or several parts whose rows follow one another.
    pub(crate) fn open(artifact: &InputArtifact, schema: TableSchema) -> Result<Self, TableError> {
        let read = |file: &InputFile| Self::read(&file.path, &file.name, artifact.columns.clone(), schema.clone());
        let mut parts = files(artifact, schema.name).map(read).collect::<Result<Vec<_>, _>>()?;
        if parts.len() > 1 {
            let batch = concat_batches(parts[0].batch.schema_ref(), parts.iter().map(|part| &part.batch))
                .map_err(|source| TableError::arrow(format!("join the parts of the {}", schema.name), source))?;
            return Ok(Self { schema, declared: artifact.columns.clone(), batch });
        }
        parts.pop().ok_or_else(|| missing_table(artifact, schema.name))
    }

    /// Reads the whole table in the file at `path`.
    pub(crate) fn read_file(path: &Path, schema: TableSchema) -> Result<Self, TableError> {
        Self::read(path, &path.display().to_string(), Columns::All, schema)
    }

    /// Reads the table in the file at `path`, which the artifact calls `name`.
    pub(crate) fn read(path: &Path, name: &str, declared: Columns, schema: TableSchema) -> Result<Self, TableError> {
        let file = TableFile::open(path)?.ok_or_else(|| TableError::NotATable { file: name.to_owned() })?;
        let wanted = |column: &str| is_declared(&declared, &schema, column);
        schema.check(&file.schema, name, wanted)?;
        let mut batches = Vec::new();
        file.batches(wanted_of(&schema, &declared), &mut |batch| {
            batches.push(conform(&batch, &schema, name)?);
            Ok::<_, TableError>(())
        })?;
        let batch = match batches.as_slice() {
            [batch] => batch.clone(),
            [] => empty(&schema, &declared),
            several => concat_batches(several[0].schema_ref(), several)
                .map_err(|source| TableError::arrow(format!("join the batches of `{name}`"), source))?,
        };
        Ok(Self { schema, declared, batch })
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether the port declared `column`.
    pub(crate) fn is_declared(&self, column: &str) -> bool {
        is_declared(&self.declared, &self.schema, column)
    }

    /// The column called `column`.
    pub(crate) fn array(&self, column: &str) -> Result<&ArrayRef, TableError> {
        self.batch.column_by_name(column).ok_or_else(|| TableError::Undeclared {
            what: format!("the column `{}` of the {}", self.schema.facet(column), self.schema.kind),
        })
    }

    /// A column of numbers, with its nulls.
    pub(crate) fn numbers<T: ArrowPrimitiveType>(&self, column: &str) -> Result<&PrimitiveArray<T>, TableError> {
        Ok(self.array(column)?.as_primitive::<T>())
    }

    /// A column of `u32` without nulls.
    pub(crate) fn u32s(&self, column: &str) -> Result<&[u32], TableError> {
        Ok(self.numbers::<UInt32Type>(column)?.values())
    }

    /// A column of `f32` without nulls.
    pub(crate) fn f32s(&self, column: &str) -> Result<&[f32], TableError> {
        Ok(self.numbers::<Float32Type>(column)?.values())
    }

    /// A column of `f64` without nulls.
    pub(crate) fn f64s(&self, column: &str) -> Result<&[f64], TableError> {
        Ok(self.numbers::<Float64Type>(column)?.values())
    }

    /// A column of vectors, `[rows, dim]` row by row, and their length.
    pub(crate) fn vectors(&self, column: &str) -> Result<(&[f32], usize), TableError> {
        let list = self.array(column)?.as_fixed_size_list();
        let dim = list.value_length() as usize;
        let values = list.values().as_primitive::<Float32Type>().values();
        Ok((&values[..list.len() * dim], dim))
    }

    /// The text in each row of a column without nulls.
    pub(crate) fn texts(&self, column: &str) -> Result<impl Iterator<Item = &str>, TableError> {
        let categories = self.array(column)?.as_dictionary::<UInt32Type>();
        let values = categories.values().as_string::<i32>();
        Ok(categories.keys().values().iter().map(|&key| values.value(key as usize)))
    }
}

/// The rows of an artifact's main table, whichever program wrote it: the columns of its schema in their order and types, one batch
/// per file. There are none of plain files.
///
/// # Errors
/// A file is damaged, or a column is missing or has another type.
pub fn main_table(artifact: &InputArtifact) -> Result<Vec<RecordBatch>, TableError> {
    let Some(schema) = artifact.kind.tables().into_iter().find(TableSchema::is_main) else { return Ok(Vec::new()) };
    let read = |file: &InputFile| Table::read(&file.path, &file.name, Columns::All, schema.clone());
    files(artifact, schema.name).map(|file| read(file).map(|table| table.batch)).collect()
}

/// The files of the table called `table`, sorted by name: `table.arrow`, `table-00003.parquet` ….
pub(crate) fn files<'a>(artifact: &'a InputArtifact, table: &'a str) -> impl Iterator<Item = &'a InputFile> {
    artifact.files.iter().filter(move |file| table_of(&file.name) == Some(table))
}

/// The name of the table that a file belongs to, by the name of the file.
pub fn table_of(file: &str) -> Option<&str> {
    let stem = file.strip_suffix(".arrow").or_else(|| file.strip_suffix(".parquet"))?;
    let part = stem.rsplit_once('-').filter(|(_, part)| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    Some(part.map_or(stem, |(table, _)| table))
}

pub(crate) fn missing_table(artifact: &InputArtifact, table: &'static str) -> TableError {
    TableError::MissingTable { kind: artifact.kind, node: artifact.node.clone(), table }
}

/// Whether `declared` contains `column` of the table described by `schema`.
pub(crate) fn is_declared(declared: &Columns, schema: &TableSchema, column: &str) -> bool {
    declared.contains(&schema.facet(column))
}

/// Whether to read a column of the file: it is in the schema, and declared.
pub(crate) fn wanted_of<'a>(schema: &'a TableSchema, declared: &'a Columns) -> impl Fn(&str) -> bool + 'a {
    move |column| schema.columns.field_with_name(column).is_ok() && is_declared(declared, schema, column)
}

/// The batch with the columns of the schema in its order and types. Nulls are refused unless the schema allows them.
pub(crate) fn conform(batch: &RecordBatch, schema: &TableSchema, file: &str) -> Result<RecordBatch, TableError> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for field in schema.columns.fields() {
        let Some(array) = batch.column_by_name(field.name()) else { continue };
        if !field.is_nullable() && has_nulls(array.as_ref()) {
            return Err(TableError::Nulls { file: file.to_owned(), column: field.name().clone() });
        }
        let array = retype(array, field.data_type())
            .map_err(|source| TableError::arrow(format!("read the column `{}` of `{file}`", field.name()), source))?;
        fields.push(field.as_ref().clone().with_data_type(array.data_type().clone()).into());
        arrays.push(array);
    }
    let schema = SchemaRef::new(Schema::new(fields));
    RecordBatch::try_new(schema, arrays).map_err(|source| TableError::arrow(format!("read `{file}`"), source))
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

/// The same values in the type `expected`, which has the same logical type. A vector column accepts any dimension.
fn retype(array: &ArrayRef, expected: &DataType) -> Result<ArrayRef, ArrowError> {
    let DataType::FixedSizeList(item, 0) = expected else {
        return if array.data_type() == expected { Ok(array.clone()) } else { cast(array, expected) };
    };
    let dim = match array.data_type() {
        DataType::FixedSizeList(_, dim) => *dim,
        DataType::List(_) => array.as_list::<i32>().iter().flatten().next().map_or(0, |row| row.len() as i32),
        _ => array.as_list::<i64>().iter().flatten().next().map_or(0, |row| row.len() as i32),
    };
    let wrong = |problem: &str| Err(ArrowError::InvalidArgumentError(problem.to_owned()));
    if dim == 0 && !array.is_empty() {
        return wrong("its vectors have no coordinates");
    }
    let array = cast(array, &DataType::FixedSizeList(item.clone(), dim))?;
    let list = array.as_fixed_size_list();
    // A cast makes a null of a vector of another length; nulls in the file have been refused.
    if list.null_count() > 0 {
        return wrong("its vectors have different lengths");
    }
    Ok(std::sync::Arc::new(FixedSizeListArray::try_new(item.clone(), dim, list.values().clone(), None)?))
}

fn empty(schema: &TableSchema, declared: &Columns) -> RecordBatch {
    let wanted = wanted_of(schema, declared);
    let fields: Vec<_> = schema.columns.fields().iter().filter(|field| wanted(field.name())).cloned().collect();
    RecordBatch::new_empty(SchemaRef::new(Schema::new(fields)))
}
