//! A store in one process: objects come out as they went in, and damaged ones never do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{blob_path, compute, ingest, names_below, overwrite};
use dnc_cache::{Blob, CacheError, DanglingRecord, Digest, GcPolicy, Key, Listing, ObjectName, Record, Store};
use tempfile::TempDir;

fn new_store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    (folder, store)
}

/// Opens the same store again, as the next process does.
fn reopen(store: Store) -> Store {
    store.flush().unwrap();
    let root = store.root().to_owned();
    drop(store);
    Store::open(root).unwrap()
}

fn pack_path(store: &Store) -> PathBuf {
    store.root().join("records/pack")
}

fn present(store: &Store, record: &Record) -> bool {
    store.present(&record.outputs["out"]).unwrap()
}

mod opening {
    use super::*;

    fn message(root: &Path) -> String {
        let error = Store::open(root).unwrap_err();
        error.to_string().replace(root.to_str().unwrap(), "ROOT")
    }

    #[test]
    fn a_file_is_not_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(message(&file), "The store `ROOT` is not a folder");
    }

    #[test]
    fn a_folder_with_other_files_is_not_written_into() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        assert_eq!(message(folder.path()), "The folder `ROOT` is not a store and is not empty");
        assert_eq!(names_below(folder.path()), ["thesis.tex"]);
    }

    #[test]
    fn a_newer_store_is_refused_and_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("format"), "dnc-store 4\n").unwrap();
        assert_eq!(
            message(folder.path()),
            "The store `ROOT` has format `dnc-store 4`, but this version reads `dnc-store 3`"
        );
        assert_eq!(names_below(folder.path()), ["format"]);
    }

    #[test]
    fn format_1_with_a_file_per_record_is_upgraded() {
        let (_folder, store) = new_store();
        let records = ["a", "b"].map(|task| compute(&store, task, &[("x", task.as_bytes())]).unwrap());
        store.flush().unwrap();
        let root = store.root().to_owned();
        drop(store);
        let packed = fs::read_to_string(root.join("records/pack")).unwrap();
        fs::remove_file(root.join("records/pack")).unwrap();
        // Between the records are notes of their uses.
        let lines: Vec<&str> = packed.split_inclusive('\n').collect();
        for record in &records {
            let own = |pair: &&[&str]| pair[0].contains(&format!(r#""key":"{}""#, record.key));
            let pair = lines.chunks(2).find(own).expect("it was flushed");
            let path = with_two_digits(&root.join(ObjectName::record(&record.key).as_str()));
            fs::write(path, pair.concat()).unwrap();
        }
        fs::remove_file(root.join("format")).unwrap();
        fs::write(root.join("format"), "dnc-store 1\n").unwrap();
        let store = Store::open(&root).unwrap();
        for record in records {
            assert_eq!(store.record(&record.key).unwrap(), Some(record));
        }
        assert!(store.verify(&|_, _| ()).unwrap().is_clean());
        assert_eq!(fs::read_to_string(root.join("format")).unwrap(), "dnc-store 3\n");
    }

    #[test]
    fn format_2_with_folders_of_two_digits_is_upgraded() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"1"), ("y", b"2")]).unwrap();
        store.flush().unwrap();
        store.drop_blobs([&Digest::of(b"2")]).unwrap();
        let root = store.root().to_owned();
        let before = names_below(&root);
        let in_place = |names: &[String]| -> Vec<String> {
            let objects = names.iter().filter(|name| name.starts_with("blobs/") || name.starts_with("dropped/"));
            objects.filter(|name| name.split('/').count() > 2).cloned().collect()
        };
        let dropped = before.iter().rfind(|name| name.starts_with("dropped/")).unwrap();
        for path in [blob_path(&store, b"1"), root.join(dropped)] {
            fs::rename(&path, with_two_digits(&path)).unwrap();
            fs::remove_dir(path.parent().unwrap()).unwrap();
        }
        drop(store);
        fs::remove_file(root.join("format")).unwrap();
        fs::write(root.join("format"), "dnc-store 2\n").unwrap();
        let store = Store::open(&root).unwrap();
        assert_eq!(in_place(&names_below(&root)), in_place(&before));
        assert_eq!(store.record(&record.key).unwrap(), Some(record));
        assert!(store.verify(&|_, _| ()).unwrap().is_clean());
        assert_eq!(fs::read_to_string(root.join("format")).unwrap(), "dnc-store 3\n");
    }

    /// The path of an object in older formats. Creates its folder.
    fn with_two_digits(path: &Path) -> PathBuf {
        let name = path.file_name().unwrap();
        let folder = path.ancestors().nth(2).unwrap().join(&name.to_str().unwrap()[..2]);
        fs::create_dir_all(&folder).unwrap();
        folder.join(name)
    }

    #[test]
    fn an_older_store_is_not_upgraded_while_it_is_in_use() {
        let (_folder, store) = new_store();
        let root = store.root().to_owned();
        let format = root.join("format");
        fs::remove_file(&format).unwrap();
        fs::write(&format, "dnc-store 1\n").unwrap();
        assert_eq!(
            message(&root),
            "The store `ROOT` of format `dnc-store 1` is in use by an older version and can be upgraded once that process has ended",
            "a process has it open that may not know the pack"
        );
        drop(store);
        Store::open(&root).unwrap();
        assert_eq!(fs::read_to_string(format).unwrap(), "dnc-store 3\n");
    }

    #[test]
    fn concurrent_upgrades_wait_for_each_other() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"1")]).unwrap();
        store.flush().unwrap();
        let root = store.root().to_owned();
        let path = blob_path(&store, b"1");
        drop(store);
        // The second format is that of an interrupted upgrade.
        for format in ["dnc-store 2\n", "dnc-store 3, being upgraded\n"] {
            fs::rename(&path, with_two_digits(&path)).unwrap();
            fs::remove_file(root.join("format")).unwrap();
            fs::write(root.join("format"), format).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| assert!(present(&Store::open(&root).unwrap(), &record)));
                }
            });
        }
    }

    #[test]
    fn a_store_that_was_copied_without_its_empty_folders_can_be_opened() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"1")]).unwrap();
        let root = store.root().to_owned();
        store.flush().unwrap();
        drop(store);
        for folder in ["claims", "scratch", "index", "tmp"] {
            fs::remove_dir_all(root.join(folder)).unwrap();
        }
        let store = Store::open(&root).unwrap();
        assert!(present(&store, &record));
        compute(&store, "b", &[("x", b"2")]).unwrap();
        store.flush().unwrap();
        store.gc(&GcPolicy::default()).unwrap();
    }

    #[test]
    fn an_interrupted_creation_is_completed() {
        let (_folder, store) = new_store();
        let root = store.root().to_owned();
        drop(store);
        fs::remove_file(root.join("format")).unwrap();
        let store = Store::open(&root).unwrap();
        compute(&store, "a", &[("x", b"1")]).unwrap();
        store.flush().unwrap();
    }

    #[test]
    fn a_closed_store_contains_no_temporary_files() {
        let (_folder, store) = new_store();
        compute(&store, "a", &[("x", b"1"), ("deep/y", b"2")]).unwrap();
        let root = store.root().to_owned();
        drop(store);
        for folder in ["tmp", "claims", "scratch", "quarantine"] {
            assert_eq!(names_below(&root.join(folder)), [""; 0], "{folder}");
        }
    }
}

mod commits {
    use super::*;

    #[test]
    fn a_record_can_be_looked_up_at_once_and_after_reopening() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"1"), ("deep/y", b"22")]).unwrap();
        assert_eq!(store.record(&record.key).unwrap().as_ref(), Some(&record));
        let store = reopen(store);
        assert_eq!(store.record(&record.key).unwrap().as_ref(), Some(&record));
        assert_eq!(store.outputs(&record.key).unwrap().as_ref(), Some(&record.outputs));
        assert!(store.outputs(&Key::of("b")).unwrap().is_none());
        assert!(present(&store, &record));
        assert_eq!(store.blob(&Digest::of(b"22")).unwrap(), Blob::Present(blob_path(&store, b"22")));
        assert_eq!(store.blob(&Digest::of(b"3")).unwrap(), Blob::Missing);
    }

    #[test]
    fn the_claim_is_kept_until_other_processes_can_find_the_record() {
        let (_folder, store) = new_store();
        let other = Store::open(store.root()).unwrap();
        let record = compute(&store, "a", &[("x", b"1")]).unwrap();
        drop(other.claim(&record.key, &|| false, &mut |_| ()).unwrap());
        assert_eq!(other.record(&record.key).unwrap(), Some(record));
    }

    #[test]
    fn more_records_than_fit_into_the_queue() {
        let (_folder, store) = new_store();
        let tasks: Vec<String> = (0..200).map(|task| format!("task {task}")).collect();
        let records: Vec<_> = tasks.iter().map(|task| compute(&store, task, &[]).unwrap()).collect();
        let store = reopen(store);
        for record in records {
            assert_eq!(store.record(&record.key).unwrap(), Some(record));
        }
    }

    #[test]
    fn a_record_with_missing_blobs_is_refused_and_others_are_committed() {
        let (_folder, store) = new_store();
        let (good, bad) = (Key::of("good"), Key::of("bad"));
        let artifact = ingest(&store, "bad", &[("x", b"1")]).unwrap();
        fs::remove_file(blob_path(&store, b"1")).unwrap();
        let claim = store.try_claim(&bad).unwrap().unwrap();
        let outputs = BTreeMap::from([("out".to_owned(), artifact)]);
        store.commit(claim, Record { key: bad, fingerprint: serde_json::Value::Null, outputs }).unwrap();
        compute(&store, "good", &[("x", b"2")]).unwrap();
        let error = store.flush().unwrap_err();
        assert_eq!(error.to_string(), "Could not commit 1 record to the store");
        let CacheError::Commit { keys, source } = error else { panic!("{error:?}") };
        assert_eq!(keys, [bad]);
        assert!(matches!(*source, CacheError::Absent { digest } if digest == Digest::of(b"1")));
        assert!(store.record(&bad).unwrap().is_none());
        assert!(store.record(&good).unwrap().is_some());
        store.flush().unwrap();
        assert!(store.try_claim(&bad).unwrap().is_some(), "the claim is free again");
    }

    #[test]
    fn a_scratch_folder_is_kept_until_the_record_is_durable() {
        let (_folder, store) = new_store();
        let key = Key::of("a");
        fs::write(store.scratch(&key).unwrap().join("epoch-1"), "weights").unwrap();
        let store = reopen(store);
        assert_eq!(fs::read(store.scratch(&key).unwrap().join("epoch-1")).unwrap(), b"weights");
        compute(&store, "a", &[("x", b"1")]).unwrap();
        store.flush().unwrap();
        assert_eq!(names_below(&store.root().join("scratch")), [""; 0]);
    }
}

mod folders {
    use super::*;

    #[test]
    fn ingest_moves_all_files_without_copying() {
        let (_folder, store) = new_store();
        let folder = store.task_folder().unwrap();
        fs::create_dir_all(folder.path().join("deep/empty")).unwrap();
        fs::write(folder.path().join("deep/y"), "yy").unwrap();
        fs::write(folder.path().join("x"), "x").unwrap();
        let inode = fs::metadata(folder.path().join("x")).unwrap().ino();
        let facets = BTreeMap::from([("id".to_owned(), Digest::of(b"ids"))]);
        let artifact = store.ingest(folder.path(), facets.clone()).unwrap();
        let files: Vec<_> = artifact.files().iter().map(|file| (file.path.as_str(), file.size, file.digest)).collect();
        assert_eq!(files, [("deep/y", 2, Digest::of(b"yy")), ("x", 1, Digest::of(b"x"))]);
        assert_eq!(*artifact.facets(), facets);
        assert_eq!(names_below(folder.path()), ["deep", "deep/empty"]);
        let blob = fs::metadata(blob_path(&store, b"x")).unwrap();
        assert_eq!((blob.ino(), blob.permissions().mode() & 0o777), (inode, 0o444));
    }

    #[test]
    fn equal_bytes_are_stored_once() {
        let (_folder, store) = new_store();
        compute(&store, "a", &[("x", b"same")]).unwrap();
        store.flush().unwrap();
        let inode = || fs::metadata(blob_path(&store, b"same")).unwrap().ino();
        let before = inode();
        compute(&store, "b", &[("y", b"same"), ("z", b"same")]).unwrap();
        store.flush().unwrap();
        assert_eq!(inode(), before);
        assert_eq!(store.ls().unwrap().blobs, 1);
    }

    #[test]
    fn blobs_that_another_process_is_about_to_commit_are_not_replaced() {
        let (_folder, store) = new_store();
        let other = Store::open(store.root()).unwrap();
        let artifact = ingest(&store, "a", &[("x", b"same")]).unwrap();
        let inode = || fs::metadata(blob_path(&store, b"same")).unwrap().ino();
        let before = inode();
        let record = compute(&other, "b", &[("y", b"same")]).unwrap();
        other.flush().unwrap();
        assert_eq!(inode(), before, "the bytes that are made durable are those that the other process has hashed");
        assert!(store.present(&artifact).unwrap());
        assert!(present(&other, &record));
    }

    #[test]
    fn a_folder_outside_the_store_can_be_ingested() {
        let (folder, store) = new_store();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("x"), "x").unwrap();
        let artifact = store.ingest(&outside, BTreeMap::new()).unwrap();
        assert!(store.present(&artifact).unwrap());
        assert_eq!(names_below(&outside), [""; 0]);
    }

    #[test]
    fn links_and_names_that_are_not_utf8_are_refused() {
        let (_folder, store) = new_store();
        let folder = store.task_folder().unwrap();
        symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let error = store.ingest(folder.path(), BTreeMap::new()).unwrap_err();
        assert!(matches!(error, CacheError::NotAFile { path } if path.ends_with("link")));
        fs::remove_file(folder.path().join("link")).unwrap();
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        let error = store.ingest(folder.path(), BTreeMap::new()).unwrap_err();
        assert!(matches!(error, CacheError::NotUtf8 { .. }));
    }

    #[test]
    fn materialise_restores_an_artifact() {
        let (folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"1"), ("deep/y", b"22"), ("deep/z", b"22")]).unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("x"), "an existing file").unwrap();
        for _ in 0..2 {
            store.materialise(&record.outputs["out"], &out).unwrap();
            assert_eq!(names_below(&out), ["deep", "deep/y", "deep/z", "x"]);
            assert_eq!(fs::read(out.join("x")).unwrap(), b"1");
            assert_eq!(fs::read(out.join("deep/z")).unwrap(), b"22");
            assert_eq!(fs::metadata(out.join("x")).unwrap().permissions().mode() & 0o777, 0o444);
        }
        fs::remove_file(blob_path(&store, b"22")).unwrap();
        let error = store.materialise(&record.outputs["out"], &out).unwrap_err();
        assert!(matches!(error, CacheError::Absent { digest } if digest == Digest::of(b"22")));
    }

    #[test]
    fn writing_to_a_materialised_file_never_corrupts_the_store_unnoticed() {
        let (folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"good")]).unwrap();
        store.flush().unwrap();
        let out = folder.path().join("out");
        store.materialise(&record.outputs["out"], &out).unwrap();
        overwrite(&out.join("x"), b"evil", false).unwrap();
        // A hard link shares the store's bytes, a clone or copy does not. In neither case may the store return the evil bytes.
        if fs::metadata(out.join("x")).unwrap().ino() == fs::metadata(blob_path(&store, b"good")).unwrap().ino() {
            assert!(!present(&store, &record));
        }
        compute(&store, "a", &[("x", b"good")]).unwrap();
        store.materialise(&record.outputs["out"], &out).unwrap();
        assert_eq!(fs::read(out.join("x")).unwrap(), b"good");
    }
}

mod damage {
    use super::*;

    /// Flips a bit in the record of a task.
    fn damage(store: &Store, task: &str) {
        let mut bytes = fs::read(pack_path(store)).unwrap();
        let key = format!("{{\"key\":\"{}\"", Key::of(task));
        let start = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap();
        bytes[start + 100] ^= 1;
        fs::write(pack_path(store), bytes).unwrap();
    }

    #[test]
    fn a_write_to_a_blob_is_detected_without_reading_it() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"good")]).unwrap();
        let store = reopen(store);
        overwrite(&blob_path(&store, b"good"), b"goof", false).unwrap();
        assert!(!present(&store, &record));
        let name = ObjectName::blob(&Digest::of(b"good"));
        assert_eq!(store.take_quarantined(), std::slice::from_ref(&name));
        assert_eq!(fs::read(store.root().join("quarantine").join(name.as_str())).unwrap(), b"goof");
        assert_eq!(store.blob(&Digest::of(b"good")).unwrap(), Blob::Missing);
    }

    #[test]
    fn bit_rot_is_detected_when_the_blob_is_read() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"good")]).unwrap();
        let store = reopen(store);
        overwrite(&blob_path(&store, b"good"), b"goof", true).unwrap();
        assert!(present(&store, &record), "the metadata have not changed");
        assert_eq!(store.blob(&Digest::of(b"good")).unwrap(), Blob::Damaged);
        assert!(!present(&store, &record));
        assert_eq!(store.take_quarantined().len(), 1);
        // The task is computed again and gives the same record.
        assert_eq!(compute(&store, "a", &[("x", b"good")]).unwrap(), record);
        assert!(matches!(store.blob(&Digest::of(b"good")).unwrap(), Blob::Present(_)));
    }

    #[test]
    fn a_write_to_a_verified_blob_is_detected() {
        let (_folder, store) = new_store();
        compute(&store, "a", &[("x", b"good")]).unwrap();
        store.flush().unwrap();
        assert!(matches!(store.blob(&Digest::of(b"good")).unwrap(), Blob::Present(_)));
        overwrite(&blob_path(&store, b"good"), b"goof", false).unwrap();
        assert_eq!(store.blob(&Digest::of(b"good")).unwrap(), Blob::Damaged);
    }

    #[test]
    fn a_touched_blob_is_intact_and_sealed_again() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"good")]).unwrap();
        store.flush().unwrap();
        let modified = || fs::metadata(blob_path(&store, b"good")).unwrap().modified().unwrap();
        File::open(blob_path(&store, b"good")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(present(&store, &record));
        let sealed = modified();
        assert_ne!(sealed, SystemTime::UNIX_EPOCH);
        let store = reopen(store);
        assert!(present(&store, &record));
        assert_eq!(store.take_quarantined(), []);
    }

    #[test]
    fn a_truncated_blob_is_detected() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"good")]).unwrap();
        store.flush().unwrap();
        overwrite(&blob_path(&store, b"good"), b"", true).unwrap();
        assert!(!present(&store, &record));
    }

    #[test]
    fn a_record_with_a_damaged_blob_is_not_committed() {
        let (_folder, store) = new_store();
        let artifact = ingest(&store, "a", &[("x", b"good")]).unwrap();
        overwrite(&blob_path(&store, b"good"), b"goof", false).unwrap();
        let claim = store.try_claim(&Key::of("a")).unwrap().unwrap();
        let outputs = BTreeMap::from([("out".to_owned(), artifact)]);
        store.commit(claim, Record { key: Key::of("a"), fingerprint: serde_json::Value::Null, outputs }).unwrap();
        assert!(store.flush().is_err());
        assert!(store.record(&Key::of("a")).unwrap().is_none());
    }

    #[test]
    fn a_damaged_record_counts_as_absent() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"1")]).unwrap();
        let store = reopen(store);
        let other = compute(&store, "b", &[("x", b"2")]).unwrap();
        let store = reopen(store);
        damage(&store, "a");
        assert!(store.record(&record.key).unwrap().is_none());
        assert_eq!(store.take_quarantined(), [ObjectName::record(&record.key)]);
        assert_eq!(store.record(&other.key).unwrap().as_ref(), Some(&other), "other records are kept");
        assert_eq!(compute(&store, "a", &[("x", b"1")]).unwrap(), record);
        let store = reopen(store);
        assert_eq!(store.record(&record.key).unwrap(), Some(record));
        assert_eq!(store.record(&other.key).unwrap(), Some(other));
    }

    #[test]
    fn an_incomplete_record_at_the_end_of_the_pack_is_truncated() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"1")]).unwrap();
        let store = reopen(store);
        let whole = fs::read(pack_path(&store)).unwrap();
        for cut in [1, 40, whole.len() / 2, whole.len() - 1] {
            let mut pack = File::options().append(true).open(pack_path(&store)).unwrap();
            pack.write_all(&whole[..cut]).unwrap();
            let other = Store::open(store.root()).unwrap();
            assert_eq!(other.record(&record.key).unwrap().as_ref(), Some(&record));
            assert!(other.verify(&|_, _| ()).unwrap().is_clean());
            let next = compute(&other, &format!("after {cut}"), &[("x", b"2")]).unwrap();
            let other = reopen(other);
            assert_eq!(other.record(&record.key).unwrap().as_ref(), Some(&record));
            assert_eq!(other.record(&next.key).unwrap().as_ref(), Some(&next));
            assert_eq!(
                store.record(&next.key).unwrap(),
                Some(next),
                "a process that read the pack before sees the new record"
            );
            assert!(other.verify(&|_, _| ()).unwrap().is_clean());
        }
    }

    #[test]
    fn verify_finds_every_kind_of_damage() {
        let (_folder, store) = new_store();
        for (task, bytes) in [("whole", b"1"), ("rotten", b"2"), ("gone", b"3"), ("damaged", b"4")] {
            compute(&store, task, &[("x", bytes)]).unwrap();
        }
        let store = reopen(store);
        assert!(store.verify(&|_, _| ()).unwrap().is_clean());
        overwrite(&blob_path(&store, b"2"), b"5", true).unwrap();
        fs::remove_file(blob_path(&store, b"3")).unwrap();
        let damaged = ObjectName::record(&Key::of("damaged"));
        damage(&store, "damaged");
        let stray = ObjectName::new("blobs/no-digest").unwrap();
        fs::write(store.root().join(stray.as_str()), "stray").unwrap();

        let progress = std::sync::Mutex::new((0, 0));
        let on_progress = |done, total| {
            let mut progress = progress.lock().unwrap();
            *progress = (done, total).max(*progress);
        };
        let report = store.verify(&on_progress).unwrap();
        assert_eq!(*progress.lock().unwrap(), (8, 8));
        assert_eq!((report.blobs, report.bytes, report.records), (4, 8, 4));
        let quarantined: HashSet<_> = report.quarantined.into_iter().collect();
        assert_eq!(quarantined, HashSet::from([ObjectName::blob(&Digest::of(b"2")), damaged, stray]));
        let mut dangling = [("rotten", b"2"), ("gone", b"3")]
            .map(|(task, bytes)| DanglingRecord { key: Key::of(task), missing: vec![Digest::of(bytes)] });
        dangling.sort();
        assert_eq!(report.dangling, dangling);
        assert_eq!(store.ls().unwrap().quarantine.len(), 3);
        assert!(store.verify(&|_, _| ()).unwrap().is_clean(), "the dangling records were removed");
        assert!(
            store.record(&Key::of("gone")).unwrap().is_none() && store.record(&Key::of("whole")).unwrap().is_some()
        );
    }
}

mod gc {
    use super::*;

    /// A store with records of these tasks, last used the given number of days ago. Only the caller has it open.
    fn aged_store(tasks: &[(&str, &[u8], u64)]) -> (TempDir, Store) {
        let (folder, store) = new_store();
        for (task, bytes, _) in tasks {
            compute(&store, task, &[("x", bytes)]).unwrap();
        }
        store.flush().unwrap();
        let now =
            fs::metadata(folder.path()).unwrap().modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        for (task, _, days) in tasks {
            let used =
                serde_json::json!({ "used": now.as_secs() - days * 24 * 3600, "keys": [Key::of(task)] }).to_string();
            let pair = format!("{used}\n\"blake3:{}\"\n", Digest::of(used.as_bytes()));
            let mut pack = File::options().append(true).open(pack_path(&store)).unwrap();
            pack.write_all(pair.as_bytes()).unwrap();
        }
        let store = reopen(store);
        (folder, store)
    }

    fn keys(tasks: &[&str]) -> HashSet<Key> {
        tasks.iter().map(|task| Key::of(task)).collect()
    }

    fn remaining(store: &Store) -> (HashSet<Key>, u64) {
        let Listing { records, blobs, .. } = store.ls().unwrap();
        (records.into_iter().map(|entry| entry.record.key).collect(), blobs)
    }

    #[test]
    fn kept_records_keep_their_blobs() {
        let (_folder, store) = aged_store(&[("kept", b"1", 9), ("shares", b"1", 9), ("other", b"22", 9)]);
        let policy = GcPolicy { keep: keys(&["kept"]), dry_run: true, ..GcPolicy::default() };
        let dry_run = store.gc(&policy).unwrap();
        assert_eq!(remaining(&store), (keys(&["kept", "shares", "other"]), 2));
        let report = store.gc(&GcPolicy { dry_run: false, ..policy }).unwrap();
        assert_eq!(report, dry_run);
        assert_eq!(report.records.iter().copied().collect::<HashSet<_>>(), keys(&["shares", "other"]));
        assert_eq!((report.blobs, report.bytes, report.kept_records, report.kept_bytes), (1, 2, 1, 1));
        assert_eq!(remaining(&store), (keys(&["kept"]), 1));
        assert!(store.verify(&|_, _| ()).unwrap().is_clean());
    }

    #[test]
    fn the_age_of_a_record_counts_from_its_last_use() {
        let (_folder, store) =
            aged_store(&[("old", b"1", 40), ("used", b"2", 40), ("young", b"3", 5), ("kept", b"4", 99)]);
        assert!(store.record(&Key::of("used")).unwrap().is_some());
        let older_than = Some(Duration::from_secs(30 * 24 * 3600));
        let report = store.gc(&GcPolicy { keep: keys(&["kept"]), older_than, ..GcPolicy::default() }).unwrap();
        assert_eq!(report.records, [Key::of("old")]);
        assert_eq!(remaining(&store), (keys(&["used", "young", "kept"]), 3));
    }

    #[test]
    fn the_least_recently_used_records_are_removed_until_the_rest_fits() {
        let tasks: &[(&str, &[u8], u64)] =
            &[("a", b"4444", 4), ("b", b"333", 3), ("c", b"22", 2), ("also b", b"333", 1)];
        let (_folder, store) = aged_store(tasks);
        let report = store.gc(&GcPolicy { max_size: Some(5), ..GcPolicy::default() }).unwrap();
        assert_eq!(report.records, [Key::of("a")]);
        let report = store.gc(&GcPolicy { max_size: Some(4), ..GcPolicy::default() }).unwrap();
        assert_eq!(report.records, [Key::of("b"), Key::of("c")], "the blob of `b` is kept for `also b`");
        assert_eq!(report.kept_bytes, 3);
    }

    #[test]
    fn dropped_blobs_take_no_space() {
        let (_folder, store) = aged_store(&[("a", b"1", 3), ("b", b"333", 2), ("c", b"55555", 1)]);
        assert_eq!(store.drop_blobs(&[Digest::of(b"55555")]).unwrap(), 5);
        let report = store.gc(&GcPolicy { max_size: Some(4), ..GcPolicy::default() }).unwrap();
        assert_eq!((report.records.len(), report.kept_records, report.kept_bytes), (0, 3, 4));
        let report = store.gc(&GcPolicy { max_size: Some(3), ..GcPolicy::default() }).unwrap();
        assert_eq!((report.records, report.kept_bytes), (vec![Key::of("a")], 3));
    }

    #[test]
    fn blobs_without_a_record_are_removed() {
        let (_folder, store) = new_store();
        ingest(&store, "killed before its commit", &[("x", b"1"), ("y", b"2")]).unwrap();
        let store = reopen(store);
        let listing = store.ls().unwrap();
        assert_eq!((listing.unreferenced_blobs, listing.unreferenced_bytes), (2, 2));
        assert_eq!((store.gc(&GcPolicy::default()).unwrap().blobs, remaining(&store).1), (2, 0));
    }

    #[test]
    fn what_a_living_process_created_or_used_is_kept() {
        let (_folder, store) = aged_store(&[("old", b"1", 9), ("used", b"2", 9)]);
        let other = Store::open(store.root()).unwrap();
        other.record(&Key::of("used")).unwrap();
        compute(&other, "made", &[("x", b"3")]).unwrap();
        other.flush().unwrap();
        let artifact = ingest(&other, "under way", &[("x", b"4"), ("y", b"1")]).unwrap();
        let folder = other.task_folder().unwrap();
        let report = store.gc(&GcPolicy::default()).unwrap();
        assert_eq!(report.records, [Key::of("old")]);
        assert_eq!((report.blobs, report.temporary), (0, 0), "even the blob of `old` is in use again");
        assert!(folder.path().exists());
        assert!(other.present(&artifact).unwrap());
    }

    #[test]
    fn files_of_dead_processes_are_removed() {
        let (_folder, store) = aged_store(&[("done", b"1", 0)]);
        let root = store.root();
        fs::create_dir_all(root.join("tmp/123-abc.task-0/deep")).unwrap();
        fs::write(root.join("tmp/123-abc.task-0/deep/half"), "half").unwrap();
        fs::write(root.join("tmp/123-abc.alive"), "").unwrap();
        File::create(root.join("claims").join(Key::of("dead").to_string())).unwrap();
        for task in ["done", "interrupted"] {
            fs::write(store.scratch(&Key::of(task)).unwrap().join("checkpoint"), "").unwrap();
        }
        let held = store.try_claim(&Key::of("living")).unwrap().unwrap();
        let report = store.gc(&GcPolicy { keep: keys(&["done"]), ..GcPolicy::default() }).unwrap();
        assert_eq!((report.temporary, report.scratch), (1, 1));
        assert_eq!(names_below(&root.join("tmp")).len(), 2, "its own lock, and the file that its claims link to");
        assert_eq!(names_below(&root.join("claims")), [Key::of("living").to_string()]);
        let interrupted = Key::of("interrupted").to_string();
        assert_eq!(names_below(&root.join("scratch")), [interrupted.clone(), format!("{interrupted}/checkpoint")]);
        let report = store.gc(&GcPolicy { older_than: Some(Duration::ZERO), ..GcPolicy::default() }).unwrap();
        assert_eq!(report.scratch, 1, "it was abandoned");
        drop(held);
    }

    #[test]
    fn the_quarantine_is_emptied_only_on_request() {
        let (_folder, store) = aged_store(&[("a", b"1", 0)]);
        overwrite(&blob_path(&store, b"1"), b"2", false).unwrap();
        assert_eq!(store.blob(&Digest::of(b"1")).unwrap(), Blob::Damaged);
        assert_eq!(store.gc(&GcPolicy::default()).unwrap().quarantine, 0);
        assert_eq!(store.gc(&GcPolicy { quarantine: true, ..GcPolicy::default() }).unwrap().quarantine, 1);
        assert_eq!(store.ls().unwrap().quarantine, []);
    }

    #[test]
    fn gc_can_run_at_the_same_time_as_commits() {
        let (_folder, store) = new_store();
        let other = Store::open(store.root()).unwrap();
        std::thread::scope(|scope| {
            let gc = scope.spawn(|| (0..20).for_each(|_| drop(other.gc(&GcPolicy::default()).unwrap())));
            let mut records = Vec::new();
            for task in 0.. {
                let same = format!("{}", task % 3);
                records.push(compute(&store, &format!("task {task}"), &[("x", same.as_bytes())]).unwrap());
                store.flush().unwrap();
                assert!(present(&store, &records[task]));
                if gc.is_finished() {
                    break;
                }
            }
            for record in records {
                assert_eq!(store.record(&record.key).unwrap(), Some(record));
            }
        });
        assert!(store.verify(&|_, _| ()).unwrap().is_clean());
    }
}

mod dropping {
    use super::*;

    #[test]
    fn a_dropped_blob_is_missing_but_not_reported_as_lost() {
        let (_folder, store) = new_store();
        let record = compute(&store, "a", &[("x", b"large"), ("y", b"small")]).unwrap();
        store.flush().unwrap();
        let large = Digest::of(b"large");
        assert_eq!(store.drop_blobs([&large, &Digest::of(b"never there")]).unwrap(), 5);
        assert_eq!(store.drop_blobs([&large]).unwrap(), 0, "dropping again has no effect");
        assert_eq!(store.record(&record.key).unwrap().as_ref(), Some(&record), "the record is kept");
        assert!(!present(&store, &record));
        assert!(store.verify(&|_, _| ()).unwrap().is_clean());

        let store = reopen(store);
        compute(&store, "a", &[("x", b"large"), ("y", b"small")]).unwrap();
        store.flush().unwrap();
        assert!(present(&store, &record), "it can be computed again");

        store.drop_blobs([&large]).unwrap();
        store.gc(&GcPolicy::default()).unwrap();
        let mark = |names: Vec<String>| names.iter().any(|name| name.starts_with("dropped/"));
        assert!(mark(names_below(store.root())), "what was used since a living process began is kept");
        let store = reopen(store);
        store.gc(&GcPolicy { keep: HashSet::from([record.key]), ..GcPolicy::default() }).unwrap();
        assert!(mark(names_below(store.root())), "its record is kept");
    }
}
