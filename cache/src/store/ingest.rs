//! Ingesting files into the store and materialising artifacts from it, without copying bytes where the file system permits.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::blobs::{Blob, renew_seal};
use super::handle::Store;
use super::seal::{Seal, Stamp, protect};
use super::state::StoreState;
use crate::artifact::{Artifact, FileEntry};
use crate::digest::Digest;
use crate::disk::make_read_only;
use crate::error::{CacheError, Result, found};

impl Store {
    /// Hashes every file below `folder` and moves it into the store, which leaves only empty folders behind. Empty folders are
    /// not part of an artifact.
    ///
    /// The blobs become durable with [`Store::commit`] of a record that names them.
    ///
    /// # Errors
    /// A file cannot be read or moved, is a symbolic link (whose target would stay outside), or has a name that is not UTF-8.
    pub fn ingest(&self, folder: &Path, facets: BTreeMap<String, Digest>) -> Result<Artifact> {
        self.ingest_beside(folder, Vec::new(), facets)
    }

    /// Like [`Store::ingest`], with further files `kept`, whose blobs are in the store already. They are not read.
    ///
    /// # Errors
    /// As for [`Store::ingest`]; [`CacheError::Absent`] if the blob of a kept file is missing or has been written to.
    pub fn ingest_beside(
        &self,
        folder: &Path,
        kept: Vec<FileEntry>,
        facets: BTreeMap<String, Digest>,
    ) -> Result<Artifact> {
        let mut files = self.state.ingest_files(folder, &kept)?;
        files.extend(kept);
        Artifact::new(files, facets)
    }

    /// Creates the artifact's files below `folder`: as clones of the blobs if the file system supports them, else as hard
    /// links, else as copies. The files are read-only, since they may share the store's bytes. Blobs are verified, and existing
    /// files are replaced.
    ///
    /// # Errors
    /// [`CacheError::Absent`] if a blob is missing or damaged, in which case the artifact must be computed again; another error
    /// if a file cannot be written.
    pub fn materialise(&self, artifact: &Artifact, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(CacheError::io("create", folder))?;
        artifact.files().par_iter().try_for_each(|file| match self.state.blob(&file.digest)? {
            Blob::Present(blob) => self.state.clone_or_link(&blob, &folder.join(&file.path)),
            Blob::Missing | Blob::Damaged => Err(CacheError::Absent { digest: file.digest }),
        })
    }
}

/// A private, read-only, sealed file on the store's file system, with its digest.
struct HashedFile {
    path: PathBuf,
    entry: FileEntry,
    stamp: Stamp,
}

impl StoreState {
    fn ingest_files(&self, folder: &Path, kept: &[FileEntry]) -> Result<Vec<FileEntry>> {
        let mut names = Vec::new();
        files_below(folder, "", &mut names)?;
        let hashed = |name: String| self.hash_file(folder.join(&name), name);
        // For a single small file, using the thread pool takes longer than hashing.
        let hashed = match names.len() {
            0 | 1 => names.into_iter().map(hashed).collect::<Result<Vec<_>>>()?,
            _ => names.into_par_iter().map(hashed).collect::<Result<Vec<_>>>()?,
        };
        // No rayon from here on: a thread that waits for others may run a job that needs this lock.
        let _lock = self.lock_for_adding()?;
        for entry in kept {
            let found = self.blob_metadata(&entry.digest)?.filter(|(_, metadata)| self.is_unchanged(entry, metadata));
            let Some((blob, metadata)) = found else { return Err(CacheError::Absent { digest: entry.digest }) };
            renew_seal(&blob, &metadata, &entry.digest)?;
        }
        hashed.into_iter().map(|hashed| self.move_in_file(hashed)).collect()
    }

    fn hash_file(&self, path: PathBuf, name: String) -> Result<HashedFile> {
        let path = self.in_task_folder(path)?;
        let file = File::open(&path).map_err(CacheError::io("open", &path))?;
        let digest = Digest::of_open_file(&file, &path)?;
        let stamp = protect(&file, &digest).map_err(CacheError::io("seal", &path))?;
        // An existing blob that is sealed but not durable may have lost its bytes in a system crash, so it is hashed.
        if let Some((_, existing)) = self.blob_metadata(&digest)?
            && Seal::of(&existing, &digest) < Seal::Durable
            && !self.is_verified(&digest, &existing)
        {
            self.hash_blob(&digest)?;
        }
        let size = file.metadata().map_err(CacheError::io("read", &path))?.len();
        Ok(HashedFile { path, entry: FileEntry { path: name, size, digest }, stamp })
    }

    /// Moves the file to the store's temporary folder, unless it is there already. Returns its path.
    fn in_task_folder(&self, file: PathBuf) -> Result<PathBuf> {
        if self.disk.session().owns(&file) {
            return Ok(file);
        }
        let moved = self.disk.session().path("output");
        match fs::rename(&file, &moved) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                fs::copy(&file, &moved).map_err(CacheError::io("copy into the store", &file))?;
                fs::remove_file(&file).map_err(CacheError::io("remove", &file))?;
            }
            other => other.map_err(CacheError::io("move into the store", &file))?,
        }
        Ok(moved)
    }

    fn move_in_file(&self, HashedFile { path, entry, stamp }: HashedFile) -> Result<FileEntry> {
        let digest = &entry.digest;
        match self.blob_metadata(digest)? {
            Some((blob, metadata)) if self.is_unchanged(&entry, &metadata) => {
                renew_seal(&blob, &metadata, digest)?;
                fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
            }
            _ => self.move_in_blob(digest, &path, stamp)?,
        }
        Ok(entry)
    }

    fn clone_or_link(&self, blob: &Path, to: &Path) -> Result<()> {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(CacheError::io("create", folder))?;
        }
        found(fs::remove_file(to)).map_err(CacheError::io("replace", to))?;
        if self.try_reflinks.load(Ordering::Relaxed) {
            match reflink_copy::reflink(blob, to) {
                Ok(()) => {
                    return File::open(to).and_then(|to| make_read_only(&to)).map_err(CacheError::io("protect", to));
                }
                // Most file systems cannot clone, so it is tried only once.
                Err(_) => self.try_reflinks.store(false, Ordering::Relaxed),
            }
        }
        if fs::hard_link(blob, to).is_ok() {
            return Ok(());
        }
        // The folder is on another file system, or the blob has too many links. A copy keeps the blob's permissions.
        fs::copy(blob, to).map(drop).map_err(CacheError::io("write", to))
    }
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
