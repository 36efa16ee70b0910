//! Retrieval metrics against slow loops that follow their formulas, on random embeddings: every pair is compared, and every list is
//! sorted in full.

use dnc_kernels::neighbours::Gallery;
use dnc_learn::metrics::{
    PerQuery, Ranking, average_precision, cmc, map_at_r, r_precision, recall_at_k, relevant_across_cameras,
    relevant_between, relevant_within,
};
use proptest::prelude::*;

const DIM: usize = 3;

/// An image: a position on a coarse grid, so that distances are often equal, a label and a camera.
#[derive(Clone, Copy, Debug)]
struct Image {
    position: [i8; DIM],
    label: u32,
    camera: u16,
}

fn images(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Image>> {
    let image = (prop::array::uniform3(-3_i8..=3), 0_u32..5, 0_u16..3);
    prop::collection::vec(image.prop_map(|(position, label, camera)| Image { position, label, camera }), count)
}

fn vectors(images: &[Image]) -> Vec<f32> {
    images.iter().flat_map(|image| image.position.map(f32::from)).collect()
}

fn labels(images: &[Image]) -> Vec<u32> {
    images.iter().map(|image| image.label).collect()
}

/// For each row of the gallery, ordered by distance and then number and without the skipped ones, whether it is relevant.
fn ranked(query: Image, gallery: &[Image], skips: impl Fn(usize) -> bool) -> Vec<bool> {
    let distance = |image: &Image| -> i32 {
        image.position.iter().zip(query.position).map(|(a, b)| (i32::from(*a) - i32::from(b)).pow(2)).sum()
    };
    let mut order: Vec<usize> = (0..gallery.len()).filter(|&row| !skips(row)).collect();
    order.sort_by_key(|&row| (distance(&gallery[row]), row));
    order.into_iter().map(|row| gallery[row].label == query.label).collect()
}

/// Number of hits among the first `count`.
fn hits(ranked: &[bool], count: usize) -> f64 {
    ranked.iter().take(count).filter(|hit| **hit).count() as f64
}

/// The value of a metric for one query, from its full ranking; `None` if nothing is relevant.
fn expected(ranked: &[bool], metric: &str) -> Option<f64> {
    let relevant = hits(ranked, ranked.len());
    let precisions = |until: usize| -> f64 {
        (1..=until.min(ranked.len()))
            .filter(|&rank| ranked[rank - 1])
            .map(|rank| hits(ranked, rank) / rank as f64)
            .sum()
    };
    (relevant > 0.0).then(|| match metric {
        "recall@1" => hits(ranked, 1),
        "recall@3" => f64::from(hits(ranked, 3) > 0.0),
        "r_precision" => hits(ranked, relevant as usize) / relevant,
        "map_at_r" => precisions(relevant as usize) / relevant,
        "map" => precisions(ranked.len()) / relevant,
        _ => unreachable!("no such metric"),
    })
}

fn check(metric: &str, found: &PerQuery, rankings: &[Vec<bool>]) -> Result<(), TestCaseError> {
    for (query, (found, ranked)) in found.0.iter().zip(rankings).enumerate() {
        let expected = expected(ranked, metric);
        let near = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-12,
            (found, expected) => found.is_none() && expected.is_none(),
        };
        prop_assert!(near, "{metric} of query {query}: {found:?} is not {expected:?} for {ranked:?}");
    }
    Ok(())
}

fn check_all(
    queries: &[Image],
    gallery: &[Image],
    relevant: &[u32],
    skips: impl Fn(usize, usize) -> bool + Sync,
) -> Result<(), TestCaseError> {
    let rows = vectors(gallery);
    let searched = Gallery::new(&rows, DIM).expect("the rows are finite");
    // Longer than any list, so that every metric has enough neighbours.
    let k = gallery.len() + 3;
    let neighbours =
        searched.nearest(&vectors(queries), k, |query, row| skips(query, row as usize)).expect("the rows are finite");
    let (query_labels, gallery_labels) = (labels(queries), labels(gallery));
    let ranking = Ranking::new(&neighbours, &query_labels, &gallery_labels, relevant).expect("the lengths fit");
    let rankings: Vec<Vec<bool>> =
        queries.iter().enumerate().map(|(number, query)| ranked(*query, gallery, |row| skips(number, row))).collect();
    let long = "the lists are longer than the gallery";
    check("recall@1", &recall_at_k(&ranking, 1).expect(long), &rankings)?;
    check("recall@3", &recall_at_k(&ranking, 3).expect(long), &rankings)?;
    check("recall@3", &cmc(&ranking, 3).expect(long), &rankings)?;
    check("r_precision", &r_precision(&ranking).expect(long), &rankings)?;
    check("map_at_r", &map_at_r(&ranking).expect(long), &rankings)?;
    check("map", &average_precision(&ranking), &rankings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn images_that_query_each_other(images in images(2..40)) {
        check_all(&images, &images, &relevant_within(&labels(&images)), |query, row| query == row)?;
    }

    #[test]
    fn queries_against_a_gallery(queries in images(1..12), gallery in images(1..40)) {
        check_all(&queries, &gallery, &relevant_between(&labels(&queries), &labels(&gallery)), |_, _| false)?;
    }

    #[test]
    fn persons_across_cameras(queries in images(1..12), gallery in images(1..40)) {
        let pairs = |images: &[Image]| images.iter().map(|image| (image.label, Some(image.camera))).collect::<Vec<_>>();
        let same = |query: usize, row: usize| {
            (queries[query].label, queries[query].camera) == (gallery[row].label, gallery[row].camera)
        };
        check_all(&queries, &gallery, &relevant_across_cameras(&pairs(&queries), &pairs(&gallery)), same)?;
    }
}
