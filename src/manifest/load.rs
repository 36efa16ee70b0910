//! Reads a manifest from a file or a string, and checks it.

use std::path::{Path, PathBuf};

use super::checked::Manifest;
use super::diagnostic::{Diagnostics, Texts};
use super::options::ReadOptions;
use super::{check, overrides, raw, text};

impl Manifest {
    /// Reads and checks the manifest at `path`.
    ///
    /// # Errors
    /// Every problem found, in the order of the text.
    pub fn load(path: &Path, options: ReadOptions<'_>) -> Result<Self, Diagnostics> {
        let text = text::read(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::parse(&path.display().to_string(), text, folder, options)
    }

    /// Checks the manifest `text`. Messages refer to it as `name`, and relative paths in it start from `folder`.
    ///
    /// # Errors
    /// Every problem found, in the order of the text.
    pub fn parse(name: &str, text: String, folder: PathBuf, options: ReadOptions<'_>) -> Result<Self, Diagnostics> {
        let mut texts = Texts::default();
        texts.push_file(name, text);
        options.overrides.iter().for_each(|change| change.push_text(&mut texts));
        let mut problems = Vec::new();
        if options.overrides.is_empty()
            && let Some(pieces) = text::parse_in_pieces(texts.get(0).0)
            && let Some(raw) = raw::read_pieces(pieces, &mut problems)
            && let Some(manifest) = check::check(raw, &texts, folder.clone(), options, &mut problems)
            && problems.is_empty()
        {
            return Ok(manifest);
        }
        // Messages need spans in the whole text, so whatever has a problem is parsed again in one piece.
        problems.clear();
        let table = text::parse(texts.get(0).0, &mut problems);
        let manifest = table.and_then(|table| {
            let table = overrides::apply(table, options.overrides, &texts, &mut problems);
            check::check(raw::read(table, &mut problems), &texts, folder, options, &mut problems)
        });
        match manifest {
            Some(manifest) if problems.is_empty() => Ok(manifest),
            _ => Err(Diagnostics::new(texts, problems)),
        }
    }
}
