//! Push: copies records and their blobs from the store to a remote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use super::blobs::Blob;
use super::handle::Store;
use super::state::StoreState;
use super::transfer::{BlobTransfer, TransferFailure, TransferReport};
use crate::artifact::FileEntry;
use crate::digest::{Digest, Key};
use crate::error::Result;
use crate::object::ObjectName;
use crate::parallel;
use crate::record::{Record, verified_body};
use crate::remote::{ConditionalPut, Remote, prepare_for_writing};

impl Store {
    /// Copies the records of `keys` and their blobs to a remote, which is created if it is empty. Blobs are copied before the
    /// records that name them, and are verified before they are copied. The first record of a key stays: another one with
    /// different outputs is reported as not reproducible.
    ///
    /// If a blob was dropped from the store and is not in the remote either, its mark is copied instead, as the record without
    /// the blob is still a hit.
    ///
    /// `progress` receives the number of bytes copied so far and the total.
    ///
    /// # Errors
    /// The remote is of another format or cannot be accessed, or the store cannot be read. Damaged and missing objects are not
    /// errors but are part of the report.
    pub fn push(
        &self,
        keys: &[Key],
        remote: &dyn Remote,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<TransferReport> {
        self.flush()?;
        prepare_for_writing(remote)?;
        let mut report = TransferReport::default();
        let mut records = Vec::new();
        for key in BTreeSet::from_iter(keys) {
            match self.state.intact_record(key)? {
                Some((record, _)) => records.push(record),
                None => report.add_problem(*key, TransferFailure::NoRecord),
            }
        }
        let failed = self.state.push_blobs(&records, remote, progress, &mut report)?;
        records.retain(|record| {
            let failure = record.files().find_map(|file| failed.get(&file.digest));
            failure.inspect(|failure| report.add_problem(record.key, (*failure).clone())).is_none()
        });
        let pushed = parallel::map(&records, remote.concurrent_requests(), |record| push_record(record, remote))?;
        for (record, pushed) in records.iter().zip(pushed) {
            match pushed {
                RecordPush::Created => report.records += 1,
                RecordPush::Unchanged => report.unchanged_records += 1,
                RecordPush::Different => report.add_problem(record.key, TransferFailure::NotReproducible),
            }
        }
        report.problems.sort_unstable();
        Ok(report)
    }
}

impl StoreState {
    /// Copies all blobs of the records that the remote does not have. Returns the blobs that could not be copied.
    fn push_blobs(
        &self,
        records: &[Record],
        remote: &dyn Remote,
        progress: &(dyn Fn(u64, u64) + Sync),
        report: &mut TransferReport,
    ) -> Result<BTreeMap<Digest, TransferFailure>> {
        let files = distinct_blobs(records);
        let names: Vec<ObjectName> = files.iter().map(|file| ObjectName::blob(&file.digest)).collect();
        let sizes = remote.sizes(&names)?;
        // A blob of another size is damaged, and is replaced.
        let missing = files.into_iter().zip(sizes).filter(|(file, size)| *size != Some(file.size));
        let missing: Vec<&FileEntry> = missing.map(|(file, _)| file).collect();
        let total = missing.iter().map(|file| file.size).sum();
        let done = AtomicU64::new(0);
        let pushed = parallel::map(&missing, remote.concurrent_requests(), |file| {
            let pushed = self.push_blob(file, remote)?;
            progress(done.fetch_add(file.size, Ordering::Relaxed) + file.size, total);
            Ok(pushed)
        })?;
        let mut failed = BTreeMap::new();
        for (file, pushed) in missing.into_iter().zip(pushed) {
            match pushed {
                BlobTransfer::Copied => (report.blobs, report.bytes) = (report.blobs + 1, report.bytes + file.size),
                BlobTransfer::NotNeeded => {}
                BlobTransfer::Failed(failure) => drop(failed.insert(file.digest, failure)),
            }
        }
        Ok(failed)
    }

    fn push_blob(&self, file: &FileEntry, remote: &dyn Remote) -> Result<BlobTransfer> {
        let digest = file.digest;
        match self.blob(&digest)? {
            Blob::Present(path) => {
                remote.put_from_file(&ObjectName::blob(&digest), &path)?;
                Ok(BlobTransfer::Copied)
            }
            Blob::Missing if self.is_dropped(&digest)? => {
                remote.put(&ObjectName::dropped(&digest), b"")?;
                Ok(BlobTransfer::NotNeeded)
            }
            Blob::Missing => Ok(BlobTransfer::Failed(TransferFailure::MissingBlob(digest))),
            Blob::Damaged => Ok(BlobTransfer::Failed(TransferFailure::DamagedBlob(digest))),
        }
    }
}

/// The files of all records, each digest once.
pub(super) fn distinct_blobs(records: &[Record]) -> Vec<&FileEntry> {
    let files = records.iter().flat_map(Record::files).map(|file| (file.digest, file));
    BTreeMap::from_iter(files).into_values().collect()
}

/// What happened to one record.
enum RecordPush {
    Created,
    Unchanged,
    Different,
}

fn push_record(record: &Record, remote: &dyn Remote) -> Result<RecordPush> {
    let (name, bytes) = (ObjectName::record(&record.key), record.encode());
    match remote.put_if_absent(&name, &bytes)? {
        ConditionalPut::Created => Ok(RecordPush::Created),
        ConditionalPut::Existed(existing) if verified_body(&existing).is_none() => {
            // The checksum is wrong: this is a damaged record and not another one.
            remote.put(&name, &bytes)?;
            Ok(RecordPush::Created)
        }
        ConditionalPut::Existed(existing) => match Record::decode_outputs(&record.key, &existing) {
            Some(outputs) if outputs == record.outputs => Ok(RecordPush::Unchanged),
            _ => Ok(RecordPush::Different),
        },
    }
}
