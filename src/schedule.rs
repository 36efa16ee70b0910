//! What is ready: a pure state machine over the plan's graph. It uses no clock, file or thread: the driver takes its
//! [`Action`]s, carries them out and reports the results.
//!
//! A node goes through these states:
//!
//! ```text
//! Waiting ── all inputs known ──► LookingUp ── record found ──► Hit ──┐ its bytes are needed but missing
//!                                    │                                ▼
//!                                    └── no record, or forced ────► Stale ── all inputs present ──► Running ──► Ran
//!                                                                     │                                 └─────► Failed
//!                                                                     └── an input failed ──► Skipped
//! ```
//!
//! A hit is only a promise: its bytes are checked ([`Action::CheckBytes`]) when a stale node reads them or when it is a
//! target, so that a node whose bytes were dropped stays a hit until they are needed.

use std::collections::VecDeque;

use crate::plan::NodeIndex;

/// What the driver should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Compute the node's key and look for its record; report [`Schedule::found`] or [`Schedule::stale`].
    LookUp(NodeIndex),
    /// Check whether the outputs that the node's record names are present and sound; report [`Schedule::present`] or
    /// [`Schedule::lost`].
    CheckBytes(NodeIndex),
    /// Run the node; report [`Schedule::ran`] or [`Schedule::failed`].
    Run(NodeIndex),
}

/// State of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Some input is not known yet.
    Waiting,
    /// Its record is being looked up.
    LookingUp,
    /// It has a record.
    Hit,
    /// It must run, and waits until the bytes of its inputs are present.
    Stale,
    /// It may run, or is running.
    Running,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It could not run because a node upstream failed.
    Skipped,
}

impl State {
    fn has_no_outputs(self) -> bool {
        matches!(self, State::Failed | State::Skipped)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes {
    /// Not needed so far.
    Unchecked,
    /// Being checked or computed.
    Pending,
    /// Present and sound.
    Present,
}

struct Node {
    upstream: Vec<NodeIndex>,
    downstream: Vec<NodeIndex>,
    target: bool,
    /// `None` if the run does not include the node.
    state: Option<State>,
    /// Whether the nodes downstream know its outputs. They are notified once, even if it runs again to restore its bytes.
    is_known: bool,
    bytes: Bytes,
    /// Number of upstream nodes whose outputs are not known yet (while waiting) or not present yet (while stale).
    pending: usize,
}

/// State of all nodes.
pub struct Schedule {
    nodes: Vec<Node>,
    actions: VecDeque<Action>,
    unfinished: usize,
}

impl Schedule {
    /// A schedule for the graph given by each node's distinct upstream nodes. It includes the targets and everything upstream.
    pub fn new(upstream: Vec<Vec<NodeIndex>>, targets: &[NodeIndex]) -> Self {
        let node = |upstream| Node {
            upstream,
            downstream: Vec::new(),
            target: false,
            state: None,
            is_known: false,
            bytes: Bytes::Unchecked,
            pending: 0,
        };
        let mut schedule =
            Self { nodes: upstream.into_iter().map(node).collect(), actions: VecDeque::new(), unfinished: 0 };
        for &target in targets {
            schedule.nodes[target].target = true;
        }
        let mut open = targets.to_vec();
        while let Some(index) = open.pop() {
            if schedule.nodes[index].state.is_none() {
                schedule.nodes[index].state = Some(State::Waiting);
                open.extend_from_slice(&schedule.nodes[index].upstream);
            }
        }
        for index in 0..schedule.nodes.len() {
            if schedule.nodes[index].state.is_some() {
                schedule.unfinished += 1;
                schedule.nodes[index].pending = schedule.nodes[index].upstream.len();
                for position in 0..schedule.nodes[index].upstream.len() {
                    let above = schedule.nodes[index].upstream[position];
                    schedule.nodes[above].downstream.push(index);
                }
                if schedule.nodes[index].pending == 0 {
                    schedule.look_up(index);
                }
            }
        }
        schedule
    }

    /// The next action; `None` if everything left depends on results that are not reported yet.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Number of included nodes that have not finished.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// State of a node; `None` if the run does not include it.
    pub fn state(&self, index: NodeIndex) -> Option<State> {
        self.nodes[index].state
    }

    /// Reports that a record was found, so the outputs are known. The bytes of a target are checked at once.
    pub fn found(&mut self, index: NodeIndex) {
        self.nodes[index].state = Some(State::Hit);
        if self.nodes[index].target {
            self.need_bytes(index);
        } else {
            self.unfinished -= 1;
        }
        self.notify_known(index);
    }

    /// Reports that there is no record, or that the node must run in spite of it.
    pub fn stale(&mut self, index: NodeIndex) {
        self.nodes[index].state = Some(State::Stale);
        let upstream = self.nodes[index].upstream.clone();
        if upstream.iter().any(|&above| self.nodes[above].state.is_some_and(State::has_no_outputs)) {
            return self.give_up(index, State::Skipped);
        }
        self.nodes[index].pending = upstream.iter().filter(|&&above| self.nodes[above].bytes != Bytes::Present).count();
        for above in upstream {
            self.need_bytes(above);
        }
        self.run_if_inputs_present(index);
    }

    /// Reports that the bytes that the node's record names are present and sound.
    pub fn present(&mut self, index: NodeIndex) {
        if self.nodes[index].target {
            self.unfinished -= 1;
        }
        self.notify_present(index);
    }

    /// Reports that some of the bytes that the node's record names are missing or damaged: it must run again.
    pub fn lost(&mut self, index: NodeIndex) {
        if !self.nodes[index].target {
            self.unfinished += 1;
        }
        self.stale(index);
    }

    /// Reports that the node ran, here or in another process.
    pub fn ran(&mut self, index: NodeIndex) {
        self.unfinished -= 1;
        self.nodes[index].state = Some(State::Ran);
        self.notify_known(index);
        self.notify_present(index);
    }

    /// Reports that the node failed; nodes that depend on it are skipped.
    pub fn failed(&mut self, index: NodeIndex) {
        self.give_up(index, State::Failed);
    }

    fn give_up(&mut self, index: NodeIndex, state: State) {
        self.unfinished -= 1;
        self.nodes[index].state = Some(state);
        for below in self.nodes[index].downstream.clone() {
            // A hit downstream does not need these bytes unless its own are needed.
            if matches!(self.nodes[below].state, Some(State::Waiting | State::Stale)) {
                self.give_up(below, State::Skipped);
            }
        }
    }

    fn look_up(&mut self, index: NodeIndex) {
        self.nodes[index].state = Some(State::LookingUp);
        self.actions.push_back(Action::LookUp(index));
    }

    fn notify_known(&mut self, index: NodeIndex) {
        if std::mem::replace(&mut self.nodes[index].is_known, true) {
            return;
        }
        for position in 0..self.nodes[index].downstream.len() {
            let below = self.nodes[index].downstream[position];
            if self.nodes[below].state == Some(State::Waiting) {
                self.nodes[below].pending -= 1;
                if self.nodes[below].pending == 0 {
                    self.look_up(below);
                }
            }
        }
    }

    fn need_bytes(&mut self, index: NodeIndex) {
        if self.nodes[index].bytes == Bytes::Unchecked {
            self.nodes[index].bytes = Bytes::Pending;
            self.actions.push_back(Action::CheckBytes(index));
        }
    }

    fn notify_present(&mut self, index: NodeIndex) {
        self.nodes[index].bytes = Bytes::Present;
        for position in 0..self.nodes[index].downstream.len() {
            let below = self.nodes[index].downstream[position];
            if self.nodes[below].state == Some(State::Stale) {
                self.nodes[below].pending -= 1;
                self.run_if_inputs_present(below);
            }
        }
    }

    fn run_if_inputs_present(&mut self, index: NodeIndex) {
        if self.nodes[index].pending == 0 {
            self.nodes[index].state = Some(State::Running);
            self.actions.push_back(Action::Run(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the driver would find in the store.
    #[derive(Clone, Debug, Default)]
    struct World {
        recorded: Vec<bool>,
        present: Vec<bool>,
        broken: Vec<bool>,
    }

    /// Drives the schedule to its end and returns the nodes in the order in which they ran.
    fn drive(upstream: &[Vec<NodeIndex>], targets: &[NodeIndex], world: &World) -> (Vec<NodeIndex>, Schedule) {
        let mut schedule = Schedule::new(upstream.to_vec(), targets);
        let mut ran = Vec::new();
        while let Some(action) = schedule.next_action() {
            match action {
                Action::LookUp(node) if world.recorded[node] => schedule.found(node),
                Action::LookUp(node) => schedule.stale(node),
                Action::CheckBytes(node) if world.present[node] => schedule.present(node),
                Action::CheckBytes(node) => schedule.lost(node),
                Action::Run(node) if world.broken[node] => schedule.failed(node),
                Action::Run(node) => {
                    ran.push(node);
                    schedule.ran(node);
                }
            }
        }
        assert_eq!(schedule.unfinished(), 0, "no action is left, yet a node is unfinished");
        (ran, schedule)
    }

    fn world(recorded: &[bool], present: &[bool]) -> World {
        World { recorded: recorded.to_vec(), present: present.to_vec(), broken: vec![false; recorded.len()] }
    }

    #[test]
    fn only_what_is_needed_runs() {
        let chain = [vec![], vec![0], vec![1]];
        for (recorded, present, expected) in [
            ([false; 3], [false; 3], vec![0, 1, 2]),
            ([true; 3], [true; 3], vec![]),
            // Dropped intermediate results stay hits as long as no node needs them.
            ([true; 3], [false, false, true], vec![]),
            // A missing target is computed from the inputs that are present.
            ([true; 3], [false, true, false], vec![2]),
            // A node that is restored first restores its inputs.
            ([true; 3], [false, false, false], vec![0, 1, 2]),
            // A changed node reads its input's bytes.
            ([true, true, false], [true, false, false], vec![1, 2]),
        ] {
            assert_eq!(drive(&chain, &[2], &world(&recorded, &present)).0, expected, "{recorded:?} {present:?}");
        }
    }

    #[test]
    fn a_failure_skips_only_what_depends_on_it() {
        let diamond = [vec![], vec![0], vec![0], vec![1], vec![2]];
        let mut world = world(&[false; 5], &[false; 5]);
        world.broken[1] = true;
        let (ran, schedule) = drive(&diamond, &[3, 4], &world);
        assert_eq!(ran, [0, 2, 4]);
        let states: Vec<_> = (0..5).filter_map(|node| schedule.state(node)).collect();
        assert_eq!(states, [State::Ran, State::Failed, State::Ran, State::Skipped, State::Ran]);
    }

    #[test]
    fn nodes_outside_the_run_are_left_alone() {
        let (ran, schedule) = drive(&[vec![], vec![0], vec![0]], &[1], &world(&[false; 3], &[false; 3]));
        assert_eq!(ran, [0, 1]);
        assert_eq!(schedule.state(2), None);
    }

    fn any_graph() -> impl Strategy<Value = (Vec<Vec<NodeIndex>>, World)> {
        (1usize..12).prop_flat_map(|count| {
            let edges: Vec<_> =
                (0..count).map(|node| prop::collection::btree_set(0..node.max(1), 0..=node.min(4))).collect();
            let flags = prop::collection::vec(any::<bool>(), count);
            (edges, flags.clone(), flags.clone(), prop::collection::vec(prop::bool::weighted(0.1), count)).prop_map(
                |(edges, recorded, present, broken)| {
                    let upstream = edges
                        .into_iter()
                        .enumerate()
                        .map(|(node, above)| above.into_iter().filter(|&above| above < node).collect())
                        .collect();
                    (upstream, World { recorded, present, broken })
                },
            )
        })
    }

    proptest! {
        /// A node runs at most once, after all of its inputs, and only if it has no record or its bytes are needed.
        #[test]
        fn nodes_run_in_order_and_only_if_needed((upstream, world) in any_graph()) {
            let last = upstream.len() - 1;
            let (ran, schedule) = drive(&upstream, &[last], &world);
            for (position, node) in ran.iter().enumerate() {
                prop_assert!(!ran[..position].contains(node));
                for above in &upstream[*node] {
                    let ready = ran[..position].contains(above) || (world.recorded[*above] && world.present[*above]);
                    prop_assert!(ready, "{node} ran before {above}");
                }
                let needed = *node == last
                    || upstream.iter().enumerate().any(|(below, above)| {
                        above.contains(node) && !matches!(schedule.state(below), None | Some(State::Hit))
                    });
                prop_assert!(!world.recorded[*node] || (!world.present[*node] && needed));
            }
            let done = matches!(schedule.state(last), Some(State::Hit | State::Ran));
            let failed = (0..upstream.len()).any(|node| schedule.state(node) == Some(State::Failed));
            prop_assert!(done || failed);
        }
    }
}
