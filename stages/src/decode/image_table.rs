//! The table of images while it is being written.

use std::collections::HashMap;
use std::path::Path;

use dnc_tables::contents::ContentDigest;
use dnc_tables::images::{ImageRow, ImagesWriter};
use dnc_tables::pictures::Raster;
use dnc_tables::pixels::PixelDigest;
use dnc_tables::skipped::SkippedRow;
use dnc_tables::{OutputArtifact, TableError, contents, skipped};

use super::earlier_images::ReusablePart;
use super::entry::Entry;
use super::error::{DecodeError, ImageError};
use super::parameters::OnError;
use super::similar_name;

/// An image in its final size, with the digest of the bytes that it was decoded from.
pub(super) struct DecodedImage {
    pub(super) content: ContentDigest,
    pub(super) raster: Raster,
    /// Digest of the pixels.
    pub(super) digest: PixelDigest,
    /// Whether it was copied from an earlier run.
    pub(super) is_copied: bool,
}

impl DecodedImage {
    pub(super) fn new(content: ContentDigest, raster: Raster, is_copied: bool) -> Self {
        let digest = *blake3::hash(&raster.pixels).as_bytes();
        Self { content, raster, digest, is_copied }
    }
}

/// An image in the table.
#[derive(Clone, Copy)]
pub(super) struct WrittenImage<'a> {
    pub(super) entry: &'a Entry,
    /// Its size and the digest of its pixels, which are those of no other picture.
    pub(super) pixels: ((u16, u16), PixelDigest),
}

/// Entries with their names for messages and the result of decoding them.
pub(super) type DecodedChunk<'a> = Vec<(&'a Entry, String, Result<DecodedImage, ImageError>)>;

/// The table of images and the tables beside it, while they are being written.
pub(super) struct ImageTable<'a> {
    images: ImagesWriter,
    /// The entry of each image.
    entries: Vec<&'a Entry>,
    /// Height and width of each image.
    sizes: Vec<(u16, u16)>,
    classes: &'a [String],
    on_error: OnError,
    /// What each image was decoded from.
    contents: Vec<ContentDigest>,
    /// Label of each class that has an image, by first appearance.
    labels: HashMap<usize, u32>,
    /// Images that could not be decoded.
    pub(super) skipped: Vec<SkippedRow>,
    /// Number of images whose pixels come from an earlier run.
    pub(super) copied: usize,
    /// Number of parts that were kept from an earlier run without being read.
    pub(super) kept_parts: usize,
}

impl<'a> ImageTable<'a> {
    /// A table without images, of which `skipped` could not be read.
    pub(super) fn new(
        output: &OutputArtifact,
        classes: &'a [String],
        on_error: OnError,
        skipped: Vec<SkippedRow>,
    ) -> Self {
        Self {
            images: ImagesWriter::new(output),
            entries: Vec::new(),
            sizes: Vec::new(),
            classes,
            on_error,
            contents: Vec::new(),
            labels: HashMap::new(),
            skipped,
            copied: 0,
            kept_parts: 0,
        }
    }

    /// Number of images so far.
    pub(super) fn len(&self) -> usize {
        self.contents.len()
    }

    /// Appends a chunk. An image that could not be decoded fails or is skipped.
    pub(super) fn push_chunk(&mut self, chunk: DecodedChunk<'a>) -> Result<(), DecodeError> {
        for (entry, name, decoded) in chunk {
            match decoded {
                Ok(decoded) => self.push(entry, &decoded)?,
                Err(reason) if self.on_error == OnError::Skip => {
                    self.skipped.push(SkippedRow { source: entry.source.clone(), reason: reason.to_string() });
                }
                Err(reason) => {
                    let advice = match reason {
                        ImageError::NotFound => similar_name::advice(Path::new(&name)),
                        _ => String::new(),
                    };
                    let (what, reason) = (format!("The image `{name}`"), format!("{reason}{advice}"));
                    return Err(DecodeError::Image { what, reason });
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, entry: &'a Entry, decoded: &DecodedImage) -> Result<(), TableError> {
        let DecodedImage { content, raster, digest, is_copied } = decoded;
        self.contents.push(*content);
        self.copied += usize::from(*is_copied);
        let size = (raster.height as u16, raster.width as u16);
        self.entries.push(entry);
        self.sizes.push(size);
        let row = ImageRow { pixels: &raster.pixels, ..self.row(entry, size) };
        self.images.push_hashed(&row, *digest)?;
        Ok(())
    }

    /// Appends the images of a part of an earlier run, which are those of `entries`.
    pub(super) fn keep(&mut self, entries: &'a [Entry], contents: &[Option<ContentDigest>], part: &ReusablePart<'_>) {
        self.contents.extend(contents.iter().flatten());
        self.entries.extend(entries);
        self.sizes.extend(part.sizes);
        self.copied += entries.len();
        self.kept_parts += 1;
        let rows: Vec<ImageRow<'_>> =
            entries.iter().zip(part.sizes).map(|(entry, size)| self.row(entry, *size)).collect();
        self.images.keep(part.name, &rows, part.digests);
    }

    /// The row of an entry without its pixels. A class without a label is given the next one.
    fn row<'e>(&mut self, entry: &'e Entry, (height, width): (u16, u16)) -> ImageRow<'e>
    where
        'a: 'e,
    {
        let next = self.labels.len() as u32;
        ImageRow {
            label: *self.labels.entry(entry.class).or_insert(next),
            class: &self.classes[entry.class],
            split: entry.split.expect("the split rule assigned one to every entry"),
            camera: entry.camera,
            source: &entry.source,
            height,
            width,
            pixels: &[],
        }
    }

    /// The images so far.
    pub(super) fn written(&self) -> Vec<WrittenImage<'a>> {
        let digests = self.images.pixel_digests();
        let all = self.entries.iter().zip(&self.sizes).zip(digests);
        all.map(|((&entry, &size), &digest)| WrittenImage { entry, pixels: (size, digest) }).collect()
    }

    /// Writes the rest of all tables.
    pub(super) fn finish(self, output: &mut OutputArtifact) -> Result<(), TableError> {
        contents::write(output, &self.contents, self.images.pixel_digests())?;
        self.images.finish(output)?;
        skipped::write(output, &self.skipped)
    }
}
