//! Logical digests of columns: the *facet* of a column changes if and only if one of its values changes.
//!
//! A facet is the BLAKE3 digest (key derivation mode with [`CONTEXT`]) of the column's logical type, a line feed, and the
//! encoding of each value in row order:
//!
//! | value | bytes |
//! |---|---|
//! | null | `0` |
//! | present | `1`, then its payload |
//! | number, date, time | its little-endian bytes, at its own width |
//! | bool | `0` or `1` |
//! | text, bytes | length as `u64` little-endian, then the bytes |
//! | list | length as `u64`, then `1` and the payloads if no element is null, else `0` and each element encoded as a value |
//! | struct | each field encoded as a value |
//!
//! Nothing else is hashed: neither record batches, parts, compression, dictionaries nor the width of offsets. The same
//! values written by another program have the same facet.

use arrow::array::{Array, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, FieldRef, Schema};

use crate::error::TableError;

/// Domain separation from all other digests.
const CONTEXT: &str = "dnc 2026 column";

/// Number of encoded bytes that are buffered before they are hashed: enough for the hash to use its full SIMD width.
const CHUNK: usize = 1 << 18;

/// The digest of a column's values, fed batch by batch.
pub struct Facet {
    hasher: blake3::Hasher,
    pending: Vec<u8>,
}

impl Facet {
    /// The facet of a column of `data_type` without rows; `None` for a type without an encoding.
    pub fn new(data_type: &DataType) -> Option<Self> {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(logical_type(data_type)?.as_bytes()).update(b"\n");
        Some(Self { hasher, pending: Vec::new() })
    }

    /// Appends the values of `array`, whose logical type must be that of the facet.
    pub fn update(&mut self, array: &dyn Array) {
        let values = Values::of(array);
        for row in 0..array.len() {
            values.encode(row, &mut self.pending);
            if self.pending.len() >= CHUNK {
                self.hasher.update(&self.pending);
                self.pending.clear();
            }
        }
    }

    /// The digest of all values so far.
    pub fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.pending);
        *self.hasher.finalize().as_bytes()
    }
}

/// The facets of all columns of a table.
pub(crate) struct Facets {
    columns: Vec<(String, Facet)>,
}

impl Facets {
    /// Fails on a column whose type has no encoding, which no table of this crate has.
    pub(crate) fn new(schema: &Schema) -> Result<Self, TableError> {
        let facet = |field: &FieldRef| {
            let facet = Facet::new(field.data_type()).ok_or_else(|| TableError::NoDigest {
                column: field.name().clone(),
                data_type: field.data_type().to_string(),
            })?;
            Ok((field.name().clone(), facet))
        };
        Ok(Self { columns: schema.fields().iter().map(facet).collect::<Result<_, TableError>>()? })
    }

    pub(crate) fn update(&mut self, batch: &RecordBatch) {
        for ((_, facet), array) in self.columns.iter_mut().zip(batch.columns()) {
            facet.update(array);
        }
    }

    pub(crate) fn finish(self) -> impl Iterator<Item = (String, [u8; 32])> {
        self.columns.into_iter().map(|(name, facet)| (name, facet.finish()))
    }
}

/// The type of a column's values, whatever their layout: `u32`, `utf8`, `list<f32>`. `None` for types without an encoding.
pub fn logical_type(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Boolean => "bool".to_owned(),
        DataType::Int8 => "i8".to_owned(),
        DataType::Int16 => "i16".to_owned(),
        DataType::Int32 => "i32".to_owned(),
        DataType::Int64 => "i64".to_owned(),
        DataType::UInt8 => "u8".to_owned(),
        DataType::UInt16 => "u16".to_owned(),
        DataType::UInt32 => "u32".to_owned(),
        DataType::UInt64 => "u64".to_owned(),
        DataType::Float16 => "f16".to_owned(),
        DataType::Float32 => "f32".to_owned(),
        DataType::Float64 => "f64".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "utf8".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "binary".to_owned()
        }
        DataType::Dictionary(_, values) => logical_type(values)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("list<{}>", logical_type(item.data_type())?)
        }
        DataType::Struct(fields) => {
            let field = |field: &FieldRef| Some(format!("{} {}", field.name(), logical_type(field.data_type())?));
            format!("struct<{}>", fields.iter().map(field).collect::<Option<Vec<_>>>()?.join(", "))
        }
        other if other.primitive_width().is_some() => other.to_string(),
        _ => return None,
    })
}

/// The values of an array, ready to be encoded: its layout is resolved once.
enum Values<'a> {
    /// Numbers as packed bytes, which are little-endian on every supported platform.
    Packed { nulls: Option<&'a NullBuffer>, width: usize, bytes: Buffer },
    /// Any type whose payload a closure makes from the row number.
    Computed { nulls: Option<&'a NullBuffer>, payload: Box<dyn Fn(usize, &mut Vec<u8>) + 'a> },
    /// Keys into a list of values.
    Dictionary { nulls: Option<&'a NullBuffer>, keys: Vec<usize>, values: Box<Values<'a>> },
}

impl<'a> Values<'a> {
    fn of(array: &'a dyn Array) -> Self {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let computed = |payload| Values::Computed { nulls, payload };
        match array.data_type() {
            DataType::Boolean => {
                let values = array.as_boolean();
                computed(Box::new(move |row, out| out.push(u8::from(values.value(row)))))
            }
            DataType::Utf8 => text(array.as_string::<i32>(), nulls, |values, row| values.value(row).as_bytes()),
            DataType::LargeUtf8 => text(array.as_string::<i64>(), nulls, |values, row| values.value(row).as_bytes()),
            DataType::Utf8View => text(array.as_string_view(), nulls, |values, row| values.value(row).as_bytes()),
            DataType::Binary => text(array.as_binary::<i32>(), nulls, |values, row| values.value(row)),
            DataType::LargeBinary => text(array.as_binary::<i64>(), nulls, |values, row| values.value(row)),
            DataType::BinaryView => text(array.as_binary_view(), nulls, |values, row| values.value(row)),
            DataType::FixedSizeBinary(_) => text(array.as_fixed_size_binary(), nulls, |values, row| values.value(row)),
            DataType::List(_) => computed(list::<i32>(array)),
            DataType::LargeList(_) => computed(list::<i64>(array)),
            DataType::FixedSizeList(_, width) => {
                let (list, width) = (array.as_fixed_size_list(), *width as usize);
                let items = Values::of(list.values());
                let first = list.value_offset_at(0);
                computed(Box::new(move |row, out| items.encode_list(first + row * width, width, out)))
            }
            DataType::Struct(_) => {
                let columns: Vec<_> = array.as_struct().columns().iter().map(|column| Values::of(column)).collect();
                computed(Box::new(move |row, out| columns.iter().for_each(|column| column.encode(row, out))))
            }
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let empty = dictionary.values().is_empty();
                let keys = if empty { vec![0; array.len()] } else { dictionary.normalized_keys() };
                Values::Dictionary { nulls, keys, values: Box::new(Values::of(dictionary.values())) }
            }
            other => {
                let width = other.primitive_width().expect("`logical_type` returned `None` for all other types");
                let layout = array.to_data();
                let bytes = layout.buffers()[0].slice_with_length(layout.offset() * width, array.len() * width);
                Values::Packed { nulls, width, bytes }
            }
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Values::Packed { nulls, .. } | Values::Computed { nulls, .. } => {
                nulls.is_some_and(|nulls| nulls.is_null(row))
            }
            Values::Dictionary { nulls, keys, values } => {
                nulls.is_some_and(|nulls| nulls.is_null(row)) || values.is_null(keys[row])
            }
        }
    }

    fn encode(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.push(0);
        } else {
            out.push(1);
            self.payload(row, out);
        }
    }

    fn payload(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Values::Packed { width, bytes, .. } => out.extend_from_slice(&bytes[row * width..][..*width]),
            Values::Computed { payload, .. } => payload(row, out),
            Values::Dictionary { keys, values, .. } => values.payload(keys[row], out),
        }
    }

    fn encode_list(&self, first: usize, count: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&(count as u64).to_le_bytes());
        let rows = first..first + count;
        if rows.clone().any(|row| self.is_null(row)) {
            out.push(0);
            rows.for_each(|row| self.encode(row, out));
        } else {
            out.push(1);
            match self {
                Values::Packed { width, bytes, .. } => out.extend_from_slice(&bytes[first * width..][..count * width]),
                _ => rows.for_each(|row| self.payload(row, out)),
            }
        }
    }
}

fn text<'a, A>(array: &'a A, nulls: Option<&'a NullBuffer>, bytes: fn(&'a A, usize) -> &'a [u8]) -> Values<'a> {
    let payload = move |row: usize, out: &mut Vec<u8>| {
        let bytes = bytes(array, row);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    Values::Computed { nulls, payload: Box::new(payload) }
}

fn list<'a, O: OffsetSizeTrait>(array: &'a dyn Array) -> Box<dyn Fn(usize, &mut Vec<u8>) + 'a> {
    let list = array.as_list::<O>();
    let items = Values::of(list.values());
    Box::new(move |row, out| {
        let (first, end) = (list.value_offsets()[row].as_usize(), list.value_offsets()[row + 1].as_usize());
        items.encode_list(first, end - first, out);
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, BinaryViewArray, BooleanArray, DictionaryArray, FixedSizeListArray, Float32Array, Int32Array,
        LargeListArray, LargeStringArray, ListArray, NullArray, StringArray, StringViewArray, StructArray, UInt32Array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::{Field, Int8Type, UInt32Type, UInt64Type};
    use proptest::prelude::*;

    use super::*;

    fn facet(arrays: &[&dyn Array]) -> [u8; 32] {
        let mut facet = Facet::new(arrays[0].data_type()).unwrap();
        arrays.iter().for_each(|array| facet.update(*array));
        facet.finish()
    }

    #[test]
    fn the_encoding_is_the_documented_one() {
        let check = |array: &dyn Array, logical: &str, encoding: &[u8]| {
            let mut expected = blake3::Hasher::new_derive_key(CONTEXT);
            expected.update(logical.as_bytes()).update(b"\n").update(encoding);
            assert_eq!(facet(&[array]), *expected.finalize().as_bytes(), "{logical}");
        };
        check(&UInt32Array::from(vec![Some(1), None, Some(258)]), "u32", &[1, 1, 0, 0, 0, 0, 1, 2, 1, 0, 0]);
        check(&BooleanArray::from(vec![Some(true), None, Some(false)]), "bool", &[1, 1, 0, 1, 0]);
        check(&StringArray::from(vec![Some("ab"), None]), "utf8", &[1, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', 0]);
        let lists =
            ListArray::from_iter_primitive::<Int8Type, _, _>([Some(vec![Some(7), Some(8)]), None, Some(vec![])]);
        check(&lists, "list<i8>", &[1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 7, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let gaps = ListArray::from_iter_primitive::<Int8Type, _, _>([Some(vec![Some(7), None])]);
        check(&gaps, "list<i8>", &[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7, 0]);
        let fields: (Arc<Field>, Arc<dyn Array>) =
            (Arc::new(Field::new("n", DataType::Boolean, true)), Arc::new(BooleanArray::from(vec![None, Some(true)])));
        check(&StructArray::from(vec![fields]), "struct<n bool>", &[1, 0, 1, 1, 1]);
    }

    #[test]
    fn the_layout_does_not_matter() {
        let words = ["a", "b", "a", "", "ccc"];
        let plain = StringArray::from(words.to_vec());
        let same = facet(&[&plain]);
        assert_eq!(facet(&[&LargeStringArray::from(words.to_vec())]), same);
        assert_eq!(facet(&[&StringViewArray::from(words.to_vec())]), same);
        assert_eq!(facet(&[&words.into_iter().collect::<DictionaryArray<UInt32Type>>()]), same);
        assert_eq!(facet(&[&words.into_iter().collect::<DictionaryArray<Int8Type>>()]), same);
        assert_eq!(facet(&[&plain.slice(0, 2), &plain.slice(2, 3)]), same);
        assert_ne!(facet(&[&plain.slice(0, 4)]), same);
        assert_ne!(facet(&[&BinaryArray::from(words.map(str::as_bytes).to_vec())]), same, "text is not bytes");
        assert_eq!(
            facet(&[&BinaryArray::from(words.map(str::as_bytes).to_vec())]),
            facet(&[&BinaryViewArray::from(words.map(str::as_bytes).to_vec())])
        );

        let values = Float32Array::from((0..12).map(|n| n as f32).collect::<Vec<_>>());
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let fixed = FixedSizeListArray::new(item.clone(), 3, Arc::new(values), None);
        let same = facet(&[&fixed]);
        assert_eq!(facet(&[&cast(&fixed, &DataType::List(item.clone())).unwrap()]), same);
        assert_eq!(facet(&[&cast(&fixed, &DataType::LargeList(item)).unwrap()]), same);
        assert_eq!(facet(&[&fixed.slice(0, 1), &fixed.slice(1, 3)]), same);
    }

    #[test]
    fn values_under_a_null_do_not_matter() {
        let hidden = |values: [i32; 3]| {
            let nulls = NullBuffer::from(vec![true, false, true]);
            Int32Array::new(values.to_vec().into(), Some(nulls))
        };
        assert_eq!(facet(&[&hidden([1, 2, 3])]), facet(&[&hidden([1, 9, 3])]));
        assert_ne!(facet(&[&hidden([1, 2, 3])]), facet(&[&Int32Array::from(vec![1, 2, 3])]));
        let empty =
            DictionaryArray::<UInt32Type>::new(vec![None, None].into(), Arc::new(StringArray::from(vec![""; 0])));
        assert_eq!(facet(&[&empty]), facet(&[&StringArray::from(vec![None::<&str>, None])]));
    }

    #[test]
    fn a_type_without_an_encoding_has_no_facet() {
        assert!(Facet::new(NullArray::new(1).data_type()).is_none());
        let lists = LargeListArray::from_iter_primitive::<UInt64Type, _, _>([Some(vec![Some(1)])]);
        assert_eq!(logical_type(lists.data_type()).unwrap(), "list<u64>");
    }

    proptest! {
        #[test]
        fn any_division_into_batches_gives_the_same_digest(
            lists in prop::collection::vec(prop::option::of(prop::collection::vec(prop::option::of(0_u32..9), 0..4)), 1..40),
            cut in 0_usize..40,
        ) {
            let cut = cut.min(lists.len());
            let array = ListArray::from_iter_primitive::<UInt32Type, _, _>(lists.clone());
            let whole = facet(&[&array]);
            prop_assert_eq!(whole, facet(&[&array.slice(0, cut), &array.slice(cut, lists.len() - cut)]));
            let mut changed = lists;
            changed[0] = Some(vec![Some(77)]);
            let changed = ListArray::from_iter_primitive::<UInt32Type, _, _>(changed);
            prop_assert_ne!(whole, facet(&[&changed]));
        }
    }
}
