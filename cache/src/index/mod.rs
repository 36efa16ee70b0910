//! Index: digests of input files outside the store, so that unchanged files are not hashed again.
//!
//! Reading order: `rules` (which entries of a folder count), `walk` (file names and metadata below a folder), `file_list` (the
//! stored list of digests), `digests` (the [`Index`]).

mod digests;
mod file_list;
mod rules;
mod walk;

pub use digests::{Index, IndexedFiles, SourceDigest};
pub use rules::SourceRules;
