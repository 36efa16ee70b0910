//! Helpers for the tests of a store.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use dnc_cache::{Artifact, Claim, Digest, Key, ObjectName, Record, Store};
use serde_json::json;

/// Does what an executor does for a task that writes these files. The record is not yet durable.
pub(crate) fn compute(store: &Store, task: &str, files: &[(&str, &[u8])]) -> dnc_cache::Result<Record> {
    let claim = store.claim(&Key::of(task), &|| false, &mut |_| ())?;
    compute_claimed(store, claim, task, files)
}

/// Like [`compute`], with a claim that the caller already holds.
pub(crate) fn compute_claimed(
    store: &Store,
    claim: Claim,
    task: &str,
    files: &[(&str, &[u8])],
) -> dnc_cache::Result<Record> {
    let key = *claim.key();
    let artifact = ingest(store, task, files)?;
    let outputs = BTreeMap::from([("out".to_owned(), artifact)]);
    let record = Record { key, fingerprint: json!({ "task": task }), outputs };
    store.commit(claim, record.clone())?;
    Ok(record)
}

/// Ingests these files without committing a record.
pub(crate) fn ingest(store: &Store, task: &str, files: &[(&str, &[u8])]) -> dnc_cache::Result<Artifact> {
    let folder = store.task_folder()?;
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it is below a folder")).expect("the folder is private");
        fs::write(path, bytes).expect("the folder is private");
    }
    store.ingest(folder.path(), BTreeMap::from([("facet".to_owned(), Digest::of(task.as_bytes()))]))
}

pub(crate) fn blob_path(store: &Store, bytes: &[u8]) -> PathBuf {
    store.root().join(ObjectName::blob(&Digest::of(bytes)).as_str())
}

/// Overwrites a read-only object. If `unnoticed`, its modification time is kept, as with bit rot.
pub(crate) fn overwrite(path: &Path, bytes: &[u8], unnoticed: bool) -> io::Result<()> {
    let modified = fs::metadata(path)?.modified()?;
    let mut permissions = fs::metadata(path)?.permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "the file is the test's own")]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions)?;
    fs::write(path, bytes)?;
    if unnoticed { File::open(path)?.set_modified(modified) } else { Ok(()) }
}

/// The names of all files and folders at or below `folder`.
pub(crate) fn names_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return names };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        names.extend(names_below(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        names.push(name);
    }
    names.sort();
    names
}
