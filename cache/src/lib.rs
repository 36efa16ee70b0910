//! Content-addressed store: records of finished tasks, and the bytes that they produced.
//!
//! A task is named by a [`Key`], the digest of its fingerprint. Each output of a task is an [`Artifact`]: a list of files,
//! each named by the [`Digest`] of its bytes. The [`Store`] keeps the bytes (blobs) and, for each key, a [`Record`] of the
//! artifacts. The [`Index`] remembers digests of input files outside the store, so that unchanged files are not hashed again.
//! A [`Remote`] is an object store that records and blobs are copied to and from.
//!
//! ```no_run
//! # use dnc_cache::*; use std::collections::BTreeMap;
//! # fn compute(_: &std::path::Path) {}
//! # fn main() -> Result<()> {
//! let store = Store::open(".dnc/store")?;
//! let key = Key::of(r#"{"stage":"decode","inputs":["af1349b9…"]}"#);
//! if store.record(&key)?.is_none() {
//!     let claim = store.claim(&key, &|| false, &mut |holder| eprintln!("Waiting for process {holder:?}"))?;
//!     if store.record(&key)?.is_none() {
//!         let folder = store.task_folder()?;
//!         compute(folder.path());
//!         let images = store.ingest(folder.path(), BTreeMap::new())?;
//!         let outputs = BTreeMap::from([("images".to_owned(), images)]);
//!         store.commit(claim, Record { key, fingerprint: serde_json::json!({ "stage": "decode" }), outputs })?;
//!     }
//! }
//! store.flush()
//! # }
//! ```
//!
//! What this crate deliberately does not know: what a stage or a manifest is, what a file contains, and what a facet means.
//! It never decides that a task must run; it only reports what the store holds. It has no global state and starts one
//! long-lived thread, which makes commits durable.

#![forbid(unsafe_code)]

mod artifact;
mod clock;
mod digest;
mod disk;
mod durable;
mod error;
mod hash_file;
mod index;
mod lock;
mod object;
mod pack;
mod parallel;
mod poison;
mod record;
mod remote;
mod session;
mod store;

pub use artifact::{Artifact, FileEntry};
pub use digest::{Digest, Hasher, Key, ParseDigestError};
pub use error::{CacheError, Result};
pub use index::{Index, IndexedFiles, SourceDigest, SourceRules};
pub use object::{Object, ObjectName};
pub use record::{Outputs, Record};
pub use remote::{
    ConditionalPut, FolderRemote, ObjectListing, Remote, RemoteObject, RemoteOptions, check_readable, open_remote,
};
pub use store::{
    Adopted, Blob, Claim, Comparison, DanglingRecord, GcPolicy, GcReport, Listing, RecordEntry, RemoteGcPolicy,
    RemoteGcReport, RemoteRoot, Store, StoreFormat, TaskFolder, TransferFailure, TransferProblem, TransferReport,
    VerifyReport,
};
