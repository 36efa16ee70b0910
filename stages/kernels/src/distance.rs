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
    sum::<SquaredDifference>(a, b)
}

/// ‖a‖².
#[inline(always)]
pub(crate) fn squared_norm(a: &[f32]) -> f32 {
    sum::<Product>(a, a)
}

/// What is summed. A trait and not a closure, because a closure's body is not always inlined into the instruction set of its caller.
trait Term {
    /// The term of two values; that of two zeros is 0.
    fn of(a: f32, b: f32) -> f32;
}

struct SquaredDifference;

impl Term for SquaredDifference {
    #[inline(always)]
    fn of(a: f32, b: f32) -> f32 {
        (a - b) * (a - b)
    }
}

struct Product;

impl Term for Product {
    #[inline(always)]
    fn of(a: f32, b: f32) -> f32 {
        a * b
    }
}

/// A quarter of the lanes. The compiler keeps arrays of this length in registers, but not one of all lanes.
type Lanes = [f32; LANES / 4];

/// Σᵢ `T::of(aᵢ, bᵢ)` in the one order.
#[inline(always)]
fn sum<T: Term>(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let [mut l0, mut l1, mut l2, mut l3] = [Lanes::default(); 4];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        let (a, b) = (quarters(a), quarters(b));
        add::<T>(&mut l0, &a[0], &b[0]);
        add::<T>(&mut l1, &a[1], &b[1]);
        add::<T>(&mut l2, &a[2], &b[2]);
        add::<T>(&mut l3, &a[3], &b[3]);
    }
    if !a_rest.is_empty() {
        // Zeros behind the rest change no sum.
        let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
        a[..a_rest.len()].copy_from_slice(a_rest);
        b[..b_rest.len()].copy_from_slice(b_rest);
        let (a, b) = (quarters(&a), quarters(&b));
        add::<T>(&mut l0, &a[0], &b[0]);
        add::<T>(&mut l1, &a[1], &b[1]);
        add::<T>(&mut l2, &a[2], &b[2]);
        add::<T>(&mut l3, &a[3], &b[3]);
    }
    // The tree: lanes i and i + 32, then i and i + 16, and so on.
    for i in 0..l0.len() {
        l0[i] = (l0[i] + l2[i]) + (l1[i] + l3[i]);
    }
    for i in 0..8 {
        l0[i] += l0[i + 8];
    }
    for i in 0..4 {
        l0[i] += l0[i + 4];
    }
    (l0[0] + l0[2]) + (l0[1] + l0[3])
}

#[inline(always)]
fn quarters(values: &[f32; LANES]) -> &[Lanes] {
    values.as_chunks().0
}

#[inline(always)]
fn add<T: Term>(lanes: &mut Lanes, a: &Lanes, b: &Lanes) {
    for i in 0..lanes.len() {
        lanes[i] += T::of(a[i], b[i]);
    }
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
