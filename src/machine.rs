//! What this machine gives to a process: threads and memory, within the limits of Slurm and of control groups, and disk space.
//!
//! Linux counts all cores and all memory in `/proc`, also for a process that may use only a part of them. The standard library
//! respects CPU affinity and CPU quotas; the rest is read here.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::{env, fs, io, thread};

/// Variable with the number of cores that Slurm gives to each task.
pub const SLURM_CORES: &str = "SLURM_CPUS_PER_TASK";

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Total memory of the machine; `None` if the system does not say.
    pub total: Option<u64>,
    /// Memory that is free or can be freed.
    pub available: Option<u64>,
    /// Limit of the control group, if there is one.
    pub group_limit: Option<u64>,
}

/// Number of threads that a run may use: the cores that the system grants to this process, or fewer if Slurm says so.
pub fn threads() -> usize {
    let granted = granted_cores();
    slurm_cores().map_or(granted, |slurm| slurm.min(granted))
}

/// Number of cores that the system grants to this process, by CPU affinity and CPU quota.
pub fn granted_cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Number of cores per task, if the process runs under Slurm.
pub fn slurm_cores() -> Option<usize> {
    env::var(SLURM_CORES).ok()?.trim().parse().ok().filter(|&cores| cores > 0)
}

/// Number of cores of the machine, whoever may use them; `None` if the system does not say.
pub fn all_cores() -> Option<usize> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    (cores > 0).then_some(cores)
}

/// Bytes of memory that a run may use; without an answer of the system, no limit.
pub fn memory_limit() -> u64 {
    let memory = Memory::of_this_machine();
    [memory.total, memory.group_limit].into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// Bytes that this user may still write into `folder`, which need not exist yet.
///
/// # Errors
/// The system does not say.
pub fn free_space(folder: &Path) -> io::Result<u64> {
    let absolute = std::path::absolute(folder)?;
    let existing = absolute.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let status = rustix::fs::statvfs(existing)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// The name of this machine; `None` if the system does not say.
pub fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

impl Memory {
    /// The memory of this machine, as the kernel reports.
    pub fn of_this_machine() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self {
            total: kibibytes(&text, "MemTotal:"),
            available: kibibytes(&text, "MemAvailable:"),
            group_limit: group_memory(&groups, Path::new("/sys/fs/cgroup")),
        }
    }
}

fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least memory limit of the control groups of a process: `groups` is its `/proc/self/cgroup`, `root` the folder where
/// control groups are mounted. A group's limit also holds for the groups below it.
fn group_memory(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (root, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        least_above(&root, path, file)
    });
    limits.min()
}

/// The least number in the files called `file`, in the folder `path` below `root` and in all folders between.
fn least_above(root: &Path, path: &str, file: &str) -> Option<u64> {
    let group: PathBuf = root.join(path.trim_start_matches('/'));
    let folders = group.ancestors().take_while(|folder| folder.starts_with(root));
    // `max` is no number, and version 1 writes a number of more than 2^62 instead.
    let limits = folders.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok());
    limits.filter(|&limit| limit < 1 << 62).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("it is below the folder")).expect("the folder is writable");
            fs::write(path, text).expect("the folder is writable");
        }
        folder
    }

    #[test]
    fn the_least_limit_of_all_groups_above_counts() {
        let root = folder(&[
            ("memory.max", "max\n"),
            ("job/memory.max", "4000000000\n"),
            ("job/step/memory.max", "max\n"),
            ("other/memory.max", "1\n"),
        ]);
        assert_eq!(group_memory("0::/job/step\n", root.path()), Some(4_000_000_000));
        assert_eq!(group_memory("0::/\n", root.path()), None);
        assert_eq!(group_memory("", root.path()), None);
    }

    #[test]
    fn version_1_has_a_folder_per_controller() {
        let root = folder(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/job/memory.limit_in_bytes", "2000\n"),
        ]);
        let groups = "5:cpu,cpuacct:/job\n4:memory:/job\n";
        assert_eq!(group_memory(groups, root.path()), Some(2000));
        assert_eq!(group_memory("4:memory:/\n", root.path()), None, "no limit is a very large number");
    }

    #[test]
    fn meminfo_counts_kibibytes() {
        let text = "MemTotal:       16314652 kB\nMemFree:  1 kB\n";
        assert_eq!(kibibytes(text, "MemTotal:"), Some(16_314_652 * 1024));
        assert_eq!(kibibytes(text, "MemAvailable:"), None);
    }

    #[test]
    fn this_machine_has_threads_and_memory() {
        assert!(threads() >= 1 && memory_limit() > 0);
    }
}
