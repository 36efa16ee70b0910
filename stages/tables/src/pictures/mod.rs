//! Pictures: decoding files, resizing, and the augmentations of views.
//!
//! Read [`picture`] first (a picture in memory), then [`mod@decode`] (from the bytes of a file), [`resize`], [`render`] (a view of
//! the `views` table) and one of the operations: [`colour`], [`blur`], [`rotate`], [`jpeg`] or [`aberration`]. [`nuisance`]
//! makes the changes that evaluation measures robustness with. Every function works on the RGB bytes of one image on the
//! current thread; callers process many images in parallel. Definitions are torchvision's (for tensors, where those differ
//! from Pillow's images), so that a pipeline that moves here sees the same pictures.

pub mod aberration;
pub mod blur;
pub mod colour;
pub mod decode;
pub mod jpeg;
pub mod limits;
pub mod nuisance;
mod orientation;
pub mod picture;
pub mod render;
pub mod resize;
pub mod rotate;
pub mod square;
#[cfg(feature = "svg")]
pub mod svg;
#[cfg(test)]
mod tests;
mod tiff;

pub use decode::{decode, is_drawing};
pub use limits::{Limits, PictureError};
pub use picture::{Picture, Raster};
pub use render::{apply, contains};
pub use square::Square;
