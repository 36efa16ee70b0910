//! PyTorch's files before 1.6: five pickles one after the other, then the storages.
//!
//! The pickles are a magic number, a protocol version, facts on the writing machine, the saved object, and the list of
//! storage keys; each storage is its number of elements as `i64` and its elements.
//! Source: `torch/serialization.py` (`_legacy_save`, `_legacy_load`).

use std::collections::BTreeMap;

use super::pickle::{Node, Outcome, Pickle, Reader, assemble};
use super::{MOST_SHARING, NamedTensor};

/// How such a file begins: protocol 2, and a ten-byte integer `0x1950a86a20f9469cfc6c`.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The version that all such files have.
const PROTOCOL: i64 = 1001;

/// The tensors in the file `bytes`.
pub(super) fn read(bytes: &[u8]) -> Outcome<Vec<NamedTensor>> {
    let mut reader = Reader::new(bytes);
    Pickle::read(&mut reader)?; // the magic number, which the caller has seen
    match Pickle::read(&mut reader)?.root() {
        Node::Int(PROTOCOL) => {}
        _ => return Err(format!("its protocol is not {PROTOCOL}")),
    }
    Pickle::read(&mut reader)?; // facts on the writing machine
    let object = Pickle::read(&mut reader)?;
    let keys = Pickle::read(&mut reader)?;
    let Node::List(keys_list) = keys.root() else {
        return Err("its list of storages is no list".to_owned());
    };
    let widths: BTreeMap<&str, usize> =
        object.storages().map(|storage| (storage.key.as_str(), storage.width)).collect();
    let mut storages = BTreeMap::new();
    for key in keys_list {
        let Node::Text(key) = keys.node(*key) else {
            return Err("a storage's key in it is no text".to_owned());
        };
        let width = *widths.get(key.as_str()).ok_or_else(|| format!("its storage `{key}` belongs to no tensor"))?;
        let count = u64::from_le_bytes(reader.array()?);
        let size = usize::try_from(count).ok().and_then(|count| count.checked_mul(width));
        let size = size.ok_or_else(|| format!("its storage `{key}` has {count} elements"))?;
        storages.insert(key.clone(), reader.take(size)?);
    }
    assemble(&object, &storages, bytes.len().saturating_mul(MOST_SHARING))
}
