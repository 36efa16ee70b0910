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

/// A factor of a product: its address, and whether the matrix in memory is the factor's transpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    pub(super) pointer: u64,
    pub(super) transposed: bool,
}

impl Factor {
    pub(super) fn plain(pointer: u64) -> Self {
        Self { pointer, transposed: false }
    }

    pub(super) fn transposed(pointer: u64) -> Self {
        Self { pointer, transposed: true }
    }
}

/// `result[m, n] = a[m, k] · b[k, n]`, once or for each matrix of a batch; all are contiguous.
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
    /// The memory behind each pointer has the size of its matrices.
    ///
    /// # Errors
    /// cuBLAS fails.
    pub(super) unsafe fn enqueue(self, device: &CudaDevice, a: Factor, b: Factor, result: u64) -> Result<()> {
        let Self { m, n, k, batch, .. } = self;
        let compute = match self.precision {
            Precision::F32 | Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        let (factor_type, result_type) = (data_type(self.factors)?, data_type(self.result)?);
        // cuBLAS stores columns one after another: to it, each matrix here is its transpose, and the product is bᵀ · aᵀ.
        let operation =
            |factor: Factor| if factor.transposed { Operation::CUBLAS_OP_T } else { Operation::CUBLAS_OP_N };
        let (b_rows, a_rows) = (if b.transposed { k } else { n }, if a.transposed { m } else { k });
        let (one, zero) = (1f32, 0f32);
        let size = |size: usize| -> Result<c_int> { small(size) };
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
                size(b_rows)?,
                (k * n) as i64,
                a.pointer as *const c_void,
                factor_type,
                size(a_rows)?,
                (m * k) as i64,
                ptr::from_ref(&zero).cast(),
                result as *mut c_void,
                result_type,
                size(n)?,
                (m * n) as i64,
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
