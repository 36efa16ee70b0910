//! Matrix products by cuBLAS, in row-major terms and in an explicit precision.

use std::ffi::{c_int, c_void};
use std::ptr;

use candle_core::cuda_backend::{CudaDevice, WrapErr as _};
use candle_core::{DType, Result, bail};
use cudarc::cublas::result::gemm_strided_batched_ex;
use cudarc::cublas::sys::{
    cublasComputeType_t as Compute, cublasGemmAlgo_t, cublasOperation_t as Operation, cudaDataType as Type,
};

use super::launch::small;
use crate::precision::Precision;

/// Where the matrices of a batch lie: the address of the first, the distance between rows and that between matrices in elements, and
/// whether a factor is the transpose of what lies there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrices {
    pointer: u64,
    row: usize,
    matrix: usize,
    is_transposed: bool,
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
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) batch: usize,
    /// Type of both factors.
    pub(super) factors: DType,
    pub(super) result: DType,
    pub(super) precision: Precision,
}

impl Product {
    /// Enqueues the product.
    ///
    /// # Safety
    /// The matrices lie within the memory behind the pointers; the result is not transposed.
    ///
    /// # Errors
    /// cuBLAS fails.
    pub(super) unsafe fn enqueue(self, device: &CudaDevice, a: Matrices, b: Matrices, result: Matrices) -> Result<()> {
        let Self { m, n, k, batch, .. } = self;
        let compute = match self.precision {
            Precision::F32 | Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        let (factor_type, result_type) = (data_type(self.factors)?, data_type(self.result)?);
        let operation = |factor: Matrices| match factor.is_transposed {
            true => Operation::CUBLAS_OP_T,
            false => Operation::CUBLAS_OP_N,
        };
        let (one, zero) = (1f32, 0f32);
        let size = |size: usize| -> Result<c_int> { small(size) };
        // cuBLAS stores columns one after another: to it, each matrix here is its transpose, and the product is bᵀ · aᵀ.
        // SAFETY: the handle belongs to the open device; sizes and types are those of the matrices, and the scalars are `f32` on the
        // host, as the compute types demand. The caller vouches for the pointers.
        unsafe {
            gemm_strided_batched_ex(
                *device.cublas_handle().handle(),
                operation(b),
                operation(a),
                size(n)?,
                size(m)?,
                size(k)?,
                ptr::from_ref(&one).cast(),
                b.pointer as *const c_void,
                factor_type,
                size(b.row)?,
                b.matrix as i64,
                a.pointer as *const c_void,
                factor_type,
                size(a.row)?,
                a.matrix as i64,
                ptr::from_ref(&zero).cast(),
                result.pointer as *mut c_void,
                result_type,
                size(result.row)?,
                result.matrix as i64,
                size(batch)?,
                compute,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
            .w()
        }
    }
}

fn data_type(dtype: DType) -> Result<Type> {
    match dtype {
        DType::F32 => Ok(Type::CUDA_R_32F),
        DType::BF16 => Ok(Type::CUDA_R_16BF),
        _ => bail!("there are no matrix products of {dtype:?}"),
    }
}
