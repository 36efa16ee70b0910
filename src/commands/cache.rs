//! `dnc-run cache`: the store, shown and tended.

use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use dnc_cache::{GcPolicy, Key, Store};
use indicatif::ProgressBar;

use super::place::Place;
use super::{Failure, Folders};
use crate::manifest::parse_bytes;
use crate::report::run_folder::{self, RunFolder};
use crate::report::sinks::bar;
use crate::report::text_table;

/// Arguments of `cache`.
#[derive(Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
    #[command(flatten)]
    folders: Folders,
}

#[derive(Subcommand)]
enum CacheCommand {
    /// Lists the records, and what they take
    Ls,
    /// Reads every byte, and sets aside what is not as it was written
    Verify,
    /// Removes what no kept run names, of this project and of all that share its store
    Gc(GcArgs),
}

#[derive(Args)]
struct GcArgs {
    /// Keeps what the last N runs of each name name
    #[arg(long, value_name = "N", default_value_t = 5)]
    keep: usize,
    /// Removes only what was not used for so long: `12h`, `30d`
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Goes on, oldest use first, until the store is no larger than this: `500MB`, `20GB`
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Empties the quarantine, too
    #[arg(long)]
    quarantine: bool,
    /// Says what would go, and removes nothing
    #[arg(long)]
    dry_run: bool,
}

impl CacheArgs {
    /// Shows or tends the store.
    pub(super) fn run(self) -> Result<(), Failure> {
        let place = Place::here(&self.folders)?;
        let store = Store::open(&place.store)?;
        match self.command {
            CacheCommand::Ls => ls(&store),
            CacheCommand::Verify => verify(&store),
            CacheCommand::Gc(args) => gc(&store, &place, &args),
        }
    }
}

fn ls(store: &Store) -> Result<(), Failure> {
    let listing = store.ls()?;
    let now = UNIX_EPOCH + Duration::from_secs(run_folder::now());
    let rows = listing.records.iter().map(|entry| {
        let stage = entry.record.fingerprint.get("stage").and_then(|stage| stage.as_str()).unwrap_or("?");
        let age = now.duration_since(entry.used).unwrap_or(Duration::ZERO);
        let outputs: Vec<_> = entry.record.outputs.keys().map(String::as_str).collect();
        vec![entry.record.key.short(), stage.to_owned(), outputs.join(" "), told_size(entry.bytes), told_age(age)]
    });
    say!("{}", text_table(&["key", "stage", "outputs", "size", "last use"], rows.collect()));
    eprintln!("{} records, {} blobs, {}", listing.records.len(), listing.blobs, told_size(listing.bytes));
    if listing.unnamed.0 > 0 {
        eprintln!(
            "{} blobs ({}) that no record names; `cache gc` removes them",
            listing.unnamed.0,
            told_size(listing.unnamed.1)
        );
    }
    if !listing.quarantine.is_empty() {
        eprintln!("{} damaged objects in quarantine", listing.quarantine.len());
    }
    Ok(())
}

fn verify(store: &Store) -> Result<(), Failure> {
    let bar = ProgressBar::new(0).with_style(bar::style("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}"));
    let report = store.verify(&|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    for object in &report.quarantined {
        say!("damaged, now in quarantine: {object}");
    }
    for dangling in &report.dangling {
        let (key, missing) = (dangling.key.short(), dangling.missing.len());
        say!("record {key} named {missing} blobs that are gone; its node runs again");
    }
    eprintln!("{} records and {} blobs ({}) read", report.records, report.blobs, told_size(report.bytes));
    if report.is_clean() { Ok(()) } else { Err(Failure::Node) }
}

fn gc(store: &Store, place: &Place, args: &GcArgs) -> Result<(), Failure> {
    let policy = GcPolicy {
        keep: keys_of_all(store, place, args)?,
        keep_blobs: HashSet::new(),
        older_than: args.older_than,
        max_size: args.max_size,
        quarantine: args.quarantine,
        dry_run: args.dry_run,
    };
    let report = store.gc(&policy)?;
    let did = if args.dry_run { "would remove" } else { "removed" };
    eprintln!(
        "{did} {} records, {} blobs ({}), {} temporary and {} scratch folders; {} records ({}) kept",
        report.records.len(),
        report.blobs,
        told_size(report.bytes),
        report.temporary,
        report.scratch,
        report.kept_records,
        told_size(report.kept_bytes)
    );
    if args.max_size.is_some_and(|most| report.kept_bytes > most) {
        eprintln!(
            "note: that is more than --max-size, but kept runs name it or it is in use; a lower --keep lets it go"
        );
    }
    Ok(())
}

/// The keys that the kept runs name, of this project and of all that share its store.
fn keys_of_all(store: &Store, place: &Place, args: &GcArgs) -> Result<HashSet<Key>, Failure> {
    let own = RunFolder::all(&place.runs).context("Cannot read the folder of runs")?;
    if args.keep > 0 && own.is_empty() {
        let place = place.runs.display();
        return Err(Failure::Call(format!(
            "There is no run in `{place}`, so that nothing would be kept; name the folder of the runs with --runs, or say --keep 0"
        )));
    }
    let mut kept = kept_keys(own, args.keep)?;
    for root in store.roots()? {
        if root.exists() {
            let runs =
                RunFolder::all(&root).with_context(|| format!("Cannot read the runs in `{}`", root.display()))?;
            kept.extend(kept_keys(runs, args.keep)?);
        } else {
            eprintln!(
                "note: `{}`, whose runs used this store, is no longer there and counts no longer",
                root.display()
            );
            if !args.dry_run {
                store.remove_root(&root)?;
            }
        }
    }
    Ok(kept)
}

/// The keys that the last `keep` of the runs of each name name, those that go on or were killed not counted. A run without
/// `run.json` has not begun.
fn kept_keys(mut runs: Vec<RunFolder>, keep: usize) -> Result<HashSet<Key>, Failure> {
    let mut kept = HashSet::new();
    let mut of_name = 0;
    let mut name = None;
    while let Some(run) = runs.pop() {
        if name.as_ref() != Some(&run.name) {
            (name, of_name) = (Some(run.name.clone()), 0);
        }
        if of_name >= keep || !run.path.join("run.json").exists() {
            continue;
        }
        // What cannot be read may name anything.
        let json = run.read()?;
        of_name += usize::from(!json.unfinished);
        kept.extend(json.nodes.into_iter().filter_map(|node| node.key));
    }
    Ok(kept)
}

fn age(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604_800)];
    let parsed =
        units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?.trim().parse::<u64>().ok()?, *seconds)));
    let (count, seconds) = parsed.ok_or_else(|| format!("`{text}` is no age; write `90m`, `12h`, `30d` or `4w`"))?;
    Ok(Duration::from_secs(count.saturating_mul(seconds)))
}

const SIZES: [(&str, u64); 4] = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| format!("`{text}` is no size; write `500MB` or `20GiB`"))
}

fn told_size(bytes: u64) -> String {
    let fits = SIZES.iter().find(|(_, unit)| bytes >= *unit);
    fits.map_or_else(|| format!("{bytes} B"), |(name, unit)| format!("{:.1} {name}", bytes as f64 / *unit as f64))
}

fn told_age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86400),
    }
}
