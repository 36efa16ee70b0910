//! Benchmark of the store.
//!
//! Usage: `bench_store [PATTERN] [--reps N] [--memory]`. The files are written to a new folder below TMPDIR, which should be on
//! the file system of a typical store.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dnc_bench::{Bench, Work};
use dnc_cache::{Digest, Key, Record, Store};
use rayon::prelude::*;
use serde_json::json;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let bench = Bench::from_args(&[]);
    let folder = tempfile::tempdir()?;
    look_up(&bench, &folder.path().join("look-up"))?;
    commit(&bench, &folder.path().join("commit"))?;
    claim(&bench, &folder.path().join("claim"))?;
    unchanged_folder(&bench, &folder.path().join("unchanged"))?;
    first_hash(&bench, &folder.path().join("images"), "store/first_hash/100kB", 2_000, 100_000)?;
    first_hash(&bench, &folder.path().join("large"), "store/first_hash/500MB", 1, 500_000_000)?;
    Ok(())
}

/// Looks up 10,000 records and checks that their blobs are present, like a run in which all nodes are hits.
fn look_up(bench: &Bench, root: &Path) -> Outcome {
    let rows = ["store/look_up/r10000", "store/present/a10000"];
    if !rows.iter().any(|row| bench.wants(row)) {
        return Ok(());
    }
    let keys: Vec<Key> = (0..10_000).map(|node| Key::of(&format!("node {node}"))).collect();
    let store = Store::open(root)?;
    for (node, key) in keys.iter().enumerate() {
        make(&store, *key, &node.to_le_bytes())?;
    }
    store.flush()?;
    drop(store);

    let look_up = |store: &Store| keys.par_iter().map(|key| store.outputs(key)).collect::<dnc_cache::Result<Vec<_>>>();
    let records = look_up(&Store::open(root)?)?;
    bench.row_timed(rows[0], Work::new(10_000, "records"), || {
        let store = Store::open(root)?;
        let begin = Instant::now();
        let found = look_up(&store)?;
        let passed = begin.elapsed();
        assert!(found.iter().all(Option::is_some), "each was committed");
        Outcome::Ok(passed)
    })?;
    bench.row_timed(rows[1], Work::new(10_000, "artifacts"), || {
        let store = Store::open(root)?;
        let begin = Instant::now();
        for artifact in records.iter().flatten().flat_map(BTreeMap::values) {
            assert!(store.present(artifact)?, "the artifact was committed");
        }
        Ok(begin.elapsed())
    })
}

/// Commits 1,000 tasks in sequence, each with a claim, a folder, a small file, a blob and a record, until all are durable.
fn commit(bench: &Bench, root: &Path) -> Outcome {
    let mut round = 0;
    bench.row_timed("store/commit/r1000", Work::new(1_000, "records"), || {
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

/// Claims and releases 10,000 keys.
fn claim(bench: &Bench, root: &Path) -> Outcome {
    let store = Store::open(root)?;
    let keys: Vec<Key> = (0..10_000).map(|node| Key::of(&format!("node {node}"))).collect();
    bench.row_timed("store/claim/k10000", Work::new(10_000, "claims"), || {
        let begin = Instant::now();
        for key in &keys {
            drop(store.claim(key, &|| false, &mut |_| ())?);
        }
        Ok(begin.elapsed())
    })
}

/// Digest of 100,000 files in 100 folders that have not changed since they were hashed.
fn unchanged_folder(bench: &Bench, root: &Path) -> Outcome {
    let row = "store/unchanged/f100000";
    if !bench.wants(row) {
        return Ok(());
    }
    let input = root.join("input");
    for class in 0..100 {
        let folder = input.join(format!("class_{class:03}"));
        fs::create_dir_all(&folder)?;
        for image in 0..1_000 {
            // Empty files need no disk blocks and are created and removed quickly. The benchmark does not read them.
            fs::File::create(folder.join(format!("image_{image:05}.jpg")))?;
        }
    }
    let index = Store::open(root.join("store"))?.index();
    // The index does not store files that changed within the last two seconds.
    while index.digest_path(&input)?.hashed > 0 {
        std::thread::sleep(Duration::from_secs(1));
    }
    bench.row_timed(row, Work::new(100_000, "files"), || {
        let begin = Instant::now();
        assert_eq!(index.digest_path(&input)?.hashed, 0);
        Ok(begin.elapsed())
    })
}

/// Digest of files that are in the page cache but not in the index.
fn first_hash(bench: &Bench, root: &Path, name: &str, files: u64, length: u32) -> Outcome {
    if !bench.wants(name) {
        return Ok(());
    }
    let input = root.join("input");
    fs::create_dir_all(&input)?;
    let bytes: Vec<u8> = (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for image in 0..files {
        fs::write(input.join(format!("{image}.bin")), &bytes)?;
    }
    let work = files * u64::from(length);
    bench.row_timed(name, Work::new(work, "bytes"), || {
        let index = Store::open(root.join("store"))?.index();
        fs::remove_dir_all(root.join("store/index"))?;
        fs::create_dir(root.join("store/index"))?;
        let begin = Instant::now();
        assert_eq!(index.digest_path(&input)?.hashed, files);
        Ok(begin.elapsed())
    })
}

/// Does what an executor does for a node, with a record of typical size.
fn make(store: &Store, key: Key, bytes: &[u8]) -> Outcome {
    let claim = store.claim(&key, &|| false, &mut |_| ())?;
    let folder = store.task_folder()?;
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
