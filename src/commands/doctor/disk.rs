//! The disk of the store: free space, and what its file system can do. It is tried out in a temporary folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::finding::Finding;
use crate::commands::units::format_bytes;
use crate::machine::free_space;

const TOPIC: &str = "disk";
/// Free space below which a run is likely to fail.
const LITTLE_SPACE: u64 = 1_000_000_000;
/// Free space below which a note is made: models and embeddings of many rounds take this much.
const SOME_SPACE: u64 = 10_000_000_000;
/// What to do about a file system that lacks what the store needs.
const ELSEWHERE: &str = "Put the store on another disk with `--store DIR` or `DNC_STORE`.";

/// Looks at the disk of the store in `store`, which need not exist.
pub(super) fn check(store: &Path) -> Vec<Finding> {
    let absolute = std::path::absolute(store).unwrap_or_else(|_| store.to_owned());
    let Some(folder) = absolute.ancestors().find(|folder| folder.is_dir()) else {
        return vec![Finding::problem(TOPIC, "folder", store.display().to_string(), ELSEWHERE)];
    };
    let shown = folder.display().to_string();
    let trial = match tempfile::Builder::new().prefix(".dnc-doctor-").tempdir_in(folder) {
        Ok(trial) => trial,
        Err(error) => {
            let advice = format!("Make the folder writable, or: {ELSEWHERE}");
            return vec![Finding::problem(TOPIC, "folder", format!("{shown} is not writable ({error})"), advice)];
        }
    };
    let mut findings = vec![Finding::ok(TOPIC, "folder", format!("{shown} ({})", file_system(folder)))];
    findings.push(space(free_space(folder)));
    findings.push(hard_links(trial.path()));
    findings.push(locks(trial.path()));
    findings.push(reflinks(trial.path()));
    findings
}

fn space(free: io::Result<u64>) -> Finding {
    let name = "free space";
    match free {
        Ok(free) if free < LITTLE_SPACE => {
            let advice = format!("Free space, for example with `dnc-run cache gc`. {ELSEWHERE}");
            Finding::problem(TOPIC, name, format_bytes(free), advice)
        }
        Ok(free) if free < SOME_SPACE => {
            let advice = "Long runs may need more; `retain = \"last\"` and `dnc-run cache gc` save space.";
            Finding::note(TOPIC, name, format_bytes(free)).advise(advice)
        }
        Ok(free) => Finding::ok(TOPIC, name, format_bytes(free)),
        Err(error) => Finding::note(TOPIC, name, format!("unknown ({error})")),
    }
}

/// The store claims keys by hard links.
fn hard_links(folder: &Path) -> Finding {
    let (file, link) = (folder.join("file"), folder.join("link"));
    match File::create(&file).and_then(|_| fs::hard_link(&file, link)) {
        Ok(()) => Finding::ok(TOPIC, "hard links", "yes"),
        Err(error) => Finding::problem(TOPIC, "hard links", format!("no ({error})"), ELSEWHERE),
    }
}

/// Processes that share a store exclude each other by locks on files.
fn locks(folder: &Path) -> Finding {
    let path = folder.join("lock");
    let open = || File::options().write(true).create(true).truncate(false).open(&path);
    let both = || -> Result<bool, TryLockError> {
        let (first, second) = (open().map_err(TryLockError::Error)?, open().map_err(TryLockError::Error)?);
        first.try_lock()?;
        match second.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(true),
            Ok(()) => Ok(false),
            Err(error) => Err(error),
        }
    };
    match both() {
        Ok(true) => Finding::ok(TOPIC, "file locks", "yes"),
        Ok(false) => Finding::problem(TOPIC, "file locks", "granted twice", ELSEWHERE),
        Err(error) => {
            let advice = format!("On NFS, mount with `local_lock=none` and run `lockd`. {ELSEWHERE}");
            Finding::problem(TOPIC, "file locks", format!("no ({error})"), advice)
        }
    }
}

/// With reflinks, files enter and leave the store without being copied.
fn reflinks(folder: &Path) -> Finding {
    let (file, copy) = (folder.join("original"), folder.join("reflink"));
    match fs::write(&file, [7; 8192]).and_then(|()| reflink_copy::reflink(&file, copy)) {
        Ok(()) => Finding::ok(TOPIC, "reflinks", "yes"),
        Err(_) => Finding::ok(TOPIC, "reflinks", "no; files are copied instead"),
    }
}

/// The name of a file system.
#[cfg(target_os = "linux")]
fn file_system(folder: &Path) -> String {
    /// Magic numbers of file systems, from `statfs(2)`.
    const NAMES: [(u64, &str); 14] = [
        (0xef53, "ext4"),
        (0x5846_5342, "XFS"),
        (0x9123_683e, "Btrfs"),
        (0x794c_7630, "overlay"),
        (0x0102_1994, "tmpfs, in memory"),
        (0x6969, "NFS"),
        (0x0bd0_0bd0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x6573_5546, "FUSE"),
        (0x2fc1_2fc1, "ZFS"),
        (0xf2f5_2010, "F2FS"),
        (0xca45_1a4e, "bcachefs"),
    ];
    let Ok(status) = rustix::fs::statfs(folder) else { return "unknown file system".to_owned() };
    // The type is signed on some architectures.
    let magic = (status.f_type as u64) & 0xffff_ffff;
    let known = NAMES.iter().find(|(number, _)| *number == magic);
    known.map_or_else(|| format!("file system 0x{magic:x}"), |(_, name)| (*name).to_owned())
}

/// The name of a file system.
#[cfg(not(target_os = "linux"))]
fn file_system(_: &Path) -> String {
    "unknown file system".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_is_judged_by_the_one_above_and_nothing_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let findings = check(&folder.path().join("a/b/store"));
        assert_eq!(findings.len(), 5);
        assert!(findings[0].value.starts_with(&folder.path().display().to_string()), "{findings:?}");
        let names = ["hard links", "file locks"];
        let needed = findings.iter().filter(|finding| names.contains(&finding.name.as_str()));
        assert!(needed.clone().count() == 2 && needed.into_iter().all(|finding| finding.status == Status::Ok));
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn little_space_is_a_problem() {
        let status = |free| space(Ok(free)).status;
        assert_eq!(
            [status(0), status(5_000_000_000), status(50_000_000_000)],
            [Status::Problem, Status::Note, Status::Ok]
        );
        assert!(space(Ok(7)).advice.is_some_and(|advice| advice.contains("cache gc")));
    }
}
