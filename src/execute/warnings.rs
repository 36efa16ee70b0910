//! Warnings that a node's outputs contain, such as those of a data summary: every run shows them, also if the node is a hit. What
//! the data are too few for is said here as well, before anything is trained: only the run knows both the data and its rounds.

use dnc_cache::{Blob, Outputs, Store};
use dnc_stages::api::Stage as _;
use dnc_stages::cluster::Cluster;
use dnc_stages::tables::Split;
use dnc_stages::tables::summary::{self, Subject, SummaryRow};

use crate::error_chain::error_chain;
use crate::plan::{Node, Plan};

/// The warnings in these outputs of a node, as far as their bytes are there.
pub(super) fn warnings_in(store: &Store, plan: &Plan, node: &Node, outputs: &Outputs) -> Vec<String> {
    let mut warnings = Vec::new();
    for output in plan.stage(node).ports.outputs.iter().filter(|output| output.kind.has_warnings()) {
        for file in outputs.get(&output.name).iter().flat_map(|artifact| artifact.files()) {
            // Without the bytes, the node runs again or is not needed.
            let Ok(Blob::Present(path)) = store.blob(&file.digest) else { continue };
            match summary::read(&path) {
                Ok(rows) => {
                    warnings.extend(shortage(&rows, most_learners(plan)));
                    warnings.extend(rows.into_iter().filter(|row| row.is_warning).filter_map(|row| row.message));
                }
                Err(error) => warnings.push(format!("its {} cannot be read: {}", output.kind, error_chain(&error))),
            }
        }
    }
    warnings
}

/// The largest number of learners that the training images are divided among; 1 if they are not.
fn most_learners(plan: &Plan) -> usize {
    let divisions = plan.nodes.iter().filter(|node| plan.stage(node).kind.name == Cluster::NAME);
    divisions.filter_map(|node| node.learners).max().map_or(1, |learners| learners as usize)
}

/// Whether the training images can be divided among so many learners, each of which needs two classes with two images.
fn shortage(rows: &[SummaryRow], learners: usize) -> Option<String> {
    let classes = rows.iter().filter(|row| row.subject == Subject::Class && row.split == Some(Split::Train));
    let counts: Vec<usize> = classes.map(|row| row.count as usize).collect();
    let suffices = |learners: usize| {
        // A class serves each learner once, and needs two images for it.
        counts.iter().map(|count| (count / 2).min(learners)).sum::<usize>() >= 2 * learners
    };
    if learners < 2 || counts.is_empty() || suffices(learners) {
        return None;
    }
    let most = (1..learners).rev().find(|&fewer| suffices(fewer)).unwrap_or(0);
    let (images, classes) = (counts.iter().sum::<usize>(), counts.len());
    Some(format!(
        "{images} training images of {classes} classes cannot be divided among {learners} learners, each of which needs two classes \
         with two images; {most} is the most, so that a later round will fail. Set fewer in `rounds.learners`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_images_for_the_learners_are_found_before_the_run() {
        let check = |counts: &[usize], learners: usize| {
            let row =
                |&count: &usize| SummaryRow { split: Some(Split::Train), ..SummaryRow::new(Subject::Class, count) };
            shortage(&counts.iter().map(row).collect::<Vec<_>>(), learners)
        };
        assert_eq!(check(&[4, 4], 2), None);
        assert_eq!(check(&[100, 2, 2, 2, 2], 4), None);
        assert_eq!(check(&[1, 1, 1], 1), None);
        insta::assert_snapshot!(check(&[3, 4, 5], 4).unwrap(), @"12 training images of 3 classes cannot be divided among 4 learners, each of which needs two classes with two images; 2 is the most, so that a later round will fail. Set fewer in `rounds.learners`");
        insta::assert_snapshot!(check(&[100, 2], 2).unwrap(), @"102 training images of 2 classes cannot be divided among 2 learners, each of which needs two classes with two images; 1 is the most, so that a later round will fail. Set fewer in `rounds.learners`");
    }
}
