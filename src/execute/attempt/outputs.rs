//! What a node writes: from the stage's output folders into the store, and comparison with an older record.

use std::collections::BTreeMap;

use dnc_cache::{Digest, FileEntry, Outputs, Store};
use dnc_stages::api::Job;
use dnc_stages::api::OutputArtifact;

use super::failure::Failure;
use super::inputs::EarlierOutputs;

/// Takes every declared output into the store.
pub(super) fn take_in(
    store: &Store,
    job: &dyn Job,
    mut written: BTreeMap<String, OutputArtifact>,
    earlier: &EarlierOutputs,
) -> Result<Outputs, Failure> {
    let mut outputs = Outputs::new();
    for output in job.ports().outputs {
        let Some(written) = written.remove(&output.name) else {
            if output.is_optional {
                continue;
            }
            return Err(Failure::Message(format!("It did not write its output `{}`", output.name)));
        };
        let facets = written.facets.into_iter().map(|(name, bytes)| (name, Digest::from_bytes(bytes))).collect();
        let mut kept = Vec::with_capacity(written.kept.len());
        for (name, earlier_name) in written.kept {
            let Some(entry) = earlier.entry(&output.name, &earlier_name) else {
                return Err(Failure::Message(format!(
                    "It kept the file `{earlier_name}` of an earlier run, which does not exist (this is a bug, please report it)"
                )));
            };
            kept.push(FileEntry { path: name, ..entry.clone() });
        }
        outputs.insert(output.name, store.ingest_beside(&written.folder, kept, facets)?);
    }
    Ok(outputs)
}

/// The first output, and facet or file of it, in which two results of one task differ.
pub(super) fn first_difference(old: &Outputs, new: &Outputs) -> Option<String> {
    for (name, new) in new {
        let Some(old) = old.get(name) else { return Some(name.clone()) };
        let facets = old.facets().keys().chain(new.facets().keys());
        if let Some(facet) = facets.filter(|&facet| old.facets().get(facet) != new.facets().get(facet)).min() {
            return Some(format!("{name}.{facet}"));
        }
        if old.digest() != new.digest() {
            let file = new.files().iter().find(|&file| !old.files().contains(file));
            return Some(file.map_or_else(|| name.clone(), |file| format!("{name}/{}", file.path)));
        }
    }
    None
}
