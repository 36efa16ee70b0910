//! Content-addressed store: bytes in, digests out.
//!
//! A task is named by a [`Key`], the digest of its fingerprint. What it produced is an [`Artifact`] per output: files, each
//! named by the [`Digest`] of its bytes. The [`Store`] keeps the bytes (blobs) and, for each key, a [`Record`] of the
//! artifacts; the [`Index`] spares unchanged input files from being hashed again; a [`Backend`] is where objects lie.
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
//! What this crate deliberately does not know: what a stage or a manifest is, what is in a file, and what a facet means.
//! It never decides that a task must run; it only says what is there. It holds no global state and starts one thread, which
//! makes commits durable.

#![forbid(unsafe_code)]

mod artifact;
mod backend;
mod clock;
mod digest;
mod durable;
mod error;
mod hash_file;
mod index;
mod lock;
mod pack;
mod record;
mod session;
mod store;
mod walk;

pub use artifact::{Artifact, FileEntry};
pub use backend::{Backend, Disk, Memory, Object, ObjectName};
pub use digest::{Digest, Hasher, Key};
pub use error::{CacheError, Result};
pub use index::{Index, KnownFiles, SourceDigest};
pub use record::{Outputs, Record};
pub use store::{
    Blob, Claim, Dangling, GcPolicy, GcReport, Listing, RecordEntry, Store, TaskFolder, TransferReport, VerifyReport,
};
