//! The model for PyTorch: weights under the names of the network's published code, the code that builds it, and the preprocessing.

use std::path::Path;

use dnc_learn::subspaces::Merged;
use dnc_stages::pytorch;
use dnc_stages::tables::model::Model;

use super::error::ExportError;
use super::samples::Samples;
use super::subject::Subject;
use super::{Written, files, preprocessing};

const CHECK: &str = include_str!("python/check_torch.py");

/// Writes the folder.
pub(super) fn write(subject: &Subject, folder: &Path) -> Result<Written, ExportError> {
    let model = Model::open(&subject.model()?)?;
    files::remove_model(folder)?;
    let card = pytorch::export(&model, folder)?;
    // The network in PyTorch has no masks.
    let samples = Samples::new(subject, Merged::Plain)?;
    samples.write(folder)?;
    preprocessing::write(subject, folder)?;
    files::write(&folder.join("check.py"), CHECK)?;
    let masks = match subject.merged() {
        Merged::Plain => "",
        _ => {
            " The run merged the learners' masks into the embedding that it evaluated, which these weights do not; \
             `dnc-run export --format onnx` does."
        }
    };
    let path = folder.join("README.md");
    let readme = std::fs::read_to_string(&path).map_err(|source| ExportError::Write { path: path.clone(), source })?;
    let readme = format!(
        "{readme}\n`preprocess.py` makes `images` of a file: `torch.from_numpy(normalise(load(\"photo.jpg\")[None]))`. {} `python check.py` \
         compares.{masks}\n",
        samples.sentence()
    );
    files::write(&path, readme)?;
    let (what, details) = subject.described(&card)?;
    Ok(Written { what, details, card: Some(card) })
}
