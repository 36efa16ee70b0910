//! `dnc-run cache verify`: checks every byte of the store.

use clap::Args;
use dnc_cache::{Digest, Key, Store, VerifyReport};
use serde::Serialize;

use super::transfer::{BYTES, with_progress_bar};
use crate::commands::failure::Failure;
use crate::commands::output::write_json;
use crate::commands::units::format_bytes;

/// Arguments of `cache verify`.
#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `cache verify --json` prints.
#[derive(Serialize)]
struct VerifyJson {
    /// Whether nothing is damaged.
    ok: bool,
    /// Number of records.
    records: u64,
    /// Number of blobs.
    blobs: u64,
    /// Total size of the blobs.
    bytes: u64,
    /// Names of damaged objects, which are in quarantine.
    quarantined: Vec<String>,
    /// Records that were removed because blobs are missing.
    dangling: Vec<DanglingJson>,
}

/// A record that was removed.
#[derive(Serialize)]
struct DanglingJson {
    /// Its key.
    key: Key,
    /// Digests of the missing blobs.
    missing: Vec<Digest>,
}

impl VerifyJson {
    fn new(report: &VerifyReport) -> Self {
        let dangling = report.dangling.iter();
        Self {
            ok: report.is_clean(),
            records: report.records,
            blobs: report.blobs,
            bytes: report.bytes,
            quarantined: report.quarantined.iter().map(ToString::to_string).collect(),
            dangling: dangling.map(|one| DanglingJson { key: one.key, missing: one.missing.clone() }).collect(),
        }
    }
}

impl VerifyArgs {
    /// Verifies the store and prints what is damaged. Fails if anything is.
    pub(super) fn run(self, store: &Store) -> Result<(), Failure> {
        let report = with_progress_bar(BYTES, |progress| store.verify(progress))?;
        if self.json {
            write_json(&VerifyJson::new(&report))?;
            return if report.is_clean() { Ok(()) } else { Err(Failure::Node) };
        }
        for object in &report.quarantined {
            print_line!("damaged and moved to quarantine: {object}");
        }
        for dangling in &report.dangling {
            let (key, missing) = (dangling.key.short(), dangling.missing.len());
            print_line!("removed the record {key}, which referenced {missing} missing blobs; its node will run again");
        }
        eprintln!("verified {} records and {} blobs ({})", report.records, report.blobs, format_bytes(report.bytes));
        if report.is_clean() { Ok(()) } else { Err(Failure::Node) }
    }
}
