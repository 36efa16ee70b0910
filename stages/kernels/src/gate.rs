//! The way back through an activation and a shift: where the output was clipped the gradient is zero, and the shift's gradient is
//! the sum over pixels.
//!
//! Formula: `dz = dy ∘ act'(y)`, `dshift[c] = Σ_p dz[p, c]`, `dscale[c] = Σ_p dz[p, c] · x[p, c]`.
//! As in PyTorch the derivative at a kink is zero, and where y is NaN the gradient passes.

use rayon::prelude::*;

use crate::affine::Activation;
use crate::share::Shared;
use crate::simd::{Level, Simd, Task};
use crate::tile::RELU6_CEILING;

/// Rows whose sums are taken by themselves before they are added to the part's: fewer roundings than one long sum has.
const BLOCK: usize = 32;

/// Parts of the rows, each with its own sums, added in order.
const PARTS: usize = 16;

/// What [`gate`] works on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate<'a> {
    /// The activation's output; unused without an activation.
    pub y: Option<&'a [f32]>,
    /// The activation.
    pub activation: Activation,
    /// Values per row.
    pub channels: usize,
    /// Whether the gradient's sum over the rows is wanted.
    pub sum: bool,
    /// Whether the sum of its product with this is wanted.
    pub weighted: Option<&'a [f32]>,
}

/// The sums over all rows, each `[channels]`, if wanted.
#[derive(Debug)]
pub(crate) struct Sums {
    /// Of the gradient.
    pub plain: Option<Vec<f32>>,
    /// Of the gradient times `weighted`.
    pub weighted: Option<Vec<f32>>,
}

/// Turns the gradient behind an activation into the one before it, in place, and sums it over the rows.
pub(crate) fn gate(level: Level, gate: Gate, gradient: &mut [f32]) -> Sums {
    let Gate { channels, activation, .. } = gate;
    let y = gate.y.filter(|_| activation != Activation::None);
    let rows = gradient.len() / channels;
    let wanted = usize::from(gate.sum) + usize::from(gate.weighted.is_some());
    if wanted == 0 && y.is_none() {
        return Sums { plain: None, weighted: None };
    }
    let length = wanted * channels;
    let mut sums = vec![0.0; PARTS * length];
    let shared_sums = Shared::new(&mut sums);
    let shared = Shared::new(gradient);
    (0..PARTS).into_par_iter().for_each(|part| {
        let own = part * rows / PARTS..(part + 1) * rows / PARTS;
        // SAFETY: this part's sums are this task's alone.
        let sums = unsafe { std::slice::from_raw_parts_mut(shared_sums.pointer().add(part * length), length) };
        crate::scratch::with(length, |block| {
            for first in own.clone().step_by(BLOCK) {
                let at = first * channels;
                let sum = block.as_mut_ptr();
                level.run(GateRows {
                    gradient: shared.pointer().wrapping_add(at),
                    y: y.map(|y| y[at..].as_ptr()),
                    upper: match activation {
                        Activation::Relu6 => RELU6_CEILING,
                        _ => f32::INFINITY,
                    },
                    rows: (own.end - first).min(BLOCK),
                    channels,
                    plain: gate.sum.then_some(sum),
                    weighted: gate.weighted.map(|x| {
                        let behind = usize::from(gate.sum) * channels;
                        (x[at..].as_ptr(), sum.wrapping_add(behind))
                    }),
                });
                sums.iter_mut().zip(&*block).for_each(|(sum, add)| *sum += add);
            }
        });
    });
    let (total, others) = sums.split_at_mut(length);
    for other in others.chunks_exact(length.max(1)) {
        total.iter_mut().zip(other).for_each(|(sum, add)| *sum += add);
    }
    let mut totals = total.chunks_exact(channels).map(<[f32]>::to_vec);
    Sums {
        plain: gate.sum.then(|| totals.next().expect("it was counted")),
        weighted: gate.weighted.map(|_| totals.next().expect("it was counted")),
    }
}

/// A block of rows; all pointers are valid for `rows · channels` values, the sums' for `channels`, which are
/// written anew.
///
/// The rows are walked whole: down a column of vectors they would lie a power of two apart and drive each other out of the cache.
struct GateRows {
    gradient: *mut f32,
    y: Option<*const f32>,
    upper: f32,
    rows: usize,
    channels: usize,
    plain: Option<*mut f32>,
    weighted: Option<(*const f32, *mut f32)>,
}

impl Task for GateRows {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the pointers are valid as documented.
        unsafe {
            let (zero, upper) = (S::splat(0.0), S::splat(self.upper));
            for row in 0..self.rows {
                let mut c = 0;
                while c < self.channels {
                    let count = self.channels - c;
                    let at = row * self.channels + c;
                    let mut value = S::load_up_to(self.gradient.add(at), count);
                    if let Some(y) = self.y {
                        let y = S::load_up_to(y.add(at), count);
                        value = S::drop_where_at_most(value, y, zero);
                        value = S::drop_where_at_most(value, upper, y);
                        S::store_up_to(self.gradient.add(at), value, count);
                    }
                    if let Some(sum) = self.plain {
                        let sum = sum.add(c);
                        let before = if row == 0 { zero } else { S::load_up_to(sum, count) };
                        S::store_up_to(sum, S::add(before, value), count);
                    }
                    if let Some((x, sum)) = self.weighted {
                        let (x, sum) = (S::load_up_to(x.add(at), count), sum.add(c));
                        let before = if row == 0 { zero } else { S::load_up_to(sum, count) };
                        S::store_up_to(sum, S::mul_add(value, x, before), count);
                    }
                    c += S::LANES;
                }
            }
        }
    }
}
