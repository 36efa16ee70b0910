//! The clusters that the learners of the chosen round were trained on.

use dnc_stages::ArtifactKind;
use dnc_stages::api::Columns;
use dnc_stages::tables::assignments::{self, Assignments, Centroids, PRUNED};

use crate::pages::error::PagesError;
use crate::pages::evidence::{Evidence, Subject};

/// A division of the training images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clusters {
    /// The node that made it.
    pub node: String,
    /// Size of each cluster, and some of its images evenly spread by their distance to the centroid, nearest first.
    pub clusters: Vec<(u32, Vec<u32>)>,
    /// Number of pruned images.
    pub pruned: usize,
    /// Agreement with the clusters of the round before.
    pub nmi: Option<f64>,
}

/// The clusters of the chosen round, with `shown` images each; `None` if it had a single learner, or the store no longer has them.
///
/// # Errors
/// The store cannot be read, or a table is damaged.
pub fn clusters(evidence: &Evidence, subject: &Subject, shown: usize) -> Result<Option<Clusters>, PagesError> {
    let suffix = format!("@{}", subject.chosen().round);
    let mut nodes = evidence.json.nodes.iter();
    let Some(node) = nodes.find(|node| node.outputs.contains_key("assignments") && node.node.ends_with(&suffix)) else {
        return Ok(None);
    };
    let kind = ArtifactKind::Assignments;
    let Some(artifact) = evidence.open(&node.node, "assignments", kind, Columns::All, |_| true)? else {
        return Ok(None);
    };
    let table = Assignments::open(&artifact)?;
    let (ids, assigned, distances) = (table.ids()?, table.clusters()?, table.distances()?);
    let sizes = Centroids::open(&artifact)?.sizes()?.to_vec();
    let images = |cluster: usize| {
        let mut members: Vec<usize> = (0..ids.len()).filter(|&row| assigned[row] == cluster as i32).collect();
        members.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]).then(ids[a].cmp(&ids[b])));
        let count = shown.min(members.len());
        (0..count).map(|number| ids[members[number * members.len() / count]]).collect()
    };
    let clusters = sizes.iter().enumerate().map(|(cluster, &size)| (size, images(cluster))).collect();
    let pruned = assigned.iter().filter(|&&cluster| cluster == PRUNED).count();
    Ok(Some(Clusters { node: node.node.clone(), clusters, pruned, nmi: assignments::nmi(&artifact)? }))
}
