//! The Arrow C stream interface: batches of a table for other libraries in the same process, without a copy.
//!
//! The crate `arrow` has this behind a feature, which would compile it and all that depends on it a second time.
//!
//! **Reading order** [`schema`] (column names and types), [`mod@array`] (the buffers of a batch), [`stream`] (batches one after the other),
//! [`capsule`] (how Python passes a stream on).
//!
//! **Source** Apache Arrow, *The Arrow C data interface* and *The Arrow C stream interface*. Field order and types below are theirs.

mod array;
mod capsule;
mod schema;
mod stream;

pub use capsule::{dnc_free_capsule, dnc_use_capsules};
pub use stream::ArrowArrayStream;
