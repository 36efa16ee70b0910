//! `decode`: reads a data set from disk and decodes its images into a table.
//!
//! Read this file first, then [`datasets`] (which images a data set has), [`split_rule`] (what each is for), [`corrections`] (of
//! labels), [`encoded`] (where their bytes come from), `decoder` (from bytes to pixels, many at once), `image_table` (writing),
//! `findings` (the data summary) and [`earlier_images`] (what an earlier run decoded). Images are decoded in chunks on all threads
//! while the previous chunk is written, so that memory is bounded and the table is the same for any number of threads. Parts of the
//! table that did not change since an earlier run are kept, neither decoded nor copied.

pub mod corrections;
pub mod data_folder;
pub mod datasets;
mod decoder;
pub mod distribution;
pub mod earlier_images;
pub mod encoded;
pub mod entry;
pub mod error;
mod findings;
pub mod grey_images;
pub mod image_files;
mod image_table;
pub mod listing;
mod parameters;
mod picture_file;
mod similar_name;
pub mod split_rule;
pub mod table_rows;
#[cfg(test)]
mod tests;
mod validation;

use std::collections::HashMap;
use std::path::PathBuf;

use dnc_tables::Split;
use dnc_tables::pictures::Limits;
use dnc_tables::skipped::SkippedRow;
use dnc_tables::summary::{self, Subject, SummaryRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{ArtifactKind, Context, Output, ParamError, Ports, Resources, Source, Stage, StageError, Threads};
use data_folder::DataFolder;
use datasets::{DatasetConfig, named_or_table, named_or_table_schema};
use decoder::Decoder;
use earlier_images::EarlierImages;
use entry::Entry;
use error::DecodeError;
use findings::{compare_with_published, findings};
use image_table::ImageTable;
use listing::{Broken, Listing};
pub use parameters::{OnError, Resize};
pub use picture_file::PictureFile;
use split_rule::SplitRule;
use validation::check_validation;

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
    /// CSV file with corrected labels, relative to the manifest: the columns `source`, as in the table of images, and `class`, which
    /// is empty for an image to leave out. `dnc-run serve` writes such a file, `labels.csv` in the folder of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrections: Option<PathBuf>,
    /// Maximum number of images per class; the first ones are used. Without it, all are.
    #[serde(default)]
    pub per_class: Option<u32>,
    /// Colour behind transparent pixels: red, green and blue, 0 to 255.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// What to do with an image that cannot be read, or a row of a list without a class or a file.
    #[serde(default)]
    pub on_error: OnError,
    /// Limits on the size of images. Larger images count as images that cannot be decoded.
    #[serde(default)]
    pub limits: Limits,
}

impl Stage for Decode {
    const NAME: &'static str = "decode";
    const VERSION: u32 = 6;
    const SUMMARY: &'static str = "Read a data set and decode its images into a table";

    fn ports(&self) -> Ports {
        Ports {
            inputs: Vec::new(),
            outputs: vec![Output::new("images", ArtifactKind::Images), Output::new("summary", ArtifactKind::Summary)],
        }
    }

    fn check(&self) -> Result<(), ParamError> {
        self.split.check()?;
        match self.resize {
            Some(Resize::Exact([0, _] | [_, 0]) | Resize::Shorter(0)) => {
                Err(ParamError::new("resize", "The sides given in `resize` must be at least 1 pixel"))
            }
            Some(Resize::Exact([height, width])) if u64::from(height) * u64::from(width) > self.limits.pixels => {
                let (pixels, limit) = (u64::from(height) * u64::from(width), self.limits.pixels);
                let message = format!("`resize` makes images of {pixels} pixels, more than `limits.pixels`, {limit}");
                Err(ParamError::new("resize", message))
            }
            _ if self.per_class == Some(0) => Err(ParamError::new("per_class", "`per_class` must be at least 1")),
            _ => Ok(()),
        }
    }

    fn sources(&self) -> Vec<Source> {
        let dataset = self.dataset.as_dataset();
        let advice = dataset.distribution().map(|distribution| format!("{distribution}."));
        let root = Source::data("root", &self.root, dataset.extensions()).advise(advice);
        std::iter::once(root).chain(self.corrections.iter().map(|file| Source::file("corrections", file))).collect()
    }

    fn may_assign(&self, split: Split) -> bool {
        let Self { split: rule, dataset, .. } = self;
        split != Split::Validation
            || rule.validation.is_some()
            || (rule.train.is_none() && dataset.may_have_validation())
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, earlier: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let root = DataFolder::new(context.source("root")?, context.own());
        let listing = self.dataset.list(&root)?;
        if self.on_error == OnError::Fail
            && let Some(Broken { what, reason, .. }) = listing.strays.broken.first().cloned()
        {
            return Err(DecodeError::Image { what, reason }.into());
        }
        listing.check_not_empty(root.path())?;
        if let DatasetConfig::Folder(folder) = &self.dataset
            && let Some(warning) = folder.missed_splits(&listing.classes)
        {
            context.warn(warning);
        }
        let Listing { mut entries, mut classes, mut reader, expected, strays } = listing;
        let published = compare_with_published(&entries, &expected);
        if self.corrections.is_some() {
            let file = context.source("corrections")?;
            let corrections = corrections::read(file)?;
            corrections::apply(file, &corrections, &mut entries, &mut classes)?;
            context.log(format!("Labels corrected: {}", corrections.len()));
        }
        if let Some(limit) = self.per_class {
            limit_per_class(&mut entries, limit);
        }
        self.split.apply(&mut entries, &classes)?;
        check_validation(entries.iter())?;
        let earlier = context.earlier("images").map(EarlierImages::open).transpose()?.flatten();
        let skipped = strays.broken.into_iter().map(|Broken { source, reason, .. }| SkippedRow { source, reason });
        let mut table = ImageTable::new(context.output("images")?, &classes, self.on_error, skipped.collect());
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
            let first = table.skipped.first().map(|first| format!("`{}` {}", first.source, first.reason));
            let (count, first) = (table.skipped.len(), first.unwrap_or_default());
            return Err(DecodeError::NothingDecoded { root: root.path().to_owned(), count, first }.into());
        }
        for skipped in &table.skipped {
            context.log(format!("Skipped `{}`, which {}", skipped.source, skipped.reason));
        }
        let written = table.written();
        // Images that were skipped may be missed.
        check_validation(written.iter().map(|image| image.entry))?;
        let rows = findings(&written, &classes, &table.skipped, &strays.passed_over, published);
        log(context, &rows);
        summary::write(context.output("summary")?, &rows)?;
        Ok(table.finish(context.output("images")?)?)
    }
}

/// Logs the numbers of images and classes of each split, and the warnings.
fn log(context: &Context<'_>, rows: &[SummaryRow]) {
    let of = |subject: Subject| rows.iter().filter(move |row| row.subject == subject);
    for (images, classes) in of(Subject::Split).zip(of(Subject::Classes)) {
        let split = images.split.map_or("", dnc_tables::Split::name);
        context.log(format!("{split}: {} images of {} classes", images.count, classes.count));
    }
    for message in rows.iter().filter(|row| row.is_warning).filter_map(|row| row.message.as_ref()) {
        context.log(format!("Warning: {message}"));
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

fn white() -> [u8; 3] {
    [255; 3]
}
