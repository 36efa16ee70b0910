//! `decode`: reads a data set from disk and decodes its images into a table.
//!
//! Read this file first, then [`datasets`] (which images a data set has), [`split_rule`] (what each is for), [`encoded`] (where
//! their bytes come from), `decoder` (from bytes to pixels, many at once), `image_table` (writing) and [`earlier_images`] (what
//! an earlier run decoded). Images are decoded in chunks on all threads while the previous chunk is written, so that memory is
//! bounded and the table is the same for any number of threads. Parts of the table that did not change since an earlier run
//! are kept, neither decoded nor copied.

pub mod datasets;
mod decoder;
pub mod distribution;
pub mod earlier_images;
pub mod encoded;
pub mod entry;
pub mod error;
pub mod grey_images;
pub mod image_files;
mod image_table;
pub mod listing;
mod parameters;
pub mod split_rule;
pub mod table_rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use dnc_tables::Split;
use dnc_tables::pictures::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    Ambient, ArtifactKind, Context, Output, ParamError, Ports, Resources, Source, Stage, StageError, Threads,
};
use datasets::{DatasetConfig, named_or_table, named_or_table_schema};
use decoder::Decoder;
use earlier_images::EarlierImages;
use entry::Entry;
use error::DecodeError;
use image_table::ImageTable;
use listing::Listing;
pub use parameters::{OnError, Resize};
use split_rule::SplitRule;

/// Reads a data set and decodes its images into a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decode {
    /// Data set: a name such as `"folder"`, or a table with its `kind` and parameters.
    #[serde(deserialize_with = "named_or_table")]
    #[schemars(schema_with = "named_or_table_schema")]
    pub dataset: DatasetConfig,
    /// Folder or file of the data set, relative to the manifest.
    pub root: PathBuf,
    /// Size to which images are resized. Without it, images keep their size.
    #[serde(default)]
    pub resize: Option<Resize>,
    /// Which classes are for training, validation and testing. Without it, the data set decides.
    #[serde(default)]
    pub split: SplitRule,
    /// Maximum number of images per class; the first ones are used. Without it, all are.
    #[serde(default)]
    pub per_class: Option<u32>,
    /// Colour behind transparent pixels: red, green and blue, 0 to 255.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// What to do with an image that cannot be decoded.
    #[serde(default)]
    pub on_error: OnError,
    /// Limits on the size of images. Larger images count as images that cannot be decoded.
    #[serde(default)]
    pub limits: Limits,
}

impl Stage for Decode {
    const NAME: &'static str = "decode";
    const VERSION: u32 = 4;
    const SUMMARY: &'static str = "Read a data set and decode its images into a table";

    fn ports(&self) -> Ports {
        Ports { inputs: Vec::new(), outputs: vec![Output::new("images", ArtifactKind::Images)] }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: self.split.is_random(), ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        self.split.check()?;
        match self.resize {
            Some(Resize::Exact([0, _] | [_, 0]) | Resize::Shorter(0)) => {
                Err(ParamError::new("resize", "The sides given in `resize` must be at least 1 pixel"))
            }
            _ if self.per_class == Some(0) => Err(ParamError::new("per_class", "`per_class` must be at least 1")),
            _ => Ok(()),
        }
    }

    fn sources(&self) -> Vec<Source> {
        let advice = self.dataset.as_dataset().distribution().map(|distribution| format!("{distribution}."));
        vec![Source::file("root", &self.root).advise(advice)]
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, earlier: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let root = context.source("root")?.to_path_buf();
        let Listing { mut entries, classes, mut reader, expected } = self.dataset.list(&root)?;
        if let Some(limit) = self.per_class {
            limit_per_class(&mut entries, limit);
        }
        let streams = if self.split.is_random() { Some(context.streams()?) } else { None };
        self.split.apply(&mut entries, &classes, streams.as_ref())?;
        log_counts(context, &entries, &expected);
        let earlier = context.earlier("images").map(EarlierImages::open).transpose()?.flatten();
        let mut table = ImageTable::new(context.output("images")?, &classes, self.on_error);
        let Self { background, resize, limits, .. } = *self;
        let decoder = Decoder { background, resize, limits, earlier: earlier.as_ref() };
        decoder.run(&entries, reader.as_mut(), &mut table, context)?;
        if earlier.is_some() {
            let (copied, decoded, kept) = (table.copied, table.len() - table.copied, table.kept_parts);
            context.log(format!(
                "{copied} images reused from an earlier run, {decoded} decoded; {kept} parts of the table unchanged"
            ));
        }
        if table.len() == 0 {
            return Err(DecodeError::NothingDecoded { root }.into());
        }
        for skipped in &table.skipped {
            context.log(format!("Skipped `{}`, which {}", skipped.source, skipped.reason));
        }
        Ok(table.finish(context.output("images")?)?)
    }
}

/// Keeps the first `limit` images of each class.
fn limit_per_class(entries: &mut Vec<Entry>, limit: u32) {
    let mut taken: HashMap<usize, u32> = HashMap::new();
    entries.retain(|entry| {
        let count = taken.entry(entry.class).or_default();
        *count += 1;
        *count <= limit
    });
}

/// Logs the numbers of images and classes of each split, with a warning where a complete copy has others.
fn log_counts(context: &Context<'_>, entries: &[Entry], expected: &[entry::ExpectedCount]) {
    let mut counts: BTreeMap<Split, (usize, BTreeSet<usize>)> = BTreeMap::new();
    for entry in entries {
        let (images, classes) = counts.entry(entry.split.unwrap_or(Split::Train)).or_default();
        *images += 1;
        classes.insert(entry.class);
    }
    for (split, (images, classes)) in &counts {
        context.log(format!("{split}: {images} images of {} classes", classes.len()));
    }
    for expected in expected {
        let (images, classes) =
            counts.get(&expected.split).map_or((0, 0), |(images, classes)| (*images, classes.len()));
        if (images, classes) != (expected.images, expected.classes) {
            context.log(format!(
                "Warning: {} has {images} images of {classes} classes, but a complete copy has {} images of {} classes",
                expected.split, expected.images, expected.classes
            ));
        }
    }
}

fn white() -> [u8; 3] {
    [255; 3]
}
