//! A graph of trivial commands of any size, as a manifest and as a build file for ninja.
//!
//! Every thousand nodes begin with a hub that all the others of the thousand read; they form chains of ten besides. The
//! hub reads the last node of the thousand before it. Each node writes its number behind what the node before it wrote,
//! so that a change goes through to all nodes below.

use std::fmt::Write;

/// Nodes that share a hub.
const WIDE: usize = 1_000;
/// Nodes in a chain.
const LONG: usize = 10;

/// So many nodes, of which [`CHANGING`] has another command in each version.
#[derive(Clone, Copy)]
pub(crate) struct Graph {
    pub(crate) nodes: usize,
    pub(crate) version: usize,
}

/// A node in the middle of a chain.
pub(crate) const CHANGING: usize = 25;
/// How many nodes are at or below it.
pub(crate) const BELOW: usize = LONG - CHANGING % LONG + 1;

impl Graph {
    /// The node before it, in its chain or above it.
    fn before(node: usize) -> Option<usize> {
        match node {
            0 => None,
            _ if node % WIDE % LONG == 1 => Some(Self::hub(node)),
            _ => Some(node - 1),
        }
    }

    /// The hub that it reads.
    fn hub(node: usize) -> usize {
        node.saturating_sub(1) / WIDE * WIDE
    }

    /// What the node's command writes besides what it read.
    fn mark(self, node: usize) -> String {
        if node == CHANGING { format!("{node} version {}", self.version) } else { node.to_string() }
    }

    /// The manifest, whose commands are lines for the shell.
    pub(crate) fn manifest(self) -> String {
        let mut text = "name = \"graph\"\n".to_owned();
        for node in 0..self.nodes {
            let (mark, hub) = (self.mark(node), Self::hub(node));
            let (inputs, read) = match Self::before(node) {
                None => (String::new(), ""),
                Some(before) => {
                    (format!("before = \"node-{before}\", hub = \"node-{hub}\""), "read -r x < {in.before}; ")
                }
            };
            write!(
                text,
                "\n[stage.node-{node}]\nkind = \"command\"\nrun = '{read}echo \"$x {mark}\" > {{out.result}}/{node}.txt'\n\
                 in = {{ {inputs} }}\noutputs = {{ result = \"files\" }}\n"
            )
            .expect("a string can be written to");
        }
        text
    }

    /// The same commands for ninja.
    pub(crate) fn ninja(self) -> String {
        let mut text = "rule first\n  command = echo \"$$x $mark\" > $out\n\
                        rule next\n  command = read -r x < $before; echo \"$$x $mark\" > $out\n"
            .to_owned();
        for node in 0..self.nodes {
            let mark = self.mark(node);
            match Self::before(node) {
                None => write!(text, "build {node}.txt: first\n  mark = {mark}\n"),
                Some(before) => write!(
                    text,
                    "build {node}.txt: next {before}.txt {}.txt\n  before = {before}.txt\n  mark = {mark}\n",
                    Self::hub(node)
                ),
            }
            .expect("a string can be written to");
        }
        text
    }
}
