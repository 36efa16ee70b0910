//! Tensors on a GPU as pointers, and new memory for results.

use candle_core::backend::BackendDevice as _;
use candle_core::cuda_backend::{CudaDevice, CudaStorage, CudaStorageSlice, WrapErr as _};
use candle_core::op::BackpropOp;
use candle_core::{DType, Result, Shape, Storage, Tensor, bail};
use cudarc::driver::result::memcpy_dtod_async;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr as _};

/// A null pointer, which kernels take for a tensor that is left out.
pub(super) const NULL: u64 = 0;

/// The address of a contiguous tensor's first element.
///
/// It is valid as long as the tensor; work that is enqueued before the tensor is dropped may use it to its end, because memory is
/// freed in the order of the one stream.
///
/// # Errors
/// The tensor is not contiguous or not on a GPU.
pub(super) fn pointer(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((start, _))) = (&*storage, layout.contiguous_offsets()) else {
        bail!("a CUDA kernel was called with a tensor that is not contiguous memory of a GPU")
    };
    Ok(base(storage)? + (start * tensor.dtype().size_in_bytes()) as u64)
}

/// The pointer of a tensor that may be left out.
pub(super) fn pointer_or_null(tensor: Option<&Tensor>) -> Result<u64> {
    tensor.map_or(Ok(NULL), pointer)
}

/// The address of memory that may be left out.
pub(super) fn output_or_null(output: Option<&Output>) -> Result<u64> {
    output.map_or(Ok(NULL), Output::pointer)
}

/// The device of a tensor.
///
/// # Errors
/// It is not a GPU.
pub(super) fn device(tensor: &Tensor) -> Result<CudaDevice> {
    Ok(tensor.device().as_cuda_device()?.clone())
}

/// The address of the first byte of a storage.
fn base(storage: &CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    Ok(match &storage.slice {
        CudaStorageSlice::U8(slice) => address(slice, &stream),
        CudaStorageSlice::U32(slice) => address(slice, &stream),
        CudaStorageSlice::BF16(slice) => address(slice, &stream),
        CudaStorageSlice::F32(slice) => address(slice, &stream),
        _ => bail!("a CUDA kernel was called with a tensor of another type than u8, u32, bf16 and f32"),
    })
}

fn address<T>(slice: &CudaSlice<T>, stream: &CudaStream) -> u64 {
    slice.device_ptr(stream).0
}

/// New memory on a GPU that a kernel fills.
pub(super) struct Output {
    storage: CudaStorage,
    shape: Shape,
    dtype: DType,
}

impl Output {
    /// Memory for a tensor. Its contents are undefined: the caller enqueues a kernel that writes every element.
    pub(super) fn new(shape: impl Into<Shape>, dtype: DType, device: &CudaDevice) -> Result<Self> {
        let shape = shape.into();
        // SAFETY: all element types here are valid with any bits, and a kernel writes them before they are read.
        let storage = unsafe { device.alloc_uninit(&shape, dtype)? };
        Ok(Self { storage, shape, dtype })
    }

    /// A copy of a contiguous tensor.
    pub(super) fn copy_of(tensor: &Tensor) -> Result<Self> {
        let device = device(tensor)?;
        let copy = Self::new(tensor.shape(), tensor.dtype(), &device)?;
        let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
        let stream = device.cuda_stream();
        // SAFETY: both are memory of `bytes` bytes on the stream's device.
        unsafe { memcpy_dtod_async(copy.pointer()?, pointer(tensor)?, bytes, stream.cu_stream()).w()? };
        Ok(copy)
    }

    /// Its address.
    pub(super) fn pointer(&self) -> Result<u64> {
        base(&self.storage)
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn elements(&self) -> usize {
        self.shape.elem_count()
    }

    pub(super) fn into_storage(self) -> Storage {
        Storage::Cuda(self.storage)
    }

    pub(super) fn into_tensor(self) -> Tensor {
        let Self { storage, shape, .. } = self;
        Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
    }
}
