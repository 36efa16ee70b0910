//! Leaks: evaluated images that are near-duplicates of training images.
//!
//! **Formula** Each image is scaled to 12 × 12 pixels, its mean is subtracted and it is scaled to length 1. The correlation of two images
//! is then 1 − d² / 2. A pair is a near-duplicate from [`ALIKE`] on.

use std::fs;
use std::path::Path;

use dnc_kernels::neighbours::Gallery;
use dnc_stages::tables::Split;
use dnc_stages::tables::images::Images;
use dnc_stages::tables::pictures::resize;
use rayon::prelude::*;
use serde_json::json;

use crate::pages::derived::OfImages;
use crate::pages::error::PagesError;
use crate::pages::evidence::Evidence;

/// Correlation from which two images are near-duplicates.
pub const ALIKE: f32 = 0.99;
const SIDE: usize = 12;
/// Number of pairs that are kept.
const MOST: usize = 1_000;

/// An evaluated image and the training image that is most like it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leak {
    /// The evaluated image.
    pub evaluated: u32,
    /// The training image.
    pub training: u32,
    /// Their correlation.
    pub correlation: f32,
}

/// Near-duplicates across training and evaluation, the most alike first, or those that an earlier report found; `None` if the pixels are
/// no longer in the store.
///
/// # Errors
/// The store cannot be read or written, or a table is damaged.
pub fn leaks(evidence: &Evidence) -> Result<Option<Vec<Leak>>, PagesError> {
    let derivation = OfImages {
        name: "leaks",
        version: 1,
        params: json!({ "side": SIDE, "alike": ALIKE }),
        columns: &["id", "split", "height", "width", "pixels"],
        has_arithmetic: true,
    };
    let files = derivation.files(evidence, |images, folder| write(folder, &find(images)?))?;
    let Some(files) = files else { return Ok(None) };
    let path = &files.first().ok_or_else(|| PagesError::deriving("near-duplicates")("the record is empty"))?.path;
    read(path).map(Some)
}

fn find(images: &Images) -> Result<Vec<Leak>, PagesError> {
    let failed = |error| PagesError::deriving("near-duplicates")(error);
    let (ids, splits, pixels) = (images.ids()?, images.splits()?, images.pixels()?);
    let rows = |is_train: bool| {
        (0..images.len()).filter(|&row| (splits[row] == Split::Train) == is_train).collect::<Vec<usize>>()
    };
    let vectors = |rows: &[usize]| {
        let vector = |&row: &usize| normalised(&resize::resized(pixels.of(row), SIDE, SIDE));
        rows.par_iter().map(vector).collect::<Vec<Vec<f32>>>().concat()
    };
    let (training, evaluated) = (rows(true), rows(false));
    if training.is_empty() || evaluated.is_empty() {
        return Ok(Vec::new());
    }
    let (gallery, queries) = (vectors(&training), vectors(&evaluated));
    let gallery = Gallery::new(&gallery, SIDE * SIDE * 3).map_err(failed)?;
    let nearest = gallery.nearest(&queries, 1, |_, _| false).map_err(failed)?;
    let leak = |query: usize| {
        let (rows, distances) = nearest.of(query);
        let (&row, &distance) = rows.first().zip(distances.first())?;
        let correlation = 1.0 - distance / 2.0;
        let leak = Leak { evaluated: ids[evaluated[query]], training: ids[training[row as usize]], correlation };
        (correlation >= ALIKE).then_some(leak)
    };
    let mut leaks: Vec<Leak> = (0..evaluated.len()).filter_map(leak).collect();
    leaks.sort_by(|a, b| b.correlation.total_cmp(&a.correlation).then(a.evaluated.cmp(&b.evaluated)));
    leaks.truncate(MOST);
    Ok(leaks)
}

/// The pixels without their mean, of length 1; a picture of one colour stays at 0 and is like no other.
fn normalised(pixels: &[u8]) -> Vec<f32> {
    let mean = pixels.iter().map(|&value| f64::from(value)).sum::<f64>() / pixels.len() as f64;
    let squares = pixels.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
    let scale = if squares > 0.0 { 1.0 / squares.sqrt() } else { 0.0 };
    pixels.iter().map(|&value| ((f64::from(value) - mean) * scale) as f32).collect()
}

/// Twelve bytes a pair, little-endian.
fn write(folder: &Path, leaks: &[Leak]) -> Result<(), PagesError> {
    let parts = leaks.iter().map(|leak| [leak.evaluated, leak.training, leak.correlation.to_bits()]);
    let bytes: Vec<u8> = parts.flatten().flat_map(u32::to_le_bytes).collect();
    let path = folder.join("leaks.bin");
    fs::write(&path, bytes).map_err(|source| PagesError::Write { path, source })
}

fn read(path: &Path) -> Result<Vec<Leak>, PagesError> {
    let bytes = fs::read(path).map_err(|source| PagesError::Read { path: path.to_owned(), source })?;
    let numbers: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect();
    let leak = |[evaluated, training, bits]: &[u32; 3]| Leak {
        evaluated: *evaluated,
        training: *training,
        correlation: f32::from_bits(*bits),
    };
    Ok(numbers.as_chunks::<3>().0.iter().map(leak).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brighter_copy_correlates_and_a_mirrored_one_does_not() {
        let picture =
            |value: &dyn Fn(usize) -> usize| (0..SIDE * SIDE * 3).map(|at| value(at) as u8).collect::<Vec<u8>>();
        let one = normalised(&picture(&|at| at * 7 % 101));
        let correlation = |other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
        assert!(correlation(&normalised(&picture(&|at| at * 7 % 101 + 40))) > 0.999);
        assert!(correlation(&normalised(&picture(&|at| (SIDE * SIDE * 3 - at) * 7 % 101))) < 0.5);
        assert!(correlation(&normalised(&picture(&|_| 9))).abs() < 1e-6);
    }

    #[test]
    fn pairs_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let leaks = [Leak { evaluated: 7, training: 300, correlation: 0.995 }];
        write(folder.path(), &leaks).unwrap();
        assert_eq!(read(&folder.path().join("leaks.bin")).unwrap(), leaks);
    }
}
