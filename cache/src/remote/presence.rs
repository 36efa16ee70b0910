//! Presence: which of many objects of one folder exist, with as few requests as possible.

use std::collections::HashMap;

use super::api::Remote;
use crate::error::Result;
use crate::object::ObjectName;

/// Up to this many objects are asked for one by one.
const ASKED_SINGLY: usize = 32;

/// A listing that is given up has cost at most this part of the time that asking for each object takes.
const PART_OF_ASKING: usize = 4;

/// The sizes of many objects of a folder, like [`Remote::sizes`].
pub(crate) fn sizes(remote: &dyn Remote, folder: &str, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
    match listed_sizes(remote, folder, names)? {
        Some(sizes) => Ok(sizes),
        None => remote.sizes(names),
    }
}

/// The sizes of many objects of a folder by listing it. `None` if asking for each of them takes fewer requests.
pub(crate) fn listed_sizes(
    remote: &dyn Remote,
    folder: &str,
    names: &[ObjectName],
) -> Result<Option<Vec<Option<u64>>>> {
    // The requests of a listing follow each other, while many ask at once. In a folder a listing looks at each object, and saves nothing.
    let most = names.len() * remote.listed_per_request() / (PART_OF_ASKING * remote.concurrent_requests().max(1));
    if names.len() <= ASKED_SINGLY || most < names.len() {
        return Ok(None);
    }
    let mut sizes: HashMap<&ObjectName, Option<u64>> = names.iter().map(|name| (name, None)).collect();
    for (listed, object) in remote.list(folder).enumerate() {
        if listed >= most {
            return Ok(None);
        }
        let object = object?;
        if let Some(size) = sizes.get_mut(&object.name) {
            *size = Some(object.size);
        }
    }
    Ok(Some(names.iter().map(|name| sizes[name]).collect()))
}
