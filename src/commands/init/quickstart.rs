//! The quickstart: a manifest and its images, which are part of the program, so that whoever has only the program has a first run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{create, schema_text};
use crate::commands::failure::Failure;
use crate::manifest::schema;

/// The file that is run.
const MANIFEST: &str = "quickstart.toml";

/// The files as they lie in `pipelines`. The last one says whose drawings these are, as their licences ask.
const FILES: [(&str, &[u8]); 3] = [
    (MANIFEST, include_bytes!("../../../pipelines/quickstart.toml")),
    ("data/open-emoji-mini.parquet", include_bytes!("../../../pipelines/data/open-emoji-mini.parquet")),
    ("data/README.md", include_bytes!("../../../pipelines/data/README.md")),
];

/// Writes the files into a folder, which need not exist, and returns the path of the manifest. Files that are there already and are
/// the same are left.
pub(super) fn write(folder: &Path) -> Result<PathBuf, Failure> {
    let text = schema_text()?;
    let mut missing = Vec::new();
    for (name, bytes) in FILES.into_iter().chain([(schema::FILE, text.as_bytes())]) {
        let path = folder.join(name);
        if !path.exists() {
            missing.push((path, bytes));
        } else if fs::read(&path).with_context(|| format!("Cannot read `{}`", path.display()))? != bytes {
            return Err(Failure::Call(format!(
                "`{}` exists, is not that of the quickstart and is not overwritten; name another folder, as in \
                 `--quickstart quickstart`",
                path.display()
            )));
        }
    }
    for (path, bytes) in missing {
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("Cannot create `{}`", parent.display()))?;
        create(&path, bytes)?;
    }
    Ok(folder.join(MANIFEST))
}
