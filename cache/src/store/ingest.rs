//! Files into the store and out of it, without copying bytes where the file system can do without.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::lookup::Blob;
use super::seal::{Seal, Stamp, protect};
use super::{Inner, Store};
use crate::artifact::{Artifact, FileEntry};
use crate::backend::{Backend, ObjectName, make_read_only};
use crate::digest::Digest;
use crate::error::{CacheError, Result, found};

impl Store {
    /// Hashes every file below `folder` and moves it into the store; the folder is left without files. Empty folders are
    /// not part of an artifact.
    ///
    /// The blobs are durable only after [`Store::commit`] of a record that names them.
    ///
    /// # Errors
    /// If a file cannot be read or moved, is a symbolic link (its target would stay outside), or has no UTF-8 name.
    pub fn ingest(&self, folder: &Path, facets: BTreeMap<String, Digest>) -> Result<Artifact> {
        self.ingest_beside(folder, Vec::new(), facets)
    }

    /// As [`Store::ingest`], with `kept` as further files of the artifact, whose blobs are in the store already and are not
    /// read.
    ///
    /// # Errors
    /// As [`Store::ingest`]; [`CacheError::Absent`] if the blob of a kept file is not there or somebody has written to it.
    pub fn ingest_beside(
        &self,
        folder: &Path,
        kept: Vec<FileEntry>,
        facets: BTreeMap<String, Digest>,
    ) -> Result<Artifact> {
        let mut files = self.inner.in_blobs(folder, &kept)?;
        files.extend(kept);
        Artifact::new(files, facets)
    }

    /// Puts the artifact's files below `folder`: clones of the blobs where the file system can, else hard links, else
    /// copies; read-only, as they may be the store's own bytes. Blobs are verified on the way. Files that are there already
    /// are replaced.
    ///
    /// # Errors
    /// [`CacheError::Absent`] if a blob is missing or rotten: compute the artifact again. Otherwise if a file cannot be
    /// written.
    pub fn materialise(&self, artifact: &Artifact, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(CacheError::io("create", folder))?;
        artifact.files().par_iter().try_for_each(|file| match self.inner.blob(&file.digest)? {
            Blob::Present(blob) => self.inner.place(&blob, &folder.join(&file.path)),
            Blob::Missing | Blob::Rotten => Err(CacheError::Absent { digest: file.digest }),
        })
    }
}

/// A private, read-only, sealed file on the store's file system, and what it holds.
struct Hashed {
    path: PathBuf,
    entry: FileEntry,
    stamp: Stamp,
}

impl Inner {
    fn in_blobs(&self, folder: &Path, kept: &[FileEntry]) -> Result<Vec<FileEntry>> {
        let mut names = Vec::new();
        files_below(folder, "", &mut names)?;
        let hashed = |name: String| self.hashed(folder.join(&name), name);
        // Handing a single small file to the pool and waiting for it takes longer than hashing it.
        let hashed = match names.len() {
            0 | 1 => names.into_iter().map(hashed).collect::<Result<Vec<_>>>()?,
            _ => names.into_par_iter().map(hashed).collect::<Result<Vec<_>>>()?,
        };
        // No rayon from here: a thread that waits for others may pick up work that needs this very lock.
        let _adding = self.adding()?;
        for entry in kept {
            let there = self.blob_metadata(&entry.digest)?.filter(|(_, metadata)| self.is_believed(entry, metadata));
            let Some((blob, metadata)) = there else { return Err(CacheError::Absent { digest: entry.digest }) };
            seal_anew(&blob, &metadata, &entry.digest)?;
        }
        hashed.into_iter().map(|hashed| self.move_in(hashed)).collect()
    }

    fn hashed(&self, path: PathBuf, name: String) -> Result<Hashed> {
        let path = self.nearby(path)?;
        let file = File::open(&path).map_err(CacheError::io("open", &path))?;
        let digest = Digest::of_open_file(&file, &path)?;
        let stamp = protect(&file, &digest).map_err(CacheError::io("seal", &path))?;
        // What a dead process left may be anything after a crash though its seal holds; what is durable is believed.
        if let Some((_, there)) = self.blob_metadata(&digest)?
            && Seal::of(&there, &digest) < Seal::Durable
            && !self.is_verified(&digest, &there)
        {
            self.hash_blob(&digest)?;
        }
        let size = file.metadata().map_err(CacheError::io("read", &path))?.len();
        Ok(Hashed { path, entry: FileEntry { path: name, size, digest }, stamp })
    }

    /// The file itself if it lies in a task folder, else what it becomes when it is moved to one.
    fn nearby(&self, file: PathBuf) -> Result<PathBuf> {
        if self.disk.session().owns(&file) {
            return Ok(file);
        }
        let near = self.disk.session().path("output");
        match fs::rename(&file, &near) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                fs::copy(&file, &near).map_err(CacheError::io("copy into the store", &file))?;
                fs::remove_file(&file).map_err(CacheError::io("remove", &file))?;
            }
            other => other.map_err(CacheError::io("move into the store", &file))?,
        }
        Ok(near)
    }

    fn move_in(&self, Hashed { path, entry, stamp }: Hashed) -> Result<FileEntry> {
        let digest = &entry.digest;
        match self.blob_metadata(digest)? {
            Some((there, metadata)) if self.is_believed(&entry, &metadata) => {
                seal_anew(&there, &metadata, digest)?;
                fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
            }
            _ => {
                self.disk.adopt(&ObjectName::blob(digest), &path)?;
                // From now on it would be lost and not dropped.
                self.disk.remove(&ObjectName::dropped(digest))?;
                self.believe(digest, stamp);
            }
        }
        Ok(entry)
    }

    fn place(&self, blob: &Path, to: &Path) -> Result<()> {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(CacheError::io("create", folder))?;
        }
        found(fs::remove_file(to)).map_err(CacheError::io("replace", to))?;
        if self.reflinks.load(Ordering::Relaxed) {
            match reflink_copy::reflink(blob, to) {
                Ok(()) => {
                    return File::open(to).and_then(|to| make_read_only(&to)).map_err(CacheError::io("protect", to));
                }
                // Most file systems cannot; asking once is enough.
                Err(_) => self.reflinks.store(false, Ordering::Relaxed),
            }
        }
        if fs::hard_link(blob, to).is_ok() {
            return Ok(());
        }
        // Another file system, or too many links already. The copy keeps the blob's permissions.
        fs::copy(blob, to).map(drop).map_err(CacheError::io("write", to))
    }
}

/// Sealed again, a blob counts as new: gc spares what was made or used since the oldest living process began.
fn seal_anew(blob: &Path, metadata: &fs::Metadata, digest: &Digest) -> Result<()> {
    let seal = Seal::of(metadata, digest).max(Seal::Verified);
    seal.set(blob, metadata, digest).map_err(CacheError::io("seal", blob))
}

/// The names of all files below `folder`, relative to it.
fn files_below(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(CacheError::io("list", folder))? {
        let entry = entry.map_err(CacheError::io("list", folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(CacheError::io("read", &path))?;
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
            return Err(CacheError::NotUtf8 { path });
        };
        match (kind.is_file(), kind.is_dir()) {
            (true, _) => names.push(name),
            (_, true) => files_below(&path, &format!("{name}/"), names)?,
            _ => return Err(CacheError::NotAFile { path }),
        }
    }
    Ok(())
}
