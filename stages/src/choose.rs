//! `choose`: the best model so far, by a metric on validation classes.
//!
//! Done once a round it compares the round's model with the best of the rounds before, so that no more than two models are
//! ever needed. Of equals the earlier stays. What it gives is for evaluation and export: optimiser moments are left behind.
//! Source: Musgrave et al. 2020, arXiv 2003.08505, §3.2: a model is chosen on classes held out of the training classes,
//! never on test classes.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::{Input, Output, Ports, Stage};
use crate::tables::Split;
use crate::tables::metrics::{self, MetricRow};
use crate::tables::model::{self, Model};

/// Keeps the better of this round's model and the best so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Choose {
    /// The split whose metric decides.
    pub split: Split,
    /// The metric that decides; more is better.
    pub metric: String,
    /// Which of them, where the metric has several, as `recall` has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
}

impl Default for Choose {
    fn default() -> Self {
        Self { split: Split::Validation, metric: "map_at_r".to_owned(), k: None }
    }
}

impl Stage for Choose {
    const NAME: &'static str = "choose";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Keeps the best model so far, by a metric on validation classes";

    fn ports(&self) -> Ports {
        let model = |port: &str| Input::new(port, Kind::Model, &[model::PARAMETERS, model::STEP]);
        Ports {
            inputs: vec![
                model("model"),
                Input::whole("metrics", Kind::Metrics),
                model("best").optional(),
                Input::whole("best_metrics", Kind::Metrics).optional(),
            ],
            outputs: vec![Output::new("model", Kind::Model), Output::new("metrics", Kind::Metrics)],
        }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let new = self.deciding(&metrics::open(context.input("metrics")?)?)?;
        let standing = context.input_if_any("best_metrics").map(metrics::open).transpose()?;
        let standing = standing.map(|rows| self.deciding(&rows)).transpose()?;
        if standing.is_some() != context.input_if_any("best").is_some() {
            return Err(StageError::input("`best` and `best_metrics` belong together, and one of them is empty"));
        }
        let (port, row) = match standing {
            Some(standing) if standing.value >= new.value => ("best", standing),
            _ => ("model", new),
        };
        let model = Model::open(context.input(port)?)?;
        context.log(format!("Round {} is the best so far: {} {}", row.round, row.metric, row.value));
        metrics::write(context, "metrics", vec![row])?;
        model::write(context, "model", &Model { moments: Vec::new(), ..model })
    }
}

impl Choose {
    /// The row that decides.
    fn deciding(&self, rows: &[MetricRow]) -> Result<MetricRow, StageError> {
        let of_split = || rows.iter().filter(|row| row.split == self.split);
        let k = self.k.map(|k| k as i32);
        if let Some(row) = of_split().find(|row| row.metric == self.metric && row.k == k) {
            return Ok(row.clone());
        }
        let wanted = k.map_or_else(|| self.metric.clone(), |k| format!("{}@{k}", self.metric));
        let names: BTreeSet<String> =
            of_split().map(|row| row.k.map_or_else(|| row.metric.clone(), |k| format!("{}@{k}", row.metric))).collect();
        let there = match names.is_empty() {
            true => "nothing: hold classes out for it where images are decoded".to_owned(),
            false => names.into_iter().collect::<Vec<_>>().join(", "),
        };
        Err(StageError::input(format!(
            "There is no `{wanted}` to choose by: of the split {} there is {there}",
            self.split
        )))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use dnc_learn::weights::NamedTensor;
    use serde_json::json;

    use super::*;
    use crate::context::InputArtifact;
    use crate::testing::{Workshop, artifact, digest};

    fn model(step: u64) -> Model {
        let tensor = |name: &str| NamedTensor {
            name: name.into(),
            dtype: DType::F32,
            shape: vec![1],
            bytes: (step as f32).to_le_bytes().to_vec(),
        };
        let architecture = json!({ "backbone": "plain" });
        Model { architecture, parameters: vec![tensor("w")], moments: vec![tensor("w.first")], step }
    }

    fn row(round: i32, split: Split, value: f64) -> MetricRow {
        MetricRow { round, learners: 1, split, metric: "map_at_r".into(), k: None, value }
    }

    fn tables(shop: &Workshop, step: u64, rows: &[MetricRow]) -> [InputArtifact; 2] {
        let model = shop.write(Kind::Model, "model", |context| model::write(context, "model", &model(step)));
        let metrics = shop.write(Kind::Metrics, "metrics", |context| metrics::write(context, "metrics", rows.to_vec()));
        [model.unwrap().0, metrics.unwrap().0]
    }

    #[test]
    fn the_best_on_validation_classes_stays_whatever_the_test_says() {
        let shop = Workshop::new();
        let mut best: Option<[InputArtifact; 2]> = None;
        for (round, validation, chosen) in [(0, 0.3, 0), (1, 0.5, 1), (2, 0.5, 1), (3, 0.4, 1), (4, 0.6, 4)] {
            let rows = [row(round, Split::Validation, validation), row(round, Split::Test, 1.0 - validation)];
            let [new, metrics] = tables(&shop, 10 + round as u64, &rows);
            let mut inputs = vec![("model", &new), ("metrics", &metrics)];
            if let Some([model, metrics]) = &best {
                inputs.extend([("best", model), ("best_metrics", metrics)]);
            }
            let outputs = shop.run(&Choose::default(), &inputs).unwrap();
            let of = |kind: Kind, output: &str| artifact(kind, &outputs[output].folder);
            let [model_after, metrics_after] = [of(Kind::Model, "model"), of(Kind::Metrics, "metrics")];
            let expected = Model { moments: Vec::new(), ..model(10 + chosen) };
            assert_eq!(Model::open(&model_after).unwrap(), expected, "round {round}");
            let standing = metrics::open(&metrics_after).unwrap();
            assert_eq!(standing.iter().map(|row| row.round).collect::<Vec<_>>(), [chosen as i32]);
            best = Some([model_after, metrics_after]);
        }
    }

    #[test]
    fn without_what_decides_nothing_is_chosen() {
        let shop = Workshop::new();
        let check = |choose: &Choose, rows: &[MetricRow]| {
            let [model, metrics] = tables(&shop, 0, rows);
            shop.run(choose, &[("model", &model), ("metrics", &metrics)]).err().unwrap().to_string()
        };
        let test = [row(0, Split::Test, 0.5)];
        insta::assert_snapshot!(check(&Choose::default(), &test), @"There is no `map_at_r` to choose by: of the split validation there is nothing: hold classes out for it where images are decoded");
        let recall = Choose { split: Split::Test, metric: "recall".into(), k: Some(1) };
        insta::assert_snapshot!(check(&recall, &test), @"There is no `recall@1` to choose by: of the split test there is map_at_r");
        let [model, metrics] = tables(&shop, 0, &[row(0, Split::Validation, 0.5)]);
        let inputs = [("model", &model), ("metrics", &metrics), ("best", &model)];
        insta::assert_snapshot!(shop.run(&Choose::default(), &inputs).err().unwrap(), @"`best` and `best_metrics` belong together, and one of them is empty");
    }

    /// Law 3: whoever changes these bytes raises [`Choose::VERSION`] in the same commit, and then this digest.
    #[test]
    fn the_version_stands_for_these_bytes() {
        let shop = Workshop::new();
        let [model, metrics] = tables(&shop, 7, &[row(3, Split::Validation, 0.5), row(3, Split::Test, 0.25)]);
        let outputs = shop.run(&Choose::default(), &[("model", &model), ("metrics", &metrics)]).unwrap();
        assert_eq!((Choose::VERSION, digest(&outputs).as_str()), (1, "f730a6ee86b97772"));
    }
}
