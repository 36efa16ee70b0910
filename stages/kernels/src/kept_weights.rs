//! Weights that a GPU's kernels take in a layout and a type of their own.

use std::marker::PhantomData;

/// While this lives, the kernels of a GPU convert each weight that no variable contributes to once, and not at each call from this
/// thread. It is for inference over many batches; such weights must not be changed in place meanwhile. A CPU has nothing to convert.
#[derive(Debug)]
pub struct KeptWeights {
    is_outermost: bool,
    /// The weights are kept for one thread.
    _thread: PhantomData<*const ()>,
}

impl KeptWeights {
    /// Begins to keep them.
    #[expect(clippy::new_without_default, reason = "a value whose drop has an effect is made on purpose")]
    pub fn new() -> Self {
        #[cfg(feature = "cuda")]
        let is_outermost = crate::cuda::weights::keep();
        #[cfg(not(feature = "cuda"))]
        let is_outermost = true;
        Self { is_outermost, _thread: PhantomData }
    }
}

impl Drop for KeptWeights {
    fn drop(&mut self) {
        if self.is_outermost {
            #[cfg(feature = "cuda")]
            crate::cuda::weights::release();
        }
    }
}
