//! Where nodes run. One driver serves all executors: it submits work while there is room and polls for answers.
//!
//! | executor | a node runs | file |
//! |---|---|---|
//! | [`Threads`] | on threads of this process | [`threads`] |
//! | [`Processes`] | in a process of its own, `dnc-run task FILE` | [`processes`] |
//! | [`Slurm`] | in a job of a Slurm cluster, which runs `dnc-run task FILE` | [`slurm`] |
//!
//! To add one: write its file with an `impl Executor`, and add a line to [`ExecutorChoice`](crate::session::ExecutorChoice) and one
//! to where the session makes executors.

mod processes;
pub mod slurm;
mod threads;

use std::time::Duration;

pub use processes::Processes;
pub use slurm::Slurm;
pub use threads::Threads;

use super::work::{Answer, Work};
use crate::plan::Needs;

/// Runs nodes somewhere. An executor only runs what it is handed: it knows neither the plan nor what is ready.
pub trait Executor {
    /// Whether it can take no more work now, whatever that needs.
    fn is_full(&self) -> bool;

    /// Whether it can take work of this stage, as the manifest names it, with these needs now.
    fn has_room(&self, stage: &str, needs: &Needs) -> bool;

    /// Takes work for which there [is room](Self::has_room), while `ready` more nodes are ready to run. It returns at once;
    /// each piece of work is answered exactly once.
    fn submit(&mut self, work: Work, ready: usize);

    /// The next answer, or `None` if none came within `timeout`.
    fn poll(&mut self, timeout: Duration) -> Option<Answer>;

    /// Asks all work under way to stop. It is answered all the same, mostly as
    /// [`Cancelled`](super::work::Attempt::Cancelled).
    fn cancel(&mut self);
}
