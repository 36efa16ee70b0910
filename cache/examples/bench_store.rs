//! Times the store on this machine and prints one JSON line per benchmark: `{"name","seconds","work","unit"}`, where
//! `seconds` is the median of five rounds and `work` is how many `unit`s one round does.
//!
//! `cargo run --release -p dnc-cache --example bench_store [FOLDER]`: the files lie in a new folder below FOLDER (default:
//! the system's folder for temporary files), which should be on the file system that a store would be on.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dnc_cache::{Digest, Key, Record, Store};
use serde_json::json;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 5;

fn main() -> Outcome {
    let below = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(below)?;
    look_up(&folder.path().join("look-up"))?;
    commit(&folder.path().join("commit"))?;
    claim(&folder.path().join("claim"))?;
    unchanged_folder(&folder.path().join("unchanged"))?;
    first_hash(&folder.path().join("images"), "first hash of 100 kB files", 2_000, 100_000)?;
    first_hash(&folder.path().join("large"), "first hash of one large file", 1, 500_000_000)?;
    Ok(())
}

/// 10,000 records are looked up and their blobs asked for, as a run does in which nothing is to be done.
fn look_up(root: &Path) -> Outcome {
    let keys: Vec<Key> = (0..10_000).map(|node| Key::of(&format!("node {node}"))).collect();
    let store = Store::open(root)?;
    for (node, key) in keys.iter().enumerate() {
        make(&store, *key, &node.to_le_bytes())?;
    }
    store.flush()?;
    drop(store);

    let mut records = Vec::new();
    report("look up records", 10_000, "records", || {
        let store = Store::open(root)?;
        let begin = Instant::now();
        records = store.records(&keys).into_iter().collect::<dnc_cache::Result<Vec<_>>>()?;
        Ok(begin.elapsed())
    })?;
    report("are artifacts present", 10_000, "artifacts", || {
        let store = Store::open(root)?;
        let begin = Instant::now();
        for artifact in records.iter().flatten().flat_map(|record| record.outputs.values()) {
            assert!(store.present(artifact)?, "the artifact was committed");
        }
        Ok(begin.elapsed())
    })
}

/// 1,000 tasks one after the other, each with a claim, a folder, one small file, a blob and a record, until all is durable.
fn commit(root: &Path) -> Outcome {
    let mut round = 0;
    report("commit records of one small blob", 1_000, "records", || {
        round += 1;
        let store = Store::open(root)?;
        let begin = Instant::now();
        for node in 0..1_000 {
            let name = format!("round {round}, node {node}");
            make(&store, Key::of(&name), name.as_bytes())?;
        }
        store.flush()?;
        Ok(begin.elapsed())
    })
}

fn claim(root: &Path) -> Outcome {
    let store = Store::open(root)?;
    let keys: Vec<Key> = (0..10_000).map(|node| Key::of(&format!("node {node}"))).collect();
    report("claim and let go", 10_000, "claims", || {
        let begin = Instant::now();
        for key in &keys {
            drop(store.claim(key, &|| false, &mut |_| ())?);
        }
        Ok(begin.elapsed())
    })
}

/// 100,000 files in 100 folders that have not changed since they were hashed.
fn unchanged_folder(root: &Path) -> Outcome {
    let input = root.join("input");
    for class in 0..100 {
        let folder = input.join(format!("class_{class:03}"));
        fs::create_dir_all(&folder)?;
        for image in 0..1_000 {
            // Empty files take no blocks, so that the folder is made and removed quickly. Nothing reads them here.
            fs::File::create(folder.join(format!("image_{image:05}.jpg")))?;
        }
    }
    let index = Store::open(root.join("store"))?.index();
    // The youngest files are not believed until they are two seconds old.
    while index.digest_path(&input)?.hashed > 0 {
        std::thread::sleep(Duration::from_secs(1));
    }
    report("an unchanged folder", 100_000, "files", || {
        let begin = Instant::now();
        assert_eq!(index.digest_path(&input)?.hashed, 0);
        Ok(begin.elapsed())
    })
}

/// Files in the page cache that the index has never seen.
fn first_hash(root: &Path, name: &str, files: u64, length: u32) -> Outcome {
    let input = root.join("input");
    fs::create_dir_all(&input)?;
    let bytes: Vec<u8> = (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for image in 0..files {
        fs::write(input.join(format!("{image}.bin")), &bytes)?;
    }
    let work = files * u64::from(length);
    report(name, work, "bytes", || {
        let index = Store::open(root.join("store"))?.index();
        fs::remove_dir_all(root.join("store/index"))?;
        fs::create_dir(root.join("store/index"))?;
        let begin = Instant::now();
        assert_eq!(index.digest_path(&input)?.hashed, files);
        Ok(begin.elapsed())
    })
}

/// What an executor does for a node, with a record of a usual size.
fn make(store: &Store, key: Key, bytes: &[u8]) -> Outcome {
    let claim = store.claim(&key, &|| false, &mut |_| ())?;
    let folder = store.task_folder(&key)?;
    fs::write(folder.path().join("embeddings.arrow"), bytes)?;
    let columns = ["id", "label", "split", "vector"];
    let facets = columns.map(|column| (column.to_owned(), Digest::of(column.as_bytes())));
    let embeddings = store.ingest(folder.path(), BTreeMap::from(facets))?;
    let fingerprint = json!({
        "stage": "embed", "version": 1, "seed": 0, "arithmetic": "cpu/avx512",
        "params": { "crop": 224, "batch": 80, "backbone": "resnet50", "freeze": false },
        "inputs": { "images": { "id": Digest::of(b"id"), "pixels": Digest::of(b"pixels") }, "model": Digest::of(b"model") },
    });
    store
        .commit(claim, Record { key, fingerprint, outputs: BTreeMap::from([("embeddings".to_owned(), embeddings)]) })?;
    Ok(())
}

fn report(name: &str, work: u64, unit: &str, mut round: impl FnMut() -> Outcome<Duration>) -> Outcome {
    let mut times = (0..ROUNDS).map(|_| round()).collect::<Outcome<Vec<_>>>()?;
    times.sort_unstable();
    println!("{}", json!({ "name": name, "seconds": times[ROUNDS / 2].as_secs_f64(), "work": work, "unit": unit }));
    Ok(())
}
