//! What is known of each image: class, split, camera, origin.

use std::collections::{BTreeMap, BTreeSet};

use dnc_stages::ArtifactKind;
use dnc_stages::api::Columns;
use dnc_stages::tables::images::Images;

use super::run::Evidence;
use crate::pages::error::PagesError;
use crate::report::answers::Answer;

/// One image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: u32,
    /// Number of its class.
    pub label: u32,
    /// Its camera, if it has one.
    pub camera: Option<u16>,
    /// Whether it is a training image.
    pub is_train: bool,
}

/// All images by id.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Sorted by id.
    entries: Vec<Entry>,
    classes: BTreeMap<u32, String>,
    sources: BTreeMap<u32, String>,
    /// Whether it was read from the table of images, and not put together from the queries.
    pub is_complete: bool,
}

impl Catalogue {
    /// Reads the table of images of a run. If the store no longer has it, classes are known only by number, and only those of
    /// queries.
    ///
    /// # Errors
    /// The store cannot be read, or the table is damaged.
    pub fn read(evidence: &Evidence, answers: &[Answer]) -> Result<Self, PagesError> {
        let columns = ["id", "label", "class", "split", "camera", "source"].map(str::to_owned).to_vec();
        let without_pixels = |file: &str| !file.starts_with("pixels");
        let Some((node, output)) = evidence.images() else { return Ok(Self::of_answers(answers)) };
        let columns = Columns::Named(columns);
        let Some(artifact) = evidence.open(&node, &output, ArtifactKind::Images, columns, without_pixels)? else {
            return Ok(Self::of_answers(answers));
        };
        let images = Images::open(&artifact)?;
        let (ids, labels, splits) = (images.ids()?, images.labels()?, images.splits()?);
        let (classes, cameras, sources) = (images.classes()?, images.cameras()?, images.sources()?);
        let mut catalogue = Self { is_complete: true, ..Self::default() };
        for row in 0..images.len() {
            let is_train = splits[row] == dnc_stages::tables::Split::Train;
            catalogue.entries.push(Entry { id: ids[row], label: labels[row], camera: cameras[row], is_train });
            catalogue.classes.entry(labels[row]).or_insert_with(|| classes[row].to_owned());
            if let Some(source) = sources.get(row) {
                catalogue.sources.insert(ids[row], (*source).to_owned());
            }
        }
        catalogue.entries.sort_unstable_by_key(|entry| entry.id);
        Ok(catalogue)
    }

    /// What the queries tell.
    pub fn of_answers(answers: &[Answer]) -> Self {
        let entry = |answer: &Answer| Entry { id: answer.id, label: answer.label, camera: None, is_train: false };
        let mut entries: Vec<Entry> = answers.iter().map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.id);
        entries.dedup_by_key(|entry| entry.id);
        Self { entries, ..Self::default() }
    }

    /// The images, sorted by id.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The image with this id.
    pub fn find(&self, id: u32) -> Option<&Entry> {
        // Ids are usually row numbers.
        let direct = self.entries.get(id as usize).filter(|entry| entry.id == id);
        direct.or_else(|| self.entries.binary_search_by_key(&id, |entry| entry.id).ok().map(|row| &self.entries[row]))
    }

    /// The class of an image.
    pub fn label(&self, id: u32) -> Option<u32> {
        self.find(id).map(|entry| entry.label)
    }

    /// Whether two images are of one class and seen by one camera: where cameras are used, such neighbours do not count. An image
    /// without a camera counts as seen by a camera of its own.
    pub fn have_same_camera(&self, one: u32, other: u32) -> bool {
        let (Some(one), Some(other)) = (self.find(one), self.find(other)) else { return false };
        one.label == other.label && one.camera.is_some() && one.camera == other.camera
    }

    /// Number of these classes that have training images; `None` if the table of images is gone.
    pub fn trained(&self, labels: &BTreeSet<u32>) -> Option<usize> {
        let trained = self.entries.iter().filter(|entry| entry.is_train).map(|entry| entry.label);
        let trained: BTreeSet<u32> = trained.collect();
        self.is_complete.then(|| labels.intersection(&trained).count())
    }

    /// The name of a class.
    pub fn class(&self, label: u32) -> String {
        self.classes.get(&label).cloned().unwrap_or_else(|| format!("class {label}"))
    }

    /// The name of an image's class.
    pub fn class_of(&self, id: u32) -> String {
        self.label(id).map_or_else(|| "unknown class".to_owned(), |label| self.class(label))
    }

    /// The origin of an image: a file, or as the data set names it.
    pub fn source(&self, id: u32) -> &str {
        self.sources.get(&id).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_camera_has_a_camera_of_its_own() {
        let entry = |(id, label, camera)| Entry { id, label, camera, is_train: false };
        let entries = [(0, 1, Some(3)), (1, 1, Some(3)), (2, 1, Some(4)), (3, 2, Some(3)), (4, 1, None), (5, 1, None)];
        let catalogue = Catalogue { entries: entries.map(entry).to_vec(), ..Catalogue::default() };
        let same: Vec<u32> = (0..7).filter(|&other| catalogue.have_same_camera(0, other)).collect();
        assert_eq!(same, [0, 1]);
        assert!(!catalogue.have_same_camera(4, 5));
    }

    #[test]
    fn classes_with_training_images_are_counted() {
        let entry = |(id, label, is_train)| Entry { id, label, camera: None, is_train };
        let entries = [(0, 1, true), (1, 1, false), (2, 2, true), (3, 3, false)].map(entry).to_vec();
        let catalogue = Catalogue { entries, is_complete: true, ..Catalogue::default() };
        assert_eq!(catalogue.trained(&BTreeSet::from([1, 3])), Some(1));
        assert_eq!(catalogue.trained(&BTreeSet::from([3])), Some(0));
        assert_eq!(Catalogue::of_answers(&[]).trained(&BTreeSet::from([3])), None);
    }
}
