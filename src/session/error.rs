//! Why a session could not do what it was asked for.

use crate::error_chain::error_chain;
use crate::execute::sources::SourceError;
use crate::manifest::Diagnostics;
use crate::project_file::ProjectFileError;

/// Why a session could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The manifest or an override is wrong.
    #[error("{0}")]
    Manifest(Box<Diagnostics>),
    /// The call is wrong: an option that does not fit the manifest or this machine.
    #[error("{0}")]
    Call(String),
    /// The user asked to stop.
    #[error("Interrupted")]
    Interrupted,
    /// The machine, the store or a file failed.
    #[error("{action}")]
    Environment {
        /// What could not be done.
        action: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The device cannot be used.
    #[error(transparent)]
    Device(dnc_stages::StageError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] dnc_cache::CacheError),
}

impl SessionError {
    /// Turns an error into one that says what could not be done, as in `Cannot read the run folder`.
    pub(crate) fn cannot<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        action: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let action = action.into();
        |source| SessionError::Environment { action, source: source.into() }
    }
}

impl From<Diagnostics> for SessionError {
    fn from(diagnostics: Diagnostics) -> Self {
        SessionError::Manifest(Box::new(diagnostics))
    }
}

impl From<ProjectFileError> for SessionError {
    fn from(error: ProjectFileError) -> Self {
        SessionError::Call(error_chain(&error))
    }
}

impl From<SourceError> for SessionError {
    fn from(error: SourceError) -> Self {
        let action = error.to_string();
        match error {
            SourceError::Interrupted => SessionError::Interrupted,
            SourceError::Hash { source, .. } => SessionError::Environment { action, source: source.into() },
            SourceError::Device(error) => SessionError::Device(error),
        }
    }
}
