//! Decoded images with their labels and splits. The pixels are in parts of their own ([`crate::pixels`]), so that neither
//! writing nor reading holds them all in memory; all other columns are in one file.
//!
//! Another program may also write all columns, pixels included, into the same files.
//!
//! Read [`schema`] first, then [`ImagesWriter`] and [`Images`].

mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Images, Pixels};
pub use schema::schema;
pub use writer::{ImageRow, ImagesWriter};
