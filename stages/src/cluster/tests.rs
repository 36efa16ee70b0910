//! Tests of the `cluster` stage.

use dnc_tables::embeddings::EmbeddingRows;

use super::*;
use crate::api::{InputArtifact, OutputArtifact};
use crate::testing::{Outputs, Workshop, artifact, check_known_bytes, digest, on_threads};

const DIM: usize = 6;

/// Eight classes of eight images in four groups of two classes; a ninth class of test images; a tenth class of one image.
/// `turn` rotates the positions of the groups.
fn embeddings(workshop: &Workshop, turn: usize) -> InputArtifact {
    let (mut labels, mut splits, mut vectors) = (Vec::new(), Vec::new(), Vec::new());
    for image in 0..73_usize {
        let class = if image == 72 { 9 } else { image / 8 };
        labels.push(class as u32);
        splits.push(if class == 8 { Split::Test } else { Split::Train });
        let group = if class == 9 { 0 } else { (class / 2 + turn) % 4 };
        // Groups 0 and 1 are close to each other, and so are 2 and 3, so that both two and four clusters are well
        // separated. Images of a group are so close that no seeding draws two of them.
        for axis in 0..DIM {
            let noise = ((image * 31 + axis * 17) % 13) as f32 / 5000.0;
            let position = if axis == group { 1.0 } else { 0.0 } + if axis == 4 + group / 2 { 2.0 } else { 0.0 };
            vectors.push(position + noise);
        }
    }
    let ids: Vec<u32> = (0..73).collect();
    let rows = EmbeddingRows { ids: &ids, labels: &labels, splits: &splits, vectors: &vectors, dim: DIM };
    let write = |output: &mut OutputArtifact| dnc_tables::embeddings::write(output, rows);
    workshop.write(ArtifactKind::Embeddings, write).unwrap().0
}

fn divide(
    workshop: &mut Workshop,
    stage: &Cluster,
    turn: usize,
    learners: u32,
    previous: Option<(&InputArtifact, u32)>,
) -> Outputs {
    workshop.ambient.learners = Some(learners);
    workshop.ambient.previous_learners = previous.map(|(_, learners)| learners);
    let embeddings = embeddings(workshop, turn);
    let mut inputs = vec![("embeddings", &embeddings)];
    inputs.extend(previous.map(|(artifact, _)| ("previous", artifact)));
    workshop.run(stage, &inputs).unwrap()
}

fn opened(outputs: &Outputs) -> InputArtifact {
    artifact(ArtifactKind::Assignments, &outputs["assignments"].folder)
}

fn clusters(artifact: &InputArtifact) -> Vec<i32> {
    Assignments::open(artifact).unwrap().clusters().unwrap().to_vec()
}

#[test]
fn doubled_clusters_keep_their_parents_images() {
    for stage in [
        Cluster::default(),
        Cluster { carry_centroids: true, ..Cluster::default() },
        Cluster { algorithm: Algorithm::Linfa, ..Cluster::default() },
    ] {
        let mut workshop = Workshop::new();
        let one = opened(&divide(&mut workshop, &stage, 0, 1, None));
        let table = Assignments::open(&one).unwrap();
        assert_eq!(table.ids().unwrap().len(), 65, "test images are not divided");
        assert_eq!(clusters(&one).iter().filter(|&&cluster| cluster == PRUNED).count(), 1);

        let two = opened(&divide(&mut workshop, &stage, 0, 2, Some((&one, 1))));
        let four = opened(&divide(&mut workshop, &stage, 0, 4, Some((&two, 2))));
        for (parent, child) in clusters(&two).into_iter().zip(clusters(&four)) {
            assert!(parent == PRUNED || child / 2 == parent, "cluster {child} is not a part of {parent}");
        }
        assert_eq!(Centroids::open(&four).unwrap().sizes().unwrap(), [16; 4]);
        // The groups rotate by one, which permutes the numbers of the clusters; the learners keep their images.
        let rotated = opened(&divide(&mut workshop, &stage, 1, 4, Some((&four, 4))));
        assert_eq!(clusters(&rotated), clusters(&four), "{stage:?}");
        assert!((assignments::nmi(&rotated).unwrap().unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(assignments::nmi(&one).unwrap(), None);
    }
}

#[test]
fn both_implementations_agree_and_the_thread_count_does_not_change_the_bytes() {
    let mut workshop = Workshop::new();
    let linfa = Cluster { algorithm: Algorithm::Linfa, ..Cluster::default() };
    let [ours, theirs] = [Cluster::default(), linfa].map(|stage| divide(&mut workshop, &stage, 0, 4, None));
    assert_eq!(clusters(&opened(&ours)), clusters(&opened(&theirs)));
    let distances = |outputs: &Outputs| -> f32 {
        Assignments::open(&opened(outputs)).unwrap().distances().unwrap().iter().map(|d| d * d).sum()
    };
    assert!((distances(&ours) / distances(&theirs) - 1.0).abs() < 1e-4);
    let digests = [1, 3]
        .map(|threads| on_threads(threads, || digest(&divide(&mut Workshop::new(), &Cluster::default(), 0, 4, None))));
    assert_eq!(digests, [digest(&ours), digest(&ours)]);
}

#[test]
fn too_many_learners_are_an_error() {
    let mut workshop = Workshop::new();
    workshop.ambient.learners = Some(40);
    let embeddings = embeddings(&workshop, 0);
    let error = workshop.run(&Cluster::default(), &[("embeddings", &embeddings)]).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("No learner can be trained on cluster "), "{source}");
}

/// Law 3: a commit that changes these bytes also raises [`Cluster::VERSION`], and updates the digest.
#[test]
fn the_version_matches_the_bytes() {
    let mut workshop = Workshop::new();
    let two = opened(&divide(&mut workshop, &Cluster::default(), 0, 2, None));
    let four = divide(&mut workshop, &Cluster::default(), 1, 4, Some((&two, 2)));
    check_known_bytes(
        (Cluster::VERSION, &four),
        (
            2,
            &[
                ("cpu/avx512/gnu", "9a1b8e2e49fe8f02"),
                ("cpu/avx2/gnu", "9a1b8e2e49fe8f02"),
                ("cpu/portable/gnu", "9a1b8e2e49fe8f02"),
            ],
        ),
    );
}
