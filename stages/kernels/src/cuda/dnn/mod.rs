//! Convolutions by cuDNN's older interface, which takes NHWC tensors.
//!
//! `descriptors` owns cuDNN's objects; `plan` chooses an algorithm for the sizes of a convolution, by cuDNN's heuristic among the
//! deterministic ones; this file keeps the plans of each device and runs them.

mod descriptors;
mod plan;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{DType, Result, Tensor};

use self::descriptors::Handle;
use self::plan::Plan;
pub(super) use self::plan::{Direction, Sizes};
use super::memory::{Output, device, pointer};
use crate::lock::lock;

/// cuDNN on one device: its handle, and the plans that were made so far.
struct Dnn {
    handle: Handle,
    plans: HashMap<(Direction, Sizes), Arc<Plan>>,
}

/// cuDNN by device. A handle must not be used by two threads at the same time, hence the lock.
static DEVICES: LazyLock<Mutex<HashMap<DeviceId, Arc<Mutex<Dnn>>>>> = LazyLock::new(Mutex::default);

/// cuDNN on a device, opened at the first call.
fn dnn_of(device: &CudaDevice) -> Result<Arc<Mutex<Dnn>>> {
    let mut devices = lock(&DEVICES);
    if let Some(dnn) = devices.get(&device.id()) {
        return Ok(dnn.clone());
    }
    let handle = Handle::new(device)?;
    let dnn = Arc::new(Mutex::new(Dnn { handle, plans: HashMap::new() }));
    devices.insert(device.id(), dnn.clone());
    Ok(dnn)
}

/// Runs a convolution in one direction: forward `(x, weight)`, the input's gradient `(weight, dy)`, or the weight's gradient `(x, dy)`.
/// Activations are NHWC, weights `[out, height, width, depth]`.
///
/// # Errors
/// No deterministic algorithm supports these sizes, or cuDNN fails.
pub(super) fn convolve(direction: Direction, sizes: Sizes, a: &Tensor, b: &Tensor) -> Result<Output> {
    let device = device(a)?;
    let dnn = dnn_of(&device)?;
    let mut dnn = lock(&dnn);
    let plan = match dnn.plans.get(&(direction, sizes)) {
        Some(plan) => plan.clone(),
        None => {
            let plan = Arc::new(Plan::new(&dnn.handle, direction, sizes)?);
            dnn.plans.insert((direction, sizes), plan.clone());
            plan
        }
    };
    // Where cuDNN has no algorithm for channels last, the tensors are copied to the other order and the result back.
    let reordered = |tensor: &Tensor| tensor.permute((0, 3, 1, 2))?.contiguous();
    let (a, b) = if plan.is_channels_last() { (a.clone(), b.clone()) } else { (reordered(a)?, reordered(b)?) };
    let [outer, height, width, inner] = sizes.result(direction);
    let shape = if plan.is_channels_last() { [outer, height, width, inner] } else { [outer, inner, height, width] };
    let result = Output::new(&shape, sizes.dtype, &device)?;
    // An allocation of no bytes is an error.
    let workspace = Output::new(plan.workspace().max(1), DType::U8, &device)?;
    let pointers = [pointer(&a)?, pointer(&b)?, result.pointer()?, workspace.pointer()?];
    // SAFETY: the tensors have the sizes and the type of the plan, and the workspace is as large as the plan demands.
    unsafe { plan.run(&dnn.handle, pointers)? };
    if plan.is_channels_last() {
        return Ok(result);
    }
    Output::copy_of(&result.into_tensor().permute((0, 2, 3, 1))?.contiguous()?)
}
