//! A square image that pixel operations change in place.

/// An image of `side` × `side` pixels, `[side, side, 3]`.
pub struct Square<'a> {
    /// Height and width in pixels.
    pub side: usize,
    /// Its pixels.
    pub pixels: &'a mut [u8],
}

/// Rounds half to even. Without a rounding instruction, `f32::round_ties_even` is a call of the C library for each value;
/// adding a number beyond which floats have no fraction rounds in the same way.
pub(crate) fn rounded(value: f32) -> u8 {
    const NO_FRACTIONS: f32 = 12_582_912.0; // 1.5 · 2²³
    ((value + NO_FRACTIONS) - NO_FRACTIONS) as u8
}
