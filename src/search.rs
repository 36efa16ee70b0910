//! Image search: the nearest images of a run to any picture, by the run's own model.
//!
//! A picture goes through what the run's images went through: the decoding of its `decode` stage, then the resizing, cropping and
//! normalisation of its `evaluate` stage. An image of the run therefore finds itself at distance 0. Neighbours are exact.

use std::path::{Path, PathBuf};

use dnc_kernels::neighbours::Gallery;
use dnc_learn::subspaces::{MASKS, Merged};
use dnc_stages::StageError;
use dnc_stages::api::{ArtifactKind, Columns, InputArtifact};
use dnc_stages::decode::PictureFile;
use dnc_stages::embedder::Embedder;
use dnc_stages::tables::images::Images;
use dnc_stages::tables::model::Model;
use dnc_stages::tables::pictures::{PictureError, Raster};
use dnc_stages::tables::{Split, TableError};

use crate::pages::PagesError;
use crate::pages::analysis::calibration::Calibration;
use crate::pages::evidence::{Catalogue, Embedded, Evidence};
use crate::report::answers;
use crate::report::run_folder::RunFolder;

/// Share of right neighbours below which a distance means nothing.
const NOTHING_NEAR: f64 = 0.05;

/// Images that are embedded between two reports of progress.
const CHUNK: usize = 256;

/// What is searched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Within {
    /// The images that the run's queries are searched in.
    #[default]
    Evaluated,
    /// The images of one split.
    Split(Split),
    /// All images of the run.
    All,
    /// Other pictures, with the class and the path of each.
    Files(Vec<(String, PathBuf)>),
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its id among the images of the run, or its position among the files that are searched.
    pub id: u32,
    /// Its class.
    pub class: String,
    /// Euclidean distance of the embeddings.
    pub distance: f32,
    /// Share of right neighbours at this distance among the run's own queries, if it has any.
    pub share_right: Option<f64>,
    /// The file that it came from, or its name in the data set.
    pub source: String,
}

/// Why a search fails.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The run cannot be searched.
    #[error("Run `{run}` cannot be searched: {reason}")]
    Unsearchable {
        /// The run.
        run: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A file of the run or of the store cannot be read.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// A table of the run cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The model cannot be loaded or run.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The neighbours cannot be computed.
    #[error("Cannot search the nearest images")]
    Kernel(#[from] dnc_kernels::Error),
}

/// The images of a run, ready to be searched.
pub struct Searcher {
    embedder: Embedder,
    picture: PictureFile,
    calibration: Calibration,
    /// Weights of the coordinates, if a learner's subspace is searched.
    mask: Option<Vec<f32>>,
    hits: Vec<Hit>,
    /// `[hits, dim]`.
    vectors: Vec<f32>,
    images: InputArtifact,
}

impl Searcher {
    /// Prepares the search in a run. `store` replaces the store that the run used; with a `learner`, counted from 0, images are compared in
    /// its subspace. `progress` hears how many images are embedded, where embeddings were not kept.
    ///
    /// # Errors
    /// The run evaluated no model, or its images or its model are no longer in the store.
    pub fn open(
        folder: RunFolder,
        store: Option<&Path>,
        within: &Within,
        learner: Option<usize>,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Self, SearchError> {
        let run = folder.id();
        let refuse = |reason: &str| SearchError::Unsearchable { run: run.clone(), reason: reason.to_owned() };
        let evidence = Evidence::read(folder, store)?;
        let subject = evidence.subject.as_ref().ok_or_else(|| refuse("it evaluated nothing"))?;
        let plan = evidence.plan.as_ref().ok_or_else(|| refuse("this version cannot read its manifest"))?;
        let params_of = |name: &str| {
            plan.nodes
                .iter()
                .find(|node| node.name == name)
                .map(|node| plan.stage(node).params.clone())
                .unwrap_or_default()
        };
        let chosen = subject.chosen().node.clone();
        let (node, output) = evidence.feed(&chosen, "model").ok_or_else(|| {
            refuse(&format!("`{chosen}` evaluated no model, and only a model can embed other pictures"))
        })?;
        let gone = |what: &str| refuse(&format!("its {what} are no longer in the store; run the manifest again"));
        let model = evidence.open(&node, &output, ArtifactKind::Model, Columns::All, |_| true)?;
        let model = model.ok_or_else(|| gone("model's tensors"))?;
        let merged = params_of(&chosen).get("merged").cloned();
        let merged: Merged = merged.and_then(|merged| serde_json::from_value(merged).ok()).unwrap_or(Merged::Plain);
        let embedder = Embedder::open(&model, merged)?;
        let mask = learner
            .map(|learner| mask(&model, learner, embedder.dim()))
            .transpose()?
            .map(|mask| mask.ok_or_else(|| refuse("its model has no such learner; learners are counted from 0")));
        let mask = mask.transpose()?;

        let (images_node, images_output) = evidence.images().ok_or_else(|| refuse("it has no images"))?;
        let picture = serde_json::from_value(params_of(&images_node))
            .map_err(|_| refuse(&format!("its images come from `{images_node}`, which is no `decode` stage")))?;
        let images = evidence.open(&images_node, &images_output, ArtifactKind::Images, Columns::All, |_| true)?;
        let images = images.ok_or_else(|| gone("images"))?;

        let wanted = |place: &crate::report::queries::NodeSplit| place.node == chosen && place.split == subject.split;
        let answers = answers::read(&evidence.folder.path, wanted).map_err(PagesError::from)?;
        let answers: Vec<_> = answers.into_values().flatten().collect();
        let catalogue = Catalogue::read(&evidence, &answers)?;
        let calibration = if mask.is_none() { Calibration::new(&answers, &catalogue) } else { Calibration::default() };

        let mut searcher = Self { embedder, picture, calibration, mask, hits: Vec::new(), vectors: Vec::new(), images };
        let kept = match within {
            Within::Evaluated => Embedded::read(&evidence, subject, &[])?,
            _ => None,
        };
        match (within, kept) {
            (Within::Evaluated, Some(embedded)) => {
                let (_, gallery) = embedded.sides(&subject.split);
                searcher.hits = gallery.iter().map(|&row| hit(&catalogue, embedded.ids[row])).collect();
                searcher.vectors = embedded.gather(&gallery);
            }
            (Within::Files(files), _) => searcher.embed_files(files, progress)?,
            (within, _) => {
                let split = match within {
                    Within::Split(split) => Some(*split),
                    Within::Evaluated if subject.split == Split::Query.name() => Some(Split::Gallery),
                    Within::Evaluated => Split::ALL.into_iter().find(|split| split.name() == subject.split),
                    _ => None,
                };
                searcher.embed_images(split, &catalogue, progress)?;
            }
        }
        if searcher.hits.is_empty() {
            return Err(refuse("there are no images to search in"));
        }
        searcher.project_gallery();
        Ok(searcher)
    }

    /// Number of images that are searched.
    pub fn len(&self) -> usize {
        self.hits.len()
    }

    /// Whether there are none; never the case.
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// Decodes a picture as the run decodes its images.
    ///
    /// # Errors
    /// The bytes are not an image, damaged, or exceed the limits of the run's `decode` stage.
    pub fn decode(&self, bytes: &[u8]) -> Result<Raster, PictureError> {
        self.picture.decode(bytes)
    }

    /// The picture of an image of the run.
    ///
    /// # Errors
    /// The table of images is damaged. `None` if there is no such image.
    pub fn picture_of(&self, id: u32) -> Result<Option<Raster>, SearchError> {
        let images = Images::open(&self.images)?;
        let Some(row) = images.row(id) else { return Ok(None) };
        let picture = images.pixels()?.of(row);
        Ok(Some(Raster { height: picture.height, width: picture.width, pixels: picture.pixels.to_vec() }))
    }

    /// The `k` nearest images to each picture, nearest first.
    ///
    /// # Errors
    /// The device fails.
    pub fn nearest(&self, pictures: &[Raster], k: usize) -> Result<Vec<Vec<Hit>>, SearchError> {
        let dim = self.embedder.dim();
        let mut queries = self.embedder.vectors(pictures)?;
        self.project(&mut queries);
        let found = Gallery::new(&self.vectors, dim)?.nearest(&queries, k.min(self.len()).max(1), |_, _| false)?;
        let hits = |query: usize| {
            let (rows, distances) = found.of(query);
            let hit = |(&row, &squared): (&u32, &f32)| {
                let distance = squared.sqrt();
                Hit { distance, share_right: self.calibration.share_at(distance), ..self.hits[row as usize].clone() }
            };
            rows.iter().zip(distances).map(hit).collect()
        };
        Ok((0..pictures.len()).map(hits).collect())
    }

    /// Whether the nearest image is so far away that, among the run's own queries, fewer than 5 % of such neighbours are right.
    pub fn is_nothing_near(hits: &[Hit]) -> bool {
        hits.first().and_then(|hit| hit.share_right).is_some_and(|share| share < NOTHING_NEAR)
    }

    /// Embeds the images of the run, of one split or all.
    fn embed_images(
        &mut self,
        split: Option<Split>,
        catalogue: &Catalogue,
        progress: &dyn Fn(usize, usize),
    ) -> Result<(), SearchError> {
        let images = Images::open(&self.images)?;
        let (ids, splits, pixels) = (images.ids()?, images.splits()?, images.pixels()?);
        let rows: Vec<usize> = (0..ids.len()).filter(|&row| split.is_none_or(|split| splits[row] == split)).collect();
        for chunk in rows.chunks(CHUNK) {
            let picture = |&row: &usize| {
                let picture = pixels.of(row);
                Raster { height: picture.height, width: picture.width, pixels: picture.pixels.to_vec() }
            };
            let pictures: Vec<Raster> = chunk.iter().map(picture).collect();
            self.vectors.extend(self.embedder.vectors(&pictures)?);
            self.hits.extend(chunk.iter().map(|&row| hit(catalogue, ids[row])));
            progress(self.hits.len(), rows.len());
        }
        Ok(())
    }

    /// Embeds other pictures. Those that cannot be decoded are left out.
    fn embed_files(&mut self, files: &[(String, PathBuf)], progress: &dyn Fn(usize, usize)) -> Result<(), SearchError> {
        let mut done = 0;
        for chunk in files.chunks(CHUNK) {
            let decoded = chunk.iter().enumerate().filter_map(|(index, (class, path))| {
                let picture = self.picture.decode(&std::fs::read(path).ok()?).ok()?;
                let (id, source) = ((done + index) as u32, path.display().to_string());
                Some((picture, Hit { id, class: class.clone(), distance: 0.0, share_right: None, source }))
            });
            let (pictures, hits): (Vec<Raster>, Vec<Hit>) = decoded.unzip();
            self.vectors.extend(self.embedder.vectors(&pictures)?);
            self.hits.extend(hits);
            done += chunk.len();
            progress(done, files.len());
        }
        Ok(())
    }

    fn project_gallery(&mut self) {
        let mut vectors = std::mem::take(&mut self.vectors);
        self.project(&mut vectors);
        self.vectors = vectors;
    }

    /// Projects L2-normalised vectors to the subspace that is searched, and normalises them again.
    fn project(&self, vectors: &mut [f32]) {
        let Some(mask) = &self.mask else { return };
        for vector in vectors.chunks_exact_mut(mask.len()) {
            vector.iter_mut().zip(mask).for_each(|(value, weight)| *value *= weight);
            let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            if norm > 0.0 {
                vector.iter_mut().for_each(|value| *value /= norm);
            }
        }
    }
}

/// What is known of an image of the run.
fn hit(catalogue: &Catalogue, id: u32) -> Hit {
    let (class, source) = (catalogue.class_of(id), catalogue.source(id).to_owned());
    Hit { id, class, distance: 0.0, share_right: None, source }
}

/// The positive weights of a learner's mask; `None` if the model has no such learner.
fn mask(model: &InputArtifact, learner: usize, dim: usize) -> Result<Option<Vec<f32>>, SearchError> {
    let model = Model::open(model)?;
    let Some(masks) = model.parameters.iter().find(|tensor| tensor.name == MASKS) else {
        // A single learner has the whole embedding.
        return Ok((learner == 0).then(|| vec![1.0; dim]));
    };
    let values = masks.bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let weights: Vec<f32> = values.map(|value| value.max(0.0)).skip(learner * dim).take(dim).collect();
    Ok((weights.len() == dim).then_some(weights))
}
