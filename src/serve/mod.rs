//! `dnc-run serve`: runs behind the HTTP interface of `dnc-serve`.
//!
//! The crate `dnc-serve` knows HTTP and its dangers; here its questions are answered from run folders and the store. A name of a run in
//! a request is compared with the names that exist, and never becomes a path.
//!
//! **Reading order** [`Served`] (the answers), `searched` (a run whose images are searched, loaded once), `listed` (all runs, and how
//! far each is), `labels` (corrected labels).

mod labels;
mod listed;
mod searched;
mod served;

pub use served::Served;
