//! Which nodes a word on the command line means: `cluster`, `cluster@2`, `train@2[3]`.

use super::Plan;
use crate::manifest::suggest;
use crate::schedule::NodeIndex;

/// A stage, a stage at a round, or one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    text: String,
}

impl Selection {
    /// The selection that `text` writes.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The nodes of `plan` that it means, at least one.
    ///
    /// # Errors
    /// It means none; the message offers the nearest name.
    pub fn nodes(&self, plan: &Plan) -> Result<Vec<NodeIndex>, String> {
        let found: Vec<_> = (0..plan.nodes.len()).filter(|&index| self.means(plan, index)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let stages = plan.manifest.stages.iter().map(|stage| stage.name.as_str());
        let names = stages.chain(plan.nodes.iter().map(|node| node.name.as_str()));
        let hint = suggest::nearest(&self.text, names).map(|name| format!("; did you mean `{name}`?"));
        Err(format!("The plan has no stage or node `{}`{}", self.text, hint.unwrap_or_default()))
    }

    fn means(&self, plan: &Plan, index: NodeIndex) -> bool {
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
