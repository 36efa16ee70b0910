//! Nodes that another process is computing. They have given back what they were granted, so that others run meanwhile, and are
//! tried again now and then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::schedule::NodeIndex;

/// When a node is tried again, at first and at most: quick ones are not delayed, long ones not disturbed.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// The nodes that were found held, and when each is tried again.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<NodeIndex, Wait>);

#[derive(Debug)]
struct Wait {
    holder: Option<u32>,
    pause: Duration,
    /// `None` while the node is being tried, and ever after if that goes well.
    due: Option<Instant>,
}

impl Held {
    /// Notes that the node is held by the process of this number, if that can be told. `true` if it was not known yet.
    pub(super) fn note(&mut self, node: NodeIndex, holder: Option<u32>, now: Instant) -> bool {
        let wait = self.0.get(&node);
        let known = wait.is_some_and(|wait| wait.holder == holder);
        let pause = wait.map_or(FIRST_PAUSE, |wait| (2 * wait.pause).min(LAST_PAUSE));
        self.0.insert(node, Wait { holder, pause, due: Some(now + pause) });
        !known
    }

    /// Takes the nodes that are to be tried again.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<NodeIndex> {
        let due = self.0.iter_mut().filter(|(_, wait)| wait.due.is_some_and(|due| due <= now));
        due.map(|(&node, wait)| {
            wait.due = None;
            node
        })
        .collect()
    }

    /// When the next node is to be tried; `None` if none waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|wait| wait.due).min()
    }

    /// Lets none wait any longer.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_holder_is_told_once() {
        let mut held = Held::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        let tries = [(Some(7), true), (Some(7), false), (Some(8), true), (None, true)];
        for (holder, news) in tries.into_iter().chain([(None, false); 5]) {
            assert_eq!(held.note(3, holder, now), news);
            let due = held.next_due().expect("it waits");
            assert!(held.take_due(due - Duration::from_micros(1)).is_empty());
            assert_eq!(held.take_due(due), [3]);
            assert_eq!(held.next_due(), None, "it is being tried");
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 100, 100]);
    }
}
