//! The sampler trait, and what several samplers share.

use std::collections::BTreeMap;

use crate::error::{LearnError, Result};
use crate::streams::Streams;

/// Largest batch. A larger number is a slip, and its images would fill the memory.
const LARGEST_BATCH: usize = 1 << 16;

/// Draws the batches of an epoch.
pub trait BatchSampler {
    /// The batches of one epoch over images with these labels: as many as fit into one pass over the images, at least one.
    ///
    /// # Errors
    /// If no batch that a metric could be learned from can be drawn.
    fn epoch(&self, labels: &[u32], streams: &Streams) -> Result<Vec<Vec<u32>>>;

    /// Batch size, or the maximum batch size.
    fn batch(&self) -> usize;

    /// Checks the parameters.
    ///
    /// # Errors
    /// If one is out of range; the error names it.
    fn check(&self) -> Result<()>;
}

/// Number of batches of an epoch over `images` images.
pub fn batches_in(images: usize, batch: usize) -> usize {
    (images / batch.max(1)).max(1)
}

/// The images of each class with at least two images, classes in ascending order.
///
/// # Errors
/// If there are fewer than two such classes.
pub(super) fn pairable_classes(labels: &[u32]) -> Result<Vec<Vec<u32>>> {
    let mut images_of = BTreeMap::<u32, Vec<u32>>::new();
    for (image, &label) in labels.iter().enumerate() {
        images_of.entry(label).or_default().push(image as u32);
    }
    let classes = images_of.len();
    let pairable: Vec<_> = images_of.into_values().filter(|images| images.len() >= 2).collect();
    if pairable.len() < 2 {
        let reason =
            format!("at least two classes with two or more images are needed, but there are {}", pairable.len());
        return Err(LearnError::Batches { images: labels.len(), classes, reason });
    }
    Ok(pairable)
}

/// Checks that a batch holds a whole number of classes of `per_class` images each, and at least two.
pub(super) fn check_batch(batch: usize, per_class: usize) -> Result<()> {
    let refuse = |parameter, value: usize, reason: String| {
        Err(LearnError::Config { parameter, value: value.to_string(), reason })
    };
    if per_class < 2 {
        return refuse("per_class", per_class, "a class needs two images in a batch to have a positive pair".into());
    }
    check_batch_size(batch)?;
    if per_class > batch / 2 || !batch.is_multiple_of(per_class) {
        return refuse(
            "batch",
            batch,
            format!("it must be a multiple of `per_class`, which is {per_class}, and at least twice as large"),
        );
    }
    Ok(())
}

/// Checks that a batch is not larger than any machine can hold.
pub(super) fn check_batch_size(batch: usize) -> Result<()> {
    if batch <= LARGEST_BATCH {
        return Ok(());
    }
    let reason = format!("it must be at most {LARGEST_BATCH}");
    Err(LearnError::Config { parameter: "batch", value: batch.to_string(), reason })
}
