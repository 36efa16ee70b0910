//! cuDNN's objects: the handle of a device, and the descriptors of its graph interface, destroyed when they are dropped.

use std::ffi::c_void;
use std::ptr;

use candle_core::cuda_backend::{CudaDevice, WrapErr as _};
use candle_core::{Error, Result};
use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind,
};

/// What a call of cuDNN gives.
pub(super) type Answer<T> = std::result::Result<T, CudnnError>;

/// cuDNN's state on one device; all its work goes to the device's stream.
pub(super) struct Handle(pub(super) sys::cudnnHandle_t);

// SAFETY: a handle may be used by another thread than the one that made it, though not by two at once, which its lock prevents.
unsafe impl Send for Handle {}

impl Handle {
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let handle = Self(result::create_handle().map_err(failed("open the GPU"))?);
        // SAFETY: handle and stream are valid; the stream outlives the handle, since devices are open until the process ends.
        unsafe { result::set_stream(handle.0, stream.cu_stream().cast()).map_err(failed("use the GPU's stream"))? };
        Ok(handle)
    }
}

/// A value that descriptors are given.
pub(super) trait Attribute: Copy {
    const TYPE: Type;
}

macro_rules! attributes {
    ($($rust:ty => $cudnn:ident;)*) => {
        $(impl Attribute for $rust {
            const TYPE: Type = Type::$cudnn;
        })*
    };
}

attributes! {
    i64 => CUDNN_TYPE_INT64;
    f32 => CUDNN_TYPE_FLOAT;
    bool => CUDNN_TYPE_BOOLEAN;
    u8 => CUDNN_TYPE_CHAR;
    *mut c_void => CUDNN_TYPE_VOID_PTR;
    sys::cudnnHandle_t => CUDNN_TYPE_HANDLE;
    sys::cudnnDataType_t => CUDNN_TYPE_DATA_TYPE;
    sys::cudnnConvolutionMode_t => CUDNN_TYPE_CONVOLUTION_MODE;
    sys::cudnnPointwiseMode_t => CUDNN_TYPE_POINTWISE_MODE;
    sys::cudnnBackendHeurMode_t => CUDNN_TYPE_HEUR_MODE;
}

/// A descriptor of the graph interface.
pub(super) struct Descriptor(sys::cudnnBackendDescriptor_t);

// SAFETY: a descriptor is plain data behind a pointer, and is not changed once it has been finalised.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor was created by cuDNN and is destroyed once. There is nothing to do if that fails.
        let _ = unsafe { sys::cudnnBackendDestroyDescriptor(self.0) };
    }
}

impl Descriptor {
    pub(super) fn new(kind: Kind) -> Answer<Self> {
        let mut made = ptr::null_mut();
        // SAFETY: cuDNN writes the descriptor before the call returns.
        unsafe { sys::cudnnBackendCreateDescriptor(kind, &mut made).result()? };
        Ok(Self(made))
    }

    /// Sets an attribute, before [`Self::finalised`].
    pub(super) fn set<T: Attribute>(self, name: Name, values: &[T]) -> Answer<Self> {
        // SAFETY: the type is that of the values, which cuDNN copies before the call returns.
        unsafe { self.set_raw(name, T::TYPE, values.len(), values.as_ptr().cast()) }
    }

    /// Sets an attribute to other descriptors, which must live as long as this one.
    pub(super) fn refer(self, name: Name, others: &[&Self]) -> Answer<Self> {
        let others: Vec<sys::cudnnBackendDescriptor_t> = others.iter().map(|other| other.0).collect();
        // SAFETY: as in `set`; the caller keeps the others.
        unsafe { self.set_raw(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, others.len(), others.as_ptr().cast()) }
    }

    /// # Safety
    /// There are `count` values of the type.
    unsafe fn set_raw(self, name: Name, kind: Type, count: usize, values: *const c_void) -> Answer<Self> {
        // SAFETY: the descriptor exists, and the caller vouches for the values.
        unsafe { sys::cudnnBackendSetAttribute(self.0, name, kind, count as i64, values).result()? };
        Ok(self)
    }

    pub(super) fn finalised(self) -> Answer<Self> {
        // SAFETY: the descriptor exists.
        unsafe { sys::cudnnBackendFinalize(self.0).result()? };
        Ok(self)
    }

    /// A number of a finalised descriptor.
    pub(super) fn number(&self, name: Name) -> Answer<i64> {
        let (mut value, mut count) = (0i64, 0i64);
        // SAFETY: the descriptor exists, and there is room for the one value that is asked for.
        unsafe { self.get_raw(name, Type::CUDNN_TYPE_INT64, 1, &mut count, ptr::from_mut(&mut value).cast())? };
        Ok(value)
    }

    /// Values of an enumeration of C as numbers.
    pub(super) fn values(&self, name: Name, kind: Type) -> Answer<Vec<u32>> {
        const MOST: usize = 32;
        let (mut values, mut count) = ([0u32; MOST], 0i64);
        // SAFETY: the descriptor exists, enumerations have the size of `u32`, and there is room for as many as are asked for.
        unsafe { self.get_raw(name, kind, MOST as i64, &mut count, values.as_mut_ptr().cast())? };
        Ok(values[..usize::try_from(count).unwrap_or(0).min(MOST)].to_vec())
    }

    /// The descriptors of this kind that an attribute holds.
    pub(super) fn descriptors(&self, name: Name, kind: Kind) -> Answer<Vec<Self>> {
        let mut count = 0i64;
        // SAFETY: the descriptor exists, and no value is asked for, but their number.
        unsafe { self.get_raw(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &mut count, ptr::null_mut())? };
        let mut made: Vec<Self> = (0..count).map(|_| Self::new(kind)).collect::<Answer<_>>()?;
        let mut raw: Vec<sys::cudnnBackendDescriptor_t> = made.iter().map(|descriptor| descriptor.0).collect();
        // SAFETY: as above, and cuDNN fills the descriptors that are given.
        unsafe { self.get_raw(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &mut count, raw.as_mut_ptr().cast())? };
        made.truncate(usize::try_from(count).unwrap_or(0));
        Ok(made)
    }

    /// # Safety
    /// There is room for `most` values of the type.
    unsafe fn get_raw(&self, name: Name, kind: Type, most: i64, count: &mut i64, values: *mut c_void) -> Answer<()> {
        // SAFETY: the descriptor exists, and the caller vouches for the room.
        unsafe { sys::cudnnBackendGetAttribute(self.0, name, kind, most, count, values).result() }
    }

    /// Runs this execution plan.
    ///
    /// # Safety
    /// The memory behind the pointers of the variant pack is as large as the plan's tensors and its workspace.
    pub(super) unsafe fn execute(&self, handle: &Handle, pack: &Self) -> Answer<()> {
        // SAFETY: handle and descriptors exist, and the caller vouches for the memory.
        unsafe { sys::cudnnBackendExecute(handle.0, self.0, pack.0).result() }
    }
}

/// An error of cuDNN with what was being done.
pub(super) fn failed(action: &'static str) -> impl FnOnce(CudnnError) -> Error {
    move |error| Error::Cuda(format!("cuDNN cannot {action}: {error}").into())
}
