//! Limits on the size of images, and why an image cannot be decoded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits on the size of an image, so that a small file cannot exhaust the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum number of pixels of an image.
    pub pixels: u64,
    /// Maximum number of bytes of an image file.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pixels: 32_000_000, bytes: 64 << 20 }
    }
}

/// Why bytes cannot be decoded as an image. The message follows the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It exceeds a limit.
    #[error("has {found} {unit}, more than the limit of {limit}")]
    Limit {
        /// Its size.
        found: u64,
        /// The unit of the size.
        unit: &'static str,
        /// The limit.
        limit: u64,
    },
    /// It is an SVG drawing and this build cannot render those.
    #[cfg(not(feature = "svg"))]
    #[error("is an SVG drawing, which needs a build with the feature `svg`")]
    SvgUnsupported,
    /// It is an SVG drawing of a stranger.
    #[error("is an SVG drawing, which can take unlimited time and memory to render; send a PNG instead")]
    ForeignDrawing,
    /// It has no bytes.
    #[error("is empty")]
    Empty,
    /// It is the pointer that Git LFS leaves in place of a file.
    #[error("is a pointer of Git LFS; `git lfs pull` fetches the image")]
    Pointer,
    /// Its first bytes match no known format.
    #[error("is not a JPEG, PNG, WebP, GIF, BMP or TIFF image")]
    UnknownFormat,
    /// It is damaged.
    #[error("cannot be decoded as {format}: {reason}")]
    Damaged {
        /// The format according to its first bytes.
        format: &'static str,
        /// The message of the decoder.
        reason: String,
    },
}

/// Checks the size that an image claims before memory is allocated for it.
///
/// # Errors
/// It exceeds the limits.
pub fn check_size(width: u64, height: u64, limits: Limits) -> Result<(), PictureError> {
    let found = width * height;
    if found > limits.pixels {
        return Err(PictureError::Limit { found, unit: "pixels", limit: limits.pixels });
    }
    // The table of images has 16 bits for height and width.
    let longest = width.max(height);
    if longest > u64::from(u16::MAX) {
        return Err(PictureError::Limit { found: longest, unit: "pixels along one side", limit: u16::MAX.into() });
    }
    Ok(())
}
