//! Activation functions that a kernel applies before it stores its result.

/// An element-wise activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`, as in the EfficientNet-Lite family.
    Relu6,
}

/// Upper bound of [`Activation::Relu6`].
pub(crate) const RELU6_CEILING: f32 = 6.0;
