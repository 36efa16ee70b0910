//! Roots of a remote: for each project that pushes to it, the keys that its runs reference.
//!
//! A store knows the folders of runs of its own projects (roots.rs), but nobody knows who else pushes to a bucket. So whoever pushes leaves
//! in the remote what it needs there, and gc keeps what any project needs.

use std::collections::{BTreeSet, HashSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::handle::Store;
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result};
use crate::object::ObjectName;
use crate::record::{verified_body, with_checksum};
use crate::remote::{Remote, prepare_for_writing};

/// What a project needs in a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRoot {
    /// The object in the remote.
    pub object: ObjectName,
    /// What people know the project by: a machine and a folder of runs.
    pub project: String,
    /// The keys that its runs reference.
    pub keys: BTreeSet<Key>,
    /// When the project last said so, by the clock of the server.
    pub modified: SystemTime,
}

/// The first line of the object; the second is its checksum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    project: String,
    keys: BTreeSet<Key>,
}

impl Store {
    /// Writes what a project needs in a remote. Replaces what it has said before.
    ///
    /// # Errors
    /// The remote is of another format or cannot be accessed.
    pub fn set_remote_root(&self, project: &str, keys: &HashSet<Key>, remote: &dyn Remote) -> Result<()> {
        prepare_for_writing(remote)?;
        let root = Root { project: project.to_owned(), keys: keys.iter().copied().collect() };
        let bytes = with_checksum(serde_json::to_vec(&root).expect("keys are text"));
        remote.put(&ObjectName::root(&Digest::of(project.as_bytes())), &bytes)
    }

    /// What all projects need in a remote, the latest first.
    ///
    /// # Errors
    /// The remote cannot be read, or one of these objects is damaged: it might name anything.
    pub fn remote_roots(&self, remote: &dyn Remote) -> Result<Vec<RemoteRoot>> {
        let mut roots = Vec::new();
        for object in remote.list("roots") {
            let object = object?;
            let Some(bytes) = remote.get(&object.name)? else { continue };
            let root = verified_body(&bytes).and_then(|body| serde_json::from_slice::<Root>(body).ok());
            let Some(Root { project, keys }) = root else {
                return Err(CacheError::DamagedRoot { url: remote.url().to_owned(), object: object.name.to_string() });
            };
            roots.push(RemoteRoot { object: object.name, project, keys, modified: object.modified });
        }
        roots.sort_by(|one, other| (other.modified, &other.project).cmp(&(one.modified, &one.project)));
        Ok(roots)
    }
}
