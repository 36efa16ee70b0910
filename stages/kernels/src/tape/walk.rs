//! The tape of a GPU: the operations of a graph in the order in which they were recorded, and their walk in reverse.
//!
//! Candle's backward pass costs several allocations and launches for every edge of its graph, which on a GPU take longer than the
//! kernels of a small layer. Therefore candle sees each result of a recorded operation as a function of nothing but the anchor, a
//! variable of one element: its backward pass ends there, at `Leave`, and [`walk`] goes on through the recorded operations by
//! descending number.
//!
//! ```text
//!   loss ──(candle)──► Leave(y) ··► y = operation(x, w) ··► x = operation(…)      (··► recorded here)
//! ```
//! A recorded operation may take a tensor that candle made from others, such as the sum of two results. Its gradient is handed back to
//! candle, whose backward pass from there ends at further results.
//!
//! As in PyTorch, a second backward pass over the same graph is an error.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, Weak};

use candle_core::backend::BackendStorage as _;
use candle_core::backprop::GradStore;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Device, DeviceLocation, Layout, Result, Shape, Storage, Tensor,
    TensorId, Var, bail,
};

use super::gradient::GradientSlot;
use super::record::{Backward, token_on};
use crate::lock::lock;

/// A tensor on the tape, and its gradient.
pub(crate) struct Node {
    /// Larger than the numbers of all nodes that this one depends on.
    number: u64,
    gradient: GradientSlot<Tensor>,
    origin: Origin,
    /// The tensor that callers see, once there is one.
    visible_as: OnceLock<TensorId>,
}

/// The node of an input of an operation; `None` if the input is not tracked.
pub(crate) type Slot = Option<Arc<Node>>;

/// Adds a gradient to a node, if there are both.
///
/// # Errors
/// If candle fails.
#[cfg(feature = "cuda")]
pub(crate) fn add(slot: Slot, gradient: Option<Tensor>) -> Result<()> {
    match (slot, gradient) {
        (Some(node), Some(gradient)) => node.add(gradient),
        _ => Ok(()),
    }
}

/// Where a tensor comes from.
enum Origin {
    /// A recorded operation; `None` after its backward pass.
    Operation(Mutex<Option<Recorded>>),
    /// A variable, or a tensor that candle made.
    Candle(Tensor),
}

/// The backward pass of an operation, and its inputs that are tracked.
struct Recorded {
    backward: Box<dyn Backward<Tensor>>,
    inputs: Vec<Arc<Node>>,
}

/// The number of the next node.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The nodes of all live results, by the id of the tensor that callers see. It keeps nothing alive, and an id is never reused.
static NODES: LazyLock<Mutex<HashMap<TensorId, Weak<Node>>>> = LazyLock::new(Mutex::default);

thread_local! {
    /// Nodes that have a gradient and wait for their turn in the backward pass that runs on this thread.
    static WAITING: RefCell<Option<BTreeMap<u64, Arc<Node>>>> = const { RefCell::new(None) };

    /// What is to be done at the end of the backward pass that runs on this thread.
    static AT_END: RefCell<Vec<AtEnd>> = const { RefCell::new(Vec::new()) };
}

/// Work for the gradients of variables that is done for all operations at once, when none of them is left.
#[derive(Clone, Copy)]
pub(crate) struct AtEnd {
    /// Adds to the gradients of variables.
    pub(crate) finish: fn() -> Result<()>,
    /// Drops what was to be done; called last, also after a pass that failed.
    pub(crate) forget: fn(),
}

/// Has this work done at the end of the backward pass that runs on this thread.
pub(crate) fn at_end(work: AtEnd) {
    AT_END.with_borrow_mut(|waiting| waiting.push(work));
}

impl Node {
    fn new(origin: Origin) -> Arc<Self> {
        let (number, gradient) = (NEXT.fetch_add(1, Ordering::Relaxed), GradientSlot::default());
        Arc::new(Self { number, gradient, origin, visible_as: OnceLock::new() })
    }

    /// Whether this is a variable, whose gradient nobody needs before the end of the walk.
    pub(crate) fn is_variable(&self) -> bool {
        matches!(&self.origin, Origin::Candle(x) if x.is_variable())
    }

    /// Adds to the gradient of this tensor.
    ///
    /// # Errors
    /// If candle fails.
    pub(crate) fn add(&self, gradient: Tensor) -> Result<()> {
        self.gradient.add(gradient)
    }

    /// Replaces the gradient by the result of `next`, so that a kernel can add to it while it computes.
    ///
    /// # Errors
    /// If `next` fails.
    #[cfg(feature = "cuda")]
    pub(crate) fn update(&self, next: impl FnOnce(Option<Tensor>) -> Result<Tensor>) -> Result<()> {
        self.gradient.update(next)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(id) = self.visible_as.get() {
            lock(&NODES).remove(id);
        }
    }
}

/// The node of `x`; `None` if `x` depends on no variable.
pub(crate) fn watch(x: &Tensor) -> Slot {
    if !x.track_op() {
        return None;
    }
    let node = lock(&NODES).get(&x.id()).and_then(Weak::upgrade);
    Some(node.unwrap_or_else(|| Node::new(Origin::Candle(x.clone()))))
}

/// The result of an operation, whose backward pass adds to the gradients of `inputs`.
///
/// `output` is contiguous and on the inputs' device. `make` builds the backward pass; it receives the result as a tensor without
/// history, so that an operation may save it.
///
/// # Errors
/// If candle fails.
pub(crate) fn record<'a>(
    inputs: impl IntoIterator<Item = &'a Slot>,
    output: Storage,
    shape: impl Into<Shape>,
    device: &Device,
    make: impl FnOnce(Tensor) -> Box<dyn Backward<Tensor>>,
) -> Result<Tensor> {
    let shape = shape.into();
    let inputs: Vec<Arc<Node>> = inputs.into_iter().flatten().cloned().collect();
    if inputs.is_empty() {
        return Ok(Tensor::from_storage(output, shape, candle_core::op::BackpropOp::none(), false));
    }
    let node = Node::new(Origin::Operation(Mutex::default()));
    let leave = Leave { node: node.clone(), output: Mutex::new(Some((output, shape))) };
    let y = anchor(device)?.apply_op1(leave)?;
    if let Origin::Operation(recorded) = &node.origin {
        *lock(recorded) = Some(Recorded { backward: make(y.detach()), inputs });
    }
    lock(&NODES).insert(y.id(), Arc::downgrade(&node));
    // The cell of a new node is empty.
    let _ = node.visible_as.set(y.id());
    Ok(y)
}

/// The variable of one element that all results on a device are functions of to candle, which tracks only what depends on a variable.
fn anchor(device: &Device) -> Result<Tensor> {
    static ANCHORS: LazyLock<Mutex<HashMap<DeviceLocation, Tensor>>> = LazyLock::new(Mutex::default);
    let mut anchors = lock(&ANCHORS);
    if let Some(anchor) = anchors.get(&device.location()) {
        return Ok(anchor.clone());
    }
    let anchor = Var::zeros(1, DType::F32, device)?.as_tensor().clone();
    anchors.insert(device.location(), anchor.clone());
    Ok(anchor)
}

/// Runs candle's backward pass from `loss` and then that of the recorded operations; the result has the gradients of all variables.
///
/// # Errors
/// If candle fails, or the graph has been through a backward pass before.
pub(super) fn walk(loss: &Tensor) -> Result<GradStore> {
    let outer = WAITING.replace(Some(BTreeMap::new()));
    let gradients = walk_from(loss);
    WAITING.replace(outer);
    AT_END.take().into_iter().for_each(|work| (work.forget)());
    gradients
}

fn walk_from(loss: &Tensor) -> Result<GradStore> {
    let mut gradients = loss.backward()?;
    let mut variables = BTreeMap::new();
    while let Some(node) = WAITING.with_borrow_mut(|waiting| Some(waiting.as_mut()?.pop_last()?.1)) {
        if node.is_variable() {
            // An operation may add to it at the end.
            variables.insert(node.number, node);
            continue;
        }
        let Some(gradient) = node.gradient.take() else { continue };
        match &node.origin {
            Origin::Operation(recorded) => {
                let Some(Recorded { backward, inputs }) = lock(recorded).take() else {
                    bail!("a second backward pass over a graph whose activations were freed by the first")
                };
                backward.backward(gradient)?;
                inputs.into_iter().for_each(wait);
            }
            Origin::Candle(x) => {
                let enter = x.apply_op1(Enter { gradient: gradient.reshape(x.shape())? })?;
                gradients.extend(enter.backward()?)?;
            }
        }
    }
    AT_END.with_borrow(Clone::clone).into_iter().try_for_each(|work| (work.finish)())?;
    for node in variables.into_values() {
        if let (Origin::Candle(x), Some(gradient)) = (&node.origin, node.gradient.take()) {
            let sum = match gradients.remove(x) {
                Some(other) => (other + gradient)?,
                None => gradient,
            };
            gradients.insert(x, sum.reshape(x.shape())?);
        }
    }
    Ok(gradients)
}

/// Puts a node among those that wait for their turn.
fn wait(node: Arc<Node>) {
    WAITING.with_borrow_mut(|waiting| waiting.as_mut().map(|waiting| waiting.insert(node.number, node)));
}

/// From the anchor to the result of an operation; backward, from candle's gradient to the node's.
struct Leave {
    node: Arc<Node>,
    output: Mutex<Option<(Storage, Shape)>>,
}

impl Leave {
    fn take_output(&self) -> (Storage, Shape) {
        lock(&self.output).take().expect("candle runs the forward pass of an operation once")
    }
}

impl CustomOp1 for Leave {
    fn name(&self) -> &'static str {
        "leave"
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

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        if WAITING.with_borrow(Option::is_none) {
            bail!("the backward pass of a graph with recorded operations is `dnc_kernels::backward`")
        }
        self.node.add(gradient.contiguous()?)?;
        wait(self.node.clone());
        Ok(None)
    }
}

/// From a tensor that candle made to a number; backward, the tensor's gradient, which is known.
struct Enter {
    gradient: Tensor,
}

impl CustomOp1 for Enter {
    fn name(&self) -> &'static str {
        "enter"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token_on(storage.device())
    }

    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        token_on(storage.device())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.gradient.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y = 2x`, recorded.
    fn double(x: &Tensor) -> Result<Tensor> {
        struct Double(Option<Arc<Node>>);
        impl Backward<Tensor> for Double {
            fn backward(self: Box<Self>, gradient: Tensor) -> Result<()> {
                match self.0 {
                    Some(node) => node.add((gradient * 2.0)?),
                    None => Ok(()),
                }
            }
        }
        let node = watch(x);
        let doubled: Vec<f32> = x.to_vec1::<f32>()?.iter().map(|x| 2.0 * x).collect();
        let output = Storage::Cpu(CpuStorage::F32(doubled));
        record([&node], output, x.shape(), x.device(), |_| Box::new(Double(node.clone())))
    }

    fn of(gradients: &GradStore, variable: &Var) -> Result<Vec<f32>> {
        gradients.get(variable).expect("every variable has a gradient").to_vec1()
    }

    #[test]
    fn gradients_of_chains_branches_and_candles_operations_are_summed() -> Result<()> {
        let x = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &Device::Cpu)?;
        let y = Var::from_vec(vec![1f32, 1.0, 1.0], 3, &Device::Cpu)?;
        let a = double(&x)?; // 2x
        let b = (double(&a)? + &a)?; // 6x, by candle
        let c = double(&b)?; // 12x
        // 12x + 6x + x² + 2y² + 2x
        let sum = ((c + &b)? + x.sqr()? + double(&y.sqr()?)? + a)?.sum_all()?;
        let gradients = walk(&sum)?;
        assert_eq!(of(&gradients, &x)?, [22.0, 24.0, 26.0]);
        assert_eq!(of(&gradients, &y)?, [4.0; 3]);
        Ok(())
    }

    #[test]
    fn a_long_chain_of_sums_is_walked_once() -> Result<()> {
        let x = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &Device::Cpu)?;
        let mut y = x.as_tensor().clone();
        for _ in 0..20 {
            y = (double(&y)? - &y)?; // stays x
        }
        assert_eq!(of(&walk(&y.sum_all()?)?, &x)?, [1.0; 3]);
        Ok(())
    }

    #[test]
    fn work_is_done_at_the_end_and_then_forgotten() -> Result<()> {
        thread_local! {
            static SUM: RefCell<Option<(Arc<Node>, Tensor)>> = const { RefCell::new(None) };
        }
        /// Adds the gradient at the end alone.
        struct Late(Arc<Node>);
        impl Backward<Tensor> for Late {
            fn backward(self: Box<Self>, gradient: Tensor) -> Result<()> {
                SUM.set(Some((self.0, gradient)));
                let finish = || SUM.with_borrow(|sum| sum.as_ref().map_or(Ok(()), |(node, sum)| node.add(sum.clone())));
                at_end(AtEnd { finish, forget: || SUM.set(None) });
                Ok(())
            }
        }
        let x = Var::from_vec(vec![1f32, 2.0], 2, &Device::Cpu)?;
        let node = watch(&x).expect("a variable is tracked");
        let output = Storage::Cpu(CpuStorage::F32(vec![1.0, 2.0]));
        let y = record([&Some(node.clone())], output, 2, x.device(), |_| Box::new(Late(node)))?;
        let gradients = walk(&(y + double(&x)?)?.sum_all()?)?;
        assert_eq!(of(&gradients, &x)?, [3.0; 2]);
        assert!(SUM.with_borrow(Option::is_none) && AT_END.with_borrow(Vec::is_empty));
        Ok(())
    }

    #[test]
    fn a_second_backward_pass_and_candles_own_are_refused() -> Result<()> {
        let x = Var::zeros(3, DType::F32, &Device::Cpu)?;
        let sum = double(&x)?.sum_all()?;
        assert!(sum.backward().is_err());
        walk(&sum)?;
        assert!(walk(&sum).is_err());
        Ok(())
    }

    #[test]
    fn nothing_is_tracked_without_a_variable_and_no_node_outlives_its_tensor() -> Result<()> {
        let x = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
        assert!(!double(&x)?.track_op());
        let variable = Var::zeros(3, DType::F32, &Device::Cpu)?;
        let id = {
            let y = double(&variable)?;
            assert!(lock(&NODES).contains_key(&y.id()));
            y.id()
        };
        assert!(!lock(&NODES).contains_key(&id));
        Ok(())
    }
}
