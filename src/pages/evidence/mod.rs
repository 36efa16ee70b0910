//! Evidence: what the folder of a run and the store hold, as far as a report needs it.
//!
//! [`Evidence`] is one run. [`Subject`] says which of its nodes the report is about, [`Catalogue`] what is known of each image.
//! A part that is missing, since the run is old or the store was cleaned up, is `None`; the section that needs it says so.

mod catalogue;
mod embedded;
mod run;
mod subject;

pub use catalogue::{Catalogue, Entry};
pub use embedded::{EMBEDDINGS, Embedded};
pub use run::Evidence;
pub use subject::{Choice, Evaluated, Subject};
