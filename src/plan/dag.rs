//! The plan as a whole: a checked manifest and its nodes in topological order.

use dnc_stages::api::Threads;

use super::node::{Needs, Node, NodeIndex};
use super::unroll::unroll;
use crate::manifest::{Manifest, StageNode};

/// A checked DAG of nodes, each placed after everything that it reads.
pub struct Plan {
    /// The manifest that the plan was made from.
    pub manifest: Manifest,
    /// The nodes in topological order.
    pub nodes: Vec<Node>,
}

impl Plan {
    /// Unrolls a checked manifest.
    pub fn new(manifest: Manifest) -> Self {
        let nodes = unroll(&manifest);
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

    /// The default targets of a run: the nodes that no other node reads, and those with an output that the run's report
    /// is made from.
    pub fn goals(&self) -> Vec<NodeIndex> {
        let mut is_read = vec![false; self.nodes.len()];
        for feed in self.nodes.iter().flat_map(Node::feeds) {
            is_read[feed.node] = true;
        }
        let is_reported = |node: &Node| self.stage(node).ports.outputs.iter().any(|output| output.kind.is_reported());
        (0..self.nodes.len()).filter(|&index| !is_read[index] || is_reported(&self.nodes[index])).collect()
    }

    /// For each node, whether it is one of `targets` or upstream of one.
    pub fn above(&self, targets: &[NodeIndex]) -> Vec<bool> {
        let mut wanted = vec![false; self.nodes.len()];
        for &target in targets {
            wanted[target] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            if wanted[index] {
                self.nodes[index].feeds().for_each(|feed| wanted[feed.node] = true);
            }
        }
        wanted
    }

    /// For each node, whether it is one of `origins` or downstream of one.
    pub fn below(&self, origins: &[NodeIndex]) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        for &origin in origins {
            reached[origin] = true;
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let is_downstream = node.feeds().any(|feed| reached[feed.node]);
            reached[index] |= is_downstream;
        }
        reached
    }

    /// The resources of a node: what its stage declares, unless the manifest overrides it.
    pub fn needs(&self, node: &Node) -> Needs {
        let stage = self.stage(node);
        let (declared, overridden) = (stage.job.resources(), stage.resources);
        let threads = match declared.threads {
            Threads::One => 1,
            Threads::Many => usize::MAX,
        };
        Needs {
            threads: overridden.threads.map_or(threads, |threads| threads as usize),
            memory: overridden.memory.or(declared.memory).unwrap_or(0),
            device: overridden.gpu.unwrap_or(declared.device),
        }
    }
}
