//! The layout of a plan as a table: a column for what runs once, then a column per round; a row per stage. The learners of a round
//! are one box. What a box reads from its own column or the one before is drawn as a line; what it reads from farther away is
//! named inside the box, so that 90 rounds of 32 learners stay readable.

use std::collections::{BTreeMap, BTreeSet};

use super::edges::{Edge, edges};
use crate::plan::{NodeIndex, Plan};

/// A plan as a table of boxes.
#[derive(Clone, Debug, Default)]
pub(super) struct Drawing {
    pub(super) boxes: Vec<DrawnBox>,
    pub(super) lines: Vec<DrawnLine>,
    /// The headings of the columns.
    pub(super) columns: Vec<String>,
    /// Number of rows of the tallest column.
    pub(super) rows: usize,
}

/// A node, or the nodes of all learners of a stage in a round.
#[derive(Clone, Debug)]
pub(super) struct DrawnBox {
    /// The node's name; without the learner if there are several.
    pub(super) name: String,
    /// The nodes, ordered by learner.
    pub(super) nodes: Vec<NodeIndex>,
    pub(super) column: usize,
    pub(super) row: usize,
    /// Number of the stage in the manifest.
    pub(super) stage: usize,
    /// Boxes far away that it reads, each with the port.
    pub(super) far: BTreeSet<(String, String)>,
}

/// A line between two boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DrawnLine {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The input ports that it feeds.
    pub(super) ports: BTreeSet<String>,
}

impl Drawing {
    /// Lays out a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        let after_rounds = after_rounds(plan);
        let rounds = plan.manifest.rounds() as usize;
        let has_once = (0..plan.nodes.len()).any(|index| plan.nodes[index].round.is_none() && !after_rounds[index]);
        let first_round = usize::from(has_once);
        let mut drawing = Self::default();
        if has_once {
            drawing.columns.push(if rounds > 0 { "once".to_owned() } else { String::new() });
        }
        for (round, learners) in plan.manifest.learners.iter().enumerate() {
            drawing.columns.push(format!("round {round} · K = {learners}"));
        }
        if after_rounds.iter().any(|&after| after) {
            drawing.columns.push("after the rounds".to_owned());
        }
        let mut box_of: Vec<usize> = Vec::with_capacity(plan.nodes.len());
        let mut known: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (index, node) in plan.nodes.iter().enumerate() {
            let column = match node.round {
                Some(round) => first_round + round as usize,
                None if after_rounds[index] => first_round + rounds,
                None => 0,
            };
            let number = *known.entry((column, node.stage)).or_insert_with(|| {
                let name = node.name.split('[').next().unwrap_or(&node.name).to_owned();
                let far = BTreeSet::new();
                drawing.boxes.push(DrawnBox { name, nodes: Vec::new(), column, row: 0, stage: node.stage, far });
                drawing.boxes.len() - 1
            });
            drawing.boxes[number].nodes.push(index);
            box_of.push(number);
        }
        drawing.place_rows(first_round..first_round + rounds);
        drawing.connect(plan, &box_of);
        drawing
    }

    /// Rows follow the manifest. In the rounds, a stage has the same row in each of them.
    fn place_rows(&mut self, rounds: std::ops::Range<usize>) {
        let stages: BTreeSet<usize> =
            self.boxes.iter().filter(|one| rounds.contains(&one.column)).map(|one| one.stage).collect();
        let row_of: BTreeMap<usize, usize> = stages.into_iter().zip(0..).collect();
        let mut next: BTreeMap<usize, usize> = BTreeMap::new();
        for one in &mut self.boxes {
            one.row = match row_of.get(&one.stage).filter(|_| rounds.contains(&one.column)) {
                Some(&row) => row,
                None => {
                    let next = next.entry(one.column).or_default();
                    *next += 1;
                    *next - 1
                }
            };
            self.rows = self.rows.max(one.row + 1);
        }
    }

    fn connect(&mut self, plan: &Plan, box_of: &[usize]) {
        let mut lines: BTreeMap<(usize, usize), BTreeSet<String>> = BTreeMap::new();
        for Edge { from, to, port } in edges(plan) {
            let (from, to) = (box_of[from], box_of[to]);
            let apart = self.boxes[to].column - self.boxes[from].column.min(self.boxes[to].column);
            if from == to {
                continue;
            }
            // The first round stands beside what runs once; a later one names it.
            if apart <= 1 {
                lines.entry((from, to)).or_default().insert(port.to_owned());
            } else {
                let name = self.boxes[from].name.clone();
                self.boxes[to].far.insert((name, port.to_owned()));
            }
        }
        self.lines = lines.into_iter().map(|((from, to), ports)| DrawnLine { from, to, ports }).collect();
    }
}

/// For each node, whether it runs once but reads what a round has made.
fn after_rounds(plan: &Plan) -> Vec<bool> {
    let mut after = vec![false; plan.nodes.len()];
    for (index, node) in plan.nodes.iter().enumerate() {
        after[index] =
            node.round.is_none() && node.feeds().any(|feed| plan.nodes[feed.node].round.is_some() || after[feed.node]);
    }
    after
}
