//! Whether the system killed a program because memory ran out: by the count that Linux keeps for each control group, or, where there
//! is none, by the signal.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// The signal with which the system kills, and the exit code of a shell whose program was killed so.
const KILLED: i32 = 9;
const CODE_OF_KILLED: i32 = 128 + KILLED;

/// The processes that the system has killed in this control group because the group's memory ran out.
pub(super) struct Kills {
    before: Option<u64>,
}

impl Kills {
    /// Counts from now on.
    pub(super) fn start() -> Self {
        Self { before: kills() }
    }

    /// What the end of a program says about memory, if anything.
    pub(super) fn explain(&self, status: ExitStatus) -> Option<&'static str> {
        let is_killed = status.signal() == Some(KILLED) || status.code() == Some(CODE_OF_KILLED);
        match (self.before, kills()) {
            (Some(before), Some(after)) if after > before => {
                Some("the system killed a program because the memory limit of its control group was reached")
            }
            _ => is_killed.then_some("the system kills with signal 9, mostly because memory ran out"),
        }
    }
}

fn kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    kills_in(&groups, Path::new("/sys/fs/cgroup"))
}

/// The count of the control group of a process: `groups` is its `/proc/self/cgroup`, `root` the folder where control groups are mounted.
fn kills_in(groups: &str, root: &Path) -> Option<u64> {
    let file = |line: &str| -> Option<PathBuf> {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?.trim_start_matches('/'));
        match controllers {
            "" => Some(root.join(path).join("memory.events")),
            names => names
                .split(',')
                .any(|name| name == "memory")
                .then(|| root.join("memory").join(path).join("memory.oom_control")),
        }
    };
    groups.lines().filter_map(file).find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_by_both_versions_of_control_groups() {
        let root = tempfile::tempdir().expect("a temporary folder can be created");
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("it is below the folder")).expect("the folder is writable");
            fs::write(path, text).expect("the folder is writable");
        };
        write("job/step/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n");
        write("memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n");
        assert_eq!(kills_in("0::/job/step\n", root.path()), Some(2));
        assert_eq!(kills_in("5:cpu:/job\n4:memory:/job\n0::/\n", root.path()), Some(5));
        assert_eq!(kills_in("0::/\n", root.path()), None);
    }

    #[test]
    fn a_signal_is_explained_where_nothing_was_counted() {
        let explain = |raw| Kills { before: None }.explain(ExitStatus::from_raw(raw)).is_some();
        assert_eq!([explain(9), explain(137 << 8), explain(1 << 8), explain(15)], [true, true, false, false]);
    }
}
