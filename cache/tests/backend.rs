//! The laws of a backend, for each of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dnc_cache::{Backend, Digest, Disk, Key, Memory, Object, ObjectName};
use proptest::prelude::*;

/// Calls `law` with an empty backend of every kind.
fn for_each_backend(law: impl Fn(&dyn Backend, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    law(&Memory::new(), folder.path());
    law(&Disk::open(folder.path().join("disk")).unwrap(), folder.path());
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

#[test]
fn absence_is_an_answer() {
    for_each_backend(|backend, folder| {
        let absent = name("blobs/ab/absent");
        assert_eq!(backend.get(&absent).unwrap(), None);
        assert_eq!(backend.size(&absent).unwrap(), None);
        assert!(!backend.get_file(&absent, &folder.join("to")).unwrap());
        assert!(!folder.join("to").exists());
        assert!(!backend.remove(&absent).unwrap());
        assert!(!backend.quarantine(&absent).unwrap());
        assert_eq!(backend.list("blobs/").unwrap(), []);
    });
}

#[test]
fn what_is_put_can_be_got() {
    for_each_backend(|backend, _| {
        for bytes in [b"".as_slice(), b"bytes", &[0; 100_000]] {
            let blob = ObjectName::blob(&Digest::of(bytes));
            backend.put(&blob, bytes).unwrap();
            assert_eq!(backend.get(&blob).unwrap().as_deref(), Some(bytes));
            assert_eq!(backend.size(&blob).unwrap(), Some(bytes.len() as u64));
        }
    });
}

#[test]
fn files_go_in_and_out_as_copies() {
    for_each_backend(|backend, folder| {
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::write(&from, "bytes").unwrap();
        backend.put_file(&name("blobs/ab/x"), &from).unwrap();
        assert_eq!(fs::read(&from).unwrap(), b"bytes");
        assert!(backend.get_file(&name("blobs/ab/x"), &to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"bytes");
        // The file is the caller's own: writing to it leaves the object alone.
        fs::write(&to, "other").unwrap();
        assert_eq!(backend.get(&name("blobs/ab/x")).unwrap().as_deref(), Some(b"bytes".as_slice()));
        fs::remove_file(&to).unwrap();
        assert!(backend.put_file(&name("blobs/ab/y"), &folder.join("nowhere")).is_err());
        assert_eq!(backend.size(&name("blobs/ab/y")).unwrap(), None);
    });
}

#[test]
fn a_listing_is_sorted_and_has_the_prefix() {
    for_each_backend(|backend, _| {
        for text in ["records/aa/2", "blobs/b", "records/aa/1", "records/ab", "format"] {
            backend.put(&name(text), text.as_bytes()).unwrap();
        }
        let listed = |prefix: &str| {
            let objects = backend.list(prefix).unwrap();
            assert!(objects.iter().all(|object| object.size == object.name.as_str().len() as u64));
            objects.into_iter().map(|object| object.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(listed("records/"), ["records/aa/1", "records/aa/2", "records/ab"]);
        assert_eq!(listed("records/aa"), ["records/aa/1", "records/aa/2"]);
        assert_eq!(listed("records/a"), ["records/aa/1", "records/aa/2", "records/ab"]);
        assert_eq!(listed("f"), ["format"]);
        assert_eq!(listed("scratch/"), [""; 0]);
    });
}

#[test]
fn quarantine_keeps_the_bytes_out_of_sight() {
    for_each_backend(|backend, _| {
        let record = ObjectName::record(&Key::of("task"));
        backend.put(&record, b"rotten").unwrap();
        assert!(backend.quarantine(&record).unwrap());
        assert_eq!(backend.get(&record).unwrap(), None);
        assert_eq!(backend.list("records/").unwrap(), []);
        let aside = name(&format!("quarantine/{record}"));
        assert_eq!(backend.list("quarantine/").unwrap(), [Object { name: aside.clone(), size: 6 }]);
        assert_eq!(backend.get(&aside).unwrap().as_deref(), Some(b"rotten".as_slice()));
        // The same name may rot twice.
        backend.put(&record, b"again").unwrap();
        assert!(backend.quarantine(&record).unwrap());
        assert_eq!(backend.get(&aside).unwrap().as_deref(), Some(b"again".as_slice()));
    });
}

#[test]
fn whoever_reads_sees_all_of_an_object() {
    for_each_backend(|backend, _| {
        let name = name("blobs/ab/x");
        let put = |byte| backend.put(&name, &vec![byte; 50_000]).unwrap();
        put(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (1..10).for_each(put));
            while !writer.is_finished() {
                let bytes = backend.get(&name).unwrap().unwrap();
                assert_eq!(bytes.len(), 50_000);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            }
        });
    });
}

#[derive(Clone, Debug)]
enum Deed {
    Put(u8, u8),
    Remove(u8),
    Quarantine(u8),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        (0..4u8, any::<u8>()).prop_map(|(name, byte)| Deed::Put(name, byte)),
        (0..4u8).prop_map(Deed::Remove),
        (0..4u8).prop_map(Deed::Quarantine),
    ];
    proptest::collection::vec(deed, 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_sequence_of_deeds_leaves_what_a_map_would_hold(deeds in deeds()) {
        for_each_backend(|backend, _| {
            let mut map = BTreeMap::new();
            let object = |number: u8| name(&format!("blobs/a{}/{number}", number % 2));
            for deed in &deeds {
                match *deed {
                    Deed::Put(number, byte) => {
                        backend.put(&object(number), &[byte]).unwrap();
                        map.insert(object(number), byte);
                    }
                    Deed::Remove(number) => {
                        assert_eq!(backend.remove(&object(number)).unwrap(), map.remove(&object(number)).is_some());
                    }
                    Deed::Quarantine(number) => {
                        let byte = map.remove(&object(number));
                        assert_eq!(backend.quarantine(&object(number)).unwrap(), byte.is_some());
                        map.extend(byte.map(|byte| (name(&format!("quarantine/{}", object(number))), byte)));
                    }
                }
            }
            let listed = ["blobs/", "quarantine/"].map(|prefix| backend.list(prefix).unwrap()).concat();
            let got = listed.into_iter().map(|object| (object.name.clone(), backend.get(&object.name).unwrap().unwrap()[0]));
            assert_eq!(got.collect::<BTreeMap<_, _>>(), map);
        });
    }
}
