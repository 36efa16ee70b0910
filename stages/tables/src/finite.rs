//! The check that every number of an artifact is finite: infinities and NaN mean that something went wrong before, and must
//! not be taken for a result.

use arrow::array::types::{Float32Type, Float64Type};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use candle_core::DType;
use dnc_learn::weights::NamedTensor;
use half::{bf16, f16};

use crate::error::TableError;

/// Checks the columns of `table` that hold floats or lists of floats.
pub(crate) fn check_batch(batch: &RecordBatch, table: &str) -> Result<(), TableError> {
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if let Some(value) = first_not_finite(column.as_ref()) {
            return Err(TableError::NotFinite { what: format!("column `{}` of `{table}`", field.name()), value });
        }
    }
    Ok(())
}

/// Checks the values of tensors.
pub(crate) fn check_tensors(tensors: &[NamedTensor]) -> Result<(), TableError> {
    for NamedTensor { name, dtype, bytes, .. } in tensors {
        if let Some(value) = first_in_bytes(*dtype, bytes) {
            return Err(TableError::NotFinite { what: format!("tensor `{name}` of the model"), value });
        }
    }
    Ok(())
}

/// The first value that is infinite or NaN.
fn first_not_finite(column: &dyn Array) -> Option<f64> {
    let is_wrong = |value: &f64| !value.is_finite();
    match column.data_type() {
        DataType::Float32 => column.as_primitive::<Float32Type>().iter().flatten().map(f64::from).find(is_wrong),
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().find(is_wrong),
        DataType::List(_) => first_not_finite(column.as_list::<i32>().values().as_ref()),
        DataType::LargeList(_) => first_not_finite(column.as_list::<i64>().values().as_ref()),
        DataType::FixedSizeList(..) => first_not_finite(column.as_fixed_size_list().values().as_ref()),
        _ => None,
    }
}

fn first_in_bytes(dtype: DType, bytes: &[u8]) -> Option<f64> {
    fn find<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Option<f64> {
        let (values, _) = bytes.as_chunks::<N>();
        values.iter().map(|&bytes| value(bytes)).find(|value| !value.is_finite())
    }
    match dtype {
        DType::F64 => find(bytes, f64::from_le_bytes),
        DType::F32 => find(bytes, |bytes| f32::from_le_bytes(bytes).into()),
        DType::F16 => find(bytes, |bytes| f16::from_le_bytes(bytes).into()),
        DType::BF16 => find(bytes, |bytes| bf16::from_le_bytes(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array, ListArray, UInt32Array};

    use super::*;

    #[test]
    fn infinite_and_undefined_values_are_found_in_every_form() {
        let check = |name: &str, column: ArrayRef| {
            let batch = RecordBatch::try_from_iter([(name, column)]).unwrap();
            check_batch(&batch, "metrics").map_err(|error| error.to_string())
        };
        let list = |values: [f32; 2]| {
            ListArray::from_iter_primitive::<Float32Type, _, _>([Some(values.map(Some).into_iter())])
        };
        let vector = |values: [f32; 2]| {
            FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>([Some(values.map(Some).into_iter())], 2)
        };
        assert_eq!(check("value", Arc::new(Float64Array::from(vec![Some(1.0), None, Some(f64::MAX)]))), Ok(()));
        assert_eq!(check("id", Arc::new(UInt32Array::from(vec![u32::MAX]))), Ok(()));
        assert_eq!(check("list", Arc::new(list([0.0, f32::MIN_POSITIVE]))), Ok(()));
        for (column, value) in [
            (Arc::new(Float64Array::from(vec![1.0, f64::NAN])) as ArrayRef, "NaN"),
            (Arc::new(Float32Array::from(vec![f32::NEG_INFINITY])), "-inf"),
            (Arc::new(list([0.0, f32::INFINITY])), "inf"),
            (Arc::new(vector([f32::NAN, 0.0])), "NaN"),
        ] {
            let message = check("value", column).unwrap_err();
            assert!(message.contains(&format!("column `value` of `metrics` contains {value}")), "{message}");
        }
    }

    #[test]
    fn tensors_are_checked_in_every_dtype() {
        let tensor = |dtype, bytes: &[u8]| {
            let tensor = NamedTensor { name: "fc.weight".into(), dtype, shape: vec![1], bytes: bytes.to_vec() };
            check_tensors(&[tensor]).is_ok()
        };
        assert!(tensor(DType::F32, &1.5_f32.to_le_bytes()) && !tensor(DType::F32, &f32::NAN.to_le_bytes()));
        assert!(tensor(DType::F64, &1.5_f64.to_le_bytes()) && !tensor(DType::F64, &f64::INFINITY.to_le_bytes()));
        assert!(tensor(DType::F16, &f16::MAX.to_le_bytes()) && !tensor(DType::F16, &f16::INFINITY.to_le_bytes()));
        assert!(tensor(DType::BF16, &bf16::MAX.to_le_bytes()) && !tensor(DType::BF16, &bf16::NAN.to_le_bytes()));
        assert!(tensor(DType::U8, &[255]));
    }
}
