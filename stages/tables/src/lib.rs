//! The tables that stages exchange, one file each, and the pictures in them.
//!
//! Read [`artifact`] first (what a reader is given and what a writer fills), then [`embeddings`], which every other table
//! resembles: its schema with the unit and meaning of each column, a writer and a reader. A writer adds the logical digest
//! of each column ([`facets`]) to the artifact; a reader shows only the columns that its port declared. A table file is
//! Arrow IPC ([`Form::Arrow`]: memory-mapped, not copied) or Parquet; readers accept both, so that a program in any
//! language may write either. [`pictures`] decodes, resizes and augments images.
//!
//! This crate deliberately knows neither stages nor runs nor the cache: it reads and writes files in folders.

pub mod artifact;
pub mod assignments;
mod catalogue;
pub mod contents;
pub mod embeddings;
pub mod error;
pub mod facets;
mod file;
mod finite;
mod foreign;
pub mod history;
pub mod images;
pub mod index;
pub mod kind;
pub mod metrics;
pub mod model;
pub mod nuisances;
pub mod pictures;
pub mod pixels;
pub mod queries;
#[cfg(test)]
mod round_trips;
mod schema;
pub mod skipped;
pub mod split;
pub mod summary;
mod table;
#[cfg(test)]
mod testing;
pub mod views;
mod write;

pub use artifact::{Columns, FacetDigests, InputArtifact, InputFile, OutputArtifact};
pub use error::TableError;
pub use file::{ColumnReader, Form, for_each_batch, schema_of};
pub use foreign::{add_facets, facets_of_folder};
pub use kind::ArtifactKind;
pub use schema::TableSchema;
pub use split::Split;
pub use table::{main_table, table_of};
