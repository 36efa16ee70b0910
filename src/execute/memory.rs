//! Peak resident memory of this process while a node runs.
//!
//! Linux keeps one peak for each process (`VmHWM` in `/proc/self/status`), which can be reset. Whenever a node starts, the peak
//! so far is credited to all nodes that are running, then reset. The figure of a node therefore includes what other nodes of
//! the process used at the same time, and excludes the programs that it started.

use std::fs;
use std::sync::Mutex;

use crate::sync::lock;

/// The nodes that are running, each with its peak so far in bytes.
static RUNNING: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// Watches the memory of this process for one node.
pub(super) struct MemoryWatch(u64);

impl MemoryWatch {
    /// Starts to watch.
    pub(super) fn start() -> Self {
        let mut running = lock(&RUNNING);
        if !running.is_empty() {
            credit(&mut running);
        }
        // Where the peak cannot be reset, it includes everything since the process started.
        let _ = fs::write("/proc/self/clear_refs", "5");
        let id = running.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
        running.push((id, 0));
        Self(id)
    }

    /// The peak in bytes since [`MemoryWatch::start`], if the system reports it.
    pub(super) fn peak(&self) -> Option<u64> {
        let mut running = lock(&RUNNING);
        credit(&mut running);
        running.iter().find(|(id, _)| *id == self.0).map(|&(_, peak)| peak).filter(|&peak| peak > 0)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        lock(&RUNNING).retain(|(id, _)| *id != self.0);
    }
}

/// Credits the peak since the last reset to all running nodes.
fn credit(running: &mut [(u64, u64)]) {
    let Some(peak) = peak_of_process() else { return };
    for (_, most) in running {
        *most = peak.max(*most);
    }
}

/// `VmHWM` in bytes.
fn peak_of_process() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_credited_with_memory_that_was_freed_before_it_ended() {
        let watch = MemoryWatch::start();
        let before = watch.peak();
        let block = vec![1_u8; 64 << 20];
        assert_eq!(block.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 64 << 20);
        drop(block);
        // A node that starts in between resets the peak, but does not take it from the one before.
        let other = MemoryWatch::start();
        let (peak, of_other) = (watch.peak(), other.peak());
        // Only Linux reports a peak.
        assert_eq!(peak.is_some(), cfg!(target_os = "linux"));
        if let (Some(before), Some(peak), Some(of_other)) = (before, peak, of_other) {
            assert!(peak >= before.min(of_other) + (32 << 20), "{before} {peak} {of_other}");
        }
    }
}
