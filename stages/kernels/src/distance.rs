//! The squared Euclidean distance of two rows, by one formula in one order on every machine.
//!
//! **Formula** D(a, b) = Σᵢ (aᵢ − bᵢ)², by direct differences: equal rows are at exactly 0, and nothing cancels as it does in
//! ‖a‖² + ‖b‖² − 2ab. The sum runs over [`LANES`] lanes that are added in a fixed tree, without fused multiplication, so that
//! every instruction set gives the same bits.

/// Independent partial sums: enough for four 512-bit or eight 256-bit registers.
const LANES: usize = 64;

/// A bound on the relative error of [`squared`] and [`squared_norm`] at `dim`, with room to spare.
///
/// A term is rounded three times, a lane adds up `dim / LANES` terms and the tree has six levels; one rounding is 2⁻²⁴.
pub(crate) fn rounding(dim: usize) -> f32 {
    ((dim / LANES + 16) as f32) * f32::EPSILON
}

/// D(a, b) of two rows of equal length.
#[inline(always)]
pub(crate) fn squared(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |a, b| (a - b) * (a - b))
}

/// ‖a‖².
#[inline(always)]
pub(crate) fn squared_norm(a: &[f32]) -> f32 {
    sum(a, a, |a, _| a * a)
}

/// Σᵢ `term(aᵢ, bᵢ)` in the one order.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(*a, *b);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += term(*a, *b);
    }
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vectorise::vectorised;

    proptest! {
        #[test]
        fn agrees_with_a_loop_in_double_precision(
            rows in prop::collection::vec((-8.0f32..8.0, -8.0f32..8.0), 1..400)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            let norm: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
            let bound = f64::from(rounding(a.len()));
            prop_assert!((f64::from(squared(&a, &b)) - exact).abs() <= bound * exact);
            prop_assert!((f64::from(squared_norm(&a)) - norm).abs() <= bound * norm);
            prop_assert_eq!(squared(&a, &a), 0.0);
        }

        #[test]
        fn has_the_same_bits_under_every_instruction_set(
            rows in prop::collection::vec((-8.0f32..8.0, -8.0f32..8.0), 1..400)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
            let dispatched = vectorised(#[inline(always)] || squared(&a, &b));
            prop_assert_eq!(dispatched.to_bits(), squared(&a, &b).to_bits());
        }
    }
}
