//! Matrix products by cuBLASLt: algorithms by its heuristic, asked once for all products of the same sizes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::mem::size_of_val;
use std::ptr;

use candle_core::cuda_backend::{CudaDevice, WrapErr as _};
use candle_core::{DType, Error, Result, bail};
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue, cublasLtMatmulDescAttributes_t as Attribute,
    cublasLtMatmulPreferenceAttributes_t as Preference, cublasLtMatrixLayoutAttribute_t as LayoutAttribute,
    cudaDataType as Type,
};

use super::matrices::{Finish, Matrices, Product};
use super::memory::{NULL, Output};
use super::per_device::PerDevice;
use crate::lock::lock;
use crate::precision::Precision;

/// Bytes of the workspace, NVIDIA's recommendation for Hopper.
const WORKSPACE: usize = 32 << 20;

/// The largest alignment that algorithms ask for.
const MOST_ALIGNMENT: u64 = 256;

/// Everything that an algorithm depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    product: Product,
    factors: [Place; 2],
    result: Place,
    epilogue: [bool; 3],
}

/// Where matrices lie, without the address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    row: usize,
    matrix: usize,
    is_transposed: bool,
    /// A power of two that divides all addresses of the batch, in bytes.
    alignment: u64,
}

impl Place {
    fn of(matrices: Matrices, dtype: DType) -> Self {
        let Matrices { pointer, row, matrix, is_transposed } = matrices;
        let step = (matrix * dtype.size_in_bytes()) as u64;
        let alignment = 1 << (pointer | step | MOST_ALIGNMENT).trailing_zeros();
        Self { row, matrix, is_transposed, alignment }
    }
}

/// cuBLASLt on one device.
struct Lt {
    handle: sys::cublasLtHandle_t,
    workspace: Output,
    plans: HashMap<Key, Plan>,
}

// SAFETY: the handle may be used by several threads, and descriptors are used under the lock.
unsafe impl Send for Lt {}

/// A product that is ready to run.
struct Plan {
    description: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The lock also keeps the order of products that share the workspace.
static DEVICES: PerDevice<Lt> = PerDevice::new();

impl Lt {
    fn new(device: &CudaDevice) -> Result<Self> {
        device.cuda_stream().context().bind_to_thread().w()?;
        let handle = result::create_handle().map_err(failed)?;
        Ok(Self { handle, workspace: Output::new(WORKSPACE, DType::U8, device)?, plans: HashMap::new() })
    }
}

/// Enqueues a product in cuBLAS's terms: the factors and the result are the transposes of their rows in memory.
///
/// # Safety
/// The matrices lie within the memory behind the pointers, what is added lies like the result, and the shift has `n` elements.
pub(super) unsafe fn product(
    device: &CudaDevice,
    product: Product,
    [a, b, result]: [Matrices; 3],
    finish: Finish,
) -> Result<()> {
    // What is added lies like the result, but its address may have fewer zeros at the end.
    let both = Matrices { pointer: result.pointer | finish.addend, ..result };
    let key = Key {
        product,
        factors: [a, b].map(|factor| Place::of(factor, product.factors)),
        result: Place::of(both, product.result),
        epilogue: [finish.addend != NULL, finish.shift != NULL, finish.relu],
    };
    let lt = DEVICES.of(device, || Lt::new(device))?;
    let Lt { handle, workspace, plans } = &mut *lock(&lt);
    let plan = match plans.entry(key) {
        Entry::Occupied(made) => made.into_mut(),
        Entry::Vacant(vacant) => vacant.insert(Plan::new(*handle, &key)?),
    };
    if finish.shift != NULL {
        // SAFETY: the description exists, and the attribute is an address, which is copied.
        unsafe { plan.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &finish.shift)? };
    }
    let (one, beta) = (1f32, if finish.addend == NULL { 0f32 } else { 1f32 });
    let addend = if finish.addend == NULL { result.pointer } else { finish.addend };
    let [layout_a, layout_b, layout_result] = plan.layouts;
    // SAFETY: handle, description and layouts exist; the scalars are `f32` on the host, as the scale type demands. The caller vouches
    // for the pointers, and the workspace is used by one product at a time, since all are on one stream.
    unsafe {
        result::matmul(
            *handle,
            plan.description,
            ptr::from_ref(&one).cast(),
            ptr::from_ref(&beta).cast(),
            a.pointer as *const c_void,
            layout_a,
            b.pointer as *const c_void,
            layout_b,
            addend as *const c_void,
            layout_result,
            result.pointer as *mut c_void,
            layout_result,
            &plan.algorithm,
            workspace.pointer()? as *mut c_void,
            WORKSPACE,
            device.cuda_stream().cu_stream().cast(),
        )
        .map_err(failed)
    }
}

impl Plan {
    fn new(handle: sys::cublasLtHandle_t, key: &Key) -> Result<Self> {
        let Key { product, factors: [a, b], result: place, epilogue: [_, has_shift, relu] } = *key;
        let compute = match product.precision {
            Precision::F32 | Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        let (factors, result_type) = (data_type(product.factors)?, data_type(product.result)?);
        let description = result::create_matmul_desc(compute, Type::CUDA_R_32F).map_err(failed)?;
        // To cuBLAS, the rows of the first factor are the columns of `b` here; see `Product::enqueue_with`.
        let layouts = [
            layout(factors, [product.n, product.k], a, product.batch)?,
            layout(factors, [product.k, product.m], b, product.batch)?,
            layout(result_type, [product.n, product.m], place, product.batch)?,
        ];
        let zeroed = sys::cublasLtMatmulAlgo_t { data: [0; 8] };
        let mut plan = Self { description, layouts, algorithm: zeroed };
        let epilogue = match (has_shift, relu) {
            (false, false) => Epilogue::CUBLASLT_EPILOGUE_DEFAULT,
            (false, true) => Epilogue::CUBLASLT_EPILOGUE_RELU,
            (true, false) => Epilogue::CUBLASLT_EPILOGUE_BIAS,
            (true, true) => Epilogue::CUBLASLT_EPILOGUE_RELU_BIAS,
        };
        // SAFETY: the description exists, and each attribute has the type that cuBLASLt's documentation gives it.
        unsafe {
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &i32::from(a.is_transposed))?;
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &i32::from(b.is_transposed))?;
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            if has_shift {
                plan.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &result_type)?;
            }
        }
        let preference = result::create_matmul_pref().map_err(failed)?;
        let alignments = [
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a.alignment),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b.alignment),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, place.alignment),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, place.alignment),
        ];
        // SAFETY: preference and layouts exist; the workspace is a `size_t` and an alignment a `uint32_t`.
        let chosen = unsafe {
            let workspace = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            prefer(preference, workspace, &WORKSPACE)?;
            for (attribute, alignment) in alignments {
                prefer(preference, attribute, &(alignment as u32))?;
            }
            let [a, b, c] = plan.layouts;
            let chosen = result::get_matmul_algo_heuristic(handle, plan.description, a, b, c, c, preference);
            result::destroy_matmul_pref(preference).map_err(failed)?;
            chosen
        };
        let none = |error| Error::Cuda(format!("cuBLASLt has no algorithm for {product:?}: {error}").into());
        plan.algorithm = chosen.map_err(none)?.algo;
        Ok(plan)
    }

    /// # Safety
    /// The value has the type of the attribute.
    unsafe fn set<T>(&self, attribute: Attribute, value: &T) -> Result<()> {
        // SAFETY: the description exists, and the caller vouches for the type.
        unsafe {
            result::set_matmul_desc_attribute(
                self.description,
                attribute,
                ptr::from_ref(value).cast(),
                size_of_val(value),
            )
            .map_err(failed)
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: all were created by cuBLASLt and are destroyed once. There is nothing to do if that fails.
        unsafe {
            let _ = result::destroy_matmul_desc(self.description);
            for layout in self.layouts {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

/// The layout of matrices that are `[rows, columns]` in cuBLAS's terms once they are transposed, if they are.
fn layout(dtype: Type, [rows, columns]: [usize; 2], place: Place, batch: usize) -> Result<sys::cublasLtMatrixLayout_t> {
    let (rows, columns) = if place.is_transposed { (columns, rows) } else { (rows, columns) };
    let made = result::create_matrix_layout(dtype, rows as u64, columns as u64, place.row as i64).map_err(failed)?;
    if batch > 1 {
        let (count, distance) = (super::launch::small(batch)?, place.matrix as i64);
        // SAFETY: the layout exists; the count is an `int32_t` and the distance an `int64_t`.
        unsafe {
            let attribute = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
            result::set_matrix_layout_attribute(made, attribute, ptr::from_ref(&count).cast(), size_of_val(&count))
                .map_err(failed)?;
            let attribute = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
            let value = ptr::from_ref(&distance).cast();
            result::set_matrix_layout_attribute(made, attribute, value, size_of_val(&distance)).map_err(failed)?;
        }
    }
    Ok(made)
}

/// # Safety
/// The value has the type of the attribute.
unsafe fn prefer<T>(preference: sys::cublasLtMatmulPreference_t, attribute: Preference, value: &T) -> Result<()> {
    // SAFETY: the preference exists, and the caller vouches for the type.
    unsafe {
        result::set_matmul_pref_attribute(preference, attribute, ptr::from_ref(value).cast(), size_of_val(value))
            .map_err(failed)
    }
}

fn data_type(dtype: DType) -> Result<Type> {
    match dtype {
        DType::F32 => Ok(Type::CUDA_R_32F),
        DType::BF16 => Ok(Type::CUDA_R_16BF),
        _ => bail!("there are no matrix products of {dtype:?}"),
    }
}

fn failed(error: CublasError) -> Error {
    Error::Cuda(format!("cuBLASLt cannot compute a matrix product: {error:?}").into())
}
