//! L2 normalisation of rows.

use candle_core::Tensor;

use crate::dispatch;
use crate::error::Result;

/// `x_i / max(‖x_i‖₂, 1e-12)` for each row: `[m, d]` to `[m, d]`. A row of zeros stays zero;
/// a row whose squared norm overflows becomes NaN.
///
/// # Errors
/// If `x` does not have two dimensions.
pub fn l2_normalise(x: &Tensor) -> Result<Tensor> {
    x.dims2()?;
    Ok(dispatch::l2_normalise(&x.contiguous()?)?)
}
