//! Parity of the metrics with scikit-learn and pytorch-metric-learning on one small embedding (`fixtures/metrics_make.py`).

use dnc_kernels::neighbours::Gallery;
use dnc_learn::metrics::{Ranking, ami, average_precision, map_at_r, nmi, r_precision, recall_at_k, relevant_within};

#[test]
fn metrics_match_scikit_learn_and_pytorch_metric_learning() {
    let fixture: serde_json::Value =
        serde_json::from_str(include_str!("fixtures/metrics_parity.json")).expect("the fixture is well formed");
    let numbers = |name: &str| fixture[name].as_array().expect("a list of numbers").iter();
    let dim = fixture["dim"].as_u64().expect("a number") as usize;
    let labels: Vec<u32> = numbers("labels").map(|label| label.as_u64().expect("a label") as u32).collect();
    let clusters: Vec<i64> = numbers("clusters").map(|cluster| cluster.as_i64().expect("a cluster")).collect();
    let embeddings: Vec<f32> = numbers("embeddings").map(|value| value.as_f64().expect("a value") as f32).collect();
    let gallery = Gallery::new(&embeddings, dim).expect("the rows are finite");
    let neighbours = gallery
        .nearest(&embeddings, labels.len() - 1, |query, row| query == row as usize)
        .expect("the rows are finite");
    let relevant = relevant_within(&labels);
    let ranking = Ranking::new(&neighbours, &labels, &labels, &relevant).expect("the lengths fit");
    let check = |metric: &str, found: f64| {
        let expected = fixture["expected"][metric].as_f64().expect("a number");
        assert!((found - expected).abs() < 1e-6, "{metric}: {found} is not {expected}");
    };
    // Precision@1 and Recall@1 are the same number.
    check("precision_at_1", recall_at_k(&ranking, 1).expect("all are searched").mean());
    check("r_precision", r_precision(&ranking).expect("all are searched").mean());
    check("mean_average_precision_at_r", map_at_r(&ranking).expect("all are searched").mean());
    check("mean_average_precision", average_precision(&ranking).mean());
    check("nmi", nmi(&clusters, &labels).expect("the lengths fit"));
    check("ami", ami(&clusters, &labels).expect("the lengths fit"));
}
