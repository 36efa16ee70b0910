//! Why a command failed, and the exit code that follows.

use std::process::ExitCode;

use crate::error_chain::error_chain;
use crate::execute::stop::INTERRUPTED;
use crate::manifest::{Diagnostics, Paint};
use crate::session::SessionError;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The manifest is wrong.
    Manifest(Box<Diagnostics>),
    /// The call is wrong.
    Call(String),
    /// The machine, the store or a file failed.
    Environment(anyhow::Error),
    /// A node failed; the run has reported it.
    Node,
    /// The user stopped it.
    Interrupted,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into().downcast::<SessionError>() {
            Ok(SessionError::Manifest(diagnostics)) => Failure::Manifest(diagnostics),
            Ok(SessionError::Call(message)) => Failure::Call(message),
            Ok(SessionError::Interrupted) => Failure::Interrupted,
            Ok(error) => Failure::Environment(error.into()),
            Err(error) => Failure::Environment(error),
        }
    }
}

impl From<Diagnostics> for Box<Failure> {
    fn from(diagnostics: Diagnostics) -> Self {
        Box::new(Failure::Manifest(Box::new(diagnostics)))
    }
}

impl Failure {
    /// Prints the failure to standard error and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Failure::Node => ExitCode::from(1),
            Failure::Interrupted => ExitCode::from(INTERRUPTED),
            Failure::Manifest(diagnostics) => {
                eprintln!("{}", diagnostics.render(Paint::of_stderr()));
                ExitCode::from(2)
            }
            Failure::Call(message) => {
                eprintln!("error: {message}");
                ExitCode::from(2)
            }
            Failure::Environment(error) => {
                eprintln!("error: {}", error_chain(error.as_ref()));
                ExitCode::from(1)
            }
        }
    }
}
