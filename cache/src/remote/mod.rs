//! Remotes: object stores that records and blobs are copied to and from.
//!
//! ```text
//! <url>/format               version of the layout (layout.rs)
//!       records/a/<key>      one record (record.rs)
//!       blobs/a/<digest>     bytes of artifacts
//!       dropped/a/<digest>   marks of blobs that were dropped before their records were pushed
//!       packs/<digest>-<n>   many records and small blobs together (pack.rs)
//!       roots/<digest>       the keys that a project's runs reference, which gc keeps (store/remote_roots.rs)
//!       gc/time              written by gc to learn the time of the server
//! ```
//!
//! Reading order: `api` (the trait [`Remote`]), `folder` (a folder as a remote),
//! `bucket` (S3 and WebDAV, with `s3`, `aws_profile` and `login` for URLs and credentials), `open` (the list of all implementations), and
//! `layout` and `pack` (what is in a remote), and `presence` (which of many objects exist). What is copied, and when, is decided in
//! `store/push.rs` and `store/pull.rs`.
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
#[cfg(feature = "remote")]
mod login;
mod open;
mod options;
mod pack;
mod percent;
mod presence;
#[cfg(feature = "remote")]
mod s3;

pub use api::{ConditionalPut, ObjectListing, Remote, RemoteObject};
pub use folder::FolderRemote;
pub use layout::check_readable;
pub(crate) use layout::prepare_for_writing;
pub use open::open_remote;
pub use options::RemoteOptions;
pub(crate) use pack::{PackBuilder, PackIndex, PackName, is_small};
pub(crate) use presence::{listed_sizes, sizes};
