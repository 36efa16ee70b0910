//! A record: what a key produced, in a form that people, `jq` and later versions can read.
//!
//! Two lines of JSON: the record, then `"blake3:<digest of the first line>"`. A record in which a single bit has flipped
//! is thereby noticed. It holds no clock and no host, so that the same task leaves the same record everywhere.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::artifact::{Artifact, FileEntry};
use crate::digest::{Digest, Key};

/// What the task named by `key` produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The key that the record answers.
    pub key: Key,
    /// The ingredients of the task as its owner wrote them: for explanations, never for look-up.
    pub fingerprint: serde_json::Value,
    /// The task's outputs by name.
    pub outputs: Outputs,
}

impl Record {
    /// Every file of every output.
    pub fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.outputs.values().flat_map(Artifact::files)
    }

    /// The form on disk.
    pub(crate) fn encode(&self) -> Vec<u8> {
        seal_body(serde_json::to_vec(self).expect("names are strings and digests are text, so nothing can fail"))
    }

    /// The record of `key`, or `None` if these bytes are not one that is whole.
    pub(crate) fn decode(key: &Key, bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(sound_body(bytes)?).ok().filter(|record: &Self| record.key == *key)
    }

    /// As [`Record::decode`], of the outputs alone: three quarters of the time go into the fingerprint.
    pub(crate) fn decode_outputs(key: &Key, bytes: &[u8]) -> Option<Outputs> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WithoutFingerprint {
            key: Key,
            #[serde(rename = "fingerprint")]
            _fingerprint: IgnoredAny,
            outputs: Outputs,
        }
        let record: WithoutFingerprint = serde_json::from_slice(sound_body(bytes)?).ok()?;
        (record.key == *key).then_some(record.outputs)
    }
}

/// What a task produced, by the names of its outputs.
pub type Outputs = BTreeMap<String, Artifact>;

/// A line of JSON and the second line, which says that the first is whole.
pub(crate) fn seal_body(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = checksum_line(&body);
    body.push(b'\n');
    body.extend_from_slice(checksum.as_bytes());
    body
}

/// The key that what seems to be a record tells, of which nobody has seen yet whether it is whole.
pub(crate) fn key_of_body(bytes: &[u8]) -> Option<Key> {
    let text = bytes.strip_prefix(b"{\"key\":\"")?.get(..64)?;
    str::from_utf8(text).ok()?.parse().ok()
}

/// The first line, if the second one says that it is whole.
pub(crate) fn sound_body(bytes: &[u8]) -> Option<&[u8]> {
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
    fn a_record_under_another_key_is_not_believed() {
        let record = sample("decode", b"x");
        assert_eq!(Record::decode(&Key::of("embed"), &record.encode()), None);
        assert_eq!(Record::decode_outputs(&Key::of("embed"), &record.encode()), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text: String, bytes: Vec<u8>) {
            let record = sample(&text, &bytes);
            prop_assert_eq!(Record::decode_outputs(&record.key, &record.encode()), Some(record.outputs.clone()));
            prop_assert_eq!(Record::decode(&record.key, &record.encode()), Some(record));
        }

        #[test]
        fn any_flipped_bit_is_noticed(at: prop::sample::Index, bit in 0u8..8) {
            let record = sample("decode", b"x");
            let mut bytes = record.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Record::decode(&record.key, &bytes), None);
            prop_assert_eq!(Record::decode_outputs(&record.key, &bytes), None);
        }

        #[test]
        fn any_cut_is_noticed(at: prop::sample::Index) {
            let record = sample("decode", b"x");
            let bytes = record.encode();
            prop_assert_eq!(Record::decode(&record.key, &bytes[..at.index(bytes.len())]), None);
        }
    }
}
