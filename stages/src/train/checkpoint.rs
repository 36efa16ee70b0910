//! Checkpoint: the training state after an epoch, in the node's scratch folder. A killed run resumes from it and ends with
//! the same bytes as an uninterrupted one.
//!
//! A checkpoint is the folder `epoch-<n>` with the model's files, the history as text, and the file `digest`, a digest of the
//! others. It is written under a temporary name, synced to disk and then renamed. A checkpoint that does not match its digest
//! is ignored.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use dnc_tables::history::HistoryRow;
use dnc_tables::model;

use crate::api::StageError;

const PREFIX: &str = "epoch-";
const HISTORY: &str = "history.tsv";
const DIGEST: &str = "digest";

/// Training state after `epochs` epochs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checkpoint {
    pub(super) epochs: u32,
    pub(super) model: model::Model,
    pub(super) history: Vec<HistoryRow>,
}

impl Checkpoint {
    /// Writes the checkpoint to `scratch` and removes older ones.
    pub(super) fn write(&self, scratch: &Path) -> Result<(), StageError> {
        let folder = scratch.join(format!("{PREFIX}{}", self.epochs));
        let partial = scratch.join("partial");
        remove(&partial)?;
        fs::create_dir_all(&partial).map_err(|source| StageError::file("create", &partial, source))?;
        model::write_files(&partial, &self.model)?;
        write(&partial.join(HISTORY), &to_text(&self.history))?;
        write(&partial.join(DIGEST), &digest(&partial)?)?;
        for path in files(&partial)?.iter().chain([&partial]) {
            File::open(path)
                .and_then(|file| file.sync_all())
                .map_err(|source| StageError::file("save", path, source))?;
        }
        remove(&folder)?;
        fs::rename(&partial, &folder).map_err(|source| StageError::file("rename", &partial, source))?;
        for (epochs, older) in folders_in(scratch)? {
            if epochs < self.epochs {
                remove(&older)?;
            }
        }
        Ok(())
    }

    /// The latest valid checkpoint in `scratch`.
    pub(super) fn last(scratch: &Path) -> Result<Option<Self>, StageError> {
        let mut folders = folders_in(scratch)?;
        folders.sort_unstable_by(|a, b| b.cmp(a));
        Ok(folders.iter().find_map(|(epochs, folder)| Self::read(*epochs, folder)))
    }

    /// The checkpoint in `folder`, if it is valid.
    fn read(epochs: u32, folder: &Path) -> Option<Self> {
        let expected = fs::read_to_string(folder.join(DIGEST)).ok()?;
        if digest(folder).ok()? != expected {
            return None;
        }
        let model = model::Model::read_files(folder).ok()?;
        let history = from_text(&fs::read_to_string(folder.join(HISTORY)).ok()?)?;
        Some(Self { epochs, model, history })
    }
}

/// The checkpoints in `scratch`, by number of epochs, in any order.
fn folders_in(scratch: &Path) -> Result<Vec<(u32, PathBuf)>, StageError> {
    let failed = |source| StageError::file("read", scratch, source);
    let mut folders = Vec::new();
    for entry in fs::read_dir(scratch).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let epochs = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|epochs| epochs.parse().ok());
        folders.extend(epochs.map(|epochs| (epochs, entry.path())));
    }
    Ok(folders)
}

/// The files of a folder, sorted by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, StageError> {
    let failed = |source| StageError::file("read", folder, source);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut files = entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect::<Result<Vec<_>, StageError>>()?;
    files.sort_unstable();
    Ok(files)
}

/// The digest of names and bytes of all files of a folder except the digest file itself.
fn digest(folder: &Path) -> Result<String, StageError> {
    let mut all = blake3::Hasher::new();
    for path in files(folder)?.into_iter().filter(|path| !path.ends_with(DIGEST)) {
        let bytes = fs::read(&path).map_err(|source| StageError::file("read", &path, source))?;
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        all.update(&(name.len() as u64).to_le_bytes()).update(name);
        all.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    Ok(all.finalize().to_hex().to_string())
}

/// One line per row. Rust writes the shortest text of a float that reads back as the same float.
fn to_text(history: &[HistoryRow]) -> String {
    let line = |row: &HistoryRow| {
        let HistoryRow { step, epoch, learner, term, value } = row;
        format!("{step}\t{epoch}\t{learner}\t{term}\t{value:?}\n")
    };
    history.iter().map(line).collect()
}

fn from_text(text: &str) -> Option<Vec<HistoryRow>> {
    let row = |line: &str| {
        let mut parts = line.split('\t');
        let mut part = || parts.next();
        Some(HistoryRow {
            step: part()?.parse().ok()?,
            epoch: part()?.parse().ok()?,
            learner: part()?.parse().ok()?,
            term: part()?.to_owned(),
            value: part()?.parse().ok()?,
        })
    };
    text.lines().map(row).collect()
}

fn write(path: &Path, text: &str) -> Result<(), StageError> {
    fs::write(path, text).map_err(|source| StageError::file("write", path, source))
}

fn remove(folder: &Path) -> Result<(), StageError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(StageError::file("remove", folder, source)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use dnc_learn::weights::NamedTensor;
    use serde_json::json;

    use super::*;

    fn checkpoint(epochs: u32) -> Checkpoint {
        let bytes = (epochs as f32).to_le_bytes().to_vec();
        let tensor = NamedTensor { name: "w".into(), dtype: DType::F32, shape: vec![1], bytes };
        let term = "loss".to_owned();
        let row = HistoryRow { step: 3, epoch: 1, learner: 2, term, value: 0.1 + 0.2 };
        let parameters = vec![tensor];
        let model = model::Model { architecture: json!({ "backbone": "x" }), parameters, moments: vec![], step: 9 };
        Checkpoint { epochs, model, history: vec![row] }
    }

    #[test]
    fn the_latest_checkpoint_is_read() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::last(scratch.path()).unwrap(), None);
        checkpoint(1).write(scratch.path()).unwrap();
        assert_eq!(Checkpoint::last(scratch.path()).unwrap(), Some(checkpoint(1)));
        checkpoint(2).write(scratch.path()).unwrap();
        assert_eq!(Checkpoint::last(scratch.path()).unwrap(), Some(checkpoint(2)));
        assert_eq!(folders_in(scratch.path()).unwrap().len(), 1, "older checkpoints are removed");
    }

    #[test]
    fn a_checkpoint_with_a_flipped_bit_or_a_missing_file_is_ignored() {
        for file in ["model.arrow", "moments.arrow", "state.arrow", HISTORY, DIGEST] {
            for is_removed in [false, true] {
                let scratch = tempfile::tempdir().unwrap();
                checkpoint(4).write(scratch.path()).unwrap();
                let path = scratch.path().join("epoch-4").join(file);
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                if is_removed {
                    fs::remove_file(&path).unwrap()
                } else {
                    fs::write(&path, bytes).unwrap()
                }
                assert_eq!(Checkpoint::last(scratch.path()).unwrap(), None, "{file}");
            }
        }
    }
}
