//! What is ready: a pure state machine over the plan's graph. It reads no clock, file or thread; whoever drives it
//! does as it is told and tells what came of it.
//!
//! A node goes through these states:
//!
//! ```text
//! Waiting ── all inputs known ──► Looking ── record found ──► Hit ──┐ an artifact is needed and not there
//!                                    │                              ▼
//!                                    └── no record, or forced ──► Stale ── every input secured ──► Running ──► Ran
//!                                                                   │                                  └─────► Failed
//!                                                                   └── an input failed ──► Skipped
//! ```
//!
//! A hit is only a promise: its bytes are asked for (`Step::Secure`) when a stale node reads them or when it is a
//! target, so that a node whose bytes were dropped stays a hit until somebody needs them.

use std::collections::VecDeque;

/// A node's place in the plan.
pub type NodeIndex = usize;

/// What the driver should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Compute the node's key and look for its record; answer with [`Schedule::found`] or [`Schedule::stale`].
    Look(NodeIndex),
    /// See whether the outputs that the node's record names are there and sound; answer with [`Schedule::secured`] or
    /// [`Schedule::lost`].
    Secure(NodeIndex),
    /// Run the node; answer with [`Schedule::ran`] or [`Schedule::failed`].
    Run(NodeIndex),
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Some input is not known yet.
    Waiting,
    /// Its record is being looked for.
    Looking,
    /// A record names its outputs.
    Hit,
    /// It must run, and waits until its inputs are secured.
    Stale,
    /// It may run, or is running.
    Running,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It could not run because something upstream failed.
    Skipped,
}

impl State {
    fn is_lost(self) -> bool {
        matches!(self, State::Failed | State::Skipped)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes {
    /// Nobody asked.
    Unasked,
    /// Asked for, not answered.
    Asked,
    /// There and sound.
    Secured,
}

struct Node {
    upstream: Vec<NodeIndex>,
    downstream: Vec<NodeIndex>,
    target: bool,
    /// `None` where nobody wants the node.
    state: Option<State>,
    /// Whether its outputs are known to those below: once told, never told again, even if it runs to restore its bytes.
    told: bool,
    bytes: Bytes,
    /// How many upstream nodes are not known yet (while waiting) or not secured yet (while stale).
    pending: usize,
}

/// The state of a whole run.
pub struct Schedule {
    nodes: Vec<Node>,
    steps: VecDeque<Step>,
    unfinished: usize,
}

impl Schedule {
    /// A schedule for a graph given by each node's distinct upstream nodes, for these targets and all above them.
    pub fn new(upstream: Vec<Vec<NodeIndex>>, targets: &[NodeIndex]) -> Self {
        let node = |upstream| Node {
            upstream,
            downstream: Vec::new(),
            target: false,
            state: None,
            told: false,
            bytes: Bytes::Unasked,
            pending: 0,
        };
        let mut schedule =
            Self { nodes: upstream.into_iter().map(node).collect(), steps: VecDeque::new(), unfinished: 0 };
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
                    schedule.look(index);
                }
            }
        }
        schedule
    }

    /// The next thing to do, if anything can be done before an answer comes in.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Whether every wanted node came to an end.
    pub fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// What became of a node; `None` where it is not wanted.
    pub fn state(&self, index: NodeIndex) -> Option<State> {
        self.nodes[index].state
    }

    /// A record was found: the outputs are known. A target's bytes are asked for at once.
    pub fn found(&mut self, index: NodeIndex) {
        self.nodes[index].state = Some(State::Hit);
        if self.nodes[index].target {
            self.ask_for_bytes(index);
        } else {
            self.unfinished -= 1;
        }
        self.tell_known(index);
    }

    /// There is no record, or the node is to run in spite of it.
    pub fn stale(&mut self, index: NodeIndex) {
        self.nodes[index].state = Some(State::Stale);
        let upstream = self.nodes[index].upstream.clone();
        if upstream.iter().any(|&above| self.nodes[above].state.is_some_and(State::is_lost)) {
            return self.give_up(index, State::Skipped);
        }
        self.nodes[index].pending = upstream.iter().filter(|&&above| self.nodes[above].bytes != Bytes::Secured).count();
        for above in upstream {
            self.ask_for_bytes(above);
        }
        self.run_if_secured(index);
    }

    /// The bytes that the node's record names are there and sound.
    pub fn secured(&mut self, index: NodeIndex) {
        if self.nodes[index].target {
            self.unfinished -= 1;
        }
        self.tell_secured(index);
    }

    /// Some of the bytes that the node's record names are gone or rotten: it must run again.
    pub fn lost(&mut self, index: NodeIndex) {
        if !self.nodes[index].target {
            self.unfinished += 1;
        }
        self.stale(index);
    }

    /// The node ran, or another process ran it meanwhile.
    pub fn ran(&mut self, index: NodeIndex) {
        self.unfinished -= 1;
        self.nodes[index].state = Some(State::Ran);
        self.tell_known(index);
        self.tell_secured(index);
    }

    /// The node failed; what cannot do without it is skipped.
    pub fn failed(&mut self, index: NodeIndex) {
        self.give_up(index, State::Failed);
    }

    fn give_up(&mut self, index: NodeIndex, state: State) {
        self.unfinished -= 1;
        self.nodes[index].state = Some(state);
        for below in self.nodes[index].downstream.clone() {
            // A hit below does without these bytes, unless somebody asks for its own.
            if matches!(self.nodes[below].state, Some(State::Waiting | State::Stale)) {
                self.give_up(below, State::Skipped);
            }
        }
    }

    fn look(&mut self, index: NodeIndex) {
        self.nodes[index].state = Some(State::Looking);
        self.steps.push_back(Step::Look(index));
    }

    fn tell_known(&mut self, index: NodeIndex) {
        if std::mem::replace(&mut self.nodes[index].told, true) {
            return;
        }
        for position in 0..self.nodes[index].downstream.len() {
            let below = self.nodes[index].downstream[position];
            if self.nodes[below].state == Some(State::Waiting) {
                self.nodes[below].pending -= 1;
                if self.nodes[below].pending == 0 {
                    self.look(below);
                }
            }
        }
    }

    fn ask_for_bytes(&mut self, index: NodeIndex) {
        if self.nodes[index].bytes == Bytes::Unasked {
            self.nodes[index].bytes = Bytes::Asked;
            self.steps.push_back(Step::Secure(index));
        }
    }

    fn tell_secured(&mut self, index: NodeIndex) {
        self.nodes[index].bytes = Bytes::Secured;
        for position in 0..self.nodes[index].downstream.len() {
            let below = self.nodes[index].downstream[position];
            if self.nodes[below].state == Some(State::Stale) {
                self.nodes[below].pending -= 1;
                self.run_if_secured(below);
            }
        }
    }

    fn run_if_secured(&mut self, index: NodeIndex) {
        if self.nodes[index].pending == 0 {
            self.nodes[index].state = Some(State::Running);
            self.steps.push_back(Step::Run(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the driver would find in the world.
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
        while let Some(step) = schedule.next_step() {
            match step {
                Step::Look(node) if world.recorded[node] => schedule.found(node),
                Step::Look(node) => schedule.stale(node),
                Step::Secure(node) if world.present[node] => schedule.secured(node),
                Step::Secure(node) => schedule.lost(node),
                Step::Run(node) if world.broken[node] => schedule.failed(node),
                Step::Run(node) => {
                    ran.push(node);
                    schedule.ran(node);
                }
            }
        }
        assert!(schedule.is_finished(), "nothing left to do, yet unfinished");
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
            // Dropped intermediates stay hits as long as nobody needs them.
            ([true; 3], [false, false, true], vec![]),
            // A missing target is restored from what is there.
            ([true; 3], [false, true, false], vec![2]),
            // A restored node restores what it reads first.
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
    fn what_is_not_asked_for_is_left_alone() {
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
        /// A node runs at most once, after all that it reads, and only if it has no record or its bytes are needed.
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
