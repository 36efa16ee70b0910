//! Health of the store: format, size, quarantine. Its blobs are not read; `cache verify` does that.

use std::path::Path;

use dnc_cache::{CacheError, Listing, Store, StoreFormat};

use super::finding::Finding;
use crate::commands::units::format_bytes;
use crate::error_chain::error_chain;

const TOPIC: &str = "store";

/// Looks at the store in `root`, which need not exist.
pub(super) fn check(root: &Path) -> Vec<Finding> {
    let shown = root.display().to_string();
    let format = match Store::format_of(root) {
        Ok(format) => format,
        Err(error) => return vec![unreadable(&error)],
    };
    match format {
        StoreFormat::Absent => {
            vec![Finding::ok(TOPIC, "folder", format!("{shown} does not exist yet; the first run creates it"))]
        }
        StoreFormat::Older(format) => vec![
            Finding::note(TOPIC, "format", format!("{format}, in {shown}"))
                .advise("The next run upgrades the store; older versions of dnc-run cannot open it afterwards."),
        ],
        StoreFormat::Unknown(format) => vec![Finding::problem(
            TOPIC,
            "format",
            format!("{format}, in {shown}"),
            "Use the version of dnc-run that wrote the store, or another store with `--store DIR`.",
        )],
        StoreFormat::Current(format) => {
            let mut findings = vec![Finding::ok(TOPIC, "format", format!("{format}, in {shown}"))];
            match Store::open(root).and_then(|store| store.ls()) {
                Ok(listing) => findings.extend(contents(&listing)),
                Err(error) => findings.push(unreadable(&error)),
            }
            findings
        }
    }
}

fn unreadable(error: &CacheError) -> Finding {
    let advice = "Make the store's folder readable and writable, or use another one with `--store DIR`.";
    Finding::problem(TOPIC, "contents", error_chain(error), advice)
}

fn contents(listing: &Listing) -> Vec<Finding> {
    let size = format!("{} records, {} blobs, {}", listing.records.len(), listing.blobs, format_bytes(listing.bytes));
    let mut findings = vec![Finding::ok(TOPIC, "contents", size)];
    if listing.unreferenced_blobs > 0 {
        let value = format!("{} blobs, {}", listing.unreferenced_blobs, format_bytes(listing.unreferenced_bytes));
        findings.push(Finding::note(TOPIC, "without a record", value).advise("`dnc-run cache gc` removes them."));
    }
    findings.push(match listing.quarantine.len() {
        0 => Finding::ok(TOPIC, "quarantine", "empty"),
        damaged => Finding::note(TOPIC, "quarantine", format!("{damaged} damaged objects")).advise(
            "Their nodes run again. `dnc-run cache verify` checks the rest, `dnc-run cache gc --quarantine` empties it; check \
             the disk if more follow.",
        ),
    });
    findings
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_store_is_neither_created_nor_upgraded() {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let root = folder.path().join("store");
        assert_eq!(check(&root)[0].status, Status::Ok);
        assert!(!root.exists());
        drop(Store::open(&root).expect("the folder is writable"));
        let findings = check(&root);
        assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:?}");
        for (format, expected) in [("dnc-store 1", Status::Note), ("dnc-store 99", Status::Problem)] {
            let file = root.join("format");
            fs::remove_file(&file).expect("the store has a format");
            fs::write(&file, format!("{format}\n")).expect("the folder is writable");
            assert_eq!(check(&root)[0].status, expected, "{format}");
            assert_eq!(fs::read_to_string(&file).expect("it is there"), format!("{format}\n"));
        }
    }
}
