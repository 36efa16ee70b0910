//! The values that a pickle builds, of which only tensors and what leads to them are kept.

use std::rc::Rc;

use candle_core::DType;

use crate::weights::parse_result::ParseResult;

/// Index of a value in the list of all values of a pickle.
pub(crate) type Id = usize;

/// Maximum length in bytes of a tensor's name, a storage's key or a class's name.
pub(crate) const LONGEST_NAME: usize = 256;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(String),
    Storage(Rc<Storage>),
    Tensor(Rc<StridedView>),
    None,
    /// A value of no use here, or the result of a call that is not made.
    Opaque,
}

/// A buffer that is stored beside the pickle.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storage {
    pub(crate) key: String,
    pub(crate) dtype: DType,
    /// Number of elements.
    pub(crate) count: usize,
    /// Bytes per element in the file.
    pub(crate) width: usize,
}

/// A tensor: a strided view of a storage.
#[derive(Clone, Debug)]
pub(crate) struct StridedView {
    pub(crate) storage: Rc<Storage>,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

/// The element type of one of PyTorch's storage classes, and its width in the file.
pub(crate) fn storage_class(class: &str) -> Option<(DType, usize)> {
    Some(match class {
        "FloatStorage" => (DType::F32, 4),
        "DoubleStorage" => (DType::F64, 8),
        "HalfStorage" => (DType::F16, 2),
        "BFloat16Storage" => (DType::BF16, 2),
        "LongStorage" => (DType::I64, 8),
        "IntStorage" => (DType::I32, 4),
        "ShortStorage" => (DType::I16, 2),
        "ByteStorage" | "BoolStorage" => (DType::U8, 1),
        _ => return None,
    })
}

impl StridedView {
    /// Number of elements.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Checks that every element lies in the storage, and that there are no more of them than the storage holds: a tensor that
    /// repeats elements is not a weight, and nothing in the file would bound its size.
    pub(crate) fn check(&self) -> ParseResult<()> {
        let outside = || format!("one of its tensors, of shape {:?}, reaches beyond its storage", self.shape);
        if self.shape.len() != self.strides.len() {
            return Err(format!(
                "one of its tensors has {} sizes and {} strides",
                self.shape.len(),
                self.strides.len()
            ));
        }
        let count = self.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if count.ok_or_else(outside)? == 0 {
            return Ok(());
        }
        let last = self
            .shape
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |last, (size, stride)| last.checked_add((size - 1).checked_mul(*stride)?));
        if last.ok_or_else(outside)? >= self.storage.count || self.count() > self.storage.count {
            return Err(outside());
        }
        Ok(())
    }

    /// Copies the elements out of the bytes of the storage, in row-major order.
    pub(crate) fn gather(&self, storage: &[u8]) -> Vec<u8> {
        let width = self.storage.width;
        let (count, rank) = (self.count(), self.shape.len());
        let mut bytes = Vec::with_capacity(count * width);
        let mut index = vec![0; rank];
        let mut position = self.offset;
        for _ in 0..count {
            bytes.extend_from_slice(&storage[position * width..][..width]);
            for axis in (0..rank).rev() {
                index[axis] += 1;
                position += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                position -= index[axis] * self.strides[axis];
                index[axis] = 0;
            }
        }
        bytes
    }
}
