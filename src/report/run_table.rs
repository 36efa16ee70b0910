//! Reads the Parquet tables of runs, column by column.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::types::{ArrowPrimitiveType, Float64Type, Int32Type, UInt32Type};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::error::{ReportError, TableFault};

/// Passes these columns of a file to `visit`, batch by batch. A file that does not exist has no batches.
pub(super) fn visit_batches(
    path: &Path,
    columns: &[&'static str],
    mut visit: impl FnMut(&TableColumns<'_>) -> Result<(), TableFault>,
) -> Result<(), ReportError> {
    if !path.exists() {
        return Ok(());
    }
    let mut visit_all = || -> Result<(), TableFault> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
        let wanted = ProjectionMask::columns(reader.parquet_schema(), columns.iter().copied());
        for batch in reader.with_projection(wanted).build()? {
            visit(&TableColumns(&batch?))?;
        }
        Ok(())
    };
    visit_all().map_err(|source| ReportError::ReadTable { path: path.to_owned(), source })
}

/// The columns of a batch by name.
pub(super) struct TableColumns<'batch>(&'batch RecordBatch);

impl TableColumns<'_> {
    /// A text column, dictionary-encoded or not.
    pub(super) fn texts(&self, name: &'static str) -> Result<Vec<String>, TableFault> {
        let column = self.column(name)?;
        let plain = match column.data_type() {
            DataType::Utf8 => Arc::clone(column),
            _ => arrow::compute::cast(column, &DataType::Utf8)?,
        };
        Ok(plain.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect())
    }

    /// A column of type i32.
    pub(super) fn i32s(&self, name: &'static str) -> Result<&PrimitiveArray<Int32Type>, TableFault> {
        self.primitive(name, "i32")
    }

    /// A column of type u32.
    pub(super) fn u32s(&self, name: &'static str) -> Result<&PrimitiveArray<UInt32Type>, TableFault> {
        self.primitive(name, "u32")
    }

    /// A column of type f64.
    pub(super) fn f64s(&self, name: &'static str) -> Result<&PrimitiveArray<Float64Type>, TableFault> {
        self.primitive(name, "f64")
    }

    /// The rows of a list column, one after another: calls `visit` with the number of the row and its values.
    pub(super) fn visit_lists<T: ArrowPrimitiveType>(
        &self,
        name: &'static str,
        expected: &'static str,
        mut visit: impl FnMut(usize, &[T::Native]),
    ) -> Result<(), TableFault> {
        let fault = || TableFault::ColumnType { column: name, expected };
        let lists = self.column(name)?.as_list_opt::<i32>().ok_or_else(fault)?;
        let values = lists.values().as_primitive_opt::<T>().ok_or_else(fault)?.values();
        for (row, ends) in lists.value_offsets().windows(2).enumerate() {
            visit(row, &values[ends[0] as usize..ends[1] as usize]);
        }
        Ok(())
    }

    fn primitive<T: ArrowPrimitiveType>(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<&PrimitiveArray<T>, TableFault> {
        self.column(name)?.as_primitive_opt().ok_or(TableFault::ColumnType { column: name, expected })
    }

    fn column(&self, name: &'static str) -> Result<&ArrayRef, TableFault> {
        self.0.column_by_name(name).ok_or(TableFault::MissingColumn(name))
    }
}
