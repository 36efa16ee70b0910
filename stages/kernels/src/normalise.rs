//! L2 normalisation of rows.

use candle_core::Tensor;

use crate::error::Result;

/// Norms below this count as this: a row of zeros stays zeros. PyTorch's `normalize` has the same default.
pub const NORM_FLOOR: f64 = 1e-12;

/// `x_i / max(‖x_i‖₂, NORM_FLOOR)` for each row: `[m, d]` to `[m, d]`.
///
/// # Errors
/// If `x` has not two dimensions.
pub fn l2_normalise(x: &Tensor) -> Result<Tensor> {
    let (rows, _) = x.dims2()?;
    // A row of zeros has no finite gradient of its norm; the floor under the square keeps it out of the root.
    let squared = x.sqr()?.sum(1)?.reshape((rows, 1))?;
    let floor = (squared.zeros_like()? + NORM_FLOOR * NORM_FLOOR)?;
    let norm = squared.gt(&floor)?.where_cond(&squared, &floor)?.sqrt()?;
    Ok(x.broadcast_div(&norm)?)
}
