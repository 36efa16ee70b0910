//! Record: what the task of a key produced, in a format that people and `jq` can read.
//!
//! Two lines of JSON: the record, then the checksum `"blake3:<digest of the first line>"`, which detects any flipped bit. A
//! record contains neither a time nor a host name, so the same task leaves the same record on every machine.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::artifact::{Artifact, FileEntry};
use crate::digest::{Digest, Key};

/// What the task of `key` produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The task's key.
    pub key: Key,
    /// The ingredients of the key as the caller wrote them. Used in explanations, never for lookups.
    pub fingerprint: serde_json::Value,
    /// The task's outputs, by name.
    pub outputs: Outputs,
}

impl Record {
    /// All files of all outputs.
    pub fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.outputs.values().flat_map(Artifact::files)
    }

    /// Digest of the outputs: two records of a key differ if their outputs do.
    pub(crate) fn outputs_digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(&self.outputs).expect("all map keys are strings and all digests are text"))
    }

    /// The record as it is stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        with_checksum(serde_json::to_vec(self).expect("all map keys are strings and all digests are text"))
    }

    /// Reads the record of `key`. Returns `None` if the bytes are damaged, incomplete, or the record of another key.
    pub(crate) fn decode(key: &Key, bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(verified_body(bytes)?).ok().filter(|record: &Self| record.key == *key)
    }

    /// Like [`Record::decode`], but reads only the outputs: parsing the fingerprint takes three quarters of the time.
    pub(crate) fn decode_outputs(key: &Key, bytes: &[u8]) -> Option<Outputs> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WithoutFingerprint {
            key: Key,
            #[serde(rename = "fingerprint")]
            _fingerprint: IgnoredAny,
            outputs: Outputs,
        }
        let record: WithoutFingerprint = serde_json::from_slice(verified_body(bytes)?).ok()?;
        (record.key == *key).then_some(record.outputs)
    }
}

/// The artifacts that a task produced, by output name.
pub type Outputs = BTreeMap<String, Artifact>;

/// Appends the checksum line to a line of JSON.
pub(crate) fn with_checksum(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = checksum_line(&body);
    body.push(b'\n');
    body.extend_from_slice(checksum.as_bytes());
    body
}

/// The key of an encoded record, read without verifying the checksum. Returns `None` if this is not a record.
pub(crate) fn unverified_key(bytes: &[u8]) -> Option<Key> {
    let text = bytes.strip_prefix(b"{\"key\":\"")?.get(..64)?;
    str::from_utf8(text).ok()?.parse().ok()
}

/// The first line, if it matches the checksum in the second.
pub(crate) fn verified_body(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (body, checksum) = (&bytes[..end], &bytes[end + 1..]);
    (checksum == checksum_line(body).as_bytes()).then_some(body)
}

fn checksum_line(body: &[u8]) -> String {
    format!("\"blake3:{}\"\n", Digest::of(body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sample(text: &str, bytes: &[u8]) -> Record {
        let file = FileEntry { path: "images.arrow".into(), size: 3, digest: Digest::of(bytes) };
        let facets = BTreeMap::from([("id".to_owned(), Digest::of(b"ids"))]);
        let images = Artifact::new(vec![file], facets).unwrap();
        Record {
            key: Key::of(text),
            fingerprint: json!({ "stage": text, "params": { "crop": 224, "margin": 0.2 } }),
            outputs: BTreeMap::from([("images".to_owned(), images)]),
        }
    }

    #[test]
    fn both_lines_are_json() {
        let bytes = sample("decode", b"x").encode();
        let lines: Vec<_> = std::str::from_utf8(&bytes).unwrap().lines().collect();
        assert_eq!(lines.len(), 2);
        for line in lines {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn a_record_of_another_key_is_refused() {
        let record = sample("decode", b"x");
        assert_eq!(Record::decode(&Key::of("embed"), &record.encode()), None);
        assert_eq!(Record::decode_outputs(&Key::of("embed"), &record.encode()), None);
    }

    proptest! {
        #[test]
        fn encoding_round_trips(text: String, bytes: Vec<u8>) {
            let record = sample(&text, &bytes);
            prop_assert_eq!(Record::decode_outputs(&record.key, &record.encode()), Some(record.outputs.clone()));
            prop_assert_eq!(Record::decode(&record.key, &record.encode()), Some(record));
        }

        #[test]
        fn any_flipped_bit_is_detected(at: prop::sample::Index, bit in 0u8..8) {
            let record = sample("decode", b"x");
            let mut bytes = record.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Record::decode(&record.key, &bytes), None);
            prop_assert_eq!(Record::decode_outputs(&record.key, &bytes), None);
        }

        #[test]
        fn any_truncation_is_detected(at: prop::sample::Index) {
            let record = sample("decode", b"x");
            let bytes = record.encode();
            prop_assert_eq!(Record::decode(&record.key, &bytes[..at.index(bytes.len())]), None);
        }
    }
}
