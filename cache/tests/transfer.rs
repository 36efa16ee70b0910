//! Pushing to a remote and pulling from it: what arrives is intact, and nothing else does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[expect(dead_code, reason = "other tests need the rest")]
mod memory_remote;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use common::{blob_path, compute, ingest, names_below, overwrite};
use dnc_cache::{
    CacheError, Digest, GcPolicy, Key, ObjectName, Record, Remote, RemoteOptions, Store, TransferFailure,
    TransferProblem, TransferReport, open_remote,
};
use memory_remote::MemoryRemote;
use tempfile::TempDir;

fn new_store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn push(store: &Store, keys: &[Key], remote: &dyn Remote) -> TransferReport {
    store.push(keys, remote, &|_, _| ()).unwrap()
}

fn pull(store: &Store, keys: &[Key], remote: &dyn Remote) -> TransferReport {
    store.pull(keys, remote, &|_, _| ()).unwrap()
}

fn problem(key: Key, failure: TransferFailure) -> Vec<TransferProblem> {
    vec![TransferProblem { key, failure }]
}

/// Whether the store has the record and all its bytes.
fn has(store: &Store, record: &Record) -> bool {
    let own = store.record(&record.key).unwrap();
    own.as_ref() == Some(record) && store.present(&record.outputs["out"]).unwrap()
}

#[test]
fn a_new_store_gets_what_another_has_pushed() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = open_remote(folder.path().join("remote").to_str().unwrap(), &RemoteOptions::default()).unwrap();
    for remote in [&MemoryRemote::default() as &dyn Remote, &*in_folder] {
        let (_folder, store) = new_store();
        let records = [("a", b"1".as_slice()), ("b", b"22"), ("c", b"22")]
            .map(|(task, bytes)| compute(&store, task, &[("x", bytes), ("deep/y", b"same")]).unwrap());
        let keys = [Key::of("a"), Key::of("never computed"), Key::of("b"), Key::of("c")];
        let no_record = problem(keys[1], TransferFailure::NoRecord);
        let copied =
            TransferReport { records: 3, blobs: 3, bytes: 7, problems: no_record.clone(), ..TransferReport::default() };
        let unchanged = TransferReport { unchanged_records: 3, problems: no_record, ..TransferReport::default() };
        assert_eq!(push(&store, &keys, remote), copied);
        assert_eq!(push(&store, &keys, remote), unchanged);
        assert_eq!(store.remote_keys(remote).unwrap().len(), 3);

        let (_folder, other) = new_store();
        let progress = Mutex::new((0, 0));
        let on_progress = |done, total| {
            let mut progress = progress.lock().unwrap();
            *progress = (done, total).max(*progress);
        };
        assert_eq!(other.pull(&keys, remote, &on_progress).unwrap(), copied);
        assert_eq!(*progress.lock().unwrap(), (7, 7));
        assert!(records.iter().all(|record| has(&other, record)));
        let other = Store::open(other.root()).unwrap();
        assert!(records.iter().all(|record| has(&other, record)), "everything is on disk");
        assert!(other.verify(&|_, _| ()).unwrap().is_clean());
        assert_eq!(pull(&other, &keys, remote), unchanged);
    }
}

#[test]
fn a_transfer_leaves_it_to_flush_to_say_what_could_not_be_committed() {
    let (remote, bad) = (MemoryRemote::default(), Key::of("bad"));
    let (_folder, store) = new_store();
    compute(&store, "good", &[("x", b"0")]).unwrap();
    push(&store, &[Key::of("good")], &remote);
    let fail = |bytes: &[u8]| {
        let artifact = ingest(&store, "bad", &[("x", bytes)]).unwrap();
        fs::remove_file(blob_path(&store, bytes)).unwrap();
        let claim = store.try_claim(&bad).unwrap().expect("nobody else computes it");
        let outputs = BTreeMap::from([("out".to_owned(), artifact)]);
        store.commit(claim, Record { key: bad, fingerprint: serde_json::Value::Null, outputs }).unwrap();
    };
    let failed = || matches!(store.flush(), Err(CacheError::Commit { keys, .. }) if keys == [bad]);
    fail(b"1");
    assert_eq!(push(&store, &[bad], &remote).problems, problem(bad, TransferFailure::NoRecord));
    assert!(failed());
    fail(b"2");
    assert_eq!(pull(&store, &[bad], &remote).problems, problem(bad, TransferFailure::NoRecord));
    assert!(failed());
}

#[test]
fn damaged_blobs_and_records_are_refused_on_arrival() {
    let (_folder, store) = new_store();
    let record = compute(&store, "a", &[("x", b"good")]).unwrap();
    let remote = MemoryRemote::default();
    push(&store, &[record.key], &remote);
    let blob = ObjectName::blob(&Digest::of(b"good"));
    for damaged in [b"goof".as_slice(), b"goo", b"good and more", b""] {
        remote.objects().insert(blob.clone(), damaged.to_vec());
        let (_folder, other) = new_store();
        let expected = problem(record.key, TransferFailure::DamagedBlob(Digest::of(b"good")));
        assert_eq!(pull(&other, &[record.key], &remote).problems, expected);
        assert_eq!(other.record(&record.key).unwrap(), None);
        assert_eq!(other.ls().unwrap().blobs, 0);
        assert_eq!(names_below(&other.root().join("tmp")).len(), 1, "only the lock of the session is left");
    }
    remote.objects().remove(&blob);
    let (_folder, other) = new_store();
    let expected = problem(record.key, TransferFailure::MissingBlob(Digest::of(b"good")));
    assert_eq!(pull(&other, &[record.key], &remote).problems, expected);

    let name = ObjectName::record(&record.key);
    remote.objects().get_mut(&name).unwrap()[100] ^= 1;
    assert_eq!(pull(&other, &[record.key], &remote).problems, problem(record.key, TransferFailure::DamagedRecord));
    assert_eq!(other.record(&record.key).unwrap(), None);
    // Pushing again repairs the record and the missing blob, and also a truncated blob.
    assert_eq!((push(&store, &[record.key], &remote).records, remote.objects()[&blob].as_slice()), (1, &b"good"[..]));
    remote.objects().insert(blob.clone(), b"goo".to_vec());
    assert_eq!(push(&store, &[record.key], &remote).blobs, 1);
    assert_eq!(pull(&other, &[record.key], &remote).problems, []);
    assert!(has(&other, &record));
}

#[test]
fn damaged_blobs_are_refused_before_they_leave() {
    let (_folder, store) = new_store();
    let record = compute(&store, "a", &[("x", b"good"), ("y", b"fine")]).unwrap();
    store.flush().unwrap();
    let root = store.root().to_owned();
    drop(store);
    overwrite(&root.join(blob_name(b"good")), b"goof", true).unwrap();
    let store = Store::open(&root).unwrap();
    assert_eq!(blob_path(&store, b"good"), root.join(blob_name(b"good")));
    let remote = MemoryRemote::default();
    let expected = problem(record.key, TransferFailure::DamagedBlob(Digest::of(b"good")));
    assert_eq!(push(&store, &[record.key], &remote).problems, expected);
    assert_eq!(store.remote_keys(&remote).unwrap(), []);
    assert!(!remote.objects().contains_key(&ObjectName::blob(&Digest::of(b"good"))));
    // The damaged blob is in quarantine now.
    let expected = problem(record.key, TransferFailure::MissingBlob(Digest::of(b"good")));
    assert_eq!(push(&store, &[record.key], &remote).problems, expected);
}

fn blob_name(bytes: &[u8]) -> String {
    ObjectName::blob(&Digest::of(bytes)).to_string()
}

#[test]
fn the_first_record_of_a_key_stays() {
    let (_folder, one) = new_store();
    let (_folder, other) = new_store();
    let [first, second] = [(&one, b"1"), (&other, b"2")].map(|(store, b)| compute(store, "a", &[("x", b)]).unwrap());
    let remote = MemoryRemote::default();
    assert_eq!(push(&one, &[first.key], &remote).problems, []);
    let not_reproducible = problem(first.key, TransferFailure::NotReproducible);
    assert_eq!(push(&other, &[first.key], &remote).problems, not_reproducible);
    assert_eq!(pull(&other, &[first.key], &remote).problems, not_reproducible);
    assert!(has(&one, &first) && has(&other, &second), "neither store changed");
    let (_folder, third) = new_store();
    pull(&third, &[first.key], &remote);
    assert!(has(&third, &first));
}

#[test]
fn a_record_with_dropped_blobs_is_transferred_without_them() {
    let (_folder, store) = new_store();
    let record = compute(&store, "a", &[("x", b"large"), ("y", b"small")]).unwrap();
    store.flush().unwrap();
    store.drop_blobs([&Digest::of(b"large")]).unwrap();
    let remote = MemoryRemote::default();
    let report = push(&store, &[record.key], &remote);
    assert_eq!((report.records, report.blobs, report.problems), (1, 1, vec![]));
    let (_folder, other) = new_store();
    let report = pull(&other, &[record.key], &remote);
    assert_eq!((report.records, report.blobs, report.problems), (1, 1, vec![]));
    assert_eq!(other.record(&record.key).unwrap().as_ref(), Some(&record));
    assert!(!has(&other, &record));
    assert!(other.verify(&|_, _| ()).unwrap().is_clean(), "a dropped blob is not lost");

    // A store that still has the blob pushes it, and then the others get it back.
    let (_folder, complete) = new_store();
    compute(&complete, "a", &[("x", b"large"), ("y", b"small")]).unwrap();
    assert_eq!(push(&complete, &[record.key], &remote).blobs, 1);
    for store in [&store, &other] {
        assert_eq!(pull(store, &[record.key], &remote).blobs, 1);
        assert!(has(store, &record) && store.verify(&|_, _| ()).unwrap().is_clean());
    }
}

#[test]
fn blobs_that_the_store_has_are_not_copied_but_verified() {
    let (_folder, store) = new_store();
    let record = compute(&store, "a", &[("x", b"good")]).unwrap();
    let remote = MemoryRemote::default();
    push(&store, &[record.key], &remote);
    let (_folder, other) = new_store();
    compute(&other, "b", &[("x", b"good")]).unwrap();
    assert_eq!(pull(&other, &[record.key], &remote).blobs, 0);
    assert!(has(&other, &record));
    overwrite(&blob_path(&other, b"good"), b"goof", false).unwrap();
    assert_eq!(pull(&other, &[record.key], &remote).blobs, 1, "a damaged blob is copied again");
    assert!(has(&other, &record));
}

#[test]
fn gc_keeps_pulled_records() {
    let (_folder, store) = new_store();
    let record = compute(&store, "a", &[("x", b"1")]).unwrap();
    let remote = MemoryRemote::default();
    push(&store, &[record.key], &remote);
    let (_folder, other) = new_store();
    pull(&other, &[record.key], &remote);
    let gc = Store::open(other.root()).unwrap();
    gc.gc(&GcPolicy::default()).unwrap();
    assert!(has(&other, &record), "the process that pulled the record is alive");
    drop(other);
    gc.gc(&GcPolicy { keep: HashSet::from([record.key]), ..GcPolicy::default() }).unwrap();
    assert!(has(&gc, &record));
}

#[test]
fn more_records_than_one_batch() {
    let (_folder, store) = new_store();
    let records: Vec<_> = (0..600).map(|task| compute(&store, &format!("task {task}"), &[]).unwrap()).collect();
    let keys: Vec<Key> = records.iter().map(|record| record.key).collect();
    let remote = MemoryRemote::default();
    assert_eq!(push(&store, &keys, &remote).records, 600);
    let (_folder, other) = new_store();
    assert_eq!(pull(&other, &keys, &remote).records, 600);
    assert!(records.iter().all(|record| has(&other, record)));
}

#[test]
fn a_folder_of_something_else_or_of_a_newer_version_is_refused() {
    let (_folder, store) = new_store();
    let record = compute(&store, "a", &[("x", b"1")]).unwrap();
    let message = |root: &Path| {
        let remote = open_remote(root.to_str().unwrap(), &RemoteOptions::default()).unwrap();
        let pushed = store.push(&[record.key], &*remote, &|_, _| ()).unwrap_err();
        let pulled = store.pull(&[record.key], &*remote, &|_, _| ()).unwrap_err();
        [pushed, pulled].map(|error| error.to_string().replace(root.to_str().unwrap(), "ROOT"))
    };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "").unwrap();
    assert_eq!(
        message(folder.path()),
        [
            "`ROOT` is not a remote store and is not empty; it contains `thesis.tex`",
            "There is no remote store at `ROOT`; `cache push` creates one"
        ]
    );
    assert_eq!(names_below(folder.path()), ["thesis.tex"]);
    fs::write(folder.path().join("format"), "dnc-remote 3\n").unwrap();
    let newer = "The remote `ROOT` has format `dnc-remote 3`, but this version reads `dnc-remote 2`";
    assert_eq!(message(folder.path()), [newer, newer]);
    assert_eq!(names_below(folder.path()), ["format", "thesis.tex"]);
}

#[test]
fn outputs_survive_with_their_facets() {
    let (_folder, store) = new_store();
    let record = compute(&store, "a", &[("x", b"1")]).unwrap();
    let remote = MemoryRemote::default();
    push(&store, &[record.key], &remote);
    let (folder, other) = new_store();
    pull(&other, &[record.key], &remote);
    let out = folder.path().join("out");
    let artifact = &other.outputs(&record.key).unwrap().unwrap()["out"];
    other.materialise(artifact, &out).unwrap();
    assert_eq!(fs::read(out.join("x")).unwrap(), b"1");
    assert_eq!(*artifact.facets(), BTreeMap::from([("facet".to_owned(), Digest::of(b"a"))]));
}
