//! Training images, and which learner trains on which of them.

use std::collections::{BTreeMap, BTreeSet};

use dnc_tables::Split;
use dnc_tables::assignments::Assignments;
use dnc_tables::images::Images;

use crate::api::{Context, StageError};

/// Training images, and which learner trains on which of them.
pub(super) struct TrainingSet {
    pub(super) ids: Vec<u32>,
    /// The class of each image, numbered from 0 over all training classes.
    pub(super) labels: Vec<u32>,
    pub(super) classes: usize,
    /// The rows of each learner's images.
    pub(super) learners: Vec<Vec<u32>>,
}

impl TrainingSet {
    /// Reads the training images and, from the input `clusters`, their learners.
    pub(super) fn open(context: &Context<'_>, images: &Images) -> Result<Self, StageError> {
        let count = context.ambient().learners.unwrap_or(1) as usize;
        let rows = images.ids()?.into_iter().zip(images.labels()?).zip(images.splits()?);
        let (ids, labels): (Vec<u32>, Vec<u32>) =
            rows.filter(|(_, split)| *split == Split::Train).map(|(row, _)| row).unzip();
        let classes: BTreeSet<u32> = labels.iter().copied().collect();
        let numbers: BTreeMap<u32, u32> = classes.iter().copied().zip(0..).collect();
        let labels = labels.iter().map(|label| numbers[label]).collect();

        let mut learners = vec![Vec::new(); count];
        match context.input_if_any("clusters") {
            None if count == 1 => learners[0] = (0..ids.len() as u32).collect(),
            None => {
                let purpose = format!("train {count} learners");
                return Err(StageError::InputNotConnected { port: "clusters", purpose });
            }
            Some(artifact) => {
                let table = Assignments::open(artifact)?;
                let clusters: BTreeMap<u32, i32> =
                    table.ids()?.iter().copied().zip(table.clusters()?.iter().copied()).collect();
                for (row, &id) in ids.iter().enumerate() {
                    // An image that was pruned or not clustered has no learner.
                    let Some(cluster) = clusters.get(&id).and_then(|&cluster| usize::try_from(cluster).ok()) else {
                        continue;
                    };
                    let out_of_range = StageError::ClusterOutOfRange { id, cluster, learners: count };
                    learners.get_mut(cluster).ok_or(out_of_range)?.push(row as u32);
                }
            }
        }
        Ok(Self { ids, labels, classes: classes.len(), learners })
    }
}
