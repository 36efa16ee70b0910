//! Nodes that another process is computing. Their resources have been returned, so that other nodes run meanwhile, and they
//! are tried again from time to time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::plan::NodeIndex;

/// First and last pause before a node is tried again: short nodes are not delayed, long ones not disturbed.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// The nodes that other processes are computing.
#[derive(Debug, Default)]
pub(super) struct ComputedElsewhere(BTreeMap<NodeIndex, Wait>);

#[derive(Debug)]
struct Wait {
    holder: Option<u32>,
    pause: Duration,
    /// When to try again; `None` while it is being tried, and from then on if that succeeds.
    due: Option<Instant>,
}

impl ComputedElsewhere {
    /// Adds a node that the process with id `holder`, if known, is computing. Returns whether that is news.
    pub(super) fn add(&mut self, node: NodeIndex, holder: Option<u32>, now: Instant) -> bool {
        let wait = self.0.get(&node);
        // Between two holders nobody has signed the claim.
        let holder = holder.or_else(|| wait.and_then(|wait| wait.holder));
        let is_known = wait.is_some_and(|wait| wait.holder == holder);
        let pause = wait.map_or(FIRST_PAUSE, |wait| (2 * wait.pause).min(LAST_PAUSE));
        self.0.insert(node, Wait { holder, pause, due: Some(now + pause) });
        !is_known
    }

    /// Takes the nodes whose pause is over.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<NodeIndex> {
        let due = self.0.iter_mut().filter(|(_, wait)| wait.due.is_some_and(|due| due <= now));
        due.map(|(&node, wait)| {
            wait.due = None;
            node
        })
        .collect()
    }

    /// When the next pause is over; `None` if no node waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|wait| wait.due).min()
    }

    /// Removes all nodes.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_holder_is_reported_once() {
        let mut elsewhere = ComputedElsewhere::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        let tries = [(Some(7), true), (Some(7), false), (Some(8), true), (None, false)];
        for (holder, news) in tries.into_iter().chain([(None, false); 5]) {
            assert_eq!(elsewhere.add(3, holder, now), news);
            let due = elsewhere.next_due().expect("it waits");
            assert!(elsewhere.take_due(due - Duration::from_micros(1)).is_empty());
            assert_eq!(elsewhere.take_due(due), [3]);
            assert_eq!(elsewhere.next_due(), None, "it is being tried");
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 100, 100]);
    }
}
