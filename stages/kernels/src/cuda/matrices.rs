//! What a matrix product takes, in row-major terms.

use candle_core::DType;

use super::memory::NULL;
use crate::precision::Precision;

/// Where the matrices of a batch lie: the address of the first, the distance between rows and that between matrices in elements, and
/// whether a factor is the transpose of what lies there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrices {
    pub(super) pointer: u64,
    pub(super) row: usize,
    pub(super) matrix: usize,
    pub(super) is_transposed: bool,
}

impl Matrices {
    /// One matrix with rows of this length, one after another.
    pub(super) fn one(pointer: u64, row: usize) -> Self {
        Self::strided(pointer, row, 0)
    }

    /// Matrices at these distances.
    pub(super) fn strided(pointer: u64, row: usize, matrix: usize) -> Self {
        Self { pointer, row, matrix, is_transposed: false }
    }

    /// The transposes of these matrices.
    pub(super) fn transposed(self) -> Self {
        Self { is_transposed: !self.is_transposed, ..self }
    }
}

/// `result[m, n] = a[m, k] · b[k, n]`, once or for each matrix of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Product {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) batch: usize,
    /// Type of both factors.
    pub(super) factors: DType,
    /// Type of the result, of what is added and of the shift.
    pub(super) result: DType,
    pub(super) precision: Precision,
}

/// What follows a product, in this order; zero pointers are left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finish {
    /// A matrix like the result that is added.
    pub(super) addend: u64,
    /// A value per column that is added.
    pub(super) shift: u64,
    /// Whether negative values become zero.
    pub(super) relu: bool,
}

impl Finish {
    /// Adds a matrix like the result, if there is one.
    pub(super) fn adding(addend: u64) -> Self {
        Self { addend, shift: NULL, relu: false }
    }
}
