//! Launching the kernels of this folder.

use std::collections::HashMap;

use candle_core::cuda_backend::{CudaDevice, WrapErr as _};
use candle_core::{DType, Result, bail};
use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig, PushKernelArg as _};

use super::per_device::PerDevice;
use crate::geometry::{ConvGeometry, Padding};
use crate::lock::lock;

/// A file of kernels, compiled by `build.rs`.
#[derive(Clone, Copy)]
pub(super) struct Module {
    name: &'static str,
    ptx: &'static str,
}

macro_rules! modules {
    ($($constant:ident = $name:literal;)*) => {
        $(pub(super) const $constant: Module =
            Module { name: concat!("dnc_", $name), ptx: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")) };)*
    };
}

modules! {
    ADAM = "adam";
    CHANNELS = "channels";
    DEPTHWISE = "depthwise";
    FINISH = "finish";
    FUSED_ATTENTION = "fused_attention";
    HEADS = "heads";
    KMEANS = "kmeans";
    NEIGHBOURS = "neighbours";
    PADDING = "padding";
    PIXELS = "pixels";
    POOL = "pool";
    SEQUENCE = "sequence";
    TOKENS = "tokens";
    WEIGHTS = "weights";
}

/// Sizes of a sliding window, as `pool.cu` and `depthwise.cu` declare them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) height: i32,
    pub(super) width: i32,
    pub(super) channels: i32,
    pub(super) rows: i32,
    pub(super) columns: i32,
    pub(super) kernel_height: i32,
    pub(super) kernel_width: i32,
    pub(super) stride: i32,
    pub(super) top: i32,
    pub(super) left: i32,
}

// SAFETY: a structure of ten `int`s, in the order of the declarations in CUDA.
unsafe impl DeviceRepr for Window {}

impl Window {
    /// A window over images `[height, width, channels]` whose output is `[rows, columns]`.
    ///
    /// # Errors
    /// A size is too large for a C `int`.
    pub(super) fn new(
        [height, width, channels]: [usize; 3],
        [rows, columns]: [usize; 2],
        kernel: (usize, usize),
        stride: usize,
        padding: Padding,
    ) -> Result<Self> {
        Ok(Self {
            height: small(height)?,
            width: small(width)?,
            channels: small(channels)?,
            rows: small(rows)?,
            columns: small(columns)?,
            kernel_height: small(kernel.0)?,
            kernel_width: small(kernel.1)?,
            stride: small(stride)?,
            top: small(padding.top)?,
            left: small(padding.left)?,
        })
    }

    /// The window of a convolution.
    pub(super) fn of_convolution(geometry: &ConvGeometry) -> Result<Self> {
        let ConvGeometry { height, width, channels, out: [_, rows, columns, _], kernel, options, .. } = *geometry;
        Self::new([height, width, channels], [rows, columns], kernel, options.stride, options.padding)
    }
}

/// A frozen batch normalisation, as `weights.cu` declares it: γ, β, mean, variance and the convolution's bias, or null pointers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NormPointers {
    pub(super) pointers: [u64; 5],
    pub(super) epsilon: f32,
}

// SAFETY: a structure of five pointers and a `float`, in the order of the declaration in CUDA.
unsafe impl DeviceRepr for NormPointers {}

/// Sizes of images without and with zeros around them, as `padding.cu` declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Margins {
    pub(super) height: i32,
    pub(super) width: i32,
    pub(super) channels: i32,
    pub(super) padded_height: i32,
    pub(super) padded_width: i32,
    pub(super) padded_channels: i32,
    pub(super) top: i32,
    pub(super) left: i32,
}

// SAFETY: a structure of eight `int`s, in the order of the declaration in CUDA.
unsafe impl DeviceRepr for Margins {}

/// Windows that do not overlap, as `padding.cu` declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Patches {
    pub(super) height: i32,
    pub(super) width_line: i32,
    pub(super) rows: i32,
    pub(super) columns: i32,
    pub(super) kernel_height: i32,
    pub(super) stride: i32,
    pub(super) line: i32,
    pub(super) step: i32,
}

// SAFETY: a structure of eight `int`s, in the order of the declaration in CUDA.
unsafe impl DeviceRepr for Patches {}

/// All windows of an image with few channels, as `padding.cu` declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) window: Window,
    /// Values of a row of the result.
    pub(super) row: i32,
}

// SAFETY: a structure of eleven `int`s, in the order of the declaration in CUDA.
unsafe impl DeviceRepr for Columns {}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    Pointer(u64),
    Int(i32),
    Wide(i64),
    Float(f32),
    Window(Window),
    Norm(NormPointers),
    Margins(Margins),
    Patches(Patches),
    Columns(Columns),
}

/// The argument for a C `int`.
///
/// # Errors
/// The number is too large for one.
pub(super) fn int(value: usize) -> Result<Argument> {
    Ok(Argument::Int(small(value)?))
}

/// A size as a C `int`.
///
/// # Errors
/// The number is too large for one.
pub(super) fn small(value: usize) -> Result<i32> {
    i32::try_from(value)
        .map_err(|_| candle_core::Error::Msg(format!("a size of {value} is too large for a CUDA kernel")))
}

/// The argument for a C `long long`.
pub(super) fn wide(value: usize) -> Argument {
    Argument::Wide(value as i64)
}

/// The size of a launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) blocks: [usize; 3],
    pub(super) threads: [u32; 2],
}

impl Grid {
    /// Threads that share `count` elements among them, in kernels that loop over elements.
    pub(super) fn over(count: usize) -> Self {
        const THREADS: usize = 256;
        /// More blocks than run at the same time on any GPU; each thread then takes several elements.
        const MOST_BLOCKS: usize = 1 << 16;
        Self { blocks: [count.div_ceil(THREADS).clamp(1, MOST_BLOCKS), 1, 1], threads: [THREADS as u32, 1] }
    }

    /// A block of this number of threads for each row.
    pub(super) fn rows(rows: usize, threads: u32) -> Self {
        Self { blocks: [rows, 1, 1], threads: [threads, 1] }
    }
}

/// Enqueues a kernel.
///
/// # Safety
/// The arguments are those of the kernel's declaration, and the memory behind each pointer is as large as the kernel reads or writes.
pub(super) unsafe fn launch(
    device: &CudaDevice,
    module: Module,
    kernel: &str,
    grid: Grid,
    arguments: &[Argument],
) -> Result<()> {
    let function = function(device, module, kernel)?;
    let stream = device.cuda_stream();
    let mut builder = stream.launch_builder(&function);
    for argument in arguments {
        match argument {
            Argument::Pointer(value) => builder.arg(value),
            Argument::Int(value) => builder.arg(value),
            Argument::Wide(value) => builder.arg(value),
            Argument::Float(value) => builder.arg(value),
            Argument::Window(value) => builder.arg(value),
            Argument::Norm(value) => builder.arg(value),
            Argument::Margins(value) => builder.arg(value),
            Argument::Patches(value) => builder.arg(value),
            Argument::Columns(value) => builder.arg(value),
        };
    }
    let [x, y, z] = grid.blocks;
    let (x, y, z) = (small(x)? as u32, small(y)? as u32, small(z)? as u32);
    let config =
        LaunchConfig { grid_dim: (x, y, z), block_dim: (grid.threads[0], grid.threads[1], 1), shared_mem_bytes: 0 };
    // SAFETY: promised by the caller.
    unsafe { builder.launch(config).w()? };
    Ok(())
}

/// A kernel, looked up in the driver once.
fn function(device: &CudaDevice, module: Module, kernel: &str) -> Result<CudaFunction> {
    static FUNCTIONS: PerDevice<HashMap<String, CudaFunction>> = PerDevice::new();
    let functions = FUNCTIONS.of(device, || Ok(HashMap::new()))?;
    let mut functions = lock(&functions);
    if let Some(function) = functions.get(kernel) {
        return Ok(function.clone());
    }
    let function = device.get_or_load_custom_func(kernel, module.name, module.ptx)?.into_cuda_function();
    functions.insert(kernel.to_owned(), function.clone());
    Ok(function)
}

/// The end of the names of kernels for elements of a type.
///
/// # Errors
/// There are no kernels for the type.
pub(super) fn suffix(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        _ => bail!("there are no CUDA kernels for {dtype:?}"),
    }
}

/// Bytes that packed kernels read and write at once.
pub(super) const PACK_BYTES: usize = 16;

/// How many elements a thread takes at once, and the end of the kernels' names: rows of `channels` are taken in packs if their
/// number and all addresses allow it.
///
/// # Errors
/// There are no kernels for the type.
pub(super) fn packing(dtype: DType, channels: usize, pointers: &[u64]) -> Result<(usize, String)> {
    let pack = PACK_BYTES / dtype.size_in_bytes();
    let name = suffix(dtype)?;
    if channels.is_multiple_of(pack) && pointers.iter().all(|pointer| pointer.is_multiple_of(PACK_BYTES as u64)) {
        Ok((pack, format!("{name}_packed")))
    } else {
        Ok((1, name.to_owned()))
    }
}
