//! Symbolic links among a program's outputs, such as `last.ckpt -> epoch1.ckpt`.
//!
//! An artifact consists of files. A link to something within its own output becomes one more file, or folder, with the same bytes,
//! which the store keeps once. A link that leaves its output is an error: what it points to would be neither kept nor hashed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::CommandError;
use crate::api::StageError;

/// Replaces the links below `folder`, the output called `output`.
pub(super) fn resolve(folder: &Path, output: &str) -> Result<(), StageError> {
    let failed = |source| StageError::file("read", folder, source);
    let root = folder.canonicalize().map_err(failed)?;
    let mut links = Vec::new();
    find(&root, &mut links)?;
    // All are checked before the first is replaced, since one may point to another.
    let targets = links.iter().map(|link| target(link, &root, output)).collect::<Result<Vec<_>, _>>()?;
    for (link, target) in links.iter().zip(targets) {
        fs::remove_file(link).map_err(|source| StageError::file("replace", link, source))?;
        duplicate(&target, link, &mut Vec::new()).map_err(|source| StageError::file("replace", link, source))?;
    }
    Ok(())
}

fn find(folder: &Path, links: &mut Vec<PathBuf>) -> Result<(), StageError> {
    let failed = |source| StageError::file("list", folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_symlink() {
            links.push(entry.path());
        } else if kind.is_dir() {
            find(&entry.path(), links)?;
        }
    }
    Ok(())
}

/// The file or folder that a link finally points to.
fn target(link: &Path, root: &Path, output: &str) -> Result<PathBuf, StageError> {
    let points_to = fs::read_link(link).unwrap_or_default();
    let refused = |problem| {
        let (link, output) = (link.strip_prefix(root).unwrap_or(link).to_path_buf(), output.to_owned());
        StageError::from(CommandError::Link { link, points_to: points_to.clone(), output, problem })
    };
    let target = link.canonicalize().map_err(|_| refused("which does not exist"))?;
    if !target.starts_with(root) {
        return Err(refused("which lies outside the output"));
    }
    if link.starts_with(&target) {
        return Err(refused("which contains the link"));
    }
    Ok(target)
}

/// Makes `to` another name of the file `from`, or a folder of such names. `above` are the folders that `from` was reached by.
fn duplicate(from: &Path, to: &Path, above: &mut Vec<PathBuf>) -> io::Result<()> {
    if !from.is_dir() {
        return fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop));
    }
    if to.starts_with(from) || above.iter().any(|folder| folder == from) {
        return Err(io::Error::other("the links form a circle"));
    }
    above.push(from.to_path_buf());
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Links below a folder are replaced by themselves, here by what they point to.
        duplicate(&entry.path().canonicalize()?, &to.join(entry.file_name()), above)?;
    }
    above.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_within_an_output_become_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("run1")).unwrap();
        fs::write(path("run1/epoch1.ckpt"), "weights").unwrap();
        symlink("epoch1.ckpt", path("run1/last.ckpt")).unwrap();
        symlink(path("run1/last.ckpt"), path("best.ckpt")).unwrap();
        symlink("run1", path("latest")).unwrap();
        resolve(folder.path(), "model").unwrap();
        for name in ["run1/last.ckpt", "best.ckpt", "latest/epoch1.ckpt", "latest/last.ckpt"] {
            assert!(fs::symlink_metadata(path(name)).unwrap().is_file(), "{name}");
            assert_eq!(fs::read_to_string(path(name)).unwrap(), "weights", "{name}");
        }
    }

    #[test]
    fn links_that_cannot_be_kept_are_errors() {
        let check = |target: &str, expected: &str| {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("a")).unwrap();
            symlink(target, folder.path().join("a/link")).unwrap();
            let error = resolve(folder.path(), "model").unwrap_err();
            let error = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            assert!(error.contains(expected), "{error}");
            assert!(folder.path().join("a").read_link().is_err(), "nothing was replaced");
        };
        check(
            "/etc/hostname",
            "`a/link` in its output `model` points to `/etc/hostname`, which lies outside the output",
        );
        check("nowhere", "which does not exist");
        check("..", "which contains the link");
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("a")).unwrap();
        fs::create_dir(path("b")).unwrap();
        symlink("../b", path("a/b")).unwrap();
        symlink("../a", path("b/a")).unwrap();
        assert!(resolve(folder.path(), "model").is_err());
    }
}
