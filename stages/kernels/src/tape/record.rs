//! Recording of operations: the tokens in candle's graph and the custom operations between them.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, Weak};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor, TensorId, bail,
};

use super::gradient::{Gradient, GradientSlot};
use super::variables::keep_gradient;
use crate::lock::lock;

/// A tensor on the tape: its gradient and the token that represents it in candle's graph.
#[derive(Debug)]
pub(crate) struct TapeEntry<G> {
    slot: Arc<GradientSlot<G>>,
    token: Tensor,
    /// The tensor that callers see, once there is one.
    visible_as: OnceLock<TensorId>,
}

impl<G> TapeEntry<G> {
    fn new(slot: Arc<GradientSlot<G>>, token: Tensor) -> Arc<Self> {
        Arc::new(Self { slot, token, visible_as: OnceLock::new() })
    }
}

impl<G> Drop for TapeEntry<G> {
    fn drop(&mut self) {
        if let Some(id) = self.visible_as.get() {
            lock(&ENTRIES).remove(id);
        }
    }
}

/// The entries of all live activations, by the id of the tensor that callers see.
///
/// Candle does not expose a tensor's operation, so this table is how a kernel recognises the result of another. It keeps
/// nothing alive, and an id is never reused.
pub(super) static ENTRIES: LazyLock<Mutex<HashMap<TensorId, Weak<dyn Any + Send + Sync>>>> =
    LazyLock::new(Mutex::default);

/// The entry of `x`; `None` if `x` depends on no variable.
///
/// # Errors
/// If candle fails.
pub(crate) fn watch<G: Gradient>(x: &Tensor) -> Result<Option<Arc<TapeEntry<G>>>> {
    if !x.track_op() {
        return Ok(None);
    }
    let entry = lock(&ENTRIES).get(&x.id()).and_then(Weak::upgrade);
    // An entry with another form of gradient comes from another implementation; its tensor is one of candle's to this one.
    if let Some(Ok(entry)) = entry.map(Arc::downcast) {
        return Ok(Some(entry));
    }
    let slot = Arc::new(GradientSlot::<G>::default());
    let token = x.apply_op1(ToTape { slot: slot.clone() })?;
    Ok(Some(TapeEntry::new(slot, token)))
}

/// The slot of an input, for an operation's backward pass to keep.
pub(crate) fn slot_of<G>(entry: &Option<Arc<TapeEntry<G>>>) -> Option<Arc<GradientSlot<G>>> {
    entry.as_ref().map(|entry| entry.slot.clone())
}

/// The backward pass of an operation: adds the gradients of its inputs to their slots, given the gradient of its output.
pub(crate) trait Backward<G>: Send {
    /// Runs once.
    ///
    /// # Errors
    /// If candle fails.
    fn backward(self: Box<Self>, gradient: G) -> Result<()>;
}

/// The result of an operation, connected to the `inputs` that are on the tape.
///
/// `output` is contiguous and on the inputs' device. `make` builds the backward pass; it receives the result as a tensor without
/// history, so that an operation may save it.
///
/// # Errors
/// If candle fails.
pub(crate) fn record<'a, G: Gradient>(
    inputs: impl IntoIterator<Item = &'a Option<Arc<TapeEntry<G>>>>,
    output: Storage,
    shape: impl Into<Shape>,
    make: impl FnOnce(Tensor) -> Box<dyn Backward<G>>,
) -> Result<Tensor> {
    let shape = shape.into();
    let tokens = inputs.into_iter().flatten().map(|entry| entry.token.clone());
    let joined = tokens.map(Ok).reduce(|a: Result<Tensor>, b| a?.apply_op2(&b?, JoinTokens));
    let Some(joined) = joined.transpose()? else {
        return Ok(Tensor::from_storage(output, shape, BackpropOp::none(), false));
    };
    let slot = Arc::new(GradientSlot::<G>::default());
    let backward = Arc::new(Mutex::new(None));
    let token = joined.apply_op1(Operation { slot: slot.clone(), backward: backward.clone() })?;
    let entry = TapeEntry::new(slot, token);
    let y = entry.token.apply_op1(FromTape { entry: entry.clone(), output: Mutex::new(Some((output, shape))) })?;
    *lock(&backward) = Some(make(y.detach()));
    let weak: Weak<dyn Any + Send + Sync> = Arc::<TapeEntry<G>>::downgrade(&entry);
    lock(&ENTRIES).insert(y.id(), weak);
    // The cell of a new entry is empty.
    let _ = entry.visible_as.set(y.id());
    Ok(y)
}

/// The storage of a token. It has one element because CUDA refuses to allocate none.
pub(super) fn token_on<S: BackendStorage>(device: &S::Device) -> Result<(S, Shape)>
where
    S::Device: BackendDevice<Storage = S>,
{
    let shape = Shape::from(1);
    Ok((device.zeros_impl(&shape, DType::F32)?, shape))
}

/// From a tensor of candle's to its token; backward, from the slot to candle.
struct ToTape<G> {
    slot: Arc<GradientSlot<G>>,
}

impl<G: Gradient> CustomOp1 for ToTape<G> {
    fn name(&self) -> &'static str {
        "to_tape"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token_on(storage.device())
    }

    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        token_on(storage.device())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        match self.slot.take() {
            Some(gradient) => Ok(keep_gradient(x, gradient.into_tensor(x.shape(), x.device())?)),
            None => x.zeros_like().map(Some),
        }
    }
}

/// Joins the tokens of two inputs, so that candle visits both after the operation.
struct JoinTokens;

impl CustomOp2 for JoinTokens {
    fn name(&self) -> &'static str {
        "join_tokens"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token_on(storage.device())
    }

    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        token_on(storage.device())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, token: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(token.clone()), Some(token.clone())))
    }
}

/// From the joined tokens of the inputs to the token of the output; backward, runs the operation's backward pass.
struct Operation<G> {
    slot: Arc<GradientSlot<G>>,
    backward: Arc<Mutex<Option<Box<dyn Backward<G>>>>>,
}

impl<G: Gradient> CustomOp1 for Operation<G> {
    fn name(&self) -> &'static str {
        "operation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token_on(storage.device())
    }

    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        token_on(storage.device())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, token: &Tensor) -> Result<Option<Tensor>> {
        let Some(backward) = lock(&self.backward).take() else {
            bail!("a second backward pass over a graph whose activations were freed by the first")
        };
        if let Some(gradient) = self.slot.take() {
            backward.backward(gradient)?;
        }
        Ok(Some(token.clone()))
    }
}

/// From the token of an output to the output; backward, from candle's gradient to the slot.
struct FromTape<G> {
    entry: Arc<TapeEntry<G>>,
    output: Mutex<Option<(Storage, Shape)>>,
}

impl<G> FromTape<G> {
    fn take_output(&self) -> (Storage, Shape) {
        lock(&self.output).take().expect("candle runs the forward pass of an operation once")
    }
}

impl<G: Gradient> CustomOp1 for FromTape<G> {
    fn name(&self) -> &'static str {
        "from_tape"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.take_output() {
            (Storage::Cpu(output), shape) => Ok((output, shape)),
            _ => bail!("the inputs of an operation are on the CPU and its output is not"),
        }
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        match self.take_output() {
            (Storage::Cuda(output), shape) => Ok((output, shape)),
            _ => bail!("the inputs of an operation are on a CUDA device and its output is not"),
        }
    }

    fn bwd(&self, token: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.entry.slot.add(G::from_tensor(gradient)?)?;
        Ok(Some(token.clone()))
    }
}
