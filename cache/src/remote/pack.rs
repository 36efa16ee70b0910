//! Packs of a remote: many records and small blobs in one object, so that ten thousand small nodes are not ten thousand requests.
//!
//! A pack begins with its index, a line of JSON that lists what follows: first the records, as they are stored elsewhere (record.rs),
//! then the blobs.
//!
//! ```text
//! {"records":[["<key>",<size>,"<digest of the outputs>"],…],"blobs":[["<digest>",<size>],…]}
//! ```
//!
//! Its name is `packs/<digest of the index>-<size of the index>`: one request fetches the index, and the name verifies it. A record or a
//! blob is verified by itself. A pack never changes, and two that hold the same have the same name.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Key};
use crate::object::ObjectName;
use crate::record::Record;

/// Size at which a pack is complete: large enough that requests are few, small enough to be sent in one.
const FULL: usize = 4 << 20;

/// Number of records or blobs at which a pack is complete, which bounds its index.
const FULL_ENTRIES: usize = 8192;

/// What a pack contains, in the order of its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackIndex {
    records: Vec<(Key, u64, Digest)>,
    blobs: Vec<(Digest, u64)>,
}

impl PackIndex {
    /// Reads an index. Returns `None` if it is damaged or incomplete.
    pub(crate) fn decode(name: &PackName, bytes: &[u8]) -> Option<Self> {
        let is_intact = bytes.len() as u64 == name.index_size && Digest::of(bytes) == name.index;
        is_intact.then(|| serde_json::from_slice(bytes).ok()).flatten()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("digests and keys are text");
        bytes.push(b'\n');
        bytes
    }

    /// Each record's key, the part of the pack with its bytes, and the digest of its outputs.
    pub(crate) fn records(&self, name: &PackName) -> impl Iterator<Item = (Key, Range<u64>, Digest)> {
        let mut end = name.index_size;
        self.records.iter().map(move |&(key, size, outputs)| (key, next(&mut end, size), outputs))
    }

    /// Each blob's digest, and the part of the pack with its bytes.
    pub(crate) fn blobs(&self, name: &PackName) -> impl Iterator<Item = (Digest, Range<u64>)> {
        let mut end = self.records.iter().fold(name.index_size, |end, (_, size, _)| end.saturating_add(*size));
        self.blobs.iter().map(move |&(digest, size)| (digest, next(&mut end, size)))
    }

    /// The size that the whole pack must have.
    pub(crate) fn pack_size(&self, name: &PackName) -> u64 {
        let sizes = self.records.iter().map(|(_, size, _)| size).chain(self.blobs.iter().map(|(_, size)| size));
        sizes.fold(name.index_size, |end, size| end.saturating_add(*size))
    }
}

fn next(end: &mut u64, size: u64) -> Range<u64> {
    let start = *end;
    *end = start.saturating_add(size);
    start..*end
}

/// The name of a pack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PackName {
    index: Digest,
    index_size: u64,
}

impl PackName {
    /// The part of the pack with its index.
    pub(crate) fn index(&self) -> Range<u64> {
        0..self.index_size
    }

    /// The name of the object.
    pub(crate) fn object(&self) -> ObjectName {
        ObjectName::pack_of_remote(&self.index, self.index_size)
    }

    /// The pack of this name, if it is one.
    pub(crate) fn of(object: &ObjectName) -> Option<Self> {
        let (index, index_size) = object.last_part().split_once('-')?;
        let name = Self { index: index.parse().ok()?, index_size: index_size.parse().ok()? };
        (name.object() == *object).then_some(name)
    }
}

/// A pack that is being filled.
#[derive(Debug, Default)]
pub(crate) struct PackBuilder {
    index: PackIndex,
    records: Vec<u8>,
    blobs: Vec<u8>,
}

impl PackBuilder {
    /// Adds a record, given its encoded form.
    pub(crate) fn add_record(&mut self, record: &Record, bytes: &[u8]) {
        self.index.records.push((record.key, bytes.len() as u64, record.outputs_digest()));
        self.records.extend_from_slice(bytes);
    }

    /// Adds the bytes of a blob.
    pub(crate) fn add_blob(&mut self, digest: Digest, bytes: &[u8]) {
        self.index.blobs.push((digest, bytes.len() as u64));
        self.blobs.extend_from_slice(bytes);
    }

    /// Whether the pack should be completed.
    pub(crate) fn is_full(&self) -> bool {
        let entries = self.index.records.len().max(self.index.blobs.len());
        self.records.len() + self.blobs.len() >= FULL || entries >= FULL_ENTRIES
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.index == PackIndex::default()
    }

    /// The name and the bytes of the pack. The builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> (PackName, Vec<u8>) {
        let Self { index, records, blobs } = std::mem::take(self);
        let mut bytes = index.encode();
        let name = PackName { index: Digest::of(&bytes), index_size: bytes.len() as u64 };
        bytes.extend(records);
        bytes.extend(blobs);
        (name, bytes)
    }
}

/// Whether a pack of this size is worth merging with others.
pub(crate) fn is_small(size: u64) -> bool {
    size < FULL as u64 / 4
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_pack_gives_back_its_parts_and_an_index_no_flipped_bit() {
        let record = |text: &str| Record { key: Key::of(text), fingerprint: text.into(), outputs: BTreeMap::new() };
        let mut builder = PackBuilder::default();
        assert!(builder.is_empty());
        for text in ["a", "b"] {
            builder.add_record(&record(text), &record(text).encode());
        }
        builder.add_blob(Digest::of(b"blob"), b"blob");
        builder.add_blob(Digest::of(b""), b"");
        let (name, bytes) = builder.finish();
        assert!(builder.is_empty());
        assert_eq!(PackName::of(&name.object()), Some(name.clone()));
        let (start, end) = (name.index().start as usize, name.index().end as usize);
        let index = PackIndex::decode(&name, &bytes[start..end]).unwrap();
        assert_eq!(index.pack_size(&name), bytes.len() as u64);
        let part = |range: Range<u64>| &bytes[range.start as usize..range.end as usize];
        for (key, range, outputs) in index.records(&name) {
            assert_eq!(Record::decode(&key, part(range)).unwrap().outputs_digest(), outputs);
        }
        let blobs: Vec<_> = index.blobs(&name).map(|(digest, range)| (digest, part(range))).collect();
        assert_eq!(blobs, [(Digest::of(b"blob"), b"blob".as_slice()), (Digest::of(b""), b"")]);
        for at in 0..end {
            let mut damaged = bytes[..end].to_vec();
            damaged[at] ^= 1;
            assert_eq!(PackIndex::decode(&name, &damaged), None);
            assert_eq!(PackIndex::decode(&name, &bytes[..at]), None);
        }
    }

    #[test]
    fn other_names_are_no_packs() {
        for text in ["packs/x-1", "packs/readme", "blobs/a/b"] {
            assert_eq!(PackName::of(&ObjectName::new(text).unwrap()), None, "{text}");
        }
        let name = PackName { index: Digest::of(b""), index_size: 7 };
        let padded = name.object().to_string().replace("-7", "-07");
        assert_eq!(PackName::of(&ObjectName::new(padded).unwrap()), None);
    }
}
