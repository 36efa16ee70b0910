//! A run whose images are searched: model and embeddings are loaded once and kept.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use dnc_cache::Digest;
use dnc_serve::Refusal;
use dnc_serve::answers::{Embedding, Found, Labels, Neighbour, Searchable, Vote};
use dnc_serve::backend::{ImageRequest, Picture, SearchRequest, Size};
use dnc_stages::tables::pictures::{PictureError, Raster};
use image::{ExtendedColorType, ImageEncoder as _};

use super::labels::Corrector;
use super::listed::changed;
use crate::error_chain::error_chain;
use crate::pages::evidence::Evidence;
use crate::pages::thumbnails;
use crate::report::run_folder::RunFolder;
use crate::search::{Crop, Hit, SearchError, Searcher, Space, Within};
use crate::sync::lock;

/// The most pixels of an image in a request, whatever the run allows: 120 MB when decoded.
const PIXELS: u64 = 40_000_000;
/// The most classes that are listed.
const CLASSES: usize = 5_000;
/// Number of images that the page shows before anything was searched for.
const EXAMPLES: usize = 24;
/// Weight of the mean of the negatives against that of the positives. **Source** Rocchio (1971) and later work weigh them less.
const NEGATIVE: f32 = 0.5;

/// A run whose images are searched.
pub(super) struct Searched {
    pub(super) folder: RunFolder,
    store: Option<PathBuf>,
    slot: Mutex<Slot>,
}

/// What was loaded, or why not.
#[derive(Default)]
struct Slot {
    searcher: Option<Arc<Searcher>>,
    problem: String,
    /// State of the run at the last try: a run in progress can be searched once it is done.
    tried: Option<SystemTime>,
}

impl Searched {
    pub(super) fn new(folder: RunFolder, store: Option<PathBuf>) -> Self {
        Self { folder, store, slot: Mutex::default() }
    }

    /// Loads the model and the embeddings, unless that is done. `progress` hears how many images are embedded.
    pub(super) fn load(&self, progress: &dyn Fn(usize, usize)) -> Result<Arc<Searcher>, Refusal> {
        let mut slot = lock(&self.slot);
        let state = changed(&self.folder);
        if slot.searcher.is_none() && (slot.tried.is_none() || slot.tried != state) {
            slot.tried = state;
            let opened = Evidence::read(self.folder.clone(), self.store.as_deref())
                .map_err(SearchError::from)
                .and_then(|evidence| Searcher::open(&evidence, &Within::Evaluated, progress));
            match opened {
                Ok(searcher) => slot.searcher = Some(Arc::new(searcher)),
                Err(error) => slot.problem = error_chain(&error),
            }
        }
        slot.searcher.clone().ok_or_else(|| Refusal::Unavailable(slot.problem.clone()))
    }

    /// What can be searched.
    pub(super) fn describe(&self) -> Searchable {
        match self.load(&|_, _| {}) {
            Err(problem) => Searchable { problem: Some(problem.to_string()), ..Searchable::default() },
            Ok(searcher) => {
                let images = searcher.images();
                let rows: String =
                    images.iter().map(|image| format!("{}\t{}\t{}\n", image.id, image.class, image.source)).collect();
                let mut classes: Vec<String> = images.iter().map(|image| image.class.clone()).collect();
                classes.sort_unstable();
                classes.dedup();
                classes.truncate(CLASSES);
                let step = images.len().div_ceil(EXAMPLES).max(1);
                Searchable {
                    images: images.len(),
                    images_digest: Digest::of(rows.as_bytes()).to_string(),
                    dimension: searcher.dim(),
                    learners: searcher.learners(),
                    classes,
                    examples: images.iter().step_by(step).map(|image| image.id).collect(),
                    problem: None,
                }
            }
        }
    }

    /// The embedding of an image.
    pub(super) fn embed(&self, request: &ImageRequest) -> Result<Embedding, Refusal> {
        let searcher = self.load(&|_, _| {})?;
        let picture = searcher.decode_within(&request.image, PIXELS).map_err(no_image)?;
        let size = [picture.width, picture.height];
        let vector = searcher.embed(&[cropped(picture, request.crop)?]).map_err(failed)?;
        Ok(Embedding { run: self.folder.id(), vector, size })
    }

    /// The nearest images.
    pub(super) fn search(&self, request: &SearchRequest) -> Result<Found, Refusal> {
        let begun = Instant::now();
        let searcher = self.load(&|_, _| {})?;
        let mut size = None;
        let mut positives: Vec<Vec<f32>> = request.vector.iter().cloned().collect();
        if let Some(bytes) = &request.image {
            let picture = searcher.decode_within(bytes, PIXELS).map_err(no_image)?;
            size = Some([picture.width, picture.height]);
            positives.push(searcher.embed(&[cropped(picture, request.crop)?]).map_err(failed)?);
        }
        match (request.crop, request.positive.as_slice()) {
            (Some(_), &[id]) if request.image.is_none() => {
                let picture = searcher.picture_of(id).map_err(failed)?.ok_or_else(|| unknown_image(id))?;
                size = Some([picture.width, picture.height]);
                positives.push(searcher.embed(&[cropped(picture, request.crop)?]).map_err(failed)?);
            }
            (Some(_), _) if request.image.is_none() => {
                let message = "`crop` needs an image as the body, or a single `positive`";
                return Err(Refusal::Invalid(message.to_owned()));
            }
            (_, ids) => positives.extend(vectors_of(&searcher, ids)?),
        }
        if let (None, &[id]) = (size, request.positive.as_slice()) {
            let picture = searcher.picture_of(id).map_err(failed)?;
            size = picture.map(|picture| [picture.width, picture.height]);
        }
        if let Some(wrong) = positives.iter().find(|vector| vector.len() != searcher.dim()) {
            return Err(Refusal::Invalid(format!(
                "The vector has {} values, but the embeddings of `{}` have {}",
                wrong.len(),
                self.folder.id(),
                searcher.dim()
            )));
        }
        let negatives = vectors_of(&searcher, &request.negative)?;
        let is_one_image = positives.len() == 1 && negatives.is_empty();
        let vector = combined(positives, &negatives);
        let learners = searcher.learners();
        let space = match (&request.weights, request.learner) {
            (Some(weights), _) => Space::Learners(weights.clone()),
            (None, Some(learner)) if learner < learners => Space::of(learner, learners),
            (None, Some(learner)) => {
                let message = format!("The model has no learner {learner}; it has {learners}, counted from 0");
                return Err(Refusal::Invalid(message));
            }
            (None, None) => Space::Whole,
        };
        let mut hits = searcher.nearest(&vector, request.k, &space).map_err(failed)?.pop().unwrap_or_default();
        if !is_one_image {
            // What a distance from a mean is worth is not known.
            hits.iter_mut().for_each(|hit| hit.share_right = None);
        }
        Ok(Found {
            run: self.folder.id(),
            nothing_near: Hit::is_nothing_near(&hits),
            vote: vote(&hits),
            neighbours: hits.into_iter().enumerate().map(|(rank, hit)| neighbour(rank + 1, hit)).collect(),
            size,
            vector: request.with_vector.then_some(vector),
            milliseconds: begun.elapsed().as_secs_f64() * 1000.0,
        })
    }

    /// An image of the run as a file.
    pub(super) fn image(&self, id: u32, size: Size) -> Result<Picture, Refusal> {
        let searcher = self.load(&|_, _| {})?;
        let raster = searcher.picture_of(id).map_err(failed)?.ok_or_else(|| unknown_image(id))?;
        let cannot = |error: &dyn std::error::Error| {
            Refusal::Failed(format!("Cannot encode the image {id}: {}", error_chain(error)))
        };
        match size {
            Size::Thumbnail => {
                let bytes = thumbnails::encode(raster.as_picture()).map_err(|error| cannot(&error))?;
                Ok(Picture { media_type: "image/jpeg", bytes })
            }
            Size::Full => {
                let mut bytes = Vec::new();
                let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
                let (width, height) = (raster.width as u32, raster.height as u32);
                let written = encoder.write_image(&raster.pixels, width, height, ExtendedColorType::Rgb8);
                written.map_err(|error| cannot(&error))?;
                Ok(Picture { media_type: "image/png", bytes })
            }
        }
    }

    /// Corrects the label of an image that is searched.
    pub(super) fn correct(&self, corrector: &Corrector, id: u32, class: Option<&str>) -> Result<Labels, Refusal> {
        let searcher = self.load(&|_, _| {})?;
        let image = searcher.images().iter().find(|image| image.id == id).ok_or_else(|| unknown_image(id))?;
        corrector.correct(&self.folder, image, searcher.images(), class)
    }
}

/// The embeddings of images of the run.
fn vectors_of(searcher: &Searcher, ids: &[u32]) -> Result<Vec<Vec<f32>>, Refusal> {
    let vector = |&id: &u32| searcher.vector_of(id).map_err(failed)?.ok_or_else(|| unknown_image(id));
    ids.iter().map(vector).collect()
}

/// The mean of the positives less half the mean of the negatives, normalised; a single positive as it is.
fn combined(mut positives: Vec<Vec<f32>>, negatives: &[Vec<f32>]) -> Vec<f32> {
    if negatives.is_empty() && positives.len() <= 1 {
        return positives.pop().unwrap_or_default();
    }
    let dim = positives.first().map_or(0, Vec::len);
    let mut sum = vec![0.0; dim];
    for (vectors, weight) in [(positives.as_slice(), 1.0), (negatives, -NEGATIVE)] {
        for vector in vectors {
            let weight = weight / vectors.len() as f32;
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    let norm = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        sum.iter_mut().for_each(|value| *value /= norm);
    }
    sum
}

fn cropped(picture: Raster, crop: Option<[usize; 4]>) -> Result<Raster, Refusal> {
    let Some(crop) = crop.map(Crop) else { return Ok(picture) };
    crop.of(&picture).ok_or_else(|| {
        Refusal::Invalid(format!(
            "`crop={crop}` is not within the image, which has {} × {} pixels as the run decodes it",
            picture.width, picture.height
        ))
    })
}

/// The most frequent class among the neighbours; of equally frequent ones that of the nearest.
fn vote(hits: &[Hit]) -> Option<Vote> {
    let count = |class: &str| hits.iter().filter(|hit| hit.class == class).count();
    // The last of equal maxima counts, so the nearest comes last.
    let class = hits.iter().rev().max_by_key(|hit| count(&hit.class))?.class.clone();
    let shares: Vec<f64> = hits.iter().filter(|hit| hit.class == class).filter_map(|hit| hit.share_right).collect();
    let share_right = (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64);
    Some(Vote { count: count(&class), class, share_right })
}

fn neighbour(rank: usize, hit: Hit) -> Neighbour {
    let Hit { id, class, distance, share_right, source } = hit;
    Neighbour { rank, id, class, distance, share_right, source }
}

fn unknown_image(id: u32) -> Refusal {
    Refusal::NotFound(format!("The run has no image with the id {id}"))
}

fn no_image(error: PictureError) -> Refusal {
    Refusal::NoImage(format!("The image {error}"))
}

fn failed(error: SearchError) -> Refusal {
    match &error {
        SearchError::Dimension { .. } | SearchError::Weights { .. } => Refusal::Invalid(error.to_string()),
        _ => Refusal::Failed(error_chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positives_attract_and_negatives_repel() {
        assert_eq!(combined(vec![vec![3.0, 4.0]], &[]), [3.0, 4.0], "a single vector is left as it is");
        let mean = combined(vec![vec![1.0, 0.0], vec![0.0, 1.0]], &[]);
        assert!((mean[0] - mean[1]).abs() < 1e-6 && (mean[0] - 0.5f32.sqrt()).abs() < 1e-6);
        let away = combined(vec![vec![1.0, 0.0]], &[vec![0.0, 1.0], vec![0.0, 1.0]]);
        assert!((away[0] - 0.894_427).abs() < 1e-5 && (away[1] + 0.447_213).abs() < 1e-5, "{away:?}");
        assert_eq!(combined(vec![vec![1.0, 0.0]], &[vec![2.0, 0.0]]), [0.0, 0.0], "nothing is left, and no NaN");
    }

    #[test]
    fn the_nearest_of_equally_frequent_classes_is_voted_for() {
        let hit = |class: &str, share| Hit {
            id: 0,
            class: class.to_owned(),
            distance: 0.0,
            share_right: share,
            source: String::new(),
        };
        let found = vote(&[hit("a", Some(0.9)), hit("b", None), hit("b", Some(0.5)), hit("a", Some(0.7))]).unwrap();
        assert_eq!((found.class.as_str(), found.count), ("a", 2));
        assert!((found.share_right.unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(vote(&[]), None);
    }
}
