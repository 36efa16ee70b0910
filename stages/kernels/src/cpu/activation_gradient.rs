//! The backward pass through an activation and a shift: the gradient is zero where the output was clipped, and the shift's gradient
//! is the sum over pixels.
//!
//! Formula: `dz = dy ∘ act'(y)`, `dshift[c] = Σ_p dz[p, c]`, `dscale[c] = Σ_p dz[p, c] · x[p, c]`.
//! As in PyTorch, the derivative at a kink is zero, and the gradient passes where y is NaN.

use rayon::prelude::*;

use super::disjoint::SharedMut;
use super::sums::sum_parts;
use crate::activation::{Activation, RELU6_CEILING};
use crate::simd::{Level, Simd, Task};

/// Rows that are summed on their own before they are added to the part's sums: fewer roundings than in one long sum.
const BLOCK: usize = 32;

/// Parts of the rows, each with its own sums, added in order.
const PARTS: usize = 16;

/// Arguments of [`activation_gradient`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ActivationGradient<'a> {
    /// The activation's output; unused without an activation.
    pub y: Option<&'a [f32]>,
    /// The activation.
    pub activation: Activation,
    /// Values per row.
    pub channels: usize,
    /// Whether to compute the sum of the gradient over the rows.
    pub sum: bool,
    /// If given, the factors of a second sum, of the gradient times these.
    pub factors: Option<&'a [f32]>,
}

/// The requested sums over all rows, each `[channels]`.
#[derive(Debug)]
pub(super) struct RowSums {
    /// Of the gradient.
    pub gradient: Option<Vec<f32>>,
    /// Of the gradient times `factors`.
    pub product: Option<Vec<f32>>,
}

/// Replaces the gradient of an activation's output by that of its input, in place, and sums it over the rows.
pub(super) fn activation_gradient(level: Level, arguments: ActivationGradient, gradient: &mut [f32]) -> RowSums {
    let ActivationGradient { channels, activation, .. } = arguments;
    let y = arguments.y.filter(|_| activation != Activation::None);
    let rows = gradient.len() / channels;
    let requested = usize::from(arguments.sum) + usize::from(arguments.factors.is_some());
    if requested == 0 && y.is_none() {
        return RowSums { gradient: None, product: None };
    }
    let length = requested * channels;
    let mut sums = vec![0.0; PARTS * length];
    let shared_sums = SharedMut::new(&mut sums);
    let shared = SharedMut::new(gradient);
    (0..PARTS).into_par_iter().for_each(|part| {
        let own = part * rows / PARTS..(part + 1) * rows / PARTS;
        // SAFETY: only this task uses the sums of this part.
        let sums = unsafe { std::slice::from_raw_parts_mut(shared_sums.pointer().add(part * length), length) };
        super::scratch::with(length, |block| {
            for first in own.clone().step_by(BLOCK) {
                let at = first * channels;
                let sum = block.as_mut_ptr();
                level.run(MaskRows {
                    gradient: shared.pointer().wrapping_add(at),
                    y: y.map(|y| y[at..].as_ptr()),
                    upper: match activation {
                        Activation::Relu6 => RELU6_CEILING,
                        _ => f32::INFINITY,
                    },
                    rows: (own.end - first).min(BLOCK),
                    channels,
                    sum: arguments.sum.then_some(sum),
                    product: arguments.factors.map(|x| {
                        let offset = usize::from(arguments.sum) * channels;
                        (x[at..].as_ptr(), sum.wrapping_add(offset))
                    }),
                });
                sums.iter_mut().zip(&*block).for_each(|(sum, add)| *sum += add);
            }
        });
    });
    sum_parts(&mut sums, length);
    let mut totals = sums.chunks_exact(channels).map(<[f32]>::to_vec);
    RowSums {
        gradient: arguments.sum.then(|| totals.next().expect("`requested` counted this sum")),
        product: arguments.factors.map(|_| totals.next().expect("`requested` counted this sum")),
    }
}

/// A block of rows. All pointers are valid for `rows · channels` values, those of the sums for `channels`, which are overwritten.
///
/// Each row is read whole. Reading column by column, accesses could be a power of two apart and evict each other from the cache.
struct MaskRows {
    gradient: *mut f32,
    y: Option<*const f32>,
    upper: f32,
    rows: usize,
    channels: usize,
    sum: Option<*mut f32>,
    /// Factors and sum of products.
    product: Option<(*const f32, *mut f32)>,
}

impl Task for MaskRows {
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
                    if let Some(sum) = self.sum {
                        let sum = sum.add(c);
                        let before = if row == 0 { zero } else { S::load_up_to(sum, count) };
                        S::store_up_to(sum, S::add(before, value), count);
                    }
                    if let Some((x, sum)) = self.product {
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
