//! Embeddings of pictures outside of the run. They are kept in the store as derived records, under a key of the model, the way pictures
//! are prepared and the digests of the files, so that a folder is embedded once, whatever its files are called.
//!
//! Files are taken in chunks, each a record. A chunk ends after a file whose digest starts with a zero byte, every 256th on average,
//! so that a file that is added or removed changes one chunk and not all that follow.

use std::fs;
use std::path::{Path, PathBuf};

use dnc_cache::{Digest, SourceRules, Store};
use dnc_stages::tables::model::PARAMETERS;
use dnc_stages::tables::pictures::Raster;
use rayon::prelude::*;
use serde_json::json;

use super::error::SearchError;
use super::run_model::RunModel;
use crate::pages::PagesError;
use crate::pages::derived::Derivation;

/// Name of the derived record.
const NAME: &str = "file_embeddings";
/// Name of its file: vectors as little-endian `f32`, row by row; a row of NaN stands for a file that is no readable picture.
const FILE: &str = "vectors.f32";
/// The most files of a chunk.
const LONGEST: usize = 1024;
/// Pictures that are in memory at a time.
const BATCH: usize = 64;

/// What the embedding of a file depends on besides its bytes.
pub(super) struct FileEmbeddings<'a> {
    pub(super) store: &'a Store,
    pub(super) model: &'a RunModel,
}

impl FileEmbeddings<'_> {
    /// The vectors of files below `root`, `[files, dim]`; NaN where a file is no readable picture. `progress` hears how many are done.
    pub(super) fn vectors(
        &self,
        root: &Path,
        files: &[&PathBuf],
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<f32>, SearchError> {
        let digests = self.digests(root, files);
        let mut vectors = Vec::with_capacity(files.len() * self.model.dim());
        let mut start = 0;
        for end in chunk_ends(&digests) {
            vectors.extend(self.chunk(&files[start..end], &digests[start..end])?);
            start = end;
            progress(end, files.len());
        }
        Ok(vectors)
    }

    /// The digest of each file; that of no bytes for a file that cannot be read. Unchanged files are not read again.
    fn digests(&self, root: &Path, files: &[&PathBuf]) -> Vec<Digest> {
        let index = self.store.index();
        let rules = SourceRules { is_data: true, ..SourceRules::default() };
        // A folder with an entry that cannot be indexed is searched all the same.
        let indexed = index.digest_path_with_progress(root, &rules, &|_, _| Ok(()));
        let indexed = indexed.and_then(|_| index.indexed_files(root)).unwrap_or_default();
        let digest = |path: &&PathBuf| {
            let known = path.strip_prefix(root).ok().and_then(|relative| indexed.digest(relative));
            known.unwrap_or_else(|| Digest::of(&fs::read(path).unwrap_or_default()))
        };
        files.par_iter().map(digest).collect()
    }

    fn chunk(&self, files: &[&PathBuf], digests: &[Digest]) -> Result<Vec<f32>, SearchError> {
        let names: String = digests.iter().map(|digest| format!("{digest}\n")).collect();
        let derivation = Derivation {
            name: NAME,
            version: 1,
            params: json!({
                "files": Digest::of(names.as_bytes()).to_string(),
                "merged": self.model.merged(),
                "picture": self.model.picture(),
            }),
            inputs: &[("model", self.model.stored(), &[PARAMETERS])],
            has_arithmetic: true,
        };
        let found = derivation.files(self.store, |folder| {
            let vectors = self.embed(files).map_err(|error| PagesError::deriving(NAME)(error))?;
            let bytes: Vec<u8> = vectors.iter().flat_map(|value| value.to_le_bytes()).collect();
            let path = folder.join(FILE);
            fs::write(&path, bytes).map_err(|source| PagesError::Write { path, source })
        })?;
        let path = found.into_iter().next().map(|file| file.path);
        let path = path.ok_or_else(|| PagesError::deriving(NAME)("the record is empty"))?;
        let bytes = fs::read(&path).map_err(|source| PagesError::Read { path, source })?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }

    fn embed(&self, files: &[&PathBuf]) -> Result<Vec<f32>, SearchError> {
        let dim = self.model.dim();
        let mut vectors = vec![f32::NAN; files.len() * dim];
        for (files, rows) in files.chunks(BATCH).zip(vectors.chunks_mut(BATCH * dim)) {
            let decode = |path: &&PathBuf| self.model.decode(&fs::read(path).ok()?).ok();
            let decoded: Vec<Option<Raster>> = files.par_iter().map(decode).collect();
            let is_picture: Vec<bool> = decoded.iter().map(Option::is_some).collect();
            let pictures: Vec<Raster> = decoded.into_iter().flatten().collect();
            let embedded = self.model.embed(&pictures)?;
            let rows = rows.chunks_exact_mut(dim).zip(is_picture).filter_map(|(row, is_one)| is_one.then_some(row));
            for (row, vector) in rows.zip(embedded.chunks_exact(dim)) {
                row.copy_from_slice(vector);
            }
        }
        Ok(vectors)
    }
}

/// The positions at which chunks end, the last included.
fn chunk_ends(digests: &[Digest]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut start = 0;
    for (position, digest) in digests.iter().enumerate() {
        let end = position + 1;
        if digest.to_string().starts_with("00") || end - start == LONGEST || end == digests.len() {
            ends.push(end);
            start = end;
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_more_changes_one_chunk() {
        let digests: Vec<Digest> = (0..5000u32).map(|file| Digest::of(&file.to_le_bytes())).collect();
        let chunks = |digests: &[Digest]| {
            let ends = chunk_ends(digests);
            let starts = std::iter::once(0).chain(ends.iter().copied());
            starts.zip(&ends).map(|(start, &end)| digests[start..end].to_vec()).collect::<Vec<_>>()
        };
        let before = chunks(&digests);
        assert!(before.len() > 10 && before.iter().all(|chunk| chunk.len() <= LONGEST));
        assert_eq!(before.concat(), digests);
        let mut more = digests.clone();
        more.insert(1234, Digest::of(b"new"));
        let after = chunks(&more);
        assert_eq!(after.iter().filter(|chunk| !before.contains(chunk)).count(), 1);
        assert!(chunk_ends(&[]).is_empty());
    }
}
