//! The metrics that a stage may measure, and the one that another stage needs of it. They are compared before anything runs, so
//! that a misspelt metric does not end a run after its first training.

use dnc_tables::Split;
use dnc_tables::metrics::label;

/// Metrics of one name that a stage may measure; whether it does depends on the data, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Name of the metric, without its k.
    pub metric: String,
    /// Its values of k.
    pub ks: Ks,
}

/// Values of k of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ks {
    /// The metric has no k.
    None,
    /// These.
    Among(Vec<u32>),
    /// Those of the learners.
    Learners,
}

/// The metric that a stage needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedMetric {
    /// Names of the metric, of which one is enough. The first is the one that was asked for.
    pub names: Vec<String>,
    /// Its k, if it has one.
    pub k: Option<u32>,
    /// The split that it is measured on.
    pub split: Split,
}

impl Measure {
    /// A metric without a k.
    pub fn plain(metric: impl Into<String>) -> Self {
        Self { metric: metric.into(), ks: Ks::None }
    }

    /// A metric with these values of k.
    pub fn at(metric: impl Into<String>, ks: &[u32]) -> Self {
        Self { metric: metric.into(), ks: Ks::Among(ks.to_vec()) }
    }

    /// The metrics with their k, such as `recall@1`. Of those with a k for each learner, the first.
    pub fn labels(&self) -> Vec<String> {
        match &self.ks {
            Ks::None => vec![self.metric.clone()],
            Ks::Among(ks) => ks.iter().map(|k| label(&self.metric, Some(*k))).collect(),
            Ks::Learners => vec![label(&self.metric, Some(0))],
        }
    }

    fn has(&self, k: Option<u32>) -> bool {
        match (&self.ks, k) {
            (Ks::None, k) => k.is_none(),
            (Ks::Among(ks), Some(k)) => ks.contains(&k),
            (Ks::Learners, Some(_)) => true,
            (Ks::Among(_) | Ks::Learners, None) => false,
        }
    }
}

impl WantedMetric {
    /// The metric that was asked for, with its k.
    pub fn label(&self) -> String {
        label(self.names.first().map_or("", String::as_str), self.k)
    }

    /// Whether one of its names is among `measures`.
    pub fn is_among(&self, measures: &[Measure]) -> bool {
        measures.iter().any(|measure| self.names.contains(&measure.metric) && measure.has(self.k))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_name_and_k() {
        let measures = [
            Measure::plain("map_at_r"),
            Measure::at("recall", &[1, 10]),
            Measure { metric: "subspace_recall".to_owned(), ks: Ks::Learners },
        ];
        let check = |names: &[&str], k: Option<u32>, expected: bool| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let wanted = WantedMetric { names, k, split: Split::Validation };
            assert_eq!(wanted.is_among(&measures), expected, "{}", wanted.label());
        };
        check(&["map_at_r"], None, true);
        check(&["map_at_r"], Some(1), false);
        check(&["recall"], Some(10), true);
        check(&["recall"], Some(5), false);
        check(&["recall"], None, false);
        check(&["subspace_recall"], Some(7), true);
        check(&["map", "map_at_r"], None, true);
        check(&["map_at_R"], None, false);
        let labels: Vec<String> = measures.iter().flat_map(Measure::labels).collect();
        assert_eq!(labels, ["map_at_r", "recall@1", "recall@10", "subspace_recall@0"]);
    }
}
