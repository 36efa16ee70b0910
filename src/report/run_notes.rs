//! `notes.json` in the folder of a run: what people wrote about it. No result depends on it.

use std::collections::BTreeSet;
use std::fs::{self, File};
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

    /// Changes the notes in the folder of a run, and returns them. Of several processes that do so at the same time, none undoes what
    /// another did.
    ///
    /// # Errors
    /// The file cannot be read or written, or `change` fails, after which the notes are what they were.
    pub fn change<E: From<io::Error>>(run: &Path, change: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<Self, E> {
        let folder = File::open(run)?;
        // Where there are no locks, the last of several writers wins.
        let _ = folder.lock();
        let mut notes = Self::read(run)?;
        change(&mut notes)?;
        notes.write(run)?;
        Ok(notes)
    }

    /// Replaces the notes in the folder of a run.
    pub(super) fn write(&self, run: &Path) -> io::Result<()> {
        let (temporary, path) = (run.join(format!(".{FILE}")), run.join(FILE));
        let written = fs::write(&temporary, serde_json::to_string_pretty(self)? + "\n");
        written
            .and_then(|()| fs::rename(temporary, &path))
            .map_err(|error| io::Error::new(error.kind(), format!("Cannot write `{}`: {error}", path.display())))
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
    fn changes_at_the_same_time_do_not_undo_each_other() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path();
        let tags: BTreeSet<String> = (0..20).map(|tag| format!("tag{tag}")).collect();
        std::thread::scope(|scope| {
            for tag in &tags {
                scope.spawn(move || {
                    let add = |notes: &mut Notes| {
                        notes.tags.insert(tag.clone());
                        Ok::<(), io::Error>(())
                    };
                    Notes::change(path, add).unwrap();
                });
            }
        });
        assert_eq!(Notes::read(path).unwrap().tags, tags);
    }

    #[test]
    fn notes_are_kept_and_bad_tags_refused() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(Notes::read(run.path()).unwrap(), Notes::default());
        let notes = Notes { tags: ["best".to_owned()].into(), note: Some("β was frozen".to_owned()) };
        notes.write(run.path()).unwrap();
        assert_eq!(Notes::read(run.path()).unwrap(), notes);
        let error = notes.write(&run.path().join("gone")).unwrap_err().to_string();
        assert!(error.starts_with("Cannot write `") && error.contains("gone/notes.json`: "), "{error}");
        fs::write(run.path().join(FILE), "{").unwrap();
        assert!(Notes::read(run.path()).unwrap_err().to_string().contains("notes.json"));
        assert_eq!(check_tag("β=0.1"), Ok(()));
        for refused in ["", "a/b", "a b", "-a"] {
            assert!(check_tag(refused).is_err(), "{refused}");
        }
    }
}
