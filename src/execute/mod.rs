//! Running a plan: looks up what the [`schedule`](crate::schedule) says is ready, and hands stale nodes to an [`Executor`].
//!
//! Reading order: [`outcome`] and [`result`] (how a node ended), [`task`] (a node whose inputs are known), [`reason`] (why a node
//! runs), [`work`] (a task as it is handed to an executor), [`driver`] (the loop), [`executor`] (where nodes run: on threads of
//! this process, each in a process of its own, or as jobs of a Slurm cluster), [`attempt`] (one attempt at a task: claim, run,
//! commit), [`budget`] (who gets which threads, memory and GPU), [`retention`] (which bytes are dropped), [`remote`] and [`pusher`]
//! (what other machines have computed), [`forecast`] (what a run would do), [`usage`] (what a node used), [`event`] (what a
//! listener hears).

pub mod attempt;
pub mod budget;
pub mod driver;
mod elsewhere;
pub mod event;
pub mod executor;
pub mod forecast;
pub mod host;
mod memory;
mod observer;
pub mod outcome;
mod panics;
mod pusher;
pub mod reason;
pub mod remote;
pub mod result;
mod retention;
mod run_work;
pub mod sources;
pub mod stop;
pub mod task;
mod task_file;
mod thread_share;
pub mod usage;
mod warnings;
pub mod work;
pub mod workers;

pub use driver::{Run, execute};
pub use event::{Event, Listener};
pub use executor::Executor;
pub use host::Host;
pub use outcome::{Outcome, Outcomes};
pub use pusher::Pusher;
pub use result::NodeResult;
pub use task_file::{Caller, run_task_file};
