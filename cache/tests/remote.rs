//! Laws that every remote obeys.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests need the rest")]
mod memory_remote;
#[cfg(feature = "remote")]
#[expect(dead_code, reason = "the laws need no faults")]
mod s3_stub;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dnc_cache::{ConditionalPut, Digest, Key, ObjectName, Remote, RemoteObject, RemoteOptions, Store, open_remote};
use memory_remote::MemoryRemote;
use proptest::prelude::*;

/// Calls `law` with an empty remote of every kind, and an empty folder for files.
fn for_each_remote(law: impl Fn(&dyn Remote, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    let path = folder.path().join("remote");
    let folder_url = format!("file://{}", path.display());
    let mut remotes: Vec<Box<dyn Remote>> =
        vec![Box::new(MemoryRemote::default()), open_remote(&folder_url, &RemoteOptions::default()).unwrap()];
    #[cfg(feature = "remote")]
    let (server, other) = (s3_stub::Server::start(), s3_stub::Server::start());
    #[cfg(feature = "remote")]
    {
        remotes.push(server.remote("s3://bucket/some/prefix"));
        remotes.push(other.remote("s3://bucket"));
    }
    for remote in remotes {
        fs::create_dir(&files).unwrap();
        law(&*remote, &files);
        fs::remove_dir_all(&files).unwrap();
        let temporary = fs::read_dir(path.join("tmp")).into_iter().flatten().count();
        assert_eq!(temporary, 0, "no temporary file is left");
    }
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn size(remote: &dyn Remote, name: &ObjectName) -> Option<u64> {
    remote.sizes(std::slice::from_ref(name)).unwrap()[0]
}

fn listed(remote: &dyn Remote, folder: &str) -> Vec<RemoteObject> {
    let mut objects = remote.list(folder).collect::<Result<Vec<_>, _>>().unwrap();
    objects.sort();
    objects
}

#[test]
fn a_missing_object_is_not_an_error() {
    for_each_remote(|remote, folder| {
        let missing = name("blobs/ab/missing");
        assert_eq!(remote.get(&missing).unwrap(), None);
        assert_eq!(size(remote, &missing), None);
        assert!(!remote.get_to_file(&missing, &folder.join("to")).unwrap());
        assert!(!folder.join("to").exists());
        assert_eq!(listed(remote, "blobs"), []);
        assert_eq!(listed(remote, ""), []);
    });
}

#[test]
fn put_and_get_round_trip() {
    for_each_remote(|remote, _| {
        for bytes in [b"".as_slice(), b"bytes", &[0; 100_000]] {
            let blob = ObjectName::blob(&Digest::of(bytes));
            remote.put(&blob, bytes).unwrap();
            assert_eq!(remote.get(&blob).unwrap().as_deref(), Some(bytes));
            assert_eq!(size(remote, &blob), Some(bytes.len() as u64));
        }
    });
}

#[test]
fn a_range_ends_where_the_object_does() {
    for_each_remote(|remote, _| {
        let name = name("packs/x");
        assert_eq!(remote.get_range(&name, 0..4).unwrap(), None);
        remote.put(&name, b"0123456789").unwrap();
        for (range, expected) in [(0..4, "0123"), (4..10, "456789"), (8..20, "89")] {
            assert_eq!(remote.get_range(&name, range).unwrap().as_deref(), Some(expected.as_bytes()));
        }
    });
}

#[test]
fn removed_objects_are_gone_and_others_stay() {
    for_each_remote(|remote, _| {
        remote.remove(&[]).unwrap();
        let names: Vec<ObjectName> = (0..30).map(|number| name(&format!("blobs/a/{number}"))).collect();
        names.iter().for_each(|name| remote.put(name, b"bytes").unwrap());
        remote.remove(&names[..20]).unwrap();
        // One that does not exist is no error.
        remote.remove(&names[..21]).unwrap();
        assert_eq!(listed(remote, "blobs").len(), 9);
        assert_eq!(remote.get(&names[0]).unwrap(), None);
        assert_eq!(remote.get(&names[21]).unwrap().as_deref(), Some(b"bytes".as_slice()));
    });
}

#[test]
fn files_are_copied_in_and_out() {
    for_each_remote(|remote, folder| {
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::write(&from, "bytes").unwrap();
        remote.put_from_file(&name("blobs/ab/x"), &from).unwrap();
        assert_eq!(fs::read(&from).unwrap(), b"bytes");
        assert!(remote.get_to_file(&name("blobs/ab/x"), &to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"bytes");
        // The file belongs to the caller: writing to it does not change the object.
        fs::write(&to, "other").unwrap();
        assert_eq!(remote.get(&name("blobs/ab/x")).unwrap().as_deref(), Some(b"bytes".as_slice()));
        assert!(remote.put_from_file(&name("blobs/ab/y"), &folder.join("nowhere")).is_err());
        assert_eq!(size(remote, &name("blobs/ab/y")), None);
    });
}

#[test]
fn sizes_are_in_the_order_of_the_names() {
    for_each_remote(|remote, _| {
        let names: Vec<ObjectName> = (0..100).map(|number| name(&format!("blobs/a/{number}"))).collect();
        for (number, name) in names.iter().enumerate().filter(|(number, _)| number % 3 == 0) {
            remote.put(name, &vec![1; number]).unwrap();
        }
        let expected: Vec<_> = (0..100u64).map(|number| (number % 3 == 0).then_some(number)).collect();
        assert_eq!(remote.sizes(&names).unwrap(), expected);
        assert_eq!(remote.sizes(&[]).unwrap(), []);
    });
}

#[test]
fn a_listing_contains_all_objects_below_a_folder() {
    for_each_remote(|remote, _| {
        for text in ["records/aa/2", "blobs/b", "records/aa/1", "records/ab", "records-of-others/x", "format"] {
            remote.put(&name(text), text.as_bytes()).unwrap();
        }
        let names = |folder: &str| {
            let objects = listed(remote, folder);
            assert!(objects.iter().all(|object| object.size == object.name.as_str().len() as u64));
            objects.into_iter().map(|object| object.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("records"), ["records/aa/1", "records/aa/2", "records/ab"]);
        assert_eq!(names("records/aa"), ["records/aa/1", "records/aa/2"]);
        assert_eq!(names("scratch"), [""; 0]);
        assert_eq!(names("").len(), 6);
    });
}

#[test]
fn a_conditional_put_never_replaces_an_object() {
    for_each_remote(|remote, _| {
        let record = ObjectName::record(&Key::of("task"));
        assert_eq!(remote.put_if_absent(&record, b"first").unwrap(), ConditionalPut::Created);
        assert_eq!(remote.put_if_absent(&record, b"second").unwrap(), ConditionalPut::Existed(b"first".to_vec()));
        assert_eq!(remote.get(&record).unwrap().as_deref(), Some(b"first".as_slice()));
        remote.put(&record, b"third").unwrap();
        assert_eq!(remote.put_if_absent(&record, b"fourth").unwrap(), ConditionalPut::Existed(b"third".to_vec()));
    });
}

#[test]
fn of_many_conditional_puts_at_once_one_succeeds() {
    for_each_remote(|remote, _| {
        for round in 0..10 {
            let record = ObjectName::record(&Key::of(&format!("task {round}")));
            let put = |writer: u8| remote.put_if_absent(&record, &[writer; 10_000]).unwrap();
            let results: Vec<ConditionalPut> = std::thread::scope(|scope| {
                let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || put(writer))).collect();
                writers.into_iter().map(|writer| writer.join().unwrap()).collect()
            });
            let winner = results.iter().position(|result| *result == ConditionalPut::Created).unwrap();
            for (writer, result) in results.iter().enumerate() {
                let existed = ConditionalPut::Existed(vec![winner as u8; 10_000]);
                assert_eq!(*result, if writer == winner { ConditionalPut::Created } else { existed });
            }
        }
    });
}

#[test]
fn readers_never_see_part_of_an_object() {
    for_each_remote(|remote, _| {
        let name = name("blobs/ab/x");
        let put = |byte| remote.put(&name, &vec![byte; 50_000]).unwrap();
        put(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (1..10).for_each(put));
            while !writer.is_finished() {
                let bytes = remote.get(&name).unwrap().unwrap();
                assert_eq!(bytes.len(), 50_000);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            }
        });
    });
}

#[derive(Clone, Debug)]
enum Operation {
    Put(u8, u8),
    PutIfAbsent(u8, u8),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        (0..4u8, any::<u8>()).prop_map(|(name, byte)| Operation::Put(name, byte)),
        (0..4u8, any::<u8>()).prop_map(|(name, byte)| Operation::PutIfAbsent(name, byte)),
    ];
    proptest::collection::vec(operation, 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_sequence_of_operations_matches_a_map(operations in operations()) {
        for_each_remote(|remote, _| {
            let mut map = BTreeMap::new();
            let object = |number: u8| name(&format!("blobs/a{}/{number}", number % 2));
            for operation in &operations {
                match *operation {
                    Operation::Put(number, byte) => {
                        remote.put(&object(number), &[byte]).unwrap();
                        map.insert(object(number), byte);
                    }
                    Operation::PutIfAbsent(number, byte) => {
                        let expected = match map.get(&object(number)) {
                            Some(existing) => ConditionalPut::Existed(vec![*existing]),
                            None => ConditionalPut::Created,
                        };
                        map.entry(object(number)).or_insert(byte);
                        assert_eq!(remote.put_if_absent(&object(number), &[byte]).unwrap(), expected);
                    }
                }
            }
            let got = listed(remote, "blobs").into_iter().map(|object| {
                let byte = remote.get(&object.name).unwrap().unwrap()[0];
                (object.name, byte)
            });
            assert_eq!(got.collect::<BTreeMap<_, _>>(), map);
        });
    }
}

#[test]
fn a_remote_that_does_not_exist_holds_no_records() {
    for_each_remote(|remote, _| {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let error = store.remote_keys(remote).unwrap_err().to_string();
        assert_eq!(error, format!("There is no remote store at `{}`; `cache push` creates one", remote.url()));
    });
}

#[test]
fn a_folder_whose_parent_does_not_exist_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not mounted/remote");
    let remote = open_remote(path.to_str().unwrap(), &RemoteOptions::default()).unwrap();
    let error = remote.put(&name("format"), b"x").unwrap_err();
    assert_eq!(error.to_string(), format!("Could not create `{}`", path.display()));
    assert!(!folder.path().join("not mounted").exists());
}
