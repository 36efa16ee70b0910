//! How kernels hang in candle's autograd without its price.
//!
//! Candle's backward pass writes a tensor of zeros and a sum, each as large as the activation, for every gradient that an operation
//! returns, and keeps every activation until the loss is dropped. So an activation made here has two tensors: the one that
//! callers see, and a *token* without elements that stands for it in candle's graph. Kernels connect tokens; candle walks
//! them in the right order and adds up nothing. The gradient itself is gathered in the activation's [`Slot`], in place, and what an
//! operation saved is freed as soon as its gradient is computed.
//!
//! ```text
//!   x ── Enter ──► token(x) ──┐
//!   w ── Enter ──► token(w) ──┴─ Join ──► token(y) ── Leave ──► y        (candle's graph)
//! ```
//! `Enter` returns the slot's gradient to candle where a tensor of candle's own (a variable, a tensor of another operation) enters;
//! `Leave` puts the gradient that candle's operations have for `y` into its slot. A kernel that gets `y` again finds
//! its token through [`TOKENS`] and skips both.
//!
//! A consequence: a second backward pass over the same graph is an error, as it is in PyTorch.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Tensor, TensorId};

/// Where the gradient of one activation or parameter is gathered.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<Option<Vec<f32>>>);

impl Slot {
    /// Takes the gradient out; none came if no operation reached this tensor.
    pub(crate) fn take(&self) -> Option<Vec<f32>> {
        locked(&self.0).take()
    }

    /// Adds a gradient.
    pub(crate) fn add(&self, gradient: Vec<f32>) {
        self.update(|sum| match sum {
            None => gradient,
            Some(mut sum) => {
                crate::affine::add_into(&mut sum, &gradient);
                sum
            }
        });
    }

    /// Replaces the gradient by what `next` makes of it, so that a kernel can add to it while it computes.
    pub(crate) fn update(&self, next: impl FnOnce(Option<Vec<f32>>) -> Vec<f32>) {
        let mut slot = locked(&self.0);
        let gradient = next(slot.take());
        *slot = Some(gradient);
    }
}

/// A tensor's place in the graph: its slot and its token.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where its gradient is gathered.
    pub slot: Arc<Slot>,
    token: Tensor,
    seen_as: OnceLock<TensorId>,
}

impl Place {
    fn new(slot: Arc<Slot>, token: Tensor) -> Arc<Self> {
        Arc::new(Self { slot, token, seen_as: OnceLock::new() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(id) = self.seen_as.get() {
            locked(&TOKENS).remove(id);
        }
    }
}

/// The places of activations that are alive, by the id of the tensor that callers see.
///
/// Candle keeps a tensor's operation to itself, so this table is how a kernel recognises the result of another. It holds
/// nothing alive, and an id is never used twice.
static TOKENS: LazyLock<Mutex<HashMap<TensorId, Weak<Place>>>> = LazyLock::new(Mutex::default);

/// The place of `x`, or none if nothing that it depends on is a variable.
pub(crate) fn enter(x: &Tensor) -> Result<Option<Arc<Place>>> {
    if !x.track_op() {
        return Ok(None);
    }
    if let Some(place) = locked(&TOKENS).get(&x.id()).and_then(Weak::upgrade) {
        return Ok(Some(place));
    }
    let slot = Arc::new(Slot::default());
    let token = x.apply_op1(Enter { slot: slot.clone() })?;
    Ok(Some(Place::new(slot, token)))
}

/// The slot of an input, for an operation's backward pass to keep.
pub(crate) fn slot_of(place: &Option<Arc<Place>>) -> Option<Arc<Slot>> {
    place.as_ref().map(|place| place.slot.clone())
}

thread_local! {
    /// Variables' gradients of the backward pass that [`backward`] runs on this thread.
    static ASIDE: RefCell<Option<Vec<(Tensor, Tensor)>>> = const { RefCell::new(None) };
}

/// The gradients of all variables that `loss` depends on: candle's `loss.backward()`, spared the zeros and the sum that candle
/// writes for every variable's gradient.
///
/// # Errors
/// If candle fails, or a graph is walked a second time.
pub fn backward(loss: &Tensor) -> crate::Result<GradStore> {
    let outer = ASIDE.replace(Some(Vec::new()));
    let gradients = loss.backward();
    let aside = ASIDE.replace(outer).unwrap_or_default();
    let mut gradients = gradients?;
    for (variable, gradient) in aside {
        let sum = match gradients.remove(&variable) {
            Some(other) => (other + gradient)?,
            None => gradient,
        };
        gradients.insert(&variable, sum);
    }
    Ok(gradients)
}

/// Adds a gradient to a slot, where both are there.
pub(crate) fn add_if_wanted(slot: &Option<Arc<Slot>>, gradient: Option<Vec<f32>>) {
    if let (Some(slot), Some(gradient)) = (slot, gradient) {
        slot.add(gradient);
    }
}

/// The gradients of an operation's inputs, given the output's; it adds them to the inputs' slots.
pub(crate) trait Backward: Send {
    /// Runs once.
    ///
    /// # Errors
    /// If candle fails.
    fn backward(self: Box<Self>, gradient: Vec<f32>) -> Result<()>;
}

/// A result together with what computes the gradients of its inputs.
///
/// `make` gets the result as a tensor without history, so that an operation may save it.
pub(crate) fn record<'a>(
    inputs: impl IntoIterator<Item = &'a Option<Arc<Place>>>,
    values: Vec<f32>,
    shape: impl Into<Shape>,
    make: impl FnOnce(Tensor) -> Box<dyn Backward>,
) -> Result<Tensor> {
    let shape = shape.into();
    let tokens = inputs.into_iter().flatten().map(|place| place.token.clone());
    let joined = tokens.map(Ok).reduce(|a: Result<Tensor>, b| a?.apply_op2(&b?, Both));
    let Some(joined) = joined.transpose()? else {
        return plain(values, shape);
    };
    let slot = Arc::new(Slot::default());
    let join = Arc::new(Mutex::new(None));
    let token = joined.apply_op1(Join { slot: slot.clone(), backward: join.clone() })?;
    let place = Place::new(slot, token);
    let y = place.token.apply_op1(Leave { place: place.clone(), values: Mutex::new(Some((values, shape))) })?;
    *locked(&join) = Some(make(y.detach()));
    locked(&TOKENS).insert(y.id(), Arc::downgrade(&place));
    let _ = place.seen_as.set(y.id());
    Ok(y)
}

/// A tensor without history.
pub(crate) fn plain(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// A tensor without elements.
fn nothing() -> (CpuStorage, Shape) {
    (CpuStorage::F32(Vec::new()), Shape::from(0))
}

/// Locks what no panic can leave half written: every value here is replaced whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Enter {
    slot: Arc<Slot>,
}

impl CustomOp1 for Enter {
    fn name(&self) -> &'static str {
        "enter"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(nothing())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let Some(gradient) = self.slot.take() else {
            return x.zeros_like().map(Some);
        };
        let gradient = plain(gradient, x.shape())?;
        Ok(ASIDE.with_borrow_mut(|aside| match aside {
            Some(aside) if x.is_variable() => {
                aside.push((x.clone(), gradient));
                None
            }
            _ => Some(gradient),
        }))
    }
}

struct Both;

impl CustomOp2 for Both {
    fn name(&self) -> &'static str {
        "both"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(nothing())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, token: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(token.clone()), Some(token.clone())))
    }
}

struct Join {
    slot: Arc<Slot>,
    backward: Arc<Mutex<Option<Box<dyn Backward>>>>,
}

impl CustomOp1 for Join {
    fn name(&self) -> &'static str {
        "join"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(nothing())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, token: &Tensor) -> Result<Option<Tensor>> {
        let Some(backward) = locked(&self.backward).take() else {
            candle_core::bail!("a second backward pass over a graph whose activations were freed by the first")
        };
        if let Some(gradient) = self.slot.take() {
            backward.backward(gradient)?;
        }
        Ok(Some(token.clone()))
    }
}

struct Leave {
    place: Arc<Place>,
    values: Mutex<Option<(Vec<f32>, Shape)>>,
}

impl CustomOp1 for Leave {
    fn name(&self) -> &'static str {
        "leave"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, shape) = locked(&self.values).take().expect("an operation runs forward once");
        Ok((CpuStorage::F32(values), shape))
    }

    fn bwd(&self, token: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.place.slot.add(gradient.flatten_all()?.to_vec1()?);
        Ok(Some(token.clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;

    /// `y = 2x`, counting its backward passes.
    fn double(x: &Tensor) -> Result<Tensor> {
        struct Double(Arc<Slot>);
        impl Backward for Double {
            fn backward(self: Box<Self>, gradient: Vec<f32>) -> Result<()> {
                self.0.add(gradient.iter().map(|g| 2.0 * g).collect());
                Ok(())
            }
        }
        let place = enter(x)?;
        let values: Vec<f32> = x.flatten_all()?.to_vec1()?;
        let doubled = values.iter().map(|x| 2.0 * x).collect();
        let slot = place.as_ref().map(|place| place.slot.clone());
        record([&place], doubled, x.shape(), |_| Box::new(Double(slot.unwrap_or_default())))
    }

    #[test]
    fn a_chain_with_branches_adds_up() -> Result<()> {
        let x = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &Device::Cpu)?;
        let a = double(&x)?;
        let b = double(&a)?;
        let sum = ((&b + double(&b)?)? + &a)?.sum_all()?; // 4x + 8x + 2x
        let gradients = sum.backward()?;
        let gradient = gradients.get(&x).expect("x is a variable").to_vec1::<f32>()?;
        assert_eq!(gradient, [14.0; 3]);
        assert_eq!(sum.to_scalar::<f32>()?, 84.0);
        Ok(())
    }

    #[test]
    fn variables_get_all_gradients_that_come_on_different_ways() -> crate::Result<()> {
        let x = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &Device::Cpu)?;
        let y = Var::from_vec(vec![1f32, 1.0, 1.0], 3, &Device::Cpu)?;
        let sum = (double(&x)? + double(&x)? + x.sqr()? + double(&y.sqr()?)?)?.sum_all()?; // 4x + x² + 2y²
        let gradients = backward(&sum)?;
        let of = |variable: &Var| gradients.get(variable).expect("it has a gradient").to_vec1::<f32>();
        assert_eq!(of(&x)?, [6.0, 8.0, 10.0]);
        assert_eq!(of(&y)?, [4.0; 3]);
        Ok(())
    }

    #[test]
    fn a_second_backward_pass_is_refused() -> Result<()> {
        let x = Var::zeros(2, DType::F32, &Device::Cpu)?;
        let sum = double(&x)?.sum_all()?;
        sum.backward()?;
        assert!(sum.backward().is_err());
        Ok(())
    }

    #[test]
    fn nothing_is_tracked_without_a_variable_and_no_place_outlives_its_tensor() -> Result<()> {
        let x = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
        assert!(!double(&x)?.track_op());
        let variable = Var::zeros(2, DType::F32, &Device::Cpu)?;
        let id = {
            let y = double(&variable)?;
            assert!(locked(&TOKENS).contains_key(&y.id()));
            y.id()
        };
        assert!(!locked(&TOKENS).contains_key(&id));
        Ok(())
    }
}
