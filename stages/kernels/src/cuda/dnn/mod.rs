//! Convolutions by cuDNN's graph interface, which takes NHWC tensors and computes what follows a convolution with it.
//!
//! `backend` owns cuDNN's objects; `graph` describes a convolution; `plan` chooses an engine for it, by cuDNN's heuristic among the
//! deterministic ones; this file keeps the plans of each device and runs them.

mod backend;
mod graph;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Result, Tensor, bail};

use self::backend::Handle;
use self::graph::{ALIGNMENT, Operand, Order};
pub(super) use self::graph::{Direction, Sizes, Tail};
use self::plan::{Plan, Target};
use super::memory::{Output, device, pointer};
use super::per_device::PerDevice;
use crate::lock::lock;

/// cuDNN on one device: its handle, and the plans that were made so far.
struct Dnn {
    handle: Handle,
    /// `None` where no engine is fit.
    plans: HashMap<(Direction, Sizes, Tail), Option<Arc<Plan>>>,
}

/// A handle must not be used by two threads at the same time, which the lock prevents.
static DEVICES: PerDevice<Dnn> = PerDevice::new();

impl Dnn {
    fn new(device: &CudaDevice) -> Result<Self> {
        Ok(Self { handle: Handle::new(device)?, plans: HashMap::new() })
    }

    fn plan(&mut self, direction: Direction, sizes: &Sizes, tail: Tail) -> Result<Option<Arc<Plan>>> {
        let key = (direction, *sizes, tail);
        if let Some(plan) = self.plans.get(&key) {
            return Ok(plan.clone());
        }
        let plan = Plan::new(Target::Gpu(&self.handle), direction, sizes, tail)?.map(Arc::new);
        self.plans.insert(key, plan.clone());
        Ok(plan)
    }
}

/// Runs a convolution in one direction: forward `(x, weight)`, the input's gradient `(weight, dy)`, or the weight's gradient `(x, dy)`.
/// Activations are NHWC, weights `[out, height, width, depth]`.
///
/// # Errors
/// No deterministic engine supports these sizes, or cuDNN fails.
pub(super) fn convolve(direction: Direction, sizes: &Sizes, a: &Tensor, b: &Tensor) -> Result<Output> {
    let device = device(a)?;
    let dnn = DEVICES.of(&device, || Dnn::new(&device))?;
    let mut dnn = lock(&dnn);
    let Some(plan) = dnn.plan(direction, sizes, Tail::default())? else {
        bail!("cuDNN has no deterministic engine for the convolution {direction:?} of {sizes:?}")
    };
    let operands = match direction {
        Direction::Forward => [Operand::X, Operand::Weight, Operand::Y],
        Direction::Input => [Operand::Weight, Operand::Y, Operand::X],
        Direction::Weight => [Operand::X, Operand::Y, Operand::Weight],
    };
    let [outer, height, width, inner] = sizes.result(direction);
    if plan.order == Order::ChannelsLast {
        let result = Output::new((outer, height, width, inner), sizes.dtype, &device)?;
        let inputs = [(operands[0], a), (operands[1], b)];
        // SAFETY: the tensors have the sizes and the type of the plan.
        unsafe { run(&dnn.handle, &plan, &device, &inputs, (operands[2], &result))? };
        return Ok(result);
    }
    // Where cuDNN has no engine for channels last, the tensors are copied to the other order and the result back.
    let reordered = |operand: Operand, tensor: &Tensor| {
        let dims = match operand {
            Operand::X => sizes.x,
            Operand::Weight => sizes.weight,
            _ => sizes.y,
        };
        tensor.reshape(&dims)?.permute((0, 3, 1, 2))?.contiguous()
    };
    let (a, b) = (reordered(operands[0], a)?, reordered(operands[1], b)?);
    let result = Output::new((outer, inner, height, width), sizes.dtype, &device)?;
    let inputs = [(operands[0], &a), (operands[1], &b)];
    // SAFETY: as above.
    unsafe { run(&dnn.handle, &plan, &device, &inputs, (operands[2], &result))? };
    Output::copy_of(&result.into_tensor().permute((0, 2, 3, 1))?.contiguous()?)
}

/// `act(conv(x, weight) + residual + shift)` in one pass; `None` if no deterministic engine supports it.
///
/// # Errors
/// cuDNN fails.
pub(super) fn convolve_with(
    sizes: &Sizes,
    tail: Tail,
    [x, weight]: [&Tensor; 2],
    residual: Option<&Tensor>,
    shift: Option<&Tensor>,
) -> Result<Option<Output>> {
    let device = device(x)?;
    let dnn = DEVICES.of(&device, || Dnn::new(&device))?;
    let mut dnn = lock(&dnn);
    let Some(plan) = dnn.plan(Direction::Forward, sizes, tail)? else { return Ok(None) };
    let [batch, rows, columns, out] = sizes.y;
    let result = Output::new((batch, rows, columns, out), sizes.dtype, &device)?;
    let mut inputs = vec![(Operand::X, x), (Operand::Weight, weight)];
    inputs.extend(residual.map(|residual| (Operand::Residual, residual)));
    inputs.extend(shift.map(|shift| (Operand::Shift, shift)));
    // SAFETY: the tensors have the sizes and the type of the plan, whose order is that of the tensors if it has a tail.
    unsafe { run(&dnn.handle, &plan, &device, &inputs, (Operand::Y, &result))? };
    Ok(Some(result))
}

/// # Safety
/// The tensors have the sizes, the type and the order of the plan.
unsafe fn run(
    handle: &Handle,
    plan: &Plan,
    device: &CudaDevice,
    inputs: &[(Operand, &Tensor)],
    (operand, result): (Operand, &Output),
) -> Result<()> {
    // An allocation of no bytes is an error.
    let workspace = Output::new(plan.workspace().max(1), DType::U8, device)?;
    let mut copies = Vec::new();
    let mut pointers = vec![(operand, result.pointer()?)];
    for (operand, tensor) in inputs {
        let mut address = pointer(tensor)?;
        if !address.is_multiple_of(ALIGNMENT) {
            let copy = Output::copy_of(tensor)?;
            address = copy.pointer()?;
            copies.push(copy);
        }
        pointers.push((*operand, address));
    }
    // SAFETY: promised by the caller; the workspace is as large as the plan demands.
    unsafe { plan.run(handle, &pointers, workspace.pointer()?) }
}
