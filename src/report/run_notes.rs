//! `notes.json` in the folder of a run: what people wrote about it. No result depends on it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

const FILE: &str = "notes.json";

/// What people wrote about a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// Words by which commands find the run.
    pub tags: BTreeSet<String>,
    /// A text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Notes {
    /// Reads the notes in the folder of a run. Most runs have none.
    ///
    /// # Errors
    /// The file cannot be read or is not valid.
    pub fn read(run: &Path) -> io::Result<Self> {
        let path = run.join(FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read
                .map_err(|error| io::Error::new(error.kind(), format!("Cannot read `{}`: {error}", path.display())))?,
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("`{}`: {error}", path.display())))
    }

    /// Replaces the notes in the folder of a run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, run: &Path) -> io::Result<()> {
        let temporary = run.join(format!(".{FILE}"));
        fs::write(&temporary, serde_json::to_string_pretty(self)? + "\n")?;
        fs::rename(temporary, run.join(FILE))
    }
}

/// Refuses what could not be told from an option or the number of a run.
///
/// # Errors
/// The message says what a tag may be.
pub fn check_tag(tag: &str) -> Result<(), String> {
    if tag.is_empty() || tag.starts_with('-') || tag.contains(|letter: char| letter == '/' || letter.is_whitespace()) {
        return Err(format!("`{tag}` cannot be a tag; a tag is a word without slashes that does not begin with `-`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_kept_and_bad_tags_refused() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(Notes::read(run.path()).unwrap(), Notes::default());
        let notes = Notes { tags: ["best".to_owned()].into(), note: Some("β was frozen".to_owned()) };
        notes.write(run.path()).unwrap();
        assert_eq!(Notes::read(run.path()).unwrap(), notes);
        fs::write(run.path().join(FILE), "{").unwrap();
        assert!(Notes::read(run.path()).unwrap_err().to_string().contains("notes.json"));
        assert_eq!(check_tag("β=0.1"), Ok(()));
        for refused in ["", "a/b", "a b", "-a"] {
            assert!(check_tag(refused).is_err(), "{refused}");
        }
    }
}
