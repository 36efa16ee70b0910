//! Catalogue: what the packs of a remote contain, known from their indexes.
//!
//! If two packs have records of the same key, the one that was written first counts, by the clock of the server and then by name, so
//! that everybody finds the same one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::digest::{Digest, Key};
use crate::error::Result;
use crate::object::ObjectName;
use crate::remote::{PackIndex, PackName, Remote};

/// Parts of a pack with at most this much between them are fetched with one request.
const GAP: u64 = 64 << 10;

/// The largest part that is fetched with one request, unless a single record or blob is larger.
const LARGEST_PART: u64 = 8 << 20;

/// What the intact packs of a remote contain.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// The packs, the oldest first.
    pub(super) packs: Vec<ListedPack>,
    /// Packs that are truncated, or whose index is damaged. What is in them does not count.
    pub(super) damaged: BTreeSet<ObjectName>,
    records: HashMap<Key, (Place, Digest)>,
    blobs: HashMap<Digest, Place>,
    /// Keys of which packs have records with different outputs.
    disputed: HashSet<Key>,
}

/// A pack in the listing of a remote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListedPack {
    pub(super) modified: SystemTime,
    pub(super) name: PackName,
    pub(super) size: u64,
}

/// Where a record or a blob is: the number of the pack, and the part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) pack: usize,
    start: u64,
    end: u64,
}

impl Place {
    /// The size of the part in bytes.
    pub(super) fn size(&self) -> u64 {
        self.end - self.start
    }
}

/// The catalogue that this process read last.
#[derive(Debug)]
pub(super) struct LastCatalogue {
    pub(super) url: String,
    pub(super) read: Instant,
    pub(super) listed: Vec<ListedPack>,
    pub(super) catalogue: Arc<Catalogue>,
}

impl Catalogue {
    /// Where the record of `key` is, and the digest of its outputs.
    pub(super) fn record(&self, key: &Key) -> Option<&(Place, Digest)> {
        self.records.get(key)
    }

    /// Where a blob is.
    pub(super) fn blob(&self, digest: &Digest) -> Option<&Place> {
        self.blobs.get(digest)
    }

    /// The keys of all records.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.records.keys()
    }

    /// Whether packs have records of `key` with different outputs.
    pub(super) fn is_disputed(&self, key: &Key) -> bool {
        self.disputed.contains(key)
    }

    /// The name of a pack, given its number.
    pub(super) fn object(&self, pack: usize) -> ObjectName {
        self.packs[pack].name.object()
    }

    /// Adds a pack that is younger than all others.
    pub(super) fn add(&mut self, listed: ListedPack, index: &PackIndex) {
        let (pack, name) = (self.packs.len(), &listed.name);
        let place = |Range { start, end }: Range<u64>| Place { pack, start, end };
        for (key, range, outputs) in index.records(name) {
            let (_, first) = self.records.entry(key).or_insert_with(|| (place(range), outputs));
            if *first != outputs {
                self.disputed.insert(key);
            }
        }
        for (digest, range) in index.blobs(name) {
            self.blobs.entry(digest).or_insert_with(|| place(range));
        }
        self.packs.push(listed);
    }

    /// The requests that fetch these parts of packs, each with what it is wanted for.
    pub(super) fn requests<T>(&self, mut wanted: Vec<(Place, T)>) -> Vec<PartRequest<T>> {
        wanted.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut requests = Vec::<PartRequest<T>>::new();
        for (place, item) in wanted {
            let is_near = |last: &PartRequest<T>| {
                let end = place.end.max(last.range.end);
                last.pack == place.pack && place.start <= last.range.end + GAP && end - last.range.start <= LARGEST_PART
            };
            if !requests.last().is_some_and(is_near) {
                let (object, range) = (self.object(place.pack), place.start..place.start);
                requests.push(PartRequest { object, pack: place.pack, range, items: Vec::new() });
            }
            let last = requests.last_mut().expect("one was added if there was none");
            last.range.end = last.range.end.max(place.end);
            last.items.push((place.start..place.end, item));
        }
        requests
    }
}

/// A request for neighbouring parts of a pack.
pub(super) struct PartRequest<T> {
    pub(super) object: ObjectName,
    pack: usize,
    range: Range<u64>,
    items: Vec<(Range<u64>, T)>,
}

impl<T> PartRequest<T> {
    /// Sends the request, and calls `accept` with each part and what it is wanted for. Nothing is verified, and what is missing is empty.
    pub(super) fn fetch(&self, remote: &dyn Remote, mut accept: impl FnMut(&T, &[u8]) -> Result<()>) -> Result<()> {
        let is_empty = self.range.is_empty();
        let bytes = if is_empty { None } else { remote.get_range(&self.object, self.range.clone())? };
        let bytes = bytes.unwrap_or_default();
        for (range, item) in &self.items {
            let at = |offset: u64| usize::try_from(offset - self.range.start).ok();
            let part = at(range.start).zip(at(range.end)).and_then(|(start, end)| bytes.get(start..end));
            accept(item, part.unwrap_or_default())?;
        }
        Ok(())
    }
}
