//! Every small table is written and read back, and has the same facets when its file is read as another program's.

use crate::artifact::OutputArtifact;
use crate::assignments::{Assignments, Centroids, ClusterRows, PRUNED};
use crate::embeddings::{EmbeddingRows, Embeddings};
use crate::error::TableError;
use crate::facets_of_folder;
use crate::history::HistoryRow;
use crate::index::{Index, IndexRows, RecallRow};
use crate::kind::ArtifactKind;
use crate::metrics::MetricRow;
use crate::nuisances::NuisanceRow;
use crate::queries::QueryRow;
use crate::split::Split;
use crate::testing::Written;
use crate::views::{Colour, Region, View, ViewRow, Views, ViewsWriter};

/// Writes an artifact twice, compares bytes and facets, and returns the first.
fn written(kind: ArtifactKind, write: impl Fn(&mut OutputArtifact) -> Result<(), TableError>) -> Written {
    let (first, second) =
        (crate::testing::written(kind, &write).unwrap(), crate::testing::written(kind, &write).unwrap());
    assert_eq!(first.output.facets, second.output.facets);
    assert_eq!(first.output.facets, facets_of_folder(kind, &first.output.folder).unwrap());
    for (file, again) in first.input.files.iter().zip(&second.input.files) {
        assert_eq!(std::fs::read(&file.path).unwrap(), std::fs::read(&again.path).unwrap(), "{}", file.name);
    }
    first
}

#[test]
fn embeddings() {
    let vectors: Vec<f32> = (0..6).map(|n| n as f32 / 2.0).collect();
    let splits = [Split::Train, Split::Test];
    let written = written(ArtifactKind::Embeddings, |output| {
        let rows = EmbeddingRows { ids: &[4, 9], labels: &[1, 0], splits: &splits, vectors: &vectors, dim: 3 };
        crate::embeddings::write(output, rows)
    });
    let read = Embeddings::open(&written.input).unwrap();
    assert_eq!((read.ids().unwrap(), read.labels().unwrap(), read.dim().unwrap()), (&[4, 9][..], &[1, 0][..], 3));
    assert_eq!((read.splits().unwrap().as_slice(), read.vectors().unwrap()), (&splits[..], &vectors[..]));
}

#[test]
fn embeddings_without_rows() {
    let written = written(ArtifactKind::Embeddings, |output| {
        let rows = EmbeddingRows { ids: &[], labels: &[], splits: &[], vectors: &[], dim: 3 };
        crate::embeddings::write(output, rows)
    });
    let read = Embeddings::open(&written.input).unwrap();
    assert!(read.is_empty() && read.vectors().unwrap().is_empty());
}

#[test]
fn index() {
    let splits = [Split::Train, Split::Gallery, Split::Gallery];
    let row = |probes, recall, scanned, chosen| RecallRow { probes, k: 10, recall, scanned, chosen };
    let recall = [row(1, 0.75, 0.5, false), row(2, 1.0, 1.0, true)];
    let written = written(ArtifactKind::Index, |output| {
        let rows = IndexRows {
            ids: vec![4, 9, 2],
            labels: vec![1, 0, 1],
            splits: &splits,
            vectors: vec![1.0, 0.0, 0.5, 0.5, 0.0, 1.0],
            ends: vec![2, 3],
            centroids: vec![0.75, 0.25, 0.0, 1.0],
            dim: 2,
            recall: &recall,
        };
        crate::index::write(output, rows)
    });
    let read = Index::open(&written.input).unwrap();
    assert_eq!((read.ids().unwrap(), read.ends().unwrap(), read.dim().unwrap()), (&[4, 9, 2][..], &[2, 3][..], 2));
    assert_eq!((read.splits().unwrap().as_slice(), read.recall()), (&splits[..], &recall[..]));
    assert_eq!(read.vectors().unwrap(), [1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
    assert_eq!(read.centroids().unwrap(), [0.75, 0.25, 0.0, 1.0]);
    assert_eq!(read.chosen(), Some(recall[1]));
}

#[test]
fn assignments() {
    let written = written(ArtifactKind::Assignments, |output| {
        let rows = ClusterRows {
            ids: &[1, 2, 3],
            clusters: &[0, PRUNED, 1],
            distances: &[0.1, 0.2, 0.3],
            centroids: &[1.0, 0.0, 0.0, 1.0],
            sizes: &[1, 2],
            dim: 2,
            nmi: None,
        };
        crate::assignments::write(output, rows)
    });
    let (read, centroids) = (Assignments::open(&written.input).unwrap(), Centroids::open(&written.input).unwrap());
    assert_eq!((read.ids().unwrap(), read.clusters().unwrap()), (&[1, 2, 3][..], &[0, PRUNED, 1][..]));
    assert_eq!(read.distances().unwrap(), [0.1, 0.2, 0.3]);
    assert_eq!((centroids.sizes().unwrap(), centroids.dim().unwrap()), (&[1, 2][..], 2));
    assert_eq!(centroids.vectors().unwrap(), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(crate::assignments::nmi(&written.input).unwrap(), None);
}

#[test]
fn history() {
    let row = |step, term: &str, value| HistoryRow { step, epoch: step / 2, learner: 1, term: term.to_owned(), value };
    let rows = [row(0, "loss", 1.5), row(0, "lr", 1e-5), row(3, "loss", f64::MAX)];
    let written = written(ArtifactKind::History, |output| crate::history::write(output, &rows));
    let read = crate::history::open(&written.input).unwrap();
    assert_eq!(read, rows);
}

#[test]
fn metrics_are_sorted() {
    let row =
        |split, metric: &str, k, value| MetricRow { round: 0, learners: 2, split, metric: metric.to_owned(), k, value };
    let rows = vec![
        row(Split::Test, "recall", Some(10), 0.9),
        row(Split::Test, "recall", Some(1), 0.5),
        row(Split::Validation, "recall", Some(1), 0.6),
        row(Split::Test, "map_at_r", None, 0.4),
    ];
    let written = written(ArtifactKind::Metrics, |output| crate::metrics::write(output, rows.clone()));
    let read = crate::metrics::read(&written.input.files[0].path).unwrap();
    assert_eq!(read, [2, 3, 1, 0].map(|row| rows[row].clone()));
}

#[test]
fn queries() {
    let row = |id, neighbours: &[u32]| QueryRow {
        id,
        label: 3,
        split: Split::Query,
        neighbours: neighbours.to_vec(),
        distances: neighbours.iter().map(|&n| n as f32).collect(),
        hit: id % 2 == 0,
        first_hit: (id != 5).then_some(id - 3),
        r_precision: Some(0.5),
        average_precision: None,
    };
    let rows = [row(4, &[1, 2]), row(5, &[]), row(6, &[9])];
    let written = written(ArtifactKind::Queries, |output| crate::queries::write(output, &rows));
    assert_eq!(crate::queries::open(&written.input).unwrap(), rows);
}

#[test]
fn nuisances() {
    let row = |nuisance: &str, id, nearest, hit| NuisanceRow {
        nuisance: nuisance.to_owned(),
        id,
        split: Split::Test,
        nearest,
        hit,
    };
    let rows = [
        row("blur", 4, Some((5, 0.25)), Some(true)),
        row("blur", 5, Some((6, 0.5)), Some(false)),
        row("jpeg", 4, None, None),
    ];
    let written = written(ArtifactKind::Nuisances, |output| crate::nuisances::write(output, &rows));
    assert_eq!(crate::nuisances::open(&written.input).unwrap(), rows);
}

#[test]
fn views() {
    let plain = View::of(Region { top: 1, left: 2, height: 3, width: 4 });
    let full = View {
        flip: true,
        colour: Some(Colour { brightness: 0.5, contrast: 1.5, saturation: 1.0, hue: -0.1, order: 23 }),
        grey: true,
        blur: Some(0.5),
        rotation: Some(-3.0),
        cutout: Some([0.1, 0.2, 0.3, 0.4]),
        jpeg: Some(40),
        aberration: Some(0.01),
        ..plain
    };
    let row = |id, view, draws| ViewRow { id, view, draws };
    let rows = [row(5, 0, plain), row(5, 1, full), row(2, 0, full), row(2, 1, plain)];
    let written = written(ArtifactKind::Views, |output| {
        let mut writer = ViewsWriter::create(output)?;
        writer.push(&rows[..1])?;
        writer.push(&rows[1..])?;
        writer.finish(output)
    });
    let read = Views::open(&written.input).unwrap();
    assert_eq!(read.per_image(), 2);
    for row in &rows {
        assert_eq!(read.view(row.id, row.view.into()).unwrap(), row.draws);
        assert_eq!(read.view(row.id, u64::from(row.view) + 4).unwrap(), row.draws);
    }
    assert!(read.view(3, 0).is_err());
}
