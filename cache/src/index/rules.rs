//! Rules: which entries of an input folder count, and how.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Folders that never belong to a collection of data: a version history, and the default place of stores.
const NEVER_DATA: [&str; 2] = [".git", ".dnc"];

/// Which entries of an input folder count, and how. By default, all of them do, with their contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRules {
    /// Files and folders that count as absent, also where links lead to them: those that the program itself writes.
    #[serde(default)]
    pub excluded: Vec<PathBuf>,
    /// Whether the folder is a collection of data, in which other things may lie around: links that lead nowhere or in a circle,
    /// pipes, sockets, files that may not be read and names that are not UTF-8 then count with their name and kind instead of
    /// being errors. Folders called `.git` and `.dnc` count as absent.
    #[serde(default)]
    pub is_data: bool,
    /// Extensions, in lower case, of the files of a collection of data whose contents count; of others, only the name counts. If
    /// empty, all contents count.
    #[serde(default)]
    pub extensions: Vec<String>,
}

impl SourceRules {
    /// Whether a folder of this name counts as absent.
    pub(super) fn is_never_data(&self, name: &str) -> bool {
        self.is_data && NEVER_DATA.contains(&name)
    }

    /// Whether the contents of the file count, and not only its name.
    pub(super) fn has_contents(&self, name: &str) -> bool {
        if !self.is_data || self.extensions.is_empty() {
            return true;
        }
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        extension.is_some_and(|extension| self.extensions.contains(&extension))
    }
}
