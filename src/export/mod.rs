//! Exports: the model or the embeddings of a run in formats that other tools read.
//!
//! **Reading order** [`Format`], the list; [`subject`], what is exported; then the formats, one file each. `samples` are the eight images
//! with which an exported model can be checked, `npy_file` is NumPy's format of arrays.
//!
//! To add a format, write its file with a function `write`, and add a line to [`Format`] and one to [`Format::write`].

mod atlas;
mod error;
mod files;
mod npy;
mod npy_file;
mod onnx;
mod preprocessing;
mod safetensors;
mod samples;
mod subject;
mod tensorboard;

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use dnc_stages::pytorch::Card;

pub use error::ExportError;
pub use subject::{Subject, Target};

/// Format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The model for PyTorch: weights under published tensor names, with the code that builds the network
    Safetensors,
    /// The model as one ONNX file, with the preprocessing of pixels and the normalisation of embeddings
    Onnx,
    /// Embeddings, labels and ids as NumPy arrays, for faiss
    Npy,
    /// Metrics, training curves, precision-recall curves and the embedding projector of TensorBoard
    Tensorboard,
    /// One Parquet file of embeddings, map, pictures and neighbours for Embedding Atlas
    Atlas,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// What it is, such as a model of a node.
    pub what: String,
    /// Its properties, in words.
    pub details: String,
    /// The model's properties, if it is one.
    pub card: Option<Card>,
}

impl Format {
    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Writes the export to `folder`, which is created if necessary.
    ///
    /// # Errors
    /// The run lacks what is exported, or a file cannot be read or written.
    pub fn write(self, subject: &Subject, folder: &Path) -> Result<Written, ExportError> {
        let is_new = !folder.exists();
        files::create(folder)?;
        let written = match self {
            Self::Safetensors => safetensors::write(subject, folder),
            Self::Onnx => onnx::write(subject, folder),
            Self::Npy => npy::write(subject, folder),
            Self::Tensorboard => tensorboard::write(subject, folder),
            Self::Atlas => atlas::write(subject, folder),
        };
        if is_new && written.is_err() {
            // It stays if something is in it.
            let _ = fs::remove_dir(folder);
        }
        written
    }
}
