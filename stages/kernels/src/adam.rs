//! Adam and AdamW in one pass over a parameter.
//!
//! Formula: with `g ← g + λ p` (Adam) or `p ← p − lr λ p` (AdamW, decoupled),
//! `m ← m + (1 − β₁)(g − m)`, `v ← β₂ v + (1 − β₂) g²`,
//! `p ← p − lr/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)`.
//! Source: Kingma and Ba, arXiv 1412.6980, Algorithm 1; Loshchilov and Hutter, arXiv 1711.05101, Algorithm 2; operations
//! are rounded in the order of `torch.optim`.

use candle_core::Tensor;
use rayon::prelude::*;

/// Hyperparameters of one step, the same for every element of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Weight decay λ.
    pub weight_decay: f64,
    /// Whether the decay acts on the parameter itself (AdamW) rather than on the gradient (Adam).
    pub decoupled: bool,
    /// Number of this step, starting at 1.
    pub step: u64,
}

/// The step of one parameter among many that are taken at once.
#[derive(Debug, Clone, Copy)]
pub struct AdamWork<'a> {
    /// The parameter, contiguous `f32`, which is changed in place.
    pub parameter: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// Both moments, `[2, n]`, which are changed in place.
    pub moments: &'a Tensor,
    /// The step.
    pub step: AdamStep,
}

/// Elements per task: fixed, so that the split never depends on the number of threads.
const CHUNK: usize = 1 << 15;

/// One step of Adam or AdamW over `parameter` and its two moments, in place.
///
/// # Panics
/// If the four slices differ in length.
pub fn adam_step(parameter: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], step: AdamStep) {
    let length = parameter.len();
    assert!(
        gradient.len() == length && first.len() == length && second.len() == length,
        "a parameter, its gradient and its moments have the same length"
    );
    let factors = Factors::new(step);
    parameter
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(first.par_chunks_mut(CHUNK))
        .zip(second.par_chunks_mut(CHUNK))
        .for_each(|(((p, g), m), v)| factors.update(p, g, m, v));
}

/// The factors of the update formula, each rounded to `f32` once.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    keep: f32,
    decay: f32,
    first_rate: f32,
    second_keep: f32,
    second_rate: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
}

impl Factors {
    pub(crate) fn new(step: AdamStep) -> Self {
        let power = |beta: f64| beta.powf(step.step as f64);
        let (keep, decay) =
            if step.decoupled { (1.0 - step.lr * step.weight_decay, 0.0) } else { (1.0, step.weight_decay) };
        Self {
            keep: keep as f32,
            decay: decay as f32,
            first_rate: (1.0 - step.beta1) as f32,
            second_keep: step.beta2 as f32,
            second_rate: (1.0 - step.beta2) as f32,
            step_size: (step.lr / (1.0 - power(step.beta1))) as f32,
            root_correction: (1.0 - power(step.beta2)).sqrt() as f32,
            eps: step.eps as f32,
        }
    }

    /// All of them, in the order in which the CUDA kernel declares them.
    #[cfg(feature = "cuda")]
    pub(crate) fn in_order(self) -> [f32; 8] {
        let Self { keep, decay, first_rate, second_keep, second_rate, step_size, root_correction, eps } = self;
        [keep, decay, first_rate, second_keep, second_rate, step_size, root_correction, eps]
    }

    fn update(self, parameter: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        for (((p, &g), m), v) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
            let kept = *p * self.keep;
            let g = g + self.decay * *p;
            *m += self.first_rate * (g - *m);
            *v = self.second_keep * *v + self.second_rate * g * g;
            *p = kept - self.step_size * (*m / (v.sqrt() / self.root_correction + self.eps));
        }
    }
}
