//! Garbage collection in a remote, for `cache gc --remote`.
//!
//! Kept are the records that the caller names, everything younger than the grace period, and the blobs that kept records name. Ages are
//! those of the server: gc writes an object and reads from the listing when that was. Everything that a push has just written is
//! therefore kept, whatever the clocks of the machines say. Right before blobs are removed, records that arrived meanwhile are read too.
//!
//! A push that found an old blob there does not send it again. If gc removes that blob in the same moments, the record arrives without
//! it; whoever needs the bytes then finds them missing and computes them.
//!
//! Records and packs are removed before blobs, so what is left after a kill is whole, and the next gc goes on.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::catalogue::{Catalogue, ListedPack, Place};
use super::handle::Store;
use super::state::StoreState;
use crate::digest::{Digest, Key};
use crate::error::Result;
use crate::object::ObjectName;
use crate::record::Record;
use crate::remote::{PackBuilder, Remote, RemoteObject, check_readable, is_small};
use crate::{clock, parallel};

/// The object whose age is that of the moment.
const NOW: &str = "gc/time";

/// Number of objects that are removed together, as many as one request to S3 removes.
const REMOVED_TOGETHER: usize = 1000;

/// Number of small packs from which they are merged.
const MERGED_FROM: usize = 8;

/// What to remove from a remote.
#[derive(Clone, Debug)]
pub struct RemoteGcPolicy {
    /// Keys whose records are kept with all their blobs.
    pub keep: HashSet<Key>,
    /// Nothing younger than this is removed.
    pub grace: Duration,
    /// Only report, remove nothing.
    pub dry_run: bool,
}

/// What was removed from a remote, or would be removed without `dry_run`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteGcReport {
    /// Number of removed records.
    pub records: u64,
    /// Number of removed blobs.
    pub blobs: u64,
    /// Total size of the removed objects, less that of the packs that were written instead, in bytes.
    pub bytes: u64,
    /// Number of packs that were removed.
    pub packs: u64,
    /// Number of packs that were replaced by others without their garbage.
    pub rewritten_packs: u64,
    /// Number of records that are kept.
    pub kept_records: u64,
    /// Number of those that are kept only because they are young.
    pub young_records: u64,
}

impl Store {
    /// Removes from a remote what the policy selects. `progress` receives the number of objects that were looked at or removed so
    /// far, and the total that is known so far.
    ///
    /// # Errors
    /// There is no remote of a known format, or it cannot be accessed. It can be repeated, and then goes on.
    pub fn remote_gc(
        &self,
        policy: &RemoteGcPolicy,
        remote: &dyn Remote,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<RemoteGcReport> {
        check_readable(remote)?;
        let since = clock::earlier(now(policy, remote)?, policy.grace);
        let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut sweep = Sweep {
            store: &self.state,
            policy,
            remote,
            since,
            progress,
            done,
            total,
            read: HashSet::new(),
            named: HashSet::new(),
            report: RemoteGcReport::default(),
        };
        sweep.run()?;
        Ok(sweep.report)
    }
}

/// The time of the server, as far as something may be written to find out.
fn now(policy: &RemoteGcPolicy, remote: &dyn Remote) -> Result<SystemTime> {
    if policy.dry_run {
        return Ok(clock::now());
    }
    let name = ObjectName::new(NOW).expect("a plain name");
    remote.put(&name, b"This object shows the time of the server.\n")?;
    let mut now = None;
    for object in remote.list("gc") {
        let object = object?;
        now = now.max((object.name == name).then_some(object.modified));
    }
    remote.remove(&[name])?;
    // Another gc may have removed it. The clock of this machine may be wrong, so everything counts as young.
    Ok(now.unwrap_or(SystemTime::UNIX_EPOCH))
}

struct Sweep<'a> {
    store: &'a StoreState,
    policy: &'a RemoteGcPolicy,
    remote: &'a dyn Remote,
    /// What was written since then is kept.
    since: SystemTime,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    done: AtomicU64,
    total: AtomicU64,
    /// Kept records that were read.
    read: HashSet<Key>,
    /// Blobs that kept records name.
    named: HashSet<Digest>,
    report: RemoteGcReport,
}

/// What happens to a pack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It is replaced if others of this kind are.
    Small,
    Replaced,
    Removed,
}

impl Sweep<'_> {
    fn run(&mut self) -> Result<()> {
        let (single, catalogue) = self.survey()?;
        self.report.kept_records = self.read.len() as u64;
        self.report.young_records = self.read.iter().filter(|key| !self.policy.keep.contains(key)).count() as u64;
        self.remove_records(single)?;
        self.sweep_packs(&catalogue)?;
        // What a push has written meanwhile.
        self.survey()?;
        self.remove_blobs()
    }

    /// Reads the kept records that were not read yet, and notes their blobs.
    fn survey(&mut self) -> Result<(Vec<RemoteObject>, Arc<Catalogue>)> {
        let catalogue = self.store.catalogue(self.remote)?;
        let single = self.remote.list("records").collect::<Result<Vec<_>>>()?;
        let mut packed = Vec::new();
        for key in catalogue.keys().filter(|key| !self.read.contains(key)) {
            let Some((place, _)) = catalogue.record(key) else { continue };
            packed.extend(
                (self.is_young(&catalogue.packs[place.pack]) || self.policy.keep.contains(key))
                    .then(|| (place.clone(), *key)),
            );
        }
        let kept = single.iter().filter(|object| self.is_kept(object)).filter_map(|object| object.name.key());
        let kept: Vec<Key> = kept.filter(|key| !self.read.contains(key)).collect();
        self.expect(packed.len() + kept.len());

        let requests = catalogue.requests(packed);
        let remote = self.remote;
        let fetched = parallel::map(&requests, remote.concurrent_requests(), |request| {
            let mut read = Vec::new();
            request.fetch(remote, |key, bytes| {
                read.push((*key, blobs_of(key, bytes)));
                Ok(())
            })?;
            self.advance(read.len());
            Ok(read)
        })?;
        let fetched_singly = parallel::map(&kept, remote.concurrent_requests(), |key| {
            let bytes = remote.get(&ObjectName::record(key))?.unwrap_or_default();
            self.advance(1);
            Ok((*key, blobs_of(key, &bytes)))
        })?;
        for (key, blobs) in fetched.into_iter().flatten().chain(fetched_singly) {
            self.read.insert(key);
            self.named.extend(blobs);
        }
        Ok((single, catalogue))
    }

    fn is_young(&self, pack: &ListedPack) -> bool {
        pack.modified >= self.since
    }

    /// Whether a record that is an object of its own is kept.
    fn is_kept(&self, record: &RemoteObject) -> bool {
        record.modified >= self.since || record.name.key().is_none_or(|key| self.policy.keep.contains(&key))
    }

    fn remove_records(&mut self, mut records: Vec<RemoteObject>) -> Result<()> {
        records.retain(|object| !self.is_kept(object));
        self.report.records += records.len() as u64;
        self.remove(&records)
    }

    /// Removes packs without anything that is kept, and replaces those that are mostly garbage, and many small ones.
    fn sweep_packs(&mut self, catalogue: &Catalogue) -> Result<()> {
        let mut fates = Vec::with_capacity(catalogue.packs.len());
        for number in 0..catalogue.packs.len() {
            fates.push(self.fate(number, catalogue)?);
        }
        let are_many = fates.iter().filter(|(fate, ..)| *fate == Fate::Small).count() >= MERGED_FROM;
        let (mut garbage, mut replaced, mut live) = (Vec::new(), Vec::new(), Vec::new());
        for (pack, (fate, parts, lost)) in catalogue.packs.iter().zip(fates) {
            let object = RemoteObject { name: pack.name.object(), size: pack.size, modified: pack.modified };
            match fate {
                Fate::Kept => continue,
                Fate::Small if !are_many => continue,
                Fate::Removed => garbage.push(object),
                Fate::Small | Fate::Replaced => {
                    replaced.push(object);
                    live.extend(parts);
                }
            }
            self.report.records += lost;
        }
        (self.report.packs, self.report.rewritten_packs) = (garbage.len() as u64, replaced.len() as u64);
        for pack in self.remote.list("packs") {
            let pack = pack?;
            let is_damaged = catalogue.damaged.contains(&pack.name);
            garbage.extend((is_damaged && pack.modified < self.since).then_some(pack));
        }
        let (names, written) = self.rewrite(live, catalogue)?;
        // Only once what is kept of them is elsewhere. By chance, it may be in a pack of the same content.
        garbage.extend(replaced.into_iter().filter(|pack| !names.contains(&pack.name)));
        self.remove(&garbage)?;
        self.report.bytes = self.report.bytes.saturating_sub(written);
        Ok(())
    }

    /// What happens to a pack, the parts of it that are kept, and the number of its records that are not.
    fn fate(&self, number: usize, catalogue: &Catalogue) -> Result<(Fate, Vec<(Place, Part)>, u64)> {
        let pack = &catalogue.packs[number];
        if self.is_young(pack) {
            return Ok((Fate::Kept, Vec::new(), 0));
        }
        let Some(index) = self.store.index_of(&pack.name, self.remote)? else {
            return Ok((Fate::Kept, Vec::new(), 0));
        };
        let lost = index.records(&pack.name).filter(|(key, ..)| !self.read.contains(key)).count() as u64;
        let (mut parts, mut live, mut all, mut is_disputed) = (Vec::new(), 0, 0, false);
        for (key, range, _) in index.records(&pack.name) {
            let size = range.end - range.start;
            all += size;
            // If another pack has an earlier record of the key, that one counts.
            let counts = catalogue.record(&key).filter(|(place, _)| place.pack == number && self.read.contains(&key));
            if let Some((place, _)) = counts {
                is_disputed |= catalogue.is_disputed(&key);
                live += size;
                parts.push((place.clone(), Part::Record(key)));
            }
        }
        for (digest, range) in index.blobs(&pack.name) {
            let size = range.end - range.start;
            all += size;
            let counts = catalogue.blob(&digest).filter(|place| place.pack == number && self.named.contains(&digest));
            if let Some(place) = counts {
                live += size;
                parts.push((place.clone(), Part::Blob(digest)));
            }
        }
        let fate = match () {
            () if parts.is_empty() => Fate::Removed,
            // A new pack would be younger than one with another record of the key, which would then count.
            () if is_disputed => Fate::Kept,
            () if live < all / 2 => Fate::Replaced,
            () if is_small(pack.size) => Fate::Small,
            () => Fate::Kept,
        };
        Ok((fate, parts, lost))
    }

    /// Writes these parts into new packs. Returns the names of these, and the size of the parts.
    fn rewrite(&self, parts: Vec<(Place, Part)>, catalogue: &Catalogue) -> Result<(BTreeSet<ObjectName>, u64)> {
        let mut names = BTreeSet::new();
        if self.policy.dry_run {
            return Ok((names, parts.iter().map(|(place, _)| place.size()).sum()));
        }
        let mut written = 0;
        let mut builder = PackBuilder::default();
        for request in catalogue.requests(parts) {
            request.fetch(self.remote, |part, bytes| {
                match part {
                    Part::Record(key) => {
                        // What is damaged is lost.
                        if let Some(record) = Record::decode(key, bytes) {
                            builder.add_record(&record, bytes);
                            written += bytes.len() as u64;
                        }
                    }
                    Part::Blob(digest) if Digest::of(bytes) == *digest => {
                        builder.add_blob(*digest, bytes);
                        written += bytes.len() as u64;
                    }
                    Part::Blob(_) => {}
                }
                if builder.is_full() {
                    names.extend(self.store.put_pack(&mut builder, self.remote)?);
                }
                Ok(())
            })?;
        }
        names.extend(self.store.put_pack(&mut builder, self.remote)?);
        Ok((names, written))
    }

    /// Removes blobs, and marks of dropped ones, that no kept record names.
    fn remove_blobs(&mut self) -> Result<()> {
        for folder in ["blobs", "dropped"] {
            let mut removed = Vec::new();
            for object in self.remote.list(folder) {
                let object = object?;
                let digest = object.name.digest().or(object.name.dropped_digest());
                let is_garbage = digest.is_some_and(|digest| !self.named.contains(&digest));
                removed.extend((is_garbage && object.modified < self.since).then_some(object));
            }
            if folder == "blobs" {
                self.report.blobs += removed.len() as u64;
            }
            self.remove(&removed)?;
        }
        Ok(())
    }

    fn remove(&mut self, objects: &[RemoteObject]) -> Result<()> {
        self.report.bytes += objects.iter().map(|object| object.size).sum::<u64>();
        if self.policy.dry_run {
            return Ok(());
        }
        self.expect(objects.len());
        for some in objects.chunks(REMOVED_TOGETHER) {
            self.remote.remove(&Vec::from_iter(some.iter().map(|object| object.name.clone())))?;
            self.advance(some.len());
        }
        Ok(())
    }

    fn expect(&self, objects: usize) {
        self.total.fetch_add(objects as u64, Ordering::Relaxed);
    }

    fn advance(&self, objects: usize) {
        let done = self.done.fetch_add(objects as u64, Ordering::Relaxed) + objects as u64;
        (self.progress)(done, self.total.load(Ordering::Relaxed));
    }
}

/// A part of a pack.
#[derive(Clone, Copy)]
enum Part {
    Record(Key),
    Blob(Digest),
}

/// The blobs that the record of `key` names; none if it is damaged, since it is of no use then.
fn blobs_of(key: &Key, bytes: &[u8]) -> Vec<Digest> {
    let outputs = Record::decode_outputs(key, bytes).unwrap_or_default();
    outputs.values().flat_map(|artifact| artifact.files()).map(|file| file.digest).collect()
}
