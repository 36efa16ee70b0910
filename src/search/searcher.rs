//! The images of a run, ready to be searched.

use dnc_kernels::neighbours::{Gallery, Neighbours, scan, squared_distance};
use dnc_stages::api::{ArtifactKind, Columns};
use dnc_stages::tables::Split;
use dnc_stages::tables::images::Images;
use dnc_stages::tables::index::RecallRow;
use dnc_stages::tables::pictures::{PictureError, Raster};

use super::error::SearchError;
use super::files::FileEmbeddings;
use super::hit::{Hit, Within};
use super::indexed::Indexed;
use super::run_model::RunModel;
use super::subspaces::{Mask, Space, WeightedQuery};
use crate::pages::PagesError;
use crate::pages::analysis::calibration::Calibration;
use crate::pages::analysis::subspaces::masks_of;
use crate::pages::evidence::{Catalogue, Embedded, Evidence};
use crate::report::answers;

/// Images that are embedded between two reports of progress.
const CHUNK: usize = 256;
/// Up to so many queries are searched by a scan, which needs no preparation.
const SCANNED: usize = 4;

/// The images of a run, ready to be searched.
pub struct Searcher {
    run: String,
    model: RunModel,
    calibration: Calibration,
    /// A mask per learner; none if the model has none, whose single learner has the whole embedding.
    masks: Vec<Mask>,
    hits: Vec<Hit>,
    /// Whether these are images of the run, whose ids they have.
    is_of_run: bool,
    /// `[hits, dim]`; none if there is an index, which has them.
    vectors: Vec<f32>,
    index: Option<Indexed>,
    images: Images,
}

impl Searcher {
    /// Prepares the search in a run. `progress` hears how many images are embedded, where embeddings were not kept.
    ///
    /// # Errors
    /// The run evaluated no model, or its images or its model are no longer in the store.
    pub fn open(evidence: &Evidence, within: &Within, progress: &dyn Fn(usize, usize)) -> Result<Self, SearchError> {
        let run = evidence.folder.id();
        let refuse = |reason: &str| SearchError::Unsearchable { run: run.clone(), reason: reason.to_owned() };
        let subject = evidence.subject.as_ref().ok_or_else(|| refuse("it evaluated nothing"))?;
        let model = RunModel::open(evidence)?;
        let chosen = model.evaluation().to_owned();
        let masks = masks_of(model.artifact())?.unwrap_or_default().into_iter().map(Mask::new).collect();

        let (images_node, images_output) = evidence.images().ok_or_else(|| refuse("it has no images"))?;
        let images = evidence.open(&images_node, &images_output, ArtifactKind::Images, Columns::All, |_| true)?;
        let gone = || refuse("its images are no longer in the store; run the manifest again");
        let images = Images::open(&images.ok_or_else(gone)?)?;

        let wanted = |place: &crate::report::queries::NodeSplit| place.node == chosen && place.split == subject.split;
        let answers = answers::read(&evidence.folder.path, wanted).map_err(PagesError::from)?;
        let answers: Vec<_> = answers.into_values().flatten().collect();
        let catalogue = Catalogue::read(evidence, &answers)?;
        let calibration = Calibration::new(&answers, &catalogue);

        let (hits, vectors) = (Vec::new(), Vec::new());
        let is_of_run = !matches!(within, Within::Files { .. });
        let mut searcher =
            Self { run: run.clone(), model, calibration, masks, hits, is_of_run, vectors, index: None, images };
        let kept = match within {
            Within::Evaluated => Embedded::read(evidence, subject, &[])?,
            _ => None,
        };
        match (within, kept) {
            (Within::Evaluated, Some(embedded)) => {
                let (_, gallery) = embedded.sides(&subject.split);
                searcher.hits = gallery.iter().map(|&row| hit(&catalogue, embedded.ids[row])).collect();
                searcher.vectors = embedded.gather(&gallery);
            }
            (Within::Indexed, _) => {
                let split = searched_split(&subject.split).map_or("", Split::name);
                let index = Indexed::open(evidence, &chosen, split)?.ok_or_else(|| {
                    refuse(&format!(
                        "it has no index of the embeddings of `{chosen}`; add a stage `index` with `in = {{ embeddings = \
                         \"{}.embeddings\" }}` to its manifest",
                        chosen.split('@').next().unwrap_or_default()
                    ))
                })?;
                searcher.hits = index.ids()?.iter().map(|&id| hit(&catalogue, id)).collect();
                searcher.index = Some(index);
            }
            (Within::Files { .. }, _) => searcher.embed_files(evidence, within, progress)?,
            (within, _) => {
                let split = match within {
                    Within::Split(split) => Some(*split),
                    Within::Evaluated => searched_split(&subject.split),
                    _ => None,
                };
                searcher.embed_images(split, &catalogue, progress)?;
            }
        }
        if searcher.is_empty() {
            return Err(refuse("there are no images to search in"));
        }
        Ok(searcher)
    }

    /// Number of images that are searched.
    pub fn len(&self) -> usize {
        self.index.as_ref().map_or(self.hits.len(), Indexed::len)
    }

    /// Whether there are none; never the case.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of learners of the model.
    pub fn learners(&self) -> usize {
        self.masks.len().max(1)
    }

    /// What share of the nearest images an approximate search finds, as measured; none if the search is exact.
    pub fn recall(&self) -> Option<RecallRow> {
        self.index.as_ref().map(Indexed::recall)
    }

    /// Dimension of the embeddings.
    pub fn dim(&self) -> usize {
        self.model.dim()
    }

    /// The images that are searched, without distances.
    pub fn images(&self) -> &[Hit] {
        &self.hits
    }

    /// Decodes a picture as the run decodes its images.
    ///
    /// # Errors
    /// The bytes are not an image, damaged, or exceed the limits of the run's `decode` stage.
    pub fn decode(&self, bytes: &[u8]) -> Result<Raster, PictureError> {
        self.model.decode(bytes)
    }

    /// Decodes a picture as [`decode`](Self::decode) does, if it has no more pixels than that.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    pub fn decode_within(&self, bytes: &[u8], pixels: u64) -> Result<Raster, PictureError> {
        self.model.decode_within(bytes, pixels)
    }

    /// The model that embeds.
    pub fn model(&self) -> &RunModel {
        &self.model
    }

    /// The embedding of an image of the run: the kept one if it is among those that are searched.
    ///
    /// # Errors
    /// The table of images is damaged, or the network fails. `None` if there is no such image.
    pub fn vector_of(&self, id: u32) -> Result<Option<Vec<f32>>, SearchError> {
        let row = if self.is_of_run { self.hits.iter().position(|hit| hit.id == id) } else { None };
        if let Some(row) = row {
            return Ok(Some(self.vectors()?[row * self.dim()..][..self.dim()].to_vec()));
        }
        self.picture_of(id)?.map(|picture| self.embed(&[picture])).transpose()
    }

    /// The picture of an image of the run.
    ///
    /// # Errors
    /// The table of images is damaged. `None` if there is no such image.
    pub fn picture_of(&self, id: u32) -> Result<Option<Raster>, SearchError> {
        let Some(row) = self.images.row(id) else { return Ok(None) };
        let picture = self.images.pixels()?.of(row);
        Ok(Some(Raster { height: picture.height, width: picture.width, pixels: picture.pixels.to_vec() }))
    }

    /// The L2-normalised embeddings of pictures, `[pictures, dim]`.
    ///
    /// # Errors
    /// The network fails.
    pub fn embed(&self, pictures: &[Raster]) -> Result<Vec<f32>, SearchError> {
        self.model.embed(pictures)
    }

    /// The `k` nearest images to each of `vectors`, `[queries, dim]`, nearest first, compared in `space`.
    ///
    /// # Errors
    /// The vectors have another dimension or are not finite, or the weights of `space` do not fit the model.
    pub fn nearest(&self, vectors: &[f32], k: usize, space: &Space) -> Result<Vec<Vec<Hit>>, SearchError> {
        let (dim, k) = (self.dim(), k.min(self.len()).max(1));
        if !vectors.len().is_multiple_of(dim) {
            return Err(SearchError::Dimension { run: self.run.clone(), found: vectors.len(), dim });
        }
        let queries = || vectors.chunks_exact(dim);
        let all = self.vectors()?;
        let by_scan = |distance: &(dyn Fn(&[f32]) -> f32 + Sync)| scan(all, dim, k, distance);
        let every = |found: Neighbours| Ok((0..found.len()).map(|query| self.found(&found, query, true)).collect());
        match (space, &self.index) {
            (Space::Whole, Some(index)) => every(index.nearest(vectors, k)?),
            (Space::Learners(_), Some(_)) => Err(SearchError::Unsearchable {
                run: self.run.clone(),
                reason: "its index compares whole embeddings; search one learner's subspace without the index"
                    .to_owned(),
            }),
            (Space::Learners(weights), None) => {
                self.check_weights(weights)?;
                let whole = [Mask::new(vec![1.0; dim])];
                let masks = if self.masks.is_empty() { &whole[..] } else { &self.masks };
                let search = |query| {
                    let query = WeightedQuery::new(query, masks, weights);
                    let found = by_scan(&|row| query.squared_distance(row))?;
                    Ok(self.found(&found, 0, false))
                };
                queries().map(search).collect()
            }
            (Space::Whole, None) if vectors.len() <= SCANNED * dim => {
                queries().map(|query| Ok(self.found(&by_scan(&|row| squared_distance(query, row))?, 0, true))).collect()
            }
            (Space::Whole, None) => every(Gallery::new(all, dim)?.nearest(vectors, k, |_, _| false)?),
        }
    }

    /// The embeddings of the images, `[hits, dim]`.
    fn vectors(&self) -> Result<&[f32], SearchError> {
        self.index.as_ref().map_or(Ok(&self.vectors), Indexed::vectors)
    }

    /// What was found for a query. Shares of right neighbours are known of distances in the whole embedding.
    fn found(&self, found: &Neighbours, query: usize, is_whole: bool) -> Vec<Hit> {
        let (rows, distances) = found.of(query);
        let hit = |(&row, &squared): (&u32, &f32)| {
            let distance = squared.sqrt();
            let share_right = self.calibration.share_at(distance).filter(|_| is_whole);
            Hit { distance, share_right, ..self.hits[row as usize].clone() }
        };
        rows.iter().zip(distances).map(hit).collect()
    }

    fn check_weights(&self, weights: &[f32]) -> Result<(), SearchError> {
        let learners = self.learners();
        let refuse = |problem: String| Err(SearchError::Weights { run: self.run.clone(), problem, learners });
        if weights.len() != learners {
            return refuse(format!("There are {} weights", weights.len()));
        }
        if let Some(wrong) = weights.iter().find(|weight| !weight.is_finite() || **weight < 0.0) {
            return refuse(format!("A weight is {wrong}"));
        }
        let sum: f32 = weights.iter().sum();
        if sum <= 0.0 || !sum.is_finite() {
            return refuse(format!("The weights add up to {sum}"));
        }
        Ok(())
    }

    /// Embeds the images of the run, of one split or all.
    fn embed_images(
        &mut self,
        split: Option<Split>,
        catalogue: &Catalogue,
        progress: &dyn Fn(usize, usize),
    ) -> Result<(), SearchError> {
        let (ids, splits, pixels) = (self.images.ids()?, self.images.splits()?, self.images.pixels()?);
        let rows: Vec<usize> = (0..ids.len()).filter(|&row| split.is_none_or(|split| splits[row] == split)).collect();
        for chunk in rows.chunks(CHUNK) {
            let picture = |&row: &usize| {
                let picture = pixels.of(row);
                Raster { height: picture.height, width: picture.width, pixels: picture.pixels.to_vec() }
            };
            let pictures: Vec<Raster> = chunk.iter().map(picture).collect();
            self.vectors.extend(self.model.embed(&pictures)?);
            self.hits.extend(chunk.iter().map(|&row| hit(catalogue, ids[row])));
            progress(self.hits.len(), rows.len());
        }
        Ok(())
    }

    /// Embeds other pictures, as far as the store does not have their embeddings. Those that cannot be decoded are left out.
    fn embed_files(
        &mut self,
        evidence: &Evidence,
        within: &Within,
        progress: &dyn Fn(usize, usize),
    ) -> Result<(), SearchError> {
        let (Within::Files { root, files }, Some(store)) = (within, evidence.store()) else { return Ok(()) };
        let embeddings = FileEmbeddings { store, model: &self.model };
        let paths: Vec<_> = files.iter().map(|(_, path)| path).collect();
        let vectors = embeddings.vectors(root, &paths, progress)?;
        for (id, ((class, path), vector)) in files.iter().zip(vectors.chunks_exact(self.dim())).enumerate() {
            if vector.iter().all(|value| value.is_finite()) {
                let (id, class, source) = (id as u32, class.clone(), path.display().to_string());
                self.hits.push(Hit { id, class, distance: 0.0, share_right: None, source });
                self.vectors.extend(vector);
            }
        }
        Ok(())
    }
}

/// The split that the queries of `split` are searched in.
fn searched_split(split: &str) -> Option<Split> {
    if split == Split::Query.name() {
        return Some(Split::Gallery);
    }
    Split::ALL.into_iter().find(|known| known.name() == split)
}

/// What is known of an image of the run.
fn hit(catalogue: &Catalogue, id: u32) -> Hit {
    let (class, source) = (catalogue.class_of(id), catalogue.source(id).to_owned());
    Hit { id, class, distance: 0.0, share_right: None, source }
}
