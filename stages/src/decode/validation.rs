//! Whether validation images can tell a good model from a bad one. With a single class, every model is always right; without two
//! images of a class, none ever is. Both would choose a model by chance, after hours of training.

use std::collections::{BTreeMap, BTreeSet};

use dnc_tables::Split;

use super::entry::Entry;
use super::error::DecodeError;

/// Classes that are needed in which an image can be found by another one.
const FEWEST: usize = 2;

/// Checks the validation images among `entries`, if there are any.
///
/// # Errors
/// Fewer than two classes have two images, under different cameras where images have cameras.
pub(super) fn check_validation<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<(), DecodeError> {
    let mut classes: BTreeMap<usize, (usize, BTreeSet<u16>)> = BTreeMap::new();
    let mut across_cameras = false;
    for entry in entries.filter(|entry| entry.split == Some(Split::Validation)) {
        let (without_camera, cameras) = classes.entry(entry.class).or_default();
        match entry.camera {
            Some(camera) => drop(cameras.insert(camera)),
            None => *without_camera += 1,
        }
        across_cameras |= entry.camera.is_some();
    }
    let answerable = classes.values().filter(|(without, cameras)| without + cameras.len() > 1).count();
    if !classes.is_empty() && answerable < FEWEST {
        return Err(DecodeError::Validation { classes: classes.len(), answerable, across_cameras });
    }
    Ok(())
}
