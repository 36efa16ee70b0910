//! Progress, log lines and measurements of a running stage.

/// Receives what a running stage reports.
pub trait Observer: Sync {
    /// `done` of `total` units are done; `total` is 0 if it is not known.
    fn progress(&self, done: u64, total: u64, unit: &str);
    /// A line for the node's log.
    fn log(&self, line: &str);
    /// Something suspicious about data or parameters, a sentence without its full stop. It is shown and logged.
    fn warn(&self, message: &str);
    /// A measured value that is not deterministic, such as images per second. It is stored with the run, not in an artifact.
    fn measured(&self, name: &str, value: f64);
}
