//! What a data set contains: counts of images, classes and splits, sizes of a sample of its images, and what is odd about them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use dnc_stages::decode::data_folder::DataFolder;
use dnc_stages::decode::encoded::EncodedImage;
use dnc_stages::decode::entry::ExpectedCount;
use dnc_stages::decode::listing::describe;
use dnc_stages::tables::Split;
use dnc_stages::tables::pictures::Limits;
use rayon::prelude::*;

use super::layout::Layout;
use super::task::Task;
use crate::error_chain::error_chain;

/// Number of images that are decoded, spread evenly over the data set.
const SAMPLE: usize = 1000;
/// Images that are held in memory at a time.
const CHUNK: usize = 64;

/// What a data set contains.
pub(super) struct Survey {
    /// Number of images.
    pub(super) images: usize,
    /// Number of images of each class, sorted.
    pub(super) class_sizes: Vec<usize>,
    /// Of each split, the number of images of each class, sorted; empty if the data set has no splits.
    pub(super) splits: BTreeMap<Split, Vec<usize>>,
    /// Whether the images have cameras.
    pub(super) cameras: bool,
    /// Median length of the shorter side in pixels.
    pub(super) side: usize,
    /// Images of the sample that cannot be decoded, with the reason.
    unreadable: Vec<(String, String)>,
    /// Images that cannot be read, whatever their bytes: the number, and the first one with the reason.
    broken: Option<(usize, String)>,
    /// Files and folders that are no images, in a sentence.
    passed_over: Option<String>,
    kind: String,
    sampled: usize,
    sides: (usize, usize),
    /// Images of the sample with the same bytes, in different classes.
    contradictions: Vec<(String, String)>,
    duplicates: usize,
    shared_classes: usize,
    without_split: usize,
    expected: Vec<ExpectedCount>,
}

/// What is found out about one image: sides and digest, or why it cannot be decoded.
type Looked = Result<(usize, [u8; 32]), String>;

impl Survey {
    /// Looks at a data set, to which the `own` files and folders of the program do not belong.
    ///
    /// # Errors
    /// It cannot be read, or has no images.
    pub(super) fn of(layout: &Layout, own: &[PathBuf]) -> Result<Self, String> {
        let listing = layout.config()?.list(&DataFolder::new(&layout.root, own));
        let mut listing = listing.map_err(|error| error_chain(&error))?;
        listing.check_not_empty(&layout.root).map_err(|error| error_chain(&error))?;
        let (entries, classes) = (&listing.entries, listing.classes.len());
        let mut class_sizes = vec![0; classes];
        let mut by_split: BTreeMap<Split, BTreeMap<usize, usize>> = BTreeMap::new();
        for entry in entries {
            class_sizes[entry.class] += 1;
            if let Some(split) = entry.split {
                *by_split.entry(split).or_default().entry(entry.class).or_default() += 1;
            }
        }
        let is_trained =
            |class: &&usize| by_split.get(&Split::Train).is_some_and(|trained| trained.contains_key(class));
        let others =
            by_split.iter().filter(|(split, _)| **split != Split::Train).flat_map(|(_, classes)| classes.keys());
        let shared_classes = others.filter(is_trained).collect::<BTreeSet<_>>().len();

        let count = entries.len().min(SAMPLE);
        let sample: Vec<usize> = (0..count).map(|number| number * entries.len() / count).collect();
        let mut looked: Vec<Looked> = Vec::with_capacity(count);
        for chunk in sample.chunks(CHUNK) {
            let chosen: Vec<_> = chunk.iter().map(|&index| entries[index].clone()).collect();
            let encoded = listing.reader.fetch(&chosen).map_err(|error| error_chain(&error))?;
            looked.par_extend(encoded.into_par_iter().map(look));
        }
        let mut sides = Vec::new();
        let mut unreadable = Vec::new();
        let mut first: HashMap<[u8; 32], usize> = HashMap::new();
        let (mut duplicates, mut contradictions) = (0, Vec::new());
        for (&index, looked) in sample.iter().zip(looked) {
            match looked {
                Err(reason) => unreadable.push((entries[index].source.clone(), reason)),
                Ok((side, digest)) => {
                    sides.push(side);
                    let before = *first.entry(digest).or_insert(index);
                    duplicates += usize::from(before != index);
                    if entries[before].class != entries[index].class {
                        contradictions.push((entries[before].source.clone(), entries[index].source.clone()));
                    }
                }
            }
        }
        if sides.is_empty() {
            let (name, reason) = &unreadable[0];
            return Err(format!("None of the images can be decoded; `{name}` {reason}"));
        }
        sides.sort_unstable();
        class_sizes.sort_unstable();
        Ok(Self {
            images: entries.len(),
            class_sizes,
            splits: by_split.into_iter().map(|(split, classes)| (split, sorted(classes))).collect(),
            cameras: entries.iter().any(|entry| entry.camera.is_some()),
            side: sides[sides.len() / 2],
            unreadable,
            broken: listing
                .strays
                .broken
                .first()
                .map(|first| (listing.strays.broken.len(), format!("`{}` {}", first.source, first.reason))),
            passed_over: describe(&listing.strays.passed_over),
            kind: layout.kind().to_owned(),
            sampled: count,
            sides: (sides[0], sides[sides.len() - 1]),
            contradictions,
            duplicates,
            shared_classes,
            without_split: entries.iter().filter(|entry| entry.split.is_none()).count(),
            expected: listing.expected.clone(),
        })
    }

    /// Number of classes.
    pub(super) fn classes(&self) -> usize {
        self.class_sizes.len()
    }

    /// Number of images of a typical class.
    pub(super) fn median_class(&self) -> usize {
        self.class_sizes[self.class_sizes.len() / 2]
    }

    /// Number of images that a typical class has for training.
    pub(super) fn median_trained(&self) -> usize {
        let trained = self.splits.get(&Split::Train).filter(|_| self.has_splits());
        let sizes = trained.unwrap_or(&self.class_sizes);
        sizes[sizes.len() / 2]
    }

    /// Images and classes of a split.
    pub(super) fn counts_of(&self, split: Split) -> (usize, usize) {
        self.splits.get(&split).map_or((0, 0), |sizes| (sizes.iter().sum(), sizes.len()))
    }

    /// Whether the data set says what each image is for.
    pub(super) fn has_splits(&self) -> bool {
        self.without_split == 0
    }

    /// Whether there are images that cannot be read, and will be skipped.
    pub(super) fn has_unreadable(&self) -> bool {
        self.broken.is_some() || !self.unreadable.is_empty()
    }

    /// The task that the data look like.
    pub(super) fn task(&self) -> Task {
        if self.splits.contains_key(&Split::Query) {
            Task::Reid
        } else if self.classes() >= 1000 && self.median_class() <= 10 {
            Task::Sop
        } else {
            Task::Retrieval
        }
    }

    /// What is in the data set, in a few lines.
    pub(super) fn described(&self) -> Vec<String> {
        let (least, most) = (self.class_sizes[0], self.class_sizes[self.classes() - 1]);
        let mut lines = vec![
            format!("{}: {} images of {} classes", self.kind, self.images, self.classes()),
            format!("Images per class: {least} to {most}, median {}", self.median_class()),
            format!("Shorter side: {} to {} pixels, median {}", self.sides.0, self.sides.1, self.side),
        ];
        for &split in self.splits.keys() {
            let (images, classes) = self.counts_of(split);
            lines.push(format!("Split {split}: {images} images of {classes} classes"));
        }
        lines
    }

    /// What is odd about the data set.
    pub(super) fn oddities(&self) -> Vec<String> {
        let mut odd = Vec::new();
        let single = self.class_sizes.iter().filter(|&&size| size == 1).count();
        if single > 0 {
            odd.push(format!(
                "Classes with a single image: {single}; they have no positive pairs for training, and no match in evaluation"
            ));
        }
        let most = self.class_sizes[self.classes() - 1];
        if most >= 20 * self.median_class().max(1) {
            odd.push(format!("The largest class has {most} images, a typical one {}", self.median_class()));
        }
        if let Some((count, first)) = &self.broken {
            let images = if *count == 1 { "image" } else { "images" };
            odd.push(format!("{count} {images} cannot be read and will be skipped: {first}"));
        }
        odd.extend(self.passed_over.clone());
        if let Some((name, reason)) = self.unreadable.first() {
            let count = self.unreadable.len();
            odd.push(format!(
                "{count} of {} sampled images cannot be decoded and will be skipped: `{name}` {reason}",
                self.sampled
            ));
        }
        if self.duplicates > 0 {
            odd.push(format!("Duplicates: {} of {} sampled images", self.duplicates, self.sampled));
        }
        if let Some((one, other)) = self.contradictions.first() {
            let count = self.contradictions.len();
            odd.push(format!("Duplicates in different classes: {count}, such as `{one}` and `{other}`"));
        }
        if self.shared_classes > 0 {
            odd.push(format!(
                "{} classes are in the training split and in another one, so metrics will not be about unseen classes",
                self.shared_classes
            ));
        }
        if !self.splits.is_empty() && !self.has_splits() {
            odd.push(format!(
                "{} images have no split; the manifest will split the data by class instead",
                self.without_split
            ));
        }
        for expected in &self.expected {
            if self.counts_of(expected.split) != (expected.images, expected.classes) {
                odd.push(format!(
                    "The published split {} has {} images of {} classes, unlike this copy",
                    expected.split, expected.images, expected.classes
                ));
            }
        }
        odd.into_iter().map(|line| format!("note: {line}")).collect()
    }
}

/// The numbers of images of classes.
fn sorted(classes: BTreeMap<usize, usize>) -> Vec<usize> {
    let mut sizes: Vec<usize> = classes.into_values().collect();
    sizes.sort_unstable();
    sizes
}

fn look(image: EncodedImage<'_>) -> Looked {
    let limits = Limits::default();
    let image = image.read(limits).map_err(|error| error.to_string())?;
    let digest = image.digest();
    let raster = image.decode([255; 3], limits, Vec::new()).map_err(|error| error.to_string())?;
    Ok((raster.height.min(raster.width), digest))
}
