//! The pack of records: a store is opened on it, its records are listed and verified.
#![no_main]

use std::fs;

use dnc_cache::Store;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pack: &[u8]| {
    let folder = dnc_fuzz::folder();
    drop(Store::open(folder.path()).expect("a store can be made"));
    fs::write(folder.path().join("records/pack"), pack).expect("the store can be written to");
    let Ok(store) = Store::open(folder.path()) else { return };
    if let Ok(found) = store.ls() {
        for entry in found {
            let _ = store.record(&entry.record.key);
        }
    }
    let _ = store.verify(&|_, _| {});
});
