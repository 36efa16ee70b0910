//! Pushing to a bucket and pulling from it while requests fail: what arrives is intact, and nothing else does.

#![cfg(feature = "remote")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;
mod s3_stub;

use common::compute;
use dnc_cache::{ConditionalPut, Key, ObjectName, Record, Remote, Store, TransferFailure, TransferReport};
use s3_stub::{Fault, Server};
use tempfile::TempDir;

const URL: &str = "s3://bucket/team";

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

/// Whether the store has the record and all its bytes.
fn has(store: &Store, record: &Record) -> bool {
    let own = store.record(&record.key).unwrap();
    own.as_ref() == Some(record) && store.present(&record.outputs["out"]).unwrap()
}

/// A server to which one record with a small and a large file was pushed, after `spoil`.
fn pushed(spoil: impl FnOnce(&Server)) -> (Server, Record) {
    let server = Server::start();
    spoil(&server);
    let (_folder, store) = new_store();
    // Not a multiple of a part's size.
    let large: Vec<u8> = (0..20_000_003u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let record = compute(&store, "task", &[("large", &large), ("small", b"small"), ("empty", b"")]).unwrap();
    let report = push(&store, &[record.key], &*server.remote(URL));
    // A put whose answer was lost is repeated, and then finds what it wrote.
    let records = report.records + report.unchanged_records;
    assert_eq!((records, report.blobs, report.problems.len()), (1, 3, 0), "{report:?}");
    (server, record)
}

#[test]
fn faults_that_pass_are_survived_in_both_directions() {
    let faults = [
        ("", Fault::Refuse(503, "SlowDown"), 3),
        ("PUT /bucket/team/blobs", Fault::Refuse(500, "InternalError"), 2),
        ("PUT /bucket/team/records", Fault::Hang, 1),
        ("partNumber=2", Fault::Hang, 1),
        ("GET /bucket/team/blobs", Fault::Truncate, 2),
        ("GET /bucket/team/records", Fault::Truncate, 1),
        ("HEAD", Fault::Refuse(429, "TooManyRequests"), 2),
    ];
    for (text, fault, times) in faults {
        let (server, record) = pushed(|server| server.plan(text, fault, times));
        server.plan(text, fault, times);
        let (_folder, store) = new_store();
        let report = pull(&store, &[record.key], &*server.remote(URL));
        assert_eq!((report.records, report.blobs), (1, 3), "{text} {fault:?}: {report:?}");
        assert!(has(&store, &record), "{text} {fault:?}");
        assert!(store.verify(&|_, _| ()).unwrap().is_clean());
    }
}

#[test]
fn a_flipped_bit_is_never_accepted() {
    let (server, record) = pushed(|_| ());
    let failures = [
        ("GET /bucket/team/blobs", TransferFailure::DamagedBlob(record.outputs["out"].files()[1].digest)),
        ("GET /bucket/team/records", TransferFailure::DamagedRecord),
    ];
    for (text, expected) in failures {
        server.plan(text, Fault::Flip, usize::MAX);
        let (_folder, store) = new_store();
        let report = pull(&store, &[record.key], &*server.remote(URL));
        let [problem] = &report.problems[..] else { panic!("{report:?}") };
        assert_eq!(std::mem::discriminant(&problem.failure), std::mem::discriminant(&expected), "{report:?}");
        assert_eq!(store.record(&record.key).unwrap(), None);
        assert!(store.verify(&|_, _| ()).unwrap().is_clean());
    }
}

#[test]
fn refusals_say_what_to_do() {
    let message = |status, code| {
        let server = Server::start();
        server.plan("", Fault::Refuse(status, code), usize::MAX);
        server.remote(URL).get(&ObjectName::new("format").unwrap()).unwrap_err().to_string()
    };
    for (status, code, hint) in [
        (404, "NoSuchBucket", "the bucket does not exist: create it, or correct the URL"),
        (400, "ExpiredToken", "the credentials have expired: renew them"),
        (403, "RequestTimeTooSkewed", "this machine's clock is wrong: set it"),
        (
            403,
            "InvalidAccessKeyId",
            "check the credentials (`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_PROFILE`)",
        ),
        (403, "AccessDenied", "the credentials do not permit this: ask the bucket's owner"),
    ] {
        assert_eq!(message(status, code), format!("Could not read `{URL}/format`; {hint}"));
    }
}

#[test]
fn the_first_record_stays_even_if_the_server_ignores_conditions() {
    for ignores in [false, true] {
        let server = Server::start();
        if ignores {
            server.ignore_conditions();
        }
        let remote = server.remote(URL);
        assert_eq!(remote.has_conditional_puts().unwrap(), !ignores);
        let ((_one, one), (_two, two)) = (new_store(), new_store());
        let first = compute(&one, "task", &[("x", b"first")]).unwrap();
        compute(&two, "task", &[("x", b"second")]).unwrap();
        assert_eq!(push(&one, &[first.key], &*remote).records, 1);
        let report = push(&two, &[first.key], &*remote);
        assert_eq!(report.problems[0].failure, TransferFailure::NotReproducible);
        let (_folder, store) = new_store();
        pull(&store, &[first.key], &*remote);
        assert!(has(&store, &first));
        let name = ObjectName::record(&first.key);
        assert!(matches!(remote.put_if_absent(&name, b"x").unwrap(), ConditionalPut::Existed(_)));
    }
}

#[test]
fn what_is_there_is_not_sent_again() {
    let server = Server::start();
    let (_folder, store) = new_store();
    let record = compute(&store, "task", &[("x", b"1"), ("y", b"2")]).unwrap();
    push(&store, &[record.key], &*server.remote(URL));
    server.take_requests();
    assert_eq!(push(&store, &[record.key], &*server.remote(URL)).unchanged_records, 1);
    let sent = server.take_requests();
    assert!(!sent.iter().any(|request| request.starts_with("PUT /bucket/team/blobs")), "{sent:#?}");
    // A second pull asks for the packs and the record and nothing else.
    let (_folder, other) = new_store();
    pull(&other, &[record.key], &*server.remote(URL));
    server.take_requests();
    pull(&other, &[record.key], &*server.remote(URL));
    let name = ObjectName::record(&record.key);
    let list = "GET /bucket?list-type=2&prefix=team/packs/".to_owned();
    assert_eq!(
        server.take_requests(),
        ["GET /bucket/team/format".to_owned(), list, format!("GET /bucket/team/{name}")]
    );
}
