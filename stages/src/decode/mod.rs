//! `decode`: from a data set on disk to the table of images.
//!
//! Read this file first, then [`dataset`] (which images there are), [`splits`] (what they are for), [`encoded`] (where their
//! bytes come from), [`picture`] (from bytes to pixels) and [`known`] (what an earlier run decoded). Images are decoded in
//! chunks on all threads while the chunk before is written, so memory stays bounded and the table is the same for any
//! number of threads. Parts of the table that an earlier run left as they are to be are kept, neither decoded nor copied.

pub mod dataset;
pub mod encoded;
pub mod known;
pub mod picture;
pub mod splits;
#[cfg(feature = "svg")]
pub mod svg;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::{Ambient, Output, ParamError, Ports, Resources, Source, Stage, Threads};
use crate::tables::Split;
use crate::tables::contents::{self, Content};
use crate::tables::images::{ImageRow, ImagesWriter};
use crate::tables::pixels::{Cutter, PixelDigest};
use crate::tables::skipped::{self, SkippedRow};
use crate::views::resize::{resized, scaled};
use dataset::{Dataset, Entry, Listing, named_or_table, named_or_table_schema};
use encoded::{Payload, Undecoded};
use known::{Kept, Known};
use picture::{Limits, Raster};
use splits::SplitRule;

/// Images in the first chunk, before it is known how large they are.
const FIRST_CHUNK: usize = 32;
/// Bytes of decoded pixels that a chunk is made to hold.
const CHUNK_BYTES: usize = 32 << 20;

/// Reads a data set and decodes its images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decode {
    /// The data set: a name such as `"folder"`, or a table with its `kind`.
    #[serde(deserialize_with = "named_or_table")]
    #[schemars(schema_with = "named_or_table_schema")]
    pub dataset: Dataset,
    /// Its file or folder, relative to the manifest.
    pub root: PathBuf,
    /// To which size images are brought; without it they keep their own.
    #[serde(default)]
    pub resize: Option<Resize>,
    /// What images are for; without it the data set decides.
    #[serde(default)]
    pub split: SplitRule,
    /// The most images of a class that are taken, the first of them; without it all are.
    #[serde(default)]
    pub per_class: Option<u32>,
    /// What transparent pixels are shown over, red, green and blue.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// What an image that cannot be decoded does.
    #[serde(default)]
    pub on_error: OnError,
    /// What an image may claim.
    #[serde(default)]
    pub limits: Limits,
}

/// To which size images are brought, by antialiased bilinear interpolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Height and width, whatever the shape was.
    Exact([u16; 2]),
    /// The shorter side, keeping the shape; smaller images stay as they are.
    Shorter(u16),
}

/// What an image that cannot be decoded does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The stage fails and names the image.
    #[default]
    Fail,
    /// It is left out and listed, with the reason, in the table `skipped` beside the images.
    Skip,
}

impl Stage for Decode {
    const NAME: &'static str = "decode";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str = "Reads a data set and decodes its images into a table";

    fn ports(&self) -> Ports {
        Ports { inputs: Vec::new(), outputs: vec![Output::new("images", Kind::Images)] }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: self.split.draws(), ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        self.split.check()?;
        match self.resize {
            Some(Resize::Exact([0, _] | [_, 0]) | Resize::Shorter(0)) => {
                Err(ParamError::new("resize", "An image cannot be resized to nothing"))
            }
            _ if self.per_class == Some(0) => Err(ParamError::new("per_class", "No image of any class would be left")),
            _ => Ok(()),
        }
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::file("root", &self.root)]
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, earlier: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let root = context.source("root")?.to_path_buf();
        let mut listing = self.dataset.list(&root)?;
        if let Some(most) = self.per_class {
            take_per_class(&mut listing.entries, most);
        }
        let streams = if self.split.draws() { Some(context.streams()?) } else { None };
        self.split.apply(&mut listing.entries, &listing.classes, streams.as_ref())?;
        tell_counts(context, &listing);
        let known = context.earlier("images").map(Known::open).transpose()?.flatten();
        let mut written = Written::create(context)?;
        self.decode(&mut listing, known.as_ref(), &mut written, context)?;
        if known.is_some() {
            let (known, decoded) = (written.known, written.contents.len() - written.known);
            let kept = written.kept;
            context.log(format!("{known} images were known, {decoded} decoded; {kept} parts stay as they are"));
        }
        if written.labels.is_empty() {
            return Err(StageError::input(format!("No image of `{}` could be decoded", root.display())));
        }
        for skipped in &written.skipped {
            context.log(format!("Skipped `{}`, which {}", skipped.source, skipped.reason));
        }
        contents::write(context, "images", &written.contents, written.images.pixel_digests())?;
        written.images.finish(context)?;
        skipped::write(context, "images", &written.skipped)
    }
}

impl Decode {
    /// Decodes a chunk on all threads while the one before is written.
    fn decode(
        &self,
        listing: &mut Listing,
        known: Option<&Known<'_>>,
        written: &mut Written,
        context: &Context<'_>,
    ) -> Result<(), StageError> {
        let Listing { entries, classes, encoded, .. } = listing;
        let contents = match known {
            Some(_) => encoded.contents(entries, context.known_digest(), self.limits),
            None => vec![None; entries.len()],
        };
        let part_at = |place: usize| known.and_then(|known| known.part(&contents[place..]));
        let (mut done, mut size, mut cutter) = (0, FIRST_CHUNK, Cutter::default());
        let mut previous = Chunk::default();
        loop {
            context.check_cancelled()?;
            context.progress(done as u64, entries.len() as u64, "images");
            if cutter.is_between_parts()
                && let Some(kept) = part_at(done)
            {
                written.push_all(std::mem::take(&mut previous), classes, self.on_error)?;
                let end = done + kept.digests.len();
                written.keep(&entries[done..end], &contents[done..end], classes, &kept);
                done = end;
                continue;
            }
            // Up to what may be kept.
            let most = (done + size).min(entries.len());
            let end = (done + 1..most).find(|&place| part_at(place).is_some()).unwrap_or(most);
            let (chunk, contents) = (&entries[done..end], &contents[done..end]);
            let payloads = encoded.fetch(chunk)?;
            let decoded = || {
                let pairs = payloads.into_par_iter().zip(contents);
                pairs.map(|(payload, content)| self.decoded(payload, *content, known)).collect::<Vec<_>>()
            };
            let wrote = || written.push_all(std::mem::take(&mut previous), classes, self.on_error);
            let (wrote, decoded) = rayon::join(wrote, decoded);
            wrote?;
            if chunk.is_empty() {
                return Ok(());
            }
            done = end;
            let mut bytes = 0;
            for Decoded { digest, raster, .. } in decoded.iter().flatten() {
                cutter.push(digest, raster.pixels.len());
                bytes += raster.pixels.len();
            }
            // How many images are decoded at a time decides about memory alone: no result depends on it.
            size = (CHUNK_BYTES / (bytes / chunk.len()).max(1)).clamp(8, 4096);
            let names = chunk.iter().map(|entry| encoded.name(entry));
            previous =
                chunk.iter().zip(names).zip(decoded).map(|((entry, name), decoded)| (entry, name, decoded)).collect();
        }
    }

    /// The picture of an entry, whose bytes need not be read where their digest and what they became are known.
    fn decoded(
        &self,
        payload: Payload<'_>,
        content: Option<Content>,
        known: Option<&Known<'_>>,
    ) -> Result<Decoded, Undecoded> {
        let known = |content: Content| Some(Decoded::new(content, known?.picture(&content)?, true));
        if let Some(decoded) = content.and_then(known) {
            return Ok(decoded);
        }
        let payload = payload.read(self.limits)?;
        let content = payload.content();
        match known(content) {
            Some(decoded) => Ok(decoded),
            None => Ok(Decoded::new(content, self.raster(payload)?, false)),
        }
    }

    /// The picture in its final size.
    fn raster(&self, payload: Payload<'_>) -> Result<Raster, Undecoded> {
        let raster = payload.decode(self.background, self.limits, SPARE.take())?;
        let (height, width) = match self.resize {
            Some(Resize::Exact([height, width])) => (height.into(), width.into()),
            Some(Resize::Shorter(side)) if raster.height.min(raster.width) > usize::from(side) => {
                scaled(raster.height, raster.width, side.into())
            }
            _ => return Ok(raster),
        };
        let pixels = resized(raster.as_picture(), height, width);
        SPARE.set(raster.pixels);
        Ok(Raster { height, width, pixels })
    }
}

thread_local! {
    /// Memory of the last picture that this thread has resized, for its next one.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A picture in its final size, and what it was made from.
struct Decoded {
    content: Content,
    raster: Raster,
    /// Of the pixels.
    digest: PixelDigest,
    was_known: bool,
}

impl Decoded {
    fn new(content: Content, raster: Raster, was_known: bool) -> Self {
        let digest = *blake3::hash(&raster.pixels).as_bytes();
        Self { content, raster, digest, was_known }
    }
}

/// Entries with what messages call them and what became of them.
type Chunk<'a> = Vec<(&'a Entry, String, Result<Decoded, Undecoded>)>;

/// The table as far as it is written.
struct Written {
    images: ImagesWriter,
    /// What each image was decoded from.
    contents: Vec<Content>,
    /// How many images did not have to be decoded.
    known: usize,
    /// How many parts of the earlier table did not even have to be read.
    kept: usize,
    /// Label of each class that has an image, by first appearance.
    labels: HashMap<usize, u32>,
    skipped: Vec<SkippedRow>,
}

impl Written {
    fn create(context: &mut Context<'_>) -> Result<Self, StageError> {
        let images = ImagesWriter::create(context, "images")?;
        Ok(Self { images, contents: Vec::new(), known: 0, kept: 0, labels: HashMap::new(), skipped: Vec::new() })
    }

    fn push_all(&mut self, chunk: Chunk<'_>, classes: &[String], on_error: OnError) -> Result<(), StageError> {
        for (entry, name, decoded) in chunk {
            match decoded {
                Ok(decoded) => self.push(entry, &decoded, classes)?,
                Err(reason) if on_error == OnError::Skip => {
                    self.skipped.push(SkippedRow { source: entry.source.clone(), reason: reason.to_string() });
                }
                Err(reason) => return Err(StageError::input(format!("The image `{name}` {reason}"))),
            }
        }
        Ok(())
    }

    fn push(&mut self, entry: &Entry, decoded: &Decoded, classes: &[String]) -> Result<(), StageError> {
        let Decoded { content, raster, digest, was_known } = decoded;
        self.contents.push(*content);
        self.known += usize::from(*was_known);
        let size = (raster.height as u16, raster.width as u16);
        let row = ImageRow { pixels: &raster.pixels, ..self.row(entry, size, classes) };
        self.images.push_hashed(&row, *digest)?;
        Ok(())
    }

    /// The images of a part of the earlier run, which are those of these entries.
    fn keep(&mut self, entries: &[Entry], contents: &[Option<Content>], classes: &[String], kept: &Kept<'_>) {
        self.contents.extend(contents.iter().flatten());
        self.known += entries.len();
        self.kept += 1;
        let rows: Vec<ImageRow<'_>> =
            entries.iter().zip(kept.sizes).map(|(entry, size)| self.row(entry, *size, classes)).collect();
        self.images.keep(kept.name, &rows, kept.digests);
    }

    /// The row of an entry, still without pixels; the label of its class is the next free one where it has none.
    fn row<'a>(&mut self, entry: &'a Entry, (height, width): (u16, u16), classes: &'a [String]) -> ImageRow<'a> {
        let next = self.labels.len() as u32;
        ImageRow {
            label: *self.labels.entry(entry.class).or_insert(next),
            class: &classes[entry.class],
            split: entry.split.expect("the split rule gave one to every entry"),
            camera: entry.camera,
            source: &entry.source,
            height,
            width,
            pixels: &[],
        }
    }
}

fn take_per_class(entries: &mut Vec<Entry>, most: u32) {
    let mut taken: HashMap<usize, u32> = HashMap::new();
    entries.retain(|entry| {
        let count = taken.entry(entry.class).or_default();
        *count += 1;
        *count <= most
    });
}

/// Says what each split holds, and where that is not what the data set is known to hold.
fn tell_counts(context: &Context<'_>, listing: &Listing) {
    let mut counts: BTreeMap<Split, (usize, BTreeSet<usize>)> = BTreeMap::new();
    for entry in &listing.entries {
        let (images, classes) = counts.entry(entry.split.unwrap_or(Split::Train)).or_default();
        *images += 1;
        classes.insert(entry.class);
    }
    for (split, (images, classes)) in &counts {
        context.log(format!("{split}: {images} images of {} classes", classes.len()));
    }
    for expected in &listing.expected {
        let (images, classes) =
            counts.get(&expected.split).map_or((0, 0), |(images, classes)| (*images, classes.len()));
        if (images, classes) != (expected.images, expected.classes) {
            context.log(format!(
                "Warning: {} has {images} images of {classes} classes, but the data set is known to have {} of {}",
                expected.split, expected.images, expected.classes
            ));
        }
    }
}

fn white() -> [u8; 3] {
    [255; 3]
}
