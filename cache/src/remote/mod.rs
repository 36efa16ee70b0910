//! Remotes: object stores that records and blobs are copied to and from.
//!
//! ```text
//! <url>/format               version of the layout (layout.rs)
//!       records/a/<key>      one record (record.rs)
//!       blobs/a/<digest>     bytes of artifacts
//!       dropped/a/<digest>   marks of blobs that were dropped before their records were pushed
//! ```
//!
//! Reading order: `api` (the trait [`Remote`]), `folder` (a folder as a remote),
//! `bucket` (S3 and WebDAV, with `s3` and `aws_profile` for URLs and credentials), `open` (the list of all implementations), and
//! `layout` (what is in a remote). What is copied, and when, is decided in `store/push.rs` and `store/pull.rs`.
//!
//! To add an implementation, write one file like `folder.rs`, add its scheme in `open.rs`, and add it to the laws in
//! `tests/remote.rs`.

mod api;
#[cfg(feature = "remote")]
mod aws_profile;
#[cfg(feature = "remote")]
mod bucket;
mod folder;
mod layout;
mod open;
mod options;
#[cfg(feature = "remote")]
mod s3;

pub use api::{ConditionalPut, ObjectListing, Remote};
pub use folder::FolderRemote;
pub use layout::record_keys;
pub(crate) use layout::{check_readable, prepare_for_writing};
pub use open::open_remote;
pub use options::RemoteOptions;
