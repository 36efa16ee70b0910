//! What can go wrong in a kernel: a shape that does not fit, or a failure inside candle.

/// A kernel's refusal, always before anything was computed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shapes of the arguments do not fit each other.
    #[error("Cannot run `{operation}`: {problem}")]
    Shape {
        /// The function that was called.
        operation: &'static str,
        /// What does not fit, with the sizes.
        problem: String,
    },
    /// Candle failed: a device error, a wrong element type, memory.
    #[error("Candle failed inside a kernel")]
    Candle {
        /// What candle said.
        #[from]
        source: candle_core::Error,
    },
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle { source } => source,
            shape => candle_core::Error::wrap(shape),
        }
    }
}

/// A kernel's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Shorthand for a shape error.
pub(crate) fn misfit(operation: &'static str, problem: impl Into<String>) -> Error {
    Error::Shape { operation, problem: problem.into() }
}
