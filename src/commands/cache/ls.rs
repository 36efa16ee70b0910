//! `dnc-run cache ls`: lists the records of the store.

use std::time::{Duration, UNIX_EPOCH};

use dnc_cache::Store;

use crate::commands::failure::Failure;
use crate::commands::units::{format_age, format_bytes};
use crate::report::run_folder;
use crate::report::table::text_table;

/// Prints a table of all records and a summary of the store.
pub(super) fn run(store: &Store) -> Result<(), Failure> {
    let listing = store.ls()?;
    let now = UNIX_EPOCH + Duration::from_secs(run_folder::now());
    let rows = listing.records.iter().map(|entry| {
        let stage = entry.record.fingerprint.get("stage").and_then(|stage| stage.as_str()).unwrap_or("?");
        let age = now.duration_since(entry.used).unwrap_or(Duration::ZERO);
        let outputs: Vec<_> = entry.record.outputs.keys().map(String::as_str).collect();
        vec![entry.record.key.short(), stage.to_owned(), outputs.join(" "), format_bytes(entry.bytes), format_age(age)]
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
