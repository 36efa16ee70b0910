//! Nodes named on the command line: `cluster`, `cluster@2`, `train@2[3]`.

use super::dag::Plan;
use super::node::NodeIndex;
use crate::manifest::suggest;

/// Most stages that a message lists.
const MOST_LISTED: usize = 30;

/// A stage, a stage in one round, or a single node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    text: String,
}

impl Selection {
    /// The selection written as `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The nodes of `plan` that it selects, at least one.
    ///
    /// # Errors
    /// It selects none; the message suggests the nearest name, or lists the stages.
    pub fn nodes(&self, plan: &Plan) -> Result<Vec<NodeIndex>, String> {
        let found: Vec<_> = (0..plan.nodes.len()).filter(|&index| self.selects(plan, index)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let stages = || plan.manifest.stages.iter().map(|stage| stage.name.as_str());
        let names = stages().chain(plan.nodes.iter().map(|node| node.name.as_str()));
        let hint = match suggest::nearest(&self.text, names) {
            Some(name) => format!("; did you mean `{name}`?"),
            None if plan.manifest.stages.len() > MOST_LISTED => "; `dnc-run plan` lists its nodes".to_owned(),
            None => format!("; its stages: {}", suggest::all_of(stages())),
        };
        Err(format!("The plan has no stage or node `{}`{hint}", self.text))
    }

    fn selects(&self, plan: &Plan, index: NodeIndex) -> bool {
        let node = &plan.nodes[index];
        let stage = &plan.stage(node).name;
        node.name == self.text
            || *stage == self.text
            || node.round.is_some_and(|round| {
                self.text.strip_prefix(stage.as_str()).and_then(|rest| rest.strip_prefix('@'))
                    == Some(round.to_string().as_str())
            })
    }
}
