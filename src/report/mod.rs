//! What a run reports: events while it goes on ([`reporter`], [`sinks`]), a folder when it is over ([`run_folder`]), tables
//! for people ([`metrics`], [`table`]), and the metrics of several runs side by side ([`difference`], based on [`queries`]).

pub mod answers;
pub mod difference;
pub mod error;
pub mod intervals;
pub mod kept_keys;
pub mod metrics;
pub mod queries;
pub mod reporter;
pub mod result;
pub mod run_folder;
pub mod run_notes;
mod run_table;
pub mod sheet;
pub mod sinks;
pub mod stored;
pub mod table;
pub mod text_rows;
