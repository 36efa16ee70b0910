//! The plan: a manifest's stages unrolled over rounds and learners into nodes, each knowing which outputs of which nodes
//! feed its ports. It knows neither keys nor the store.

mod select;
mod unroll;

use dnc_stages::Kind;
use dnc_stages::stage::{Columns, Threads};

pub use select::Selection;

use crate::execute::budget::Wanted;
use crate::manifest::{Manifest, StageNode};
use crate::schedule::NodeIndex;

/// A checked DAG of nodes, each after all that it reads.
pub struct Plan {
    /// The manifest that it was made of.
    pub manifest: Manifest,
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// A stage at one round, for one learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its stable name: `decode`, `cluster@2`, `train@2[3]`.
    pub name: String,
    /// Index of its stage in the manifest.
    pub stage: usize,
    /// Its round, if its stage is done in rounds.
    pub round: Option<u32>,
    /// How many learners its round has.
    pub learners: Option<u32>,
    /// How many learners the round before had; `None` in the first.
    pub previous_learners: Option<u32>,
    /// Its learner, if its stage is done per learner.
    pub learner: Option<u32>,
    /// What feeds its ports. An optional port that stays empty is not among them.
    pub inputs: Vec<Wire>,
}

/// What feeds one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The port's name.
    pub port: String,
    /// The columns that it sees.
    pub columns: Columns,
    /// The artifacts, in the learners' order.
    pub feeds: Vec<Feed>,
}

/// One artifact on its way to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Who makes it.
    pub node: NodeIndex,
    /// Under which name.
    pub output: String,
    /// What it holds.
    pub kind: Kind,
}

impl Plan {
    /// Unrolls a checked manifest.
    pub fn new(manifest: Manifest) -> Self {
        let nodes = unroll::unroll(&manifest);
        Self { manifest, nodes }
    }

    /// The stage of a node.
    pub fn stage(&self, node: &Node) -> &StageNode {
        &self.manifest.stages[node.stage]
    }

    /// For each node, the nodes that it reads, each once.
    pub fn upstream(&self) -> Vec<Vec<NodeIndex>> {
        self.nodes.iter().map(Node::upstream).collect()
    }

    /// What a run is for where nothing is said: the nodes that no other reads, and those with an output of one of the kinds
    /// that are to be `held` besides.
    pub fn goals(&self, held: &[Kind]) -> Vec<NodeIndex> {
        let mut read = vec![false; self.nodes.len()];
        for feed in self.nodes.iter().flat_map(|node| &node.inputs).flat_map(|wire| &wire.feeds) {
            read[feed.node] = true;
        }
        let is_held =
            |node: usize| self.stage(&self.nodes[node]).ports.outputs.iter().any(|output| held.contains(&output.kind));
        (0..self.nodes.len()).filter(|&node| !read[node] || is_held(node)).collect()
    }

    /// Whether each node is among `targets` or above one of them.
    pub fn above(&self, targets: &[NodeIndex]) -> Vec<bool> {
        let mut wanted = vec![false; self.nodes.len()];
        for &target in targets {
            wanted[target] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            if wanted[index] {
                for feed in self.nodes[index].inputs.iter().flat_map(|wire| &wire.feeds) {
                    wanted[feed.node] = true;
                }
            }
        }
        wanted
    }

    /// Whether each node is among `origins` or below one of them.
    pub fn below(&self, origins: &[NodeIndex]) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        for &origin in origins {
            reached[origin] = true;
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let touched = node.inputs.iter().flat_map(|wire| &wire.feeds).any(|feed| reached[feed.node]);
            reached[index] |= touched;
        }
        reached
    }

    /// What running a node takes: what its stage says, unless the manifest says otherwise.
    pub fn wanted(&self, node: &Node) -> Wanted {
        let stage = self.stage(node);
        let (said, instead) = (stage.job.resources(), stage.resources);
        let threads = match said.threads {
            Threads::One => 1,
            Threads::Many => usize::MAX,
        };
        Wanted {
            threads: instead.threads.map_or(threads, |threads| threads as usize),
            memory: instead.memory.or(said.memory).unwrap_or(0),
            device: instead.gpu.unwrap_or(said.device),
        }
    }
}

impl Node {
    /// The nodes that this one reads, each once.
    pub fn upstream(&self) -> Vec<NodeIndex> {
        let mut upstream: Vec<_> = self.inputs.iter().flat_map(|wire| &wire.feeds).map(|feed| feed.node).collect();
        upstream.sort_unstable();
        upstream.dedup();
        upstream
    }
}
