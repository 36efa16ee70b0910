//! The trait of progress styles.

use crate::execute::Event;

/// Shows the events of a run.
pub trait Sink: Send {
    /// Shows one event. It must neither fail nor take long.
    fn event(&mut self, event: &Event);
}
