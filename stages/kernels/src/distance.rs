//! The squared Euclidean distance of two rows, by one formula in one order of operations on every machine.
//!
//! **Formula** D(a, b) = Σᵢ (aᵢ − bᵢ)², by direct differences: equal rows are at exactly 0, and nothing cancels as it does in
//! ‖a‖² + ‖b‖² − 2ab. The sum has [`LANES`] partial sums that are added in a fixed tree, without fused multiplication, so that
//! every instruction set gives the same bits.

use rayon::prelude::*;

use crate::error::{Result, shape_error};
use crate::vectorise::vectorised;

/// Independent partial sums: enough for four 512-bit or eight 256-bit registers.
const LANES: usize = 64;

/// An upper bound on the relative error of [`squared`] and [`squared_norm`] in `dim` dimensions, with a safety margin.
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

/// A term of the sum. A trait rather than a closure, whose body is not always inlined into code for its caller's instruction set.
trait Term {
    /// The term for two values; 0 for two zeros.
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

/// A quarter of the lanes. The compiler keeps arrays of this length in registers, but not one array of all lanes.
type Lanes = [f32; LANES / 4];

/// Σᵢ `T::of(aᵢ, bᵢ)` in the fixed order.
#[inline(always)]
fn sum<T: Term>(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_remainder) = a.as_chunks::<LANES>();
    let (b_chunks, b_remainder) = b.as_chunks::<LANES>();
    let [mut l0, mut l1, mut l2, mut l3] = [Lanes::default(); 4];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        let (a, b) = (quarters(a), quarters(b));
        add::<T>(&mut l0, &a[0], &b[0]);
        add::<T>(&mut l1, &a[1], &b[1]);
        add::<T>(&mut l2, &a[2], &b[2]);
        add::<T>(&mut l3, &a[3], &b[3]);
    }
    if !a_remainder.is_empty() {
        // Padding with zeros changes no sum.
        let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
        a[..a_remainder.len()].copy_from_slice(a_remainder);
        b[..b_remainder.len()].copy_from_slice(b_remainder);
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

/// Checks that `rows` is a matrix of rows of `dim` values whose squared norms are finite.
pub(crate) fn check_rows(operation: &'static str, name: &str, rows: &[f32], dim: usize) -> Result<()> {
    if dim == 0 || !rows.len().is_multiple_of(dim) {
        let problem = format!("`{name}` has {} values, which is not a whole number of rows of {dim}", rows.len());
        return Err(shape_error(operation, problem));
    }
    let is_finite = |row: &[f32]| {
        vectorised(
            #[inline(always)]
            || squared_norm(row).is_finite(),
        )
    };
    match rows.par_chunks_exact(dim).position_first(|row| !is_finite(row)) {
        Some(row) => {
            let problem = format!("row {row} of `{name}` has a value that is not finite or whose square is not");
            Err(shape_error(operation, problem))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
