//! Store: records and blobs in one folder, shared by any number of processes.
//!
//! ```text
//! <root>/format                 version of the format (format.rs)
//!        records/pack           all records, two lines of JSON each (pack.rs)
//!        blobs/a/<digest>       bytes of artifacts, read-only and sealed (seal.rs)
//!        dropped/a/<digest>     marks of blobs that were dropped deliberately (drop.rs)
//!        quarantine/…           damaged objects under their former names
//!        tmp/<session>.…        temporary files of living processes (session.rs)
//!        claims/<key>           locked while a process computes the key (claim.rs)
//!        scratch/<key>/         checkpoints of an unfinished task, kept across kills (folders.rs)
//!        packs/…                indexes of packs of remotes, as a copy (indexes.rs)
//!        roots/<digest>         folders whose files name keys that gc keeps (roots.rs)
//!        index/                 digests of unchanged input files (index/)
//!        lock                   locked shared to add objects, exclusively to remove them
//! ```
//!
//! Invariants: a record never names a blob that was not made durable before it. Nothing is changed in place: blobs are renamed
//! into place, and records are appended to the pack. Everything that is read is verified; damaged objects are moved to
//! `quarantine/` and count as absent.
//!
//! Reading order: `seal`, `format` and `upgrade`, then `state` and `blobs` (what an open store holds), `claim` and
//! `committer`, then `handle` (the [`Store`] itself). The other files add methods to it: `lookup`, `folders` and `ingest` for
//! tasks; `catalogue` and `indexes` (what the packs of a remote hold), `push`, `pull`, `adopt`, `compare`, `remote_roots` and
//! `remote_gc` for remotes; `verify`, `gc`, `ls`, `roots` and `drop` for maintenance.

mod adopt;
mod blobs;
mod catalogue;
mod claim;
mod committer;
mod compare;
mod drop;
mod folders;
mod format;
mod gc;
mod handle;
mod indexes;
mod ingest;
mod lookup;
mod ls;
mod pull;
mod push;
mod remote_gc;
mod remote_roots;
mod roots;
mod seal;
mod state;
mod transfer;
mod upgrade;
mod verify;

pub use adopt::Adopted;
pub use blobs::Blob;
pub use claim::Claim;
pub use compare::Comparison;
pub use folders::TaskFolder;
pub use gc::{GcPolicy, GcReport};
pub use handle::{Store, StoreFormat};
pub use ls::{Listing, RecordEntry};
pub use remote_gc::{RemoteGcPolicy, RemoteGcReport};
pub use remote_roots::RemoteRoot;
pub use transfer::{TransferFailure, TransferProblem, TransferReport};
pub use verify::{DanglingRecord, VerifyReport};
