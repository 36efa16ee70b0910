//! Pictures that an earlier run of the same node decoded, by the digest of their bytes: what is known is copied.
//!
//! All parameters of the node were the same then, so that the same bytes became the same pixels.

use std::collections::HashMap;

use super::picture::Raster;
use crate::context::InputArtifact;
use crate::error::StageError;
use crate::tables::contents::{self, Content};
use crate::tables::images::{Images, Pixels};

/// The images of an earlier run.
pub struct Earlier {
    images: Images,
    rows: HashMap<Content, usize>,
}

impl Earlier {
    /// Opens them.
    ///
    /// # Errors
    /// A table is damaged, or they are not of this version.
    pub fn open(artifact: &InputArtifact) -> Result<Self, StageError> {
        let (images, contents) = (Images::open(artifact)?, contents::read(artifact)?);
        if contents.len() != images.len() {
            let (found, expected) = (contents.len(), images.len());
            return Err(StageError::input(format!("There are {found} contents of {expected} images")));
        }
        Ok(Self { images, rows: contents.into_iter().zip(0..).collect() })
    }

    /// Their pixels, to be looked up.
    ///
    /// # Errors
    /// An image has another number of pixels than its size.
    pub fn pictures(&self) -> Result<Known<'_>, StageError> {
        Ok(Known { pixels: self.images.pixels()?, rows: &self.rows })
    }
}

/// Pixels by content.
pub struct Known<'a> {
    pixels: Pixels<'a>,
    rows: &'a HashMap<Content, usize>,
}

impl Known<'_> {
    /// What these bytes became, where they are known.
    pub fn picture(&self, content: &Content) -> Option<Raster> {
        let picture = self.pixels.of(*self.rows.get(content)?);
        Some(Raster { height: picture.height, width: picture.width, pixels: picture.pixels.to_vec() })
    }
}
