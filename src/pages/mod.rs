//! Pages: the report of a run as one HTML file that loads nothing.
//!
//! Data flows one way. **Reading order** [`evidence`] (what the folders of runs and the store hold), [`analysis`] (what follows
//! from it: plain data, no HTML), [`derived`] and [`thumbnails`] (costly parts, kept in the store), [`charts`] (SVG), [`sections`]
//! (one file a section: analysis in, HTML out), [`contents`] (all sections in order), [`page`] (the frame,
//! style and script), [`report`] (the file).
//!
//! The HTML is readable without its script, which only filters, draws the map and saves files. Text is escaped by `maud`.

pub mod analysis;
pub mod budget;
mod charts;
mod contents;
pub mod derived;
pub mod error;
pub mod evidence;
mod format;
mod options;
mod page;
mod pictures;
pub mod report;
mod sections;
pub mod thumbnails;

pub use budget::Budget;
pub use error::PagesError;
pub use options::ReportOptions;
pub use report::{Report, html, write};
