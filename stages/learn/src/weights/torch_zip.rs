//! PyTorch files since version 1.6: a zip archive with `data.pkl` and one uncompressed entry `data/{key}` per storage.
//!
//! Source: `torch/serialization.py` (`_save`) and `caffe2/serialize/inline_container.h`.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::named_tensor::NamedTensor;
use super::parse_result::ParseResult;
use super::pickle::{MOST_SHARING, Pickle, Reader, assemble};

/// First bytes of such a file.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// The tensors in the file `bytes`.
pub(super) fn read(bytes: &[u8]) -> ParseResult<Vec<NamedTensor>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
        format!(
            "it is truncated or damaged: its {} bytes end without the directory of a zip archive ({error}); copy or download it again",
            bytes.len()
        )
    })?;
    let names: Vec<String> =
        (0..archive.len()).filter_map(|index| Some(archive.name_for_index(index)?.ok()?.into_owned())).collect();
    let pickle_name = names.iter().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
    let folder = pickle_name
        .and_then(|name| name.strip_suffix("data.pkl"))
        .ok_or("it is a zip archive without `data.pkl`, so `torch.save` did not write it")?;
    if names.iter().any(|name| name.strip_prefix(folder) == Some("byteorder"))
        && entry(&mut archive, &format!("{folder}byteorder"))? != b"little"
    {
        return Err("its numbers are big-endian".to_owned());
    }
    let pickle = Pickle::read(&mut Reader::new(&entry(&mut archive, &format!("{folder}data.pkl"))?))?;
    let mut storages = BTreeMap::new();
    let mut left = bytes.len(); // Overlapping entries could add up to more bytes than the file has.
    for (_, view) in pickle.tensors()? {
        let key = &view.storage.key;
        if !storages.contains_key(key) {
            let storage = entry(&mut archive, &format!("{folder}data/{key}"))?;
            left = left.checked_sub(storage.len()).ok_or("its storages overlap")?;
            storages.insert(key.clone(), storage);
        }
    }
    assemble(&pickle, &storages, bytes.len().saturating_mul(MOST_SHARING))
}

/// The bytes of an entry; the archive verifies its checksum. Only uncompressed entries can be read, so none is longer than
/// the file, whatever its header says.
fn entry(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> ParseResult<Vec<u8>> {
    let problem = |error: &dyn std::fmt::Display| format!("its entry `{name}`: {error}");
    let mut entry = archive.by_name(name).map_err(|error| problem(&error))?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| problem(&error))?;
    Ok(bytes)
}
