//! Derived records: costly parts of a report, kept in the store under a key of their own, so that a second report finds them.
//!
//! They are records like those of nodes, with a fingerprint that names what they were computed from. No run folder names them,
//! so `cache gc` may remove them at any time, and the next report computes them again.

use std::collections::BTreeMap;
use std::path::Path;

use dnc_cache::{Artifact, Digest, Record, Store};
use dnc_stages::ArtifactKind;
use dnc_stages::api::{Columns, InputFile};
use dnc_stages::tables::images::Images;
use serde_json::Value;

use super::error::PagesError;
use super::evidence::Evidence;
use crate::execute::attempt::verified_files;
use crate::fingerprint::Fingerprint;

/// Name of the single output of a derived record.
const OUTPUT: &str = "derived";

/// What a derived record is computed from.
#[derive(Clone, Debug)]
pub struct Derivation<'a> {
    /// What is computed, in place of a stage's name.
    pub name: &'static str,
    /// Raised whenever the computation gives other bytes.
    pub version: u32,
    /// Its parameters.
    pub params: Value,
    /// The artifacts that are read, with those of their facets that matter.
    pub inputs: &'a [(&'static str, &'a Artifact, &'a [&'static str])],
    /// Whether it computes floating-point numbers whose last bits depend on the machine.
    pub has_arithmetic: bool,
}

impl Derivation<'_> {
    fn fingerprint(&self) -> Fingerprint {
        let facets = |artifact: &Artifact, names: &[&str]| {
            let known = artifact.facets().iter().filter(|(name, _)| names.contains(&name.as_str()));
            known.map(|(name, digest)| (name.clone(), *digest)).collect::<BTreeMap<String, Digest>>()
        };
        let inputs =
            self.inputs.iter().map(|(port, artifact, names)| ((*port).to_owned(), vec![facets(artifact, names)]));
        Fingerprint {
            stage: self.name.to_owned(),
            version: self.version,
            params: self.params.clone(),
            inputs: inputs.collect(),
            sources: BTreeMap::new(),
            seed: None,
            round: None,
            learners: None,
            previous_learners: None,
            learner: None,
            arithmetic: self.has_arithmetic.then(|| dnc_kernels::arithmetic().to_owned()),
        }
    }

    /// The files of the record, which `make` writes into a folder if the store does not have them.
    ///
    /// # Errors
    /// `make` fails, or the store cannot be read or written.
    pub fn files(
        &self,
        store: &Store,
        make: impl FnOnce(&Path) -> Result<(), PagesError>,
    ) -> Result<Vec<InputFile>, PagesError> {
        let fingerprint = self.fingerprint();
        let key = fingerprint.key();
        let find = || -> Result<Option<Vec<InputFile>>, PagesError> {
            let Some(artifact) = store.outputs(&key)?.and_then(|mut outputs| outputs.remove(OUTPUT)) else {
                return Ok(None);
            };
            Ok(verified_files(store, &artifact)?.ok())
        };
        if let Some(files) = find()? {
            return Ok(files);
        }
        let claim = store.claim(&key, &|| false, &mut |_| {})?;
        // Another report may have computed it meanwhile.
        if let Some(files) = find()? {
            return Ok(files);
        }
        let folder = store.task_folder()?;
        make(folder.path())?;
        let artifact = store.ingest(folder.path(), BTreeMap::new())?;
        let fingerprint = serde_json::to_value(&fingerprint).map_err(PagesError::deriving(self.name))?;
        let outputs = BTreeMap::from([(OUTPUT.to_owned(), artifact.clone())]);
        store.commit(claim, Record { key, fingerprint, outputs })?;
        store.flush()?;
        let lost = || PagesError::deriving(self.name)("its files vanished from the store while they were written");
        verified_files(store, &artifact)?.map_err(|_| lost())
    }
}

/// What a derived record is computed from, where that is the images that a run evaluated.
#[derive(Clone, Debug)]
pub struct OfImages<'a> {
    /// As [`Derivation::name`].
    pub name: &'static str,
    /// As [`Derivation::version`].
    pub version: u32,
    /// As [`Derivation::params`].
    pub params: Value,
    /// The columns that are read.
    pub columns: &'a [&'static str],
    /// As [`Derivation::has_arithmetic`].
    pub has_arithmetic: bool,
}

impl OfImages<'_> {
    /// The files of the record, as [`Derivation::files`]; `None` if the store has neither them nor the pixels any more.
    ///
    /// # Errors
    /// `make` fails, the store cannot be read or written, or the table of images is damaged.
    pub fn files(
        self,
        evidence: &Evidence,
        make: impl FnOnce(&Images, &Path) -> Result<(), PagesError>,
    ) -> Result<Option<Vec<InputFile>>, PagesError> {
        let Self { name, version, params, columns, has_arithmetic } = self;
        let Some((node, output)) = evidence.images() else { return Ok(None) };
        let Some((store, artifact)) = evidence.store().zip(evidence.artifact(&node, &output)?) else { return Ok(None) };
        let inputs = [("images", &artifact, columns)];
        let derivation = Derivation { name, version, params, inputs: &inputs, has_arithmetic };
        let mut lost = false;
        let files = derivation.files(store, |folder| {
            let named = Columns::Named(columns.iter().map(|&column| column.to_owned()).collect());
            let Some(images) = evidence.open(&node, &output, ArtifactKind::Images, named, |_| true)? else {
                lost = true;
                return Err(PagesError::deriving(name)("the pixels are no longer in the store"));
            };
            make(&Images::open(&images)?, folder)
        });
        match files {
            Err(_) if lost => Ok(None),
            files => files.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    #[test]
    fn what_is_in_the_store_is_not_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let artifact = |bytes: &[u8]| {
            let facets =
                BTreeMap::from([("pixels".to_owned(), Digest::of(bytes)), ("other".to_owned(), Digest::of(b"o"))]);
            Artifact::new(Vec::new(), facets).unwrap()
        };
        let made = Cell::new(0);
        let check = |pixels: &[u8], side: u32, expected| {
            let artifact = artifact(pixels);
            let inputs = [("images", &artifact, &["pixels"][..])];
            let params = serde_json::json!({ "side": side });
            let derivation = Derivation { name: "test", version: 1, params, inputs: &inputs, has_arithmetic: false };
            let files = derivation.files(&store, |folder| {
                made.set(made.get() + 1);
                fs::write(folder.join("a"), b"text").unwrap();
                Ok(())
            });
            assert_eq!(fs::read(&files.unwrap()[0].path).unwrap(), b"text");
            assert_eq!(made.get(), expected);
        };
        check(b"1", 96, 1);
        check(b"1", 96, 1);
        check(b"2", 96, 2);
        check(b"1", 64, 3);
    }
}
