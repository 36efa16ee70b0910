//! PyTorch files before version 1.6: five pickles in a row, then the storages.
//!
//! The pickles are a magic number, a protocol version, properties of the machine that wrote the file, the saved object and
//! the list of storage keys. Each storage is its number of elements as `i64`, followed by the elements.
//! Source: `torch/serialization.py` (`_legacy_save`, `_legacy_load`).

use std::collections::BTreeMap;

use super::named_tensor::NamedTensor;
use super::parse_result::ParseResult;
use super::pickle::{MOST_SHARING, Pickle, Reader, Value, assemble};

/// First bytes of such a file: pickle protocol 2 and the ten-byte integer `0x1950a86a20f9469cfc6c`.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The protocol version of all such files.
const PROTOCOL: i64 = 1001;

/// The tensors in the file `bytes`.
pub(super) fn read(bytes: &[u8]) -> ParseResult<Vec<NamedTensor>> {
    let mut reader = Reader::new(bytes);
    Pickle::read(&mut reader)?; // the magic number, already checked by the caller
    match Pickle::read(&mut reader)?.root() {
        Value::Int(PROTOCOL) => {}
        _ => return Err(format!("its protocol is not {PROTOCOL}")),
    }
    Pickle::read(&mut reader)?; // properties of the machine that wrote the file
    let object = Pickle::read(&mut reader)?;
    let keys = Pickle::read(&mut reader)?;
    let Value::List(keys_list) = keys.root() else {
        return Err("its list of storages is not a list".to_owned());
    };
    let widths: BTreeMap<&str, usize> =
        object.storages().map(|storage| (storage.key.as_str(), storage.width)).collect();
    let mut storages = BTreeMap::new();
    for key in keys_list {
        let Value::Text(key) = keys.value(*key) else {
            return Err("the key of one of its storages is not a string".to_owned());
        };
        let width = *widths.get(key.as_str()).ok_or_else(|| format!("its storage `{key}` belongs to no tensor"))?;
        let count = u64::from_le_bytes(reader.array()?);
        let size = usize::try_from(count).ok().and_then(|count| count.checked_mul(width));
        let size = size.ok_or_else(|| format!("its storage `{key}` has an impossible number of elements, {count}"))?;
        storages.insert(key.clone(), reader.take(size)?);
    }
    assemble(&object, &storages, bytes.len().saturating_mul(MOST_SHARING))
}
