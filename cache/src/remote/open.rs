//! Opening a remote by its URL.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::api::Remote;
use super::folder::FolderRemote;
use super::options::RemoteOptions;
use super::percent::percent_decoded;
use crate::error::{CacheError, Result};

/// Schemes whose URLs people mistype. A path that begins with one of them and a colon is probably such a URL.
const SCHEMES: [&str; 7] = ["file", "s3", "http", "https", "gs", "az", "ssh"];

/// Opens the remote at `url`: a path, or a URL of one of these schemes.
///
/// | scheme | remote |
/// |---|---|
/// | `file` | [`FolderRemote`] |
/// | `s3` | a bucket, with the feature `remote` |
/// | `http`, `https` | a WebDAV server, with the feature `remote` |
///
/// Nothing is read or written yet, so a remote that does not exist is no error.
///
/// # Errors
/// The scheme is not supported, or the URL is invalid.
#[cfg_attr(not(feature = "remote"), expect(unused_variables, reason = "a folder needs no options"))]
pub fn open_remote(url: &str, options: &RemoteOptions) -> Result<Box<dyn Remote>> {
    match split_scheme(url) {
        None if SCHEMES.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| rest.starts_with(':'))) => {
            let problem =
                "a URL has two slashes after its colon, as in `s3://bucket/prefix`; a folder of this name is `./…`";
            Err(CacheError::InvalidRemote { url: url.to_owned(), problem })
        }
        None => Ok(Box::new(FolderRemote::open(url)?)),
        Some(("file", rest)) => Ok(Box::new(FolderRemote::open(path_of_file_url(url, rest)?)?)),
        #[cfg(feature = "remote")]
        Some(("s3", rest)) => Ok(Box::new(super::s3::open_s3(url, rest, options)?)),
        #[cfg(feature = "remote")]
        Some(("http" | "https", _)) => Ok(Box::new(super::s3::open_http(url, options)?)),
        Some((scheme, _)) => Err(CacheError::UnsupportedScheme { url: url.to_owned(), scheme: scheme.to_owned() }),
    }
}

/// Splits `scheme://rest`. Returns `None` for a path.
fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let valid = scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'));
    valid.then_some((scheme, rest))
}

/// The path of a `file` URL, given what follows `file://`.
fn path_of_file_url(url: &str, rest: &str) -> Result<PathBuf> {
    let invalid = |problem| CacheError::InvalidRemote { url: url.to_owned(), problem };
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(invalid("a `file` URL has three slashes and an absolute path, as in `file:///mnt/share`"));
    }
    let bytes = percent_decoded(path).ok_or_else(|| invalid("`%` must be followed by two hexadecimal digits"))?;
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_are_opened_or_refused() {
        let opened = |url: &str| match open_remote(url, &RemoteOptions::default()) {
            Ok(remote) => remote.url().to_owned(),
            Err(error) => format!("error: {error}"),
        };
        for (url, expected) in [
            ("/nowhere/share", "/nowhere/share"),
            ("file:///nowhere/share", "/nowhere/share"),
            ("file://localhost/nowhere/share", "/nowhere/share"),
            ("file:///nowhere/my%20share", "/nowhere/my share"),
            ("/nowhere/100%", "/nowhere/100%"),
            (
                "s3:bucket/x",
                "error: The remote `s3:bucket/x` cannot be used: a URL has two slashes after its colon, as in `s3://bucket/prefix`; a folder of this name is `./…`",
            ),
            (
                "file://share/x",
                "error: The remote `file://share/x` cannot be used: a `file` URL has three slashes and an absolute path, as in `file:///mnt/share`",
            ),
            (
                "file:///a%2",
                "error: The remote `file:///a%2` cannot be used: `%` must be followed by two hexadecimal digits",
            ),
            (
                "ftp://host/share",
                "error: The remote `ftp://host/share` has the unsupported scheme `ftp`; use a folder, or a URL with `file://`, `s3://` or `https://`",
            ),
            (
                "s3:///prefix",
                "error: The remote `s3:///prefix` cannot be used: an `s3` URL names a bucket, as in `s3://bucket/prefix`",
            ),
            ("/dev/null", "error: The remote `/dev/null` cannot be used: it is not a folder"),
            ("", "error: The remote `` cannot be used: its path is empty"),
        ] {
            assert_eq!(opened(url), expected, "{url}");
        }
        let relative = opened("relative/share");
        assert!(relative.starts_with('/') && relative.ends_with("/relative/share"), "{relative}");
    }
}
