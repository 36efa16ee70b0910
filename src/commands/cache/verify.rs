//! `dnc-run cache verify`: checks every byte of the store.

use dnc_cache::Store;
use indicatif::ProgressBar;

use crate::commands::failure::Failure;
use crate::commands::units::format_bytes;
use crate::report::sinks::bar;

/// Verifies the store and prints what is damaged. Fails if anything is.
pub(super) fn run(store: &Store) -> Result<(), Failure> {
    let bar = ProgressBar::new(0).with_style(bar::style("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}"));
    let report = store.verify(&|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
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
