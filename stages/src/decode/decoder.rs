//! Decoding: chunks of images on all threads, each while the previous one is written.

use std::cell::Cell;
use std::mem;

use dnc_tables::contents::ContentDigest;
use dnc_tables::pictures::{Limits, Raster};
use dnc_tables::pixels::PartBoundaries;
use rayon::prelude::*;

use super::earlier_images::EarlierImages;
use super::encoded::{EncodedImage, ImageReader};
use super::entry::Entry;
use super::error::ImageError;
use super::image_table::{DecodedChunk, DecodedImage, ImageTable};
use super::parameters::Resize;
use crate::api::{Context, StageError};

/// Images in the first chunk, before their size is known.
const FIRST_CHUNK: usize = 32;
/// Bytes of decoded pixels per chunk.
const CHUNK_BYTES: usize = 32 << 20;

thread_local! {
    /// Memory of the last image that this thread resized, reused for its next one.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Decodes and resizes images.
pub(super) struct Decoder<'a> {
    /// Colour behind transparent pixels.
    pub(super) background: [u8; 3],
    /// Final size; `None` keeps the size of each image.
    pub(super) resize: Option<Resize>,
    /// Limits on the size of images.
    pub(super) limits: Limits,
    /// Images of an earlier run.
    pub(super) earlier: Option<&'a EarlierImages<'a>>,
}

impl Decoder<'_> {
    /// Decodes all `entries` into `table`.
    pub(super) fn run<'e>(
        &self,
        entries: &'e [Entry],
        reader: &mut dyn ImageReader,
        table: &mut ImageTable<'e>,
        context: &Context<'_>,
    ) -> Result<(), StageError> {
        let contents = match self.earlier {
            Some(_) => reader.contents(entries, context.known_digest(), self.limits),
            None => vec![None; entries.len()],
        };
        let part_at = |row: usize| self.earlier.and_then(|earlier| earlier.part(&contents[row..]));
        let (mut done, mut size, mut boundaries) = (0, FIRST_CHUNK, PartBoundaries::default());
        let mut previous = DecodedChunk::default();
        loop {
            context.check_cancelled()?;
            context.progress(done as u64, entries.len() as u64, "images");
            if boundaries.at_start_of_part()
                && let Some(part) = part_at(done)
            {
                table.push_chunk(mem::take(&mut previous))?;
                let end = done + part.digests.len();
                table.keep(&entries[done..end], &contents[done..end], &part);
                done = end;
                continue;
            }
            // The chunk ends where a part may be kept.
            let most = (done + size).min(entries.len());
            let end = (done + 1..most).find(|&row| part_at(row).is_some()).unwrap_or(most);
            let (chunk, contents) = (&entries[done..end], &contents[done..end]);
            let encoded = reader.fetch(chunk)?;
            let decode = || {
                let pairs = encoded.into_par_iter().zip(contents);
                pairs.map(|(image, content)| self.decoded(image, *content)).collect::<Vec<_>>()
            };
            let write = || table.push_chunk(mem::take(&mut previous));
            let (written, decoded) = rayon::join(write, decode);
            written?;
            if chunk.is_empty() {
                return Ok(());
            }
            done = end;
            let mut bytes = 0;
            for DecodedImage { digest, raster, .. } in decoded.iter().flatten() {
                boundaries.push(digest, raster.pixels.len());
                bytes += raster.pixels.len();
            }
            // The size of a chunk affects memory, but no result.
            size = (CHUNK_BYTES / (bytes / chunk.len()).max(1)).clamp(8, 4096);
            let names = chunk.iter().map(|entry| reader.name(entry));
            previous =
                chunk.iter().zip(names).zip(decoded).map(|((entry, name), decoded)| (entry, name, decoded)).collect();
        }
    }

    /// The decoded image. Its bytes are not read if their digest is known and an earlier run decoded them.
    fn decoded(&self, image: EncodedImage<'_>, content: Option<ContentDigest>) -> Result<DecodedImage, ImageError> {
        let copied = |content: ContentDigest| {
            let raster = self.earlier?.raster(&content)?;
            Some(DecodedImage::new(content, raster, true))
        };
        if let Some(decoded) = content.and_then(copied) {
            return Ok(decoded);
        }
        let image = image.read(self.limits)?;
        if let EncodedImage::Missing(reason) = image {
            return Err(ImageError::Missing(reason));
        }
        let content = image.digest();
        match copied(content) {
            Some(decoded) => Ok(decoded),
            None => Ok(DecodedImage::new(content, self.raster(image)?, false)),
        }
    }

    /// Decodes the image and resizes it.
    fn raster(&self, image: EncodedImage<'_>) -> Result<Raster, ImageError> {
        let raster = image.decode(self.background, self.limits, SPARE.take())?;
        let Some(resized) = self.resize.and_then(|resize| resize.apply(&raster)) else { return Ok(raster) };
        SPARE.set(raster.pixels);
        Ok(resized)
    }
}
