//! What is searched, and what is found.

use std::path::PathBuf;

use dnc_stages::tables::Split;

/// Share of right neighbours below which a distance means nothing.
const NOTHING_NEAR: f64 = 0.05;

/// What is searched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Within {
    /// The images that the run's queries are searched in.
    #[default]
    Evaluated,
    /// The same by the run's index, which finds most of them.
    Indexed,
    /// The images of one split.
    Split(Split),
    /// All images of the run.
    All,
    /// Other pictures.
    Files {
        /// The folder that they are in, or the file.
        root: PathBuf,
        /// The class and the path of each.
        files: Vec<(String, PathBuf)>,
    },
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

impl Hit {
    /// Whether the nearest image is so far away that, among the run's own queries, fewer than 5 % of such neighbours are right.
    pub fn is_nothing_near(hits: &[Hit]) -> bool {
        hits.first().and_then(|hit| hit.share_right).is_some_and(|share| share < NOTHING_NEAR)
    }
}
