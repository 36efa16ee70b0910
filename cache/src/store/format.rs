//! Format: the version of a store's layout, in its `format` file.

use std::path::Path;

use crate::disk::Disk;
use crate::error::{CacheError, Result, found};
use crate::object::ObjectName;

/// The line in the `format` file of every store that this version reads and writes.
pub(super) const FORMAT: &str = "dnc-store 3";

/// The line in the store's `format` file, or `None` if there is no such file.
pub(super) fn read_format(root: &Path) -> Result<Option<String>> {
    let path = root.join(ObjectName::format().as_str());
    let text = found(std::fs::read_to_string(&path)).map_err(CacheError::io("read", &path))?;
    Ok(text.map(|text| text.lines().next().unwrap_or_default().trim_end().to_owned()))
}

/// Replaces the store's `format` file.
pub(super) fn write_format(disk: &Disk, format: &str) -> Result<()> {
    disk.put(&ObjectName::format(), format!("{format}\n").as_bytes())
}
