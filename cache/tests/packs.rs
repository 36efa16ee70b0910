//! Packs of a remote: many small nodes with few requests, and nothing wrong in any fault.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;
mod memory_remote;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use common::{compute, ingest};
use dnc_cache::{
    Digest, Key, ObjectName, Record, Remote, RemoteGcPolicy, RemoteGcReport, Store, TransferFailure, TransferReport,
};
use memory_remote::MemoryRemote;
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 3600);
const GRACE: Duration = Duration::from_secs(14 * 24 * 3600);

fn new_store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    (folder, store)
}

/// A store with nodes of these numbers, each with a file of its own and one that all share.
fn computed(numbers: std::ops::Range<usize>) -> (TempDir, Store, Vec<Record>) {
    let (folder, store) = new_store();
    let record = |number: usize| {
        let text = format!("node {number}");
        compute(&store, &text, &[("own", text.as_bytes()), ("shared", b"shared")]).unwrap()
    };
    let records = numbers.map(record).collect();
    (folder, store, records)
}

fn keys(records: &[Record]) -> Vec<Key> {
    records.iter().map(|record| record.key).collect()
}

fn push(store: &Store, records: &[Record], remote: &dyn Remote) -> TransferReport {
    store.push(&keys(records), remote, &|_, _| ()).unwrap()
}

fn pull(store: &Store, records: &[Record], remote: &dyn Remote) -> TransferReport {
    store.pull(&keys(records), remote, &|_, _| ()).unwrap()
}

/// Whether the store has the record and all its bytes, and the store is intact.
fn has_all(store: &Store, records: &[Record]) -> bool {
    let has = |record: &Record| {
        let own = store.record(&record.key).unwrap();
        own.as_ref() == Some(record) && store.present(&record.outputs["out"]).unwrap()
    };
    records.iter().all(has) && store.verify(&|_, _| ()).unwrap().is_clean()
}

fn packs(remote: &MemoryRemote) -> Vec<ObjectName> {
    remote.objects().keys().filter(|name| name.as_str().starts_with("packs/")).cloned().collect()
}

fn gc(store: &Store, keep: &[Record], remote: &dyn Remote) -> RemoteGcReport {
    let policy = RemoteGcPolicy { keep: HashSet::from_iter(keys(keep)), grace: GRACE, dry_run: false };
    store.remote_gc(&policy, remote, &|_, _| ()).unwrap()
}

#[test]
fn ten_thousand_small_nodes_are_few_requests() {
    let (_folder, store) = new_store();
    // Committing ten thousand files makes each of them durable, so the nodes share a few; each has a record of its own.
    let outputs: Vec<_> = (0..50u8).map(|byte| ingest(&store, "x", &[("x", &[byte; 100])]).unwrap()).collect();
    let records: Vec<Record> = (0..10_000)
        .map(|number| {
            let claim = store.try_claim(&Key::of(&format!("node {number}"))).unwrap().unwrap();
            let outputs = BTreeMap::from([("out".to_owned(), outputs[number % 50].clone())]);
            let record = Record { key: *claim.key(), fingerprint: number.into(), outputs };
            store.commit(claim, record.clone()).unwrap();
            record
        })
        .collect();
    let remote = MemoryRemote::default();
    assert_eq!(push(&store, &records, &remote).records, 10_000);
    let pushed = remote.take_requests();
    assert!(pushed < 100, "{pushed} requests to push");
    assert_eq!(push(&store, &records, &remote).unchanged_records, 10_000);
    let unchanged = remote.take_requests();
    assert!(unchanged < 10, "{unchanged} requests to push nothing");

    let (_folder, reader) = new_store();
    assert_eq!(reader.adopt(&keys(&records), &remote).unwrap().outputs.len(), 10_000);
    let adopted = remote.take_requests();
    assert!(adopted < 100, "{adopted} requests to read through");
    // Nodes that nobody has pushed are looked for as cheaply.
    let unknown: Vec<Key> = (0..10_000).map(|number| Key::of(&format!("unknown {number}"))).collect();
    assert!(reader.adopt(&unknown, &remote).unwrap().outputs.is_empty());
    let missing = remote.take_requests();
    assert!(missing < 10, "{missing} requests to find nothing");

    let (_folder, other) = new_store();
    let report = pull(&other, &records, &remote);
    assert_eq!((report.records, report.blobs, report.problems.len()), (10_000, 50, 0));
    let pulled = remote.take_requests();
    assert!(pulled < 100, "{pulled} requests to pull");
    assert_eq!(other.compare(&keys(&records), &remote).unwrap().both.len(), 10_000);
    let compared = remote.take_requests();
    assert!(compared < 10, "{compared} requests to compare");
    assert!(has_all(&other, &records[..50]));
}

#[test]
fn large_blobs_travel_by_themselves_and_arrive_before_their_record() {
    let (_folder, store, mut records) = computed(0..20);
    records.push(compute(&store, "large", &[("large", &[7; 100_000]), ("small", b"small")]).unwrap());
    let remote = MemoryRemote::default();
    let report = push(&store, &records, &remote);
    assert_eq!((report.records, report.blobs, report.problems.len()), (21, 23, 0));
    assert_eq!(packs(&remote).len(), 1);
    assert!(remote.objects().contains_key(&ObjectName::blob(&Digest::of(&[7; 100_000]))));
    let (_folder, other) = new_store();
    pull(&other, &records, &remote);
    assert!(has_all(&other, &records));
    assert_eq!(other.remote_keys(&remote).unwrap().len(), 21);
}

#[test]
fn a_push_that_is_killed_leaves_whole_records_and_goes_on() {
    let (_folder, store, records) = computed(0..40);
    for writes in 0..5 {
        let remote = MemoryRemote::default();
        push(&store, &records[..1], &remote);
        remote.stop_after(Some(writes));
        let killed = store.push(&keys(&records), &remote, &|_, _| ());
        remote.stop_after(None);
        let (_folder, other) = new_store();
        let visible = other.remote_keys(&remote).unwrap();
        assert_eq!(other.pull(&visible, &remote, &|_, _| ()).unwrap().problems, []);
        let report = push(&store, &records, &remote);
        assert_eq!((report.records + report.unchanged_records, report.problems.len()), (40, 0));
        assert_eq!(killed.is_err(), writes < 1, "a pack is one write");
        pull(&other, &records, &remote);
        assert!(has_all(&other, &records));
    }
}

#[test]
fn a_damaged_pack_is_never_accepted_and_named() {
    let (_folder, store, records) = computed(0..20);
    let flip = |at: fn(usize) -> usize| {
        move |bytes: &mut Vec<u8>| {
            let at = at(bytes.len());
            bytes[at] ^= 1;
        }
    };
    type Spoil = Box<dyn Fn(&mut Vec<u8>)>;
    let spoils: [(&str, Spoil); 5] = [
        ("index", Box::new(flip(|_| 20))),
        ("record", Box::new(flip(|size| size / 2))),
        ("blob", Box::new(flip(|size| size - 2))),
        ("end", Box::new(|bytes| bytes.truncate(bytes.len() - 1))),
        ("everything", Box::new(Vec::clear)),
    ];
    for (what, spoil) in spoils {
        let remote = MemoryRemote::default();
        push(&store, &records, &remote);
        let pack = remote.spoil_pack(spoil);
        let (_folder, other) = new_store();
        let report = pull(&other, &records, &remote);
        assert!(!report.problems.is_empty(), "{what}");
        assert_eq!(report.damaged.iter().collect::<Vec<_>>(), [&pack], "{what}");
        assert!(other.verify(&|_, _| ()).unwrap().is_clean(), "{what}");
        for record in records.iter().filter(|record| other.record(&record.key).unwrap().is_some()) {
            assert!(has_all(&other, std::slice::from_ref(record)), "{what}");
        }
        // As the message says: delete it, and push again.
        remote.objects().remove(&pack);
        assert_eq!(push(&store, &records, &remote).problems, [], "{what}");
        assert_eq!(pull(&other, &records, &remote).problems, [], "{what}");
        assert!(has_all(&other, &records), "{what}");
    }
}

#[test]
fn a_truncated_pack_is_replaced_by_the_next_push_of_the_same() {
    let (_folder, store, records) = computed(0..20);
    let remote = MemoryRemote::default();
    push(&store, &records, &remote);
    remote.spoil_pack(|bytes| bytes.truncate(bytes.len() / 2));
    assert_eq!(push(&store, &records, &remote).records, 20);
    let (_folder, other) = new_store();
    assert_eq!(pull(&other, &records, &remote).problems, []);
    assert!(has_all(&other, &records));
}

#[test]
fn a_damaged_copy_of_an_index_is_fetched_again() {
    let (_folder, store, records) = computed(0..20);
    let remote = MemoryRemote::default();
    push(&store, &records, &remote);
    let copy = store.root().join(packs(&remote)[0].as_str());
    common::overwrite(&copy, b"{}\n", true).unwrap();
    let store = Store::open(store.root()).unwrap();
    assert_eq!(push(&store, &records, &remote).unchanged_records, 20);
}

#[test]
fn another_record_of_a_packed_key_is_not_reproducible() {
    let (_folder, store, records) = computed(0..20);
    let remote = MemoryRemote::default();
    push(&store, &records, &remote);
    let (_folder, other) = new_store();
    let different = compute(&other, "node 3", &[("own", b"other")]).unwrap();
    let report = push(&other, std::slice::from_ref(&different), &remote);
    assert_eq!((report.records, &report.problems[0].failure), (0, &TransferFailure::NotReproducible));
    let report = pull(&other, std::slice::from_ref(&different), &remote);
    assert_eq!(report.problems[0].failure, TransferFailure::NotReproducible);
    assert_eq!(other.record(&different.key).unwrap(), Some(different));
    let (_folder, third) = new_store();
    pull(&third, &records, &remote);
    assert!(has_all(&third, &records));
}

#[test]
fn of_two_that_push_at_once_one_is_told_and_all_readers_agree() {
    let (_one, one, mut ours) = computed(0..20);
    let (_two, two, mut theirs) = computed(0..20);
    ours.push(compute(&one, "disputed", &[("x", b"ours")]).unwrap());
    theirs.push(compute(&two, "disputed", &[("x", b"theirs")]).unwrap());
    let remote = MemoryRemote::default();
    remote.put(&ObjectName::new("format").unwrap(), b"dnc-remote 2\n").unwrap();
    // Both have looked at the remote before either writes.
    remote.gather(2);
    let reports = std::thread::scope(|scope| {
        let other = scope.spawn(|| push(&two, &theirs, &remote));
        [push(&one, &ours, &remote), other.join().unwrap()]
    });
    let told = reports.iter().filter(|report| !report.problems.is_empty());
    assert!(told.clone().count() >= 1, "{reports:?}");
    for report in told {
        let [problem] = &report.problems[..] else { panic!("{report:?}") };
        assert_eq!((problem.key, &problem.failure), (ours[20].key, &TransferFailure::NotReproducible));
        assert_eq!(report.records, 20);
    }
    let read = || {
        let (_folder, reader) = new_store();
        let outputs = reader.adopt(&keys(&ours), &remote).unwrap().outputs;
        assert_eq!(outputs.len(), 21);
        outputs[&ours[20].key].clone()
    };
    let first = read();
    assert!(first == ours[20].outputs || first == theirs[20].outputs);
    assert_eq!(read(), first);
    // gc does not change who was first.
    remote.wait(30 * DAY);
    gc(&one, &ours, &remote);
    assert_eq!(read(), first);
}

#[test]
fn a_remote_of_the_format_without_packs_is_read_and_pushed_to() {
    let (_folder, store, records) = computed(0..40);
    let remote = MemoryRemote::default();
    remote.put(&ObjectName::new("format").unwrap(), b"dnc-remote 1\n").unwrap();
    // Few records travel one by one, as all did in that format.
    records[..20].chunks(4).for_each(|some| drop(push(&store, some, &remote)));
    assert!(packs(&remote).is_empty());
    remote.put(&ObjectName::new("format").unwrap(), b"dnc-remote 1\n").unwrap();
    let (_folder, other) = new_store();
    assert_eq!(pull(&other, &records[..20], &remote).records, 20);
    assert!(has_all(&other, &records[..20]));
    let format = |remote: &MemoryRemote| remote.get(&ObjectName::new("format").unwrap()).unwrap().unwrap();
    assert_eq!(format(&remote), b"dnc-remote 1\n", "who reads changes nothing");

    let report = push(&store, &records, &remote);
    assert_eq!((report.records, report.unchanged_records, report.problems.len()), (20, 20, 0));
    assert_eq!((packs(&remote).len(), format(&remote)), (1, b"dnc-remote 2\n".to_vec()));
    let (_folder, other) = new_store();
    assert_eq!(pull(&other, &records, &remote).records, 40);
    assert!(has_all(&other, &records));
}

#[test]
fn gc_removes_what_no_project_needs_once_it_is_old() {
    let (_folder, store, mut records) = computed(0..40);
    records.push(compute(&store, "large and needed", &[("x", &[1; 70_000])]).unwrap());
    records.push(compute(&store, "large", &[("x", &[2; 70_000])]).unwrap());
    let (_folder, late, later) = computed(100..130);
    let remote = MemoryRemote::default();
    push(&store, &records, &remote);
    let single = compute(&store, "single", &[("x", b"single")]).unwrap();
    push(&store, std::slice::from_ref(&single), &remote);
    assert_eq!(gc(&store, &[], &remote).young_records, 43, "nothing is old");
    remote.wait(GRACE + DAY);
    push(&late, &later, &remote);

    let needed: Vec<Record> = records[..5].iter().chain([&records[40]]).cloned().collect();
    let dry = RemoteGcPolicy { keep: HashSet::from_iter(keys(&needed)), grace: Duration::ZERO, dry_run: true };
    let before = remote.objects().clone();
    let report = store.remote_gc(&dry, &remote, &|_, _| ()).unwrap();
    assert_eq!((report.records, report.kept_records), (67, 6), "{report:?}");
    assert_eq!(*remote.objects(), before, "a dry run changes nothing");

    let report = gc(&store, &needed, &remote);
    assert_eq!((report.records, report.blobs), (36 + 1, 2), "{report:?}");
    assert_eq!((report.kept_records, report.young_records), (36, 30), "{report:?}");
    assert_eq!((report.packs, report.rewritten_packs), (0, 1), "{report:?}");
    let (_folder, other) = new_store();
    let left = other.remote_keys(&remote).unwrap();
    assert_eq!(left.len(), 36);
    assert_eq!(other.pull(&left, &remote, &|_, _| ()).unwrap().problems, []);
    assert!(has_all(&other, &needed) && has_all(&other, &later));
    assert_eq!(other.record(&single.key).unwrap(), None);
    assert!(!remote.objects().keys().any(|name| name.as_str().starts_with("gc/")));

    let again = gc(&store, &needed, &remote);
    assert_eq!((again.records, again.blobs, again.packs, again.rewritten_packs), (0, 0, 0, 0), "{again:?}");
    // Who has it can push it again.
    push(&store, &records, &remote);
    pull(&other, &records, &remote);
    assert!(has_all(&other, &records));
}

#[test]
fn gc_merges_many_small_packs_and_goes_on_after_a_kill() {
    let (_folder, store, records) = computed(0..200);
    let remote = MemoryRemote::default();
    records.chunks(20).for_each(|some| drop(push(&store, some, &remote)));
    assert_eq!(packs(&remote).len(), 10);
    remote.wait(GRACE + DAY);
    let policy = RemoteGcPolicy { keep: HashSet::from_iter(keys(&records)), grace: GRACE, dry_run: false };
    for writes in [0, 1] {
        remote.stop_after(Some(writes));
        assert!(store.remote_gc(&policy, &remote, &|_, _| ()).is_err());
        remote.stop_after(None);
        let (_folder, other) = new_store();
        assert_eq!(pull(&other, &records, &remote).records, 200);
    }
    assert_eq!(gc(&store, &records, &remote).rewritten_packs, 10);
    assert_eq!(packs(&remote).len(), 1);
    let (_folder, other) = new_store();
    assert_eq!(pull(&other, &records, &remote).records, 200);
    assert!(has_all(&other, &records));
}

#[test]
fn a_record_that_comes_during_gc_keeps_its_blobs() {
    let (_folder, store, records) = computed(0..1);
    let remote = MemoryRemote::default();
    push(&store, &records, &remote);
    remote.wait(GRACE + DAY);
    // A new record names the old blobs, which are therefore not sent again.
    let text = "node 0";
    let new = compute(&store, "new", &[("own", text.as_bytes()), ("shared", b"shared")]).unwrap();
    push(&store, std::slice::from_ref(&new), &remote);
    let report = gc(&store, &[], &remote);
    assert_eq!((report.records, report.blobs), (1, 0));
    let (_folder, other) = new_store();
    assert_eq!(pull(&other, std::slice::from_ref(&new), &remote).problems, []);
    assert!(has_all(&other, &[new]));
}

#[test]
fn roots_say_what_projects_need_and_damaged_ones_are_refused() {
    let (_folder, store, records) = computed(0..2);
    let remote = MemoryRemote::default();
    assert!(store.remote_roots(&remote).unwrap().is_empty());
    store.set_remote_root("one:/runs", &HashSet::from([records[0].key]), &remote).unwrap();
    remote.wait(DAY);
    store.set_remote_root("two:/runs", &HashSet::from_iter(keys(&records)), &remote).unwrap();
    store.set_remote_root("two:/runs", &HashSet::from([records[1].key]), &remote).unwrap();
    let roots = store.remote_roots(&remote).unwrap();
    let found: Vec<_> =
        roots.iter().map(|root| (root.project.as_str(), root.keys.iter().collect::<Vec<_>>())).collect();
    assert_eq!(found, [("two:/runs", vec![&records[1].key]), ("one:/runs", vec![&records[0].key])]);
    assert_eq!(roots[0].modified.duration_since(roots[1].modified).unwrap(), DAY);
    remote.objects().get_mut(&roots[0].object).unwrap()[20] ^= 1;
    let message = store.remote_roots(&remote).unwrap_err().to_string();
    assert!(message.contains("says what a project needs there, is damaged"), "{message}");
}
