//! Products with a weight: the fully connected layer and Euclidean distances between two sets of rows.

use candle_core::Tensor;

use crate::conv;
use crate::error::{Result, misfit};
use crate::values::are_ours;

/// Squared distances below this count as zero: their root has no finite gradient there.
pub const DISTANCE_FLOOR: f64 = 1e-12;

/// `x · weightᵀ + bias`: x `[m, k]`, weight `[out, k]`, bias `[out]`, result `[m, out]`.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (_, inner) = x.dims2()?;
    let (out, weight_inner) = weight.dims2()?;
    if inner != weight_inner || bias.is_some_and(|bias| bias.dims() != [out]) {
        return Err(misfit(
            "linear",
            format!("x is {:?}, `weight` {:?}, `bias` {:?}", x.dims(), weight.dims(), bias.map(Tensor::dims)),
        ));
    }
    let is_empty = [x, weight].iter().any(|tensor| tensor.elem_count() == 0);
    if !is_empty && are_ours([x, weight].into_iter().chain(bias)) {
        return Ok(conv::product(x, weight, bias)?);
    }
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => Ok(y.broadcast_add(bias)?),
        None => Ok(y),
    }
}

/// Euclidean distances, not squared: x `[m, d]`, y `[n, d]`, result `[m, n]`.
///
/// Formula: `d_ij = √max(‖x_i‖² + ‖y_j‖² − 2 x_i·y_j, DISTANCE_FLOOR)`.
/// The gradient of a pair at the floor is zero, so that coinciding rows give no NaN.
///
/// # Errors
/// If the rows have different lengths.
pub fn pairwise_distances(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (rows, dimension) = x.dims2()?;
    let (columns, other) = y.dims2()?;
    if dimension != other {
        return Err(misfit("pairwise_distances", format!("rows of {dimension} and of {other} values")));
    }
    let x_norms = x.sqr()?.sum(1)?.reshape((rows, 1))?;
    let y_norms = y.sqr()?.sum(1)?.reshape((1, columns))?;
    let products = linear(x, y, None)?; // [m, n]
    let squared = x_norms.broadcast_add(&y_norms)?.sub(&(products * 2.0)?)?;
    let floor = (squared.zeros_like()? + DISTANCE_FLOOR)?;
    let above = squared.gt(&floor)?;
    Ok(above.where_cond(&squared, &floor)?.sqrt()?)
}
