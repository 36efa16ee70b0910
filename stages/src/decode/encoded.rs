//! Encoded images, and the trait of what reads them from the files of a data set.

use std::path::PathBuf;
use std::{fs, io};

use dnc_tables::contents::ContentDigest;
use dnc_tables::pictures::{Limits, PictureError, Raster, decode};

use super::entry::Entry;
use super::error::{DecodeError, ImageError};
use super::similar_name::same_name;
use crate::api::KnownDigest;

/// Reads the encoded images of a data set: from a file each, from rows of tables, from an archive …. A data set brings its own
/// reader if none of [`image_files`](super::image_files), [`table_rows`](super::table_rows) and
/// [`grey_images`](super::grey_images) reads its format.
pub trait ImageReader {
    /// The encoded images of `entries`, which come after the entries of all earlier calls. It is called on one thread; what can
    /// be done on many, such as reading separate files, is left to [`EncodedImage::read`].
    ///
    /// # Errors
    /// A file is damaged, or an entry has no image.
    fn fetch(&mut self, entries: &[Entry]) -> Result<Vec<EncodedImage<'_>>, DecodeError>;

    /// The content digest of each of `entries`, as far as it can be found without decoding. Files whose digest is `known` are
    /// not read. A file that cannot be read has none; decoding it reports the error.
    fn contents(&self, entries: &[Entry], _known: KnownDigest<'_>, _limits: Limits) -> Vec<Option<ContentDigest>> {
        vec![None; entries.len()]
    }

    /// The name of an image in messages.
    fn name(&self, entry: &Entry) -> String {
        entry.source.clone()
    }
}

/// An encoded image, in memory or still in its file.
pub enum EncodedImage<'a> {
    /// The path of a file.
    File(PathBuf),
    /// The bytes of an image file.
    Bytes(Vec<u8>),
    /// There is none, for this reason, a predicate.
    Missing(String),
    /// Grey pixels, not encoded.
    Grey {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
        /// `[height, width]`.
        pixels: &'a [u8],
    },
}

impl EncodedImage<'_> {
    /// The same image in memory.
    ///
    /// # Errors
    /// The file cannot be read or exceeds the limits.
    pub fn read(self, limits: Limits) -> Result<Self, ImageError> {
        let EncodedImage::File(path) = self else { return Ok(self) };
        let (path, metadata) = match fs::metadata(&path) {
            Ok(metadata) => (path, metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match same_name(&path) {
                Some(found) => (found.clone(), fs::metadata(&found)?),
                None => return Err(ImageError::NotFound),
            },
            Err(error) => return Err(error.into()),
        };
        if !metadata.is_file() {
            return Err(ImageError::Missing("is not a file".to_owned()));
        }
        let length = metadata.len();
        if length > limits.bytes {
            return Err(PictureError::Limit { found: length, unit: "bytes", limit: limits.bytes }.into());
        }
        Ok(EncodedImage::Bytes(fs::read(&path)?))
    }

    /// The digest of the bytes in memory.
    pub fn digest(&self) -> ContentDigest {
        let bytes = match self {
            EncodedImage::File(_) | EncodedImage::Missing(_) => &[],
            EncodedImage::Bytes(bytes) => bytes.as_slice(),
            EncodedImage::Grey { pixels, .. } => pixels,
        };
        *blake3::hash(bytes).as_bytes()
    }

    /// Decodes the image. The memory of `spare` may be reused for it.
    ///
    /// # Errors
    /// The file cannot be read, or its bytes cannot be decoded.
    pub fn decode(self, background: [u8; 3], limits: Limits, spare: Vec<u8>) -> Result<Raster, ImageError> {
        match self {
            EncodedImage::File(path) => EncodedImage::File(path).read(limits)?.decode(background, limits, spare),
            EncodedImage::Missing(reason) => Err(ImageError::Missing(reason)),
            EncodedImage::Bytes(bytes) => Ok(decode(&bytes, background, limits, spare)?),
            EncodedImage::Grey { height, width, pixels } => {
                let pixels = pixels.iter().flat_map(|&value| [value; 3]).collect();
                Ok(Raster { height, width, pixels })
            }
        }
    }
}
