//! Images that are separate files below a folder.

use std::path::PathBuf;

use dnc_tables::contents::ContentDigest;
use dnc_tables::pictures::Limits;
use rayon::prelude::*;

use super::encoded::{EncodedImage, ImageReader};
use super::entry::Entry;
use super::error::DecodeError;
use crate::api::KnownDigest;

/// Reads images from one file each.
pub struct ImageFiles {
    root: PathBuf,
    paths: Vec<PathBuf>,
}

impl ImageFiles {
    /// The image at position `n` is the file `root/paths[n]`.
    pub fn new(root: PathBuf, paths: Vec<PathBuf>) -> Self {
        Self { root, paths }
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.root.join(&self.paths[entry.position])
    }
}

impl ImageReader for ImageFiles {
    fn fetch(&mut self, entries: &[Entry]) -> Result<Vec<EncodedImage<'_>>, DecodeError> {
        Ok(entries.iter().map(|entry| EncodedImage::File(self.path(entry))).collect())
    }

    fn contents(&self, entries: &[Entry], known: KnownDigest<'_>, limits: Limits) -> Vec<Option<ContentDigest>> {
        let content = |entry: &Entry| {
            let path = self.path(entry);
            known(&path).or_else(|| Some(EncodedImage::File(path).read(limits).ok()?.digest()))
        };
        entries.par_iter().map(content).collect()
    }

    fn name(&self, entry: &Entry) -> String {
        self.path(entry).display().to_string()
    }
}
