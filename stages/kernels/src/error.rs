//! Errors of this crate: arguments whose shapes do not match, and failures inside candle.

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments are malformed or their shapes do not match; nothing was computed.
    #[error("Cannot run `{operation}`: {problem}")]
    Shape {
        /// The function that was called.
        operation: &'static str,
        /// What does not match, with the sizes.
        problem: String,
    },
    /// A GPU cannot be opened.
    #[error("Cannot open the GPU `cuda:{ordinal}`")]
    Gpu {
        /// Its ordinal.
        ordinal: usize,
        /// What the driver answered. Boxed, since it is larger than all else here.
        source: Box<candle_core::Error>,
    },
    /// Candle failed: a device error, an unsupported element type, out of memory.
    #[error("Candle failed inside a kernel")]
    Candle {
        /// Candle's error.
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

/// The result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Shorthand for [`Error::Shape`].
pub(crate) fn shape_error(operation: &'static str, problem: impl Into<String>) -> Error {
    Error::Shape { operation, problem: problem.into() }
}
