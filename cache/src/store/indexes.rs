//! Indexes: how the catalogue of a remote is read.
//!
//! Packs never change, so an index is fetched once and then kept in the store under the pack's name. Each look at the packs lists their
//! names and fetches the indexes that are new.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalogue::{Catalogue, LastCatalogue, ListedPack};
use super::state::StoreState;
use crate::error::Result;
use crate::remote::{PackIndex, PackName, Remote, check_readable};
use crate::{parallel, poison};

/// How long a run may take a catalogue for current: its nodes ask in many small groups.
const FRESH: Duration = Duration::from_secs(10);

impl StoreState {
    /// The catalogue of a remote, which the caller has [checked](check_readable).
    pub(super) fn catalogue(&self, remote: &dyn Remote) -> Result<Arc<Catalogue>> {
        let mut listed = Vec::new();
        for object in remote.list("packs") {
            let object = object?;
            let name = PackName::of(&object.name);
            listed.extend(name.map(|name| ListedPack { modified: object.modified, name, size: object.size }));
        }
        listed.sort_unstable();
        let mut last = poison::lock(&self.catalogue);
        // A damaged pack may have been replaced by an intact one of the same size and time.
        let is_same = |last: &LastCatalogue| {
            last.url == remote.url() && last.listed == listed && last.catalogue.damaged.is_empty()
        };
        let same = last.take().filter(is_same);
        let catalogue = match same {
            Some(same) => same.catalogue,
            None => Arc::new(self.read_catalogue(&listed, remote)?),
        };
        let (url, read) = (remote.url().to_owned(), Instant::now());
        *last = Some(LastCatalogue { url, read, listed, catalogue: Arc::clone(&catalogue) });
        Ok(catalogue)
    }

    /// The catalogue that this process read a moment ago, or the current one of a remote that is checked.
    pub(super) fn recent_catalogue(&self, remote: &dyn Remote) -> Result<Arc<Catalogue>> {
        let is_recent = |last: &&LastCatalogue| last.url == remote.url() && last.read.elapsed() < FRESH;
        let recent = poison::lock(&self.catalogue).as_ref().filter(is_recent).map(|last| Arc::clone(&last.catalogue));
        match recent {
            Some(recent) => Ok(recent),
            None => {
                check_readable(remote)?;
                self.catalogue(remote)
            }
        }
    }

    fn read_catalogue(&self, listed: &[ListedPack], remote: &dyn Remote) -> Result<Catalogue> {
        let indexes = parallel::map(listed, remote.concurrent_requests(), |pack| {
            // Servers refuse to send a part that begins where the object ends.
            if pack.size < pack.name.index().end { Ok(None) } else { self.index_of(&pack.name, remote) }
        })?;
        let mut catalogue = Catalogue::default();
        for (pack, index) in listed.iter().zip(indexes) {
            match index.filter(|index| index.pack_size(&pack.name) == pack.size) {
                Some(index) => catalogue.add(pack.clone(), &index),
                None => drop(catalogue.damaged.insert(pack.name.object())),
            }
        }
        Ok(catalogue)
    }

    /// The index of a pack: the store's copy, else that of the remote. `None` if it is damaged.
    pub(super) fn index_of(&self, name: &PackName, remote: &dyn Remote) -> Result<Option<PackIndex>> {
        let object = name.object();
        if let Some(index) = self.disk.get(&object)?.and_then(|bytes| PackIndex::decode(name, &bytes)) {
            return Ok(Some(index));
        }
        let Some(bytes) = remote.get_range(&object, name.index())? else { return Ok(None) };
        let index = PackIndex::decode(name, &bytes);
        if index.is_some() {
            self.keep_index(name, &bytes)?;
        }
        Ok(index)
    }

    /// Keeps an intact index. It is verified whenever it is read, so it need not be durable.
    pub(super) fn keep_index(&self, name: &PackName, bytes: &[u8]) -> Result<()> {
        let file = self.disk.write_temporary("index", bytes)?;
        self.disk.move_in(&name.object(), &file).map(drop)
    }
}
