//! `dnc-run cache ls`: lists the records of the store.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use dnc_cache::{Digest, Key, Listing, RecordEntry, Store};
use serde::Serialize;

use crate::commands::failure::Failure;
use crate::commands::output::write_json;
use crate::commands::units::{format_age, format_bytes};
use crate::report::run_folder;
use crate::report::table::text_table;

/// Arguments of `cache ls`.
#[derive(Args)]
pub(super) struct LsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `cache ls --json` prints.
#[derive(Serialize)]
struct ListingJson {
    /// The records, most recently used first.
    records: Vec<RecordJson>,
    /// Number of blobs.
    blobs: u64,
    /// Total size of the blobs.
    bytes: u64,
    /// Number of blobs that no record names.
    unreferenced_blobs: u64,
    /// Total size of these.
    unreferenced_bytes: u64,
    /// Names of damaged objects in quarantine.
    quarantine: Vec<String>,
}

/// A record.
#[derive(Serialize)]
struct RecordJson {
    /// The key.
    key: Key,
    /// Kind of the stage.
    stage: Option<String>,
    /// The digest of each output.
    outputs: BTreeMap<String, Digest>,
    /// Total size of its blobs.
    bytes: u64,
    /// Last use, in seconds since 1970.
    used: u64,
}

impl ListingJson {
    fn new(listing: Listing) -> Self {
        let record = |RecordEntry { record, used, bytes }: RecordEntry| RecordJson {
            key: record.key,
            stage: record.fingerprint.get("stage").and_then(|stage| stage.as_str()).map(str::to_owned),
            outputs: record.outputs.iter().map(|(name, artifact)| (name.clone(), artifact.digest())).collect(),
            bytes,
            used: used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        };
        Self {
            records: listing.records.into_iter().map(record).collect(),
            blobs: listing.blobs,
            bytes: listing.bytes,
            unreferenced_blobs: listing.unreferenced_blobs,
            unreferenced_bytes: listing.unreferenced_bytes,
            quarantine: listing.quarantine.iter().map(ToString::to_string).collect(),
        }
    }
}

impl LsArgs {
    /// Prints a table of all records and a summary of the store.
    pub(super) fn run(self, store: &Store) -> Result<(), Failure> {
        let listing = store.ls()?;
        if self.json {
            return Ok(write_json(&ListingJson::new(listing))?);
        }
        let now = UNIX_EPOCH + Duration::from_secs(run_folder::now());
        let rows = listing.records.iter().map(|entry| {
            let stage = entry.record.fingerprint.get("stage").and_then(|stage| stage.as_str()).unwrap_or("?");
            let age = now.duration_since(entry.used).unwrap_or(Duration::ZERO);
            let outputs: Vec<_> = entry.record.outputs.keys().map(String::as_str).collect();
            vec![
                entry.record.key.short(),
                stage.to_owned(),
                outputs.join(" "),
                format_bytes(entry.bytes),
                format_age(age),
            ]
        });
        print_line!("{}", text_table(&["key", "stage", "outputs", "size", "last use"], rows.collect()));
        eprintln!("{} records, {} blobs, {}", listing.records.len(), listing.blobs, format_bytes(listing.bytes));
        if listing.unreferenced_blobs > 0 {
            let size = format_bytes(listing.unreferenced_bytes);
            eprintln!("{} blobs ({size}) belong to no record; `cache gc` removes them", listing.unreferenced_blobs);
        }
        if !listing.quarantine.is_empty() {
            let objects = listing.quarantine.len();
            eprintln!("{objects} damaged objects are in quarantine; `cache gc --quarantine` removes them");
        }
        Ok(())
    }
}
