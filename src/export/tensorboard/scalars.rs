//! Numbers along rounds and along the steps of a training.

use dnc_stages::ArtifactKind;
use dnc_stages::api::Columns;
use dnc_stages::tables::history;

use crate::export::error::ExportError;
use crate::pages::evidence::Evidence;

/// A number at a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar {
    /// Name of the curve.
    pub(super) tag: String,
    pub(super) step: i64,
    pub(super) value: f64,
}

/// Metrics by round, and the terms of each training by step, where the store still has its history.
pub(super) fn scalars(evidence: &Evidence) -> Result<Vec<Scalar>, ExportError> {
    let mut scalars = Vec::new();
    for metric in &evidence.metrics {
        let stage = metric.node.split('@').next().unwrap_or(&metric.node);
        let tag = format!("{stage}/{}/{}", metric.split, metric.label());
        scalars.push(Scalar { tag, step: metric.round.max(0).into(), value: metric.value });
    }
    for node in evidence.json.nodes.iter().filter(|node| node.outputs.contains_key("history")) {
        let opened = evidence.open(&node.node, "history", ArtifactKind::History, Columns::All, |_| true)?;
        let Some(artifact) = opened else { continue };
        for row in history::open(&artifact)? {
            // A node that trains all learners in turn has the learner in its rows.
            let learner = if node.node.contains('[') { String::new() } else { format!("[{}]", row.learner) };
            let tag = format!("{}{learner}/{}", node.node, row.term);
            scalars.push(Scalar { tag, step: row.step.into(), value: row.value });
        }
    }
    Ok(scalars)
}
