//! Columns of a list or table of images, found by the names that the parameters give, in any case.

use std::path::Path;

use crate::decode::error::DecodeError;

/// The names of the columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnNames {
    pub(super) image: String,
    pub(super) class: String,
    pub(super) split: String,
    pub(super) source: String,
    pub(super) camera: String,
}

/// The required columns of a list: the parameter that names each, and what it contains.
const REQUIRED: [(&str, &str); 2] = [("image", "the image files"), ("class", "the classes")];

impl ColumnNames {
    /// The same columns as the table in `file` spells them, whose headings are `found`.
    ///
    /// # Errors
    /// The column of images or of classes is missing.
    pub(super) fn as_found(&self, file: &Path, found: &[String]) -> Result<Self, DecodeError> {
        for ((key, contents), column) in REQUIRED.into_iter().zip([&self.image, &self.class]) {
            if position(found, column).is_none() {
                let (file, column, found) = (file.to_owned(), column.clone(), found.to_vec());
                return Err(DecodeError::MissingColumn { file, column, key, contents, found });
            }
        }
        let spelt = |wanted: &str| position(found, wanted).map_or_else(|| wanted.to_owned(), |at| found[at].clone());
        Ok(Self {
            image: spelt(&self.image),
            class: spelt(&self.class),
            split: spelt(&self.split),
            source: spelt(&self.source),
            camera: spelt(&self.camera),
        })
    }

    /// Whether it is one of them.
    pub(super) fn contains(&self, column: &str) -> bool {
        [&self.image, &self.class, &self.split, &self.source, &self.camera].iter().any(|name| *name == column)
    }
}

/// The position of the column called `wanted`: spelt like that or, if none is, in another case or with outer blanks.
fn position(found: &[String], wanted: &str) -> Option<usize> {
    let is_similar = |name: &String| name.trim().to_lowercase() == wanted.trim().to_lowercase();
    found.iter().position(|name| name == wanted).or_else(|| found.iter().position(is_similar))
}
