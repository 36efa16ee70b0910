//! Stores that earlier versions wrote. One of each format is kept in `fixtures/stores`; its `make.py` says how they are made.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use dnc_cache::{Store, StoreFormat};
use tempfile::TempDir;

/// What each of the two records of a fixture holds in `text`.
const TEXTS: [&str; 2] = ["FIRST\n", "first\n"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stores")
}

/// A copy of the fixture of a format, in a temp folder.
fn fixture(version: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (fixtures().join(version), folder.path().join("store"));
    for file in files_below(&from) {
        let to = to.join(file.strip_prefix(&from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
    (folder, to)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// The line in the `format` file of a new store.
fn current_format() -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    drop(Store::open(&root).unwrap());
    fs::read_to_string(root.join("format")).unwrap()
}

#[test]
fn a_store_of_each_format_opens_with_all_that_it_holds() {
    let current = current_format();
    for version in ["1", "2", "3"] {
        let (folder, root) = fixture(version);
        let store = Store::open(&root).unwrap();
        assert_eq!(fs::read_to_string(root.join("format")).unwrap(), current, "format {version}");
        let mut texts = Vec::new();
        for entry in store.ls().unwrap().records {
            let to = folder.path().join(entry.record.key.to_string());
            store.materialise(&entry.record.outputs["text"], &to).unwrap();
            assert_eq!(fs::read_to_string(to.join("same")).unwrap(), "same\n", "format {version}");
            texts.push(fs::read_to_string(to.join("text")).unwrap());
        }
        texts.sort();
        assert_eq!(texts, TEXTS, "format {version}");
        assert!(store.verify(&|_, _| ()).unwrap().is_clean(), "format {version}");
    }
}

#[test]
fn the_current_format_has_a_fixture() {
    let current = current_format();
    let version = current.trim_end().strip_prefix("dnc-store ").unwrap();
    let kept = fs::read_to_string(fixtures().join(version).join("format"));
    assert_eq!(kept.ok(), Some(current.clone()), "add a fixture of format {version} with `make.py`");
}

#[test]
fn a_newer_store_is_refused_in_one_sentence_and_not_changed() {
    let (_folder, root) = fixture("3");
    fs::write(root.join("format"), "dnc-store 4\n").unwrap();
    let before = files_below(&root);
    assert_eq!(Store::format_of(&root).unwrap(), StoreFormat::Unknown("dnc-store 4".to_owned()));
    let message = Store::open(&root).unwrap_err().to_string();
    let expected =
        format!("The store `{}` has format `dnc-store 4`, but this version reads `dnc-store 3`", root.display());
    assert_eq!(message, expected);
    assert_eq!(files_below(&root), before);
}
