//! Matrix products in row-major terms and in an explicit precision, with what follows them: `act(a · b + addend + shift)`.

use candle_core::Result;
use candle_core::cuda_backend::CudaDevice;

use super::lt;
pub(super) use super::matrices::{Finish, Matrices, Product};

impl Product {
    /// Enqueues the product.
    ///
    /// # Safety
    /// The matrices lie within the memory behind the pointers; the result is not transposed.
    ///
    /// # Errors
    /// cuBLAS fails.
    pub(super) unsafe fn enqueue(self, device: &CudaDevice, a: Matrices, b: Matrices, result: Matrices) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { self.enqueue_with(device, a, b, result, Finish::default()) }
    }

    /// Enqueues the product and what follows it.
    ///
    /// # Safety
    /// As for [`Self::enqueue`]; what is added lies like the result, and the shift has `n` elements.
    ///
    /// # Errors
    /// cuBLAS fails.
    pub(super) unsafe fn enqueue_with(
        self,
        device: &CudaDevice,
        a: Matrices,
        b: Matrices,
        result: Matrices,
        finish: Finish,
    ) -> Result<()> {
        // cuBLAS stores columns one after another: to it, each matrix here is its transpose, and the product is bᵀ · aᵀ.
        // SAFETY: promised by the caller.
        unsafe { lt::product(device, self, [b, a, result], finish) }
    }
}
